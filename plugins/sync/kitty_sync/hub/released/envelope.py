"""What that client sends as an event, judged and kept as every other; and what becomes of it, in that client's words.

Its envelope is an event with more keys. The event is kept under the same identity and digest as one of `/v1`; what remains is dropped,
above all a team, since the team is the token's. What no model takes is set aside (`aside`); rejected is what cannot be told from others.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from attrs import frozen

from kitty_sync.hub import bodies, ingest
from kitty_sync.hub.accounts import Member
from kitty_sync.hub.error import HubError
from kitty_sync.hub.released import aside

if TYPE_CHECKING:
    from kitty_sync.hub.app import Hub

MOST = 1000
"""Events of a batch."""
LARGEST = 512 * 1024
"""Bytes of a batch, inflated, or of an event."""
EVENT_KEYS = (
    "event_id", "event_type", "aggregate_id", "payload", "timestamp", "build_id", "node_id", "lamport_clock", "causation_id",
    "project_uuid", "project_slug", "correlation_id", "schema_version", "data_tier",
)  # fmt: skip
"""What an event of `spec_kitty_events` has; a digest must not depend on which generation of it is installed."""
_ULID = re.compile(r"[0-7][0-9A-HJKMNP-TV-Z]{25}")
_CATEGORY = {
    "SCHEMA_REJECTED": "schema_mismatch",
    "EVENT_TYPE_UNKNOWN": "event_type_unknown",
    "EVENT_ID_CONFLICT": "event_id_conflict",
}

_COUNTED = {"success": ingest.STORED, "warning": "aside"}
Judged = ingest.Candidate | ingest.Result | aside.Aside


@frozen
class Verdict:
    """What became of one event."""

    event_id: str | None
    status: str
    """`success`, `duplicate`, `warning` (set aside) or `rejected`."""
    error_category: str | None = None
    error_message: str | None = None

    def shown(self) -> dict[str, Any]:
        """As a result of a batch."""
        why = {"error_category": self.error_category, "error_message": self.error_message}
        return {"event_id": self.event_id, "status": self.status, **{key: one for key, one in why.items() if one}}


def loaded(body: bytes) -> Any:
    """What a body says. What is wrong with one event in it is left to that one's judgement. Errors: `BODY_INVALID` (400)."""
    try:
        return json.loads(body.decode("utf-8"), object_pairs_hook=_pairs)
    except (ValueError, RecursionError) as error:
        raise _invalid(f"the body is no JSON: {str(error)[:200]}") from None


def events_of(found: Any) -> list[Any]:
    """The events of a batch. Errors: `BODY_INVALID` (400), `BATCH_TOO_LARGE` (413)."""
    events = found.get("events") if isinstance(found, dict) else None
    if not isinstance(events, list):
        raise _invalid("the body is not {events: [...]}")
    if len(events) > MOST:
        raise HubError(
            "BATCH_TOO_LARGE", 413, f"the batch is too large: it has more than {MOST} events", "send less at once"
        )
    return events


def judge(envelopes: Sequence[Any], who: Member) -> list[Judged]:
    """Each envelope as an event that is valid, as one to set aside, or as rejected."""
    faults = [fault(one) for one in envelopes]
    sound = [record_of(one) for one, wrong in zip(envelopes, faults, strict=True) if wrong is None]
    found = iter(zip(sound, ingest.judge({"events": sound}, who), strict=True))
    judged: list[Judged] = []
    for envelope, wrong in zip(envelopes, faults, strict=True):
        if wrong is not None:
            event_id = envelope.get("event_id") if isinstance(envelope, dict) else None
            sent_id = event_id if isinstance(event_id, str) else None
            judged.append(ingest.Result(sent_id, ingest.REJECTED, "SCHEMA_REJECTED", wrong))
            continue
        record, one = next(found)
        judged.append(aside.aside(record, one) if isinstance(one, ingest.Result) else one)
    return judged


async def keep(hub: Hub, team_id: str, judged: Sequence[Judged]) -> list[Verdict]:
    """Keep what is new, and say of each what became of it; it is on disk then."""
    odd = [one for one in judged if isinstance(one, aside.Aside)]
    plain = [one for one in judged if not isinstance(one, aside.Aside)]
    new = iter(await hub.write(aside.keep, team_id, odd) if odd else [])
    results = iter((await hub.add(team_id, plain))[0] if plain else [])
    verdicts = []
    for one in judged:
        if isinstance(one, aside.Aside):
            why = f"kept, and handed to nobody: {one.reason}"
            verdicts.append(Verdict(one.sent_id, "warning" if next(new) else "duplicate", _CATEGORY[one.code], why))
        else:
            verdicts.append(_verdict(next(results)))
    hub.metrics.took(_COUNTED.get(one.status, one.status) for one in verdicts)
    return verdicts


def record_of(envelope: Mapping[str, Any]) -> dict[str, Any]:
    """The record of an envelope (adr/0020). The mission is named by the payload, or is what the event is about.

    An event of a dossier has an empty `build_id`, which no model takes; it gets the project's UUID, as kitty's own events do.
    """
    payload = envelope.get("payload")
    said = payload if isinstance(payload, dict) else {}
    space = said.get("namespace")
    slug = said.get("mission_slug") or (space.get("mission_slug") if isinstance(space, dict) else None)
    kind, about = envelope.get("aggregate_type"), envelope.get("aggregate_id")
    mission = about if kind == "Mission" and isinstance(about, str) else ""
    is_id = _ULID.fullmatch(mission.upper()) is not None
    event = {key: envelope[key] for key in EVENT_KEYS if key in envelope}
    if event.get("build_id") == "":
        event["build_id"] = event.get("project_uuid")
    return {
        "mission_id": said.get("mission_id") or (mission if is_id else ""),
        "mission_slug": slug or ("" if is_id else mission),
        "aggregate_type": kind,
        "event": event,
    }


def _verdict(result: ingest.Result) -> Verdict:
    if result.status in (ingest.STORED, ingest.DUPLICATE):
        return Verdict(result.event_id, "success" if result.status == ingest.STORED else "duplicate")
    return Verdict(result.event_id, "rejected", _CATEGORY[result.code or "SCHEMA_REJECTED"], result.message)


class _Twice(dict[str, Any]):
    """An object in which a key stands twice."""


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    return found if len(found) == len(pairs) else _Twice(found)


def fault(value: Any) -> str | None:
    """What is wrong with an event as JSON. That client writes NaN where it has none, and one of those must not hold up the others."""
    if not isinstance(value, dict):
        return "it is no object"
    level = [value]
    for _ in range(bodies.DEEPEST):
        inner: list[Any] = []
        for one in level:
            if isinstance(one, _Twice):
                return "a key stands twice in an object"
            if isinstance(one, float) and not math.isfinite(one):
                return "a number is none, or too large"
            if isinstance(one, (dict, list)):
                inner += one.values() if isinstance(one, dict) else one
        if not inner:
            return None
        level = inner
    return f"it is more than {bodies.DEEPEST} levels deep"


def _invalid(message: str) -> HubError:
    return HubError("BODY_INVALID", 400, message, "see the released client in docs/hub.md of kitty")
