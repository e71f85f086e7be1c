"""What to do next, from the mission's type, its artefacts and its ledger alone: a pure function of the state.

There is no run-state file that could go stale. A step is done when what it makes is there, and not because somebody said so; only a step
that makes nothing is done when it is reported as done.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from kitty_host.inert import inert
from kitty_host.lanes import lane_ids
from kitty_host.ledger.event import ACCEPTED, CONCLUDED, LANDED, Other
from kitty_host.ledger.machine import (
    BLOCKED,
    CLAIMED,
    FOR_REVIEW,
    GENESIS,
    IN_PROGRESS,
    IN_REVIEW,
    LANES,
    PLANNED,
    SETTLED,
)
from kitty_host.packages import Package
from kitty_host.records import Decision, Step
from kitty_host.state import State, dependencies_missing
from kitty_runtime.branches import CONFIRMED, unanswered
from kitty_runtime.completeness import missing, missing_tasks
from kitty_runtime.packages import implementer, occupied, same
from kitty_runtime.types import (
    ACCEPT,
    ANSWER,
    DONE,
    IMPLEMENT,
    MERGE,
    NOT_STARTED,
    REVIEW,
    TASKS,
    WRITE,
    command_of,
)

_DONE = Step(DONE, "Nothing is left to do")


class Position(NamedTuple):
    """Where a mission stands for one agent: the step that can be taken now, or why none can."""

    step: Step
    wp_id: str | None = None
    obstacles: tuple[str, ...] = ()
    """Empty where the step can be taken."""


def decide(state: State) -> Decision:
    """The decision for `state.agent`, given what it reports in `state.result`. The state knows its mission's type."""
    issued = open_step(state)
    if state.result is None:
        return _query(state, locate(state), issued)
    if issued is None:
        return _go(state, locate(state))
    step_id, wp_id = step_of(issued)
    step = state.type.named(step_id) if state.type else None
    about = f"{step_id}{f' of {wp_id}' if wp_id else ''}"
    if state.result == "success":
        failures = unmet(state, issued)
        if failures:
            reason = f"the step {about} is not done"
            return _decision(state, "blocked", step_id, wp_id, reason=reason, guard_failures=failures)
        return _go(state, locate(state, step_id))
    position = locate(state)
    if state.result == "failed":
        accept = state.type.step(ACCEPT) if state.type else None
        if step and step.action == MERGE and state.gated and position.step.action == MERGE and accept:
            # What was accepted may not be what is there any more.
            position = Position(accept)
        return _go(state, position, f"the step {step_id} failed before: look at what happened and try another way")
    reason = f"{inert(state.agent, prose=True)} reported that {about} is blocked"
    return _decision(state, "blocked", step_id, wp_id, reason=reason, guard_failures=position.obstacles or (reason,))


def locate(state: State, reported: str = "") -> Position:
    """The step that comes now; `reported` is one that was just said to be done."""
    if not state.is_open or state.type is None:
        return Position(_DONE)
    for step in state.type.steps:
        if step.action == IMPLEMENT:
            if not all(state.lane(wp_id) in SETTLED for wp_id in state.wp_ids()):
                return _work(state)
        elif step.action == ANSWER and step.id == reported:
            continue
        elif _lacking(state, step):
            # Planning goes on, but what somebody has in their hands comes first.
            return (_mine(state) if step.action == TASKS else None) or Position(step)
    return Position(_DONE)


def unmet(state: State, issued: Other) -> tuple[str, ...]:
    """What a step that was issued, and is reported as done, still lacks."""
    step_id, wp_id = step_of(issued)
    step = state.type.named(step_id) if state.type else None
    if step is None or step.action == ANSWER:
        return ()
    if step.action == IMPLEMENT:
        return _still_in(state, wp_id, (GENESIS, PLANNED, CLAIMED, IN_PROGRESS, BLOCKED), "kitty submit")
    if step.action == REVIEW:
        return _still_in(state, wp_id, (FOR_REVIEW, IN_REVIEW), "kitty review")
    return tuple(_lacking(state, step))


