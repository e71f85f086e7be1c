"""Gives every row that leaves its place: backfill from the ledgers, drain to files.

After a backfill, delivered + pending + parked + drained is what was emitted, each once. Whoever changes something holds the queue's lock
from the first look to the last change.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from kitty_host.api import KittyError
from kitty_host.files import stamp_of
from kitty_host.mission import Mission, read_missions
from kitty_host.repo import Repo
from kitty_sync.events import Entry, entries_of
from kitty_sync.overflow import directory_of, free_name, read_overflow, write_overflow
from kitty_sync.queue import Queue, Refusal
from kitty_sync.settings import cap_of, project_of

CHUNK = 5_000
"""Events of one transaction, so that a local command that comes in between is not kept waiting."""


class Backfill(NamedTuple):
    """What became of the rows of the ledgers."""

    queued: int = 0
    known: int = 0
    conflicts: tuple[str, ...] = ()
    """Ids that are known with another content; recorded, and nothing is overwritten."""
    overflowed: int = 0
    """Events that found no room."""
    damaged: tuple[KittyError, ...] = ()
    """Missions and ledgers that cannot be read; what is in the others was accounted for."""

    def plus(self, other: Backfill) -> Backfill:
        """Both together."""
        return Backfill(
            self.queued + other.queued,
            self.known + other.known,
            self.conflicts + other.conflicts,
            self.overflowed + other.overflowed,
            self.damaged + other.damaged,
        )

    def complain(self) -> None:
        """Raise what stands in the way of an account: `EVENT_ID_CONFLICT`, `LEDGER_DAMAGED`, `MISSION_DAMAGED`."""
        if self.conflicts:
            raise KittyError(
                "EVENT_ID_CONFLICT",
                f"{len(self.conflicts)} events are known with another content, {self.conflicts[0]} the first of them",
                "what was queued first is kept; compare: kitty sync status --json",
                event_ids=list(self.conflicts),
            )
        for error in self.damaged:
            raise error


def backfill(repo: Repo, queue: Queue) -> Backfill:
    """Queue the rows that have no place, as far as there is room. Errors: `OVERFLOW_DAMAGED`, those of the queue."""
    project, cap = project_of(repo), cap_of(repo)
    with queue.locked():
        _recover(repo, queue, project)
    missions, damaged = read_missions(repo)
    outcome = Backfill(damaged=tuple(damaged))
    for mission in missions:
        try:
            outcome = outcome.plus(_backfill_one(mission, queue, project, cap))
        except KittyError as error:
            if error.code not in ("LEDGER_DAMAGED", "LEDGER_UNREADABLE", "EVENT_ID_CONFLICT"):
                raise
            outcome = outcome.plus(Backfill(damaged=(error,)))
    return outcome


def filled(repo: Repo, queue: Queue, *, auto_drain: bool) -> tuple[Backfill, int, Path | None]:
    """Backfill, and drain what finds no room if that is wanted; the outcome, how many were drained, and to which file.

    Errors: `OFFLINE_QUEUE_FULL`, and what makes the account wrong.
    """
    outcome = backfill(repo, queue)
    count, file = 0, None
    if outcome.overflowed:
        if not auto_drain:
            raise queue.full(cap_of(repo))
        count, file = drain(repo, queue)
    outcome.complain()
    return outcome, count, file


def enqueue(queue: Queue, entries: Iterable[Entry], cap: int, source: str) -> Backfill:
    """Queue what has no place, in one transaction. Call it under `locked`."""
    queued = known = overflowed = 0
    conflicts: list[str] = []
    with queue.changing() as change:
        room, is_exact = cap - change.depth_at_most(), False
        for entry in entries:
            if room <= 0 and not is_exact:
                room, is_exact = cap - change.depth(), True
            if room > 0 and change.add(entry):
                room, queued = room - 1, queued + 1
                continue
            found = change.known(entry.project, entry.event_id)
            if found is None:
                overflowed += 1
            elif found[0] == entry.digest:
                known += 1
            else:
                conflicts.append(entry.event_id)
                change.refuse([conflict(entry, found[0], source)])
    return Backfill(queued, known, tuple(conflicts), overflowed)


def conflict(entry: Entry, kept: str, source: str) -> Refusal:
    """One id with two contents."""
    return Refusal("EVENT_ID_CONFLICT", entry.project, entry.event_id, kept, entry.digest, source, entry.line)


def missing(repo: Repo, queue: Queue) -> list[Entry]:
    """The rows that have no place. Errors: `LEDGER_DAMAGED`, `OVERFLOW_DAMAGED`."""
    project, known = project_of(repo), queue.known()
    _kept(repo, queue, project)
    return [
        entry
        for mission in read_missions(repo)[0]
        if not _is_accounted_for(mission, queue)
        for entry in entries_of(mission, project, queue.target.tenant)
        if known(entry.project, entry.event_id) is None
    ]


def drain(repo: Repo, queue: Queue, *, dry_run: bool = False) -> tuple[int, Path | None]:
    """Move what waits for this project, and what found no room, to a new file.

    Returns the number of events, and the file; None where there is nothing to move.
    """
    project = project_of(repo)
    if dry_run:
        return len(queue.pending(project)) + len(missing(repo, queue)), None
    with queue.locked():
        _recover(repo, queue, project)
        entries = [one.entry for one in queue.pending(project)] + missing(repo, queue)
        if not entries:
            return 0, None
        entries.sort(key=lambda entry: (entry.at, entry.event_id))
        file = free_name(repo.root)
        _write(queue, file, entries, project)
    return len(entries), file


def drain_all(queue: Queue, file: Path) -> int:
    """Move what waits for every project to a file somewhere else. Returns the number of events. Errors: `FILE_EXISTS`."""
    if file.exists():
        raise KittyError("FILE_EXISTS", f"{file} is there already", "name another file", path=str(file))
    with queue.locked():
        entries = [one.entry for one in queue.pending()]
        if entries:
            _write(queue, file, entries, "")
    return len(entries)


def _write(queue: Queue, file: Path, entries: Sequence[Entry], project: str) -> None:
    with queue.changing() as change:
        change.begin_drain(file, project)
    write_overflow(file, queue.target, entries)
    with queue.changing() as change:
        change.drained(entries, file)


def _recover(repo: Repo, queue: Queue, project: str) -> None:
    """Finish or forget drains that were killed; what was in files of this checkout that are gone is missing again."""
    for file in [*queue.drains(project), *queue.drains("")]:
        if file.exists():
            entries = [_entry(json.loads(line), line.decode()) for line in read_overflow(file)]
            with queue.changing() as change:
                change.drained(entries, file)
        else:
            with queue.changing() as change:
                change.forget_drain(file)
    for file in _kept(repo, queue, project):
        with queue.changing() as change:
            change.forget_file(file, project)


def _kept(repo: Repo, queue: Queue, project: str) -> list[Path]:
    """Look at the drained files of this checkout, and return those that are gone. Errors: `OVERFLOW_DAMAGED`.

    Others were taken somewhere else on purpose, or are another checkout's.
    """
    files = [file for file in queue.files(project) if file.parent == directory_of(repo.root)]
    gone = [file for file in files if not file.exists()]
    for file in files:
        if file not in gone:
            read_overflow(file)
    return gone


def _entry(record: dict[str, Any], line: str) -> Entry:
    row = record["event"]
    at = row.get("timestamp") or row.get("at") or ""
    return Entry(record["project"], record["event_id"], record["digest"], str(at), line)


def _backfill_one(mission: Mission, queue: Queue, project: str, cap: int) -> Backfill:
    if _is_accounted_for(mission, queue):
        return Backfill()
    stamp = _stamp(mission)
    outcome = Backfill()
    for chunk in _chunks(entries_of(mission, project, queue.target.tenant)):
        with queue.locked():
            outcome = outcome.plus(enqueue(queue, chunk, cap, str(mission.ledger.live)))
    if stamp and not outcome.overflowed and not outcome.conflicts:
        with queue.locked(), queue.changing() as change:
            change.saw(mission.ledger.live, project, stamp)
    return outcome


def _chunks(entries: Iterator[Entry]) -> Iterator[list[Entry]]:
    while chunk := list(islice(entries, CHUNK)):
        yield chunk


def _is_accounted_for(mission: Mission, queue: Queue) -> bool:
    return bool(stamp := _stamp(mission)) and queue.seen(mission.ledger.live) == stamp


def _stamp(mission: Mission) -> str:
    """What the ledger is known by; empty for one that is written elsewhere too, which no file tells."""
    ledger = mission.ledger
    return "" if ledger.lines_elsewhere() else json.dumps([stamp_of(ledger.live), stamp_of(ledger.twin)])
