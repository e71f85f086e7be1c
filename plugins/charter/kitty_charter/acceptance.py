"""The acceptance of a candidate: the row that `kitty accept` writes, and the look at it as if somebody had forged it.

A row proves nothing by being there. It counts for the candidate whose key it names, if every gate that is asked for today is in it, with
evidence that could have come of this candidate, and if it is in the checkpoint that `kitty accept` makes (ADR 0010).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from attrs import asdict, evolve, frozen

from kitty_charter.exceptions import in_force
from kitty_charter.matrix import GATE as MATRIX
from kitty_charter.matrix import of_candidate
from kitty_host.api import KittyError
from kitty_host.inert import inert
from kitty_host.ledger.event import ACCEPTED, Other, Row, encode, envelope
from kitty_host.mission import Mission
from kitty_host.records import Acceptance, Candidate, Gate, Suite
from kitty_host.repo import Repo
from kitty_host.state import State


@frozen
class Settings:
    """The section `accept` of the configuration."""

    gates: tuple[Suite, ...] = ()
    tolerate_target_moves: bool = False
    """Whether an acceptance survives that the target moved, where it changed no path that the mission changes."""


def settings(repo: Repo) -> Settings:
    """Errors: `CONFIG_INVALID`."""
    found = repo.config.section("accept", Settings)
    names = [suite.name for suite in found.gates]
    twice = sorted({name for name in names if names.count(name) > 1})
    wrong = [f"the gate {inert(name, prose=True)} stands there twice" for name in twice]
    wrong += [
        f"the gate {inert(suite.name, prose=True) or 'without a name'} needs a name, a command, a time and a number of tests"
        for suite in found.gates
        if not (suite.name.strip() and suite.command.strip() and suite.timeout_seconds > 0 <= suite.minimum_tests)
    ]
    if wrong:
        raise KittyError(
            "CONFIG_INVALID", f"{repo.config.path}: {wrong[0]}", "correct accept.gates there", key="accept.gates"
        )
    return found


def told(gate: Gate) -> dict[str, Any]:
    """A gate as JSON has it."""
    return {**asdict(gate), "exceptions": list(gate.exceptions)}


def row(candidate: Candidate, gates: Sequence[Gate], asked: Sequence[str], actor: str) -> Row:
    """The acceptance as it goes into the ledger."""
    payload = {
        "key": candidate.key,
        "gates": list(map(told, gates)),
        "asked": list(asked),
        "actor": actor,
        "old": candidate.old,
        "tip": candidate.tip,
        "tree": _tree(candidate),
        "heads": [list(head) for head in candidate.heads],
        "mission_slug": candidate.mission.slug,
    }
    return envelope(ACCEPTED, payload, aggregate_id=candidate.mission.mission_id)


def says_the_same(one: Row, other: Row) -> bool:
    """Whether two acceptances are of one candidate and one result."""
    said = _judgement(one)
    return said is not None and bool(said == _judgement(other))


def acceptance(candidate: Candidate) -> Acceptance:
    """The recorded one. Errors: `MERGE_NOT_ACCEPTED`, with what is wrong with it."""
    mission = candidate.mission
    state = State.load(mission)
    last = state.last_other(ACCEPTED)
    found = _read(last.row.get("payload")) if last else None
    doubts = list(_doubts(candidate, state, last, found)) if last else ["it was not accepted yet"]
    if found is None or doubts:
        raise KittyError(
            "MERGE_NOT_ACCEPTED",
            f"this result cannot land: {'; '.join(doubts)}",
            f"run: kitty accept --mission {mission.slug}",
            key=candidate.key,
            accepted=found and found.key,
        )
    return found


def checkpointed(mission: Mission, found: Row) -> bool:
    """Whether a row is in the ledger's checkpoint."""
    return encode(found).encode().rstrip() in mission.ledger.lines_at(mission.repo.git, mission.ledger.ref)


