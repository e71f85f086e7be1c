"""`kitty specify`, `plan` and `tasks`: scaffold an artefact, say what it still lacks, commit it when it is complete."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import click

from kitty_host.api import KittyError
from kitty_host.command import Invocation, command
from kitty_host.files import atomic_write
from kitty_host.inert import inert
from kitty_host.ledger.emit import emit
from kitty_host.ledger.event import envelope
from kitty_host.mission import META, Mission
from kitty_runtime.commits import commit_files
from kitty_runtime.packages import outside

OPEN = "<!-- kitty: write this -->"
"""Stands where something is still to be written. An artefact is complete when none is left and no heading is empty."""


class Artefact(NamedTuple):
    """One file of a phase and the headings it must fill."""

    phase: str
    file: str
    headings: tuple[str, ...]


SPEC = Artefact("Specify", "spec.md", ("Goal", "Requirements", "Done when"))
PLAN = Artefact("Plan", "plan.md", ("Approach", "Work packages"))
TASKS = Artefact("Tasks", "tasks.md", ("Work packages",))

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


def missing(mission: Mission, artefact: Artefact) -> list[str]:
    """What an artefact still lacks, one line each; empty where it is complete."""
    path = mission.directory / artefact.file
    if not path.is_file():
        return [f"{artefact.file} does not exist"]
    text = path.read_text(encoding="utf-8", errors="replace")
    lacking = [
        f"{artefact.file}: {heading} is not written" for heading in artefact.headings if not _written(text, heading)
    ]
    if not lacking and OPEN in text:
        lacking.append(f"{artefact.file}: a line `{OPEN}` is left")
    return lacking


def missing_tasks(mission: Mission) -> list[str]:
    """What the work packages still lack."""
    lacking = missing(mission, TASKS)
    lacking += [
        f"{finding.path or 'tasks'}: {finding.message}"
        for finding in mission.package_findings
        if finding.severity == "block"
    ]
    if not mission.packages:
        lacking.append("tasks/ has no work package")
    for package in mission.packages:
        if not package.owned_files:
            lacking.append(f"{package.path}: owned_files is empty")
        unknown = [one for one in package.dependencies if one not in {other.wp_id for other in mission.packages}]
        lacking += [f"{package.path}: depends on {inert(one)}, which does not exist" for one in unknown]
        lacking += [f"{package.path}: owns {inert(path)}, which is outside the repository" for path in outside(package)]
        if OPEN in (mission.directory / package.path).read_text(encoding="utf-8", errors="replace"):
            lacking.append(f"{package.path}: a line `{OPEN}` is left")
    return lacking


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
            f"the files of {', '.join(known)} are not in this checkout",
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


def _written(text: str, heading: str) -> bool:
    found = re.search(
        rf"^#+ {re.escape(heading)}\s*$(.*?)(?=^#{{1,2}} |\Z)", text, re.MULTILINE | re.DOTALL | re.IGNORECASE
    )
    return found is not None and bool(found[1].replace(OPEN, "").strip())
