"""What this clone knows of a tracker: links, what both sides last agreed on, what is about to be asked, what failed.

One SQLite file below the common Git directory. Each method is one transaction. Whoever writes holds `lock`.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from attrs import evolve, field, frozen

from kitty_host.api import KittyError
from kitty_host.files import lock, make_directory
from kitty_sync.database import trouble
from kitty_sync.retry import Attempt
from kitty_sync.tracker.merge import Base, Value

_KEPT = 20
_TABLES = (
    "CREATE TABLE IF NOT EXISTS links (provider TEXT, workspace TEXT, mission_id TEXT, wp_id TEXT, issue TEXT NOT NULL,"
    " name TEXT NOT NULL, url TEXT NOT NULL, revision INTEGER NOT NULL, gone INTEGER NOT NULL, base TEXT NOT NULL, seen TEXT NOT NULL,"
    " PRIMARY KEY (provider, workspace, mission_id, wp_id), UNIQUE (provider, workspace, issue))",
    "CREATE TABLE IF NOT EXISTS intents (provider TEXT, workspace TEXT, mission_id TEXT, wp_id TEXT, kind TEXT NOT NULL,"
    " revision INTEGER NOT NULL, patch TEXT NOT NULL, key TEXT NOT NULL, at TEXT NOT NULL,"
    " PRIMARY KEY (provider, workspace, mission_id, wp_id))",
    "CREATE TABLE IF NOT EXISTS failures (id INTEGER PRIMARY KEY, provider TEXT NOT NULL, workspace TEXT NOT NULL,"
    " mission_id TEXT NOT NULL, wp_id TEXT NOT NULL, at TEXT NOT NULL, status INTEGER, reason TEXT NOT NULL,"
    " body TEXT NOT NULL, history TEXT NOT NULL)",
)
_THESE = "provider = ? AND workspace = ? AND mission_id = ?"
_THIS = f"{_THESE} AND wp_id = ?"


@frozen
class Link:
    """A work package and its issue."""

    wp_id: str
    issue: str
    """The id in the tracker."""
    name: str = ""
    """As people call it, such as `#12`."""
    url: str = ""
    revision: int = 0
    """How often the base has changed."""
    gone: bool = False
    """Whether the tracker did not have it when it was last asked."""
    base: Mapping[str, Base] = field(factory=dict)
    seen: Mapping[str, Value] = field(factory=dict)
    """The issue's fields when it was last looked at."""

    def agreed(self, base: Mapping[str, Base]) -> Link:
        """The same with another base of some fields."""
        return evolve(self, base={**self.base, **base}, revision=self.revision + 1) if base else self


class Intent(NamedTuple):
    """What was going to be asked of the tracker, and whose answer nobody has noted."""

    wp_id: str
    kind: str
    """`create` or `update`."""
    revision: int
    """Of the base it started from."""
    patch: Mapping[str, Value]
    key: str
    at: str


class Failure(NamedTuple):
    """What failed for ever."""

    wp_id: str
    at: str
    status: int | None
    reason: str
    body: str
    """At most 2 KB, inert."""
    history: tuple[Attempt, ...]


