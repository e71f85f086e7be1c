"""`kitty next`: the next decision. Without `--result` it is a query; with it, the answer is recorded and the next step issued."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import click

from kitty_host.api import KittyError
from kitty_host.command import Invocation, command
from kitty_host.files import atomic_write
from kitty_host.inert import inert, pattern
from kitty_host.ledger.event import STEP_ANSWERED, STEP_ISSUED, Row, envelope, new_id
from kitty_host.records import Decision
from kitty_host.state import State
from kitty_runtime.decide import open_step, run_id, step_of, unmet
from kitty_runtime.types import IMPLEMENT

_HOW = {
    "specify": "Write spec.md, then run: kitty specify",
    "plan": "Write plan.md, then run: kitty plan",
    "tasks": "Write tasks.md and tasks/WPnn-….md, then run: kitty tasks && kitty finalize",
    "implement": "Run: kitty implement {wp_id} --agent {agent}; work where it says; commit; then run: kitty submit {wp_id}",
    "review": "Run: kitty review {wp_id} --claim --agent {agent}; read the commits; then --approve, or --reject --reason R",
    "accept": "Run: kitty accept",
    "merge": "Run: kitty merge",
}


@command("next", mission=True, agent=True)
@click.option(
    "--result", type=click.Choice(["success", "failed", "blocked"]), help="How the step that was issued ended."
)
def next_(call: Invocation, result: str | None) -> None:
    """Say what to do next; with --result, record how the last step ended and go on."""
    call.agent = call.actor()
    decision = _ask(call, _state(call)) if result is None else _advance(call, result)
    decision = _placed(call, decision)
    call.show({"schema": "kitty.next/1", **decision._asdict()}, _told(call, decision))
    if result is not None and decision.kind == "blocked":
        click.get_current_context().exit(1)


def _state(call: Invocation, result: str | None = None) -> State:
    state = State.load(call.mission, agent=str(call.agent), result=result)
    state.gated = call.plugins.implements("kitty_gates")
    return state


def _ask(call: Invocation, state: State) -> Decision:
    decision: Decision = call.plugins.required("kitty_next", state=state)
    if decision.step_id:
        prompt = _prompt_file(call, decision.step_id)
        decision = decision._replace(prompt_file=str(prompt) if prompt.is_file() else None)
    return decision


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
    if issued is not None and not (state.result == "success" and unmet(state, *step_of(issued))):
        answer = {
            "step_id": issued.event_id,
            "result": state.result,
            "agent": state.agent,
            "mission_slug": mission.slug,
        }
        rows.append(envelope(STEP_ANSWERED, answer, aggregate_id=mission.mission_id))
    if decision.kind == "step":
        step_id = new_id()
        payload = {
            "step": decision.mission_state,
            "wp_id": decision.wp_id,
            "agent": state.agent,
            "mission_slug": mission.slug,
        }
        rows.append({**envelope(STEP_ISSUED, payload, aggregate_id=mission.mission_id), "event_id": step_id})
        run = run_id(state) or step_id
        prompt = _prompt_file(call, step_id)
        decision = decision._replace(
            run_id=run,
            step_id=step_id,
            decision_id=f"{step_id}.{decision.mission_state}",
            prompt_file=str(prompt),
        )
        atomic_write(prompt, _prompt(call, decision).encode())
    return rows, decision


def _placed(call: Invocation, decision: Decision) -> Decision:
    """The decision with where the work is done."""
    if decision.wp_id is None or (decision.mission_state != IMPLEMENT and decision.preview_step != IMPLEMENT):
        return decision
    package = call.mission.package(decision.wp_id)
    workspace = call.plugins.first("kitty_find_workspace", package=package, mission=call.mission)
    if package.planning:
        note = f"work in the canonical checkout, {call.repo.root}, on: {', '.join(map(pattern, package.owned_files))}"
        return decision._replace(notes="; ".join(filter(None, [decision.notes, note])))
    return decision._replace(workspace_path=str(workspace.path) if workspace and workspace.path else None)


def _prompt_file(call: Invocation, step_id: str) -> Path:
    return call.repo.state / "prompts" / call.mission.mission_id / f"{step_id}.md"


def _prompt(call: Invocation, decision: Decision) -> str:
    lines = [f"# {decision.mission_state}{f' {decision.wp_id}' if decision.wp_id else ''}", ""]
    lines += [f"Mission {call.mission.slug}: {call.mission.title}", ""]
    lines += [_how(call, decision.mission_state, decision), ""]
    if decision.notes:
        lines += [decision.notes, ""]
    if decision.wp_id:
        package = call.mission.package(decision.wp_id)
        lines += [f"Work package: {package.wp_id}, {inert(package.title, prose=True)}"]
        lines += [f"Owned files: {', '.join(map(pattern, package.owned_files))}"]
        lines += [f"Its description: {call.mission.directory / package.path}", ""]
    from kitty_host.governance import given

    rules = given(call.plugins, call.repo, decision.mission_state)
    if rules:
        lines += ["", rules.text, "", f"Receipt: {rules.receipt}"]
    return "\n".join(lines)


def _how(call: Invocation, step: str, decision: Decision) -> str:
    """The commands of a step, as they can be typed; the mission is named where the caller had to name it."""
    import shlex

    text = _HOW.get(step, "").format(wp_id=decision.wp_id, agent=shlex.quote(decision.agent))
    named = f" --mission {call.mission.slug}" if call.selector or call.feature else ""
    return re.sub(r"(kitty [a-z]+[^;&.]*?)(?=;| &&|$)", rf"\1{named}", text)


def _told(call: Invocation, decision: Decision) -> str:
    step = decision.preview_step or decision.mission_state
    about = f"{step}{f' {decision.wp_id}' if decision.wp_id else ''}"
    kind = {"step": "now", "query": "next"}.get(decision.kind, decision.kind)
    listed = "; ".join(decision.guard_failures) == decision.reason and len(decision.guard_failures) > 1
    lines: list[Any] = [f"{kind}: {'nothing can be done now' if listed else decision.reason or about}"]
    lines += [f"  {failure}" for failure in decision.guard_failures if failure != decision.reason]
    if decision.kind in ("step", "query"):
        lines.append("  " + _how(call, step, decision))
    lines += [
        f"  {key}: {value}"
        for key, value in (("where", decision.workspace_path), ("prompt", decision.prompt_file))
        if value
    ]
    if decision.notes:
        lines.append(f"  {decision.notes}")
    return "\n".join(lines)
