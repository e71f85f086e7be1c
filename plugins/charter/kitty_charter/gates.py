"""Every gate of a candidate, and the judgement of everybody's: what is not plainly green is red.

What takes no time is asked first; suites are run only when nothing of that is red, one after the other, in a worktree of the candidate.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from attrs import evolve

from kitty_charter.evidence import judged
from kitty_charter.exceptions import Exceptional
from kitty_charter.matrix import GATE, Unreadable, of_candidate, rows
from kitty_charter.suite import Case, Outcome, run, verdict
from kitty_host.files import lock
from kitty_host.git import Git
from kitty_host.inert import inert
from kitty_host.ledger.machine import SETTLED
from kitty_host.plugins import Plugins
from kitty_host.records import Candidate, Gate, Suite
from kitty_host.report import counted, note
from kitty_host.state import State
from kitty_host.worktrees import discard

_SHOWN = 3
"""How many paths a reason names."""


def run_gates(
    plugins: Plugins, candidate: Candidate, suites: Sequence[Suite], exceptions: Sequence[Exceptional]
) -> list[Gate]:
    """Every plugin's gates, the configured suites, and one for what would stop the landing anyway.

    A plugin that raises, or that answers with something else, is a gate that is not ok; so is a second gate of one name.
    """
    found: list[Gate | Suite] = []
    for name, answer in plugins.each("kitty_gates", candidate=candidate):
        if isinstance(answer, Exception):
            found.append(Gate(name, ok=False, reason=f"plugin {name} failed: {type(answer).__name__}: {answer}"))
        else:
            found += [one if isinstance(one, Suite) else _judged(name, one, candidate) for one in answer]
    if found and plugins.implements("kitty_merge_check"):
        found.append(_landable(plugins, candidate))
    found += suites
    gates = [one for one in found if isinstance(one, Gate)]
    wanted = [one for one in found if isinstance(one, Suite)]
    gates += _named_twice([one.name for one in found])
    if all(gate.ok for gate in gates):
        return gates + _run(candidate, wanted, exceptions)
    unrun = "it did not run: mend the others first"
    return gates + [Gate(suite.name, ok=False, reason=unrun, command=suite.command) for suite in wanted]


def _named_twice(names: Sequence[str]) -> list[Gate]:
    twice = sorted({name for name in names if names.count(name) > 1})
    return [
        Gate(f"{name} (again)", ok=False, reason=f"two gates are called {inert(name, prose=True)}") for name in twice
    ]


def _run(candidate: Candidate, suites: Sequence[Suite], exceptions: Sequence[Exceptional]) -> list[Gate]:
    matrix = of_candidate(candidate)
    if not suites and not matrix:
        return []
    mission = candidate.mission
    gates = []
    with _worktree(candidate) as (place, held):
        if matrix:
            note("Looking up the evidence of the issue matrix …")
            gates.append(_issue_matrix(candidate, matrix, place))
        for number, suite in enumerate(suites, 1):
            note(f"Gate {number} of {len(suites)}, {inert(suite.name, prose=True)}: {suite.command}")
            name = re.sub(r"[^a-z0-9]+", "-", suite.name.lower())
            scratch = mission.repo.state / "gates" / mission.mission_id / f"{number}-{name}"
            outcome = run(suite, place, scratch, {"KITTY_CANDIDATE": candidate.key}, lock=held)
            gates.append(_gate(candidate, suite, outcome, exceptions, _altered(place, candidate)))
            told = f"{counted(outcome.tests, 'test')} in " if outcome.tests is not None else ""
            note(f"  {'ok' if gates[-1].ok else 'RED'}, {told}{outcome.seconds:.1f} s")
    return gates


def _gate(
    candidate: Candidate, suite: Suite, outcome: Outcome, exceptions: Sequence[Exceptional], altered: str
) -> Gate:
    excuses = {one.scenario: _excused(one, suite, outcome) for one in exceptions}
    excused = [case for cases in excuses.values() for case in cases]
    reason = verdict(suite, outcome, excused=excused) or altered
    return Gate(
        suite.name,
        ok=not reason,
        reason=reason,
        command=suite.command,
        exit_code=outcome.exit_code,
        tests=outcome.tests,
        commit=candidate.tip,
        failed=outcome.number("failed"),
        skipped=outcome.number("skipped"),
        seconds=outcome.seconds,
        exceptions=tuple(scenario for scenario, cases in excuses.items() if cases),
    )


def _excused(one: Exceptional, suite: Suite, outcome: Outcome) -> list[Case]:
    """The failure that an exception is for. A test that was skipped did not fail, and two of one name are not one test."""
    found = [case for case in outcome.cases if case.how == "failed" and one.excuses(suite.name, case)]
    return found if len(found) == 1 else []


def _altered(place: Path, candidate: Candidate) -> str:
    """What makes of a worktree something else than the candidate: another commit, or another content of a tracked file."""
    git = Git(place)
    if git.commit_of("HEAD") != candidate.tip:
        return "it moved HEAD: what it tested is not the candidate"
    changed = git.records("diff", "--name-only", "--no-ext-diff", "-z", "HEAD")
    named = ", ".join(inert(path, prose=True) for path in changed[:_SHOWN])
    return f"it changed what Git tracks, so it did not test the candidate: {named}" if changed else ""


@contextmanager
def _worktree(candidate: Candidate) -> Iterator[tuple[Path, int | None]]:
    """A fresh worktree of the candidate, and the descriptor of its lock. Errors: `LOCK_HELD` while somebody else runs these gates."""
    mission = candidate.mission
    repo = mission.repo
    place = repo.root / ".worktrees" / f"{mission.human}-{mission.mid8}-gates"
    with lock(
        repo.state / "gates" / f"{mission.mission_id}.lock", wait_seconds=0, purpose="the gates", sign=True
    ) as held:
        # What a killed run has left is of another candidate, or half of this one.
        discard(repo, place)
        try:
            repo.git.run("worktree", "add", "--quiet", "--detach", str(place), candidate.tip)
            yield place, held
        finally:
            discard(repo, place)


def _landable(plugins: Plugins, candidate: Candidate) -> Gate:
    findings = plugins.findings("kitty_merge_check", candidate=candidate)
    stopping = [
        f"{finding.code}: {finding.message}; {finding.hint}" for finding in findings if finding.severity == "block"
    ]
    return Gate("landable", not stopping, "; ".join(stopping), commit=candidate.tip)


def gates(candidate: Candidate) -> list[Gate]:
    """The built-in gates that take no time."""
    return [_packages_approved(candidate)]


def _judged(plugin: str, gate: Any, candidate: Candidate) -> Gate:
    """A gate that says "ok" over a failed command, an empty suite or another commit is not believed."""
    if not isinstance(gate, Gate):
        return Gate(plugin, ok=False, reason=f"plugin {plugin} answered with a {type(gate).__name__}, which is no gate")
    doubt = ""
    if gate.exit_code not in (None, 0):
        doubt = f"exit code {gate.exit_code}"
    elif gate.tests == 0:
        doubt = "no test was collected"
    elif gate.failed or gate.skipped:
        doubt = f"{gate.failed or 0} failed and {gate.skipped or 0} skipped of {gate.tests} tests"
    elif gate.commit not in ("", candidate.tip):
        doubt = f"it ran on {inert(gate.commit[:10])}, and the candidate is {candidate.tip[:10]}"
    elif gate.exceptions:
        doubt = "exceptions are granted by kitty accept alone"
    elif gate.ok is not True:
        doubt = "it failed and gave no reason"
    return evolve(gate, ok=not doubt, reason=gate.reason or doubt)


def _packages_approved(candidate: Candidate) -> Gate:
    state = State.load(candidate.mission)
    lanes = {wp_id: state.shown_lane(wp_id) for wp_id in state.wp_ids()}
    open_ones = [f"{inert(wp_id)} is {lane}" for wp_id, lane in lanes.items() if lane not in SETTLED]
    reason = "; ".join(open_ones) if lanes else "the mission has no work package"
    settled = bool(lanes) and not open_ones
    return Gate("packages-approved", settled, "" if settled else reason, commit=candidate.tip)


def _issue_matrix(candidate: Candidate, matrix: tuple[str, bytes], place: Path) -> Gate:
    name, content = matrix
    try:
        told = judged(rows(content, name), candidate.mission.repo, place)
        wrong = [f"{issue or 'a row'}: {fault}" for issue, faults in told.items() for fault in faults]
    except Unreadable as error:
        wrong = [str(error)]
    return Gate(GATE, ok=not wrong, reason=f"{name}: {'; '.join(wrong)}" if wrong else "", commit=candidate.tip)
