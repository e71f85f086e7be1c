"""Sessions of browsers, and the links that begin them.

A session is a cookie with 256 random bits, kept as SHA-256. It is over twelve hours after it was last used, and a week after it
began. No call of `/v1` takes it, and no page takes a token: what a page can do, it can do with the secret of its forms only.
"""

from __future__ import annotations

import hashlib
import uuid
from typing import TYPE_CHECKING, Any

from attrs import frozen
from sqlalchemy import ColumnElement, Connection, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from kitty_sync.hub import device, tokens
from kitty_sync.hub.accounts import Member, email_of, member
from kitty_sync.hub.audit import By, note
from kitty_sync.hub.schema import links, settings, users, visits
from kitty_sync.hub.tokens import digest_of, secret

if TYPE_CHECKING:
    from starlette.requests import Request

    from kitty_sync.hub.app import Hub

IDLE_SECONDS = 12 * 3600
LONGEST_SECONDS = 7 * 24 * 3600
LINK_SECONDS = 5 * 60
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


async def viewer(hub: Hub, request: Request, *, renew: bool = True) -> Member | None:
    """The member of the browser's session; None where there is none, where it is over, or where somebody is no longer in the team."""
    found = await visit(hub, request, renew=renew)
    return found.member if found else None


async def visit(hub: Hub, request: Request, *, renew: bool = True) -> Visit | None:
    """The browser's session, which is used with that, if it is renewed; None as for `viewer`."""
    cookie = request.cookies.get(cookie_name(hub.address), "")
    if not cookie.startswith(_PREFIX):
        return None
    found: Visit | None = await hub.read(known, cookie, hub.clock())
    if found is None:
        return None
    if found.stale and renew:
        await hub.write(_used, found.id)
    request.state.who = found.member
    return found


def cookie_name(address: str, name: str = "kitty") -> str:
    """What a cookie is called. The prefix makes browsers refuse it from a neighbour's host, and without TLS."""
    return f"__Host-{name}" if address.startswith("https://") else name


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


def begin(database: Connection, user_id: str, team_id: str, by: By, now: float) -> str:
    """Begin a session; the cookie's value, which nobody can read again. Sessions that are over are forgotten."""
    database.execute(delete(visits).where(~_alive(now)))
    cookie, visit_id = secret(_PREFIX), str(uuid.uuid4())
    row = {"id": visit_id, "digest": digest_of(cookie), "user_id": user_id, "team_id": team_id}
    database.execute(insert(visits).values(**row, created_at=now, used_at=now, address=by.where))
    email = email_of(database, user_id)
    note(database, By(email, by.where), "browser.signed_in", now, whom=email, team_id=team_id, what=visit_id)
    return cookie


def end(database: Connection, visit_id: str, now: float, by: By, action: str = "browser.signed_out") -> bool:
    """End a session; whether there was one that could be ended."""
    return tokens.end(database, visit_id, now, by, action, kind=visits)


def alive(database: Connection, team_id: str, now: float, user_id: str | None = None) -> list[dict[str, Any]]:
    """The sessions of browsers in a team, or those of one member, that are not over; the oldest first."""
    query = (
        select(visits.c.id, users.c.email, visits.c.created_at, visits.c.used_at, visits.c.address)
        .join_from(visits, users)
        .where(visits.c.team_id == team_id, _alive(now))
        .order_by(visits.c.created_at, visits.c.id)
    )
    if user_id is not None:
        query = query.where(visits.c.user_id == user_id)
    return [{**row, "kind": "browser"} for row in database.execute(query).mappings()]


def end_own(database: Connection, who: Member, session_id: str, by: By, now: float) -> None:
    """End a session of one's own, of either kind, in the team where one is; another is nobody's concern."""
    own = {one["id"] for list_of in (alive, tokens.alive) for one in list_of(database, who.team_id, now, who.user_id)}
    if session_id in own and not end(database, session_id, now, by, "session.ended"):
        tokens.end(database, session_id, now, by)


def make_link(database: Connection, who: Member, now: float, by: By) -> str:
    """The secret of a new link that signs somebody in."""
    database.execute(delete(links).where(links.c.expires_at <= now))
    made = secret("khl_")
    row = {"digest": digest_of(made), "user_id": who.user_id, "team_id": who.team_id, "expires_at": now + LINK_SECONDS}
    database.execute(insert(links).values(row))
    note(database, by, "link.made", now, whom=who.email, team_id=who.team_id)
    return made


def linked(database: Connection, said: str, now: float) -> Member | None:
    """Whom a link would sign in; None for one that is over, was taken, or never was."""
    this = (links.c.digest == digest_of(said)) & (links.c.expires_at > now)
    row = database.execute(select(links.c.user_id, links.c.team_id).where(this)).first()
    return member(database, *row) if row else None


def take_link(database: Connection, said: str, by: By, now: float) -> str | None:
    """Begin a session with a link, which is over with this; None as for `linked`, which is to be committed, too."""
    who = linked(database, said, now)
    if who is None or not database.execute(delete(links).where(links.c.digest == digest_of(said))).rowcount:
        note(database, by, "link.refused", now)
        return None
    return begin(database, who.user_id, who.team_id, by, now)


def take_code(database: Connection, device_code: str, by: By, now: float) -> tuple[str, str]:
    """The cookie of a session that was approved, or the error of RFC 8628 that says why there is none; one of both is empty."""
    found = device.decided(database, device_code, device.BROWSER, now)
    return ("", found) if isinstance(found, str) else (begin(database, *found, by, now), "")


def tell_address(database: Connection, address: str) -> None:
    """Let commands on the same database know what the hub calls itself."""
    known = update(settings).where(settings.c.name == "address").values(value=address)
    if not database.execute(known).rowcount:
        try:
            with database.begin_nested():
                database.execute(insert(settings).values(name="address", value=address))
        except IntegrityError:  # another process of the same hub began at the same time
            database.execute(known)


def told_address(database: Connection) -> str | None:
    """What the hub called itself when it last began to serve."""
    return database.scalar(select(settings.c.value).where(settings.c.name == "address"))


def _alive(now: float) -> ColumnElement[bool]:
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
