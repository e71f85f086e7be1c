"""Lanes: dependents in the same lane after, or in a lane whose base contains what they need; the rest fans out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kitty_host.api import KittyError
from kitty_host.mission import Mission
from kitty_host.packages import Package
from kitty_host.records import Lanes
from kitty_host.repo import Repo
from kitty_merge.planner import lane_id, plan


def wp(number: int, *needs: int, owns: tuple[str, ...] = (), planning: bool = False) -> Package:
    mode = "planning_artifact" if planning else "code_change"
    return Package(
        f"WP{number:02}",
        "",
        tuple(f"WP{need:02}" for need in needs),
        owns or (f"{number}/**",),
        mode,
        (),
        f"tasks/WP{number:02}.md",
    )


@pytest.fixture
def mission(tmp_path: Path) -> Mission:
    """A mission without files: planning asks for none."""
    return Mission(Repo(tmp_path, tmp_path / ".git", tmp_path), tmp_path / "kitty-specs" / "m", {"mission_id": "M"})


def shape(lanes: Lanes) -> dict[str, tuple[str, ...]]:
    return {lane.lane_id: lane.wp_ids for lane in lanes.lanes}


def test_a_sequence_is_one_lane_and_the_rest_fans_out(mission: Mission) -> None:
    lanes = plan((wp(1), wp(2, 1), wp(3, 2), wp(4)), mission)
    assert shape(lanes) == {"lane-a": ("WP01", "WP02", "WP03"), "lane-b": ("WP04",)}


def test_a_second_dependent_gets_a_lane_that_waits(mission: Mission) -> None:
    lanes = plan((wp(1), wp(2, 1), wp(3, 1)), mission)
    assert shape(lanes) == {"lane-a": ("WP01", "WP02"), "lane-b": ("WP03",)}
    assert lanes.lanes[1].depends_on == ("lane-a",)


def test_overlapping_paths_share_a_lane(mission: Mission) -> None:
    lanes = plan(
        (
            wp(1, owns=("src/**/test_x.py",)),
            wp(2, owns=("src/a/**",)),
            wp(3, owns=("src/foo",)),
            wp(4, owns=("src/foobar",)),
        ),
        mission,
    )
    assert shape(lanes) == {"lane-a": ("WP01", "WP02"), "lane-b": ("WP03",), "lane-c": ("WP04",)}
    assert lanes.collapses[0]["rule"] == "write_scope_overlap"


def test_why_work_shares_a_lane_is_told(mission: Mission) -> None:
    packages = (
        wp(1, owns=("src/**",)),
        wp(2, owns=("src/a",)),
        wp(3, 2),
        wp(4, owns=("same",)),
        wp(5, owns=("same",)),
    )
    assert list(plan(packages, mission).collapses) == [
        {"wp_a": "WP01", "wp_b": "WP02", "rule": "write_scope_overlap", "evidence": "src/** and src/a"},
        {"wp_a": "WP04", "wp_b": "WP05", "rule": "write_scope_overlap", "evidence": "same"},
        {"wp_a": "WP02", "wp_b": "WP03", "rule": "dependency", "evidence": "WP03 follows WP02"},
    ]


def test_a_lane_is_one_deeper_than_the_deepest_that_it_waits_for(mission: Mission) -> None:
    lanes = plan((wp(1), wp(2, 1), wp(3, 1), wp(4, 2, 3), wp(5)), mission)
    assert [(lane.lane_id, lane.depends_on, lane.group) for lane in lanes.lanes] == [
        ("lane-a", (), 0),
        ("lane-d", (), 0),
        ("lane-b", ("lane-a",), 1),
        ("lane-c", ("lane-a", "lane-b"), 2),
    ]


def test_lanes_that_wait_for_a_planning_artefact_that_waits_for_them_are_deeper_than_what_they_wait_for(
    mission: Mission,
) -> None:
    # 5 and 3 share a path, 2 is an artefact between them: their lane and lane-planning wait for each other, as no two of code do.
    packages = (wp(1, 4, 5), wp(2, 5, planning=True), wp(3, 2, owns=("x",)), wp(4), wp(5, owns=("x",)))
    lanes = plan(packages, mission)
    assert [(lane.lane_id, lane.depends_on, lane.group) for lane in lanes.lanes] == [
        ("lane-c", (), 0),
        ("lane-planning", ("lane-b",), 0),
        ("lane-b", ("lane-planning",), 1),
        ("lane-a", ("lane-b", "lane-c"), 2),
    ]


def test_of_lanes_that_could_begin_at_once_lane_z_is_before_lane_aa(mission: Mission) -> None:
    lanes = plan(tuple(wp(number) for number in range(1, 29)), mission)
    assert [lane.lane_id for lane in lanes.lanes][24:] == ["lane-y", "lane-z", "lane-aa", "lane-ab"]


def test_a_lane_owns_what_its_work_packages_own(mission: Mission) -> None:
    [lane] = plan((wp(1, owns=("b", "a")), wp(2, 1, owns=("c", "a"))), mission).lanes
    assert lane.write_scope == ("a", "b", "c")


def test_lanes_that_would_wait_for_each_other_become_one(mission: Mission) -> None:
    # 1 and 4 share a path, 2 needs 1 and 5, 3 needs 2, 4 needs 3: the lane of 1 and 4 would wait for a lane that waits for it.
    packages = (wp(1, owns=("x",)), wp(2, 1, 5), wp(3, 2), wp(4, 3, 5, owns=("x",)), wp(5))
    lanes = plan(packages, mission)
    assert "lane_cycle" in {collapse["rule"] for collapse in lanes.collapses}
    assert lanes.of("WP04") == lanes.of("WP01") == lanes.of("WP02")


def test_so_do_three_that_would_wait_in_a_ring(mission: Mission) -> None:
    # The lane of 1 and 6 waits for that of 2 and 4 (6 needs 4), that for the one of 3 and 5 (2 needs 3), that for the first (5 needs 1).
    pairs = {1: ("x",), 6: ("x",), 2: ("y",), 4: ("y",), 3: ("z",), 5: ("z",)}
    needs = {6: (4, 7), 2: (3, 7), 5: (1, 7)}
    lanes = plan(
        tuple(wp(number, *needs.get(number, ()), owns=pairs.get(number, ())) for number in range(1, 8)), mission
    )
    assert [lane.wp_ids for lane in lanes.lanes] == [("WP07",), ("WP01", "WP03", "WP04", "WP02", "WP05", "WP06")]
    assert [one for one in lanes.collapses if one["rule"] == "lane_cycle"] == [
        {"wp_a": "WP01", "wp_b": "WP02", "rule": "lane_cycle", "evidence": "their lanes would wait for each other"},
        {"wp_a": "WP01", "wp_b": "WP03", "rule": "lane_cycle", "evidence": "their lanes would wait for each other"},
    ]


def test_planning_artefacts_have_a_lane_of_their_own(mission: Mission) -> None:
    lanes = plan((wp(1), wp(2, planning=True), wp(3, 2)), mission)
    assert shape(lanes)["lane-planning"] == ("WP02",)
    assert lanes.planning == ("WP02",)
    third = lanes.of("WP03")
    assert third is not None
    assert third.depends_on == ("lane-planning",)


def test_ids_go_on_after_z() -> None:
    assert [lane_id(number) for number in (0, 25, 26, 51, 52, 702)] == [
        "lane-a",
        "lane-z",
        "lane-aa",
        "lane-az",
        "lane-ba",
        "lane-aaa",
    ]


def test_an_unknown_dependency_and_a_cycle_refuse(mission: Mission) -> None:
    with pytest.raises(KittyError, match="WP_UNKNOWN_DEPENDENCY"):
        plan((wp(1, 9),), mission)
    with pytest.raises(KittyError, match="WP_CYCLE") as caught:
        plan((wp(1, 2), wp(2, 1)), mission)
    assert "WP01 -> WP02 -> WP01" in caught.value.message


@st.composite
def graphs(draw: st.DrawFn) -> tuple[Package, ...]:
    count = draw(st.integers(1, 12))
    packages = []
    for number in range(1, count + 1):
        needs = draw(st.sets(st.integers(1, number - 1), max_size=3)) if number > 1 else set()
        owns = (draw(st.sampled_from(["a", "b/**", f"own/{number}", f"own/{number}", f"own/{number}"])),)
        packages.append(wp(number, *sorted(needs), owns=owns, planning=draw(st.integers(0, 5)) == 0))
    return tuple(packages)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(graphs())
def test_every_dependency_is_before_in_the_lane_or_in_a_lane_that_is_waited_for(
    mission: Mission, packages: tuple[Package, ...]
) -> None:
    lanes = plan(packages, mission)
    place: dict[str, tuple[str, int]] = {
        wp_id: (lane.lane_id, position) for lane in lanes.lanes for position, wp_id in enumerate(lane.wp_ids)
    }
    waits: dict[str, tuple[str, ...]] = {lane.lane_id: lane.depends_on for lane in lanes.lanes}
    assert sorted(place) == sorted(package.wp_id for package in packages)
    for package in packages:
        lane, position = place[package.wp_id]
        for need in package.dependencies:
            other, before = place[need]
            assert before < position if other == lane else other in waits[lane]
    code = {
        name: tuple(one for one in wanted if one != "lane-planning")
        for name, wanted in waits.items()
        if name != "lane-planning"
    }
    assert _acyclic(code)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(graphs())
def test_the_same_packages_give_the_same_lanes(mission: Mission, packages: tuple[Package, ...]) -> None:
    assert plan(packages, mission) == plan(packages, mission)


def _acyclic(waits: dict[str, Any]) -> bool:
    waits = dict(waits)
    while waits:
        free = [name for name, wanted in waits.items() if not any(one in waits for one in wanted)]
        if not free:
            return False
        for name in free:
            del waits[name]
    return True
