"""Every way between two lanes, as it is written to a ledger: with what it asks for, without it, by force, and where there is no way."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest
from spec_kitty_events import status

from kitty_host.api import KittyError
from kitty_host.ledger.emit import emit
from kitty_host.ledger.event import transition
from kitty_host.mission import Mission
from kitty_host.plugins import Plugins
from kitty_host.state import State
from kitty_host.testing import Project

pytestmark = pytest.mark.usefixtures("alone")

# The table of the released spec-kitty: from, to, and what it asks for besides somebody who acts.
TABLE = """
genesis      planned canceled                             nothing
planned      claimed blocked canceled                     nothing
claimed      in_progress blocked canceled                 nothing
in_progress  for_review                                   subtasks work
in_progress  approved                                     evidence
in_progress  planned                                      reason
in_progress  blocked canceled                             nothing
for_review   in_review blocked canceled                   nothing
in_review    approved done                                approving
in_review    in_progress planned blocked canceled         result
approved     done                                         evidence
approved     in_progress planned                          review_ref
approved     blocked canceled                             nothing
blocked      in_progress canceled                         nothing
"""
LANES = (*("planned", "claimed", "in_progress", "for_review", "in_review", "approved", "done", "blocked", "canceled"),)
SOURCES = ("genesis", *LANES)
REVIEW = {"reviewer": "grace", "verdict": "approved", "reference": "c1"}
REJECTION = {**REVIEW, "verdict": "changes_requested"}
Fields = Mapping[str, Any]
WORK: Fields = {"policy_metadata": {"evidence": {"head": "c1", "commits": 1}}}
# What meets a guard, and what comes close and does not.
MEETS: dict[str, Fields] = {
    "nothing": {},
    "work": WORK,
    "subtasks": {},
    "reason": {"reason": "because"},
    "evidence": {"evidence": {"review": REVIEW}},
    "approving": {"review_result": REVIEW},
    "result": {"review_result": REJECTION},
    "review_ref": {"review_ref": "c1"},
}
FAILS: dict[str, tuple[Fields, ...]] = {
    "nothing": (),
    "work": ({}, {"policy_metadata": {"evidence": None}}),
    "subtasks": (),
    "reason": ({}, {"reason": " "}),
    "evidence": ({}, {"evidence": {"review": REJECTION}}, {"evidence": {"review": {**REVIEW, "reviewer": ""}}}),
    "approving": (
        {},
        {"review_result": REJECTION},
        {"review_result": {**REVIEW, "reference": ""}},
        {"review_result": REVIEW, "evidence": {"review": {**REVIEW, "reviewer": "tony"}}},
        {"review_result": REVIEW, "review_ref": "another"},
    ),
    "result": ({}, {"review_result": {**REJECTION, "verdict": None}}, {"review_result": REJECTION, "review_ref": "c2"}),
    "review_ref": ({}, {"review_ref": ""}),
}


def table() -> dict[tuple[str, str], list[str]]:
    """What each way asks for."""
    found: dict[tuple[str, str], list[str]] = {}
    for line in TABLE.strip().splitlines():
        words = line.split()
        guards = [word for word in words[1:] if word in MEETS]
        for target in words[1 : len(words) - len(guards)]:
            found[words[0], target] = guards
    return found


WAYS = table()
Try = Callable[..., str]


@pytest.fixture
def ledger(project: Project) -> tuple[Mission, Try]:
    """A mission, and a function that tries a transition out of a lane; it gives the lane that the package is in then."""
    count = [0]
    mission: Mission = project.mission()

    def attempt(source: str, target: str, *, subtask_open: bool = False, **fields: Any) -> str:
        count[0] += 1
        wp_id = f"WP{count[0]:02}"
        path = mission.directory / "tasks" / f"{wp_id}-x.md"
        path.write_text(f"---\nwork_package_id: {wp_id}\nsubtasks: [{'T001' if subtask_open else ''}]\n---\n")
        if source != "genesis":
            project.record(mission, wp_id, source)
        row = transition(
            wp_id,
            source,
            target,
            mission_id=mission.mission_id,
            mission_slug=mission.slug,
            **{"actor": "ada", **fields},
        )
        before = mission.refresh().ledger.lines()
        refused: KittyError | None = None
        try:
            emit(Plugins([]), mission.refresh(), lambda _: [row])
        except KittyError as error:
            refused = error
        if refused is not None:
            assert (refused.code, bool(refused.hint)) == ("TRANSITION_REFUSED", True)
            assert mission.refresh().ledger.lines() == before, "a refusal writes nothing"
            return f"still {source}"
        found = State.load(mission.refresh()).lane(wp_id)
        assert found == target
        return found

    return mission, attempt


@pytest.mark.parametrize("source", SOURCES)
def test_a_way_is_open_where_its_guard_is_met_and_closed_without(source: str, ledger: tuple[Mission, Try]) -> None:
    _, attempt = ledger
    for target in LANES:
        guards = WAYS.get((source, target))
        if guards is None:
            # With everything that anybody could ask for.
            everything = {key: value for met in MEETS.values() for key, value in met.items()}
            assert attempt(source, target, **everything) == f"still {source}", target
            continue
        met = {key: value for guard in guards for key, value in MEETS[guard].items()}
        assert attempt(source, target, **met) == target
        assert attempt(source, target, **met, actor="") == f"still {source}"
        if "subtasks" in guards:
            assert attempt(source, target, **met, subtask_open=True) == f"still {source}"
        for failing in (one for guard in guards for one in FAILS[guard]):
            assert attempt(source, target, **failing) == f"still {source}", (target, failing)


@pytest.mark.parametrize("source", SOURCES)
def test_force_opens_every_way_for_somebody_with_a_reason(source: str, ledger: tuple[Mission, Try]) -> None:
    _, attempt = ledger
    for target in LANES:
        assert attempt(source, target, force=True, reason="because", subtask_open=True) == target
        for missing in ({"reason": None}, {"reason": " "}, {"reason": "because", "actor": " "}):
            assert attempt(source, target, force=True, **missing) == f"still {source}", (target, missing)
    assert attempt(source, "genesis", force=True, reason="because") == f"still {source}"


@pytest.mark.parametrize("force", [False, True])
def test_a_row_that_does_not_leave_the_lane_in_force_is_refused(
    force: bool, ledger: tuple[Mission, Try], project: Project
) -> None:
    mission, _ = ledger
    project.record(mission, "WP01", "planned")
    for source in set(SOURCES) - {"planned"}:
        fields = {"mission_id": mission.mission_id, "mission_slug": mission.slug, "reason": "because", "force": force}
        row = transition("WP01", source, "canceled", actor="ada", **fields)
        with pytest.raises(KittyError, match=f"WP01 is planned, not {source}"):
            emit(Plugins([]), mission.refresh(), lambda _, row=row: [row])


# The events package asks for force on every way back to the start. The released command line does not, and reads what kitty writes.
STRICTER = {("in_progress", "planned"), ("in_review", "planned"), ("approved", "planned")}


@pytest.mark.parametrize("way", [way for way in WAYS if way[0] != "genesis"], ids="-".join)
def test_what_the_events_package_says_of_it(way: tuple[str, str]) -> None:
    payload = status.StatusTransitionPayload(
        mission_slug="demo",
        wp_id="WP01",
        from_lane=way[0],
        to_lane=way[1],
        actor="ada",
        execution_mode="worktree",
        reason="because",
        review_ref="c1",
        evidence={"repos": [{"repo": "r", "branch": "b", "commit": "c1"}], "verification": [], "review": REVIEW},
    )
    assert status.validate_transition(payload).valid == (way not in STRICTER)
