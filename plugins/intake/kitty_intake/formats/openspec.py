"""A change of OpenSpec: `proposal.md`, `tasks.md`, and the requirements that it adds, modifies or removes in `specs/*/spec.md`.

A numbered section of the task list becomes a work package and its boxes become the steps. OpenSpec says that the list is worked off in
order, so each section waits for the one before it.
"""

from __future__ import annotations

import re
from pathlib import PurePosixPath

from attrs import evolve

from kitty_host.records import Brief, PlannedPackage, PlannedStep, Source
from kitty_intake.formats.checklist import groups
from kitty_intake.formats.foreign import MOST, lines, paths_in

_WHY = re.compile(r"^##[ \t]+Why\b", re.MULTILINE)
_WHAT = re.compile(r"^##[ \t]+What Changes\b", re.MULTILINE)
_TITLE = re.compile(r"^#[ \t]+(?:(?:Change|Proposal):[ \t]*)?(\S.*)$", re.MULTILINE)
_SPEC = re.compile(r"specs/(?P<capability>.+)/spec\.md")
_LINE = re.compile(
    r"##[ \t]+(?P<delta>ADDED|MODIFIED|REMOVED|RENAMED) Requirements"
    r"|###[ \t]+Requirement:[ \t]*(?P<name>\S.*)|####[ \t]+Scenario:[ \t]*(?P<scenario>\S.*)"
)
_NUMBER = re.compile(r"(\d{1,6}(?:\.\d{1,6}){0,5})[.)]?[ \t]+(.*)")
_LONG = 300
"""Characters of a name, which is said again with each scenario."""


def read(source: Source, plain: Brief) -> Brief | None:
    """The change, if the directory is one."""
    proposal = _text(source, "proposal.md")
    specs = [found for path in source.files if (found := _SPEC.fullmatch(path))]
    requirements = [line for one in specs for line in _requirements(_text(source, one[0]), one["capability"])]
    if not (_WHY.search(proposal) and (_WHAT.search(proposal) or requirements)):
        return None
    title = _TITLE.search(proposal)
    return evolve(
        plain,
        format="openspec",
        title=title[1].strip() if title else PurePosixPath(source.name).name.replace("-", " "),
        requirements=tuple(requirements[:MOST]),
        packages=_packages(_text(source, "tasks.md")),
    )


def _text(source: Source, path: str) -> str:
    return source.files.get(path, b"").decode().replace("\r\n", "\n")


def _requirements(spec: str, capability: str) -> list[str]:
    delta, name = "", ""
    found: list[str] = []
    for line in lines(spec):
        mark = _LINE.match(line)
        if mark is None:
            continue
        delta = mark["delta"] or delta
        name = (mark["name"] or name)[:_LONG]
        if delta and not mark["delta"]:
            told = f"{name}, scenario: {mark['scenario']}" if mark["scenario"] else name
            found.append(f"{delta} {capability}: {told}")
        if len(found) == MOST:
            break
    return found


def _packages(tasks: str) -> tuple[PlannedPackage, ...]:
    sections = groups(tasks)
    numbers = [found[1] if (found := _NUMBER.match(one.heading)) else "" for one in sections]
    unique = all(numbers) and len(set(numbers)) == len(numbers)
    packages: list[PlannedPackage] = []
    before: tuple[str, ...] = ()
    for position, section in enumerate(sections, 1):
        source_id = numbers[position - 1] if unique else str(position)
        heading = _NUMBER.match(section.heading)
        steps = []
        for place, item in enumerate(section.items, 1):
            told = _NUMBER.match(item.lines[0])
            steps.append(
                PlannedStep(told[1] if told else f"{source_id}.{place}", told[2] if told else item.lines[0], item.done)
            )
        done = all(item.done for item in section.items)
        told_of = [line for item in section.items if not item.done for line in item.lines]
        packages.append(
            PlannedPackage(
                source_id,
                heading[2] if heading else section.heading or "Tasks",
                section.body,
                before,
                paths_in(told_of),
                tuple(steps),
                "done" if done else "",
            )
        )
        before = before if done else (source_id,)
    return tuple(packages)
