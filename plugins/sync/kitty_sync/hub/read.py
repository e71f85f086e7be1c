"""Reads events after a cursor, in the order of their commits.

A cursor says where somebody is in the events of a team; nobody but this module knows how.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator, Sequence
from functools import cached_property

from attrs import frozen
from sqlalchemy import Connection, text

from kitty_sync.hub.error import HubError

MOST, USUAL = 1000, 500
"""Events of a page."""
_LARGEST = 1024 * 1024
"""Characters of the records of a page, but for one record that is larger."""
AT_ONCE = 64
"""Rows that are in memory at once: each may be large."""
START = 0
LATEST = "latest"
"""In place of a cursor, for a stream: what comes from now on."""


@frozen(slots=False)
class Page:
    """Some events, and where the next ones are."""

    records: Sequence[tuple[int, str]]
    """Position and JSON of each."""
    position: int
    more: bool

    @cached_property
    def told(self) -> bytes:
        """The same as server-sent events."""
        events = (f"id: {cursor_of(position)}\nevent: event\ndata: {record}\n\n" for position, record in self.records)
        return "".join(events).encode()


def cursor_of(position: int) -> str:
    """How a position is told."""
    return base64.urlsafe_b64encode(b"1:%d" % position).decode().rstrip("=")


def position_of(cursor: str) -> int:
    """Where a cursor stands; at the start for an empty one. Errors: `QUERY_INVALID` (400)."""
    if not cursor:
        return START
    try:
        plain = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        plain = b""
    found = re.fullmatch(rb"1:([0-9]{1,18})", plain)
    if not found:
        raise HubError("QUERY_INVALID", 400, "the cursor is none of this hub", "begin anew, without a cursor")
    return int(found[1])


def page(
    database: Connection, team_id: str, after: int, *, project: str = "", mission: str = "", limit: int = USUAL
) -> Page:
    """The events of a team after a position, filtered by project and by mission (its id or its slug); `limit` at most."""
    query = _ALL
    query += " AND project = :project" if project else ""
    query += " AND (mission_id = :mission OR mission_slug = :mission)" if mission else ""
    values = {"team": team_id, "after": after, "limit": limit + 1, "project": project, "mission": mission}
    wanted = {name: value for name, value in values.items() if f":{name}" in query + _ORDER}
    records: list[tuple[int, str]] = []
    size = 0
    with database.execute(text(query + _ORDER), wanted, execution_options={"yield_per": AT_ONCE}) as rows:
        for seq, received_at, record in rows:
            size += len(record)
            if len(records) == limit or (records and size > _LARGEST):
                return Page(records, records[-1][0], True)
            records.append((seq, f'{record[:-1]},"cursor":"{cursor_of(seq)}","received_at":"{received_at}"}}'))
    return Page(records, records[-1][0] if records else after, False)


def latest(database: Connection, team_id: str, count: int) -> Iterator[str]:
    """The records of the last events of a team, the last one first."""
    query, values = text(_LATEST), {"team": team_id, "count": count}
    with database.execute(query, values, execution_options={"yield_per": AT_ONCE}) as rows:
        yield from (record for (record,) in rows)


_LATEST = "SELECT record FROM events WHERE team_id = :team ORDER BY seq DESC LIMIT :count"
_ALL = "SELECT seq, received_at, record FROM events WHERE team_id = :team AND seq > :after"
_ORDER = " ORDER BY seq LIMIT :limit"
