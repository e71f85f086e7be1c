"""Sessions of browsers, and the links that begin them.

A session is a cookie with 256 random bits, kept as SHA-256. It is over twelve hours after it was last used, and a week after it
began. No call of `/v1` takes it, and no page takes a token: what a page can do, it can do with the secret of its forms only.
"""

from __future__ import annotations

import hashlib
import uuid
from typing import TYPE_CHECKING, Any

from attrs import frozen
from sqlalchemy import Connection, insert, select, update

from kitty_sync.hub.accounts import Member, member
from kitty_sync.hub.schema import visits
from kitty_sync.hub.tokens import digest_of, secret

if TYPE_CHECKING:
    from starlette.requests import Request

    from kitty_sync.hub.app import Hub

IDLE_SECONDS = 12 * 3600
LONGEST_SECONDS = 7 * 24 * 3600
_PREFIX = "khb_"
_STALE_SECONDS = 60
"""How exactly it is known when a session was last used: a page that is looked at is not a write each time."""


@frozen
class Visit:
    """A session of a browser, as it is now."""

    id: str
    member: Member
    form_secret: str
    """Stands in every form of this session, and nowhere else."""
    stale: bool


async def viewer(hub: Hub, request: Request) -> Member | None:
    """The member of the browser's session; None where there is none, where it is over, or where somebody is no longer in the team."""
    found = await visit(hub, request)
    return found.member if found else None


async def visit(hub: Hub, request: Request) -> Visit | None:
    """The browser's session; None as for `viewer`."""
    cookie = request.cookies.get(cookie_name(hub.address), "")
    if not cookie.startswith(_PREFIX):
        return None
    found: Visit | None = await hub.read(known, cookie, hub.clock())
    if found is None:
        return None
    if found.stale:
        await hub.write(_used, found.id)
    request.state.who = found.member
    return found


def cookie_name(address: str) -> str:
    """What the cookie is called. The prefix makes browsers refuse it from a neighbour's host, and without TLS."""
    return "__Host-kitty" if address.startswith("https://") else "kitty"


def known(database: Connection, cookie: str, now: float) -> Visit | None:
    """The session of a cookie, if it is not over."""
    query = select(visits.c.id, visits.c.user_id, visits.c.team_id, visits.c.used_at).where(
        visits.c.digest == digest_of(cookie), _alive(now)
    )
    row = database.execute(query).first()
    who = member(database, row.user_id, row.team_id) if row else None
    if row is None or who is None:
        return None
    return Visit(row.id, who, _form_secret(cookie), now > row.used_at + _STALE_SECONDS)


def begin(database: Connection, user_id: str, team_id: str, address: str, now: float) -> str:
    """Begin a session; the cookie's value, which nobody can read again."""
    cookie = secret(_PREFIX)
    row = {"id": str(uuid.uuid4()), "digest": digest_of(cookie), "user_id": user_id, "team_id": team_id}
    database.execute(insert(visits).values(**row, created_at=now, used_at=now, address=address))
    return cookie


def _alive(now: float) -> Any:
    return (
        visits.c.revoked_at.is_(None)
        & (visits.c.used_at > now - IDLE_SECONDS)
        & (visits.c.created_at > now - LONGEST_SECONDS)
    )


def _used(database: Connection, visit_id: str, now: float) -> None:
    database.execute(update(visits).where(visits.c.id == visit_id).values(used_at=now))


def _form_secret(cookie: str) -> str:
    # A page tells it, and the cookie cannot be had from it.
    return hashlib.sha256(f"form of {cookie}".encode(errors="surrogatepass")).hexdigest()
