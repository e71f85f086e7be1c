"""A copy of a hub's SQLite file while it serves, and the way back.

A copy is one state of the file, and is looked at before it has its name. Whoever restores one gets what was stored until then: sessions
end, since some may have been revoked later, and events are numbered on far beyond, since a number that somebody has seen is never given
to another event. PostgreSQL has its own tools for this.
"""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from attrs import frozen

from kitty_host.api import KittyError
from kitty_host.files import disk_errors, rename, sync_file, temporary, write_new
from kitty_sync.hub.ingest import digest_of_record
from kitty_sync.hub.sqlite import alone

_PAGES = 2000
"""Pages of a step, between which is told how far it is."""
_GAP = 1_000_000_000
"""Numbers that are left out after a restore."""
Told = Callable[[int, int], None]
"""Hears how much of how much is done."""


@frozen
class Copy:
    """What a copy holds."""

    path: Path
    size: int
    """Bytes."""
    teams: int
    events: int


def back_up(database: Path, target: Path, told: Told = lambda done, of: None) -> Copy:
    """Copy a hub's file. Errors: `FILE_EXISTS`, `HUB_DATABASE`, `DISK_FULL`, `READ_ONLY`."""
    return _copied(database, target, told)


def restore(copy: Path, database: Path, told: Told = lambda done, of: None) -> Copy:
    """Make a hub's file of a copy, at a place where there is none. Errors: `FILE_EXISTS`, `HUB_DATABASE`, `LOCK_HELD`."""
    with alone(database):
        return _copied(copy, database, told, _begin_anew)


def _copied(
    source: Path, target: Path, told: Told, change: Callable[[sqlite3.Connection], None] = lambda copy: None
) -> Copy:
    # A log that was left beside a file that is gone would be played into the new one, and take its place.
    for there in (target, *(target.with_name(f"{target.name}{end}") for end in ("-wal", "-shm", "-journal"))):
        if there.exists():
            raise KittyError(
                "FILE_EXISTS", f"{there} is there already", "move it away, or name another file", path=str(there)
            )
    if not source.is_file():
        raise KittyError("HUB_DATABASE", f"there is no file {source}", "name one with --database", path=str(source))
    scratch = temporary(target.parent)
    with disk_errors(target), _sqlite_errors(source):
        write_new(scratch, b"")
        try:
            _copy(source, scratch, told)
            with contextlib.closing(sqlite3.connect(scratch, isolation_level=None)) as copy:
                # A file of its own, without a log beside it that would have to be moved with it.
                copy.execute("PRAGMA journal_mode = DELETE")
                teams, events = _looked_at(copy, source)
                change(copy)
            sync_file(scratch)
            size = scratch.stat().st_size
            rename(scratch, target)
        finally:
            scratch.unlink(missing_ok=True)
    return Copy(target, size, teams, events)


def _copy(source: Path, target: Path, told: Told) -> None:
    with (
        contextlib.closing(sqlite3.connect(f"file:{source.absolute()}?mode=ro", uri=True, isolation_level=None)) as one,
        contextlib.closing(sqlite3.connect(target, isolation_level=None)) as other,
    ):
        # Inside one transaction all steps see one state, whoever writes meanwhile; without it, each write would begin it anew.
        one.execute("BEGIN")
        one.execute("SELECT count(*) FROM sqlite_master").fetchone()
        one.backup(other, pages=_PAGES, progress=lambda _, left, of: told(of - left, of))


def _looked_at(copy: sqlite3.Connection, source: Path) -> tuple[int, int]:
    """How many teams and events there are. Errors: `HUB_DATABASE` where anything is not as it was stored."""
    sound = copy.execute("PRAGMA integrity_check").fetchone()[0]
    if sound != "ok":
        raise _damaged(source, sound)
    if broken := copy.execute("PRAGMA foreign_key_check").fetchone():
        raise _damaged(source, f"a row of {broken[0]} belongs to nothing")
    last = dict(copy.execute("SELECT id, last_seq FROM teams"))
    count = 0
    for team_id, seq, event_id, digest, record in copy.execute(
        "SELECT team_id, seq, event_id, digest, record FROM events"
    ):
        count += 1
        if seq > last[team_id]:
            raise _damaged(source, f"the event {event_id} has a number that was never given")
        if digest_of_record(record) != digest:
            raise _damaged(source, f"the event {event_id} is not what was stored")
    return len(last), count


def _begin_anew(copy: sqlite3.Connection) -> None:
    for table in ("sessions", "visits"):
        copy.execute(f"UPDATE {table} SET revoked_at = ? WHERE revoked_at IS NULL", (time.time(),))
    for table in ("grants", "links"):
        copy.execute(f"DELETE FROM {table}")
    copy.execute("UPDATE teams SET last_seq = last_seq + ?", (_GAP,))


@contextlib.contextmanager
def _sqlite_errors(source: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        if getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_FULL:
            raise KittyError("DISK_FULL", f"no space left: {error}", "free some space and run it again") from error
        raise _damaged(source, str(error)) from error


def _damaged(source: Path, why: str) -> KittyError:
    return KittyError(
        "HUB_DATABASE", f"{source} cannot be used: {why}", "take another copy, or another file", path=str(source)
    )
