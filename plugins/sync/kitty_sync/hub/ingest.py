"""Takes events: each once, known by team, project and id, and all of a batch in one transaction.

What is the same is decided by the SHA-256 of an event's canonical JSON. Nothing is ever overwritten.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from spec_kitty_events import normalize_event_id
from sqlalchemy import Connection, text

from kitty_sync.hub.accounts import Member
from kitty_sync.hub.error import HubError
from kitty_sync.schemas import is_modelled, refusal

MOST = 1000
"""Events of a batch."""
STORED, DUPLICATE, CONFLICT, REJECTED = "stored", "duplicate", "conflict", "rejected"
_CLAIMS = ("tenant", "tenant_id", "team", "team_id", "team_slug")
_TEXTS = ("mission_id", "mission_slug", "aggregate_type")
_LONGEST = 256
_LONGEST_TYPE = 128
LARGEST = 512 * 1024
"""Bytes of an event as it is kept."""
_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False)


class Result(NamedTuple):
    """What became of one event."""

    event_id: str | None
    """As it was sent; None where it was no text."""
    status: str
    code: str | None = None
    message: str | None = None


class Candidate(NamedTuple):
    """An event that is valid."""

    event_id: str
    project: str
    digest: str
    mission_id: str
    mission_slug: str
    record: str
    stored: Result
    """What is said of it where it is new, as nearly all are: made before, since one writes at a time."""


def judge(body: Mapping[str, Any], who: Member) -> list[Candidate | Result]:
    """Each event of a batch as one that is valid, or as rejected.

    Errors: `BODY_INVALID` (400), `TENANT_CLAIMED` (403), `BATCH_TOO_LARGE` (413).
    """
    records = body.get("events")
    if not isinstance(records, list) or not set(body) <= {"events", *_CLAIMS}:
        raise HubError("BODY_INVALID", 400, "the body is not {events: [...]}", "see the table of calls in docs/hub.md")
    if len(records) > MOST:
        raise HubError("BATCH_TOO_LARGE", 413, f"a batch has {MOST} events at most", "send less at once")
    for one in (body, *records):
        _refuse_claims(one, who)
    return [_judged(record) for record in records]


def add(
    database: Connection, team_id: str, judged: Sequence[Candidate | Result], now: float
) -> tuple[list[Result], int]:
    """Keep what is new, and say of each event what became of it, and where the team's events end; it is true after the commit.

    For a transaction of `Store.adding`. The team's row is locked before anything else is looked at, so that nobody adds to it meanwhile
    and the order of numbers is the order of commits.
    """
    by_hand = _HANDS[database.dialect.name]
    last = by_hand.lock(database, team_id)
    sent = [one for one in judged if isinstance(one, Candidate)]
    received_at = datetime.fromtimestamp(now, UTC).isoformat(timespec="microseconds")
    if by_hand.insert(database, team_id, last, sent, received_at) == len(sent):  # as it is nearly always
        new = sent
        results = [one if isinstance(one, Result) else one.stored for one in judged]
    else:
        database.execute(_FORGET, {"team": team_id, "last": last})
        results, new = _compared(judged, by_hand.known(database, team_id, sent))
        by_hand.insert(database, team_id, last, new, received_at)
    last += len(new)
    database.execute(_COUNT, {"team": team_id, "last": last})
    return results, last


def _compared(
    judged: Sequence[Candidate | Result], known: dict[tuple[str, str], str]
) -> tuple[list[Result], list[Candidate]]:
    """What becomes of each where some are known, and which are new."""
    new: list[Candidate] = []
    results = []
    for one in judged:
        if isinstance(one, Result):
            results.append(one)
            continue
        key = one.project, one.event_id
        if key not in known:
            known[key] = one.digest
            new.append(one)
            results.append(one.stored)
        elif known[key] == one.digest:
            results.append(one.stored._replace(status=DUPLICATE))
        else:
            message = f"it is known with another content: {known[key]}"
            results.append(one.stored._replace(status=CONFLICT, code="EVENT_ID_CONFLICT", message=message))
    return results, new


def last_position(database: Connection, team_id: str) -> int:
    """Where the events of a team end."""
    found: int = database.execute(text("SELECT last_seq FROM teams WHERE id = :team"), {"team": team_id}).scalar_one()
    return found


def digest_of_record(record: str) -> str:
    """The digest that the event of a record has to have; empty for what is no record."""
    try:
        return hashlib.sha256(canonical(normal(json.loads(record)["event"])).encode()).hexdigest()
    except (ValueError, KeyError, TypeError, AttributeError):
        return ""


def canonical(value: Any) -> str:
    """JSON with one spelling: sorted keys, no spaces, ASCII."""
    return _CANONICAL.encode(value)


def normal(event: Mapping[str, Any]) -> dict[str, Any]:
    """A valid event with its ids in their one spelling: ULIDs in capitals, UUIDs in small letters with hyphens."""
    named = {key: event[key] for key in ("event_id", "correlation_id", "causation_id") if event.get(key) is not None}
    ids = {key: normalize_event_id(value) for key, value in named.items()}
    return {**event, **ids, "project_uuid": str(uuid.UUID(event["project_uuid"]))}


def _refuse_claims(said: Any, who: Member) -> None:
    if isinstance(said, dict):
        for key in _CLAIMS:
            if key in said and said[key] not in (who.team_id, who.team_slug):
                raise HubError("TENANT_CLAIMED", 403, f"{key} is not the team of the token", "log in to that team")


def _judged(record: Any) -> Candidate | Result:
    event = record.get("event") if isinstance(record, dict) else None
    if not isinstance(event, dict):
        return Result(None, REJECTED, code="SCHEMA_REJECTED", message="it is no record with an event")
    sent_id = event.get("event_id") if isinstance(event.get("event_id"), str) else None
    event_type = event.get("event_type")
    # What is asked for is remembered there; nobody may say how much.
    if isinstance(event_type, str) and (len(event_type) > _LONGEST_TYPE or not is_modelled(event_type)):
        return Result(
            sent_id, REJECTED, code="EVENT_TYPE_UNKNOWN", message=f"there is no model for {event_type[:80]!r}"
        )
    wrong = _wrong(record, event)
    if wrong is not None or sent_id is None:
        return Result(sent_id, REJECTED, code="SCHEMA_REJECTED", message=wrong)
    known = normal(event)
    text = canonical(known)
    if len(text) > LARGEST:
        return Result(sent_id, REJECTED, code="SCHEMA_REJECTED", message=f"an event has {LARGEST} bytes at most")
    digest = hashlib.sha256(text.encode()).hexdigest()
    parts = {key: canonical(record[key]) for key in _TEXTS} | {"event": text if known == event else canonical(event)}
    kept = ",".join(f'"{key}":{parts[key]}' for key in sorted(parts))  # what takes longest is not spelt twice
    return Candidate(
        known["event_id"],
        known["project_uuid"],
        digest,
        record["mission_id"],
        record["mission_slug"],
        f"{{{kept}}}",
        Result(sent_id, STORED),
    )


def _wrong(record: Mapping[str, Any], event: Mapping[str, Any]) -> str | None:
    for key in _TEXTS:
        value = record.get(key)
        if not isinstance(value, str) or len(value) > _LONGEST or not _is_kept(value):
            return f"{key}: it is no text of {_LONGEST} characters at most"
    unknown = sorted(set(record) - {"event", *_TEXTS, *_CLAIMS})
    if unknown:
        return f"{unknown[0][:80]!r}: no record has this"
    if not isinstance(event.get("project_uuid"), str):
        return "project_uuid: it is no text"
    return refusal(event)


def _is_kept(value: str) -> bool:
    """Whether both databases take it as it is."""
    try:
        return b"\0" not in value.encode()
    except UnicodeEncodeError:
        return False


# The two statements that carry the load, by hand for each database


class _Sqlite:
    """One writes at a time; the driver runs one statement for many rows."""

    @staticmethod
    def lock(database: Connection, team_id: str) -> int:
        """The number of the last event of the team; nobody else counts on meanwhile."""
        return last_position(database, team_id)

    @staticmethod
    def known(database: Connection, team_id: str, candidates: Sequence[Candidate]) -> dict[tuple[str, str], str]:
        """The digests of those that are stored. Project by project: without it the index leads to all of the team."""
        ids = defaultdict(list)
        for one in candidates:
            ids[one.project].append(one.event_id)
        found = {}
        for project, wanted in ids.items():
            marks = ",".join("?" * len(wanted))
            query = f"SELECT event_id, digest FROM events WHERE team_id = ? AND project = ? AND event_id IN ({marks})"
            rows = database.exec_driver_sql(query, (team_id, project, *wanted))
            found.update({(project, event_id): digest for event_id, digest in rows})
        return found

    @staticmethod
    def insert(database: Connection, team_id: str, last: int, new: Sequence[Candidate], received_at: str) -> int:
        """Add those that are not known behind the last one, and say how many; numbers of others are left out."""
        if not new:
            return 0
        rows = [
            (
                team_id,
                seq,
                one.project,
                one.event_id,
                one.digest,
                one.mission_id,
                one.mission_slug,
                received_at,
                one.record,
            )
            for seq, one in enumerate(new, last + 1)
        ]
        query = f"INSERT INTO events ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) {_UNLESS_KNOWN}"
        return database.exec_driver_sql(query, rows).rowcount


class _Postgresql:
    """Many write; each statement takes whole columns."""

    @staticmethod
    def lock(database: Connection, team_id: str) -> int:
        """The same. A login, which only needs the team to be there, does not wait for this."""
        query = "SELECT last_seq FROM teams WHERE id = %s FOR NO KEY UPDATE"
        last: int = database.exec_driver_sql(query, (team_id,)).scalar_one()
        return last

    @staticmethod
    def known(database: Connection, team_id: str, candidates: Sequence[Candidate]) -> dict[tuple[str, str], str]:
        """The same. LIMIT keeps the planner from reading the whole team, whatever it believes of the table."""
        columns = ([one.project for one in candidates], [one.event_id for one in candidates])
        query = (
            "SELECT sent.project, sent.event_id, known.digest FROM unnest(%s::text[], %s::text[]) AS sent (project, event_id)"
            " CROSS JOIN LATERAL (SELECT digest FROM events"
            " WHERE team_id = %s AND project = sent.project AND event_id = sent.event_id LIMIT 1) AS known"
        )
        rows = database.exec_driver_sql(query, (*columns, team_id)) if candidates else ()
        return {(project, event_id): digest for project, event_id, digest in rows}

    @staticmethod
    def insert(database: Connection, team_id: str, last: int, new: Sequence[Candidate], received_at: str) -> int:
        """The same."""
        columns = [[getattr(one, name) for one in new] for name in _SENT]
        marks = ", ".join(["%s::text[]"] * len(_SENT))
        query = (
            f"INSERT INTO events ({_COLUMNS}) SELECT %s, %s + place, project, event_id, digest, mission_id, mission_slug, %s, record"
            f" FROM unnest({marks}) WITH ORDINALITY AS sent ({', '.join(_SENT)}, place) {_UNLESS_KNOWN}"
        )
        return database.exec_driver_sql(query, (team_id, last, received_at, *columns)).rowcount


_COLUMNS = "team_id, seq, project, event_id, digest, mission_id, mission_slug, received_at, record"
_UNLESS_KNOWN = "ON CONFLICT (team_id, project, event_id) DO NOTHING"
_SENT = ("project", "event_id", "digest", "mission_id", "mission_slug", "record")
_FORGET = text("DELETE FROM events WHERE team_id = :team AND seq > :last")
_COUNT = text("UPDATE teams SET last_seq = :last WHERE id = :team")
_HANDS: dict[str, type[_Sqlite] | type[_Postgresql]] = {"sqlite": _Sqlite, "postgresql": _Postgresql}
