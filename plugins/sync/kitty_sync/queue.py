"""The offline queue: one SQLite file per hub and tenant in the user's state directory.

It is a cache of the ledgers, never the only copy of an event. SQLite's own waiting is unfair to writers, so that they
queue up for a lock file before they begin: whoever writes holds `locked`.
"""

from __future__ import annotations

import contextlib
import hashlib
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from platformdirs import user_state_path

from kitty_host.api import KittyError
from kitty_host.files import lock, write_new
from kitty_sync.entry import HUB, TENANT, Entry

_TABLES = (
    "CREATE TABLE IF NOT EXISTS events (seq INTEGER PRIMARY KEY, tenant TEXT NOT NULL, project TEXT NOT NULL,"
    " event_id TEXT NOT NULL, digest TEXT NOT NULL, at TEXT NOT NULL, line TEXT NOT NULL,"
    " UNIQUE (tenant, project, event_id))",
    "CREATE TABLE IF NOT EXISTS conflicts (tenant TEXT NOT NULL, project TEXT NOT NULL, event_id TEXT NOT NULL,"
    " kept TEXT NOT NULL, offered TEXT NOT NULL, line TEXT NOT NULL, UNIQUE (tenant, project, event_id, offered))",
)
_THIS = "tenant = ? AND project = ?"
_TROUBLE = {
    "SQLITE_BUSY": ("LOCK_HELD", "wait for the other process to end and run this again"),
    "SQLITE_FULL": ("DISK_FULL", "free some space and run it again"),
    "SQLITE_READONLY": ("READ_ONLY", "make it writable for this user and run it again"),
    "SQLITE_CANTOPEN": ("READ_ONLY", "make it writable for this user and run it again"),
}


class OfflineQueueFull(KittyError):
    """There was no room for an event: `OFFLINE_QUEUE_FULL`. The ledger has it all the same."""

    def __init__(self, cap: int, depth: int, oldest: str, ways_out: Sequence[str]) -> None:
        super().__init__(
            "OFFLINE_QUEUE_FULL",
            f"the offline queue is full: {depth} of {cap} events, the oldest of {oldest}",
            "; or ".join(ways_out),
            cap=cap,
            depth=depth,
            oldest=oldest,
            ways_out=list(ways_out),
        )


class Outcome(NamedTuple):
    """What became of the entries that were offered."""

    queued: int
    known: int
    conflicts: tuple[str, ...]
    """Ids that are known with another content; recorded, and nothing is overwritten."""
    overflowed: int
    """Entries that found no room."""

    def refuse_conflicts(self) -> None:
        """Raise `EVENT_ID_CONFLICT` if there were any."""
        if self.conflicts:
            raise KittyError(
                "EVENT_ID_CONFLICT",
                f"{len(self.conflicts)} events are known with another content, {self.conflicts[0]} the first of them",
                "what was queued or drained first is kept; compare: kitty sync status --json",
                event_ids=list(self.conflicts),
            )


