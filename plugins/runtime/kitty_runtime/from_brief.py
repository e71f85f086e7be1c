"""A brief as the files of a mission: `spec.md`, and where the plan has tasks a work package for each that is open.

Everything that a plan says is foreign: in one line it goes through `inert`, as a text it stands in a fence, and front matter holds
nothing but ids of kitty's own, inert titles and paths that are checked here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from kitty_host.api import KittyError
from kitty_host.inert import UNTRUSTED, fenced, inert
from kitty_host.records import Brief, PlannedPackage

EVERYTHING = "**"
"""What a work package owns whose task names no file: it shares a lane with all others, which is slow and never wrong."""
MOST = 500
_PATH = re.compile(r"[\w@+][\w@.+*-]*(?:/[\w@.+*-]+)*/?|\*\*|\.[\w@.+*-]+(?:/[\w@.+*-]+)*/?")
_STEP = re.compile(r"[A-Za-z]?\d[A-Za-z0-9.-]{0,20}")
_ID = re.compile(r"\A([A-Z]{1,5}-\d{1,4}[a-z]?)(?![\w-])[:.]? *")
"""How a requirement begins that has an id; in a specification it has a status too."""
_AGAIN = "correct the plan and take it in again: kitty intake SOURCE --force"


class Planned(NamedTuple):
    """What becomes of a brief."""

    files: dict[str, bytes]
    """Paths below the mission's directory, and what to write there."""
    wp_ids: dict[str, str]
    """The work package of each task of the plan that is open, in the order of the plan."""
    settled: dict[str, str]
    """Tasks for which there is nothing to do, and why."""
    unknown: tuple[str, ...]
    """Tasks that others wait for and that the plan lacks."""
    shared: tuple[str, ...]
    """Work packages that own everything."""


def plan(brief: Brief, title: str) -> Planned:
    """The files for a mission. Errors: `WP_DUPLICATE`, `WP_CYCLE`, `INTAKE_TOO_LARGE`."""
    _require_unique(brief.packages)
    todo = [one for one in brief.packages if not one.settled]
    if len(todo) > MOST:
        message = f"the plan has {len(todo)} open tasks, and a mission at most {MOST}"
        raise KittyError("INTAKE_TOO_LARGE", message, f"take in a part of it; {_AGAIN}")
    wp_ids = {one.source_id: f"WP{number:02}" for number, one in enumerate(todo, 1)}
    needs = {one.source_id: [need for need in one.dependencies if need in wp_ids] for one in todo}
    _require_order(needs)
    settled = {one.source_id: one.settled for one in brief.packages if one.settled}
    named = dict.fromkeys(need for one in todo for need in one.dependencies)
    unknown = tuple(need for need in named if need not in wp_ids and need not in settled)
    owned = {wp_ids[one.source_id]: _owned(one) for one in todo}
    files = {"spec.md": _spec(brief, title)}
    if todo:
        files["tasks.md"] = _tasks(brief, title, wp_ids, unknown)
    steps = _step_ids(todo)
    for one in todo:
        wp_id = wp_ids[one.source_id]
        after = [wp_ids[need] for need in needs[one.source_id]]
        files[_file(wp_id, one)] = _package(one, wp_id, after, owned[wp_id], steps[wp_id])
    shared = tuple(wp_id for wp_id, paths in owned.items() if paths == [EVERYTHING])
    return Planned(files, wp_ids, settled, unknown, shared)


def _require_unique(packages: Iterable[PlannedPackage]) -> None:
    seen: set[str] = set()
    for one in packages:
        if one.source_id in seen:
            raise KittyError("WP_DUPLICATE", f"the plan has two tasks called {inert(one.source_id)}", _AGAIN)
        seen.add(one.source_id)


def _require_order(needs: dict[str, list[str]]) -> None:
    from graphlib import CycleError, TopologicalSorter

    try:
        TopologicalSorter(needs).prepare()
    except CycleError as error:
        # Each waits for the next; graphlib names them the other way round.
        cycle = [inert(one) for one in reversed(error.args[1])]
        shown = " -> ".join(cycle[:9] + ["…"] * (len(cycle) > 9))
        hint = f"take one of these dependencies out: {_AGAIN}"
        raise KittyError("WP_CYCLE", f"in the plan these wait for each other: {shown}", hint, cycle=cycle) from error


