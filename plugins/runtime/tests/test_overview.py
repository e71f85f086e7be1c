"""What is shown of a mission: one object, from which the terminal takes its numbers too."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from kitty_host.records import Forecast
from kitty_runtime.overview import overview, overview_or_fault

if TYPE_CHECKING:
    from conftest import Road


def package(road: Road, wp_id: str) -> dict[str, Any]:
    (mission,) = road("status")["missions"]
    return next(one for one in mission["packages"] if one["wp_id"] == wp_id)


def test_it_is_what_status_prints(road: Road) -> None:
    road.planned(("WP01",), ("WP02", "WP01"))
    road.submitted("WP01")
    assert road("status")["missions"] == [overview(road.state)]


def test_what_a_work_package_waits_for_is_what_is_not_approved_yet(road: Road) -> None:
    road.planned(("WP01",), ("WP02", "WP01"), ("WP03", "WP01", "WP02"))
    assert package(road, "WP03")["waits_for"] == ["WP01", "WP02"]
    road.approved("WP01")
    assert package(road, "WP03")["waits_for"] == ["WP02"]
    assert package(road, "WP02")["waits_for"] == []
    road("cancel", "WP03", "--reason", "no")
    assert package(road, "WP03")["waits_for"] == []
    assert package(road, "WP03")["depends_on"] == ["WP01", "WP02"]


def test_a_reviewer_is_named_while_it_is_reviewed(road: Road) -> None:
    road.planned()
    road.submitted()
    assert package(road, "WP01")["reviewer"] is None
    road("review", "WP01", "--claim", "--agent", "grace")
    assert (package(road, "WP01")["agent"], package(road, "WP01")["reviewer"]) == ("ada", "grace")
    road("review", "WP01", "--approve", "--agent", "grace")
    assert package(road, "WP01")["reviewer"] is None


def test_why_it_is_blocked_or_cancelled_is_told(road: Road) -> None:
    road.planned(("WP01",), ("WP02",))
    road("move", "WP01", "blocked", "--reason", "no <disk>", "--agent", "ada")
    road("cancel", "WP02", "--reason", "unwanted", "--agent", "ada")
    assert [package(road, one)["reason"] for one in ("WP01", "WP02")] == ["no %3Cdisk%3E", "unwanted"]
    assert "no %3Cdisk%3E" in road.project.kitty("status").stdout
    road("implement", "WP01", "--agent", "ada")
    assert package(road, "WP01")["reason"] is None


def test_subtasks_are_counted(road: Road) -> None:
    road.planned()
    assert package(road, "WP01")["subtasks"] is None
    road.package("WP01", subtasks=("T001", "T002", "T003"))
    assert package(road, "WP01")["subtasks"] == {"done": 0, "total": 3}
    road("mark-status", "T002", "--status", "done", "--agent", "ada")
    road("mark-status", "T003", "--status", "skipped", "--agent", "ada")
    assert package(road, "WP01")["subtasks"] == {"done": 2, "total": 3}


def test_the_text_has_the_same_numbers(road: Road) -> None:
    road.planned(("WP01",), ("WP02",), ("WP03", "WP01"))
    road.approved("WP01")
    road("cancel", "WP02", "--reason", "no")
    (mission,) = road("status")["missions"]
    text = road.project.kitty("status").stdout
    progress = mission["progress"]
    assert f"{progress['percent']} %  {progress['done']} of {progress['total']} done, 1 approved" in text
    lanes = {lane: int(number) for number, lane in re.findall(r"(\d+) (\w+)(?:, |$)", text.splitlines()[2])}
    assert lanes == {lane: number for lane, number in mission["lanes"].items() if number}
    assert re.search(r"^  WP03  planned +Title of WP03 +lane-c$", text, re.MULTILINE)


def test_a_forecast_is_shown_once_somebody_has_asked(road: Road) -> None:
    road.planned()
    state = road.state
    assert overview(state)["forecast"] is None
    state.forecast = Forecast(None, reason="later")
    assert overview(state)["forecast"] == {"clean": None, "conflicts": [], "reason": "later"}


def test_a_mission_that_cannot_be_read_says_why_in_its_place(road: Road) -> None:
    road.planned()
    assert overview_or_fault(road.state)["fault"] is None
    (road.mission.directory / "lanes.json").write_text("{")
    told = overview_or_fault(road.state)
    assert (told["slug"], told["fault"]["code"], told["fault"]["hint"]) == (
        road.mission.slug,
        "LANES_INVALID",
        "make it again: kitty finalize",
    )
