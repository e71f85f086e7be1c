"""What an artefact of a mission still lacks. Asked by the command that commits it and by `kitty next`."""

from __future__ import annotations

import re
from typing import NamedTuple

from kitty_host.inert import inert
from kitty_host.mission import Mission
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


def _written(text: str, heading: str) -> bool:
    found = re.search(
        rf"^#+ {re.escape(heading)}\s*$(.*?)(?=^#{{1,2}} |\Z)", text, re.MULTILINE | re.DOTALL | re.IGNORECASE
    )
    return found is not None and bool(found[1].replace(OPEN, "").strip())
