"""The offline queue: one SQLite file per hub and tenant in the user's state directory, and in it the one place of each event.

It is a cache of the ledgers, never the only copy of an event. SQLite's own waiting is unfair to writers, so that they
queue up for a lock file before they begin: whoever writes holds `locked`.
"""

from __future__ import annotations

import contextlib
import hashlib
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Final, NamedTuple

from platformdirs import user_state_path

from kitty_host.api import KittyError
from kitty_host.files import lock, write_new
from kitty_sync.database import trouble
from kitty_sync.events import Entry
from kitty_sync.settings import Target

PENDING: Final = "pending"
DELIVERED: Final = "delivered"
PARKED: Final = "parked"
DRAINED: Final = "drained"
PLACES: Final = (PENDING, DELIVERED, PARKED, DRAINED)

_VERSION = 1
_TABLES = (
    # `note` is the reason why one is parked, or the file to which one was drained. What is elsewhere has no `line` any more.
    "CREATE TABLE events (seq INTEGER PRIMARY KEY, project TEXT NOT NULL, event_id TEXT NOT NULL, digest TEXT NOT NULL,"
    " at TEXT NOT NULL, place TEXT NOT NULL, line TEXT NOT NULL, note TEXT NOT NULL DEFAULT '', UNIQUE (project, event_id))",
    f"CREATE INDEX pending ON events (seq) WHERE place = '{PENDING}'",
    f"CREATE INDEX drained ON events (note) WHERE place = '{DRAINED}'",
    "CREATE TABLE refusals (kind TEXT NOT NULL, project TEXT NOT NULL, event_id TEXT NOT NULL, expected TEXT NOT NULL,"
    " actual TEXT NOT NULL, source TEXT NOT NULL, line TEXT NOT NULL, UNIQUE (kind, project, event_id, actual, source))",
    # Files that are being written: what they hold is moved when they are on disk.
    "CREATE TABLE drains (file TEXT PRIMARY KEY, project TEXT NOT NULL)",
    # Ledgers of which every row has a place, as they were then.
    "CREATE TABLE seen (ledger TEXT PRIMARY KEY, project TEXT NOT NULL, stamp TEXT NOT NULL)",
)
_ADD = (
    "INSERT INTO events (project, event_id, digest, at, place, line, note) VALUES (?, ?, ?, ?, ?, ?, ?)"
    " ON CONFLICT (project, event_id) DO NOTHING"
)
_SPAN = " - ".join(f"(SELECT {end}(seq) FROM events WHERE place = '{PENDING}')" for end in ("max", "min"))
_THIS = "project = ? AND event_id = ? AND digest = ?"
WAYS_OUT: Final = (
    "drain it to a file: kitty sync drain",
    "expand it: kitty sync expand",
    "flush it to the hub: kitty sync flush",
)


class OfflineQueueFull(KittyError):
    """There was no room for an event: `OFFLINE_QUEUE_FULL`. The ledger has it all the same."""

    def __init__(self, cap: int, depth: int, oldest: str) -> None:
        super().__init__(
            "OFFLINE_QUEUE_FULL",
            f"the offline queue is full: {depth} of {cap} events, the oldest of {oldest}",
            "; or ".join(WAYS_OUT),
            cap=cap,
            depth=depth,
            oldest=oldest,
            ways_out=list(WAYS_OUT),
        )


class Refusal(NamedTuple):
    """Why a recorded event was not taken."""

    kind: str
    """A code: `TENANT_MISMATCH`, `PROJECT_MISMATCH`, `EVENT_ID_CONFLICT`, `SCHEMA_REJECTED`."""
    project: str
    event_id: str
    expected: str
    actual: str
    source: str
    """Where it came from: a ledger, or a file and the number of a line."""
    line: str


class Pending(NamedTuple):
    """An event that waits to be sent."""

    seq: int
    entry: Entry


