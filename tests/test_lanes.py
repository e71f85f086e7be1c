"""`lanes.json`: what the planner answered, in the format that spec-kitty reads."""

from __future__ import annotations

import json
from typing import Any

import pytest

from kitty_host.api import KittyError
from kitty_host.lanes import FILE, branch_of, lane_ids, read_lanes, require_lanes, write_lanes
from kitty_host.mission import Mission
from kitty_host.records import Lane, Lanes
from kitty_host.testing import Project


@pytest.fixture
def mission(project: Project) -> Mission:
    made: Mission = project.mission()
    return made


def lanes(mission: Mission) -> Lanes:
    return Lanes(
        (
            Lane("lane-a", ("WP01", "WP03"), ("src/a.py",), (), 0, branch_of(mission, "lane-a")),
            Lane("lane-b", ("WP02",), ("src/b/**",), ("lane-a",), 1, branch_of(mission, "lane-b")),
            Lane("lane-planning", ("WP04",), (), (), 0, branch_of(mission, "lane-planning")),
        ),
        ("WP04",),
        ({"wp_a": "WP01", "wp_b": "WP03", "rule": "dependency", "evidence": "WP03 depends on WP01"},),
        "abc",
    )


def test_lanes_are_read_back_as_they_were_written(mission: Mission) -> None:
    write_lanes(mission, lanes(mission))
    assert read_lanes(mission) == require_lanes(mission) == lanes(mission)
    assert lane_ids(mission) == {"WP01": "lane-a", "WP03": "lane-a", "WP02": "lane-b", "WP04": "lane-planning"}


def test_the_file_has_the_keys_that_spec_kitty_reads(mission: Mission) -> None:
    write_lanes(mission, lanes(mission))
    data = json.loads((mission.directory / FILE).read_text())
    assert {key: data[key] for key in ("version", "mission_slug", "mission_id", "mission_branch", "target_branch")} == {
        "version": 1,
        "mission_slug": mission.slug,
        "mission_id": mission.mission_id,
        "mission_branch": mission.branch,
        "target_branch": "main",
    }
    assert data["lanes"][1]["depends_on_lanes"] == ["lane-a"]
    assert [lane["predicted_surfaces"] for lane in data["lanes"]] == [[], [], ["planning"]]
    assert data["planning_artifact_wps"] == ["WP04"]
    assert data["collapse_report"]["by_rule"] == {"dependency": 1}
    assert data["computed_at"]


def test_a_file_that_says_the_same_is_left_alone(mission: Mission) -> None:
    write_lanes(mission, lanes(mission))
    before = (mission.directory / FILE).read_bytes()
    write_lanes(mission, lanes(mission))
    assert (mission.directory / FILE).read_bytes() == before
    write_lanes(mission, Lanes(lanes(mission).lanes[:1]))
    assert lane_ids(mission) == {"WP01": "lane-a", "WP03": "lane-a"}


def test_before_finalize_there_are_none(mission: Mission) -> None:
    assert read_lanes(mission) is None
    assert lane_ids(mission) == {}
    with pytest.raises(KittyError) as refused:
        require_lanes(mission)
    assert refused.value.code == "LANES_MISSING"
    assert "kitty finalize" in refused.value.hint


def test_a_lane_of_an_old_file_needs_an_id_and_its_work_packages_only(mission: Mission) -> None:
    (mission.directory / FILE).write_text('{"lanes": [{"lane_id": "lane-a", "wp_ids": ["WP01"], "write_scope": null}]}')
    assert read_lanes(mission) == Lanes((Lane("lane-a", ("WP01",), (), (), 0, f"{mission.branch}-lane-a"),))


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        "5",
        "{}",
        '{"lanes": 5}',
        '{"lanes": [5]}',
        '{"lanes": [{"lane_id": 1, "wp_ids": []}]}',
        '{"lanes": [{"lane_id": "a", "wp_ids": "WP01"}]}',
        b"\xff",
    ],
)
def test_a_file_that_holds_no_lanes_is_named(mission: Mission, content: Any) -> None:
    path = mission.directory / FILE
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    for read in (read_lanes, lane_ids):
        with pytest.raises(KittyError) as refused:
            read(mission)
        assert refused.value.code == "LANES_INVALID"
        assert str(path) in refused.value.message
