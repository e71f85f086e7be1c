"""What to do next, from artefacts and ledger alone: a pure function of the state. There is no run-state file that could go stale."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from kitty_host.inert import inert
from kitty_host.lanes import lane_ids
from kitty_host.ledger.event import ACCEPTED, Other
from kitty_host.ledger.machine import BLOCKED, CLAIMED, FOR_REVIEW, GENESIS, IN_PROGRESS, IN_REVIEW, PLANNED, SETTLED
from kitty_host.packages import Package
from kitty_host.records import Decision
from kitty_host.state import State, dependencies_missing
from kitty_runtime.completeness import PLAN as PLAN_FILE
from kitty_runtime.completeness import SPEC, missing, missing_tasks
from kitty_runtime.packages import implementer, occupied, same
from kitty_runtime.types import ACCEPT, IMPLEMENT, MERGE, PLAN, REVIEW, SPECIFY, TASKS

NOT_STARTED, DONE = "not_started", "done"


class Position(NamedTuple):
    """Where a mission stands for one agent: the step that can be taken now, or why none can."""

    step: str
    wp_id: str | None = None
    obstacles: tuple[str, ...] = ()
    """Empty where the step can be taken."""


def decide(state: State) -> Decision:
    """The decision for `state.agent`, given what it reports in `state.result`."""
    issued = open_step(state)
    position = locate(state)
    if state.result is None:
        return _query(state, position, issued)
    if issued is None:
        return _go(state, position)
    step, wp_id = step_of(issued)
    if state.result == "success":
        failures = unmet(state, step, wp_id)
        if failures:
            reason = f"the step {step}{f' of {wp_id}' if wp_id else ''} is not done"
            return _decision(state, "blocked", step, wp_id, reason=reason, guard_failures=failures)
        return _go(state, position)
    if state.result == "failed":
        if step == MERGE and state.gated and position.step == MERGE:
            # What was accepted may not be what is there any more.
            position = Position(ACCEPT)
        return _go(state, position, notes=f"the step {step} failed before: look at what happened and try another way")
    reason = f"{inert(state.agent, prose=True)} reported that {step}{f' of {wp_id}' if wp_id else ''} is blocked"
    return _decision(state, "blocked", step, wp_id, reason=reason, guard_failures=position.obstacles or (reason,))


def locate(state: State) -> Position:
    """The step that comes now."""
    mission = state.mission
    if not state.is_open:
        return Position(DONE)
    if missing(mission, SPEC):
        return Position(SPECIFY)
    if missing(mission, PLAN_FILE):
        return Position(PLAN)
    if _untasked(state):
        return Position(TASKS)
    if all(state.lane(wp_id) in SETTLED for wp_id in state.wp_ids()):
        return Position(MERGE if _accepted(state) or not state.gated else ACCEPT)
    return _work(state)


def unmet(state: State, step: str, wp_id: str | None) -> tuple[str, ...]:
    """What a step that was reported as done still lacks."""
    guards: dict[str, Callable[[], list[str]]] = {
        SPECIFY: lambda: missing(state.mission, SPEC),
        PLAN: lambda: missing(state.mission, PLAN_FILE),
        TASKS: lambda: _untasked(state),
        IMPLEMENT: lambda: _still_in(state, wp_id, (GENESIS, PLANNED, CLAIMED, IN_PROGRESS, BLOCKED), "kitty submit"),
        REVIEW: lambda: _still_in(state, wp_id, (FOR_REVIEW, IN_REVIEW), "kitty review"),
        ACCEPT: lambda: [] if _accepted(state) else ["no acceptance is recorded since the last change: kitty accept"],
        MERGE: lambda: ["the mission has not landed: kitty merge"] if state.is_open else [],
    }
    return tuple(guards[step]()) if step in guards else ()


def open_step(state: State, agent: str | None = None) -> Other | None:
    """The step that was issued to an agent, the state's own unless another is named, and not answered yet."""
    agent = state.agent if agent is None else agent
    found = [one for one in state.snapshot.issued.values() if same(_agent(one), agent)]
    return max(found, key=lambda event: (event.at, event.event_id), default=None)


def step_of(issued: Other) -> tuple[str, str | None]:
    """The step and the work package that were issued."""
    return str(issued.row["payload"]["step"]), issued.row["payload"].get("wp_id")


def run_id(state: State) -> str | None:
    """The run that issued steps belong to: the id of the first of them."""
    return state.snapshot.run.event_id if state.snapshot.run else None


def _agent(event: Other) -> str:
    return str(event.row["payload"].get("agent") or "")


