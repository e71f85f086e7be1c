"""Users, teams, and who may do what in which. A team is a tenant: what it has, no other sees."""

from __future__ import annotations

import re
import uuid
from typing import Any

from attrs import frozen
from sqlalchemy import Connection, insert, select, update

from kitty_host.api import KittyError
from kitty_sync.hub.schema import members, teams, users

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


def add(database: Connection, email: str, slug: str, role: str) -> Member:
    """Put somebody into a team, or give another role there; both are made where they are new. Errors: `ACCOUNT_INVALID`."""
    email = email.lower()
    if not _EMAIL.fullmatch(email):
        raise KittyError("ACCOUNT_INVALID", f"{email!r} is no address of mail", "give one such as ada@example.org")
    if not _SLUG.fullmatch(slug):
        raise KittyError("ACCOUNT_INVALID", f"{slug!r} is no name of a team", "use a-z, 0-9 and -, 63 at most")
    user_id = database.scalar(select(users.c.id).where(users.c.email == email))
    if user_id is None:
        user_id = str(uuid.uuid4())
        database.execute(insert(users).values(id=user_id, email=email, name=email.partition("@")[0]))
    team_id = database.scalar(select(teams.c.id).where(teams.c.slug == slug))
    if team_id is None:
        team_id = str(uuid.uuid4())
        database.execute(insert(teams).values(id=team_id, slug=slug, name=slug, last_seq=0))
    here = (members.c.user_id == user_id) & (members.c.team_id == team_id)
    if not database.execute(update(members).where(here).values(role=role)).rowcount:
        database.execute(insert(members).values(user_id=user_id, team_id=team_id, role=role))
    return memberships(database, email, slug)[0]


def memberships(database: Connection, email: str, slug: str | None = None) -> list[Member]:
    """The teams that somebody is in, or the one that is meant; none for a stranger."""
    query = _MEMBERS.where(users.c.email == email.lower())
    if slug is not None:
        query = query.where(teams.c.slug == slug)
    return [Member(*row) for row in database.execute(query)]


def member(database: Connection, user_id: str, team_id: str) -> Member | None:
    """Somebody in a team as it is now; None who is no longer there."""
    row = database.execute(_MEMBERS.where(users.c.id == user_id, teams.c.id == team_id)).first()
    return Member(*row) if row else None


_MEMBERS = (
    select(users.c.id, users.c.email, users.c.name, teams.c.id, teams.c.slug, teams.c.name, members.c.role)
    .join_from(members, users)
    .join(teams)
    .order_by(teams.c.slug)
)
