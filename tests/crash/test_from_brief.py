"""A mission that is made from a brief is killed at calls that change files: there is a whole one or none, and the next one works.

At a quarter of them in the slow tier, and at every one in the sweep.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest
from library import Crash, copy, points, share_of

from kitty_host.mission import find_missions
from kitty_host.repo import Repo
from kitty_host.testing import Project

TASKS = {
    "tasks": [
        {"id": one, "title": f"Task {one}", "status": "pending", "dependencies": list(range(1, one))}
        for one in range(1, 4)
    ]
}


@pytest.mark.parametrize("part", [pytest.param(4, marks=pytest.mark.slow), pytest.param(1, marks=pytest.mark.sweep)])
def test_a_mission_from_a_brief_is_there_with_its_packages_or_not_at_all(
    project: Project, crash: Crash, tmp_path: Path, part: int
) -> None:
    project.write("tasks.json", json.dumps(TASKS))
    assert project.kitty("intake", "tasks.json").exit_code == 0
    command = [sys.executable, "-m", "kitty_host", "mission", "create", "demo", "--from-brief", "--json"]
    copy(project.root, tmp_path / "whole")
    places = points(crash.run(command, where=tmp_path / "whole").calls)
    assert len(places) >= 30
    for at, half in share_of(places, part):
        root = tmp_path / f"killed-{at}-{half}"
        copy(project.root, root)
        crash.run(command, at=at, torn=half, where=root)
        for mission in find_missions(Repo.find(root)):
            assert [one.wp_id for one in mission.packages] == ["WP01", "WP02", "WP03"], at
            assert mission.package_findings == []
            assert (mission.directory / "spec.md").read_bytes().endswith(b"\n```\n"), at
            assert (mission.directory / "tasks.md").exists(), at
        before = {mission.mission_id for mission in find_missions(Repo.find(root))}
        again = Project(root).kitty("mission", "create", "again", "--from-brief", "--json")
        assert again.exit_code == 0, (at, again)
        assert Project(root).kitty("finalize", "--mission", again.json["mission_id"], "--json").exit_code == 0, at
        assert len(find_missions(Repo.find(root))) == len(before) + 1
        shutil.rmtree(root)
    assert crash.lint() == []
