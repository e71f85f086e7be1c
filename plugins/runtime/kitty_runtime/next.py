"""`kitty next`: the next decision. Without `--result` it is a query; with it, the answer is recorded and the next step issued."""

from __future__ import annotations

import contextlib
from typing import Any

import click

from kitty_host.api import KittyError
from kitty_host.command import Invocation, command
from kitty_host.inert import inert, pattern
from kitty_host.ledger.event import CONCLUDED, STEP_ANSWERED, STEP_ISSUED, Row, envelope, new_id
from kitty_host.records import Decision, Step
from kitty_host.state import State
from kitty_runtime.decide import open_step, run_id, step_of, unmet
from kitty_runtime.discovery import mission_type
from kitty_runtime.types import ACCEPT, IMPLEMENT, MERGE, NOT_STARTED, REVIEW

DAMAGE = frozenset(
    (
        *("MISSION_DAMAGED", "LEDGER_DAMAGED", "LEDGER_UNREADABLE", "LANES_INVALID", "LANES_MISSING", "CONFIG_INVALID"),
        "WP_INVALID",
        *("MISSION_TYPE_NOT_FOUND", "MISSION_TYPE_INVALID", "MISSION_TYPE_CLASH"),
    )
)
"""What is the matter with the repository, and not with the question: then the answer is that the mission is blocked, and by what."""


@command("next", mission=True, agent=True)
@click.option(
    "--result", type=click.Choice(["success", "failed", "blocked"]), help="How the step that was issued ended."
)
def next_(call: Invocation, result: str | None) -> None:
    """Say what to do next; with --result, record how the last step ended and go on."""
    call.agent = call.actor()
    step: Step | None = None
    try:
        state = _state(call)
        decision = _ask(call, state) if result is None else _advance(call, result)
        step = state.type.named(decision.preview_step or decision.mission_state) if state.type else None
        decision = _noticed(call, state, _foretold(call, state, _placed(call, decision, step), step))
    except KittyError as error:
        if error.code not in DAMAGE:
            raise
        decision = _undecided(call, error, result)
    payload = {"schema": "kitty.next/1", **decision._asdict(), "progress": dict(decision.progress)}
    call.show(payload, "" if call.json else _told(call, decision, step))
    if result is not None and decision.kind == "blocked":
        click.get_current_context().exit(1)


def _state(call: Invocation, result: str | None = None) -> State:
    state = State.load(call.mission, agent=str(call.agent), result=result)
    state.gated = call.plugins.implements("kitty_gates")
    state.type = mission_type(call.plugins, call.repo, call.mission.type)
    return state


def _undecided(call: Invocation, error: KittyError, result: str | None) -> Decision:
    """The decision where something that it would be made of cannot be read."""
    slug, type_ = str(error.details.get("slug") or ""), ""
    with contextlib.suppress(KittyError):  # the mission may be what cannot be read
        slug, type_ = call.mission.slug, call.mission.type
    reason = f"{error.code}: {error.message}"
    return Decision(
        "blocked",
        str(call.agent),
        slug,
        type_,
        NOT_STARTED,
        reason=reason,
        guard_failures=(reason,),
        notes=error.hint,
        is_query=result is None,
    )


def _ask(call: Invocation, state: State) -> Decision:
    decision: Decision = call.plugins.required("kitty_next", state=state)
    from kitty_runtime.prompts import handed_out, prompt_file

    step = state.type.named(decision.preview_step or decision.mission_state) if state.type else None
    claimed = handed_out(state, decision.wp_id, step.action) if decision.wp_id and step else None
    if claimed is None and decision.step_id:
        path = prompt_file(call.mission, decision.step_id)
        claimed = path if path.is_file() else None
    return decision._replace(prompt_file=str(claimed)) if claimed else decision


def _advance(call: Invocation, result: str) -> Decision:
    """Decide, write the prompt, record. Errors: `LOCK_HELD` where the ledger keeps moving."""
    for _ in range(3):
        state = _state(call, result)
        decision = _ask(call, state)
        rows, decision = _rows(call, state, decision)
        if not rows or _recorded(call, state, rows):
            return decision
    raise KittyError("LOCK_HELD", f"the ledger of {call.mission.slug} keeps moving", "run it again")


def _recorded(call: Invocation, seen: State, rows: list[Row]) -> bool:
    from kitty_host.ledger.emit import emit

    return bool(
        emit(call.plugins, call.mission, lambda state: rows if state.last_event_id == seen.last_event_id else [])
    )


def _rows(call: Invocation, state: State, decision: Decision) -> tuple[list[Row], Decision]:
    mission = call.mission
    issued = open_step(state)
    rows: list[Row] = []
    # A step that is reported as done and is not stays open.
    if issued is not None and not (state.result == "success" and unmet(state, issued)):
        answer = {
            "step_id": issued.event_id,
            "step": step_of(issued)[0],
            "result": state.result,
            "agent": state.agent,
            "mission_slug": mission.slug,
        }
        rows.append(envelope(STEP_ANSWERED, answer, aggregate_id=mission.mission_id))
    if decision.kind == "terminal" and state.is_open:
        payload = {"mission_slug": mission.slug, "mission_type": mission.type, "actor": state.agent}
        rows.append(envelope(CONCLUDED, payload, aggregate_id=mission.mission_id))
    if decision.kind == "step":
        row, decision = _issue(call, state, decision)
        rows.append(row)
    return rows, decision


