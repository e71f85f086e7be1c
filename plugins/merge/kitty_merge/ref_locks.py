"""Ref locks that a Git leaves behind when it is killed inside a transaction of kitty's.

A lock file says nothing about who made it. What is known: a landing holds the merge lock, and so does the Git that moves its refs, so that
the dead one was the only one; its journal, or its intent, was written right before the transaction; that names every ref that it locks
and what it writes into each lock; and Git takes all of them at once. A lock that fits is removed, one that is older is somebody
else's, any other is named and left alone. A claim's record is to the making of a lane what intent, journal and merge lock are to a landing.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from kitty_host.claims import Claim
from kitty_host.files import is_same, remove
from kitty_host.git import GitError
from kitty_host.holders import held
from kitty_host.repo import Repo
from kitty_merge.journal import Journal

_TAKEN_WITHIN = 10
"""Seconds from the journal to the last lock of its transaction; it is milliseconds where the machine is not very busy."""
_ROUNDED = 2
"""Seconds by which a file system may round a time down."""
_PATIENCE = 1
"""Seconds. Git itself waits for a ref lock for a tenth of that, because those who live hold it for less."""


def release(repo: Repo, journal: Journal) -> None:
    """Remove what the move of a journal left. Under the merge lock. Errors: `LOCK_HELD`."""
    _release(repo, journal.path(repo).stat().st_mtime, _taken(repo, journal))


def release_removal(repo: Repo, begun: float) -> None:
    """The lock of all refs, of a removal that began at `begun`, in seconds. Under the merge lock. Errors: `LOCK_HELD`."""
    everything = repo.common / "packed-refs.lock"
    if everything.exists():
        _release(repo, begun, [(everything, b"")])
        remove(repo.common / "packed-refs.new")


def release_claim(repo: Repo, claim: Claim, branch: str, commit: str, place: Path) -> None:
    """The lock that a killed command left on the branch of a lane: it was making `place`, with the branch at `commit`, or merging there.

    For whoever has taken over the claim's record: a Git of that command would hold it still. Errors: `LOCK_HELD`.
    """
    lock_file = repo.common / f"refs/heads/{branch}.lock"
    if claim.since is None:
        return
    if claim.said:
        release_dead(lock_file, place, claim.since)
    else:
        _release(repo, claim.since, [(lock_file, f"{commit}\n".encode())], within=math.inf)


def release_dead(path: Path, place: Path, since: float) -> None:
    """A lock that a Git left in a place that was being made, whatever is in it. Errors: `LOCK_HELD` unless nobody can be at work there.

    Whoever made that place is dead, as for `release_claim`; but anybody may go there and work.
    """
    try:
        status = path.stat()
    except FileNotFoundError:
        return
    if status.st_mtime < since - _ROUNDED:
        return
    time.sleep(max(0.0, min(_PATIENCE, _PATIENCE - (time.time() - status.st_mtime))))
    if not is_same(status, path):
        return
    refusal = held(path, place)
    if refusal.details.get("pid") is not None or not Path("/proc/self").exists():
        raise refusal
    remove(path)


def _release(repo: Repo, begun: float, taken: Iterable[tuple[Path, bytes]], *, within: float = _TAKEN_WITHIN) -> None:
    for path, content in taken:
        try:
            status = path.stat()
        except FileNotFoundError:
            continue
        if status.st_mtime < begun - _ROUNDED:
            continue
        if status.st_size != len(content) or not content:
            # Torn, or one of those that stay empty. A living Git may have the like for a moment, so give it that moment.
            time.sleep(max(0.0, min(_PATIENCE, _PATIENCE - (time.time() - status.st_mtime))))
        if not is_same(status, path):
            continue
        if not content.startswith(path.read_bytes()) or status.st_mtime > begun + within:
            raise held(path, repo.root)
        remove(path)


def refuse_if_held(repo: Repo, error: GitError) -> None:
    """Where Git failed because somebody holds a ref's lock, say so. Errors: `LOCK_HELD`."""
    found = re.search(r"Unable to create '(.+\.lock)': File exists", error.stderr)
    if found:
        raise held(Path(found[1]), repo.root) from error


def _taken(repo: Repo, journal: Journal) -> Iterator[tuple[Path, bytes]]:
    """The locks of the transaction, each with what Git writes into it."""
    for ref, new, _ in journal.updates:
        yield repo.common / f"{ref}.lock", f"{new}\n".encode()
    for ref, _ in journal.verified:
        yield repo.common / f"{ref}.lock", b""
    # For the log of HEAD, where that is the target.
    if str(repo.root) in journal.checkouts:
        yield Path(repo.git.out("rev-parse", "--path-format=absolute", "--git-path", "HEAD.lock")), b""
