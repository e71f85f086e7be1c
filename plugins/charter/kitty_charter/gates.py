"""The gates that need no configuration, and the judgement of everybody's: what is not plainly green is red."""

from __future__ import annotations

from typing import Any

import attrs

from kitty_charter.matrix import NAMES, problems
from kitty_host.inert import inert
from kitty_host.ledger.machine import SETTLED
from kitty_host.plugins import Plugins
from kitty_host.records import Candidate, Gate
from kitty_host.state import State


def run_gates(plugins: Plugins, candidate: Candidate) -> list[Gate]:
    """Every plugin's gates, and one for what would stop the landing anyway.

    A plugin that raises, or that answers with something else, is a gate that is not ok.
    """
    found: list[Gate] = []
    for name, answer in plugins.each("kitty_gates", candidate=candidate):
        if isinstance(answer, Exception):
            found.append(Gate(name, ok=False, reason=f"plugin {name} failed: {type(answer).__name__}: {answer}"))
        else:
            found += [_judged(name, one) for one in answer]
    if found and plugins.implements("kitty_merge_check"):
        found.append(_landable(plugins, candidate))
    return found


def _landable(plugins: Plugins, candidate: Candidate) -> Gate:
    findings = plugins.findings("kitty_merge_check", candidate=candidate)
    stopping = [
        f"{finding.code}: {finding.message}; {finding.hint}" for finding in findings if finding.severity == "block"
    ]
    return Gate("landable", not stopping, "; ".join(stopping), commit=candidate.tip)


def gates(candidate: Candidate) -> list[Gate]:
    """The built-in gates."""
    matrix = _issue_matrix(candidate)
    return [_packages_approved(candidate), *([matrix] if matrix else [])]


def _judged(plugin: str, gate: Any) -> Gate:
    """A gate that says "ok" over a failed command or an empty suite is not believed."""
    if not isinstance(gate, Gate):
        return Gate(plugin, ok=False, reason=f"plugin {plugin} answered with a {type(gate).__name__}, which is no gate")
    doubt = ""
    if gate.exit_code not in (None, 0):
        doubt = f"exit code {gate.exit_code}"
    elif gate.tests == 0:
        doubt = "no test was collected"
    elif gate.ok is not True:
        doubt = "it failed and gave no reason"
    return attrs.evolve(gate, ok=not doubt, reason=gate.reason or doubt)


def _packages_approved(candidate: Candidate) -> Gate:
    state = State.load(candidate.mission)
    lanes = {wp_id: state.shown_lane(wp_id) for wp_id in state.wp_ids()}
    open_ones = [f"{inert(wp_id)} is {lane}" for wp_id, lane in lanes.items() if lane not in SETTLED]
    reason = "; ".join(open_ones) if lanes else "the mission has no work package"
    settled = bool(lanes) and not open_ones
    return Gate("packages-approved", settled, "" if settled else reason, commit=candidate.tip)


def _issue_matrix(candidate: Candidate) -> Gate | None:
    """The matrix in the candidate, else the one in the checkout; None where the mission has none."""
    mission = candidate.mission
    for name in NAMES:
        path = mission.directory / name
        content = mission.repo.git.read_blob(candidate.tip, mission.repo.relative(path))
        if content is None and path.is_file():
            content = path.read_bytes()
        if content is not None:
            wrong = problems(content, name)
            reason = f"{name}: {'; '.join(wrong)}" if wrong else ""
            return Gate("issue-matrix", ok=not wrong, reason=reason, commit=candidate.tip)
    return None
