"""The plans in `plans/`, written for these tests in the shapes that the tools write."""

from __future__ import annotations

from pathlib import Path

from kitty_host.bundle import bundle
from kitty_host.records import Source

PLANS = Path(__file__).parent / "plans"
ALL = (
    "spec_kit/001-photo-albums",
    "spec_kit/014-export-queue",
    "spec_kit/020-suche",
    "openspec/add-two-factor-auth",
    "openspec/remove-old-login",
    "openspec/update-rate-limits",
    "backlog/shop",
    "backlog/types",
    "backlog/single/task-42 - Dark-mode.md",
    "task_master/weather/tasks.json",
    "task_master/bot/tasks.json",
    "task_master/two_tags",
    "beads/reader/issues.jsonl",
    "beads/rename/plan.jsonl",
    "beads/directory",
)
"""Every plan of a tool."""


def source_of(name: str) -> Source:
    """A plan as a source: a file, or all files of a directory."""
    place = PLANS / name
    if place.is_file():
        return Source(name, place.read_bytes())
    files = {path.relative_to(place).as_posix(): path.read_bytes() for path in place.rglob("*") if path.is_file()}
    return Source(name, bundle(files))
