"""What happens after every row: it is queued within 50 ms, or left to `kitty sync backfill`.

The local command succeeds either way.
"""

from __future__ import annotations

from typing import Any

import click

from kitty_host.api import KittyError
from kitty_host.mission import Mission
from kitty_host.report import note
from kitty_sync.entry import cap_of, entry_of, project_of
from kitty_sync.queue import Queue

WAIT_SECONDS = 0.05
_GIVEN_UP = "kitty_sync.given_up"
_WARNED = "kitty_sync.warned"


def observe(event: dict[str, Any], mission: Mission) -> None:
    """Queue one row. Whatever stands in the way is told in at most one line per invocation, and nothing is raised."""
    invocation = _invocation()
    if invocation.get(_GIVEN_UP):
        return
    try:
        _enqueue(event, mission)
    except KittyError as error:
        # Another row of this invocation would only wait, or find no room, once more.
        invocation[_GIVEN_UP] = error.code != "EVENT_ID_CONFLICT"
        if error.code != "LOCK_HELD" and not invocation.get(_WARNED):
            invocation[_WARNED] = True
            note(f"warning: {error.code}: {error.message}; the ledger has the event; {error.hint}")


def _enqueue(event: dict[str, Any], mission: Mission) -> None:
    project, cap = project_of(mission.repo), cap_of(mission.repo)
    queue = Queue(project, wait_seconds=WAIT_SECONDS)
    with queue.locked():
        outcome = queue.enqueue([entry_of(event, mission, project)], cap)
    if outcome.overflowed:
        raise queue.full(cap)
    outcome.refuse_conflicts()


def _invocation() -> dict[str, Any]:
    """What is remembered until the command ends; nothing outside a command."""
    context = click.get_current_context(silent=True)
    return {} if context is None else context.meta
