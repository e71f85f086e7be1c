"""A project with two work packages that is bound to a tracker, and what a test does with it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from kitty_host.testing import Project, Result

from .worlds import World

PACKAGES = (
    {"work_package_id": "WP01", "title": "The cart", "labels": ["shop", "ui"], "owned_files": ["cart/**"]},
    {"work_package_id": "WP02", "title": "Prices", "owned_files": ["prices/**"]},
)
QUICK = "sync_max_backoff_seconds: 0.01"


class Bound:
    """A project, its mission, and the tracker that it is bound to."""

    def __init__(self, project: Project, world: World, mission: Any) -> None:
        self.project = project
        self.world = world
        self.mission = mission

    def tracker(self, *arguments: str) -> Any:
        """Run a command that succeeds, and return its JSON."""
        answer = self.answer(*arguments)
        assert answer.exit_code == 0, answer
        return answer.json

    def answer(self, *arguments: str) -> Result:
        """Run a command."""
        return self.project.kitty("tracker", *arguments, "--json")

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Start a command in a process of its own."""
        command = [sys.executable, "-m", "kitty_host", "tracker", *arguments, "--json"]
        return subprocess.Popen(command, cwd=self.project.root, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def path(self, wp: str = "WP01") -> Path:
        """The file of a work package."""
        found: Path = self.mission.directory / "tasks" / f"{wp}-task.md"
        return found

    def replace(self, old: str, new: str, wp: str = "WP01") -> None:
        """A person edits the file of a work package."""
        text = self.path(wp).read_text()
        assert old in text
        self.path(wp).write_text(text.replace(old, new))

    def configure(self, *lines: str) -> None:
        """Add lines to the section `tracker` of the configuration."""
        path = self.project.root / ".kittify/config.yaml"
        path.write_text(path.read_text() + "".join(f"  {line}\n" for line in lines))

    def issue(self, wp: str = "WP01") -> str:
        """The id of the issue that is marked as this work package's."""
        (found,) = [name for name, one in self.world.issues().items() if f" wp={wp} " in (one["body"] or "")]
        return found


def bind(project: Project, world: World, monkeypatch: pytest.MonkeyPatch) -> Bound:
    """Bind a new project."""
    monkeypatch.setenv("KITTY_PLUGINS", "sync")
    made = Bound(project, world, project.mission("demo", PACKAGES))
    made.tracker("bind", world.provider, "--workspace", world.workspace)
    made.configure(QUICK)
    return made
