"""`kitty ledger`: look at a mission's ledger, prove it whole, repair what can be repaired without guessing."""

from __future__ import annotations

import json

from kitty_host.api import Finding, KittyError
from kitty_host.command import Invocation, command, group
from kitty_host.inert import inert
from kitty_host.ledger.event import Annotation, Event, Other, actor_name

ledger = group("ledger", help="Show, verify or repair a mission's ledger.")


@command("show", mission=True, group=ledger)
def show(call: Invocation) -> None:
    """Print every row, oldest first."""
    events = sorted(call.mission.ledger.events(), key=lambda event: (event.at, event.event_id))
    call.show(
        {"schema": "kitty.ledger/1", "mission_id": call.mission.mission_id, "events": call.mission.ledger.rows()},
        "\n".join(f"{event.at:32}  {_told(event)}" for event in events),
    )


@command("verify", mission=True, group=ledger)
def verify(call: Invocation) -> None:
    """Prove that the ledger is whole: every line readable, no checkpointed line gone."""
    ledger_ = call.mission.ledger
    findings = ledger_.findings()
    events = ledger_.events()
    present = set(ledger_.lines())
    gone = [line for line in ledger_.lines_at(call.repo.git, ledger_.ref) if line not in present]
    if gone:
        findings.append(
            Finding(
                "LEDGER_ROWS_GONE",
                f"{len(gone)} rows of the last checkpoint are gone from the ledger",
                f"compare with: git show {ledger_.ref}:status.events.jsonl",
            )
        )
    payload = {
        "schema": "kitty.ledger/1",
        "ok": not findings,
        "events": len(events),
        "findings": [finding._asdict() for finding in findings],
    }
    if gone:
        raise KittyError(
            findings[-1].code, findings[-1].message, findings[-1].hint, rows=[json.loads(line) for line in gone]
        )
    call.show(
        payload,
        "\n".join(
            [
                f"{len(events)} rows, every one readable.",
                *(f"{one.code}: {one.message}; {one.hint}" for one in findings),
            ]
        ),
    )


@command("repair", mission=True, group=ledger)
def repair(call: Invocation) -> None:
    """Set a torn tail aside and join the ledger's two names."""
    findings = call.mission.ledger.findings()
    with call.mission.ledger.locked():
        events = call.mission.ledger.events()
    call.show(
        {
            "schema": "kitty.ledger/1",
            "ok": True,
            "events": len(events),
            "findings": [finding._asdict() for finding in findings],
        },
        "\n".join(f"mended: {finding.message}" for finding in findings) or "Nothing to mend.",
    )


def _told(event: Event) -> str:
    if isinstance(event, Other):
        return event.kind
    actor = inert(actor_name(event.actor), prose=True)
    if isinstance(event, Annotation):
        said = inert(str(event.delta["note"]), prose=True) if "note" in event.delta else ", ".join(sorted(event.delta))
        return f"{event.wp_id}  {actor}: {said}"
    return f"{event.wp_id}  {event.from_lane} -> {event.to_lane}  {actor}{' (forced)' if event.force else ''}"
