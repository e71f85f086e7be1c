"""The device flow (RFC 8628): a program shows a code, a person approves or denies it, the program asks until it knows.

Both codes are known for 10 minutes, and the device code is taken once.
"""

from __future__ import annotations

import secrets

from attrs import frozen
from sqlalchemy import Connection, delete, func, insert, select, update

from kitty_host.api import KittyError
from kitty_sync.hub.accounts import Member
from kitty_sync.hub.refused import Refused
from kitty_sync.hub.schema import grants
from kitty_sync.hub.tokens import Pair, digest_of, open_session, secret

SECONDS = 600
INTERVAL = 2
"""Seconds between two questions about one code."""
SLOWER = 5
"""Seconds that are added for who asks sooner."""
WAITING = 1000
"""Codes that may wait for somebody at once."""
_LETTERS = "BCDFGHJKLMNPQRSTVWXZ"
"""No vowels: no words. 20 to the 8th codes, for ten minutes, 1,000 at most."""


@frozen
class Grant:
    """What a device is told."""

    device_code: str
    user_code: str


def begin(database: Connection, now: float) -> Grant:
    """Two new codes. Errors: `HUB_BUSY` (429), where too many wait."""
    database.execute(delete(grants).where(grants.c.expires_at <= now))
    if (database.scalar(select(func.count()).select_from(grants)) or 0) >= WAITING:
        raise Refused(429, "HUB_BUSY", "too many wait for approval", "ask again in a minute", {"Retry-After": "60"})
    code = "".join(secrets.choice(_LETTERS) for _ in range(8))
    grant = Grant(secret("khd_"), f"{code[:4]}-{code[4:]}")
    database.execute(
        insert(grants).values(
            device_digest=digest_of(grant.device_code),
            user_code=grant.user_code,
            state="pending",
            expires_at=now + SECONDS,
            interval=INTERVAL,
        )
    )
    return grant


def decide(database: Connection, user_code: str, who: Member, now: float, *, approve: bool) -> None:
    """Let a device in as somebody, or not. Errors: `USER_CODE_UNKNOWN`."""
    plain = "".join(one for one in user_code.upper() if one.isalnum())
    waits = (
        (grants.c.user_code == f"{plain[:4]}-{plain[4:]}") & (grants.c.state == "pending") & (grants.c.expires_at > now)
    )
    values = {"state": "approved" if approve else "denied", "user_id": who.user_id, "team_id": who.team_id}
    if not database.execute(update(grants).where(waits).values(values)).rowcount:
        raise KittyError(
            "USER_CODE_UNKNOWN", "no device waits with this code", "log in again there, and take the code that it shows"
        )


def poll(database: Connection, device_code: str, now: float) -> Pair | str:
    """The tokens, once, or the error of RFC 8628 that says why not. Either is to be committed."""
    this = grants.c.device_digest == digest_of(device_code)
    found = database.execute(select(grants).where(this)).first()
    if found is None or found.expires_at <= now:
        return "expired_token"
    if found.state == "pending":
        early = found.polled_at is not None and now < found.polled_at + found.interval
        interval = found.interval + SLOWER if early else found.interval
        database.execute(update(grants).where(this).values(polled_at=now, interval=interval))
        return "slow_down" if early else "authorization_pending"
    database.execute(delete(grants).where(this))
    return "access_denied" if found.state == "denied" else open_session(database, found.user_id, found.team_id, now)
