"""What the end-to-end tests share: the road as a list of commands."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "plugins" / "sync" / "tests"))

from hub import HubProcess

from kitty_host.testing import Project, Result, initialized, isolate

SPEC = "# S\n\n## Goal\n\ng\n\n## Requirements\n\nr\n\n## Done when\n\nd\n"
PLAN = "# P\n\n## Approach\n\na\n\n## Work packages\n\nw\n"
TASKS = "# T\n\n## Work packages\n\nw\n"


class Walk:
    """Walks the road in one repository, every command started from one place."""

    def __init__(self, project: Project, place: Path | None = None) -> None:
        self.project = project
        self.place = place or project.root
        self.mission = ""
        self.directory = Path()

    def kitty(self, *arguments: str) -> Result:
        """A command that must succeed."""
        named = ["--mission", self.mission] if self.mission and arguments[0] in _ON_A_MISSION else []
        done = self.project.kitty(*arguments, *named, "--json", where=self.place)
        assert done.exit_code == 0, (arguments, done)
        return done

    def create(self, slug: str = "demo", *arguments: str) -> None:
        """A mission."""
        self.mission = self.kitty("mission", "create", slug, "--target", "main", *arguments).json["slug"]
        self.directory = self.project.root / "kitty-specs" / self.mission

    def write_plan(self) -> None:
        """Spec, plan, and two work packages, the second a planning artefact."""
        for name, text in (("spec.md", SPEC), ("plan.md", PLAN), ("tasks.md", TASKS)):
            (self.directory / name).write_text(text)
        owned = {"WP01": "wp01.txt", "WP02": f"kitty-specs/{self.mission}/model.md"}
        for wp_id, mode in (("WP01", "code_change"), ("WP02", "planning_artifact")):
            front = {
                "work_package_id": wp_id,
                "title": wp_id,
                "dependencies": [],
                "owned_files": [owned[wp_id]],
                "execution_mode": mode,
            }
            path = self.directory / "tasks" / f"{wp_id}-x.md"
            path.parent.mkdir(exist_ok=True)
            path.write_text(
                "---\n" + "".join(f"{key}: {json.dumps(value)}\n" for key, value in front.items()) + "---\n\n# x\n"
            )

    def plan(self) -> None:
        """To the lanes."""
        self.create()
        self.write_plan()
        for phase in ("specify", "plan", "tasks", "finalize"):
            self.kitty(phase)

    def implement(self, wp_id: str) -> None:
        """To the submission."""
        where = self.kitty("implement", wp_id, "--agent", "ada").json["workspace_path"]
        if where:
            self.project.commit(f"{wp_id.lower()}.txt", where=Path(where))
        else:
            (self.directory / "model.md").write_text("# model\n")
        self.kitty("submit", wp_id, "--agent", "ada")

    def review(self, wp_id: str) -> None:
        """To the approval."""
        self.kitty("review", wp_id, "--claim", "--agent", "grace")
        self.kitty("review", wp_id, "--approve", "--agent", "grace")


_ON_A_MISSION = {
    "specify", "plan", "tasks", "finalize", "next", "implement", "submit", "review", "move", "cancel", "reopen", "mark-status", "note",
    "status", "accept", "merge", "lanes", "ledger",
}  # fmt: skip


@pytest.fixture
def walk(project: Project) -> Walk:
    """The road, walked from the repository's root."""
    return Walk(project)


@pytest.fixture(scope="module")
def planned(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Walk]:
    """A mission with two work packages and their lanes, for all tests of a module that only look at it."""
    place = tmp_path_factory.mktemp("planned")
    with pytest.MonkeyPatch.context() as patch:
        isolate(place, patch)
        found = Walk(initialized(place / "project"))
        found.plan()
        yield found


@pytest.fixture
def hub(isolated: Path) -> Iterator[HubProcess]:
    """A team's server in a process of its own."""
    found = HubProcess(isolated / "hub")
    yield found
    found.stop()
