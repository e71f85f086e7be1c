"""The calls of kitty's own protocol: who I am, a batch of events in, events out by page or as they come."""

from __future__ import annotations

import uuid
from collections.abc import Awaitable
from functools import partial
from typing import TYPE_CHECKING

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from kitty_sync.hub import bodies, ingest, read
from kitty_sync.hub.accounts import Member
from kitty_sync.hub.answer import JsonAnswer
from kitty_sync.hub.error import HubError
from kitty_sync.hub.live import Looks, Place

if TYPE_CHECKING:
    from kitty_sync.hub.app import Hub


def routes(hub: Hub) -> list[Route]:
    """These calls, of one hub."""
    looks = Looks(hub.read, hub.clock)

    async def me(request: Request) -> Response:
        """Who asks."""
        return JsonAnswer((await hub.member(request)).shown())

    async def add(request: Request) -> Response:
        """Take a batch."""
        who = await hub.member(request)
        if not who.may_write:
            raise HubError("ROLE_FORBIDDEN", 403, f"a {who.role} may not add events", "ask an owner for another role")
        body = await bodies.sent(request)
        encoding = request.headers.get("content-encoding", "").strip().lower()
        judged = await run_in_threadpool(_judged, body, encoding, who)
        results, last = await hub.add(who.team_id, judged)
        hub.metrics.took(one.status for one in results)
        return JsonAnswer({"results": [one._asdict() for one in results], "cursor": read.cursor_of(last)})

    async def events(request: Request) -> Response:
        """A page."""
        who = await hub.member(request)
        query = request.query_params
        ask = partial(
            read.page,
            after=read.position_of(query.get("after", "")),
            project=_project(query.get("project", "")),
            mission=_name(query.get("mission", "")),
            limit=_limit(query.get("limit", "")),
        )
        page = await hub.read(ask, who.team_id)
        records = ",".join(record for _, record in page.records)
        more = "true" if page.more else "false"
        text = f'{{"events":[{records}],"cursor":"{read.cursor_of(page.position)}","more":{more}}}'
        return Response(text, media_type="application/json")

    async def stream(request: Request) -> Response:
        """Events as they come. Who was cut off says the last one it saw."""
        who = await hub.member(request)
        query = request.query_params
        said = request.headers.get("last-event-id") or query.get("after", "")
        if said == read.LATEST:
            after = await hub.read(ingest.last_position, who.team_id)
        else:
            after = read.position_of(said)
        token, project = bodies.bearer(request), _project(query.get("project", ""))

        def look(position: int) -> Awaitable[read.Page | None]:
            return looks.look(Place(who.team_id, project, position), token)

        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        hub.may_listen(who)
        told = hub.listen(who, hub.live.stream(who.team_id, after, look))
        return StreamingResponse(told, media_type="text/event-stream", headers=headers)

    return [
        Route("/v1/me", me),
        Route("/v1/events", events),
        Route("/v1/events", add, methods=["POST"]),
        Route("/v1/events/stream", stream),
    ]


def _judged(body: bytes, encoding: str, who: Member) -> list[ingest.Candidate | ingest.Result]:
    return ingest.judge(bodies.parsed(bodies.inflated(body, encoding)), who)


def _limit(text: str) -> int:
    if not text:
        return read.USUAL
    if not (text.isascii() and text.isdigit() and len(text) < 10 and 1 <= int(text) <= read.MOST):
        raise HubError("QUERY_INVALID", 400, f"limit is no number from 1 to {read.MOST}", "leave it out")
    return int(text)


def _project(text: str) -> str:
    """A project in the spelling in which it is kept; empty for all."""
    if not text:
        return ""
    try:
        return str(uuid.UUID(text))
    except ValueError:
        raise HubError("QUERY_INVALID", 400, "project is no UUID", "leave it out") from None


def _name(text: str) -> str:
    if "\0" in text:
        raise HubError(
            "QUERY_INVALID", 400, "nothing has a name with NUL in it", "see the table of calls in docs/hub.md"
        )
    return text