class Queue:
    """The queue of one hub and tenant, seen from one project."""

    def __init__(self, project: str, *, wait_seconds: float = 30.0) -> None:
        self.project = project
        name = hashlib.sha256(f"{HUB}\0{TENANT}".encode()).hexdigest()[:32]
        self.path = Path(user_state_path("kitty")) / "queue" / f"{name}.db"
        self._wait = wait_seconds

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Be the only writer. Errors: `LOCK_HELD` when the wait is over."""
        with lock(self.path.with_suffix(".lock"), wait_seconds=self._wait, purpose="the offline queue"):
            if not self.path.exists():
                write_new(self.path, b"", 0o600)  # SQLite gives its other files the mode of this one
            yield

    def enqueue(
        self, entries: Iterable[Entry], cap: int, drained: Mapping[str, Entry] = MappingProxyType({})
    ) -> Outcome:
        """Add what is neither queued nor drained, up to the cap, in one transaction. Call it under `locked`."""
        queued = known = overflowed = 0
        conflicts: list[tuple[Entry, str]] = []
        with self._transaction() as database:
            depth = int(database.execute("SELECT count(*) FROM events").fetchone()[0])
            for entry in entries:
                elsewhere = drained.get(entry.event_id)
                kept = elsewhere.digest if elsewhere else self._digest(database, entry.event_id)
                if kept == entry.digest:
                    known += 1
                elif kept is not None:
                    conflicts.append((entry, kept))
                elif depth >= cap:
                    overflowed += 1
                else:
                    values = (TENANT, self.project, entry.event_id, entry.digest, entry.at, entry.line)
                    database.execute(
                        "INSERT INTO events (tenant, project, event_id, digest, at, line) VALUES (?, ?, ?, ?, ?, ?)",
                        values,
                    )
                    depth, queued = depth + 1, queued + 1
            database.executemany(
                "INSERT OR IGNORE INTO conflicts (tenant, project, event_id, kept, offered, line) VALUES (?, ?, ?, ?, ?, ?)",
                [(TENANT, self.project, entry.event_id, kept, entry.digest, entry.line) for entry, kept in conflicts],
            )
        return Outcome(queued, known, tuple(entry.event_id for entry, _ in conflicts), overflowed)

    def discard(self, entries: Iterable[Entry]) -> None:
        """Delete entries of the same id and content. Call it under `locked`."""
        with self._transaction() as database:
            database.executemany(
                f"DELETE FROM events WHERE {_THIS} AND event_id = ? AND digest = ?",
                [(TENANT, self.project, entry.event_id, entry.digest) for entry in entries],
            )

    def entries(self) -> list[Entry]:
        """The entries of this project, in the order in which they came."""
        return [
            Entry(*row)
            for row in self._read(
                f"SELECT event_id, digest, at, line FROM events WHERE {_THIS} ORDER BY seq", TENANT, self.project
            )
        ]

    def depth(self) -> int:
        """How many events there are, of all projects."""
        return sum(count for _, count, _ in self.backlog())

    def oldest(self) -> str:
        """The time of the oldest event; empty where there is none."""
        return min((at for *_, at in self.backlog()), default="")

    def backlog(self) -> list[tuple[str, int, str]]:
        """Every project with the number of its events and the time of the oldest."""
        return self._read("SELECT project, count(*), min(at) FROM events GROUP BY project ORDER BY project")

    def conflicts(self) -> list[tuple[str, str, str, str]]:
        """Project, event id, the digest that was kept and the one that was offered."""
        return self._read("SELECT project, event_id, kept, offered FROM conflicts ORDER BY project, event_id, offered")

    def full(self, cap: int) -> OfflineQueueFull:
        """The error that says so, with the ways out."""
        ways = ("run: kitty sync drain", "raise sync.queue_max_events in .kittify/config.yaml")
        return OfflineQueueFull(cap, self.depth(), self.oldest(), ways)

    def _digest(self, database: sqlite3.Connection, event_id: str) -> str | None:
        found = database.execute(
            f"SELECT digest FROM events WHERE {_THIS} AND event_id = ?", (TENANT, self.project, event_id)
        ).fetchone()
        return found[0] if found else None

    def _read(self, query: str, *values: str) -> list[Any]:
        """Rows of a query; none where there is no queue yet, and none is made."""
        if not self.path.exists():
            return []
        with self._open() as database:
            return database.execute(query, values).fetchall()

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._open() as database:
            database.execute("BEGIN IMMEDIATE")
            try:
                yield database
            except BaseException:
                database.execute("ROLLBACK")
                raise
            database.execute("COMMIT")

    @contextlib.contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        try:
            database = sqlite3.connect(self.path, timeout=self._wait, isolation_level=None)
            try:
                database.execute("PRAGMA journal_mode = WAL")
                database.execute("PRAGMA synchronous = FULL")
                for table in _TABLES:
                    database.execute(table)
                yield database
            finally:
                database.close()
        except sqlite3.Error as error:
            raise _refusal(self.path, error) from error


def _refusal(path: Path, error: sqlite3.Error) -> KittyError:
    name = "_".join(str(getattr(error, "sqlite_errorname", "")).split("_")[:2])
    again = f"move it away: the ledgers have every event, and kitty sync backfill fills a new queue from them: {path}"
    code, hint = _TROUBLE.get(name, ("QUEUE_DAMAGED", again))
    return KittyError(code, f"the offline queue cannot be used: {error}", hint, path=str(path))