class Queue:
    """The queue of one hub and tenant."""

    def __init__(self, target: Target, *, wait_seconds: float = 30.0) -> None:
        self.target = target
        name = hashlib.sha256(f"{target.hub}\0{target.tenant}".encode()).hexdigest()[:32]
        self.path = Path(user_state_path("kitty")) / "queue" / f"{name}.db"
        self._lock_file = self.path.with_suffix(".lock")
        self._wait = wait_seconds
        self._database: sqlite3.Connection | None = None
        self._file = (0, 0)

    def locked(self) -> AbstractContextManager[object]:
        """Be the only writer. Errors: `LOCK_HELD` when the wait is over."""
        return lock(self._lock_file, wait_seconds=self._wait, purpose="the offline queue")

    def delivering(self, *, wait_seconds: float | None) -> AbstractContextManager[object]:
        """Be the only one who sends. Errors: `LOCK_HELD`."""
        file = self.path.with_suffix(".deliver")
        return lock(file, wait_seconds=wait_seconds, purpose="the delivery of the offline queue")

    @contextlib.contextmanager
    def changing(self) -> Iterator[Change]:
        """One transaction. Call it under `locked`."""
        with self._open() as database:
            database.execute("BEGIN IMMEDIATE")
            try:
                yield Change(database)
            except BaseException:
                with contextlib.suppress(sqlite3.Error):  # a full disk has rolled it back already
                    database.execute("ROLLBACK")
                raise
            database.execute("COMMIT")

    # Reading

    def pending(self, project: str = "", *, after: int = 0, limit: int = -1) -> list[Pending]:
        """What waits, in the order in which it came: of one project, or of all."""
        rows = self._read(
            f"SELECT seq, project, event_id, digest, at, line FROM events WHERE place = '{PENDING}' AND seq > ?"
            " AND (?2 = '' OR project = ?2) ORDER BY seq LIMIT ?3",
            after, project, limit,
        )  # fmt: skip
        return [Pending(seq, Entry(*entry)) for seq, *entry in rows]

    def known(self) -> Callable[[str, str], tuple[str, str] | None]:
        """A question: the digest and the place of an event of a project; None where it has none."""
        if not self.path.exists():
            return lambda project, event_id: None

        def ask(project: str, event_id: str) -> tuple[str, str] | None:
            found = self._read("SELECT digest, place FROM events WHERE project = ? AND event_id = ?", project, event_id)
            return tuple(found[0]) if found else None

        return ask

    def counted(self, project: str = "") -> dict[str, int]:
        """How many events are in each place: of one project, or of all."""
        rows = self._read("SELECT place, count(*) FROM events WHERE (?1 = '' OR project = ?1) GROUP BY place", project)
        return {**dict.fromkeys(PLACES, 0), **dict(rows)}

    def ids(self, project: str, place: str) -> list[str]:
        """The events of a project in one place, in the order in which they came."""
        rows = self._read("SELECT event_id FROM events WHERE project = ? AND place = ? ORDER BY seq", project, place)
        return [event_id for (event_id,) in rows]

    def parked(self, project: str) -> list[tuple[str, str]]:
        """The parked events of a project, each with its reason."""
        return self._read(
            f"SELECT event_id, note FROM events WHERE project = ? AND place = '{PARKED}' ORDER BY seq", project
        )

    def depth(self) -> int:
        """How many events wait, of all projects."""
        return sum(count for _, count, _ in self.backlog())

    def oldest(self) -> str:
        """The time of the oldest event that waits; empty where none does."""
        return min((at for *_, at in self.backlog()), default="")

    def backlog(self) -> list[tuple[str, int, str]]:
        """Every project with the number of its events that wait and the time of the oldest."""
        return self._read(
            f"SELECT project, count(*), min(at) FROM events WHERE place = '{PENDING}' GROUP BY project ORDER BY project"
        )

    def refusals(self, project: str) -> list[Refusal]:
        """What was not taken, of this project and into it."""
        rows = self._read("SELECT * FROM refusals WHERE project = ? ORDER BY event_id, kind, source", project)
        return [Refusal(*row) for row in rows]

    def drains(self, project: str) -> list[Path]:
        """The files that somebody began to write for a project."""
        return [Path(file) for (file,) in self._read("SELECT file FROM drains WHERE project = ?", project)]

    def files(self, project: str) -> list[Path]:
        """The files that hold drained events of a project."""
        rows = self._read(f"SELECT DISTINCT note FROM events WHERE place = '{DRAINED}' AND project = ?", project)
        return [Path(file) for (file,) in rows]

    def seen(self, ledger: Path) -> str:
        """The stamp of a ledger when all of its rows had a place."""
        found = self._read("SELECT stamp FROM seen WHERE ledger = ?", str(ledger))
        return str(found[0][0]) if found else ""

    def full(self, cap: int) -> OfflineQueueFull:
        """The error that says so, with the ways out."""
        return OfflineQueueFull(cap, self.depth(), self.oldest())

    def _read(self, query: str, *values: Any) -> list[Any]:
        """Rows of a query; none where there is no queue yet, and none is made."""
        if not self.path.exists() or not self.path.stat().st_size:
            return []
        with self._open() as database:
            return database.execute(query, values).fetchall()

    @contextlib.contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        """The connection, which stays: the last one that is closed costs as much as several commits."""
        try:
            yield self._connected()
        except sqlite3.Error as error:
            self.close()
            raise trouble(error, "the offline queue", self.path) or _damaged(self.path, str(error)) from error

    def _connected(self) -> sqlite3.Connection:
        try:
            status = self.path.stat()
        except FileNotFoundError:
            write_new(self.path, b"", 0o600)  # SQLite gives its other files the mode of this one
            status = self.path.stat()
        file = (status.st_dev, status.st_ino)
        if self._database is None or self._file != file:  # it may have been moved away
            self.close()
            self._file = file
            self._database = sqlite3.connect(self.path, timeout=self._wait, isolation_level=None)
            self._database.execute("PRAGMA synchronous = FULL")
            self._database.execute("PRAGMA fullfsync = ON")  # macOS syncs by halves otherwise
            # A log that is begun again this early is written over where it would have grown: that syncs in half the time.
            self._database.execute("PRAGMA wal_autocheckpoint = 250")
            version = self._database.execute("PRAGMA user_version").fetchone()[0]
            if version != _VERSION:
                _make(self._database, self.path, version)
        return self._database

    def close(self) -> None:
        """Let go of the file. It is opened again when something is asked."""
        if self._database is not None:
            self._database.close()
            self._database = None


