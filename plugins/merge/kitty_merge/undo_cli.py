"""`kitty merge --undo` and `--abort`: what they say, and how one that was killed goes on."""

from __future__ import annotations

from kitty_host.api import KittyError
from kitty_host.command import Invocation
from kitty_host.ledger.emit import announce
from kitty_host.ledger.event import LANDED, UNDONE
from kitty_host.mission import Mission
from kitty_merge import settlement
from kitty_merge.intent import Intent
from kitty_merge.journal import merge_lock, unfinished
from kitty_merge.recovery import look_first, recover_for
from kitty_merge.undo import Undone, finished, undo


def take_back_landing(call: Invocation, *, dry_run: bool) -> None:
    """`kitty merge --undo`."""
    look_first(call)
    with merge_lock(call.repo):
        if not dry_run:
            recover_for(call)
        done = _undone(call, dry_run=dry_run)
        if not dry_run:
            Intent.drop(call.mission)
    call.show(
        {
            "schema": "kitty.merge/1",
            "undone": not dry_run,
            "dry_run": dry_run,
            "target": done.target,
            "old": done.old,
            "new": done.new,
            "wp_ids": done.wp_ids,
        },
        f"{call.mission.slug} {'would be' if dry_run else 'is'} off {call.mission.target} again: {done.old[:10]} -> {done.new[:10]}; "
        f"approved as before: {', '.join(done.wp_ids)}",
    )


def abort_landing(call: Invocation, *, dry_run: bool) -> None:
    """`kitty merge --abort`: of a landing everything as before, also where it has landed; an undo is over then, or was never made."""
    look_first(call)
    with merge_lock(call.repo):
        if not dry_run:
            recover_for(call)
        mission = call.mission
        begun = Intent.read(mission)
        if not begun.what and mission.mission_id not in unfinished(call.repo):
            raise KittyError("NOTHING_BEGUN", f"no landing of {mission.slug} was begun", "look: kitty merge --status")
        undone = None if dry_run else _given_up(call, begun)
        call.show(
            {
                "schema": "kitty.merge/1",
                "aborted": not dry_run,
                "dry_run": dry_run,
                "target": mission.target,
                "old": undone and undone.old,
                "new": undone and undone.new,
            },
            f"{mission.slug} {'would be' if dry_run else 'is'} as it was before the landing was begun.",
        )


def went_back(call: Invocation) -> bool:
    """Whether an undo or an abort was interrupted; it is over then, and so is this command: nobody asked to land."""
    begun = Intent.read(call.mission)
    if begun.what == "abort":
        abort_landing(call, dry_run=False)
    elif begun.what == "undo" and finished(call.mission, begun) is not None:
        take_back_landing(call, dry_run=False)
    else:
        if begun.what == "undo":
            Intent.drop(call.mission)
        return False
    return True


def _given_up(call: Invocation, begun: Intent) -> Undone | None:
    mission = call.mission
    if begun.what == "landing":
        rows = call.state().snapshot.rows
        begun = Intent("abort", rows=rows, conflict=begun.conflict, landed=_has_landed(mission, begun))
        begun.write(mission)
    undone = None
    if begun.landed or (begun.what == "undo" and finished(mission, begun)):
        undone = _undone(call, dry_run=False)
    settlement.give_up(call.mission)
    Intent.drop(call.mission)
    return undone


def _has_landed(mission: Mission, begun: Intent) -> bool:
    """Whether what was begun has landed; an earlier landing, of a mission that was reopened, does not count."""
    if begun.rows is None:
        return True
    kinds = [row.get("event_type") for row in mission.ledger.rows()[begun.rows :]]
    return next((kind for kind in reversed(kinds) if kind in (LANDED, UNDONE)), None) == LANDED


def _undone(call: Invocation, *, dry_run: bool) -> Undone:
    done = undo(call.mission, actor=call.actor(), dry_run=dry_run)
    call.mission = call.mission.refresh()
    if not dry_run:
        announce(call.plugins, call.mission, call.mission.ledger.rows()[Intent.read(call.mission).rows or 0 :])
    return done
