"""`kitty sync`: what is on its way to the hub, and the ways there, out of the way, and back.

How is in `account`, `delivery` and `replay`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kitty_host.api import KittyError
from kitty_host.command import Invocation, command, group
from kitty_host.report import counted, note
from kitty_sync.switch import require_enabled

if TYPE_CHECKING:  # nothing here may load SQLite before it is known that sync is enabled
    from kitty_host.records import Transport
    from kitty_sync.account import Backfill
    from kitty_sync.delivery import Delivery
    from kitty_sync.queue import Queue
    from kitty_sync.retry import Attempt

sync = group("sync", help="Send events to the hub; look at the offline queue, empty it, fill it again.")
auto_drain_option = click.option(
    "--auto-drain", is_flag=True, help="Where the queue is full, drain this project's events to a file."
)


@command("status", group=sync)
@auto_drain_option
def status(call: Invocation, auto_drain: bool) -> None:
    """Say where the events of this project are, how full the queue is, and what nobody has taken.

    It asks nobody and changes nothing, unless it is to drain.
    """
    queue = _queue(call)
    if auto_drain:
        _filled(call, queue, auto_drain=True)
    from kitty_sync.account import missing
    from kitty_sync.queue import WAYS_OUT
    from kitty_sync.settings import project_of

    project = project_of(call.repo)
    lacking = len(missing(call.repo, queue))
    backlog = [{"project": name, "depth": depth, "oldest": at} for name, depth, at in queue.backlog()]
    parked = [{"event_id": event_id, "reason": reason} for event_id, reason in queue.parked(project)]
    refusals = [one._asdict() for one in queue.refusals(project)]
    payload = {
        **_measured(call, queue),
        "oldest": queue.oldest() or None,
        "backlog": backlog,
        "missing": lacking,
        "parked": parked,
        "conflicts": [one for one in refusals if one["kind"] == "EVENT_ID_CONFLICT"],
        "mismatches": [one for one in refusals if one["kind"] != "EVENT_ID_CONFLICT"],
        "ways_out": list(WAYS_OUT),
    }
    others = [one for one in backlog if one["project"] != project]
    lines = [
        f"{payload['depth']} of {payload['cap']} events are queued{_whither()}",
        *(f"  {one['depth']} of another project, {one['project']}, the oldest of {one['oldest']}" for one in others),
        f"This project: {payload['delivered']} delivered, {payload['pending']} pending, {payload['drained']} drained, "
        f"{payload['rejected']} parked, {lacking} only in the ledgers.",
    ]
    if payload["depth"] >= payload["cap"]:
        lines += ["The queue is full. The ledgers have every event. Ways out:", *(f"  {way}" for way in WAYS_OUT)]
    elif lacking:
        lines.append("To queue them: kitty sync backfill")
    lines += [f"parked: {one['event_id']}: {one['reason']}" for one in parked[:10]]
    lines += [f"{one['kind']}: {one['event_id']} from {one['source']}" for one in refusals[:10]]
    call.show(payload, "\n".join(lines))


@command("now", group=sync)
@auto_drain_option
def now(call: Invocation, auto_drain: bool) -> None:
    """Send what the hub does not have yet. If somebody else is sending, leave it to them."""
    _sent(call, auto_drain=auto_drain, wait_seconds=0)


@command("flush", group=sync)
@auto_drain_option
def flush(call: Invocation, auto_drain: bool) -> None:
    """Send until nothing waits any more, or fail."""
    queue = _sent(call, auto_drain=auto_drain, wait_seconds=None)
    if queue.depth():
        raise KittyError(
            "SYNC_INCOMPLETE",
            f"{queue.depth()} events still wait",
            "the hub did not answer for them, or more came meanwhile; run it again",
            depth=queue.depth(),
        )


@command("drain", group=sync)
@click.option("--all", "everything", is_flag=True, help="Of every project; needs --to.")
@click.option("--to", "file", type=click.Path(dir_okay=False, path_type=Path), help="The file for --all.")
@click.option("--dry-run", is_flag=True, help="Only say what would be drained.")
@auto_drain_option
def drain(call: Invocation, everything: bool, file: Path | None, dry_run: bool, auto_drain: bool) -> None:
    """Move this project's events to a file below .kittify/sync, those included that found no room in the queue."""
    if everything != (file is not None):
        raise click.UsageError("--all and --to FILE go together")
    queue = _queue(call)
    from kitty_sync import account

    if file is None:
        count, path = account.drain(call.repo, queue, dry_run=dry_run)
    else:
        account.backfill(call.repo, queue)
        path = file.absolute()
        count = queue.depth() if dry_run else account.drain_all(queue, path)
    told = None if path is None or not count or dry_run else str(path) if everything else call.repo.relative(path)
    if dry_run:
        text = f"{counted(count, 'event')} would be drained."
    else:
        text = f"{counted(count, 'event')} drained to {told}." if told else "There is nothing to drain."
    call.show({**_measured(call, queue), "drained_now": count, "file": told, "dry_run": dry_run}, text)


