"""One place computes how far a mission has come; the ledger alone says where a work package is."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kitty_host.ledger.event import LANDED, UNDONE, Row, annotation, decode, envelope, new_id, transition
from kitty_host.ledger.machine import LANES
from kitty_host.ledger.reduce import reduce
from kitty_host.mission import Mission
from kitty_host.repo import Repo
from kitty_host.state import State, dependencies_missing, mission_is_open
from kitty_host.testing import Project


def at(second: int) -> str:
    return f"2026-01-01T00:00:{second:02}.000000+00:00"


def move(wp_id: str, target: str, second: int = 1, source: str = "genesis", **fields: Any) -> Row:
    made = transition(wp_id, source, target, actor="ada", mission_id="m", mission_slug="demo", force=True, **fields)
    return {**made, "event_id": new_id(), "at": at(second)}


def told(kind: str, second: int, **payload: Any) -> Row:
    return {**envelope(kind, payload, aggregate_id="demo"), "event_id": new_id(), "timestamp": at(second)}


def noted(wp_id: str, second: int = 50, **delta: Any) -> Row:
    return {**annotation(wp_id, delta, actor="bob"), "event_id": new_id(), "at": at(second)}


@pytest.fixture
def mission(project: Project) -> Mission:
    made: Mission = project.mission(
        packages=[
            {"work_package_id": "WP01", "lane": "done", "subtasks": ["T001", "T002", "T003"]},
            {"work_package_id": "WP02", "dependencies": ["WP01"]},
        ]
    )
    return made


def state(mission: Mission, *rows: Row) -> State:
    return State(mission, reduce([decode(row) for row in rows]))


# Lanes


def test_the_ledger_alone_says_which_lane_a_work_package_is_in(mission: Mission) -> None:
    assert state(mission).lane("WP01") == "genesis", "front matter says done, and nobody asks it"
    assert state(mission, move("WP01", "planned")).lane("WP01") == "planned"


def test_a_work_package_that_was_only_spoken_of_is_not_seeded(mission: Mission) -> None:
    found = state(mission, noted("WP01", note="hello"))
    assert found.lane("WP01") == "genesis"
    assert found.shown_lane("WP01") == "planned"
    package = found.package_state("WP01")
    assert package is not None
    assert package.agent == "bob"


def test_it_is_read_from_the_disk(project: Project, mission: Mission) -> None:
    project.record(mission, "WP01", "planned", "claimed")
    found = State.load(mission, agent="ada", result="success")
    assert (found.lane("WP01"), found.agent, found.result) == ("claimed", "ada", "success")


# Progress


def test_work_packages_of_files_and_of_rows_count_once_each(mission: Mission) -> None:
    found = state(mission, move("WP01", "done"), move("WP09", "approved"), noted("WP10", note="x"))
    assert found.wp_ids() == ["WP01", "WP02", "WP09"]
    progress = found.progress()
    assert (progress.done, progress.approved, progress.total) == (1, 2, 3)
    assert progress.lanes == {**dict.fromkeys(LANES, 0), "done": 1, "approved": 1, "planned": 1}


def test_cancelled_work_counts_nowhere_but_among_the_lanes(mission: Mission) -> None:
    progress = state(mission, move("WP01", "done"), move("WP02", "canceled")).progress()
    assert (progress.done, progress.total, progress.percent) == (1, 1, 100)
    assert progress.lanes["canceled"] == 1


def test_a_mission_without_work_packages_has_come_nowhere(project: Project) -> None:
    progress = state(project.mission("empty")).progress()
    assert progress[:4] == (0, 0, 0, 0)


WAY = ["planned", "claimed", "in_progress", "for_review", "in_review", "approved", "done"]


def test_every_step_of_the_way_is_progress(mission: Mission) -> None:
    percents = [state(mission, move("WP01", lane), move("WP02", lane)).progress().percent for lane in WAY]
    assert percents == sorted(set(percents))
    assert (percents[0], percents[-1]) == (0, 100)


def test_the_numbers_of_a_mission_with_something_in_every_lane(project: Project) -> None:
    """By hand: 0 + 5 + 30 + 60 + 70 + 90 + 100 + 30 = 385 per cent of eight, which is 48; what is cancelled is none of them."""
    names = [f"WP{number:02}" for number in range(1, 10)]
    made = project.mission("every", [{"work_package_id": name} for name in names])
    rows = [move(name, lane) for name, lane in zip(names, LANES, strict=True)]
    assert state(made, *rows).progress() == (1, 2, 8, 48, dict.fromkeys(LANES, 1))
    assert state(made, *rows, move("WP01", "done", 2)).progress()[:4] == (2, 3, 8, 60)
    assert state(made, *rows, move("WP01", "canceled", 2)).progress()[:4] == (1, 2, 7, 55)


lanes = st.lists(st.sampled_from(LANES), min_size=1, max_size=12)


@given(lanes)
def test_the_numbers_agree_with_each_other(chosen: list[str]) -> None:
    class Bare:
        packages: tuple[Any, ...] = ()

    found = State(Bare(), reduce(decode(move(f"WP{n:02}", lane)) for n, lane in enumerate(chosen)))  # type: ignore[arg-type]
    progress = found.progress()
    assert sum(progress.lanes.values()) == len(chosen)
    assert progress.total == len(chosen) - chosen.count("canceled")
    assert progress.done <= progress.approved <= progress.total
    assert (progress.percent == 100) == (progress.done == progress.total > 0)
    assert 0 <= progress.percent <= 100


# What was submitted, approved, left open


def test_subtasks_are_open_until_they_are_done_or_skipped(mission: Mission) -> None:
    package = mission.packages[0]
    assert state(mission).open_subtasks(package) == ("T001", "T002", "T003")
    rows = [noted("WP01", subtasks={"T001": "done", "T002": "not_applicable", "T003": "planned", "T999": "planned"})]
    assert state(mission, *rows).open_subtasks(package) == ("T003",)


def test_the_last_approval_counts(mission: Mission) -> None:
    def approved(commit: str | None, second: int) -> Row:
        repos = [{"repo": ".", "branch": "b", "commit": commit}] if commit else []
        review = {"reviewer": "r", "verdict": "approved", "reference": "x"}
        return move("WP01", "approved", second, "in_review", evidence={"review": review, "repos": repos})

    assert state(mission).approved_commit("WP01") is None
    assert state(mission, approved("b", 2), approved("a", 1)).approved_commit("WP01") == "b"
    assert state(mission, approved("b", 2), approved(None, 3)).approved_commit("WP01") is None, "without a change"
    assert state(mission, move("WP01", "approved")).approved_commit("WP01") is None


def test_the_last_submission_counts(mission: Mission) -> None:
    rows = [
        move("WP01", "for_review", second, "in_progress", policy_metadata={"evidence": {"head": head}})
        for second, head in ((1, "a"), (2, "b"))
    ]
    assert state(mission, *rows).submission("WP01") == {"head": "b"}
    assert state(mission).submission("WP01") is None
    text = move("WP01", "for_review", 3, "in_progress", policy_metadata={"evidence": "text of a peer"})
    assert state(mission, *rows, text).submission("WP01") is None


@pytest.mark.parametrize(
    ("lane", "open_"), [("planned", 1), ("blocked", 1), ("in_review", 1), ("approved", 0), ("done", 0), ("canceled", 1)]
)
def test_a_dependency_is_met_when_it_is_approved(mission: Mission, lane: str, open_: int) -> None:
    findings = dependencies_missing(state(mission, move("WP01", lane)), mission.packages[1])
    assert len(findings) == open_
    assert all("WP01" in finding.message and lane in finding.message for finding in findings)


# Open or not


@pytest.mark.parametrize(
    ("rows", "is_open"),
    [
        ([], True),
        ([move("WP01", "done"), move("WP02", "in_progress")], True),
        ([move("WP01", "done"), move("WP02", "approved")], True),
        ([move("WP01", "done"), move("WP02", "canceled")], False),
        ([move("WP01", "done"), told(LANDED, 2)], False),
        ([move("WP01", "in_progress"), told(LANDED, 9)], True),
        ([move("WP01", "done"), told(LANDED, 2), told(UNDONE, 3)], True),
        ([told(UNDONE, 3), told(LANDED, 4), told(LANDED, 2)], False),
        ([noted("WP01", note="x")], True),
    ],
)
def test_a_mission_is_open_until_it_landed_or_all_is_done(mission: Mission, rows: list[Row], is_open: bool) -> None:
    assert state(mission, *rows).is_open == is_open


def test_reopening_a_work_package_opens_the_mission(mission: Mission) -> None:
    rows = [move("WP01", "done", 1), move("WP02", "canceled", 1)]
    assert not state(mission, *rows).is_open
    again = move("WP01", "in_progress", 3, "done")
    assert state(mission, *rows, again).is_open
    assert state(mission, *rows, told(LANDED, 2), again).is_open
    assert not state(mission, *rows, told(LANDED, 2), again, move("WP01", "done", 4, "in_progress")).is_open


def test_a_mission_whose_ledger_cannot_be_read_is_open(mission: Mission) -> None:
    mission.ledger.live.write_bytes(b"{broken\n")
    assert mission_is_open(mission)


# A second look


def test_every_new_line_changes_what_a_second_look_compares(mission: Mission) -> None:
    rows = [move("WP01", "planned"), noted("WP01", note="x"), told("StepIssued", 3), told("StepIssued", 3)]
    rows[3]["event_id"] = rows[2]["event_id"]
    marks = [state(mission, *rows[:count]).last_event_id for count in range(5)]
    assert len(set(marks)) == 5


def test_the_latest_row_of_a_kind_is_by_time_and_not_by_line(mission: Mission) -> None:
    rows = [told("StepIssued", 5, n=1), told("StepAnswered", 4), told("StepIssued", 3, n=2)]
    found = state(mission, *rows).last_other("StepIssued")
    assert found is not None
    assert found.row["payload"] == {"n": 1}
    assert state(mission, *rows).last_other("Nothing") is None


def test_a_state_knows_its_mission(project: Project, mission: Mission) -> None:
    assert Repo.find(project.root).root == state(mission).mission.repo.root
    assert [package.wp_id for package in state(mission).packages] == ["WP01", "WP02"]
