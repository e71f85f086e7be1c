"""Claims whose place to work is not there yet: a record each, so that a crash in between is known and not guessed at.

A record is made before the claim is in the ledger, and removed when the place is there or the ledger says why not. It is locked for as
long as its maker lives, or a Git that it started; one that nobody has locked was left by a command that was killed here: other clones
have places of their own. The ledger gets a row about it from the next command that writes to the mission (`ledger/emit.py`); what Git left
of the place is for whoever makes places.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from kitty_host.api import KittyError
from kitty_host.files import disk_errors, lock, remove, rename, sync_file
from kitty_host.ledger.machine import BLOCKED, CLAIMED, IN_PROGRESS
from kitty_host.system import sync_directory

if TYPE_CHECKING:
    from kitty_host.ledger.event import Row
    from kitty_host.mission import Mission
    from kitty_host.state import State

FAILED = "worktree_alloc_failed"
"""The reason of a row that blocks a work package for want of a place."""
RECOVERY = "kitty:recovery"
"""Who says so of a claim whose own command cannot any more."""
_KILLED = "the command that claimed it was killed before there was a place to work"
_TOLD = ".told"
"""The ending of a record that the ledger has a row about. Its time is still wanted: Git may have left a lock."""


class Claim:
    """A record that this process has made or taken over."""

    def __init__(self, path: Path, descriptor: int | None) -> None:
        self.path = path
        self.descriptor = descriptor
        """For the Git that makes the place: one that outlives kitty keeps the record locked."""
        self.since: float | None = None
        """When the claim before it was made, in seconds, if that was left by a command that was killed."""
        self.said: list[str] = []
        """What the commands before it were about to do in its place, such as ``merge <commit>``, and may have been killed in."""
        self.told = not path.stat().st_size
        """Whether the ledger has a row about those."""
        earlier = _told(path) if self.told else path
        if earlier.exists():
            self.since = earlier.stat().st_mtime
            first, *self.said = earlier.read_text(encoding="utf-8").splitlines() or [""]
            with contextlib.suppress(ValueError):
                self.since = float(first)
        if self.told:
            # Now it says that it was left, should this process be killed.
            self._write([f"{self.since or time.time():.6f}", *self.said])

    def say(self, line: str) -> None:
        """What is about to be done in its place."""
        if line not in self.said:
            self._write([*self.path.read_text(encoding="utf-8").splitlines(), line])

    def _write(self, lines: list[str]) -> None:
        self.path.write_bytes("".join(f"{line}\n" for line in lines).encode())
        sync_file(self.path)
        sync_directory(self.path.parent)

    def over(self, *, made: bool) -> None:
        """The place is there, or the ledger says why not."""
        if made:
            remove(_told(self.path))
        if made or self.told:
            remove(self.path)
        else:
            rename(self.path, _told(self.path))
        _tidy(self.path)

    def refused(self) -> None:
        """Nothing was claimed: what was left before is left again."""
        if self.told:
            remove(self.path)
            _tidy(self.path)


@contextlib.contextmanager
def pending(mission: Mission, wp_id: str) -> Iterator[Claim]:
    """The record of a claim that is about to be made; it stays unless the claim says that it is over. Errors: `LOCK_HELD`,
    `DISK_FULL`, `READ_ONLY`.
    """
    path = _directory(mission) / wp_id
    with lock(path, wait_seconds=60, purpose=f"the claim of {wp_id}") as descriptor:
        try:
            with disk_errors(path):
                claim = Claim(path, descriptor)
        except KittyError:
            if not path.stat().st_size:
                remove(path)
                _tidy(path)
            raise
        _held[path] = claim
        try:
            yield claim
        finally:
            del _held[path]


def held(mission: Mission, wp_id: str) -> Claim | None:
    """The record of a claim that this process is about to find a place for."""
    return _held.get(_directory(mission) / wp_id)


@contextlib.contextmanager
def left(mission: Mission) -> Iterator[list[str]]:
    """The work packages whose claims were left by commands that were killed, each kept as it is meanwhile."""
    try:
        names = sorted(os.listdir(_directory(mission)))  # noqa: PTH208 - on the way of every append
    except OSError:
        yield []
        return
    with contextlib.ExitStack() as stack:
        found = []
        for name in names:
            path = _directory(mission) / name
            if path in _held:
                if not _held[path].told:
                    found.append(name)
            elif not name.endswith(_TOLD):
                with contextlib.suppress(KittyError):
                    stack.enter_context(lock(path, wait_seconds=0))
                    if path.stat().st_size:
                        found.append(name)
                    else:
                        # Made by this very look: the claim was over after the directory was read. A record says something.
                        remove(path)
                        _tidy(path)
        yield found


def rows_about(state: State, wp_ids: list[str]) -> list[Row]:
    """What the ledger has to be told about claims that were left; nothing about those that never got there, or are over."""
    from kitty_host.ledger.event import transition

    planning = {package.wp_id for package in state.packages if package.planning}
    return [
        transition(
            wp_id,
            state.lane(wp_id),
            BLOCKED,
            actor=RECOVERY,
            mission_id=state.mission.mission_id,
            mission_slug=state.mission.slug,
            direct=wp_id in planning,
            reason=FAILED,
            policy_metadata={"evidence": _KILLED},
        )
        for wp_id in wp_ids
        if state.lane(wp_id) in (CLAIMED, IN_PROGRESS)
    ]


def told(mission: Mission, wp_ids: list[str]) -> None:
    """The ledger has the rows about them. Inside `left`."""
    for wp_id in wp_ids:
        path = _directory(mission) / wp_id
        if path in _held:
            _held[path].told = True
        elif path.exists():
            rename(path, _told(path))


def _directory(mission: Mission) -> Path:
    return mission.repo.state / "claims" / mission.mission_id


def _told(path: Path) -> Path:
    return path.with_name(f"{path.name}{_TOLD}")


def _tidy(path: Path) -> None:
    for directory in (path.parent, path.parent.parent):
        with contextlib.suppress(OSError):
            directory.rmdir()


_held: dict[Path, Claim] = {}
