"""`kitty sync`: look at the offline queue, empty it to a file, fill it again from the ledgers. How is in `transfer`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from kitty_host.command import Invocation, command, group
from kitty_sync.switch import require_enabled

if TYPE_CHECKING:  # nothing here may load SQLite before it is known that sync is enabled
    from kitty_sync.queue import Queue

sync = group("sync", help="Look at the offline queue, empty it to a file, fill it again.")


@command("status", group=sync)
def status(call: Invocation) -> None:
    """Say how full the queue is and what it lacks."""
    queue = _queue(call)
    from kitty_sync.transfer import missing_rows

    missing = len(missing_rows(call.repo, queue))
    backlog = [{"project": name, "depth": depth, "oldest": at} for name, depth, at in queue.backlog()]
    conflicts = [
        {"project": name, "event_id": event_id, "kept": kept, "offered": offered}
        for name, event_id, kept, offered in queue.conflicts()
    ]
    payload = {
        **_measured(call, queue),
        "oldest": queue.oldest() or None,
        "backlog": backlog,
        "missing": missing,
        "conflicts": conflicts,
    }
    lines = [f"{payload['depth']} of {payload['cap']} events are queued."]
    lines += [f"  {one['project']}: {one['depth']}, the oldest of {one['oldest']}" for one in backlog]
    lines += [f"{missing} rows of this project are neither queued nor drained: kitty sync backfill"] if missing else []
    lines += [f"conflict: {one['event_id']} was offered with another content" for one in conflicts]
    call.show(payload, "\n".join(lines))


@command("drain", group=sync)
@click.option("--dry-run", is_flag=True, help="Only say what would be drained.")
def drain(call: Invocation, dry_run: bool) -> None:
    """Move this project's events to a file below .kittify/sync, those included that found no room in the queue."""
    queue = _queue(call)
    from kitty_sync import transfer

    count, path = transfer.drain(call.repo, queue, dry_run=dry_run)
    file = call.repo.relative(path) if path else None
    if dry_run:
        text = f"{count} events would be drained."
    else:
        text = f"{count} events drained to {file}." if file else "There is nothing to drain."
    call.show({**_measured(call, queue), "drained": count, "file": file, "dry_run": dry_run}, text)


@command("backfill", group=sync)
@click.option("--auto-drain", is_flag=True, help="Where the queue is full, drain this project's events to a file.")
def backfill(call: Invocation, auto_drain: bool) -> None:
    """Queue every row of the ledgers that is neither queued nor drained."""
    queue = _queue(call)
    from kitty_sync import transfer
    from kitty_sync.entry import cap_of

    cap = cap_of(call.repo)
    outcome = transfer.backfill(call.repo, queue, cap)
    drained, path = 0, None
    if outcome.overflowed:
        if not auto_drain:
            raise queue.full(cap)
        drained, path = transfer.drain(call.repo, queue)
    outcome.refuse_conflicts()
    file = call.repo.relative(path) if path else None
    text = f"{outcome.queued} events queued, {outcome.known} were known."
    text += f"\nThe queue was full: {drained} events drained to {file}." if file else ""
    payload = {"queued": outcome.queued, "known": outcome.known, "drained": drained, "file": file}
    call.show({**_measured(call, queue), **payload}, text)


def _queue(call: Invocation) -> Queue:
    """The queue of the project. Errors: `SYNC_DISABLED`, before anything is read."""
    require_enabled()
    from kitty_sync.entry import project_of
    from kitty_sync.queue import Queue

    return Queue(project_of(call.repo))


def _measured(call: Invocation, queue: Queue) -> dict[str, Any]:
    from kitty_sync.entry import HUB, TENANT, cap_of

    return {"schema": "kitty.sync/1", "hub": HUB, "tenant": TENANT, "depth": queue.depth(), "cap": cap_of(call.repo)}
