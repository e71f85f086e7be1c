"""A mission that is worked on without the runtime plugin: lanes are planned and allocated for real, states are recorded directly."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from kitty_host.lanes import require_lanes, write_lanes
from kitty_host.mission import Mission
from kitty_host.records import Workspace
from kitty_host.testing import Project
from kitty_merge.planner import plan
from kitty_merge.submission import submission
from kitty_merge.workspace import allocate


class Yard:
    """A repository with one mission in it."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self.root = project.root
        self.mission: Mission

    @staticmethod
    def package(wp_id: str, *needs: str, owns: str | None = None, **more: Any) -> dict[str, Any]:
        """Front matter of a work package; it owns `<id>.txt` unless told otherwise."""
        owned = [owns or f"{wp_id.lower()}.txt"]
        return {
            "work_package_id": wp_id,
            "title": f"Title of {wp_id}",
            "dependencies": list(needs),
            "owned_files": owned,
            **more,
        }

    def plan(self, *packages: Mapping[str, Any], **meta: Any) -> Mission:
        """A mission with these work packages, finalized."""
        mission: Mission = self.project.mission("demo", packages, **meta)
        lanes = plan(mission.packages, mission)
        write_lanes(mission, lanes._replace(planning_commit=self.project.git("rev-parse", "HEAD")))
        self.project.git("add", "--", "kitty-specs/*/lanes.json")
        self.project.git("commit", "--quiet", "-m", "lanes")
        for one in mission.packages:
            self.project.record(mission, one.wp_id, "planned")
        self.mission = mission.refresh()
        return self.mission

    def start(self, wp_id: str) -> Workspace:
        """Claim and allocate."""
        if self.lane_of(wp_id) != "in_progress":
            self.project.record(self.mission, wp_id, "claimed", "in_progress")
        return allocate(self.mission.package(wp_id), self.mission)

    def work(self, wp_id: str, content: str | bytes = "work\n", *, path: str | None = None) -> str:
        """Commit a file on its lane; returns the commit."""
        workspace = self.start(wp_id)
        where = workspace.path or self.root
        name = path or f"{wp_id.lower()}.txt"
        if workspace.path is None:
            self.project.write(name, content)
            return ""
        return self.project.commit(name, content, where=where)

    def approve(self, wp_id: str) -> str:
        """Submit and approve what is there; returns the commit."""
        head = submission(self.mission.package(wp_id), self.mission).head
        verdict = {"reviewer": "grace", "verdict": "approved", "reference": head}
        evidence = {"review": verdict, "repos": [{"repo": "project", "branch": "lane", "commit": head}]}
        self.project.record(self.mission, wp_id, "for_review", "in_review")
        self.project.record(self.mission, wp_id, "approved", evidence=evidence, review_result=verdict)
        return head

    def finish(self, wp_id: str, content: str | bytes = "work\n", *, path: str | None = None) -> str:
        """Work and approval in one."""
        self.work(wp_id, content, path=path)
        return self.approve(wp_id)

    def fit_in_pairs_only(self) -> None:
        """Three lanes, approved, of which any two merge and all three do not.

        The first renames a file. It is taken for that file as long as enough of it is the same: either of the others leaves enough, the
        first two together do not, and for the third one the file is gone then.
        """
        lines = [f"line {number} of the file\n" for number in range(20)]

        def changed(*numbers: int) -> str:
            return "".join(f"another {number}\n" if number in numbers else line for number, line in enumerate(lines))

        self.project.commit("old.txt", changed())
        self.plan(*(self.package(wp_id) for wp_id in ("WP01", "WP02", "WP03")))
        there = self.start("WP01").path
        self.project.git("mv", "old.txt", "new.txt", where=there)
        self.project.git("commit", "--quiet", "-m", "rename", where=there)
        self.finish("WP01", changed(*range(8)), path="new.txt")
        self.finish("WP02", changed(*range(10, 17)), path="old.txt")
        self.finish("WP03", changed(19), path="old.txt")

    def settle(self, wp_id: str, hint: str) -> None:
        """What the way out of a conflict says: its merges in the worktree, where conflicts end as this lane has it, and the approval."""
        merges = re.findall(r"git merge (\S+?)[,;]", hint)
        assert merges, hint
        there = self.start(wp_id).path
        for branch in merges:
            self.project.git("merge", "--quiet", "--no-edit", "-X", "ours", branch, where=there)
        self.approve(wp_id)

    def lane_of(self, wp_id: str) -> str:
        """The ledger's word on it."""
        from kitty_host.state import State

        return State.load(self.mission).lane(wp_id)

    def branch(self, wp_id: str) -> str:
        """The branch of its lane."""
        lane = require_lanes(self.mission).of(wp_id)
        assert lane is not None
        return lane.branch

    def tree(self, path: str) -> Path:
        """A file of the canonical checkout."""
        return self.root / path

    def status(self) -> str:
        """What plain Git says of the checkout."""
        return self.project.git("status", "--porcelain", "--untracked-files=all")


@pytest.fixture
def yard(project: Project, monkeypatch: pytest.MonkeyPatch) -> Yard:
    """A repository to plan a mission in; of the plugins only this one counts."""
    monkeypatch.setenv("KITTY_PLUGINS", "merge")
    return Yard(project)
