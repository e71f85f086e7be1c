"""A lane into which something was being merged by a command that was killed: as it was before, with nothing of anybody's lost.

The claim's record says what was being merged; before that the lane had no changes of its own in what the merge would write.
"""

from __future__ import annotations

import os
from pathlib import Path

from kitty_host.claims import Claim
from kitty_host.files import copy_rest, make_directory, remove
from kitty_host.git import Git
from kitty_host.mission import Mission
from kitty_host.report import note
from kitty_host.worktrees import git_directory
from kitty_merge import trees
from kitty_merge.ref_locks import release_dead

MERGE = "merge"
_LOCKS = ("index.lock", "HEAD.lock", "ORIG_HEAD.lock")


def give_up(mission: Mission, claim: Claim, path: Path, there: Git) -> None:
    """Nothing where nothing was being merged. Under the lock of the worktrees. Errors: `LOCK_HELD`."""
    commits = [line.partition(" ")[2] for line in claim.said if line.startswith(f"{MERGE} ")]
    if claim.since is None or not commits:
        return
    for name in _LOCKS:
        release_dead(git_directory(mission.repo, path) / name, path, claim.since)
    there.run("reset", "--quiet", ok=(0, 1))
    head = there.out("rev-parse", "HEAD")
    written = {path for commit in commits for path in _written(mission, head, commit)}
    for code, name in [(record[:2], record[3:]) for record in _changed(there)]:
        if name not in written:
            continue
        if os.path.lexists(path / name):
            note(f"What was half merged is now {_kept(mission, path, name)}")
        if code == "??":
            remove(path / name)
        else:
            there.run("checkout", "--quiet", "--", name)


def _written(mission: Mission, head: str, commit: str) -> set[str]:
    """The paths that merging a commit writes."""
    git = mission.repo.git
    if git.is_ancestor(commit, head):
        return set()
    tree, conflicts = trees.merge(trees.beside(mission.repo, head), head, commit)
    return {*git.records("diff", "--name-only", "-z", "--no-renames", head, tree), *conflicts}


def _changed(there: Git) -> list[str]:
    return there.records("status", "--porcelain", "-z", "--untracked-files=all", "--no-renames")


def _kept(mission: Mission, path: Path, name: str) -> Path:
    """A copy, so that nothing is lost if somebody has been there since."""
    folder = mission.repo.state / "rescue" / mission.mission_id
    place = next(one for number in range(1 << 20) if not os.path.lexists(one := folder / f"claim-{number}" / name))
    make_directory(place.parent)
    if (path / name).is_symlink():
        place.symlink_to((path / name).readlink())
    else:
        copy_rest(path / name, 0, place)
    return place
