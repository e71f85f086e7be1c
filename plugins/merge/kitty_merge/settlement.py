"""A conflict that only a person can settle: the worktree where that is done, and what came of it.

A settlement is known by what it joins, the tree of the chain so far and the lane's head: it counts as long as neither changes. Whoever is
killed in here leaves the worktree as it was, half made, which is made again, or half removed, which is removed.
"""

from __future__ import annotations

import os
import shlex
import shutil
import stat
from collections.abc import Mapping
from pathlib import Path

from kitty_host.api import KittyError
from kitty_host.files import atomic_write, disk_errors, lock, make_directory, remove
from kitty_host.git import Git
from kitty_host.mission import Mission
from kitty_host.repo import Repo
from kitty_host.report import note
from kitty_host.worktrees import IN_THE_MAKING, discard, remove_half_made
from kitty_merge import ref_locks
from kitty_merge.heads import joined, settled_refs
from kitty_merge.hooks import Hooks
from kitty_merge.intent import Conflict, Intent
from kitty_merge.journal import merge_lock

_HOOKS = ("pre-commit", "prepare-commit-msg", "commit-msg")


def has_settled(mission: Mission) -> bool:
    """Whether something was settled that has not landed."""
    return bool(mission.repo.git.refs(settled_refs(mission)))


def forget_settlements(mission: Mission) -> None:
    """They have landed, or are not wanted any more."""
    _change(mission, dict.fromkeys(mission.repo.git.refs(settled_refs(mission))))


def _change(mission: Mission, updates: Mapping[str, str | None]) -> None:
    """Set or remove refs. Errors: `LOCK_HELD`."""
    repo = mission.repo
    with merge_lock(repo) as held:
        # Nobody writes here who has not got the merge lock, and Git inherits it: these are a dead one's.
        for left in (repo.common / settled_refs(mission)).glob("*.lock"):
            remove(left)
        if (begun := Intent.since(mission)) is not None:
            ref_locks.release_removal(repo, begun)
        if not updates:
            return
        Intent.mark(mission)
        commands = "".join(f"update {ref} {new}\n" if new else f"delete {ref}\n" for ref, new in updates.items())
        repo.git.keeping(held).run("update-ref", "--stdin", stdin=commands.encode())


def worktree(mission: Mission) -> Path:
    """Where a conflict is settled."""
    return mission.repo.root / ".worktrees" / f"{mission.human}-{mission.mid8}-conflict"


def lay_out(mission: Mission, conflict: Conflict) -> Path:
    """The worktree in the middle of the merge that conflicts; one that is there already stays as it is. Errors: `GIT_FAILED`."""
    repo, path = mission.repo, worktree(mission)
    with lock(repo.state / "worktrees.lock", wait_seconds=60, purpose="the worktrees", sign=True):
        remove_half_made(repo, path)
        if not (path / ".git").exists():
            repo.git.run("worktree", "prune")
            making = ("--lock", "--reason", IN_THE_MAKING)
            repo.git.run("worktree", "add", "--quiet", *making, "--detach", str(path), conflict.tip)
            message = f"Merge {conflict.lane_id} of {mission.slug}, conflicts settled"
            Git(path).run("merge", "--quiet", "--no-ff", "--no-commit", "-m", message, conflict.head, ok=(0, 1))
            repo.git.run("worktree", "unlock", str(path))
    return path


def take(mission: Mission, conflict: Conflict) -> None:
    """Keep what was settled, and remove the worktree. Errors: `MERGE_CONFLICT` while it is not settled, `COMMIT_REFUSED`."""
    repo, path = mission.repo, worktree(mission)
    tree = repo.git.out("rev-parse", f"{conflict.tip}^{{tree}}")
    ref = f"{settled_refs(mission)}/{joined(tree, conflict.head)}"
    if repo.git.commit_of(ref) is None:
        remove_half_made(repo, path)
        if not (path / ".git").exists():
            return
        settled = _settled(repo, Git(path), path, conflict)
        for kept in _kept(mission, path, untracked=True):
            note(f"What you left there untracked is now {kept}")
        _change(mission, {ref: settled})
    discard(repo, path)


