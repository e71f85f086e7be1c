"""The one owner of connections and transactions, on both databases. Readers see what was committed and wait for nobody.

All that is written but events is written by one at a time, on PostgreSQL too, so that no room has to think of two. What only one of the two
databases needs is in `sqlite` and `postgresql`.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import TypeVar

from platformdirs import user_state_path
from sqlalchemy import URL, Connection, Engine, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.exc import TimeoutError as NoConnection

from kitty_host.api import KittyError
from kitty_sync.hub import migrations
from kitty_sync.hub.error import HubError, busy
from kitty_sync.hub.postgresql import Postgresql
from kitty_sync.hub.sqlite import Sqlite
from kitty_sync.hub.writer import Crew, Group

T = TypeVar("T")

_POSTGRESQL = ("postgresql", "postgres", "postgresql+psycopg")


def default_database() -> Path:
    """Where a hub keeps what it is given, unless it is told otherwise."""
    return user_state_path("kitty") / "hub.db"


def address_of(said: str, directory: Path) -> URL:
    """A database as a user names it: a file, seen from a directory, or a `postgresql://` address. Errors: `HUB_DATABASE`."""
    if "://" not in said:
        return URL.create("sqlite", database=str((directory / said).absolute()))
    try:
        url = make_url(said)
    except (ArgumentError, ValueError):
        url = None
    if url is None or url.drivername not in _POSTGRESQL:
        message = "the database is neither a file nor postgresql://…"  # what was said may have a password in it
        raise KittyError("HUB_DATABASE", message, "see the databases in docs/hub.md of kitty") from None
    return url.set(drivername="postgresql+psycopg")


def shown(url: URL) -> str:
    """A database as it may be told to anybody."""
    if url.drivername == "sqlite":
        return str(url.database)
    secret = [name for name in url.query if "password" in name]
    return url.difference_update_query(secret).set(drivername="postgresql").render_as_string(hide_password=True)


class Store:
    """A database with its tables, which are made where there are none. Errors: `HUB_BUSY`, `HUB_DATABASE`, `READ_ONLY`.

    A file has one process at a time that serves it, and is for this user alone; a PostgreSQL has any number.
    """

    def __init__(self, database: Path | str | URL) -> None:
        self.url = database if isinstance(database, URL) else address_of(str(database), Path())
        self._kind: Sqlite | Postgresql
        self._kind = Sqlite(self.url) if self.url.drivername == "sqlite" else Postgresql(self.url)
        self._hands: Group | Crew
        self._hands = Group(self.writing, self._explained) if self.is_file else Crew(self.writing, self.adding)
        try:
            self._open()
        except BaseException:
            self.close()
            raise

    def __str__(self) -> str:
        """As it may be told to anybody."""
        return shown(self.url)

    @property
    def is_file(self) -> bool:
        """Whether it is an SQLite file."""
        return self.postgresql is None

    @property
    def postgresql(self) -> Postgresql | None:
        """The server; None of a file."""
        return self._kind if isinstance(self._kind, Postgresql) else None

    @property
    def path(self) -> Path | None:
        """The file; None of a PostgreSQL."""
        return Path(str(self.url.database)) if self.is_file else None

    @contextlib.contextmanager
    def reading(self) -> Iterator[Connection]:
        """One state of the database, as it was at the first look. Errors: `HUB_BUSY`, `HUB_DATABASE`."""
        with self._begun(self._kind.reader) as database:
            yield database

    @contextlib.contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction that is on disk when this is left, or not at all; there is no other one meanwhile. Errors: as of `reading`."""
        with self._kind.turn(), self._begun(self._kind.writer) as database:
            self._kind.be_alone(database)
            yield database

    @contextlib.contextmanager
    def adding(self) -> Iterator[Connection]:
        """The same for adding events, which on PostgreSQL others do as well; so whoever does locks the row of the team first."""
        with self._kind.turn(), self._begun(self._kind.writer) as database:
            yield database

    def later(self, change: Callable[[Connection], T], *, adds: bool = False, team: str = "") -> Future[T]:
        """Write in another thread, in a transaction of `adding` or of `writing`. What `change` gives is on disk when it is told.

        What is for one team is done in turn. Errors: `HUB_BUSY`.
        """
        return self._hands.put(change, adds, team)

    def close(self) -> None:
        """Let go of the database. Nothing may be on its way any more."""
        self._hands.close()
        self._kind.close()

    def _open(self) -> None:
        try:
            self._kind.find()
            migrations.bring_up(self)
        except (DBAPIError, HubError) as error:
            cause = error.__cause__ if isinstance(error, HubError) else error
            if getattr(error, "code", None) == "HUB_BUSY" or not isinstance(cause, DBAPIError):
                raise
            raise KittyError(
                "HUB_DATABASE",
                f"{self} cannot be used: {' '.join(str(cause.orig).split())}",
                "name another with --database, or restore this one",
            ) from error

    @contextlib.contextmanager
    def _begun(self, engine: Engine) -> Iterator[Connection]:
        with self._explained(), engine.connect() as database, database.begin():
            yield database

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        """What passes by itself is `HUB_BUSY`; what somebody has to mend is `HUB_DATABASE`."""
        try:
            yield
        except NoConnection as error:
            raise busy("too many requests at once") from error
        except DBAPIError as error:
            passing = self._kind.passing(error)
            if passing:
                raise busy(passing) from error
            if self._kind.is_broken(error):
                _log.error("%s cannot be used: %s", self, " ".join(str(error.orig).split()))
                message = "the database of the hub cannot be used"
                raise HubError("HUB_DATABASE", 500, message, "its log says why; tell who runs it") from error
            raise


_log = logging.getLogger(__name__)
