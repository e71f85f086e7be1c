"""Who asks, in that client's words, and whether all is well.

It sends only if a person has a private team, which here stands for the person within the team of the token, and it asks for trackers
only if there is exactly one other. It takes the address of mail for the account.
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from kitty_sync.hub import bodies
from kitty_sync.hub.accounts import Member
from kitty_sync.hub.answer import JsonAnswer
from kitty_sync.hub.error import no_token
from kitty_sync.hub.released.answers import answering
from kitty_sync.hub.released.sessions import session_of

if TYPE_CHECKING:
    from kitty_sync.hub.app import Hub


def routes(hub: Hub) -> list[BaseRoute]:
    """These calls, of one hub."""

    @answering
    async def me(request: Request) -> Response:
        """Who asks."""
        return JsonAnswer(shown(await hub.member(request)))

    @answering
    async def session(request: Request) -> Response:
        """The session of the token."""
        who = await hub.member(request)
        session_id = await hub.read(session_of, bodies.bearer(request), hub.clock())
        if session_id is None:
            raise no_token("the token is over")
        return JsonAnswer({"session_id": session_id, "active": True, "email": who.email, "team": who.team_slug})

    @answering
    async def sync(request: Request) -> Response:
        """Whether who asks is let in."""
        who = await hub.member(request)
        return JsonAnswer({"status": "ok", "may_write": who.may_write})

    return [
        Route("/api/v1/me", me),
        Route("/api/v1/session-status", session),
        Route("/api/v1/sync/health/", sync),
        Route("/api/v1/health", _healthy),
    ]


def shown(who: Member) -> dict[str, Any]:
    """Somebody as that client wants it."""
    private = {"id": private_team(who), "name": f"{who.name} in {who.team_name}", "is_private_teamspace": True}
    team = {"id": who.team_slug, "name": who.team_name, "is_private_teamspace": False}
    teams = [{**one, "slug": one["id"], "role": who.role} for one in (private, team)]
    return {"user_id": who.email, "email": who.email, "name": who.name, "teams": teams}


def private_team(who: Member) -> str:
    """The private team of somebody: another one for each team, since that client counts by it what it has delivered where."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"{who.team_id}/{who.user_id}"))


async def _healthy(_: Request) -> Response:
    return JsonAnswer({"status": "ok"})
