"""Moves events between ledgers, queue and drained files.

After a backfill, queue and drained files together hold every row of every ledger of the project, each once. Both ways hold
the queue's lock from the first look at the drained files to the last change, so that no other drain can come between.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

from kitty_host.repo import Repo
from kitty_sync.entry import Entry, ledger_entries
from kitty_sync.overflow import read_overflows, write_overflow
from kitty_sync.queue import Outcome, Queue


def missing_rows(repo: Repo, queue: Queue) -> list[Entry]:
    """The ledger rows that are neither queued nor drained. Errors: `LEDGER_DAMAGED`, `OVERFLOW_DAMAGED`."""
    held = {entry.event_id for entry in queue.entries()} | read_overflows(repo.root, queue.project).keys()
    return [entry for entry in ledger_entries(repo, queue.project) if entry.event_id not in held]


def backfill(repo: Repo, queue: Queue, cap: int) -> Outcome:
    """Queue the ledger rows that are neither queued nor drained, as far as there is room."""
    emitted = ledger_entries(repo, queue.project)
    with queue.locked():
        drained = read_overflows(repo.root, queue.project)
        # A drain that was killed between its file and its deletion left these in both places.
        queue.discard(drained.values())
        return queue.enqueue(emitted, cap, drained)


def drain(repo: Repo, queue: Queue, *, dry_run: bool = False) -> tuple[int, Path | None]:
    """Move what is queued, and what found no room, to a new file.

    Returns the number of events, and the file; None where there is nothing new.
    """
    emitted = ledger_entries(repo, queue.project)
    with contextlib.nullcontext() if dry_run else queue.locked():
        drained = read_overflows(repo.root, queue.project)
        new: dict[str, Entry] = {}
        for entry in (*queue.entries(), *emitted):
            if entry.event_id not in drained:
                new.setdefault(entry.event_id, entry)
        if dry_run:
            return len(new), None
        ordered = sorted(new.values(), key=lambda entry: (entry.at, entry.event_id))
        file = write_overflow(repo.root, queue.project, ordered) if ordered else None
        queue.discard([*drained.values(), *ordered])
        return len(ordered), file
