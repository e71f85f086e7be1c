"""A planning artefact is worked on where the plan is: issued, submitted, rejected, corrected, approved, landed, and no worktree."""

from __future__ import annotations

import json
from pathlib import Path

from .conftest import Walk


def test_a_planning_artefact_is_rejected_corrected_and_landed_without_a_worktree(walk: Walk) -> None:
    walk.plan()
    walk.implement("WP01")
    walk.review("WP01")
    project, model = walk.project, walk.directory / "model.md"
    path = f"kitty-specs/{walk.mission}/model.md"
    head = project.git("rev-parse", "HEAD")
    said = walk.kitty("next", "--result", "success", "--agent", "ada").json
    assert (said["kind"], said["mission_state"], said["wp_id"]) == ("step", "implement", "WP02")
    assert said["workspace_path"] is None
    assert str(project.root) in said["notes"]
    assert walk.kitty("implement", "WP02", "--agent", "ada").json["workspace_path"] is None
    assert [place.name for place in (project.root / ".worktrees").iterdir()] == [f"{walk.mission}-lane-a"]

    commits = []
    for text in ("# wrong\n", "# right\n"):
        model.write_text(text)
        commits.append(walk.kitty("submit", "WP02", "--agent", "ada").json["head"])
        assert project.git("show", f"{commits[-1]}:{path}") == text.strip()
        assert (project.git("rev-parse", "HEAD"), project.git("ls-files", path)) == (head, ""), "nothing unreviewed"
        walk.kitty("review", "WP02", "--claim", "--agent", "grace")
        if text == "# wrong\n":
            walk.kitty("review", "WP02", "--reject", "--reason", "it is wrong", "--agent", "grace")
            assert walk.kitty("implement", "WP02", "--agent", "ada").json["workspace_path"] is None
        else:
            walk.kitty("review", "WP02", "--approve", "--agent", "grace")
    assert commits[0] != commits[1]

    walk.kitty("accept", "--agent", "grace")
    inode = model.stat().st_ino
    walk.kitty("merge")
    assert project.git("show", f"main:{path}") == "# right"
    assert (model.stat().st_ino, project.git("status", "--porcelain")) == (inode, ""), "the file at work was adopted"
    lanes = json.loads(Path(walk.directory / "lanes.json").read_text())
    assert lanes["planning_artifact_wps"] == ["WP02"]
