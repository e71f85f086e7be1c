"""A mission on the road without the merge plugin: a small plugin plans lanes and makes branches, everything else is real."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kitty_host.ledger.event import Transition
from kitty_host.mission import Mission, find_missions
from kitty_host.repo import Repo
from kitty_host.state import State
from kitty_host.testing import Project, Result

# Every work package is a lane of its own, on a branch without a worktree; `broken` makes allocation fail.
LANES = """
from kitty_host.api import KittyError, hookimpl
from kitty_host.lanes import branch_of, require_lanes


@hookimpl
def kitty_lanes(packages, mission):
    from kitty_host.records import Lane, Lanes

    shared = mission.repo.root / "one-lane"
    if shared.exists():
        return Lanes((Lane("lane-a", tuple(one.wp_id for one in packages), ()),))
    return Lanes(tuple(Lane(f"lane-{chr(97 + number)}", (one.wp_id,), one.owned_files) for number, one in enumerate(packages)))


@hookimpl
def kitty_workspace(package, mission):
    if (mission.repo.root / "broken").exists():
        raise KittyError("WORKTREE_ALLOC_FAILED", f"{package.wp_id}: the disk is full", "free some space")
    branch = branch_of(mission, require_lanes(mission).of(package.wp_id).lane_id)
    git = mission.repo.git
    if git.commit_of(f"refs/heads/{branch}") is None:
        git.run("branch", branch, "main")
    return kitty_find_workspace(package, mission)


@hookimpl
def kitty_find_workspace(package, mission):
    from kitty_host.records import Workspace

    branch = branch_of(mission, require_lanes(mission).of(package.wp_id).lane_id)
    head = mission.repo.git.commit_of(f"refs/heads/{branch}")
    if head is None:
        return None
    path = None if package.planning else mission.repo.root / ".worktrees" / branch
    return Workspace(package.wp_id, "lane", branch, path, "", head)


@hookimpl
def kitty_submission(package, mission):
    from kitty_host.records import Submission

    head = kitty_find_workspace(package, mission).head
    commits = tuple(mission.repo.git.lines("rev-list", "--reverse", f"main..{head}"))
    return Submission(package.wp_id, head, commits, ())
"""


class Road:
    """A repository and the commands of the runtime."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self.root = project.root

    def __call__(self, *arguments: str, **options: Any) -> dict[str, Any]:
        """Run a command that must succeed; its JSON."""
        done = self.project.kitty(*arguments, "--json", **options)
        assert done.exit_code == 0, done
        return done.json

    def refuses(self, code: str, *arguments: str, **options: Any) -> str:
        """Run a command that must refuse and write nothing; its message."""
        before = self.project.snapshot()
        done: Result = self.project.kitty(*arguments, "--json", **options)
        assert (done.exit_code, done.code) == (1, code), done
        assert self.project.snapshot() == before
        return str(done.json["message"])

    @property
    def mission(self) -> Mission:
        """The one mission, read again."""
        (found,) = find_missions(Repo.find(self.root))
        return found

    @property
    def state(self) -> State:
        """Its state."""
        return State.load(self.mission)

    def transitions(self, wp_id: str) -> list[Transition]:
        """The transitions of one work package, as they were written."""
        return [row for row in self.mission.ledger.events() if isinstance(row, Transition) and row.wp_id == wp_id]

    def lane(self, wp_id: str) -> str:
        """The lane by the ledger."""
        return self.state.lane(wp_id)

    def write(self, name: str, content: str) -> Path:
        """Write a file of the mission."""
        return self.project.write(f"kitty-specs/{self.mission.slug}/{name}", content)

    def package(self, wp_id: str, *needs: str, subtasks: tuple[str, ...] = (), mode: str = "code_change") -> None:
        """Write a work package."""
        front = f"work_package_id: {wp_id}\ntitle: Title of {wp_id}\ndependencies: [{', '.join(needs)}]\n"
        front += f"owned_files: [{wp_id.lower()}.txt]\nexecution_mode: {mode}\nsubtasks: [{', '.join(subtasks)}]\n"
        self.write(f"tasks/{wp_id}-x.md", f"---\n{front}---\n\n# Do it\n")

    def planned(self, *packages: tuple[str, ...]) -> None:
        """A mission that is finalized; each package is its id and what it needs."""
        self("mission", "create", "demo")
        self.write("spec.md", "# S\n\n## Goal\n\ng\n\n## Requirements\n\nr\n\n## Done when\n\nd\n")
        self.write("plan.md", "# P\n\n## Approach\n\na\n\n## Work packages\n\nw\n")
        self.write("tasks.md", "# T\n\n## Work packages\n\nw\n")
        for wp_id, *needs in packages or (("WP01",),):
            self.package(wp_id, *needs)
        for phase in ("specify", "plan", "tasks", "finalize"):
            self(phase)

    def commit(self, wp_id: str) -> str:
        """A commit on a work package's branch, without a checkout."""
        git = self.mission.repo.git
        from kitty_host.lanes import branch_of, require_lanes

        lane = require_lanes(self.mission).of(wp_id)
        assert lane is not None
        branch = branch_of(self.mission, lane.lane_id)
        commit = git.out("commit-tree", "-p", branch, "-m", wp_id, f"{branch}^{{tree}}")
        git.run("update-ref", f"refs/heads/{branch}", commit)
        return commit

    def submitted(self, wp_id: str = "WP01", agent: str = "ada") -> str:
        """Implemented and submitted; the commit."""
        self("implement", wp_id, "--agent", agent)
        commit = self.commit(wp_id)
        self("submit", wp_id, "--agent", agent)
        return commit

    def approved(self, wp_id: str = "WP01") -> str:
        """All the way to the approval; the commit."""
        commit = self.submitted(wp_id)
        self("review", wp_id, "--claim", "--agent", "grace")
        self("review", wp_id, "--approve", "--agent", "grace")
        return commit


@pytest.fixture
def road(project: Project, install_plugin: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> Road:
    """A repository with the runtime and a plugin that answers for lanes."""
    monkeypatch.setenv("KITTY_PLUGINS", "runtime,lanes")
    install_plugin("lanes", LANES)
    return Road(project)