def _issue(call: Invocation, state: State, decision: Decision) -> tuple[Row, Decision]:
    """The row that hands a step out, and the decision with its prompt."""
    from kitty_host.files import atomic_write
    from kitty_host.governance import given
    from kitty_runtime.prompts import prompt, prompt_file, rules_action

    step_id = new_id()
    payload = {
        "step": decision.mission_state,
        "wp_id": decision.wp_id,
        "agent": state.agent,
        "mission_slug": call.mission.slug,
    }
    row = {**envelope(STEP_ISSUED, payload, aggregate_id=call.mission.mission_id), "event_id": step_id}
    step = _step(state, decision)
    path = prompt_file(call.mission, step_id)
    rules = given(call.plugins, call.repo, rules_action(step))
    package = call.mission.package(decision.wp_id) if decision.wp_id else None
    text = prompt(call, state, step, package, agent=state.agent, notes=decision.notes or "", rules=rules)
    atomic_write(path, text.encode(errors="replace"))
    return row, decision._replace(
        run_id=run_id(state) or step_id,
        step_id=step_id,
        decision_id=f"{step_id}.{decision.mission_state}",
        prompt_file=str(path),
    )


def _step(state: State, decision: Decision) -> Step:
    """The step of a decision; a plugin may have decided on one that the type does not have."""
    found = state.type.named(decision.mission_state) if state.type else None
    return found or Step(decision.mission_state, decision.mission_state.capitalize())


def _placed(call: Invocation, decision: Decision, step: Step | None) -> Decision:
    """The decision with where the work is done."""
    if decision.wp_id is None or step is None or step.action not in (IMPLEMENT, REVIEW):
        return decision
    package = call.mission.package(decision.wp_id)
    if package.planning:
        note = f"work in the canonical checkout, {call.repo.root}, on: {', '.join(map(pattern, package.owned_files))}"
        return decision._replace(notes="; ".join(filter(None, [decision.notes, note])))
    workspace = call.plugins.first("kitty_find_workspace", package=package, mission=call.mission)
    return decision._replace(workspace_path=str(workspace.path) if workspace and workspace.path else None)


def _foretold(call: Invocation, state: State, decision: Decision, step: Step | None) -> Decision:
    """A decision to land what will conflict says where, and the ways out: no gate accepts it before."""
    if decision.kind not in ("step", "query") or step is None or step.action not in (ACCEPT, MERGE):
        return decision
    from kitty_runtime.overview import foresee

    foresee(call.plugins, state)
    if state.forecast is None or not state.forecast.conflicts:
        return decision
    one = state.forecast.conflicts[0]
    where = ", ".join(inert(path) for path in one["paths"])
    note = (
        f"{one['lane']} conflicts with {' and '.join(one['others'])} in {where}: settle it where it lands: kitty merge"
        f"{call.which}; or {one['hint']}"
    )
    return decision._replace(notes="; ".join(filter(None, [decision.notes, note])))


def _noticed(call: Invocation, state: State, decision: Decision) -> Decision:
    """A decision that waits for somebody, or hands out what one has already, says whose worktree is not here."""
    if decision.kind != "blocked" and (decision.wp_id is None or decision.workspace_path):
        return decision
    from kitty_runtime.workspaces import missing_workspaces

    missing = [one.message for one in missing_workspaces(call.plugins, state)]
    return decision._replace(notes="; ".join([*filter(None, [decision.notes]), *missing]) or None)


def _told(call: Invocation, decision: Decision, step: Step | None) -> str:
    about = f"{decision.preview_step or decision.mission_state}{f' {decision.wp_id}' if decision.wp_id else ''}"
    kind = {"step": "now", "query": "next"}.get(decision.kind, decision.kind)
    listed = "; ".join(decision.guard_failures) == decision.reason and len(decision.guard_failures) > 1
    lines: list[Any] = [
        f"{kind}: {'nothing can be done now' if listed else decision.reason or inert(about, prose=True)}"
    ]
    lines += [f"  {failure}" for failure in decision.guard_failures if failure != decision.reason]
    if decision.question:
        lines += [f"  {decision.question}", *(f"  either: {option}" for option in decision.options)]
    if decision.kind in ("step", "query") and step is not None:
        from kitty_runtime.prompts import way

        package = call.mission.package(decision.wp_id) if decision.wp_id else None
        lines.append("  " + way(call, step, package, decision.agent))
    lines += [
        f"  {key}: {value}"
        for key, value in (("where", decision.workspace_path), ("prompt", decision.prompt_file))
        if value
    ]
    if decision.notes:
        lines.append(f"  {decision.notes}")
    return "\n".join(lines)