@command("expand", group=sync)
@click.option(
    "--to", "events", type=click.IntRange(min=1), help="How many events may wait; twice as many as now without it."
)
@auto_drain_option
def expand(call: Invocation, events: int | None, auto_drain: bool) -> None:
    """Let more events wait in the queue, and take in those that found no room."""
    queue = _queue(call)
    from kitty_sync.settings import CAP, cap_of

    before = cap_of(call.repo)
    cap = events or before * 2
    call.repo.config.set(CAP, cap)
    outcome, drained = _filled(call, queue, auto_drain=auto_drain)
    text = f"The queue holds {cap} events now; it held {before}. {counted(outcome.queued, 'event')} queued."
    call.show({**_measured(call, queue), "before": before, "queued": outcome.queued, **drained}, text)


@command("backfill", group=sync)
@auto_drain_option
def backfill(call: Invocation, auto_drain: bool) -> None:
    """Queue every event of the ledgers that is in no place yet."""
    queue = _queue(call)
    outcome, drained = _filled(call, queue, auto_drain=auto_drain)
    text = f"{counted(outcome.queued, 'event')} queued."
    if drained["file"]:
        text += f"\nThe queue was full: {counted(drained['drained_now'], 'event')} drained to {drained['file']}."
    call.show({**_measured(call, queue), "queued": outcome.queued, "known": outcome.known, **drained}, text)


