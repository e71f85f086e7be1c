"""The calls of kitty's own protocol: who I am, a batch of events in, events out by page or as they come."""

from __future__ import annotations

from collections.abc import Awaitable
from functools import partial
from typing import TYPE_CHECKING, Any

from attrs import asdict
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from kitty_sync.hub import bodies, ingest, read, tokens
from kitty_sync.hub.accounts import Member
from kitty_sync.hub.error import HubError

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from kitty_sync.hub.app import Hub


def routes(hub: Hub) -> list[Route]:
    """These calls, of one hub."""

    async def me(request: Request) -> Response:
        """Who asks."""
        return JSONResponse((await hub.member(request)).shown())

    async def add(request: Request) -> Response:
        """Take a batch."""
        who = await hub.member(request)
        if not who.may_write:
            raise HubError("ROLE_FORBIDDEN", 403, f"a {who.role} may not add events", "ask an owner for another role")
        body = await bodies.sent(request)
        encoding = request.headers.get("content-encoding", "").strip().lower()
        judged = await run_in_threadpool(_judged, body, encoding, who)
        results, last = await hub.write(_stored, who.team_id, judged)
        hub.live.ring(who.team_id)
        hub.metrics.took(one.status for one in results)
        return JSONResponse({"results": [asdict(one) for one in results], "cursor": read.cursor_of(last)})

    async def events(request: Request) -> Response:
        """A page."""
        who = await hub.member(request)
        query = request.query_params
        ask = partial(
            read.page,
            after=read.position_of(query.get("after", "")),
            project=query.get("project", ""),
            mission=query.get("mission", ""),
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
        look = _look(hub, request, who, query.get("project", ""))
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        told = hub.live.stream(who.team_id, after, look)
        return StreamingResponse(told, media_type="text/event-stream", headers=headers)

    return [
        Route("/v1/me", me),
        Route("/v1/events", events),
        Route("/v1/events", add, methods=["POST"]),
        Route("/v1/events/stream", stream),
    ]


def _look(hub: Hub, request: Request, who: Member, project: str) -> Any:
    """What comes after a position; None for who may not listen any more."""
    token = bodies.bearer(request)

    def next_page(database: Connection, position: int) -> read.Page | None:
        now = tokens.holder(database, token, hub.clock())
        if now is None or now.team_id != who.team_id:
            return None
        return read.page(database, who.team_id, position, project=project)

    def look(position: int) -> Awaitable[read.Page | None]:
        return hub.read(next_page, position)

    return look


def _judged(body: bytes, encoding: str, who: Member) -> list[ingest.Candidate | ingest.Result]:
    return ingest.judge(bodies.parsed(bodies.inflated(body, encoding)), who)


def _stored(
    database: Connection, team_id: str, judged: list[ingest.Candidate | ingest.Result], now: float
) -> tuple[list[ingest.Result], int]:
    return ingest.store(database, team_id, judged, now), ingest.last_position(database, team_id)


def _limit(text: str) -> int:
    if not text:
        return read.USUAL
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:9]) <= read.MOST):
        raise HubError("QUERY_INVALID", 400, f"limit is no number from 1 to {read.MOST}", "leave it out")
    return int(text)
