"""A hub in a file: WAL, synchronous FULL, in full on macOS too, so that a commit is on disk when it returns. One writes at a time."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError

from kitty_host.files import disk_errors, lock, make_directory, write_new
from kitty_sync.hub.error import busy

PATIENCE = 5.0
"""Seconds that a writer waits for its turn."""
_BROKEN = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY)


class Sqlite:
    """The engines of a file, and what its errors mean."""

    def __init__(self, url: URL) -> None:
        self._path = Path(str(url.database))
        self.reader = _engine(url, "BEGIN", pool_size=10, max_overflow=40)
        # Whoever writes takes the lock first: a reader that becomes a writer half-way can only fail. It is always the same connection,
        # whose pages in memory nobody else has made stale.
        self.writer = _engine(url, "BEGIN IMMEDIATE", pool_size=1, max_overflow=0)
        self._turn = threading.Lock()

    def find(self) -> None:
        """Make the file where there is none, for this user alone."""
        make_directory(self._path.parent)
        with disk_errors(self._path), contextlib.suppress(FileExistsError):
            write_new(self._path, b"")  # SQLite gives its other files the mode of this one

    @contextlib.contextmanager
    def turn(self) -> Iterator[None]:
        """Wait for the others of this process; SQLite's own waiting is unfair."""
        if not self._turn.acquire(timeout=PATIENCE):
            raise busy("too many wait to write")
        try:
            yield
        finally:
            self._turn.release()

    def be_alone(self, database: Connection) -> None:
        """Every transaction that writes is."""

    def passing(self, error: DBAPIError) -> str:
        """What is told of an error that passes by itself; else nothing."""
        code = _code(error)
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            return "the database is in use"
        return "the disk takes no more" if code in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR) else ""

    def is_broken(self, error: DBAPIError) -> bool:
        """Whether somebody has to see to the file."""
        return _code(error) in _BROKEN or "no such table" in str(error.orig)

    def close(self) -> None:
        """Let go of the file."""
        self.reader.dispose()
        self.writer.dispose()


def alone(file: Path, *, sign: bool = False) -> contextlib.AbstractContextManager[object]:
    """Be the only one who serves a file, or makes it. Errors: `LOCK_HELD`."""
    return lock(file.with_name(f"{file.name}.lock"), wait_seconds=0, purpose=f"the hub's database {file}", sign=sign)


def _code(error: DBAPIError) -> int:
    code: int = getattr(error.orig, "sqlite_errorcode", 0)
    return code & 0xFF


def _engine(url: URL, begin: str, **pool: int) -> Engine:
    engine = create_engine(url, connect_args={"timeout": PATIENCE}, hide_parameters=True, **pool)

    @event.listens_for(engine, "connect")
    def connected(connection: Any, _: Any) -> None:
        connection.isolation_level = None  # transactions begin below, and not when Python thinks so
        for pragma in ("journal_mode = WAL", "synchronous = FULL", "fullfsync = ON", "foreign_keys = ON"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def begun(database: Connection) -> None:
        database.exec_driver_sql(begin)

    return engine
