"""Takes events: each once, known by team, project and id, and all of a batch in one transaction.

What is the same is decided by the SHA-256 of an event's canonical JSON. Nothing is ever overwritten.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from attrs import field, frozen
from spec_kitty_events import normalize_event_id
from sqlalchemy import Connection, bindparam, text

from kitty_sync.hub.accounts import Member
from kitty_sync.hub.refused import Refused
from kitty_sync.schemas import is_modelled, refusal

MOST = 1000
"""Events of a batch."""
STORED, DUPLICATE, CONFLICT, REJECTED = "stored", "duplicate", "conflict", "rejected"
_CLAIMS = ("tenant", "tenant_id", "team", "team_id", "team_slug")
_TEXTS = ("mission_id", "mission_slug", "aggregate_type")
_LONGEST = 256


@frozen
class Result:
    """What became of one event."""

    event_id: str | None
    """As it was sent; None where it was no text."""
    status: str
    code: str | None = None
    message: str | None = None


@frozen
class Candidate:
    """An event that is valid."""

    event_id: str
    project: str
    digest: str
    mission_id: str
    mission_slug: str
    record: str = field(repr=False)
    sent_id: str

    @property
    def key(self) -> tuple[str, str]:
        """What it is known by within its team."""
        return self.project, self.event_id


def judge(body: Mapping[str, Any], who: Member) -> list[Candidate | Result]:
    """Each event of a batch as one that is valid, or as rejected.

    Errors: `BODY_INVALID` (400), `TENANT_CLAIMED` (403), `BATCH_TOO_LARGE` (413).
    """
    records = body.get("events")
    if not isinstance(records, list) or not set(body) <= {"events", *_CLAIMS}:
        raise Refused(400, "BODY_INVALID", "the body is not {events: [...]}", "see the table of calls in docs/hub.md")
    if len(records) > MOST:
        raise Refused(413, "BATCH_TOO_LARGE", f"a batch has {MOST} events at most", "send less at once")
    for one in (body, *records):
        _refuse_claims(one, who)
    return [_judged(record) for record in records]


def store(database: Connection, team_id: str, judged: Sequence[Candidate | Result], now: float) -> list[Result]:
    """Keep what is new, and say of each event what became of it; it is true when the transaction is committed.

    Nobody else may add events of the team meanwhile, which a transaction of `Store.writing` sees to.
    """
    known = _known(database, team_id, [one for one in judged if isinstance(one, Candidate)])
    new: list[Candidate] = []
    results = []
    for one in judged:
        if isinstance(one, Result):
            results.append(one)
        elif one.key not in known:
            known[one.key] = one.digest
            new.append(one)
            results.append(Result(one.sent_id, STORED))
        elif known[one.key] == one.digest:
            results.append(Result(one.sent_id, DUPLICATE))
        else:
            message = f"it is known with another content: {known[one.key]}"
            results.append(Result(one.sent_id, CONFLICT, "EVENT_ID_CONFLICT", message))
    if new:
        _insert(database, team_id, new, now)
    return results


def last_position(database: Connection, team_id: str) -> int:
    """Where the events of a team end."""
    found: int = database.execute(text("SELECT last_seq FROM teams WHERE id = :team"), {"team": team_id}).scalar_one()
    return found


def canonical(value: Any) -> str:
    """JSON with one spelling: sorted keys, no spaces, ASCII."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def normal(event: Mapping[str, Any]) -> dict[str, Any]:
    """A valid event with its ids in their one spelling: ULIDs in capitals, UUIDs in small letters with hyphens."""
    named = {key: event[key] for key in ("event_id", "correlation_id", "causation_id") if event.get(key) is not None}
    ids = {key: normalize_event_id(value) for key, value in named.items()}
    return {**event, **ids, "project_uuid": str(uuid.UUID(event["project_uuid"]))}


def _refuse_claims(said: Any, who: Member) -> None:
    if isinstance(said, dict):
        for key in _CLAIMS:
            if key in said and said[key] not in (who.team_id, who.team_slug):
                raise Refused(403, "TENANT_CLAIMED", f"{key} is not the team of the token", "log in to that team")


def _judged(record: Any) -> Candidate | Result:
    event = record.get("event") if isinstance(record, dict) else None
    if not isinstance(event, dict):
        return Result(None, REJECTED, "SCHEMA_REJECTED", "it is no record with an event")
    sent_id = event.get("event_id") if isinstance(event.get("event_id"), str) else None
    event_type = event.get("event_type")
    if isinstance(event_type, str) and not is_modelled(event_type):
        return Result(sent_id, REJECTED, "EVENT_TYPE_UNKNOWN", f"there is no model for {event_type[:80]!r}")
    wrong = _wrong(record, event)
    if wrong is not None or sent_id is None:
        return Result(sent_id, REJECTED, "SCHEMA_REJECTED", wrong)
    known = normal(event)
    kept = {key: record[key] for key in (*_TEXTS, "event")}
    digest = hashlib.sha256(canonical(known).encode()).hexdigest()
    return Candidate(
        known["event_id"],
        known["project_uuid"],
        digest,
        record["mission_id"],
        record["mission_slug"],
        canonical(kept),
        sent_id,
    )


def _wrong(record: Mapping[str, Any], event: Mapping[str, Any]) -> str | None:
    for key in _TEXTS:
        value = record.get(key)
        if not isinstance(value, str) or len(value) > _LONGEST or not _is_unicode(value):
            return f"{key}: it is no text of {_LONGEST} characters at most"
    unknown = sorted(set(record) - {"event", *_TEXTS, *_CLAIMS})
    if unknown:
        return f"{unknown[0][:80]!r}: no record has this"
    if not isinstance(event.get("project_uuid"), str):
        return "project_uuid: it is no text"
    return refusal(event)


def _is_unicode(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _known(database: Connection, team_id: str, candidates: Sequence[Candidate]) -> dict[tuple[str, str], str]:
    """The digests of those that are stored."""
    ids = sorted({one.event_id for one in candidates})
    rows = database.execute(_DIGESTS, {"team": team_id, "ids": ids}) if ids else ()
    return {(project, event_id): digest for project, event_id, digest in rows}


def _insert(database: Connection, team_id: str, new: Sequence[Candidate], now: float) -> None:
    last: int = database.execute(_NUMBERS, {"team": team_id, "count": len(new)}).scalar_one()
    received_at = datetime.fromtimestamp(now, UTC).isoformat(timespec="microseconds")
    rows = [
        {
            "team": team_id,
            "seq": seq,
            "project": one.project,
            "event_id": one.event_id,
            "digest": one.digest,
            "mission_id": one.mission_id,
            "mission_slug": one.mission_slug,
            "received_at": received_at,
            "record": one.record,
        }
        for seq, one in enumerate(new, last - len(new) + 1)
    ]
    database.execute(_EVENTS, rows)


_NUMBERS = text("UPDATE teams SET last_seq = last_seq + :count WHERE id = :team RETURNING last_seq")
_DIGESTS = text("SELECT project, event_id, digest FROM events WHERE team_id = :team AND event_id IN :ids").bindparams(
    bindparam("ids", expanding=True)
)
_EVENTS = text(
    "INSERT INTO events (team_id, seq, project, event_id, digest, mission_id, mission_slug, received_at, record)"
    " VALUES (:team, :seq, :project, :event_id, :digest, :mission_id, :mission_slug, :received_at, :record)"
)
