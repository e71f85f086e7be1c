"""Prompt files: what somebody who is handed a step has to know, in one text. Written where work is handed out, and nowhere else.

They lie in the Git directory, named after the row of the ledger that hands the work out. What others wrote stands in fences and cannot be
taken for kitty's own words.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from kitty_host.api import KittyError
from kitty_host.command import Invocation
from kitty_host.files import atomic_write
from kitty_host.inert import fenced, inert, pattern
from kitty_host.ledger.event import Transition, actor_name
from kitty_host.ledger.machine import APPROVED, DONE, IN_PROGRESS, IN_REVIEW
from kitty_host.mission import Mission
from kitty_host.packages import Package, description
from kitty_host.records import Step
from kitty_host.state import State
from kitty_runtime.completeness import missing, requirements
from kitty_runtime.discovery import mission_type
from kitty_runtime.types import ACCEPT, IMPLEMENT, MERGE, REVIEW, TASKS, WRITE, command_of

if TYPE_CHECKING:
    # Records of attrs, which a question does without.
    from kitty_host.records import Rules, Workspace

_MOST = 64 << 10
_ENTERED = {IMPLEMENT: IN_PROGRESS, REVIEW: IN_REVIEW}


def prompt_file(mission: Mission, event_id: str) -> Path:
    """Where the prompt is that goes with a row of the ledger; whether there is one is another question."""
    return mission.repo.state / "prompts" / mission.mission_id / f"{event_id}.md"


def handed_out(state: State, wp_id: str, action: str) -> Path | None:
    """The prompt of the claim in force, if it is kept in this clone."""
    lane = _ENTERED.get(action)
    known = state.package_state(wp_id)
    row = known.entered.get(lane) if known and lane and known.lane == lane else None
    path = prompt_file(state.mission, row.event_id) if row else None
    return path if path is not None and path.is_file() else None


def hand_out(call: Invocation, package: Package, action: str, workspace: Workspace | None, rules: Rules | None) -> Path:
    """Write the prompt of a package that was just claimed, for work or for review."""
    state = call.state()
    known = state.package_state(package.wp_id)
    assert known is not None, "it was claimed"
    path = prompt_file(call.mission, known.entered[_ENTERED[action]].event_id)
    text = prompt(call, state, step_of_type(call, action), package, workspace=workspace, rules=rules)
    atomic_write(path, text.encode(errors="replace"))
    return path


def step_of_type(call: Invocation, action: str) -> Step:
    """The mission's step with this action; a plain one where the type cannot be had, because work goes on all the same."""
    try:
        found = mission_type(call.plugins, call.repo, call.mission.type).step(action)
    except KittyError:
        found = None
    return found or Step(action, action.capitalize(), action=action)


def rules_action(step: Step) -> str:
    """What the rules of a step are asked for by."""
    return step.action if step.action in (TASKS, IMPLEMENT, REVIEW, ACCEPT, MERGE) else step.id


def prompt(
    call: Invocation,
    state: State,
    step: Step,
    package: Package | None = None,
    *,
    agent: str = "",
    notes: str = "",
    workspace: Workspace | None = None,
    rules: Rules | None = None,
) -> str:
    """The whole text."""
    mission = call.mission
    about = f"{package.wp_id}, {inert(package.title, prose=True)}" if package else mission.title
    parts = [f"# {inert(step.title, prose=True)}: {about}"]
    parts.append(f"Mission {mission.slug}: {mission.title}. It lands on {inert(mission.target)}.")
    if step.prompt:
        parts.append(step.prompt.strip())
    if notes:
        parts.append(notes)
    if package is not None:
        parts += _about(state, package)
        parts += _where(call, package, workspace)
        if step.action == REVIEW:
            parts += _to_review(state, package, workspace)
    elif step.action in (WRITE, TASKS):
        parts.append("\n".join(["## What is missing", *_listed(missing(mission, step))]))
    parts.append(f"## When it is done\n\n{way(call, step, package, agent)}")
    if rules:
        parts.append(f"{rules.text}\n\nReceipt: {rules.receipt}")
    return "\n\n".join(parts) + "\n"


