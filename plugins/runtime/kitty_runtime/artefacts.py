"""`kitty specify`, `plan`, `tasks` and `artifact`: scaffold what a step makes, say what it still lacks, commit it when it is complete."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import click

from kitty_host.api import KittyError
from kitty_host.command import Invocation, command
from kitty_host.files import atomic_write
from kitty_host.inert import inert
from kitty_host.ledger.emit import emit
from kitty_host.ledger.event import envelope
from kitty_host.mission import META, Mission
from kitty_host.records import MissionType, Step
from kitty_runtime.branches import contract, told
from kitty_runtime.commits import commit_files
from kitty_runtime.completeness import SPEC, missing, missing_tasks, open_mark, scaffold
from kitty_runtime.discovery import mission_type
from kitty_runtime.types import TASKS, WRITE, command_of, step_not_found

_COMPLETED = {SPEC: "SpecifyCompleted", "plan.md": "PlanCompleted", "tasks.md": "TasksCompleted"}
"""The rows that Spec Kitty has for them."""
_PACKAGE = f"""---
work_package_id: WP01
title: First work package
dependencies: [] # ids of the packages whose commits this one needs
owned_files: [] # paths and globs that it may change; packages that run side by side share none
requirement_refs: [] # ids of the requirements in spec.md that it meets
execution_mode: code_change # or planning_artifact: worked on in the canonical checkout
subtasks: [] # such as [T001, T002]
---

# What to do

{open_mark("what to build and where, for somebody who knows nothing but this file")}

## Acceptance criteria

{open_mark("what somebody checks, one line each")}
"""


@command("specify", mission=True, agent=True)
def specify(call: Invocation) -> None:
    """Scaffold, check and commit the specification."""
    _write_step(call, lambda step: step.artifact == SPEC, SPEC)


@command("plan", mission=True, agent=True)
def plan(call: Invocation) -> None:
    """Scaffold, check and commit the plan."""
    _write_step(call, lambda step: step.artifact == "plan.md", "plan.md")


@command("artifact", mission=True, agent=True)
@click.argument("step")
def artifact(call: Invocation, step: str) -> None:
    """Scaffold, check and commit what a step of the mission's type makes."""
    _write_step(call, lambda one: step in (one.id, one.artifact), step)


@command("tasks", mission=True, agent=True)
def tasks(call: Invocation) -> None:
    """Scaffold, check and commit the work packages."""
    directory = call.mission.directory / "tasks"
    found = mission_type(call.plugins, call.repo, call.mission.type)
    step = found.step(TASKS)
    if step is None:
        raise step_not_found(found.key, "work packages", found.steps)
    known = call.state().wp_ids()
    if known and not call.mission.packages:
        raise KittyError(
            "PLAN_ELSEWHERE",
            f"the files of {', '.join(map(inert, known))} are not in this checkout",
            f"go to the commit that has them: git switch {call.mission.target}",
        )
    if not call.mission.packages and not call.mission.package_findings:
        atomic_write(directory / "WP01-first.md", _PACKAGE.encode())
        call.mission = call.mission.refresh()
    lacks = _scaffolded(call, step), missing_tasks(call.mission, step)
    files = [step.artifact, *(package.path for package in call.mission.packages)]
    _finish(call, step, *lacks, files, "kitty finalize")


def _write_step(call: Invocation, wanted: Callable[[Step], bool], name: str) -> None:
    found = mission_type(call.plugins, call.repo, call.mission.type)
    step = next((one for one in found.steps if one.action == WRITE and wanted(one)), None)
    if step is None:
        raise step_not_found(found.key, name, found.steps)
    lacks = _scaffolded(call, step), missing(call.mission, step)
    files = [step.artifact, META] if step is found.steps[0] else [step.artifact]
    _finish(call, step, *lacks, files, _following(found, step))


def _following(found: MissionType, step: Step) -> str:
    after = next((one for one in found.steps[found.steps.index(step) + 1 :]), None)
    return f"kitty {command_of(after)}" if after is not None and after.action in (WRITE, TASKS) else "kitty next"


def _scaffolded(call: Invocation, step: Step) -> bool:
    """Whether the file was begun just now."""
    path = call.mission.directory / step.artifact
    if path.exists():
        return False
    atomic_write(path, scaffold(call.mission, step).encode())
    return True


def _finish(call: Invocation, step: Step, begun: bool, lacks: list[str], files: list[str], following: str) -> None:
    mission = call.mission
    path = mission.directory / step.artifact
    commit = None
    if not lacks:
        relative = [call.repo.relative(mission.directory / name) for name in files]
        commit = commit_files(call.repo, relative, f"{step.id.capitalize()} {mission.slug}")
        _record(call, mission, step, path)
    branches = contract(mission)
    payload = {
        "schema": "kitty.artifact/1",
        "artifact": call.repo.relative(path),
        "step": step.id,
        "complete": not lacks,
        "missing": lacks,
        "commit": commit,
        **branches,
    }
    shown = [told(branches)] if told(branches) else []
    if lacks:
        first = f"{'Made' if begun else 'Not complete:'} {payload['artifact']}"
        call.show(payload, "\n".join([first, *lacks, *shown, f"Write it, then: kitty {command_of(step)}{call.which}"]))
        if not begun:
            click.get_current_context().exit(1)
    else:
        first = f"{payload['artifact']} is complete{' and committed' if commit else ''}."
        call.show(payload, "\n".join([first, *shown, f"Next: {following}"]))


def _record(call: Invocation, mission: Mission, step: Step, path: Path) -> None:
    """One `…Completed` row, the first time that one of Spec Kitty's artefacts is complete."""
    kind = _COMPLETED.get(step.artifact)
    if kind is None:
        return
    payload = {
        "actor": call.actor(),
        "at": None,
        "mission_number": None,
        "mission_slug": mission.slug,
        "artifact_path": call.repo.relative(path),
        "summary": None,
        **({"wp_count": len(mission.packages)} if step.action == TASKS else {}),
    }
    emit(
        call.plugins,
        mission,
        lambda state: [] if state.last_other(kind) else [envelope(kind, payload, aggregate_id=mission.slug)],
    )
