"""Many agents at once: each gets what it asked for, and none waits for another's mistake."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from kitty_host.mission import find_missions
from kitty_host.repo import Repo
from kitty_host.state import State
from kitty_host.testing import Project


@pytest.mark.slow
def test_twenty_packages_taken_at_once_get_twenty_worktrees(project: Project) -> None:
    names = [f"WP{number:02}" for number in range(1, 21)]
    packages: list[dict[str, Any]] = [
        {"work_package_id": name, "dependencies": [], "owned_files": [f"{name}.txt"]} for name in names
    ]
    mission = project.mission(packages=packages)
    assert project.kitty("finalize").exit_code == 0
    command = [sys.executable, "-m", "kitty_host", "implement", "--json", "--agent"]
    running = [
        subprocess.Popen(
            [*command, f"agent-{name}", name], cwd=project.root, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        for name in names
    ]
    said = [process.communicate(timeout=240) for process in running]
    assert [process.returncode for process in running] == [0] * 20, said
    places = {json.loads(out)["workspace_path"] for out, _ in said}
    assert len(places) == 20
    for place in places:
        assert project.git("status", "--porcelain", where=Path(place)) == ""
        assert project.git("symbolic-ref", "--short", "HEAD", where=Path(place)).startswith(mission.branch)
    state = State.load(find_missions(Repo.find(project.root))[0])
    assert {state.lane(name) for name in names} == {"in_progress"}
