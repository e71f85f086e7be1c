"""Rows as records: what is read, what is refused, and that everything written is read back by spec-kitty's own reader."""

from __future__ import annotations

import itertools
import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from spec_kitty_events.diary import parse_diary

from kitty_host.ledger import event
from kitty_host.ledger.event import (
    Annotation,
    BadRow,
    Other,
    Transition,
    actor_name,
    annotation,
    decode,
    encode,
    envelope,
    new_id,
    now,
    transition,
    ulid,
)

ID = "01HXYZ0123456789ABCDEFGHJK"
AT = "2026-01-01T00:00:00.000000+00:00"
ACTOR = {"role": "implementer", "profile": None, "tool": "claude", "model": "m"}
REVIEW = {"reviewer": "rita", "verdict": "approved", "reference": "abcdef0"}


def moved(**fields: Any) -> dict[str, Any]:
    made = transition("WP01", "planned", "claimed", actor="agent", mission_id=ID, mission_slug="demo")
    return {**made, "event_id": ID, "at": AT, **fields}


def noted(**fields: Any) -> dict[str, Any]:
    return {**annotation("WP01", {"note": "hello"}, actor="agent"), "event_id": ID, "at": AT, **fields}


# Reading


def test_a_transition_is_read_with_its_whole_row() -> None:
    row = moved(policy_metadata={"agent": "a"})
    assert decode(row) == Transition(ID, "WP01", "planned", "claimed", AT, "agent", False, row)


def test_an_annotation_is_read_with_its_delta() -> None:
    assert decode(noted()) == Annotation(ID, "WP01", AT, "agent", {"note": "hello"})


@pytest.mark.parametrize(
    ("row", "kind", "at"),
    [
        ({"event_id": ID, "event_type": "WPCreated", "timestamp": AT, "payload": {}}, "WPCreated", AT),
        ({"event_id": ID, "event_type": "DecisionPointOpened", "at": AT}, "DecisionPointOpened", AT),
        ({"event_id": ID, "event_type": None, "wp_id": "WP01", "at": AT}, "None", AT),
        ({"event_id": ID, "type": "RetrospectiveCaptured", "at": AT}, "RetrospectiveCaptured", AT),
        ({"event_id": ID, "event_name": "retrospective.done", "at": AT}, "retrospective.done", AT),
        ({"event_type": "Anything"}, "Anything", ""),
    ],
)
def test_a_row_that_says_nothing_about_lanes_is_kept_as_it_is(row: dict[str, Any], kind: str, at: str) -> None:
    found = decode(row)
    assert isinstance(found, Other)
    assert (found.kind, found.at, found.row) == (kind, at, row)


REFUSED: list[Any] = [
    None,
    5,
    "text",
    [],
    {},
    moved(from_lane="nowhere"),
    moved(to_lane="doing"),
    moved(to_lane=None),
    moved(to_lane=["claimed"]),
    moved(actor={"role": "r"}),
    moved(actor={**ACTOR, "extra": "x"}),
    moved(actor={**ACTOR, "tool": 5}),
    moved(event_id=5),
    moved(wp_id=None),
    moved(at=17),
    moved(evidence={"repos": []}),
    moved(evidence={"review": {"reviewer": "r"}}),
    moved(evidence={"review": REVIEW, "repos": [{"commit": "abc"}]}),
    moved(evidence="seen"),
    moved(review_result={"verdict": "approved"}),
    moved(review_result=["approved"]),
    moved(policy_metadata="text"),
    *({key: value for key, value in moved().items() if key != missing} for missing in ("event_id", "wp_id", "at")),
    *({key: value for key, value in moved().items() if key != missing} for missing in ("actor", "force", "from_lane")),
    *({key: value for key, value in moved().items() if key != missing} for missing in ("to_lane", "execution_mode")),
    {**moved(), "kind": "transition"},
    noted(kind="annotations"),
    noted(kind=""),
    noted(delta=None),
    noted(delta=[]),
    noted(delta={"subtasks": ["T001"]}),
    noted(delta={"subtasks": {"T001": "finished"}}),
    noted(delta={"review": {"at": AT}}),
    noted(delta={"shell_pid": "many"}),
    noted(delta={"tracker_refs": 5}),
    noted(actor={}),
    noted(wp_id=5),
    {key: value for key, value in noted().items() if key != "delta"},
]


@pytest.mark.parametrize("row", REFUSED, ids=itertools.count())
def test_a_row_that_no_reader_may_guess_about_is_refused(row: Any) -> None:
    with pytest.raises(BadRow) as refused:
        decode(row)
    assert str(refused.value)


@pytest.mark.parametrize("actor", ["agent", ACTOR, {"role": None, "profile": None, "tool": None, "model": None}])
def test_an_actor_is_a_text_or_a_mapping_of_four(actor: Any) -> None:
    found = decode(moved(actor=actor))
    assert isinstance(found, Transition)
    assert found.actor == actor


@pytest.mark.parametrize(
    ("actor", "name"),
    [
        ("agent", "agent"),
        (ACTOR, "claude"),
        ({**ACTOR, "tool": None}, "implementer"),
        ({**ACTOR, "tool": "", "role": None}, ""),
    ],
)
def test_a_structured_actor_is_known_by_its_tool_else_by_its_role(actor: Any, name: str) -> None:
    assert actor_name(actor) == name


