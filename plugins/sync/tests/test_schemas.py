"""What is valid by the peer's package is valid here, and what is not is told in one line."""

from __future__ import annotations

import re
from typing import Any

import pytest
from spec_kitty_events.conformance import validate_event

from kitty_sync.schemas import is_modelled, refusal

PAYLOAD = {
    "mission_slug": "demo",
    "wp_id": "WP01",
    "from_lane": "planned",
    "to_lane": "claimed",
    "actor": "ada",
    "force": False,
    "execution_mode": "worktree",
}


def an_event(**changed: Any) -> dict[str, Any]:
    return {
        "event_id": "01J00000000000000000000000",
        "event_type": "WPStatusChanged",
        "aggregate_id": "WP01",
        "payload": PAYLOAD,
        "timestamp": "2026-01-01T00:00:00+00:00",
        "build_id": "build",
        "node_id": "node",
        "lamport_clock": 1,
        "project_uuid": "6f1d6c0e-1f2e-4d0c-9a55-3a8f3f1c2b7d",
        "correlation_id": "01J00000000000000000000000",
        **changed,
    }


def test_a_valid_event_is_valid() -> None:
    assert refusal(an_event()) is None


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"event_id": "u" * 26}, "event_id: "),
        ({"event_type": 7}, "event_type: it is no text"),
        ({"event_type": "Sung"}, "event_type: there is no model for 'Sung'"),
        ({"event_type": "Event"}, "event_type: there is no model for 'Event'"),
        ({"timestamp": "yesterday"}, "timestamp: "),
        ({"project_uuid": None}, "project_uuid: "),
        ({"payload": []}, "payload: "),
        ({"payload": PAYLOAD | {"to_lane": "somewhere"}}, "payload.to_lane: "),
        ({"payload": PAYLOAD | {"sung\n": "x"}}, "payload.sung : Extra inputs are not permitted"),
    ],
)
def test_what_is_wrong_is_one_line(changed: dict[str, Any], said: str) -> None:
    told = refusal(an_event(**changed))
    assert told is not None
    assert told.startswith(said)
    assert "\n" not in told
    assert len(told) <= 300


def test_every_type_that_the_package_validates_is_modelled() -> None:
    with pytest.raises(ValueError) as refused:
        validate_event({}, "Sung")
    known = set(re.findall(r"'([\w.]+)'", str(refused.value).partition("Known types: ")[2]))
    assert len(known) > 80
    assert {one for one in known if not is_modelled(one)} == {"Event"}


def test_what_only_sounds_like_a_type_is_none() -> None:
    """There is a `CompletedPayload`, which is a part of others."""
    assert not is_modelled("Completed")