def _settled(repo: Repo, there: Git, path: Path, conflict: Conflict) -> str:
    """The commit that settles it: the one that was made there, or one of what is staged there."""
    here = shlex.quote(str(path))
    unmerged = list(dict.fromkeys(one.partition("\t")[2] for one in there.records("ls-files", "--unmerged", "-z")))
    if unmerged:
        raise _open(
            path, conflict, f"conflicts in {', '.join(unmerged[:5])}", f"git -C {here} add PATH when it is settled"
        )
    changed = there.records("status", "--porcelain", "-z", "--untracked-files=no")
    if any(record[1] != " " for record in changed):
        raise _open(path, conflict, "has changes that are not added", f"git -C {here} add --update")
    merged = there.commit_of("MERGE_HEAD")
    settled = there.commit_of("HEAD")
    if merged is None and changed:
        raise _open(path, conflict, "has changes that are in no commit", f"git -C {here} commit")
    if merged is not None:
        settled = _committed(repo, there, merged)
    assert settled is not None, "a worktree has a commit"
    if not (there.is_ancestor(conflict.tip, settled) and there.is_ancestor(conflict.head, settled)):
        raise _open(path, conflict, "is not merged there", f"git -C {here} merge {conflict.head[:10]}")
    marked = there.run("diff", "--check", conflict.tip, settled, "--", *conflict.paths, ok=range(256)).stdout
    if b"leftover conflict marker" in marked:
        raise _open(path, conflict, "still has conflict markers", f"git -C {here} diff --check {conflict.tip[:10]}")
    return settled


def _committed(repo: Repo, there: Git, merged: str) -> str:
    """The merge that is settled and staged, as `git merge --continue` commits it, with the user's hooks, and without moving anything there.

    Git's own commit would take the locks of that worktree, which a kill leaves behind.
    """
    place = Path(there.out("rev-parse", "--absolute-git-dir"))
    index, message = place / "kitty-index", place / "KITTY_MSG"
    index.with_name(f"{index.name}.lock").unlink(missing_ok=True)
    with disk_errors(index):
        shutil.copyfile(place / "index", index)
        shutil.copyfile(place / "MERGE_MSG", message)
    hooks = Hooks.of(repo, *_HOOKS)
    on_copy = there.with_environment(GIT_INDEX_FILE=str(index))
    hooks.run(on_copy, "pre-commit")
    told = hooks.judged(on_copy, message, "merge")
    told = there.out("stripspace", "--strip-comments", stdin=told.encode(errors="surrogateescape"))
    return there.commit_tree(on_copy.out("write-tree"), [there.out("rev-parse", "HEAD"), merged], told)


def _open(path: Path, conflict: Conflict, what: str, way: str) -> KittyError:
    return KittyError(
        "MERGE_CONFLICT",
        f"{conflict.lane_id} {what}: {path}",
        f"{way}; then: kitty merge --resume (or give it up: kitty merge --abort)",
        lane=conflict.lane_id,
        paths=list(conflict.paths),
        worktree=str(path),
    )


def give_up(mission: Mission) -> None:
    """Remove the worktree and what was settled; says where changes are now that were in no commit."""
    repo, path = mission.repo, worktree(mission)
    remove_half_made(repo, path)
    if (path / ".git").exists():
        for kept in _kept(mission, path):
            note(f"What you changed there and did not commit is now {kept}")
        head = Git(path).commit_of("HEAD")
        if head and Git(path).lines("rev-list", "-1", head, "--not", "--branches", "--remotes"):
            note(f"What was merged in {path} is in no branch; its commit is {head}.")
    discard(repo, path)
    forget_settlements(mission)


def _kept(mission: Mission, path: Path, *, untracked: bool = False) -> list[Path]:
    """Copies of what is in no commit there, or of what is untracked alone; a run that was killed may have made them already."""
    folder = mission.repo.state / "rescue" / mission.mission_id
    names = [
        name for name in _changed_by_hand(Git(path), untracked) if (path / name).is_symlink() or (path / name).is_file()
    ]
    for number in range(1 << 20):
        place = folder / f"conflict-{number}"
        if all(not os.path.lexists(place / name) or _is_copy(path / name, place / name) for name in names):
            break
    for name in names:
        source, target = path / name, place / name
        if os.path.lexists(target):
            continue
        make_directory(target.parent)
        with disk_errors(target):
            if source.is_symlink():
                target.symlink_to(source.readlink())
            else:
                atomic_write(target, source.read_bytes(), mode=stat.S_IMODE(source.stat().st_mode))
    return [place / name for name in names]


def _is_copy(source: Path, target: Path) -> bool:
    if source.is_symlink() or target.is_symlink():
        return source.is_symlink() and target.is_symlink() and source.readlink() == target.readlink()
    import filecmp

    return target.is_file() and filecmp.cmp(source, target, shallow=False)


def _changed_by_hand(there: Git, untracked: bool) -> list[str]:
    """The paths that are neither in a commit nor what Git has made of the merge; of them only what is `untracked`, where that is said."""
    records = there.records("status", "--porcelain", "-z", "--untracked-files=all", "--no-renames")
    if untracked:
        return [record[3:] for record in records if record.startswith("??")]
    for merged in ("MERGE_HEAD", "AUTO_MERGE"):
        if there.succeeds("rev-parse", "--verify", "--quiet", f"{merged}^{{tree}}"):
            differing = set(there.records("diff", "--name-only", "-z", "--no-renames", f"{merged}^{{tree}}"))
            records = [record for record in records if record.startswith("??") or record[3:] in differing]
    return [record[3:] for record in records]