class Change:
    """What one transaction may do with the queue. Every event stays in exactly one place."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database

    def known(self, project: str, event_id: str) -> tuple[str, str] | None:
        """The digest and the place of an event."""
        found: tuple[str, str] | None = self._database.execute(
            "SELECT digest, place FROM events WHERE project = ? AND event_id = ?", (project, event_id)
        ).fetchone()
        return found

    def depth(self) -> int:
        """How many events wait, of all projects."""
        return int(self._database.execute(f"SELECT count(*) FROM events WHERE place = '{PENDING}'").fetchone()[0])

    def depth_at_most(self) -> int:
        """No fewer than wait, and known at once, where counting takes longer the more there are."""
        span = self._database.execute(f"SELECT {_SPAN}").fetchone()[0]
        return 0 if span is None else int(span) + 1

    def add(self, entry: Entry, place: str = PENDING, note: str = "") -> bool:
        """Give an event that has none a place; False where it has one."""
        line = "" if place == DRAINED else entry.line
        values = (entry.project, entry.event_id, entry.digest, entry.at, place, line, note)
        return self._database.execute(_ADD, values).rowcount == 1

    def requeue(self, entry: Entry) -> None:
        """Let a drained event wait again."""
        self._database.execute(
            f"UPDATE events SET place = '{PENDING}', line = ?, note = '' WHERE {_THIS} AND place = '{DRAINED}'",
            (entry.line, entry.project, entry.event_id, entry.digest),
        )

    def delivered(self, entries: Iterable[Entry]) -> None:
        """The hub has these; what was drained meanwhile stays so."""
        self._settle(entries, DELIVERED, line="''")

    def parked(self, entries: Iterable[tuple[Entry, str]]) -> None:
        """The hub will never take these, for the reasons given."""
        for entry, reason in entries:
            self._settle([entry], PARKED, line="line", note=reason)

    def drained(self, entries: Iterable[Entry], file: Path) -> None:
        """These are in a file that is on disk; those without a place get this one."""
        for entry in entries:
            if not self.add(entry, DRAINED, str(file)):
                self._settle([entry], DRAINED, line="''", note=str(file))
        self._database.execute("DELETE FROM drains WHERE file = ?", (str(file),))

    def _settle(self, entries: Iterable[Entry], place: str, *, line: str, note: str = "") -> None:
        self._database.executemany(
            f"UPDATE events SET place = ?, line = {line}, note = ? WHERE {_THIS} AND place = '{PENDING}'",
            [(place, note, entry.project, entry.event_id, entry.digest) for entry in entries],
        )

    def refuse(self, refusals: Iterable[Refusal]) -> None:
        """Record what was not taken, each once."""
        self._database.executemany("INSERT OR IGNORE INTO refusals VALUES (?, ?, ?, ?, ?, ?, ?)", list(refusals))

    def begin_drain(self, file: Path, project: str) -> None:
        """Record that a file will be written."""
        self._database.execute("INSERT OR REPLACE INTO drains VALUES (?, ?)", (str(file), project))

    def forget_drain(self, file: Path) -> None:
        """It was not written."""
        self._database.execute("DELETE FROM drains WHERE file = ?", (str(file),))

    def forget_file(self, file: Path, project: str) -> None:
        """A drained file is gone: what it held has no place any more, and its ledgers have to be looked at again."""
        self._database.execute(f"DELETE FROM events WHERE place = '{DRAINED}' AND note = ?", (str(file),))
        self._database.execute("DELETE FROM seen WHERE project = ?", (project,))

    def saw(self, ledger: Path, project: str, stamp: str) -> None:
        """All rows of a ledger have a place now."""
        self._database.execute("INSERT OR REPLACE INTO seen VALUES (?, ?, ?)", (str(ledger), project, stamp))


def _make(database: sqlite3.Connection, path: Path, version: int) -> None:
    if version:
        raise _damaged(path, f"it was written by another version of kitty ({version})")
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("BEGIN IMMEDIATE")
    if not database.execute("PRAGMA user_version").fetchone()[0]:  # somebody else may have been faster
        for table in _TABLES:
            database.execute(table)
        database.execute(f"PRAGMA user_version = {_VERSION}")
    database.execute("COMMIT")


def _damaged(path: Path, why: str) -> KittyError:
    again = f"move it away: the ledgers have every event, and kitty sync backfill fills a new queue from them: {path}"
    return KittyError("QUEUE_DAMAGED", f"the offline queue cannot be used: {why}", again, path=str(path))
