"""`tasks.json` of Task Master: one list (`{"tasks": […]}`), or several by tag (`{"master": {"tasks": […]}}`); or the directory it lies in.

A task becomes a work package and its subtasks become the steps. With several tags a task is known by tag and id.
"""

from __future__ import annotations

from typing import Any

from attrs import evolve

from kitty_host.records import Brief, PlannedPackage, PlannedStep, Source
from kitty_intake.formats.foreign import MOST, label, parse_json, text

_SETTLED = {"done": "done", "completed": "done", "cancelled": "cancelled", "canceled": "cancelled"}
_PLACES = ("tasks.json", "tasks/tasks.json")


def read(source: Source, plain: Brief) -> Brief | None:
    """The tasks, if the source is such a list."""
    content = next((source.files[one].decode() for one in _PLACES if one in source.files), None)
    if content is None and source.files:
        return None
    try:
        value = parse_json(plain.text if content is None else content)
    except ValueError:
        return None
    lists = _lists(value)
    tasks = [(f"{tag}/" if len(lists) > 1 else "", task) for tag, one in lists.items() for task in one]
    if not 0 < len(tasks) <= MOST:
        return None
    meta = value.get("meta")
    return evolve(
        plain,
        format="task-master",
        title=text(meta.get("projectName")) if isinstance(meta, dict) else "",
        requirements=tuple(
            f"{prefix}{text(task['id'])}: {told}"
            for prefix, task in tasks
            if not _settled(task) and (told := text(task.get("testStrategy")))
        ),
        packages=tuple(_package(prefix, task) for prefix, task in tasks),
    )


def _lists(value: Any) -> dict[str, list[dict[str, Any]]]:
    """The task lists by tag; none where anything in them is no task."""
    if not isinstance(value, dict):
        return {}
    tagged = {"master": value} if "tasks" in value else value
    lists = {label(tag): one.get("tasks") if isinstance(one, dict) else None for tag, one in tagged.items()}
    whole = all(isinstance(one, list) and all(map(_is_task, one)) for one in lists.values())
    return {tag: one for tag, one in lists.items() if one} if whole and len(lists) == len(tagged) else {}


def _is_task(task: Any) -> bool:
    return (
        isinstance(task, dict)
        and bool(label(task.get("id")))
        and bool(text(task.get("title")))
        and isinstance(task.get("status"), str)
        and all(isinstance(task.get(name) or [], list) for name in ("dependencies", "subtasks"))
        and all(isinstance(one, dict) for one in task.get("subtasks") or [])
    )


def _package(prefix: str, task: dict[str, Any]) -> PlannedPackage:
    own, subtasks = text(task["id"]), task.get("subtasks") or []
    needs = [task.get("dependencies") or [], *(one.get("dependencies") or [] for one in subtasks)]
    # "5.2" is a subtask of 5; a bare number in a subtask is one of its own task.
    named = [text(one) for one in needs[0]] + [
        text(one) for told in needs[1:] if isinstance(told, list) for one in told if "." in text(one)
    ]
    others = (one.partition(".")[0] for one in named)
    return PlannedPackage(
        prefix + own,
        text(task["title"]),
        "\n\n".join(filter(None, (text(task.get(name)) for name in ("description", "details", "testStrategy")))),
        tuple(dict.fromkeys(prefix + one for one in others if one and one != own)),
        steps=tuple(
            PlannedStep(f"{prefix}{own}.{label(one.get('id')) or place}", text(one.get("title")), bool(_settled(one)))
            for place, one in enumerate(subtasks, 1)
        ),
        settled=_settled(task),
    )


def _settled(task: dict[str, Any]) -> str:
    return _SETTLED.get(text(task.get("status")).casefold(), "")
