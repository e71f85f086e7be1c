"""A conflict that only a person can settle: the worktree where that is done, and what came of it.

A settlement is known by what it joins, the tree of the chain so far and the lane's head: it counts as long as neither changes.
"""

from __future__ import annotations

import os
import shlex
import shutil
from pathlib import Path

from kitty_host.api import KittyError
from kitty_host.files import disk_errors, lock, make_directory
from kitty_host.git import Git, GitError
from kitty_host.mission import Mission
from kitty_host.report import note
from kitty_merge.intent import Conflict
from kitty_merge.workspace import remove_half_made, remove_worktree


def settlements(mission: Mission) -> dict[tuple[str, str], str]:
    """What was settled, by tree and head: the commits that people made of it."""
    found: dict[tuple[str, str], str] = {}
    for line in mission.repo.git.lines("for-each-ref", "--format=%(refname) %(objectname)", f"{_folder(mission)}/"):
        ref, _, commit = line.partition(" ")
        tree, _, head = ref.rpartition("/")[2].partition("-")
        found[tree, head] = commit
    return found


def forget_settlements(mission: Mission) -> None:
    """They have landed, or are not wanted any more."""
    git = mission.repo.git
    found = [f"delete {ref}" for ref in git.lines("for-each-ref", "--format=%(refname)", f"{_folder(mission)}/")]
    if found:
        git.run("update-ref", "--stdin", stdin="\n".join(found).encode() + b"\n")


def worktree(mission: Mission) -> Path:
    """Where a conflict is settled."""
    return mission.repo.root / ".worktrees" / f"{mission.human}-{mission.mid8}-conflict"


def lay_out(mission: Mission, conflict: Conflict) -> Path:
    """The worktree in the middle of the merge that conflicts; one that is there already stays as it is. Errors: `GIT_FAILED`."""
    repo, path = mission.repo, worktree(mission)
    with lock(repo.state / "worktrees.lock", wait_seconds=60, purpose="the worktrees"):
        remove_half_made(repo.git, path)
        if not path.exists():
            repo.git.run("worktree", "prune")
            repo.git.run("worktree", "add", "--quiet", "--detach", str(path), conflict.tip)
    there = Git(path)
    if there.commit_of("HEAD") == conflict.tip and there.commit_of("MERGE_HEAD") is None:
        message = f"Merge {conflict.lane_id} of {mission.slug}, conflicts settled"
        there.run("merge", "--quiet", "--no-ff", "--no-commit", "-m", message, conflict.head, ok=(0, 1))
    return path


def take(mission: Mission, conflict: Conflict) -> None:
    """Keep what was settled, and remove the worktree. Errors: `MERGE_CONFLICT` while it is not settled, `COMMIT_REFUSED`."""
    path = worktree(mission)
    if not (path / ".git").exists():
        return
    there = Git(path)
    _commit(there, path, conflict)
    settled = there.out("rev-parse", "HEAD")
    if not (there.is_ancestor(conflict.tip, settled) and there.is_ancestor(conflict.head, settled)):
        raise _open(
            path, conflict, "is not merged there", f"git -C {shlex.quote(str(path))} merge {conflict.head[:10]}"
        )
    marked = there.run("diff", "--check", conflict.tip, settled, "--", *conflict.paths, ok=range(256)).stdout
    if b"leftover conflict marker" in marked:
        raise _open(path, conflict, "still has conflict markers", f"git -C {shlex.quote(str(path))} diff --check HEAD^")
    tree = there.out("rev-parse", f"{conflict.tip}^{{tree}}")
    there.run("update-ref", f"{_folder(mission)}/{tree}-{conflict.head}", settled)
    remove_worktree(mission.repo, path)


def _commit(there: Git, path: Path, conflict: Conflict) -> None:
    """Commit a merge that is settled and staged, as `git merge --continue` does; the user's hooks run."""
    unmerged = list(dict.fromkeys(one.partition("\t")[2] for one in there.records("ls-files", "--unmerged", "-z")))
    here = shlex.quote(str(path))
    if unmerged:
        raise _open(
            path, conflict, f"conflicts in {', '.join(unmerged[:5])}", f"git -C {here} add PATH when it is settled"
        )
    changed = there.records("status", "--porcelain", "-z", "--untracked-files=no")
    if any(record[1] != " " for record in changed):
        raise _open(path, conflict, "has changes that are not added", f"git -C {here} add --update")
    if there.commit_of("MERGE_HEAD") is None:
        if changed:
            raise _open(path, conflict, "has changes that are in no commit", f"git -C {here} commit")
    else:
        try:
            there.commit("--no-edit")
        except GitError as error:
            raise KittyError(
                "COMMIT_REFUSED", f"the settled merge was not committed: {error.message}", f"see: git -C {here} commit"
            ) from error


def _open(path: Path, conflict: Conflict, what: str, way: str) -> KittyError:
    return KittyError(
        "MERGE_CONFLICT",
        f"{conflict.lane_id} {what}: {path}",
        f"{way}; then: kitty merge --resume (or give it up: kitty merge --abort)",
        lane=conflict.lane_id,
        paths=list(conflict.paths),
        worktree=str(path),
    )


def give_up(mission: Mission) -> list[Path]:
    """Remove the worktree and what was settled; returns where changes are now that were in no commit."""
    path, kept = worktree(mission), []
    if path.exists():
        remove_half_made(mission.repo.git, path)
    if path.exists():
        kept = _kept(mission, path)
        head = Git(path).commit_of("HEAD")
        if head and Git(path).lines("rev-list", "-1", head, "--not", "--branches", "--remotes"):
            note(f"What was merged in {path} is in no branch; its commit is {head}.")
        mission.repo.git.run("worktree", "remove", "--force", "--force", str(path))
    forget_settlements(mission)
    return kept


def _kept(mission: Mission, path: Path) -> list[Path]:
    folder = mission.repo.state / "rescue" / mission.mission_id
    number = next(number for number in range(1 << 20) if not (folder / f"conflict-{number}").exists())
    kept: list[Path] = []
    records = Git(path).records("status", "--porcelain", "-z", "--untracked-files=all", "--no-renames")
    for record in records:
        source = path / record[3:]
        if os.path.lexists(source) and not source.is_dir():
            target = folder / f"conflict-{number}" / record[3:]
            make_directory(target.parent)
            with disk_errors(target):
                shutil.copy2(source, target, follow_symlinks=False)
            kept.append(target)
    return kept


def _folder(mission: Mission) -> str:
    return f"refs/kitty/{mission.mission_id}/settled"