# Writing


def test_a_row_is_one_line_of_sorted_ascii() -> None:
    line = encode({"b": "ü\n", "a": 1})
    assert line == '{"a": 1, "b": "\\u00fc\\n"}\n'


lanes = st.sampled_from([lane for lane in event.ALL_LANES if lane != "uninitialized"])
words = st.text(min_size=1, max_size=20)
maybe = st.none() | words
actors = words | st.fixed_dictionaries({"role": maybe, "profile": maybe, "tool": maybe, "model": maybe})
reviews = st.fixed_dictionaries({"reviewer": words, "verdict": words, "reference": words})
repos = st.lists(st.fixed_dictionaries({"repo": words, "branch": words, "commit": words}), max_size=2)
transitions = st.builds(
    transition,
    words,
    lanes,
    lanes,
    actor=actors,
    mission_id=words,
    mission_slug=words,
    direct=st.booleans(),
    force=st.booleans(),
    reason=maybe,
    review_ref=maybe,
    evidence=st.none() | st.fixed_dictionaries({"review": reviews}, optional={"repos": repos}),
    review_result=st.none() | reviews,
    policy_metadata=st.none() | st.dictionaries(words, maybe, max_size=3),
)
deltas = st.fixed_dictionaries(
    {},
    optional={
        "note": words,
        "agent": words,
        "assignee": words,
        "shell_pid": st.integers(0, 9999),
        "shell_pid_created_at": words,
        "subtasks": st.dictionaries(words, st.sampled_from(["done", "planned", "skipped", "not_applicable"])),
        "tracker_refs": st.lists(words, max_size=2),
        "release_runtime_claim": st.booleans(),
    },
)
annotations = st.builds(annotation, words, deltas, actor=actors)
envelopes = st.builds(
    envelope, words, st.dictionaries(words, maybe, max_size=3), aggregate_id=words, aggregate_type=words
)


@given(transitions | annotations | envelopes)
def test_every_row_that_kitty_can_make_is_read_back_by_spec_kitty(row: dict[str, Any]) -> None:
    key = "timestamp" if "event_type" in row else "at"
    line = encode({**row, "event_id": new_id(), key: now()})
    assert line.count("\n") == 1
    again = json.loads(line)
    read, theirs = decode(again), parse_diary([again])
    match read:
        case Transition():
            [told] = theirs.transitions
            assert (told.event_id, told.wp_id, told.at) == (read.event_id, read.wp_id, read.at)
            assert (str(told.from_lane), str(told.to_lane)) == (read.from_lane, read.to_lane)
            assert (told.actor, told.force) == (read.actor, read.force)
        case Annotation():
            [told] = theirs.annotations
            assert (told.event_id, told.wp_id, told.at, told.actor) == (read.event_id, read.wp_id, read.at, read.actor)
        case Other():
            assert (theirs.transitions, theirs.annotations) == ([], [])


# Ids and times


@given(st.integers(0, (1 << 48) - 1), st.integers(0, (1 << 80) - 1))
def test_an_id_is_a_ulid_that_sorts_by_its_time(milliseconds: int, chance: int) -> None:
    made = ulid(milliseconds, chance)
    assert re.fullmatch("[0-7][0-9A-HJKMNP-TV-Z]{25}", made)
    alphabet = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
    number = 0
    for character in made:
        number = number * 32 + alphabet.index(character)
    assert (number >> 80, number & (1 << 80) - 1) == (milliseconds, chance)
    assert ulid(milliseconds, chance) < ulid(milliseconds, chance + 1) or chance + 1 == 1 << 80


def test_no_two_ids_are_the_same() -> None:
    assert len({new_id() for _ in range(10_000)}) == 10_000


def test_the_time_is_utc_with_microseconds() -> None:
    told = now()
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}\+00:00", told)
    assert abs(datetime.fromisoformat(told) - datetime.now(UTC)) < timedelta(seconds=10)


@pytest.mark.parametrize(
    "last",
    [
        "2999-01-01T00:00:00.000000+00:00",
        "2999-01-01T00:00:00.999999+00:00",
        "2999-12-31T23:59:59+00:00",
        "2999-01-01T00:00:00Z",
        "2999-01-01T00:00:00.5Z",
        "2999-01-01T00:00:00.123456Z",
        "2999-01-01T00:00:00",
        "2999-01-01T00:00:00+14:00",
        "2999-01-01T00:00:00-12:00",
        "2026-01-01",
        "",
        "yesterday",
    ],
)
def test_a_time_sorts_after_the_last_one_as_a_moment_and_as_a_text(last: str) -> None:
    told = now(last)
    assert told.endswith("+00:00")
    assert last == "yesterday" or told > last
    if "T" in last:
        moment = datetime.fromisoformat(last)
        assert datetime.fromisoformat(told) > (moment if moment.tzinfo else moment.replace(tzinfo=UTC))


def test_a_time_in_this_very_second_without_a_fraction_is_sorted_after(monkeypatch: pytest.MonkeyPatch) -> None:
    class Clock(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Clock:
            return cls(2026, 1, 1, 12, 0, 0, 500_000, tzinfo=tz)

    monkeypatch.setattr(event, "datetime", Clock)
    assert now("2026-01-01T12:00:00Z") > "2026-01-01T12:00:00Z"
