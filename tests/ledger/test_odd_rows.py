"""Rows as other programs, merges and crashes leave them: each is folded, or refused as damage, in any order of lines."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest

from kitty_host.api import KittyError
from kitty_host.ledger.event import Row, annotation, decode, encode, new_id, now, transition, ulid
from kitty_host.ledger.lines import decode_lines
from kitty_host.ledger.reduce import reduce
from kitty_host.mission import Mission
from kitty_host.testing import Project

REVIEW = {"reviewer": "rita", "verdict": "approved", "reference": "r1"}


@pytest.fixture
def mission(project: Project, alone: Path) -> Mission:
    made: Mission = project.mission(packages=[{"work_package_id": "WP01", "dependencies": []}])
    return made


def to(source: str, target: str, **fields: Any) -> Row:
    return transition("WP01", source, target, **{"actor": "ada", "mission_id": "m", "mission_slug": "demo", **fields})


ISSUED = {"event_type": "StepIssued", "event_id": "01", "timestamp": "2026", "payload": {}}
ANSWERED = {"event_type": "StepAnswered", "event_id": "02", "timestamp": "2027", "payload": {"step_id": "01"}}


@pytest.mark.parametrize("order", sorted(set(itertools.permutations((0, 0, 1)))))
def test_a_step_that_was_answered_stays_answered_though_its_line_stands_twice(order: tuple[int, ...]) -> None:
    assert not reduce([decode((ISSUED, ANSWERED)[one]) for one in order]).issued


def test_a_row_of_the_moment_of_a_rejection_is_not_added_to_its_state_though_it_is_forced() -> None:
    rejected = decode({**to("in_review", "planned"), "event_id": ulid(1, 1), "at": "2026"})
    approved = decode({**to("planned", "approved", force=True, reason="x"), "event_id": ulid(1, 2), "at": "2026"})
    assert reduce([rejected, approved]).packages["WP01"].lane == "planned"
    assert not reduce([rejected]).extend([approved])


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_a_run_begins_with_the_first_step_and_of_those_of_one_moment_with_the_smallest_id(
    order: tuple[int, ...],
) -> None:
    rows = [ISSUED, {**ISSUED, "event_id": "00"}, {**ISSUED, "event_id": "000", "timestamp": "2027"}]
    state = reduce([decode(rows[one]) for one in order])
    assert state.run is not None
    assert state.run.event_id == "00"
    assert state.issued.keys() == {"01", "00", "000"}


@pytest.mark.parametrize(
    ("row", "refused"),
    [
        (annotation("WP01", {"shell_pid": []}, actor="a"), True),
        (annotation("WP01", {"shell_pid": {}}, actor="a"), True),
        (annotation("WP01", {"shell_pid": float("inf")}, actor="a"), True),
        (to("planned", "claimed", evidence={"review": REVIEW, "repos": 5}), True),
        (to("planned", "claimed", evidence={"review": REVIEW, "verification": True}), True),
        ({"type": []}, True),
        (to("planned", "claimed", policy_metadata=[]), False),
        (to("planned", "claimed", policy_metadata=""), False),
        (to("planned", "claimed", policy_metadata=0), False),
        (to("planned", "claimed", review_result=[]), False),
        (annotation("WP01", {"shell_pid": ""}, actor="a"), False),
    ],
    ids=json.dumps,
)
def test_a_line_is_folded_or_refused_as_damage(row: Row, refused: bool) -> None:
    line = encode({"event_id": ulid(1, 1), "at": "2026", **row}).encode().removesuffix(b"\n")
    if refused:
        with pytest.raises(KittyError, match="LEDGER_DAMAGED"):
            decode_lines([line], Path("x"))
    else:
        assert "WP01" in reduce(decode_lines([line], Path("x"))).to_dict()["work_packages"]


def test_an_older_copy_with_one_of_two_seeds_of_one_id_is_no_conflict(mission: Mission) -> None:
    # Ids of migrations are made without their content, so two of them can use one; an older copy holds the first only.
    seed = {**to("planned", "claimed", actor="migration:x"), "event_id": ulid(1, 1), "at": "2026"}
    other = {**seed, "to_lane": "blocked"}
    mission.ledger.append([seed])
    older = mission.ledger.live.read_bytes()
    mission.ledger.append([other])
    mission.ledger.live.unlink()
    mission.ledger.live.write_bytes(older)
    assert len(mission.ledger.lines()) == 2


def noted(text: str) -> Row:
    return {**annotation("WP01", {"note": text}, actor="a"), "event_id": new_id(), "at": now()}


def test_a_tail_that_is_no_row_is_set_aside_though_it_is_an_object(mission: Mission) -> None:
    mission.ledger.append([noted("one")])
    with mission.ledger.live.open("ab") as stream:
        stream.write(b"{}")
    mission.ledger.append([noted("two")])
    assert len(mission.ledger.events()) == 2
