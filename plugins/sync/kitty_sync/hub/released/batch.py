"""A batch of events. Each has its own result: a batch is refused whole only if it is none, or too large."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from kitty_sync.hub import bodies
from kitty_sync.hub.accounts import Member
from kitty_sync.hub.answer import JsonAnswer
from kitty_sync.hub.released import envelope
from kitty_sync.hub.released.answers import answering, may_write, spoken

if TYPE_CHECKING:
    from kitty_sync.hub.app import Hub


def routes(hub: Hub) -> list[BaseRoute]:
    """This call, of one hub."""

    @answering
    async def add(request: Request) -> Response:
        """Take a batch."""
        who = await hub.member(request)
        spoken(request.headers)
        may_write(who, "events")
        body = await bodies.sent(request, envelope.LARGEST)
        encoding = request.headers.get("content-encoding", "").strip().lower()
        judged = await run_in_threadpool(_judged, body, encoding, who)
        verdicts = await envelope.keep(hub, who.team_id, judged)
        return JsonAnswer({"results": [one.shown() for one in verdicts]})

    return [Route("/api/v1/events/batch/", add, methods=["POST"])]


def _judged(body: bytes, encoding: str, who: Member) -> list[envelope.Judged]:
    found = envelope.loaded(bodies.inflated(body, encoding, envelope.LARGEST))
    return envelope.judge(envelope.events_of(found), who)