def _owned(package: PlannedPackage) -> list[str]:
    """The paths that the plan names, where they are paths inside the repository."""
    found = [path for path in package.owned_files if _PATH.fullmatch(path) and ".." not in path.split("/")]
    return list(dict.fromkeys(found)) or [EVERYTHING]


def _step_ids(todo: Sequence[PlannedPackage]) -> dict[str, list[str]]:
    """The ids of the open steps by work package: the plan's own where each can be typed and means one step, else T001 and so on."""
    ids = [step.source_id for one in todo for step in one.steps if not step.done]
    own = all(map(_STEP.fullmatch, ids)) and len({one.upper() for one in ids}) == len(ids)
    names = iter(ids if own else [f"T{number:03}" for number in range(1, len(ids) + 1)])
    return {
        f"WP{number:02}": [next(names) for step in one.steps if not step.done] for number, one in enumerate(todo, 1)
    }


def _file(wp_id: str, package: PlannedPackage) -> str:
    words = re.findall(r"[a-z0-9]+", package.title.lower())
    slug = "-".join(words)[:40].strip("-")
    return f"tasks/{wp_id}-{slug or 'task'}.md"


def _line(text: str) -> str:
    return inert(text, prose=True)


def _bytes(text: str) -> bytes:
    """A text as a file can hold it."""
    return text.encode(errors="replace")


def _spec(brief: Brief, title: str) -> bytes:
    lines = [_ID.sub(r"\1 (open): ", _line(one)) for one in brief.requirements]
    wanted = "\n".join(f"- {one}" for one in lines) or "- What the plan below asks for."
    head = (
        f"# {_line(title)}: specification\n\n"
        f"Taken from a foreign plan, {inert(brief.name)}, SHA-256 {inert(brief.sha256)}. Titles and requirements are the plan's words.\n\n"
        f"## Goal\n\n{_line(brief.title) or 'What the plan below asks for.'}\n\n"
        f"## Requirements\n\n{wanted}\n\n"
        "## Done when\n\nEvery requirement above is met, and nothing that the plan below asks for is missing.\n\n"
        f"## The plan as it was taken in\n\n{UNTRUSTED}\n\n"
    )
    return head.encode() + fenced(_bytes(brief.text))


def _tasks(brief: Brief, title: str, wp_ids: dict[str, str], unknown: Sequence[str]) -> bytes:
    rows = "\n".join(
        f"- {wp_ids[one.source_id]}: {_line(one.title)} ({inert(one.source_id)})"
        for one in brief.packages
        if one.source_id in wp_ids
    )
    text = f"# {_line(title)}: tasks\n\n## Work packages\n\n{rows}\n"
    over = [one for one in brief.packages if one.settled]
    if over:
        rows = "\n".join(f"- {inert(one.source_id)}: {_line(one.title)} ({_line(one.settled)})" for one in over)
        text += f"\n## Not planned\n\nIn the plan there is nothing left to do for these:\n\n{rows}\n"
    if unknown:
        rows = "\n".join(f"- {inert(one)}" for one in unknown)
        text += f"\n## Not known\n\nTasks wait for these, which the plan does not have:\n\n{rows}\n"
    return text.encode()


def _package(
    package: PlannedPackage, wp_id: str, after: Sequence[str], owned: Sequence[str], steps: Sequence[str]
) -> bytes:
    front = {
        "work_package_id": wp_id,
        "title": _line(package.title) or wp_id,
        "dependencies": after,
        "owned_files": owned,
        "execution_mode": "code_change",
        "subtasks": steps,
    }
    # A line of JSON is a line of YAML where every text is inert.
    head = "".join(f"{key}: {json.dumps(value, ensure_ascii=False)}\n" for key, value in front.items())
    text = f"---\n{head}---\n\n# {wp_id}: {_line(package.title) or 'a task'}\n\n"
    text += f"{inert(package.source_id)} of the plan, whose words the titles here are; see spec.md.\n"
    todo = [step for step in package.steps if not step.done]
    if todo:
        rows = "\n".join(f"- {own}: {_line(step.title)}" for own, step in zip(steps, todo, strict=True))
        text += f"\n## Subtasks\n\n{rows}\n"
    over = [step for step in package.steps if step.done]
    if over:
        rows = "\n".join(f"- {inert(step.source_id)}: {_line(step.title)}" for step in over)
        text += f"\n## Done already\n\n{rows}\n"
    if package.body.strip():
        return f"{text}\n## What the plan says\n\n{UNTRUSTED}\n\n".encode() + fenced(_bytes(package.body))
    return text.encode()
