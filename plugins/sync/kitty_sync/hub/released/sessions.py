"""The session behind a token, and passes: what lets a websocket in. A pass is taken once, within a minute."""

from __future__ import annotations

from sqlalchemy import Connection, delete, insert, select

from kitty_sync.hub.accounts import Member, member
from kitty_sync.hub.schema import passes, sessions, tokens
from kitty_sync.hub.tokens import digest_of, secret

PASS_SECONDS = 60


def session_of(database: Connection, token: str, now: float) -> str | None:
    """The session of an access token; None for one that is over."""
    alive = (tokens.c.digest == digest_of(token)) & (tokens.c.kind == "access") & (tokens.c.expires_at > now)
    found: str | None = database.scalar(
        select(sessions.c.id).join_from(tokens, sessions).where(alive, sessions.c.revoked_at.is_(None))
    )
    return found


def holder(database: Connection, session_id: str) -> Member | None:
    """Whose session this is; None for one that was ended, or of somebody who is no longer in the team."""
    alive = (sessions.c.id == session_id) & sessions.c.revoked_at.is_(None)
    row = database.execute(select(sessions.c.user_id, sessions.c.team_id).where(alive)).first()
    return member(database, *row) if row else None


def let_in(database: Connection, session_id: str, now: float) -> str:
    """A new pass."""
    database.execute(delete(passes).where(passes.c.expires_at <= now))
    made = secret("khw_")
    database.execute(
        insert(passes).values(digest=digest_of(made), session_id=session_id, expires_at=now + PASS_SECONDS)
    )
    return made


def redeem(database: Connection, shown: str, now: float) -> str | None:
    """The session of a pass, which is used up by this; None for one that is over."""
    found = known(database, shown, now)
    if found is None or not database.execute(delete(passes).where(passes.c.digest == digest_of(shown))).rowcount:
        return None
    return found if holder(database, found) else None


def known(database: Connection, shown: str, now: float) -> str | None:
    """The session of a pass that is not over, and stays. Whoever has none gets no further than this, which writes nothing."""
    this = (passes.c.digest == digest_of(shown)) & (passes.c.expires_at > now)
    found: str | None = database.scalar(select(passes.c.session_id).where(this))
    return found
