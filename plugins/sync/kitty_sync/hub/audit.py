"""What was done to accounts, roles, tokens and sessions, and what of it was refused: who, whom, when, from where.

An entry is written in the transaction of its change, so that there is neither without the other. No entry holds a secret, and none is
ever changed. That a session got new tokens is not among them: when it last did stands with the session.
"""

from __future__ import annotations

import getpass
from typing import TYPE_CHECKING, Any

from attrs import frozen
from sqlalchemy import Connection, insert, select

from kitty_sync.hub.schema import audit, teams

if TYPE_CHECKING:
    from starlette.requests import Request


@frozen
class By:
    """Who does something, and from where."""

    who: str
    """An address of mail; of a command, the user of the machine; empty for somebody who is not known."""
    where: str
    """An address of the network, or `command`."""


SOMEBODY = By("", "command")


def by_command() -> By:
    """The user of this machine who runs a command."""
    try:
        return By(getpass.getuser(), "command")
    except (OSError, KeyError):  # one without a name
        return SOMEBODY


def by_request(request: Request, who: str = "") -> By:
    """Who sent a request, as far as it is known."""
    return By(who, request.client.host if request.client else "")


def note(
    database: Connection, by: By, action: str, now: float, *, whom: str = "", team_id: str | None = None, what: str = ""
) -> None:
    """Add an entry. `what` is an id or a word that says more, never a secret."""
    entry = {"at": now, "action": action, "who": by.who, "whom": whom, "team_id": team_id, "what": what}
    database.execute(insert(audit).values(**entry, address=by.where))


def refused(database: Connection, by: By, action: str, team_id: str | None, now: float) -> None:
    """Add an entry of something that was not done."""
    note(database, by, action, now, team_id=team_id)


def entries(database: Connection, slug: str | None, limit: int) -> list[dict[str, Any]]:
    """The last entries, of one team or of all, the oldest first."""
    query = (
        select(audit.c.at, audit.c.action, audit.c.who, audit.c.whom, teams.c.slug, audit.c.what, audit.c.address)
        .join_from(audit, teams, audit.c.team_id == teams.c.id, isouter=True)
        .order_by(audit.c.id.desc())
        .limit(limit)
    )
    if slug is not None:
        query = query.where(teams.c.slug == slug)
    names = ("at", "action", "who", "whom", "team", "what", "from")
    return [dict(zip(names, row, strict=True)) for row in reversed(database.execute(query).all())]
