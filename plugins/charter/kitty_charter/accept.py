"""`kitty accept`: every gate on the merged result, and one ledger row that says which result passed which gates."""

from __future__ import annotations

from collections.abc import Sequence

import click
from attrs import asdict

from kitty_charter.acceptance import checkpointed, row, says_the_same, settings, told
from kitty_charter.exceptions import Exceptional, in_force, read
from kitty_charter.gates import run_gates
from kitty_host.api import KittyError
from kitty_host.command import Invocation, command
from kitty_host.inert import CUT, inert, pattern, visible
from kitty_host.ledger.emit import emit
from kitty_host.ledger.event import ACCEPTED, LANDED, UNDONE, Row
from kitty_host.mission import Mission
from kitty_host.records import Candidate, Gate
from kitty_host.report import counted, note
from kitty_host.state import State

_LONGEST = 2000


@command("accept", mission=True, agent=True)
@click.option(
    "--exception",
    "files",
    multiple=True,
    metavar="FILE",
    help="A YAML file that excuses one failing test: gate, scenario, assertion, environmental, reproduce, follow_up, operator, expires.",
)
def accept(call: Invocation, files: tuple[str, ...]) -> None:
    """Run every gate on the merged result and record the acceptance."""
    actor = call.actor()
    mission = call.mission
    suites = settings(call.repo).gates
    state = call.state()
    last = state.last_other(LANDED, UNDONE)
    if last is not None and last.kind == LANDED and not state.is_open:
        message = f"{mission.slug} has landed: there is nothing to accept"
        raise KittyError("ALREADY_LANDED", message, f"look at it: kitty merge --receipt --mission {mission.slug}")
    granted = [read(call.directory / name, actor, state) for name in files]
    candidate: Candidate = call.plugins.required("kitty_candidate", mission=mission)
    gates = run_gates(call.plugins, candidate, suites, [*granted, *in_force(state)])
    _refuse(call, gates, granted)
    accepted = row(candidate, gates, call.plugins.implementers("kitty_gates"), actor)
    written = emit(call.plugins, mission, lambda state: _rows(state, accepted, granted))
    _checkpoint(mission)
    call.show(
        {
            "schema": "kitty.accept/1",
            "key": candidate.key,
            "gates": list(map(told, gates)),
            "candidate": {
                "target": candidate.target,
                "old": candidate.old,
                "tip": candidate.tip,
                "heads": [{"lane_id": lane_id, "head": head} for lane_id, head in candidate.heads],
            },
            "exceptions": [asdict(one) for one in granted],
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


def _refuse(call: Invocation, gates: list[Gate], granted: Sequence[Exceptional]) -> None:
    """Raise `GATE_FAILED` unless there are gates and all are ok; `EXCEPTION_REFUSED` where one was granted for nothing."""
    details = list(map(told, gates))
    if not gates:
        raise KittyError(
            "GATE_FAILED",
            "no gate ran, so nothing is proven",
            "install a plugin with gates, such as kitty-charter",
            gates=details,
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
            gates=details,
        )
    used = {(gate.name, scenario) for gate in gates for scenario in gate.exceptions}
    for one in granted:
        if (one.gate, one.scenario) not in used:
            raise KittyError(
                "EXCEPTION_REFUSED",
                f"{pattern(one.scenario)} did not fail in gate {inert(one.gate, prose=True)} with that assertion",
                "leave the exception out",
                gates=details,
            )


def _rows(state: State, accepted: Row, granted: Sequence[Exceptional]) -> list[Row]:
    """What was granted, and the acceptance, unless the last one says the same of the same candidate."""
    last = state.last_other(ACCEPTED)
    known = [] if last and says_the_same(last.row, accepted) and not granted else [accepted]
    return [*(one.row(state) for one in granted), *known]


def _checkpoint(mission: Mission) -> None:
    """Commit the ledger, unless the last acceptance is in a checkpoint: a killed run may have left that undone."""
    last = State.load(mission).last_other(ACCEPTED)
    if last and not checkpointed(mission, last.row):
        mission.ledger.checkpoint(mission.repo.git, f"accept {mission.slug}")


def _line(gate: Gate) -> str:
    name = f"  {'ok ' if gate.ok else 'RED'}  {inert(gate.name, prose=True)}"
    tests = counted(gate.tests, "test") if gate.tests is not None else ""
    excused = f"but for {', '.join(map(pattern, gate.exceptions))}" if gate.exceptions else ""
    said = ", ".join(filter(None, (tests, excused, _reason(gate))))
    return f"{name}: {said}" if said else name


def _reason(gate: Gate) -> str:
    """In one line and not encoded: a reason has commands in it, which are there to be typed."""
    said = " ".join(visible(gate.reason, lines=False).split())
    return said if len(said) <= _LONGEST else f"{said[:_LONGEST]}{CUT}"
