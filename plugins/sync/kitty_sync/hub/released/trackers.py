"""What that client asks about trackers and about admission. This hub has neither, and says so in the form in which it is shown.

kitty exchanges with a tracker from where the work is (`kitty tracker`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from kitty_sync.hub import bodies
from kitty_sync.hub.accounts import Member
from kitty_sync.hub.answer import JsonAnswer
from kitty_sync.hub.error import HubError
from kitty_sync.hub.released.answers import answering

if TYPE_CHECKING:
    from kitty_sync.hub.app import Hub

_ANY = ["GET", "POST", "PUT", "DELETE"]
_TRACKER = "/api/v1/tracker/"


def routes(hub: Hub) -> list[BaseRoute]:
    """These calls, of one hub."""

    async def member(request: Request) -> Member:
        """Who asks, for the team that is named. Errors: `TOKEN_REJECTED`, `TENANT_CLAIMED` (403)."""
        who = await hub.member(request)
        if request.headers.get("x-team-slug", who.team_slug) != who.team_slug:
            raise HubError("TENANT_CLAIMED", 403, "X-Team-Slug is not the team of the token", "log in to that team")
        return who

    @answering
    async def resources(request: Request) -> Response:
        """What could be bound: nothing."""
        await member(request)
        return JsonAnswer({"provider": request.query_params.get("provider", "")[:80], "resources": []})

    @answering
    async def status(request: Request) -> Response:
        """What is bound: nothing."""
        await member(request)
        provider = request.query_params.get("provider", "")[:80]
        nothing = {
            "configured": False,
            "connected": False,
            "sync_state": "unavailable",
            "bindings": [],
            "resource_count": 0,
        }
        return JsonAnswer({"provider": provider, **nothing})

    @answering
    async def mappings(request: Request) -> Response:
        """Which fields correspond: none."""
        await member(request)
        return JsonAnswer({"mappings": []})

    @answering
    async def resolve(request: Request) -> Response:
        """What a project could be bound to: nothing."""
        await member(request)
        await bodies.sent(request)
        return JsonAnswer({"match_type": "none", "candidates": []})

    @answering
    async def absent(request: Request) -> Response:
        """Everything else about trackers."""
        await member(request)
        message = "this hub has no trackers"
        raise HubError("TRACKERS_ABSENT", 404, message, "bind one where the work is, with kitty tracker bind")

    @answering
    async def admission(request: Request) -> Response:
        """Projects need none."""
        await hub.member(request)
        message = "this hub asks for no admission of projects"
        error = HubError("PROJECT_SYNC_ADMISSION_NOT_FOUND", 404, message, "leave SPEC_KITTY_SYNC_STRICT_ADMISSION out")
        raise error

    return [
        Route(f"{_TRACKER}resources/", resources),
        Route(f"{_TRACKER}status/", status),
        Route(f"{_TRACKER}mappings/", mappings),
        Route(f"{_TRACKER}bind-resolve/", resolve, methods=["POST"]),
        Route(_TRACKER + "{rest:path}", absent, methods=_ANY),
        Route("/api/v1/sync/projects/{project}/sync-admission/", admission, methods=_ANY),
    ]