def way(call: Invocation, step: Step, package: Package | None, agent: str = "") -> str:
    """The commands of a step, as they can be typed; the mission is named where the caller had to name it."""
    named = call.which
    who = f" --agent {shlex.quote(agent or call.actor())}"
    wp = package.wp_id if package else "WP"
    if step.action == WRITE:
        return f"Write {step.artifact}, then run: kitty {command_of(step)}{named}"
    ways = {
        TASKS: f"Write {step.artifact} and tasks/WPnn-….md, then run: kitty tasks{named} && kitty finalize{named}",
        IMPLEMENT: f"Run: kitty implement {wp}{who}{named}; work where it says; commit; then run: kitty submit {wp}{who}{named}",
        REVIEW: f"Run: kitty review {wp} --claim{who}{named}; read the commits; then --approve, or --reject --reason R",
        ACCEPT: f"Run: kitty accept{named}",
        MERGE: f"Run: kitty merge{named}",
    }
    return ways.get(step.action, f"Then report it: kitty next --result success{who}{named}")


def _about(state: State, package: Package) -> Iterator[str]:
    mission = state.mission
    facts = [f"It may change: {', '.join(map(pattern, package.owned_files))}"]
    if package.dependencies:
        stands = [
            f"{one} ({state.lane(one)}, {(state.approved_commit(one) or '-')[:10]})" for one in package.dependencies
        ]
        facts.append(f"It builds on: {', '.join(stands)}")
    if open_ones := state.open_subtasks(package):
        facts.append(
            f"Open subtasks, to be ticked off with `kitty mark-status ID --status done`: {', '.join(map(inert, open_ones))}"
        )
    yield "\n".join(["## The work package", "", *(f"- {fact}" for fact in facts)])
    path = mission.directory / package.path
    body = description(path.read_bytes())
    shown = body[:_MOST]
    cut = "" if len(body) <= _MOST else f" (its first {_MOST} bytes)"
    yield f"Its description, from {path}{cut}:\n\n{_fence(shown)}"
    wanted = [one for one in requirements(mission) if one.id in package.requirements]
    if wanted:
        lines = [f"- {one.id}: {inert(one.text, prose=True)}" for one in wanted]
        yield "\n".join(["Requirements that it meets:", "", *lines])
    yield from _said(state, package)


def _said(state: State, package: Package) -> Iterator[str]:
    """What a reviewer wanted otherwise, and what was noted."""
    known = state.package_state(package.wp_id)
    if known is None:
        return
    back: Transition | None = known.entered.get(IN_PROGRESS)
    ways = {IN_REVIEW: "rejected", APPROVED: "taken up again", DONE: "taken up again"}
    if back is not None and back.from_lane in ways and back.row.get("reason"):
        who, reason = inert(actor_name(back.actor), prose=True), str(back.row["reason"]).encode(errors="replace")
        yield f"It was {ways[back.from_lane]} by {who}, who said:\n\n{_fence(reason)}"
    notes = known.slots.get("notes") or []
    if notes:
        yield "\n".join(["Notes:", "", *(f"- {inert(str(note), prose=True)}" for note in notes[-20:])])


def _where(call: Invocation, package: Package, workspace: Workspace | None) -> Iterator[str]:
    if package.planning:
        yield f"## Where\n\nIn the canonical checkout, {call.repo.root}. Commit nothing: `kitty submit` takes exactly the files above."
    elif workspace is not None and workspace.path is not None:
        lines = [
            f"Work in {workspace.path}, on the branch {workspace.branch}, from {workspace.base[:10]}. Nowhere else."
        ]
        if workspace.env:
            lines += ["", "Every process of this lane gets:", "", "```sh"]
            lines += [f"export {name}={shlex.quote(value)}" for name, value in workspace.env.items()]
            lines.append("```")
        lines += [f"\n{note}" for note in workspace.notes]
        yield "\n".join(["## Where", "", *lines])


def _to_review(state: State, package: Package, workspace: Workspace | None) -> Iterator[str]:
    told = state.submission(package.wp_id) or {}
    if told.get("no_changes"):
        yield f"It was submitted without a change, because: {inert(str(told['no_changes']), prose=True)}"
    elif told.get("head"):
        head, base = str(told["head"]), workspace.base if workspace else ""
        look = f"log -p {base[:12]}..{head[:12]}" if base else f"show {head[:12]}"
        root = shlex.quote(str(state.mission.repo.root))
        yield f"Submitted at {head[:12]}. See it with: git -C {root} {look}"


def _listed(lines: list[str]) -> list[str]:
    return ["", *(f"- {line}" for line in lines or ["nothing that kitty can see"])]


def _fence(content: bytes) -> str:
    return fenced(content).decode(errors="replace").rstrip("\n")
