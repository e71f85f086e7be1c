"""Tokens: 256 random bits with a prefix that says what they are, kept as SHA-256.

A session is a family of tokens. An access token lasts 15 minutes. Who refreshes gets a new pair; the refresh token that was used is
taken for 30 seconds more, since an answer can be lost, and after that its use means that there are two who have it: the family ends.
"""

from __future__ import annotations

import hashlib
import secrets
import uuid
from collections.abc import Collection
from typing import Any

from attrs import frozen
from sqlalchemy import Connection, Table, bindparam, delete, insert, select, update

from kitty_sync.hub.accounts import Member, email_of, member
from kitty_sync.hub.audit import SOMEBODY, By, note
from kitty_sync.hub.schema import members, passes, sessions, tokens, users

ACCESS_SECONDS = 15 * 60
REFRESH_SECONDS = 90 * 24 * 3600
"""Who has not been here for so long logs in again."""
GRACE_SECONDS = 30
_PREFIX = {"access": "kha_", "refresh": "khr_"}


# Built once, as each call asks for it.
_HOLDER = (
    select(sessions.c.user_id, sessions.c.team_id)
    .join_from(tokens, sessions)
    .where(
        tokens.c.digest == bindparam("digest"),
        tokens.c.kind == "access",
        tokens.c.expires_at > bindparam("now"),
        sessions.c.revoked_at.is_(None),
    )
)


@frozen
class Pair:
    """What a client is given once, and nobody can read again."""

    session_id: str
    access_token: str
    refresh_token: str


def secret(prefix: str) -> str:
    """A new one."""
    return prefix + secrets.token_urlsafe(32)


def digest_of(token: str) -> str:
    """What is kept of a secret. It has 256 random bits, so that no salt and no slow hash is needed."""
    return hashlib.sha256(token.encode(errors="surrogatepass")).hexdigest()


def open_session(database: Connection, user_id: str, team_id: str, now: float, by: By = SOMEBODY) -> Pair:
    """Begin a family of tokens."""
    _forget(database, now)
    session_id = str(uuid.uuid4())
    row = {"id": session_id, "user_id": user_id, "team_id": team_id, "created_at": now, "used_at": now}
    database.execute(insert(sessions).values(row))
    note(database, by, "session.opened", now, whom=email_of(database, user_id), team_id=team_id, what=session_id)
    return _issue(database, session_id, now)


def _forget(database: Connection, now: float) -> None:
    """Tokens that are over, and sessions that nobody used for so long that they are."""
    dead = select(sessions.c.id).where(sessions.c.used_at <= now - REFRESH_SECONDS)
    database.execute(delete(tokens).where((tokens.c.expires_at <= now) | tokens.c.session_id.in_(dead)))
    database.execute(delete(passes).where((passes.c.expires_at <= now) | passes.c.session_id.in_(dead)))
    database.execute(delete(sessions).where(sessions.c.used_at <= now - REFRESH_SECONDS))


def holder(database: Connection, token: str, now: float) -> Member | None:
    """Whose access token this is; None for one that is over, was revoked, or never was."""
    row = database.execute(_HOLDER, {"digest": digest_of(token), "now": now}).first()
    return member(database, *row) if row else None


def held(database: Connection, team_id: str, digests: Collection[str], now: float) -> set[str]:
    """Which of these are digests of access tokens of members of a team, that are not over."""
    query = (
        select(tokens.c.digest)
        .join_from(tokens, sessions)
        .join(members, (members.c.user_id == sessions.c.user_id) & (members.c.team_id == sessions.c.team_id))
        .where(
            tokens.c.digest.in_(digests),
            tokens.c.kind == "access",
            tokens.c.expires_at > now,
            sessions.c.revoked_at.is_(None),
            sessions.c.team_id == team_id,
        )
    )
    return set(database.scalars(query))


def rotate(database: Connection, token: str, now: float, by: By = SOMEBODY) -> Pair | None:
    """A new pair for a refresh token; None for one that is not taken.

    One that was used too long ago ends its family, so that None, too, is to be committed.
    """
    query = (
        select(tokens.c.session_id, tokens.c.replaced_at, sessions.c.user_id, sessions.c.team_id)
        .join_from(tokens, sessions)
        .where(
            tokens.c.digest == digest_of(token),
            tokens.c.kind == "refresh",
            tokens.c.expires_at > now,
            sessions.c.revoked_at.is_(None),
        )
    )
    found = database.execute(query).first()
    if found is None or member(database, found.user_id, found.team_id) is None:
        return None
    if found.replaced_at is None:
        database.execute(update(tokens).where(tokens.c.digest == digest_of(token)).values(replaced_at=now))
    elif now > found.replaced_at + GRACE_SECONDS:
        end(database, found.session_id, now, by, "session.stolen")
        return None
    database.execute(update(sessions).where(sessions.c.id == found.session_id).values(used_at=now))
    database.execute(delete(tokens).where(tokens.c.session_id == found.session_id, tokens.c.expires_at <= now))
    return _issue(database, found.session_id, now)


def revoke(database: Connection, token: str, now: float, by: By = SOMEBODY) -> None:
    """End the family of a token of either kind. A token that is not known is nobody's concern."""
    session_id = database.scalar(select(tokens.c.session_id).where(tokens.c.digest == digest_of(token)))
    if session_id is not None:
        end(database, session_id, now, by)


def end(
    database: Connection,
    session_id: str,
    now: float,
    by: By,
    action: str = "session.ended",
    *,
    kind: Table = sessions,
) -> bool:
    """End a session, of programs or of the table of another kind; whether there was one that could be ended."""
    query = select(users.c.email, kind.c.team_id).join_from(kind, users).where(kind.c.id == session_id)
    found = database.execute(query).first()
    alive = (kind.c.id == session_id) & kind.c.revoked_at.is_(None)
    if found is None or not database.execute(update(kind).where(alive).values(revoked_at=now)).rowcount:
        return False
    note(database, by, action, now, whom=found.email, team_id=found.team_id, what=session_id)
    return True


def alive(database: Connection, team_id: str, now: float, user_id: str | None = None) -> list[dict[str, Any]]:
    """The sessions of programs in a team, or those of one member, that are not over; the oldest first."""
    query = (
        select(sessions.c.id, users.c.email, sessions.c.created_at, sessions.c.used_at)
        .join_from(sessions, users)
        .join(members, (members.c.user_id == sessions.c.user_id) & (members.c.team_id == sessions.c.team_id))
        .where(
            sessions.c.team_id == team_id,
            sessions.c.revoked_at.is_(None),
            sessions.c.used_at > now - REFRESH_SECONDS,
        )
        .order_by(sessions.c.created_at, sessions.c.id)
    )
    if user_id is not None:
        query = query.where(sessions.c.user_id == user_id)
    return [{**row, "address": "", "kind": "program"} for row in database.execute(query).mappings()]


def _issue(database: Connection, session_id: str, now: float) -> Pair:
    pair = Pair(session_id, secret(_PREFIX["access"]), secret(_PREFIX["refresh"]))
    kinds = (("access", pair.access_token, ACCESS_SECONDS), ("refresh", pair.refresh_token, REFRESH_SECONDS))
    rows = [
        {"digest": digest_of(token), "session_id": session_id, "kind": kind, "expires_at": now + seconds}
        for kind, token, seconds in kinds
    ]
    database.execute(insert(tokens), rows)
    return pair
