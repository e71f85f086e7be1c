"""The record of a claim: there before the claim is, locked while its maker lives, and believed only of what is claimed."""

from __future__ import annotations

from pathlib import Path

import pytest

from kitty_host import claims
from kitty_host.api import KittyError
from kitty_host.files import lock
from kitty_host.ledger.emit import emit, foreseen
from kitty_host.ledger.event import Row, annotation
from kitty_host.mission import Mission
from kitty_host.plugins import Plugins
from kitty_host.state import State
from kitty_host.testing import Project

pytestmark = pytest.mark.usefixtures("alone")


@pytest.fixture
def mission(project: Project) -> Mission:
    made: Mission = project.mission(packages=[{"work_package_id": "WP01"}, {"work_package_id": "WP02"}])
    project.record(made, "WP01", "planned", "claimed", "in_progress")
    return made


def left_behind(mission: Mission, wp_id: str = "WP01") -> Path:
    """The record of a command that was killed."""
    path = mission.repo.state / "claims" / mission.mission_id / wp_id
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("1000.5\nmerge abc\n")
    return path


def noted(mission: Mission) -> list[Row]:
    return emit(Plugins([]), mission, lambda _: [annotation("WP02", {"note": "n"}, actor="bob")])


def lane(mission: Mission, wp_id: str = "WP01") -> str:
    return State.load(mission).lane(wp_id)


def test_a_record_that_was_left_blocks_its_claim_in_front_of_the_rows_that_are_written(mission: Mission) -> None:
    path = left_behind(mission)
    assert foreseen(mission).lane("WP01") == "blocked"
    assert lane(mission) == "in_progress"
    assert [row["wp_id"] for row in noted(mission)] == ["WP02"]
    blocked, note = mission.ledger.rows()[-2:]
    assert (blocked["wp_id"], blocked["to_lane"], note["kind"]) == ("WP01", "blocked", "annotation")
    assert blocked["event_id"] < note["event_id"]
    assert not path.exists()
    before = mission.ledger.lines()
    noted(mission)
    assert len(mission.ledger.lines()) == len(before) + 1


def test_the_rows_about_it_are_told_to_observers(mission: Mission, plugins_with: object) -> None:
    left_behind(mission)
    source = """
from kitty_host.api import hookimpl

@hookimpl
def kitty_emitted(event, mission):
    print(event.get("to_lane") or event["kind"], file=open(mission.repo.root / "heard", "a"))
"""
    plugins = plugins_with(observer=source)  # type: ignore[operator]
    emit(plugins, mission, lambda _: [annotation("WP02", {"note": "n"}, actor="bob")])
    assert (mission.repo.root / "heard").read_text().split() == ["blocked", "annotation"]


def test_a_record_whose_maker_lives_blocks_nothing(mission: Mission) -> None:
    path = left_behind(mission)
    with lock(path):
        noted(mission)
        assert lane(mission) == "in_progress"
    noted(mission)
    assert lane(mission) == "blocked"


def test_a_record_of_what_was_never_claimed_blocks_nobody_who_claims_it_later(
    project: Project, mission: Mission
) -> None:
    project.record(mission, "WP02", "planned")
    left_behind(mission, "WP02")
    noted(mission)
    assert lane(mission, "WP02") == "planned"
    project.record(mission, "WP02", "claimed", "in_progress")
    noted(mission)
    assert lane(mission, "WP02") == "in_progress"


def test_a_plan_that_refuses_or_writes_nothing_leaves_the_record(mission: Mission) -> None:
    path = left_behind(mission)

    def refuses(state: State) -> list[Row]:
        assert state.lane("WP01") == "blocked"
        raise KittyError("TRANSITION_REFUSED", "no", "never")

    before = mission.ledger.lines()
    with pytest.raises(KittyError):
        emit(Plugins([]), mission, refuses)
    assert emit(Plugins([]), mission, lambda _: []) == []
    assert mission.ledger.lines() == before
    assert path.exists()


def test_whoever_takes_a_record_over_knows_since_when_and_what_was_going_on(mission: Mission) -> None:
    left_behind(mission)
    with claims.pending(mission, "WP01") as claim:
        assert (claim.since, claim.said, claim.told) == (1000.5, ["merge abc"], False)
        assert claims.held(mission, "WP01") is claim
    assert claims.held(mission, "WP01") is None


def test_they_know_it_after_the_ledger_was_told_and_after_one_more_failure(mission: Mission) -> None:
    left_behind(mission)
    noted(mission)
    for _ in range(2):
        with claims.pending(mission, "WP01") as claim:
            assert (claim.since, claim.said, claim.told) == (1000.5, ["merge abc"], True)
            claim.over(made=False)
    with claims.pending(mission, "WP01") as claim:
        claim.over(made=True)
    assert not (mission.repo.state / "claims").exists()
    with claims.pending(mission, "WP01") as claim:
        assert (claim.since, claim.said) == (None, [])


def test_what_is_said_in_a_record_outlives_its_maker(mission: Mission) -> None:
    with claims.pending(mission, "WP01") as claim:
        claim.say("merge def")
    with claims.pending(mission, "WP01") as claim:
        assert claim.said == ["merge def"]
        assert claim.since is not None


def test_a_record_is_there_before_anything_is_claimed_and_gone_where_that_is_refused(mission: Mission) -> None:
    path = mission.repo.state / "claims" / mission.mission_id / "WP02"
    with claims.pending(mission, "WP02") as claim:
        assert path.stat().st_size
        claim.refused()
    assert not path.exists()
    left_behind(mission)
    with claims.pending(mission, "WP01") as claim:
        claim.refused()
    assert lane(mission) == "in_progress"
    noted(mission)
    assert lane(mission) == "blocked", "what was left before is left again"


def test_one_at_a_time(mission: Mission) -> None:
    with claims.pending(mission, "WP01"), claims.left(mission) as left:
        assert left == []
