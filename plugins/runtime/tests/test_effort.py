"""What work packages took: told by whoever wants to, added up exactly, and shown wherever status is."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from conftest import Road


def efforts(road: Road) -> tuple[Any, dict[str, Any]]:
    """Of the mission, and of each work package."""
    (mission,) = road("status")["missions"]
    return mission["effort"], {one["wp_id"]: one["effort"] for one in mission["packages"]}


def spent(road: Road, wp_id: str, *arguments: str) -> Any:
    return road("effort", wp_id, *arguments, "--agent", "ada")["effort"]


def test_what_is_told_is_added_up_by_work_package_and_in_all(road: Road) -> None:
    road.planned(("WP01",), ("WP02",), ("WP03",))
    assert efforts(road) == (None, {"WP01": None, "WP02": None, "WP03": None})
    spent(road, "WP01", "--seconds", "90", "--cost", "0.1")
    in_all = {"seconds": 90, "tokens": 5000, "cost": "0.3"}
    assert spent(road, "wp01", "--cost", "0.2", "--tokens", "5000") == in_all
    spent(road, "WP02", "--tokens", "0")
    nothing = {"seconds": None, "tokens": 0, "cost": None}
    assert efforts(road) == (in_all, {"WP01": in_all, "WP02": nothing, "WP03": None})


def test_sums_of_money_are_exact(road: Road) -> None:
    road.planned()
    for _ in range(3):
        found = spent(road, "WP01", "--cost", "0.10")
    assert found["cost"] == "0.30"
    assert spent(road, "WP01", "--cost", "999999999999.999999999")["cost"] == "1000000000000.299999999"


def test_people_read_it_too(road: Road) -> None:
    road.planned()
    done = road.project.kitty("effort", "WP01", "--seconds", "3900", "--tokens", "12000", "--cost", "0.42")
    assert done.stdout == "WP01: 1 h 05 min, 12,000 tokens, cost 0.42 in all\n"
    (line,) = [line for line in road.project.kitty("status").stdout.splitlines() if line.startswith("  WP01")]
    assert line.endswith("1 h 05 min, 12,000 tokens, cost 0.42")


def test_a_row_has_what_was_told_and_moves_nothing(road: Road) -> None:
    road.planned()
    before = road.state
    spent(road, "WP01", "--seconds", "5")
    row = road.mission.ledger.rows()[-1]
    assert (row["event_type"], row["aggregate_type"], row["aggregate_id"]) == ("EffortSpent", "WorkPackage", "WP01")
    expected = {"seconds": 5, "tokens": None, "cost": None, "agent": "ada", "wp_id": "WP01"}
    assert row["payload"] == {**expected, "mission_slug": road.mission.slug}
    assert road.state.progress() == before.progress()
    assert road.state.snapshot.last_event_id == before.snapshot.last_event_id


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("--seconds", "-1"),
        ("--seconds", "nan"),
        ("--seconds", "1.5"),
        ("--tokens", "1" + "0" * 16),
        ("--tokens", "inf"),
        ("--cost", "-0.1"),
        ("--cost", "NaN"),
        ("--cost", "1e3"),
        ("--cost", "٣"),
        ("--cost", ""),
    ],
)
def test_what_is_no_amount_is_a_usage_error(road: Road, arguments: tuple[str, ...]) -> None:
    road.planned()
    before = road.project.snapshot()
    done = road.project.kitty("effort", "WP01", *arguments, "--json")
    assert (done.exit_code, done.code) == (2, "USAGE")
    assert road.project.snapshot() == before


@pytest.mark.parametrize(
    "payload",
    [
        None,
        [1],
        "text",
        {},
        {"wp_id": "WP01"},
        {"wp_id": 1, "seconds": 1},
        {"wp_id": "", "seconds": 1},
        {"wp_id": "WP01", "seconds": "1"},
        {"wp_id": "WP01", "seconds": True, "tokens": 1.5},
        {"wp_id": "WP01", "seconds": float("nan"), "tokens": float("inf")},
        {"wp_id": "WP01", "seconds": -1, "tokens": 10**4000},
        {"wp_id": "WP01", "cost": 0.1},
        {"wp_id": "WP01", "cost": "NaN"},
        {"wp_id": "WP01", "cost": "1e999999"},
        {"wp_id": "WP01", "cost": {"a": 1}},
    ],
)
def test_a_row_that_says_nonsense_counts_as_nothing(road: Road, payload: Any) -> None:
    road.planned()
    spent(road, "WP01", "--seconds", "5", "--cost", "1.5")
    row = {**road.mission.ledger.rows()[-1], "event_id": "01ZZZZZZZZZZZZZZZZZZZZZZZZ", "payload": payload}
    with road.mission.ledger.live.open("a") as ledger:
        ledger.write(json.dumps(row) + "\n")
    told = {"seconds": 5, "tokens": None, "cost": "1.5"}
    assert efforts(road) == (told, {"WP01": told})
    assert road.project.kitty("status").exit_code == 0


def test_the_same_row_twice_counts_once(road: Road) -> None:
    road.planned()
    spent(road, "WP01", "--seconds", "5")
    with road.mission.ledger.live.open("a") as ledger:
        ledger.write(json.dumps(road.mission.ledger.rows()[-1]) + "\n")
    assert efforts(road)[0]["seconds"] == 5


def test_the_next_step_and_an_acceptance_are_as_before(road: Road) -> None:
    road.planned()
    before = road("next", "--agent", "ada")
    spent(road, "WP01", "--seconds", "5")
    assert road("next", "--agent", "ada") == before


def test_every_row_counts_in_a_long_ledger_too_and_when_its_state_comes_from_a_cache(road: Road) -> None:
    road.planned()
    spent(road, "WP01", "--seconds", "1", "--cost", "0.1")
    row = road.mission.ledger.rows()[-1]
    rows = [{**row, "event_id": f"01ZZZZZZZZZZZZZZZZZZZZ{number:04}"} for number in range(999)]
    with road.mission.ledger.live.open("a") as ledger:
        ledger.writelines(json.dumps(one) + "\n" for one in rows)
    assert road.mission.ledger.live.stat().st_size > 128 << 10
    for _ in range(2):
        assert efforts(road)[0] == {"seconds": 1000, "tokens": None, "cost": "100.0"}
    assert list(road.mission.repo.cache.glob("ledger-*.json"))