@command("replay", group=sync)
@click.argument("files", nargs=-1, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--strict", is_flag=True, help="Fail, at the end, if an event is not for here.")
@auto_drain_option
def replay(call: Invocation, files: tuple[Path, ...], strict: bool, auto_drain: bool) -> None:
    """Queue the events of drained files again: of FILES, else of all files of this project.

    What is there already stays as it is; what belongs to another team or project, or says something else under a known id, is recorded and
    left out.
    """
    queue = _queue(call)
    from kitty_sync.overflow import files_of
    from kitty_sync.replay import replay as replayed
    from kitty_sync.settings import cap_of, project_of

    _, drained = _filled(call, queue, auto_drain=auto_drain)
    chosen = [file.absolute() for file in files] or files_of(call.repo.root)
    outcome = replayed(queue, project_of(call.repo), chosen, cap_of(call.repo))
    if strict:
        outcome.complain()
    if outcome.overflowed:
        raise queue.full(cap_of(call.repo))
    payload = {
        **_measured(call, queue),
        "applied": outcome.applied,
        "duplicates": outcome.duplicates,
        "mismatches": [refusal._asdict() for _, refusal in outcome.mismatches],
        "files": [str(file) for file in chosen],
        **drained,
    }
    lines = [f"{counted(outcome.applied, 'event')} queued again, {outcome.duplicates} were there already."]
    lines += [f"{one.kind}: {one.event_id} in {one.source}" for _, one in outcome.mismatches]
    call.show(payload, "\n".join(lines))


@command("watch", group=sync)
@click.option("--all", "everything", is_flag=True, help="Events of every project of the team.")
@click.option(
    "--since",
    metavar="CURSOR",
    help="Begin after this one, or at the `start`; without it, with what comes from now on.",
)
@auto_drain_option
def watch(call: Invocation, everything: bool, since: str | None, auto_drain: bool) -> None:
    """Show events of the team as they come, until Ctrl-C."""
    require_enabled()
    from kitty_sync.settings import project_of
    from kitty_sync.watch import watch as watched

    watched(call, _transport(call), project=None if everything else project_of(call.repo), since=since)


def _queue(call: Invocation) -> Queue:
    """The queue of where the user is logged in. Errors: `SYNC_DISABLED`, before anything is read."""
    require_enabled()
    from kitty_sync.queue import Queue
    from kitty_sync.settings import project_of, target

    project_of(call.repo)
    return Queue(target())


def _whither() -> str:
    from kitty_sync.auth.login import current

    login = current()
    return f" for {login.team} at {login.issuer}." if login else "; nobody is logged in."


def _transport(call: Invocation) -> Transport:
    """The connection to where the user is logged in. Errors: `AUTH_REQUIRED`."""
    from kitty_sync.settings import NOBODY, target

    hub = target().hub
    if hub == NOBODY:
        raise KittyError("AUTH_REQUIRED", "nobody is logged in to a hub", "log in: kitty auth login ADDRESS")
    transport: Transport = call.plugins.required("kitty_transport", issuer=hub)
    return transport


def _filled(call: Invocation, queue: Queue, *, auto_drain: bool) -> tuple[Backfill, dict[str, Any]]:
    """`account.filled`, and what to show of it."""
    from kitty_sync.account import filled

    outcome, count, file = filled(call.repo, queue, auto_drain=auto_drain)
    return outcome, {"drained_now": count, "file": call.repo.relative(file) if file else None}


def _sent(call: Invocation, *, auto_drain: bool, wait_seconds: float | None) -> Queue:
    """Backfill and deliver until nothing is left out for want of room. Shows the result, and raises what made it incomplete."""
    queue = _queue(call)
    transport = _transport(call)
    from kitty_sync import account
    from kitty_sync.delivery import Delivery, deliver
    from kitty_sync.settings import cap_of, policy_of

    policy, cap = policy_of(call.repo), cap_of(call.repo)
    total = Delivery()
    busy = False
    outcome = account.backfill(call.repo, queue)
    try:
        with queue.delivering(wait_seconds=wait_seconds):
            while True:
                done = deliver(queue, transport, policy, told=_tell, progress=_progress(queue))
                total.add(done)
                if not outcome.overflowed or not done.settled:
                    break
                outcome = account.backfill(call.repo, queue)
    except KittyError as error:
        if error.code != "LOCK_HELD" or wait_seconds is None:
            if total.settled:
                note(f"{counted(total.delivered, 'event')} delivered before that")
            raise
        busy = True
    drained: dict[str, Any] = {"drained_now": 0, "file": None}
    if outcome.overflowed and not busy:
        if not auto_drain:
            raise queue.full(cap)
        _, drained = _filled(call, queue, auto_drain=True)
    outcome.complain()
    text = "Somebody else is sending; what waits is left to them." if busy else _told(total)
    payload = {
        **_measured(call, queue),
        "delivered_now": total.delivered,
        "rejected_now": total.parked,
        "conflicts": total.conflicts,
        "busy": busy,
        **drained,
    }
    call.show(payload, text)
    return queue


def _told(total: Delivery) -> str:
    text = f"{counted(total.delivered, 'event')} delivered."
    return text + (f" {total.parked} parked: kitty sync status says why." if total.parked else "")


def _tell(attempt: Attempt) -> None:
    note(f"{attempt.reason}; again in {attempt.waited:.1f} s")


def _progress(queue: Queue) -> Any:
    total = queue.depth()

    def show(done: Delivery) -> None:
        if total > 1_000:
            note(f"{done.delivered} of {total} events delivered")

    return show


def _measured(call: Invocation, queue: Queue) -> dict[str, Any]:
    from kitty_sync.queue import DELIVERED, DRAINED, PARKED, PENDING
    from kitty_sync.settings import cap_of, project_of

    places = queue.counted(project_of(call.repo))
    return {
        "schema": "kitty.sync/1",
        "hub": queue.target.hub,
        "tenant": queue.target.tenant,
        "depth": queue.depth(),
        "cap": cap_of(call.repo),
        "pending": places[PENDING],
        "delivered": places[DELIVERED],
        "rejected": places[PARKED],
        "drained": places[DRAINED],
    }