def _untasked(state: State) -> list[str]:
    lacking = missing_tasks(state.mission)
    if not lacking:
        lanes = lane_ids(state.mission)
        unopened = [one.wp_id for one in state.packages if state.lane(one.wp_id) == GENESIS or one.wp_id not in lanes]
        lacking = [f"{', '.join(map(inert, unopened))} not opened for work: kitty finalize"] if unopened else []
    return lacking


def _still_in(state: State, wp_id: str | None, lanes: tuple[str, ...], way_out: str) -> list[str]:
    lane = state.lane(wp_id or "")
    return [f"{wp_id} is {lane}: {way_out} {wp_id}"] if wp_id and lane in lanes else []


def _accepted(state: State) -> bool:
    accepted = state.last_other(ACCEPTED)
    return accepted is not None and accepted.at > state.snapshot.last_at


def _work(state: State) -> Position:
    """Own work first, then reviews (others wait for them), then what can be claimed; else why there is nothing."""
    mine = [one for one in state.packages if state.lane(one.wp_id) in (CLAIMED, IN_PROGRESS) and _holds(state, one)]
    if mine:
        return Position(IMPLEMENT, mine[0].wp_id)
    for package in state.packages:
        lane = state.lane(package.wp_id)
        reviewer = state.package_state(package.wp_id)
        mine_to_answer = lane == IN_REVIEW and reviewer is not None and same(reviewer.actor, state.agent)
        if mine_to_answer or (lane == FOR_REVIEW and not same(implementer(state, package.wp_id), state.agent)):
            return Position(REVIEW, package.wp_id)
    obstacles: list[str] = []
    free: list[str] = []
    for package in state.packages:
        lane = state.lane(package.wp_id)
        if lane in SETTLED:
            continue
        why = _why_not(state, package, lane)
        if why is None:
            free.append(package.wp_id)
        else:
            obstacles.append(why)
    if not free:
        return Position(IMPLEMENT, None, tuple(obstacles))
    # What was given to somebody else a moment ago comes last, but it comes: they may be gone.
    given = _given_to_others(state)
    return Position(IMPLEMENT, next((wp_id for wp_id in free if wp_id not in given), free[0]))


def _given_to_others(state: State) -> set[str | None]:
    agents = {_agent(one) for one in state.snapshot.issued.values()}
    steps = [open_step(state, agent) for agent in agents if not same(agent, state.agent)]
    return {step_of(step)[1] for step in steps if step is not None}


def _holds(state: State, package: Package) -> bool:
    known = state.package_state(package.wp_id)
    return known is not None and same(known.agent, state.agent)


def _why_not(state: State, package: Package, lane: str) -> str | None:
    if lane not in (PLANNED, BLOCKED):
        return (
            f"{package.wp_id} is {lane} with {inert(implementer(state, package.wp_id), prose=True) or 'somebody else'}"
        )
    for finding in dependencies_missing(state, package):
        return finding.message
    busy = occupied(state, package)
    return f"{package.wp_id} waits in its lane for {busy}" if busy else None


# Decisions as they are printed


def _query(state: State, position: Position, issued: Other | None) -> Decision:
    started = run_id(state) is not None
    at = position.step if started or position.step == DONE else NOT_STARTED
    kind = "terminal" if position.step == DONE else "blocked" if position.obstacles else "query"
    made = _decision(
        state,
        kind,
        at,
        position.wp_id,
        action=None if kind != "query" else position.step,
        reason="the mission has landed" if kind == "terminal" else "; ".join(position.obstacles) or None,
        guard_failures=position.obstacles,
        is_query=True,
        preview_step=position.step if kind == "query" else None,
    )
    here = issued is not None and step_of(issued) == (position.step, position.wp_id)
    return _with_step(made, run_id(state), issued.event_id) if issued is not None and here else made


def _go(state: State, position: Position, notes: str | None = None) -> Decision:
    if position.step == DONE:
        return _decision(state, "terminal", DONE, None, reason="the mission has landed")
    if position.obstacles:
        reason = "; ".join(position.obstacles)
        return _decision(state, "blocked", position.step, None, reason=reason, guard_failures=position.obstacles)
    return _decision(state, "step", position.step, position.wp_id, action=position.step, notes=notes)


def _with_step(decision: Decision, run: str | None, step_id: str) -> Decision:
    return decision._replace(run_id=run, step_id=step_id, decision_id=f"{step_id}.{decision.mission_state}")


def _decision(state: State, kind: str, at: str, wp_id: str | None, **fields: Any) -> Decision:
    progress = state.progress()
    return Decision(
        kind,
        state.agent,
        state.mission.slug,
        state.mission.type,
        at,
        wp_id=wp_id,
        progress={
            "done": progress.done,
            "approved": progress.approved,
            "total": progress.total,
            "percent": progress.percent,
        },
        **fields,
    )