class Links:
    """The links of one mission with one workspace of a tracker."""

    def __init__(self, state: Path, provider: str, workspace: str, mission_id: str) -> None:
        self.path = state / "tracker.db"
        self._these = (provider, workspace, mission_id)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Be the only one who talks to a tracker for this repository. Errors: `LOCK_HELD`, at once."""
        path = self.path.with_suffix(".lock")
        make_directory(path.parent)
        with lock(path, wait_seconds=0, purpose="the exchange with the tracker", sign=True):
            yield

    def links(self) -> dict[str, Link]:
        """Every link, by work package."""
        found = self._read(
            f"SELECT wp_id, issue, name, url, revision, gone, base, seen FROM links WHERE {_THESE}", *self._these
        )
        return {
            wp_id: Link(wp_id, issue, name, url, revision, bool(gone), _bases(base), _values(seen))
            for wp_id, issue, name, url, revision, gone, base, seen in found
        }

    def taken(self) -> set[str]:
        """The ids of all issues of the workspace that any work package of any mission is linked with."""
        query = "SELECT issue FROM links WHERE provider = ? AND workspace = ?"
        return {row[0] for row in self._read(query, *self._these[:2])}

    def save(self, link: Link) -> None:
        """Write a link; the intent of its work package, if there is one, is settled with it."""
        base = json.dumps(link.base)
        values = (link.issue, link.name, link.url, link.revision, int(link.gone), base, json.dumps(link.seen))
        with self._transaction() as database:
            database.execute(
                "INSERT INTO links (provider, workspace, mission_id, wp_id, issue, name, url, revision, gone, base, seen)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (provider, workspace, mission_id, wp_id) DO UPDATE SET"
                " issue = excluded.issue, name = excluded.name, url = excluded.url, revision = excluded.revision,"
                " gone = excluded.gone, base = excluded.base, seen = excluded.seen",
                (*self._these, link.wp_id, *values),
            )
            database.execute(f"DELETE FROM intents WHERE {_THIS}", (*self._these, link.wp_id))

    def forget(self, wp_id: str) -> None:
        """Take a link and its intent away."""
        with self._transaction() as database:
            for table in ("links", "intents"):
                database.execute(f"DELETE FROM {table} WHERE {_THIS}", (*self._these, wp_id))

    def intents(self) -> dict[str, Intent]:
        """What is open, by work package; there is one at most of each."""
        query = f"SELECT wp_id, kind, revision, patch, key, at FROM intents WHERE {_THESE} ORDER BY wp_id"
        found = self._read(query, *self._these)
        return {
            wp_id: Intent(wp_id, kind, revision, _values(patch), key, at)
            for wp_id, kind, revision, patch, key, at in found
        }

    def intend(self, intent: Intent) -> None:
        """Write down what will be asked; it is on disk when this returns."""
        with self._transaction() as database:
            database.execute(
                "INSERT OR REPLACE INTO intents (provider, workspace, mission_id, wp_id, kind, revision, patch, key, at)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (*self._these, intent.wp_id, intent.kind, intent.revision, json.dumps(intent.patch), *intent[4:]),
            )

    def withdraw(self, wp_id: str) -> None:
        """An intent came to nothing, for certain."""
        with self._transaction() as database:
            database.execute(f"DELETE FROM intents WHERE {_THIS}", (*self._these, wp_id))

    def failures(self) -> list[Failure]:
        """The last failures, the latest first."""
        query = f"SELECT wp_id, at, status, reason, body, history FROM failures WHERE {_THESE} ORDER BY id DESC"
        found = self._read(query, *self._these)
        return [
            Failure(wp_id, at, status, reason, body, tuple(Attempt(*one) for one in json.loads(history)))
            for wp_id, at, status, reason, body, history in found
        ]

    def failed(self, failure: Failure) -> None:
        """Remember a failure, and forget those before the last 20."""
        with self._transaction() as database:
            values = (*self._these, *failure[:5], json.dumps(failure.history))
            database.execute(
                "INSERT INTO failures (provider, workspace, mission_id, wp_id, at, status, reason, body, history)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                values,
            )
            database.execute("DELETE FROM failures WHERE id <= (SELECT max(id) FROM failures) - ?", (_KEPT,))

    def _read(self, query: str, *values: str) -> list[Any]:
        """Rows of a query; none where nothing was ever written, and nothing is made."""
        if not self.path.exists():
            return []
        with self._open("rw") as database:
            return database.execute(query, values).fetchall()

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        make_directory(self.path.parent)
        with self._open("rwc") as database:
            database.execute("PRAGMA synchronous = FULL")
            database.execute("PRAGMA fullfsync = ON")  # macOS syncs by halves otherwise
            database.execute("BEGIN IMMEDIATE")
            try:
                for table in _TABLES:
                    database.execute(table)
                yield database
            except BaseException:
                database.execute("ROLLBACK")
                raise
            database.execute("COMMIT")

    @contextlib.contextmanager
    def _open(self, mode: str) -> Iterator[sqlite3.Connection]:
        try:
            # A journal that is rolled back and not WAL: then a mere question leaves no file behind.
            database = sqlite3.connect(f"{self.path.as_uri()}?mode={mode}", timeout=5, isolation_level=None, uri=True)
            try:
                yield database
            finally:
                database.close()
        except sqlite3.Error as error:
            raise trouble(error, "the links with the tracker", self.path) or _damaged(self.path, error) from error


def now() -> str:
    """UTC, ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _bases(text: str) -> dict[str, Base]:
    return {name: Base(*map(_value, pair)) for name, pair in json.loads(text).items()}


def _values(text: str) -> dict[str, Value]:
    return {name: _value(value) for name, value in json.loads(text).items()}


def _value(value: Any) -> Value:
    return tuple(value) if isinstance(value, list) else str(value)


def _damaged(path: Path, error: sqlite3.Error) -> KittyError:
    again = f"move it away: issues are then found again by their marks: {path}"
    return KittyError("TRACKER_DAMAGED", f"the links with the tracker cannot be used: {error}", again, path=str(path))
