"""The worktrees that kitty makes with Git, and what is left of one whose making or removal was killed.

What they are for is known elsewhere: lanes, conflicts to be settled, scratch worktrees.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from kitty_host.api import KittyError
from kitty_host.files import disk_errors, lock
from kitty_host.git import Git, GitError
from kitty_host.repo import Repo

IN_THE_MAKING = "kitty is making it"
"""The reason of the lock of a worktree that is not ready yet."""
_HALF_MADE = ("initializing", IN_THE_MAKING)
_REMOVED = ".kitty-removed-"


def git_directory(repo: Repo, path: Path) -> Path:
    """A worktree's own Git directory, where its index is; that of the main one is the common one. Raises `OSError` where it has none."""
    link = path / ".git"
    if link.is_dir() or (path == repo.root and not link.exists()):
        return repo.common
    leads = link.read_text(encoding="utf-8", errors="surrogateescape").removeprefix("gitdir: ").removesuffix("\n")
    return Path(os.path.normpath(path / leads))


def remove_half_made(repo: Repo, path: Path) -> None:
    """A worktree whose making was killed: locked by whoever made it, or without what every worktree has. Nobody has worked in it."""
    if any(_is_half_made(known) for known in _known(repo, path)):
        discard(repo, path)


def _is_half_made(known: Path) -> bool:
    with contextlib.suppress(OSError):
        if (known / "locked").read_text(encoding="utf-8").strip() in _HALF_MADE:
            return True
    with contextlib.suppress(OSError):
        whole = (known / "gitdir").read_text(encoding="utf-8", errors="surrogateescape").endswith("/.git\n")
        return not (whole and (known / "HEAD").stat().st_size and (known / "index").exists())
    return True


def is_there(repo: Repo, path: Path) -> bool:
    """Whether anything of a worktree is: its files, or what Git knows about it, which is removed after them."""
    return path.exists() or any(_known(repo, path))


def discard(repo: Repo, path: Path) -> None:
    """Leave nothing of a worktree, whatever state it is in and whatever it holds."""
    with contextlib.suppress(GitError):
        repo.git.run("worktree", "remove", "--force", "--force", str(path))
    if path.exists():
        with disk_errors(path):
            shutil.rmtree(path)
    # Where the worktree's own link is gone Git finds it no more, and does not prune what is locked.
    for known in _known(repo, path):
        shutil.rmtree(known, ignore_errors=True)
    with contextlib.suppress(OSError):
        (repo.common / "worktrees").rmdir()


def _known(repo: Repo, path: Path) -> Iterator[Path]:
    """Git's own directories for a worktree at a path; one that was killed while it was named may know a beginning of that only."""
    for known in sorted((repo.common / "worktrees").glob(f"{path.name}*")):
        try:
            leads = (known / "gitdir").read_text(encoding="utf-8", errors="surrogateescape").removesuffix("\n")
        except FileNotFoundError:
            leads = ""
        # Newer Gits may be told to keep it relative to that directory.
        link = path / ".git"
        if Path(os.path.normpath(known / leads)) == link or (
            known.name == path.name and link.as_posix().startswith(leads)
        ):
            yield known


def remove_worktree(repo: Repo, path: Path) -> None:
    """Remove a worktree in which everything is in a commit. Errors: `GIT_FAILED` where Git refuses, and then it is as it was.

    Killed halfway it would look like one whose user has deleted files, and would stay for ever. So it gets a name first by which
    `finish_removals` knows it.
    """
    doomed = path.with_name(f"{_REMOVED}{path.name}")
    # Git refuses to move one that is locked or has submodules, and, below, to remove one that is not clean.
    repo.git.run("worktree", "move", str(path), str(doomed))
    try:
        repo.git.run("worktree", "remove", str(doomed))
    except KittyError:
        repo.git.run("worktree", "move", str(doomed), str(path))
        raise


def finish_removals(repo: Repo) -> None:
    """What a removal that was killed has left: files under the name they got for it, and what Git knew about them."""
    if not _removals(repo):
        return
    with lock(repo.state / "worktrees.lock", wait_seconds=60, purpose="the worktrees", sign=True):
        named = [path for path in _removals(repo) if path.name.startswith(_REMOVED)]
        if named:
            # Killed while it moved, Git may know half of the new path, which leads to some other place: then pruning leaves it.
            repo.git.run("worktree", "repair", *map(str, named), ok=range(256))
        for doomed in named:
            if _has_work(doomed):
                repo.git.run("worktree", "move", str(doomed), str(doomed.with_name(doomed.name.removeprefix(_REMOVED))))
                continue
            with disk_errors(doomed):
                shutil.rmtree(doomed)
        repo.git.run("worktree", "prune")


def _has_work(doomed: Path) -> bool:
    """Whether somebody wrote into a worktree between the look at it and its removal, which Git has not begun then."""
    if not (doomed / ".git").is_file():
        return False
    found = Git(doomed).run("status", "--porcelain", "-z", "--no-renames", ok=range(256)).stdout.split(b"\0")[:-1]
    # Git looks once more before the first file goes, and after that says nothing true: with `.gitignore`, what it names is untracked.
    return bool(found) and not any(record.startswith(b" D ") for record in found)


def _removals(repo: Repo) -> list[Path]:
    """Worktrees that were being removed, and Git's own directories of such that lead nowhere, or that it had no time to remove."""
    found = [path for path in (repo.root / ".worktrees").glob(f"{_REMOVED}*") if path.is_dir()]
    everything = repo.common / "worktrees"
    if everything.is_dir() and not any(everything.iterdir()):
        found.append(everything)
    for known in everything.glob("*"):
        place = known / "gitdir"
        if not (known / "locked").exists() and (not place.exists() or f"/{_REMOVED}".encode() in place.read_bytes()):
            found.append(known)
    return found
