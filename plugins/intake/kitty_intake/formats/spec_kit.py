"""A feature folder of spec-kit: `spec.md`, `plan.md`, and `tasks.md` with lines such as `- [ ] T001 [P] [US1] Do it in src/a.py`.

A phase becomes a work package and its tasks become the steps, as spec-kitty does it. Phases follow each other; those that belong to a user
story do not wait for other stories, and what comes after the stories waits for all of them. A task that says that it depends on one of
another phase makes its phase wait for that one too.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import islice
from typing import NamedTuple

from attrs import evolve

from kitty_host.records import Brief, PlannedPackage, PlannedStep, Source
from kitty_intake.formats.checklist import Group, Item, groups
from kitty_intake.formats.foreign import MOST, paths_in

_TASK = re.compile(r"(?P<id>T\d{3,5}[A-Za-z]?)\b[:.]?(?P<marks>(?:[ \t]*\[[\w -]{1,20}\])*)[ \t]*(?P<title>.*)")
_PHASE = re.compile(r"(Phase \d{1,6}(?:\.\d{1,6}){0,5})\b", re.IGNORECASE)
_STORY = re.compile(r"\[US\d+\]|\bUser Story\b", re.IGNORECASE)
_NEEDS = re.compile(r"\bdepends? on\b([^.;)]{0,200})", re.IGNORECASE)
_TASK_ID = re.compile(r"\bT\d{3,5}[A-Za-z]?\b")
_REQUIREMENT = re.compile(
    r"^[ \t]*[-*][ \t]+\*\*(?P<id>[A-Z]{2,4}-\d+[a-z]?)\*\*:?[ \t]*(?P<text>\S.*)|^###[ \t]+(?P<story>User Story \d.*)",
    re.MULTILINE,
)
_HEADING = re.compile(r"^#[ \t]+(?:Feature Specification|Implementation Plan|Tasks):[ \t]*(\S.*)$", re.MULTILINE)


def read(source: Source, plain: Brief) -> Brief | None:
    """The feature, if the directory is one."""
    spec, plan, tasks = (
        source.files.get(name, b"").decode().replace("\r\n", "\n") for name in ("spec.md", "plan.md", "tasks.md")
    )
    phases = _phases(tasks)
    if not (_HEADING.search(spec) or (phases and (spec or plan))):
        return None
    heading = next((found for text in (spec, plan, tasks) if (found := _HEADING.search(text))), None)
    return evolve(
        plain,
        format="spec-kit",
        title=heading[1].strip() if heading else "",
        requirements=tuple(
            one["story"] or f"{one['id']}: {one['text']}" for one in islice(_REQUIREMENT.finditer(spec), MOST)
        ),
        packages=_packages(phases),
    )


class _Phase(NamedTuple):
    group: Group
    tasks: tuple[tuple[re.Match[str], Item], ...]

    @property
    def story(self) -> bool:
        marks = (task["marks"] for task, _ in self.tasks)
        return any(_STORY.search(one) for one in (self.group.heading, *marks))

    @property
    def done(self) -> bool:
        return all(item.done for _, item in self.tasks)


def _phases(tasks: str) -> list[_Phase]:
    found = []
    for group in groups(tasks):
        known = tuple((task, item) for item in group.items if (task := _TASK.match(item.lines[0])))
        found += [_Phase(group, known)] if known else []
    return found


def _packages(phases: Sequence[_Phase]) -> tuple[PlannedPackage, ...]:
    numbered = [told[1] if (told := _PHASE.match(one.group.heading)) else "" for one in phases]
    unique = all(numbered) and len({one.casefold() for one in numbered}) == len(numbered)
    ids = numbered if unique else [str(number) for number in range(1, len(phases) + 1)]
    phase_of = {task["id"]: own for own, phase in zip(ids, phases, strict=True) for task, _ in phase.tasks}
    packages: list[PlannedPackage] = []
    barrier: tuple[str, ...] = ()
    stories: tuple[str, ...] = ()
    for own, phase in zip(ids, phases, strict=True):
        told_of = [line for _, item in phase.tasks if not item.done for line in item.lines]
        named = [one for line in told_of for words in _NEEDS.findall(line) for one in _TASK_ID.findall(words)]
        before = barrier if phase.story else stories or barrier
        others = (*before, *(phase_of.get(one, own) for one in named))
        packages.append(
            PlannedPackage(
                own,
                phase.group.heading,
                phase.group.body,
                tuple(one for one in dict.fromkeys(others) if one != own),
                paths_in(told_of),
                tuple(PlannedStep(task["id"], task["title"].strip(), item.done) for task, item in phase.tasks),
                "done" if phase.done else "",
            )
        )
        # What is done is waited for by nobody.
        if phase.story and not phase.done:
            stories = (*stories, own)
        elif not phase.done:
            barrier, stories = (own,), ()
    return tuple(packages)