def _lacking(state: State, step: Step) -> list[str]:
    """What is missing before a step of the whole mission is done."""
    if step.action == WRITE:
        # Where packages are being worked on, the plan was good enough, however another tool wrote it.
        past = _opened(state) and state.type is not None and _comes_before_work(state.type.steps, step)
        return [] if past else missing(state.mission, step)
    if step.action == TASKS:
        return _untasked(state, step)
    if step.action == ACCEPT and state.gated and not _accepted(state):
        return ["no acceptance is recorded since the last change: kitty accept"]
    if step.action == MERGE and state.is_open:
        return ["the mission has not landed: kitty merge"]
    if step.action == ANSWER and not state.answered(step.id):
        return [f"nobody has reported {step.id} as done"]
    return []


def _opened(state: State) -> bool:
    """Whether work packages were opened for work."""
    return any(known.lane in LANES for known in state.snapshot.packages.values())


def _comes_before_work(steps: Sequence[Step], step: Step) -> bool:
    actions = [one.action for one in steps]
    return TASKS in actions and steps.index(step) < actions.index(TASKS)


def open_step(state: State, agent: str | None = None) -> Other | None:
    """The step that was issued to an agent, the state's own unless another is named, and not answered yet."""
    agent = state.agent if agent is None else agent
    found = [one for one in state.snapshot.issued.values() if same(_agent(one), agent)]
    return max(found, key=lambda event: (event.at, event.event_id), default=None)


def step_of(issued: Other) -> tuple[str, str | None]:
    """The id of the step and the work package that were issued."""
    payload = issued.row["payload"]
    wp_id = payload.get("wp_id")
    return str(payload.get("step") or ""), str(wp_id) if wp_id else None


def run_id(state: State) -> str | None:
    """The run that issued steps belong to: the id of the first of them."""
    return state.snapshot.run.event_id if state.snapshot.run else None


def _agent(event: Other) -> str:
    return str(event.row["payload"].get("agent") or "")


def _untasked(state: State, step: Step) -> list[str]:
    """What is missing before packages can be worked on; where some are at work, only what is new."""
    if _opened(state):
        if _damaged(state):
            return []  # `_work` says so where nothing else can be done
    elif lacking := missing_tasks(state.mission, step):
        return lacking
    lanes = lane_ids(state.mission)
    unopened = [
        one.wp_id
        for one in state.packages
        if (state.lane(one.wp_id) == GENESIS or one.wp_id not in lanes) and state.lane(one.wp_id) not in SETTLED
    ]
    return [f"{', '.join(map(inert, unopened))} not opened for work: kitty finalize"] if unopened else []


def _damaged(state: State) -> list[str]:
    files = [
        f"{finding.path or 'tasks'}: {finding.message}"
        for finding in state.mission.package_findings
        if finding.severity == "block"
    ]
    known = {package.wp_id for package in state.packages}
    gone = [wp_id for wp_id in state.wp_ids() if wp_id not in known and state.lane(wp_id) not in SETTLED]
    if gone and not files:
        place = state.mission.directory.name
        files += [f"kitty-specs/{place}/tasks/ has no file of {inert(wp_id)}, which is open" for wp_id in gone]
    return files


def _still_in(state: State, wp_id: str | None, lanes: tuple[str, ...], way_out: str) -> tuple[str, ...]:
    lane = state.lane(wp_id or "")
    return (f"{wp_id} is {lane}: {way_out} {wp_id}",) if wp_id and lane in lanes else ()


def _accepted(state: State) -> bool:
    accepted = state.last_other(ACCEPTED)
    return accepted is not None and accepted.at > state.snapshot.last_at


def _step(state: State, action: str) -> Step:
    found = state.type.step(action) if state.type else None
    assert found is not None, "a type with packages is whole"
    return found


def _mine(state: State) -> Position | None:
    """What the agent has in its hands."""
    for one in state.packages:
        if state.lane(one.wp_id) in (CLAIMED, IN_PROGRESS) and _holds(state, one):
            return Position(_step(state, IMPLEMENT), one.wp_id)
    return None


