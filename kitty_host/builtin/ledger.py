"""`kitty ledger`: look at a mission's ledger, prove it whole, repair what can be repaired without guessing."""

from __future__ import annotations

import click

from kitty_host.api import KittyError
from kitty_host.command import Invocation, command, group
from kitty_host.inert import inert
from kitty_host.ledger.event import Annotation, Event, Other, actor_name
from kitty_host.ledger.repair import restore
from kitty_host.ledger.verify import Verified
from kitty_host.ledger.verify import verify as prove
from kitty_host.report import counted

SCHEMA = "kitty.ledger/1"

ledger = group("ledger", help="Show, verify or repair a mission's ledger.")


@command("show", mission=True, group=ledger)
def show(call: Invocation) -> None:
    """Print every row, oldest first."""
    events = sorted(call.mission.ledger.events(), key=lambda event: (event.at, event.event_id))
    call.show(
        {"schema": SCHEMA, "mission_id": call.mission.mission_id, "events": call.mission.ledger.rows()},
        "\n".join(f"{inert(event.at, prose=True):32}  {_told(event)}" for event in events),
    )


@command("verify", mission=True, group=ledger)
def verify(call: Invocation) -> None:
    """Prove that the ledger is whole: every line readable, none gone or changed since it was sealed or committed."""
    found = _proof(call)
    findings = [spot.to_dict() for spot in found.spots]
    if found.broken:
        first, *others = found.broken
        more = f" (and {counted(len(others), 'more finding')})" if others else ""
        raise KittyError(
            first.finding.code,
            first.finding.message + more,
            first.finding.hint,
            events=found.rows,
            line=first.line,
            byte=first.byte,
            findings=findings,
        )
    text = [f"{counted(found.rows, 'row')}, every one as it was written."]
    text += [f"{one.code}: {one.message}; {one.hint}" for one, _, _ in found.spots]
    call.show({"schema": SCHEMA, "ok": not findings, "events": found.rows, "findings": findings}, "\n".join(text))


@command("repair", mission=True, group=ledger)
@click.option("--from-checkpoint", is_flag=True, help="Bring back what the checkpoints have and the ledger has lost.")
@click.option("--dry-run", is_flag=True, help="Only say what would be done.")
def repair(call: Invocation, from_checkpoint: bool, dry_run: bool) -> None:
    """Set a torn tail aside and join the ledger's two names.

    Lines that cannot be read are left alone, unless --from-checkpoint says to put back what was committed; the file as it was is kept.
    """
    before = call.mission.ledger.findings()
    if from_checkpoint:
        restored = restore(call.mission.ledger, call.repo.git, dry_run=dry_run)
        lines = [
            f"{'would bring back' if dry_run else 'brought back'} {counted(restored.rows, 'row')}",
            f"{counted(restored.unreadable, 'line')} cannot be read",
            *([f"the file as it was: {restored.kept}"] if restored.kept else []),
        ]
        call.show(
            {"schema": SCHEMA, "ok": True, "dry_run": dry_run, **restored._asdict(), "kept": str(restored.kept or "")},
            "\n".join(lines),
        )
        return
    if not dry_run:
        with call.mission.ledger.locked():
            call.mission.ledger.events()
    left = [] if dry_run else call.mission.ledger.findings()
    mended = [finding for finding in before if finding not in left]
    text = [f"{'would mend' if dry_run else 'mended'}: {finding.message}" for finding in mended]
    payload = {"ok": not left, "dry_run": dry_run, "events": len(call.mission.ledger.events())}
    call.show(
        {"schema": SCHEMA, **payload, "findings": [finding._asdict() for finding in mended]},
        "\n".join(text) or "Nothing to mend.",
    )


def _proof(call: Invocation) -> Verified:
    mission = call.mission
    branches = [ref for ref in ("HEAD", f"refs/heads/{mission.target}") if mission.target]
    return prove(mission.ledger, call.repo.git, call.repo.relative(mission.ledger.live), branches)


def _told(event: Event) -> str:
    if isinstance(event, Other):
        return inert(event.kind)
    wp_id, actor = inert(event.wp_id), inert(actor_name(event.actor), prose=True)
    if isinstance(event, Annotation):
        said = (
            inert(str(event.delta["note"]), prose=True)
            if "note" in event.delta
            else ", ".join(map(inert, sorted(event.delta)))
        )
        return f"{wp_id}  {actor}: {said}"
    return f"{wp_id}  {event.from_lane} -> {event.to_lane}  {actor}{' (forced)' if event.force else ''}"
