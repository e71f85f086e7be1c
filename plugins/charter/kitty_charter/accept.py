"""`kitty accept`: every gate on the merged result, and one ledger row that says which result passed which gates."""

from __future__ import annotations

from typing import Any

import attrs

from kitty_charter.gates import run_gates
from kitty_host.api import KittyError
from kitty_host.command import Invocation, command
from kitty_host.inert import CUT, inert, visible
from kitty_host.ledger.emit import emit
from kitty_host.ledger.event import ACCEPTED, Row, encode, envelope
from kitty_host.mission import Mission
from kitty_host.records import Candidate, Gate
from kitty_host.report import note
from kitty_host.state import State

_LONGEST = 2000


@command("accept", mission=True, agent=True)
def accept(call: Invocation) -> None:
    """Run every gate on the merged result and record the acceptance."""
    actor = call.actor()
    mission = call.mission
    candidate: Candidate = call.plugins.required("kitty_candidate", mission=mission)
    gates = run_gates(call.plugins, candidate)
    _refuse(call, gates)
    told = [attrs.asdict(gate) for gate in gates]
    payload = {"key": candidate.key, "gates": told, "actor": actor, "mission_slug": mission.slug}
    written = emit(call.plugins, mission, lambda state: _rows(state, payload, mission))
    _checkpoint(mission)
    call.show(
        {
            "schema": "kitty.accept/1",
            "key": candidate.key,
            "gates": told,
            "candidate": {
                "target": candidate.target,
                "old": candidate.old,
                "tip": candidate.tip,
                "heads": [{"lane_id": lane_id, "head": head} for lane_id, head in candidate.heads],
            },
            "recorded": bool(written),
        },
        "\n".join(
            [
                f"{mission.slug} is accepted{'' if written else ' already; nothing was written'}: {candidate.key[:12]}",
                *map(_line, gates),
                f"next: kitty merge --mission {mission.slug}",
            ]
        ),
    )


def _refuse(call: Invocation, gates: list[Gate]) -> None:
    """Raise `GATE_FAILED` unless there are gates and all are ok."""
    told = [attrs.asdict(gate) for gate in gates]
    if not gates:
        raise KittyError(
            "GATE_FAILED",
            "no gate ran, so nothing is proven",
            "install a plugin with gates, such as kitty-charter",
            gates=told,
        )
    red = [gate for gate in gates if not gate.ok]
    if red:
        if not call.json:
            note("\n".join(map(_line, gates)))
        names = ", ".join(inert(gate.name, prose=True) for gate in red)
        raise KittyError(
            "GATE_FAILED",
            f"{len(red)} of {len(gates)} gates failed: {names}",
            f"mend this and run kitty accept again: {_reason(red[0])}",
            gates=told,
        )


def _rows(state: State, payload: Row, mission: Mission) -> list[Row]:
    """The acceptance, unless the last one says the same of the same candidate."""
    last = state.last_other(ACCEPTED)
    said = (last.row.get("payload") or {}) if last else {}
    if said.get("key") == payload["key"] and said.get("gates") == payload["gates"]:
        return []
    return [envelope(ACCEPTED, payload, aggregate_id=mission.mission_id)]


def _checkpoint(mission: Mission) -> None:
    """Commit the ledger, unless the last acceptance is in a checkpoint: a killed run may have left that undone."""
    git, ledger = mission.repo.git, mission.ledger
    last: Any = State.load(mission).last_other(ACCEPTED)
    if encode(last.row).encode().rstrip() not in ledger.lines_at(git, ledger.ref):
        ledger.checkpoint(git, f"accept {mission.slug}")


def _line(gate: Gate) -> str:
    name = f"  {'ok ' if gate.ok else 'RED'}  {inert(gate.name, prose=True)}"
    return f"{name}: {_reason(gate)}" if gate.reason else name


def _reason(gate: Gate) -> str:
    """In one line and not encoded: a reason has commands in it, which are there to be typed."""
    said = " ".join(visible(gate.reason, lines=False).split())
    return said if len(said) <= _LONGEST else f"{said[:_LONGEST]}{CUT}"
