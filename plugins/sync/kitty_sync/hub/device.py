"""The device flow (RFC 8628): a program shows a code, a person approves or denies it, the program asks until it knows.

Both codes are known for 10 minutes, and the device code is taken once.
"""

from __future__ import annotations

import secrets
from collections import Counter

from attrs import frozen
from sqlalchemy import ColumnElement, Connection, delete, insert, select, update

from kitty_host.api import KittyError
from kitty_sync.hub.accounts import Member, member
from kitty_sync.hub.audit import SOMEBODY, By, note
from kitty_sync.hub.error import HubError
from kitty_sync.hub.limits import place_of
from kitty_sync.hub.schema import grants
from kitty_sync.hub.tokens import Pair, digest_of, open_session, secret

SECONDS = 600
INTERVAL = 2
"""Seconds between two questions about one code."""
SLOWER = 5
"""Seconds that are added for who asks sooner."""
WAITING = 1000
"""Codes that may wait for somebody at once."""
WAITING_EACH = 250
"""Those of one place: an address, or a network of IPv6."""
MANY = 25
"""A place that has so many gives one up where all is full."""
PROGRAM, BROWSER = "program", "browser"
_LETTERS = "BCDFGHJKLMNPQRSTVWXZ"
"""No vowels: no words. 20 to the 8th codes, for ten minutes, 1,000 at most."""


@frozen
class Grant:
    """What a device is told."""

    device_code: str
    user_code: str


@frozen
class Asking:
    """What somebody who decides is shown of who waits; there is no more that could be believed."""

    kind: str
    address: str
    created_at: float


def begin(database: Connection, now: float, *, kind: str = PROGRAM, address: str = "") -> Grant:
    """Two new codes. Errors: `HUB_BUSY` (429), where too many wait, in all or from one address."""
    database.execute(delete(grants).where(grants.c.expires_at <= now))
    _make_room(database, place_of(address))
    code = "".join(secrets.choice(_LETTERS) for _ in range(8))
    grant = Grant(secret("khd_"), f"{code[:4]}-{code[4:]}")
    row = {"device_digest": digest_of(grant.device_code), "user_digest": _user_digest(code), "kind": kind}
    times = {"created_at": now, "expires_at": now + SECONDS, "interval": INTERVAL}
    database.execute(insert(grants).values(**row, **times, state="pending", address=address))
    return grant


def _make_room(database: Connection, place: str) -> None:
    """Where all that may wait do, the oldest goes of the place that has most, so that no few keep the others from logging in."""
    waiting = database.execute(select(grants.c.device_digest, grants.c.address).order_by(grants.c.created_at)).all()
    count = Counter(place_of(one.address) for one in waiting)
    [(largest, most)] = count.most_common(1) or [("", 0)]
    if (place and count[place] >= WAITING_EACH) or (len(waiting) >= WAITING and most < MANY):
        raise HubError("HUB_BUSY", 429, "too many wait for approval", "ask again in a minute", {"Retry-After": "60"})
    if len(waiting) >= WAITING:
        oldest = next(one.device_digest for one in waiting if place_of(one.address) == largest)
        database.execute(delete(grants).where(grants.c.device_digest == oldest))


def asking(database: Connection, user_code: str, now: float) -> Asking | None:
    """Who waits with a code. That it never was, is over and is decided already are one answer."""
    query = select(grants.c.kind, grants.c.address, grants.c.created_at).where(_waits(user_code, now))
    row = database.execute(query).first()
    return Asking(*row) if row else None


def decide(database: Connection, user_code: str, who: Member, now: float, *, approve: bool, by: By = SOMEBODY) -> None:
    """Let a device in as somebody, or not. Errors: `USER_CODE_UNKNOWN`."""
    values = {"state": "approved" if approve else "denied", "user_id": who.user_id, "team_id": who.team_id}
    found = asking(database, user_code, now)
    if found is None or not database.execute(update(grants).where(_waits(user_code, now)).values(values)).rowcount:
        raise KittyError(
            "USER_CODE_UNKNOWN", "no device waits with this code", "log in again there, and take the code that it shows"
        )
    action = f"{found.kind}.{values['state']}"
    note(database, by, action, now, whom=who.email, team_id=who.team_id, what=found.address)


def poll(database: Connection, device_code: str, now: float, by: By = SOMEBODY) -> Pair | str:
    """The tokens, once, or the error of RFC 8628 that says why not. Either is to be committed."""
    found = decided(database, device_code, PROGRAM, now)
    return found if isinstance(found, str) else open_session(database, *found, now, by)


def decided(database: Connection, device_code: str, kind: str, now: float) -> tuple[str, str] | str:
    """As which user of which team one is let in, once; else the error of RFC 8628. Either is to be committed."""
    this = (grants.c.device_digest == digest_of(device_code)) & (grants.c.kind == kind)
    found = database.execute(select(grants).where(this)).first()
    if found is None or found.expires_at <= now:
        return "expired_token"
    if found.state == "pending":
        early = found.polled_at is not None and now < found.polled_at + found.interval
        interval = found.interval + SLOWER if early else found.interval
        database.execute(update(grants).where(this).values(polled_at=now, interval=interval))
        return "slow_down" if early else "authorization_pending"
    if not database.execute(delete(grants).where(this)).rowcount:  # another process was first
        return "expired_token"
    if found.state == "denied" or member(database, found.user_id, found.team_id) is None:
        return "access_denied"
    return found.user_id, found.team_id


def _waits(user_code: str, now: float) -> ColumnElement[bool]:
    # By its digest: how long it takes to look for a code says nothing of the codes that there are.
    known = grants.c.user_digest == _user_digest(user_code)
    return known & (grants.c.state == "pending") & (grants.c.expires_at > now)


def _user_digest(user_code: str) -> str:
    return digest_of("".join(one for one in user_code.upper() if one.isalnum()))