def _doubts(candidate: Candidate, state: State, last: Other, found: Acceptance | None) -> Iterator[str]:
    if found is None:
        yield "its acceptance is not one that kitty accept wrote"
        return
    if found.key != candidate.key and not _tolerated(candidate, last):
        yield "it is not what was accepted: target, lanes or content moved since"
        return
    if not checkpointed(candidate.mission, last.row):
        yield "kitty accept did not write its acceptance: it is in no checkpoint of the ledger"
    payload = last.row["payload"]
    if found.key == candidate.key and payload.get("tree") != _tree(candidate):
        yield "it was accepted with another content"
    yield from _missing(candidate, found)
    for gate in found.gates:
        yield from _hollow(gate, payload.get("tip"))
    excused = {(gate.name, scenario) for gate in found.gates for scenario in gate.exceptions}
    for name, scenario in sorted(excused - {(one.gate, one.scenario) for one in in_force(state)}):
        yield f"gate {inert(name, prose=True)} stands on an exception that does not hold: {inert(scenario, prose=True)}"


def _missing(candidate: Candidate, found: Acceptance) -> Iterator[str]:
    """Gates that are asked for today and that it does not have, or has of another command."""
    commands = {gate.name: gate.command for gate in found.gates}
    wanted = {suite.name: suite.command for suite in settings(candidate.mission.repo).gates}
    built_in = {"packages-approved": "", **({MATRIX: ""} if of_candidate(candidate) else {})}
    for name, command in {**wanted, **built_in}.items():
        if commands.get(name) != command:
            yield f"gate {inert(name, prose=True)} {'is another command now' if name in commands else 'did not run'}"


def _hollow(gate: Gate, tip: Any) -> Iterator[str]:
    """What cannot have come of a gate that passed on what was accepted."""
    name = inert(gate.name, prose=True)
    if gate.ok is not True or gate.exit_code not in (None, 0, 1 if gate.exceptions else 0):
        yield f"gate {name} is not ok"
    if gate.tests == 0 or gate.skipped or (gate.failed or 0) != len(gate.exceptions):
        yield f"gate {name} counts {gate.tests} tests, {gate.failed} failed and {gate.skipped} skipped"
    if gate.commit and gate.commit != tip:
        yield f"gate {name} ran on {inert(gate.commit[:10])}, which is another commit"


def _tree(candidate: Candidate) -> str:
    """The whole tree of the merged result: its commit has a date, and is another one each time it is built."""
    return candidate.mission.repo.git.out("rev-parse", f"{candidate.tip}^{{tree}}")


def _tolerated(candidate: Candidate, last: Other) -> bool:
    """Whether only the target moved, by paths that the mission does not change, and the configuration does not mind."""
    if not settings(candidate.mission.repo).tolerate_target_moves:
        return False
    git, payload = candidate.mission.repo.git, last.row["payload"]
    before, accepted = (git.commit_of(str(payload.get(name))) for name in ("old", "tip"))
    if payload.get("heads") != [list(head) for head in candidate.heads] or before is None or accepted is None:
        return False
    if not git.is_ancestor(before, candidate.old):
        return False
    by_others, by_mission = (
        set(git.records("diff", "--name-only", "--no-renames", "-z", before, after))
        for after in (candidate.old, accepted)
    )
    return not by_others & by_mission


def _read(payload: Any) -> Acceptance | None:
    """A row's payload as a record; None where it is none."""
    try:
        gates = tuple(_gate(one) for one in payload["gates"])
        return Acceptance(str(payload["key"]), gates, str(payload["actor"]), tuple(payload["asked"]))
    except (KeyError, TypeError, ValueError):
        return None


def _gate(found: dict[str, Any]) -> Gate:
    gate = Gate(**{**found, "exceptions": tuple(found.get("exceptions") or ())})
    for number in (gate.exit_code, gate.tests, gate.failed, gate.skipped):
        if number is not None and type(number) is not int:
            raise TypeError("a count that is no number")
    if not all(isinstance(text, str) for text in (gate.name, gate.command, gate.commit, *gate.exceptions)):
        raise TypeError("a name that is no text")
    return gate


def _judgement(found: Row) -> Any:
    """What an acceptance says, without what differs between two runs of the same gates; None where it says nothing."""
    payload = found.get("payload")
    read = _read(payload)
    if read is None or not isinstance(payload, dict):
        return None
    gates = [
        evolve(gate, seconds=None, reason="", commit=str(gate.commit == payload.get("tip"))) for gate in read.gates
    ]
    return gates, read.key, read.asked, [payload.get(name) for name in ("old", "tree", "heads")]
