"""Rows as events: which leave, that each is valid where its row is, and that nothing but row, mission and project goes into one."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from spec_kitty_events.conformance import validate_event

from kitty_host.ledger.event import decode, is_ulid, transition
from kitty_sync.events import TYPES, digest_of, entries_of, id_of, leaves, normal_id, wire
from kitty_sync.schemas import refusal

from .conftest import PROJECT, Sync

SEEN = {"wp_id": "WP01", "at": "2026-01-01T00:00:00Z", "event_id": "01J00000000000000000000000"}
ROW = {
    **transition("WP01", "planned", "claimed", actor="ada", mission_id="01J00000000000000000000009", mission_slug="m"),
    **SEEN,
}


def sent(row: dict[str, Any], **changed: Any) -> Any:
    """What a hub is given of a row."""
    digest = digest_of(row)
    record = {
        "event_id": id_of(row, digest),
        "project": PROJECT,
        "mission_id": "01J00000000000000000000009",
        "mission_slug": "m",
        "event": row,
        **changed,
    }
    return wire(record)


def test_the_list_of_types_is_what_the_package_has_models_for() -> None:
    with pytest.raises(ValueError) as error:
        validate_event({}, "?")
    listed = str(error.value).partition("Known types: ")[2]
    assert set(re.findall(r"'([^']+)'", listed)) - {"Event"} == TYPES


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (ROW, True),
        ({"event_type": "WPCreated", "event_id": "x"}, True),
        ({"event_type": "StepIssued", "event_id": "x"}, False),
        ({"event_type": "LedgerSealed", "event_id": "x"}, False),
        ({"type": "RetrospectiveSkipped", "event_id": "x"}, False),
        ({"kind": "annotation", "delta": {}, "actor": "ada", **SEEN}, False),
    ],
)
def test_what_has_a_model_leaves_and_nothing_else(row: dict[str, Any], expected: bool) -> None:
    assert leaves(decode(row)) is expected


def test_a_transition_is_valid_outside() -> None:
    event = sent(ROW)["event"]
    assert refusal(event) is None
    assert (event["event_type"], event["aggregate_id"], event["payload"]["to_lane"]) == (
        "WPStatusChanged",
        "WP01",
        "claimed",
    )
    assert (event["timestamp"], event["project_uuid"]) == (SEEN["at"], PROJECT)
    assert event["correlation_id"] == "01J00000000000000000000009"


@pytest.mark.parametrize("mission_id", ["01J00000000000000000000009", "003-an-old-mission"])
def test_two_clones_send_the_same(mission_id: str) -> None:
    one, two = (json.dumps(sent(dict(ROW), mission_id=mission_id)) for _ in range(2))
    assert one == two
    assert refusal(json.loads(one)["event"]) is None


def test_a_structured_actor_is_sent_by_name() -> None:
    actor = {"role": "implementer", "profile": None, "tool": "claude", "model": None}
    assert sent({**ROW, "actor": actor})["event"]["payload"]["actor"] == "claude"


def test_the_old_name_of_a_mission_is_sent_as_its_slug() -> None:
    row = {**ROW, "feature_slug": "old"}
    del row["mission_slug"]
    assert sent(row)["event"]["payload"]["mission_slug"] == "old"


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("01j0000000000000000000000a", "01J0000000000000000000000A"),
        ("6F1D6C0E1F2E4D0C9A553A8F3F1C2B7D", PROJECT),
        (PROJECT.upper(), PROJECT),
        ("sha256:0", ""),
        ("", ""),
        ("8J00000000000000000000000A", ""),
        ("6f1d6c0e-1f2e4d0c-9a55-3a8f-3f1c2b7d", ""),
    ],
)
def test_an_id_has_one_spelling(text: str, normal: str) -> None:
    assert normal_id(text) == normal


def test_a_row_without_an_id_gets_one_of_its_time_and_content() -> None:
    row = {"event_type": "PlanStarted", "timestamp": "2026-01-01T00:00:00Z"}
    ids = {id_of(one, digest_of(one)) for one in (row, dict(row), {**row, "payload": {}}, {**row, "timestamp": "soon"})}
    assert len(ids) == 3
    assert all(map(is_ulid, ids))


def test_what_a_mission_has_to_send_is_in_the_order_of_its_ledger(sync: Sync) -> None:
    sync.poke(3)
    entries = list(entries_of(sync.mission, PROJECT, "t"))
    assert [entry.event_id for entry in entries] == [row["event_id"] for row in sync.mission.ledger.rows()]
    assert {json.loads(entry.line)["tenant"] for entry in entries} == {"t"}
    assert all(refusal(wire(json.loads(entry.line))["event"]) is None for entry in entries)
