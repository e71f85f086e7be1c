"""What the artefacts of a mission still lack. Asked by the commands that commit them, by `kitty finalize` and by `kitty next`."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

from kitty_host.api import Finding
from kitty_host.inert import inert
from kitty_host.mission import Mission
from kitty_host.records import Part, Step
from kitty_runtime.packages import outside

# Texts, compiled when they are used: a question about the next step seldom needs them.
_OPEN = r"(?s)<!-- kitty: .*?-->"
"""Stands where something is still to be written. An artefact is complete when none is left and no heading is empty."""
_QUESTION = r"(?i)\[NEEDS CLARIFICATION(?::\s*(?P<question>[^\]]*))?\]"
_FENCE = r"(?sm)^(?P<mark>`{3,}|~{3,}).*?^(?P=mark)[`~]*[ \t]*$"
_ID = r"\**(?P<id>[A-Z]{1,5}-\d{1,4}[a-z]?)\**"
_ROW = rf"^\|\s*{_ID}\s*\|(?P<cells>.*)\|\s*$"
_LISTED = rf"^[-*]\s+{_ID}\**(?:\s*\((?P<status>[^)]*)\))?\s*[:.–—-]?\s*(?P<text>.*)$"
REQUIREMENTS = "Requirements"
SPEC = "spec.md"


class Requirement(NamedTuple):
    """One thing that a mission is asked for."""

    id: str
    status: str
    text: str
    line: int


def open_mark(hint: str = "") -> str:
    """The line that stands where something is to be written."""
    return f"<!-- kitty: write this{f' - {hint}' if hint else ''} -->"


def missing(mission: Mission, step: Step) -> list[str]:
    """What the artefact of a step still lacks, one line each; empty where it is complete."""
    path = mission.directory / step.artifact
    if not path.is_file():
        return [f"{step.artifact} does not exist"]
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        return [f"{step.artifact} cannot be read: {error.strerror}"]
    lacking = [f"{step.artifact}: {inert(part.heading, prose=True)} is not written" for part in _unwritten(text, step)]
    if not lacking and (mark := re.search(_OPEN, text)):
        lacking.append(f"{step.artifact}, line {_line(text, mark.start())}: `{inert(mark[0][5:60])}` is left")
    if not text.strip():
        lacking.append(f"{step.artifact} is empty")
    return lacking + _unclear(step.artifact, text)


def missing_tasks(mission: Mission, step: Step) -> list[str]:
    """What the work packages still lack."""
    lacking = missing(mission, step)
    lacking += [
        f"{finding.path or 'tasks'}: {finding.message}"
        for finding in mission.package_findings
        if finding.severity == "block"
    ]
    if not mission.packages:
        lacking.append("tasks/ has no work package")
    known = {package.wp_id for package in mission.packages}
    for package in mission.packages:
        if not package.owned_files:
            lacking.append(f"{package.path}: owned_files is empty")
        unknown = [one for one in package.dependencies if one not in known]
        lacking += [f"{package.path}: depends on {inert(one)}, which does not exist" for one in unknown]
        lacking += [f"{package.path}: owns {inert(path)}, which is outside the repository" for path in outside(package)]
        text = (mission.directory / package.path).read_text(encoding="utf-8", errors="replace")
        if re.search(_OPEN, text):
            lacking.append(f"{package.path}: a line `<!-- kitty: … -->` is left")
        lacking += _unclear(package.path, text)
    return lacking


def requirements(mission: Mission) -> list[Requirement]:
    """The requirements with an id in the specification, in the order in which they stand there; none where there is no specification."""
    try:
        text = (mission.directory / SPEC).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    return _requirements(_plain(text))


def coverage(mission: Mission) -> list[Finding]:
    """Requirements that no work package meets, and references of work packages to requirements that do not exist."""
    known = {one.id for one in requirements(mission)}
    wanted = [one for one in requirements(mission) if one.status.casefold() not in ("dropped", "withdrawn", "rejected")]
    named = {one for package in mission.packages for one in package.requirements}
    findings = [
        Finding(
            "REQUIREMENT_UNPLANNED",
            f"no work package meets {one.id}: {inert(one.text, prose=True)}",
            f"name it in the requirement_refs of one, or give it the status dropped in {SPEC}",
            "warn",
        )
        for one in wanted
        if one.id not in named
    ]
    findings += [
        Finding(
            "REQUIREMENT_UNKNOWN",
            f"{package.wp_id} refers to {inert(one)}, which is no requirement of {SPEC}",
            f"correct requirement_refs in {package.path}",
            "warn",
            package.path,
        )
        for package in mission.packages
        for one in package.requirements
        if known and one not in known
    ]
    return findings


def scaffold(mission: Mission, step: Step) -> str:
    """The artefact of a step as it is begun: its headings, and what belongs under each."""
    parts = step.parts or (Part(step.title),)
    sections = "\n".join(f"## {part.heading}\n\n{open_mark(part.hint)}\n" for part in parts)
    return f"# {mission.title}: {inert(step.title, prose=True)}\n\n{sections}"


def _unwritten(text: str, step: Step) -> list[Part]:
    return [part for part in step.parts if not re.sub(_OPEN, "", _section(text, part.heading)).strip()]


def _section(text: str, heading: str) -> str:
    """What stands under a heading, up to the next of its level or above; empty where there is none."""
    found = re.search(
        rf"^#+ {re.escape(heading)}\s*$(.*?)(?=^#{{1,2}} |\Z)", text, re.MULTILINE | re.DOTALL | re.IGNORECASE
    )
    return found[1] if found else ""


def _unclear(file: str, text: str) -> list[str]:
    """Open questions, and, in a specification, requirements that cannot be referred to."""
    plain = _plain(text)
    lacking = [
        f"{file}, line {_line(plain, found.start())}: to be clarified: {inert(found['question'] or '?', prose=True)}"
        for found in re.finditer(_QUESTION, plain)
    ]
    if file == SPEC:
        found = _requirements(plain)
        twice = [one for one, number in Counter(one.id for one in found).items() if number > 1]
        lacking += [f"{file}: there are two requirements {one}" for one in twice]
        lacking += [f"{file}, line {one.line}: {one.id} has no status" for one in found if not one.status]
    return lacking


def _requirements(plain: str) -> list[Requirement]:
    return list(_read_requirements(plain)) if "-" in plain else []


def _read_requirements(plain: str) -> Iterator[Requirement]:
    section = _section(plain, REQUIREMENTS)
    first = _line(plain, plain.find(section)) if section else 0
    status_at: int | None = None
    for number, line in enumerate(section.splitlines()):
        if (
            line.startswith("|")
            and (cells := _cells(line))
            and "status" in (names := [one.casefold() for one in cells])
        ):
            status_at = names.index("status")
        elif row := re.match(_ROW, line):
            cells = _cells(line)
            status = cells[status_at] if status_at is not None and status_at < len(cells) else ""
            yield Requirement(row["id"], status, cells[1] if len(cells) > 1 else "", first + number)
        elif listed := re.match(_LISTED, line):
            yield Requirement(listed["id"], listed["status"] or "", listed["text"], first + number)


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip().strip("|"))]


def _plain(text: str) -> str:
    """The text with its blocks of code blanked: what stands in one is quoted. Lines stay where they are."""
    return re.sub(_FENCE, lambda found: "\n" * found[0].count("\n"), text)


def _line(text: str, at: int) -> int:
    return text.count("\n", 0, max(at, 0)) + 1