def _work(state: State) -> Position:
    """Own work first, then reviews (others wait for them), then what can be claimed; else why there is nothing."""
    mine = _mine(state)
    if mine is not None:
        return mine
    for package in state.packages:
        lane = state.lane(package.wp_id)
        reviewer = state.package_state(package.wp_id)
        mine_to_answer = lane == IN_REVIEW and reviewer is not None and same(reviewer.actor, state.agent)
        if mine_to_answer or (lane == FOR_REVIEW and not same(implementer(state, package.wp_id), state.agent)):
            return Position(_step(state, REVIEW), package.wp_id)
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
        return Position(_step(state, IMPLEMENT), None, (*_damaged(state), *obstacles))
    # What was given to somebody else a moment ago comes last, but it comes: they may be gone.
    given = _given_to_others(state)
    return Position(_step(state, IMPLEMENT), next((wp_id for wp_id in free if wp_id not in given), free[0]))


def _given_to_others(state: State) -> set[str | None]:
    agents = {_agent(one) for one in state.snapshot.issued.values()}
    steps = [open_step(state, agent) for agent in agents if not same(agent, state.agent)]
    return {step_of(step)[1] for step in steps if step is not None}


def _holds(state: State, package: Package) -> bool:
    known = state.package_state(package.wp_id)
    return known is not None and same(known.agent, state.agent)


def _why_not(state: State, package: Package, lane: str) -> str | None:
    if lane == GENESIS:
        return f"{package.wp_id} is not opened for work: kitty finalize"
    if lane not in (PLANNED, BLOCKED):
        return (
            f"{package.wp_id} is {lane} with {inert(implementer(state, package.wp_id), prose=True) or 'somebody else'}"
        )
    for finding in dependencies_missing(state, package):
        return finding.message
    busy = occupied(state, package)
    return f"{package.wp_id} waits in its lane for {busy}" if busy else None


# Decisions as they are printed


def action_of(step: Step) -> str:
    """What a decision calls the step's action: the command that takes it, where there is one."""
    return command_of(step).split()[0] if step.action == WRITE else step.action


def _query(state: State, position: Position, issued: Other | None) -> Decision:
    started = run_id(state) is not None
    over = position.step.id == DONE
    asked = _question(state, position)
    kind = "terminal" if over else "blocked" if position.obstacles else "decision_required" if asked else "query"
    made = _decision(
        state,
        kind,
        position.step.id if started or over else NOT_STARTED,
        position.wp_id,
        action=None if kind != "query" else action_of(position.step),
        reason=_ended(state) if over else "; ".join(position.obstacles) or None,
        guard_failures=position.obstacles,
        is_query=True,
        preview_step=position.step.id if kind == "query" else None,
        **asked,
    )
    here = issued is not None and step_of(issued) == (position.step.id, position.wp_id)
    return _with_step(made, run_id(state), issued.event_id) if issued is not None and here else made


def _go(state: State, position: Position, notes: str | None = None) -> Decision:
    if position.step.id == DONE:
        return _decision(state, "terminal", DONE, None, reason=_ended(state))
    if position.obstacles:
        reason = "; ".join(position.obstacles)
        return _decision(state, "blocked", position.step.id, None, reason=reason, guard_failures=position.obstacles)
    asked = _question(state, position)
    kind = "decision_required" if asked else "step"
    action = None if asked else action_of(position.step)
    return _decision(state, kind, position.step.id, position.wp_id, action=action, notes=notes, **asked)


def _question(state: State, position: Position) -> dict[str, Any]:
    """What somebody has to say before the first worktree of a mission that will be a pull request; nothing where nobody has to."""
    if position.step.action != IMPLEMENT or position.wp_id is None or not unanswered(state.mission):
        return {}
    target = inert(state.mission.target)
    return {
        "question": f"This mission will be a pull request, and nobody has said that work may start on its target, {target}. May it?",
        "options": (
            f"kitty implement {position.wp_id} --branch-strategy {CONFIRMED}",
            "git switch -c BRANCH",
        ),
    }


def _ended(state: State) -> str:
    if state.last_other(CONCLUDED) or state.is_open:
        return "every step of the mission is done"
    if state.last_other(LANDED):
        return "the mission has landed"
    return "every work package is done or cancelled"


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
