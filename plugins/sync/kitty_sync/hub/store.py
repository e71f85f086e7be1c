"""The one owner of connections and transactions. There is one writer at a time; readers see what was committed and wait for nobody.

On SQLite: WAL, synchronous FULL, so that a commit is on disk when it returns.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from platformdirs import user_state_path
from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as NoConnection

from kitty_host.api import KittyError
from kitty_host.files import disk_errors, make_directory, write_new
from kitty_sync.hub.refused import busy
from kitty_sync.hub.schema import metadata

_PATIENCE = 20.0
"""Seconds that a writer waits for its turn."""
_BEGIN = "kitty_begin"


def default_database() -> Path:
    """Where a hub keeps what it is given, unless it is told otherwise."""
    return user_state_path("kitty") / "hub.db"


class Store:
    """A database file with its tables, made where there is none, for this user alone. Errors: `HUB_DATABASE`, `READ_ONLY`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        make_directory(path.parent)
        with disk_errors(path), contextlib.suppress(FileExistsError):
            write_new(path, b"")  # SQLite gives its other files the mode of this one
        self._engine = _engine(path)
        self._turn = threading.Lock()
        try:
            with self.writing() as database:
                metadata.create_all(database)
        except DBAPIError as error:
            raise KittyError(
                "HUB_DATABASE",
                f"{path} cannot be used: {error.orig}",
                "name another file with --database, or restore this one",
            ) from error

    @contextlib.contextmanager
    def reading(self) -> Iterator[Connection]:
        """One state of the database, as it was at the first look. Errors: `HUB_BUSY`."""
        with _in_a_moment(), self._engine.connect() as database, database.begin():
            yield database

    @contextlib.contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction that is on disk when this is left, or not at all. Errors: `HUB_BUSY`."""
        if not self._turn.acquire(timeout=_PATIENCE):
            raise busy("too many wait to write")
        try:
            with _in_a_moment(), self._engine.connect() as plain:
                # Whoever writes takes the lock first: a reader that becomes a writer half-way can only fail.
                database = plain.execution_options(**{_BEGIN: "BEGIN IMMEDIATE"})
                with database.begin():
                    yield database
        finally:
            self._turn.release()

    def close(self) -> None:
        """Let go of the file."""
        self._engine.dispose()


def _engine(path: Path) -> Engine:
    engine = create_engine(
        URL.create("sqlite", database=str(path)), connect_args={"timeout": _PATIENCE}, pool_size=10, max_overflow=40
    )

    @event.listens_for(engine, "connect")
    def connected(connection: Any, _: Any) -> None:
        connection.isolation_level = None  # transactions begin below, and not when Python thinks so
        for pragma in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def begun(database: Connection) -> None:
        database.exec_driver_sql(database.get_execution_options().get(_BEGIN, "BEGIN"))

    return engine


@contextlib.contextmanager
def _in_a_moment() -> Iterator[None]:
    """What passes by itself is `HUB_BUSY`."""
    try:
        yield
    except NoConnection as error:
        raise busy("too many requests at once") from error
    except DBAPIError as error:
        code = getattr(error.orig, "sqlite_errorcode", 0) & 0xFF
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            raise busy("the database is in use") from error
        if code in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR):
            raise busy("the disk takes no more") from error
        raise
