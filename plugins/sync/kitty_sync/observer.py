"""What happens after every row: when the command ends, its rows are queued together within 50 ms, or left to `kitty sync backfill`.

The local command succeeds either way, and hears at most one line about it.
"""

from __future__ import annotations

from typing import Any

import click

from kitty_host.api import KittyError
from kitty_host.ledger.event import decode
from kitty_host.mission import Mission
from kitty_host.report import note
from kitty_sync.account import enqueue
from kitty_sync.events import entry_of, leaves
from kitty_sync.queue import Queue
from kitty_sync.settings import cap_of, project_of, target

WAIT_SECONDS = 0.05
_ROWS = "kitty_sync.rows"


def observe(event: dict[str, Any], mission: Mission) -> None:
    """Remember one row until the command is over; outside a command, queue it now."""
    if not leaves(decode(event)):
        return
    context = click.get_current_context(silent=True)
    if context is None:
        settle([(event, mission)])
        return
    root = context.find_root()
    if _ROWS not in root.meta:
        rows = root.meta[_ROWS] = []
        root.call_on_close(lambda: settle(rows))
    root.meta[_ROWS].append((event, mission))


def settle(rows: list[tuple[dict[str, Any], Mission]]) -> None:
    """Queue the rows of one command in one transaction. Whatever stands in the way is told in one line, and nothing is raised."""
    try:
        _enqueue(rows)
    except KittyError as error:
        if error.code != "LOCK_HELD":
            note(f"warning: {error.code}: {error.message}; the ledger has the event; {error.hint}")
    except Exception as error:  # noqa: BLE001 - what is queued has happened; no fault here may look like a failure of it
        note(f"warning: a fault while events were queued: {error!r}; the ledger has them; run: kitty sync backfill")


def _enqueue(rows: list[tuple[dict[str, Any], Mission]]) -> None:
    repo, whither = rows[0][1].repo, target()
    project, cap = project_of(repo), cap_of(repo)
    queue = Queue(whither, wait_seconds=WAIT_SECONDS)
    entries = [entry_of(row, mission, project, whither.tenant) for row, mission in rows]
    with queue.locked():
        outcome = enqueue(queue, entries, cap, str(rows[0][1].ledger.live))
    if outcome.overflowed:
        raise queue.full(cap)
    outcome.complain()
