"""`kitty specify`, `plan` and `tasks`: scaffold an artefact, say what it still lacks, commit it when it is complete."""

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
from kitty_runtime.commits import commit_files
from kitty_runtime.completeness import OPEN, PLAN, SPEC, TASKS, Artefact, missing, missing_tasks

_PACKAGE = """---
work_package_id: WP01
title: First work package
dependencies: []
owned_files: []
execution_mode: code_change
subtasks: []
---

# What to do

{open}
"""


@command("specify", mission=True, agent=True)
def specify(call: Invocation) -> None:
    """Scaffold, check and commit the specification."""
    _run(call, SPEC, lambda mission: missing(mission, SPEC), lambda mission: [SPEC.file, META], "kitty plan")


@command("plan", mission=True, agent=True)
def plan(call: Invocation) -> None:
    """Scaffold, check and commit the plan."""
    _run(call, PLAN, lambda mission: missing(mission, PLAN), lambda mission: [PLAN.file], "kitty tasks")


@command("tasks", mission=True, agent=True)
def tasks(call: Invocation) -> None:
    """Scaffold, check and commit the work packages."""
    directory = call.mission.directory / "tasks"
    known = call.state().wp_ids()
    if known and not call.mission.packages:
        raise KittyError(
            "PLAN_ELSEWHERE",
            f"the files of {', '.join(map(inert, known))} are not in this checkout",
            f"go to the commit that has them: git switch {call.mission.target}",
        )
    if not call.mission.packages and not call.mission.package_findings:
        atomic_write(directory / "WP01-first.md", _PACKAGE.format(open=OPEN).encode())
        call.mission = call.mission.refresh()
    _run(call, TASKS, missing_tasks, lambda mission: [TASKS.file, *_package_files(mission)], "kitty finalize")


def _package_files(mission: Mission) -> list[str]:
    return [package.path for package in mission.packages]


def _run(
    call: Invocation,
    artefact: Artefact,
    lacking: Callable[[Mission], list[str]],
    files: Callable[[Mission], list[str]],
    following: str,
) -> None:
    mission = call.mission
    path = mission.directory / artefact.file
    scaffolded = not path.exists()
    if scaffolded:
        atomic_write(path, _scaffold(mission, artefact).encode())
    lacks = lacking(mission)
    commit = None
    if not lacks:
        relative = [call.repo.relative(mission.directory / name) for name in files(mission)]
        commit = commit_files(call.repo, relative, f"{artefact.phase} {mission.slug}")
        _record(call, mission, artefact, path)
    payload = {
        "schema": "kitty.artifact/1",
        "artifact": call.repo.relative(path),
        "complete": not lacks,
        "missing": lacks,
        "commit": commit,
    }
    if lacks:
        again = f"kitty {artefact.phase.lower()}"
        call.show(
            payload,
            "\n".join([f"{'Made' if scaffolded else 'Not complete:'} {payload['artifact']}", *lacks, f"Then: {again}"]),
        )
        if not scaffolded:
            click.get_current_context().exit(1)
    else:
        call.show(payload, f"{payload['artifact']} is complete{' and committed' if commit else ''}.\nNext: {following}")


def _record(call: Invocation, mission: Mission, artefact: Artefact, path: Path) -> None:
    """One `…Completed` row, the first time an artefact is complete."""
    kind = f"{artefact.phase}Completed"
    payload = {
        "actor": call.actor(),
        "at": None,
        "mission_number": None,
        "mission_slug": mission.slug,
        "artifact_path": call.repo.relative(path),
        "summary": None,
        **({"wp_count": len(mission.packages)} if artefact is TASKS else {}),
    }
    emit(
        call.plugins,
        mission,
        lambda state: [] if state.last_other(kind) else [envelope(kind, payload, aggregate_id=mission.slug)],
    )


def _scaffold(mission: Mission, artefact: Artefact) -> str:
    sections = "\n".join(f"## {heading}\n\n{OPEN}\n" for heading in artefact.headings)
    return f"# {mission.title}: {artefact.phase.lower()}\n\n{sections}"
