"""Users, teams, and who may do what in which. A team is a tenant: what it has, no other sees."""

from __future__ import annotations

import re
import time
import uuid
from typing import Any

from attrs import frozen
from sqlalchemy import Connection, bindparam, delete, insert, select, update

from kitty_host.api import KittyError
from kitty_sync.hub.audit import SOMEBODY, By, note
from kitty_sync.hub.schema import grants, links, members, sessions, teams, users, visits

OWNER, WRITER, READER = ROLES = ("owner", "writer", "reader")
_EMAIL = re.compile(r"[^\s@\x00-\x1f\x7f]{1,64}@[^\s@\x00-\x1f\x7f]{1,189}")
_SLUG = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")


@frozen
class Member:
    """Somebody in a team."""

    user_id: str
    email: str
    name: str
    team_id: str
    team_slug: str
    team_name: str
    role: str

    @property
    def may_write(self) -> bool:
        """Whether events are taken from this one."""
        return self.role in (OWNER, WRITER)

    def shown(self) -> dict[str, Any]:
        """Who this is, for programs."""
        return {
            "user": {"id": self.user_id, "email": self.email, "name": self.name},
            "team": {"id": self.team_id, "slug": self.team_slug, "name": self.team_name},
            "role": self.role,
        }


def add(
    database: Connection, email: str, slug: str, role: str, *, by: By = SOMEBODY, now: float | None = None
) -> Member:
    """Put somebody into a team, or give another role there; both are made where they are new. Errors: `ACCOUNT_INVALID`."""
    email = email.lower()
    if not _EMAIL.fullmatch(email):
        raise KittyError("ACCOUNT_INVALID", f"{email!r} is no address of mail", "give one such as ada@example.org")
    if not _SLUG.fullmatch(slug):
        raise KittyError("ACCOUNT_INVALID", f"{slug!r} is no name of a team", "use a-z, 0-9 and -, 63 at most")
    now = time.time() if now is None else now
    user_id = database.scalar(select(users.c.id).where(users.c.email == email))
    if user_id is None:
        user_id = str(uuid.uuid4())
        database.execute(insert(users).values(id=user_id, email=email, name=email.partition("@")[0]))
        note(database, by, "user.made", now, whom=email)
    team_id = database.scalar(select(teams.c.id).where(teams.c.slug == slug))
    if team_id is None:
        team_id = str(uuid.uuid4())
        database.execute(insert(teams).values(id=team_id, slug=slug, name=slug, last_seq=0))
        note(database, by, "team.made", now, team_id=team_id, what=slug)
    here = (members.c.user_id == user_id) & (members.c.team_id == team_id)
    before = database.scalar(select(members.c.role).where(here))
    if before is None:
        database.execute(insert(members).values(user_id=user_id, team_id=team_id, role=role))
    else:
        database.execute(update(members).where(here).values(role=role))
    if before != role:
        action = "member.added" if before is None else "member.role"
        note(database, by, action, now, whom=email, team_id=team_id, what=role)
    return memberships(database, email, slug)[0]


def remove(database: Connection, who: Member, now: float, by: By = SOMEBODY) -> None:
    """Take somebody out of a team: what was begun there as this one is over, at once and for ever, whoever comes back."""
    here = [
        (one.c.user_id == who.user_id) & (one.c.team_id == who.team_id)
        for one in (sessions, visits, links, grants, members)
    ]
    database.execute(update(sessions).where(here[0], sessions.c.revoked_at.is_(None)).values(revoked_at=now))
    database.execute(update(visits).where(here[1], visits.c.revoked_at.is_(None)).values(revoked_at=now))
    for table, this in ((links, here[2]), (grants, here[3]), (members, here[4])):
        database.execute(delete(table).where(this))
    note(database, by, "member.removed", now, whom=who.email, team_id=who.team_id)


def team_of(database: Connection, slug: str) -> str:
    """The id of a team. Errors: `TEAM_UNKNOWN`."""
    team_id: str | None = database.scalar(select(teams.c.id).where(teams.c.slug == slug))
    if team_id is None:
        raise KittyError("TEAM_UNKNOWN", f"there is no team {slug!r}", "run: kitty hub user list")
    return team_id


def exists(database: Connection, slug: str) -> bool:
    """Whether there is a team of this name."""
    return database.scalar(select(teams.c.id).where(teams.c.slug == slug)) is not None


def everybody(database: Connection, slug: str | None = None) -> list[Member]:
    """All members, of one team or of all."""
    query = _MEMBERS.order_by(users.c.email)
    if slug is not None:
        query = query.where(teams.c.slug == slug)
    return [Member(*row) for row in database.execute(query)]


def email_of(database: Connection, user_id: str) -> str:
    """The address of somebody; empty for nobody."""
    return database.scalar(select(users.c.email).where(users.c.id == user_id)) or ""


def memberships(database: Connection, email: str, slug: str | None = None) -> list[Member]:
    """The teams that somebody is in, or the one that is meant; none for a stranger."""
    query = _MEMBERS.where(users.c.email == email.lower())
    if slug is not None:
        query = query.where(teams.c.slug == slug)
    return [Member(*row) for row in database.execute(query)]


def member(database: Connection, user_id: str, team_id: str) -> Member | None:
    """Somebody in a team as it is now; None who is no longer there."""
    row = database.execute(_MEMBER, {"user": user_id, "team": team_id}).first()
    return Member(*row) if row else None


_MEMBERS = (
    select(users.c.id, users.c.email, users.c.name, teams.c.id, teams.c.slug, teams.c.name, members.c.role)
    .join_from(members, users)
    .join(teams)
    .order_by(teams.c.slug)
)
_MEMBER = _MEMBERS.where(users.c.id == bindparam("user"), teams.c.id == bindparam("team"))
