"""What that client sends as an event and no model takes: kept as it came, each once, with the reason, and handed to nobody.

The client itself sends such events: of types that have no model, and some of others whose models it does not heed. What is rejected it
sends again for ever, and its user can do nothing about it; taken for events, they would reach programs that cannot read them. So the
hub says `warning`, which ends the sending, and whoever keeps the hub can see them (`kitty hub aside`).
"""

from __future__ import annotations

import hashlib
import re
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from attrs import field, frozen
from spec_kitty_events import normalize_event_id
from sqlalchemy import Connection, func, insert, select

from kitty_host.inert import inert
from kitty_sync.hub import ingest
from kitty_sync.hub.accounts import team_of
from kitty_sync.hub.error import HubError
from kitty_sync.hub.schema import set_aside

MOST = 100_000
"""Of a team."""
_LONGEST = 128
_TYPE = re.compile(r"[A-Za-z][A-Za-z0-9_.]{0,79}")


@frozen
class Aside:
    """An event that is to be set aside."""

    project: str
    event_id: str
    digest: str
    event_type: str
    code: str
    reason: str
    record: str = field(repr=False)
    sent_id: str


def aside(record: Mapping[str, Any], refused: ingest.Result) -> Aside | ingest.Result:
    """An event that was refused, ready to be kept; the refusal, if it has not what it would be known by."""
    event = record["event"]
    sent_id, kind = event.get("event_id"), event.get("event_type")
    try:
        event_id, project = normalize_event_id(sent_id), str(uuid.UUID(event["project_uuid"]))
    except (ValueError, TypeError, KeyError, AttributeError):
        return refused
    if not isinstance(kind, str) or not _TYPE.fullmatch(kind):
        return refused
    known = {**event, "event_id": event_id, "project_uuid": project}
    digest = hashlib.sha256(ingest.canonical(known).encode()).hexdigest()
    why = refused.code or "SCHEMA_REJECTED", inert(refused.message or "", prose=True)
    return Aside(project, event_id, digest, kind, *why, ingest.canonical(record), sent_id)


def commit(frame: Mapping[str, Any]) -> Aside | None:
    """A commit that the websocket is told of, ready to be kept: known by its build and its hash. None where it lacks those."""
    build_id, git_hash = frame.get("build_id"), frame.get("git_hash")
    texts = [
        one for one in (build_id, git_hash) if isinstance(one, str) and one.isprintable() and 0 < len(one) <= _LONGEST
    ]
    try:
        project = str(uuid.UUID(frame["project_uuid"]))
    except (ValueError, TypeError, KeyError, AttributeError):
        return None
    if len(texts) < 2:
        return None
    record = ingest.canonical(frame)
    digest = hashlib.sha256(record.encode()).hexdigest()
    name = f"{build_id}:{git_hash}"
    return Aside(project, name, digest, "LocalCommit", "EVENT_TYPE_UNKNOWN", "a commit is no event", record, name)


def keep(database: Connection, team_id: str, found: Sequence[Aside], now: float) -> list[bool]:
    """Whether each was new. Another content of one id is kept beside the first: nobody has to choose. Errors: `ASIDE_FULL` (413)."""
    ids = {one.event_id for one in found}
    query = select(set_aside.c.project, set_aside.c.event_id, set_aside.c.digest)
    known = {
        tuple(row)
        for row in database.execute(query.where(set_aside.c.team_id == team_id, set_aside.c.event_id.in_(ids)))
    }
    new, rows = [], []
    for one in found:
        key = one.project, one.event_id, one.digest
        new.append(key not in known)
        if key not in known:
            known.add(key)
            named = dict(zip(("project", "event_id", "digest"), key, strict=True))
            rest = {"event_type": one.event_type, "reason": one.reason, "received_at": now, "record": one.record}
            rows.append({"team_id": team_id, **named, **rest})
    if rows:
        here = select(func.count()).select_from(set_aside).where(set_aside.c.team_id == team_id)
        if (database.scalar(here) or 0) + len(rows) > MOST:
            hint = "whoever keeps the hub sees them with: kitty hub aside --team SLUG"
            raise HubError("ASIDE_FULL", 413, f"a team has {MOST} events set aside at most", hint)
        database.execute(insert(set_aside), rows)
    return new


def listed(database: Connection, slug: str) -> list[dict[str, Any]]:
    """What is set aside of a team, the oldest first; without the events themselves. Errors: `TEAM_UNKNOWN`."""
    team_id = team_of(database, slug)
    names = ("project", "event_id", "event_type", "reason", "received_at")
    query = select(*(set_aside.c[name] for name in names)).where(set_aside.c.team_id == team_id)
    return [dict(row) for row in database.execute(query.order_by(set_aside.c.received_at)).mappings()]
