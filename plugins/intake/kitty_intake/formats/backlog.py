"""Tasks of Backlog.md: Markdown files with front matter (`id`, `title`, `status`, `dependencies`), one or a directory of them.

Whatever its prefix, a task is known by its number, as a project has one prefix and may have changed it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from attrs import evolve

from kitty_host.api import KittyError
from kitty_host.config import parse_yaml
from kitty_host.records import Brief, PlannedPackage, Source
from kitty_intake.formats.foreign import MOST, paths_in, text, texts
from kitty_intake.formats.parents import without_parents

_FENCED = re.compile(r"\A\ufeff?---[ \t]*\r?\n(?P<front>.{1,16384}?\n)---[ \t]*\r?$", re.DOTALL | re.MULTILINE)
_MOST_YAML = 1 << 19
"""Characters of front matter in all: reading it takes ten times as long as reading the rest."""
_ID = re.compile(r"(?:[A-Za-z][A-Za-z0-9_]{0,50}-)?(?P<number>\d{1,9}(?:\.\d{1,9}){0,9})")
_DONE = {"done", "complete", "completed", "closed"}
_CRITERIA = re.compile(r"^##[ \t]+Acceptance Criteria\b.*?$(.*?)(?=^##?[ \t]|\Z)", re.DOTALL | re.MULTILINE)
_CRITERION = re.compile(r"^[ \t]*[-*][ \t]+\[[ xX]\][ \t]+(?:#\d+[ \t]+)?(\S.*?)\r?$", re.MULTILINE)
_PROJECT = re.compile(r"^project_name:[ \t]*[\"']?([^\"'\r\n]+)", re.MULTILINE)


class _Task(NamedTuple):
    number: str
    front: Mapping[str, Any]
    body: str
    completed: bool


def read(source: Source, plain: Brief) -> Brief | None:
    """The tasks, if the source is one or a directory of nothing else."""
    files = {path: content.decode() for path, content in source.files.items()} or {"": plain.text}
    pages = {path: page for path, page in files.items() if path == "" or path.endswith(".md")}
    placed = {path: page for path, page in pages.items() if PurePosixPath(path).parent.name in ("tasks", "completed")}
    meant = {path: page for path, page in (placed or pages).items() if not _beside(path)}
    fenced = {path: found for path, page in meant.items() if (found := _FENCED.match(page))}
    if not fenced or sum(len(one["front"]) for one in fenced.values()) > _MOST_YAML:
        return None
    known = [task for path, one in fenced.items() if (task := _task(path, one))]
    if len(known) < len(meant):
        return None
    known.sort(key=lambda one: [int(part) for part in one.number.split(".")])
    parents = {one.number: _number(one.front.get("parent_task_id")) for one in known}
    packages = without_parents(tuple(map(_package, known)), parents)
    if packages is None:
        return None
    # What the plan does not have is called as whoever waits for it calls it.
    ids = {_number(need): need for one in known for need in texts(one.front.get("dependencies"))}
    ids |= {one.number: text(one.front["id"]) for one in known}
    project = _PROJECT.search(files.get("config.yml", ""))
    criteria = (
        f"{ids[one.number]}: {criterion[1]}"
        for one in known
        if not _settled(one)
        for section in _CRITERIA.finditer(one.body)
        for criterion in _CRITERION.finditer(section[1])
    )
    title = text(known[0].front["title"]) if len(known) == 1 else project[1].strip() if project else ""
    named = tuple(
        evolve(one, source_id=ids[one.source_id], dependencies=tuple(ids[need] for need in one.dependencies))
        for one in packages
    )
    return evolve(plain, format="backlog-md", title=title, requirements=tuple(islice(criteria, MOST)), packages=named)


def _beside(path: str) -> bool:
    """What lies there and is no task of the plan."""
    place = PurePosixPath(path)
    return "archive" in place.parts or place.name.casefold() == "readme.md"


def _task(path: str, fenced: re.Match[str]) -> _Task | None:
    try:
        front = parse_yaml(fenced["front"], Path(path), code="INTAKE_FILE_UNREADABLE")
    except KittyError:
        return None
    if not isinstance(front, dict) or not {"assignee", "created_date", "dependencies"} & front.keys():
        return None
    number = _number(front.get("id"))
    if not number or number == text(front["id"]) or not text(front.get("title")) or not text(front.get("status")):
        return None
    completed = PurePosixPath(path).parent.name == "completed"
    return _Task(number, front, fenced.string[fenced.end() :].strip("\r\n"), completed)


def _package(task: _Task) -> PlannedPackage:
    return PlannedPackage(
        task.number,
        text(task.front["title"]),
        task.body,
        tuple(filter(None, map(_number, texts(task.front.get("dependencies"))))),
        paths_in(texts(task.front.get("modified_files"))),
        settled=_settled(task),
    )


def _settled(task: _Task) -> str:
    return "done" if task.completed or text(task.front["status"]).casefold() in _DONE else ""


def _number(task_id: object) -> str:
    named = _ID.fullmatch(text(task_id))
    return named["number"] if named else ""
