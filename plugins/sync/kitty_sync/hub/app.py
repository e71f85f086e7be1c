"""The hub as an application: which rooms answer, and the form of every refusal.

The calls themselves are in rooms of their own, each a function `routes(hub)`. Whoever is not let in has had nothing but headers read. All
work on the database is done in threads; an answer is sent after its transaction.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from attrs import define, field
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from kitty_host.report import ERROR_SCHEMA, shown
from kitty_sync.hub import bodies, ingest, oauth, openapi, read, released, tokens, v1
from kitty_sync.hub.accounts import Member
from kitty_sync.hub.error import HubError, no_token
from kitty_sync.hub.live import Live
from kitty_sync.hub.store import Store


@define
class Hub:
    """One hub: what it keeps, who listens to it, where it is, what time it is."""

    store: Store
    address: str
    clock: Callable[[], float] = time.time
    live: Live = field(factory=Live)

    def application(self) -> Starlette:
        """Everything that is answered."""
        routes = [
            Route("/healthz", _healthy),
            Route("/readyz", self._ready),
            *oauth.routes(self),
            *v1.routes(self),
            *released.routes(self),
            *openapi.routes(self),
        ]
        handlers: dict[Any, Any] = {HubError: _refused, HTTPException: _unknown, Exception: _fault}
        return Starlette(routes=routes, exception_handlers=handlers)

    # What the rooms of calls need

    async def member(self, request: Request) -> Member:
        """Who asks. Errors: `TOKEN_REJECTED` (401)."""
        who: Member | None = await self.read(tokens.holder, bodies.bearer(request), self.clock())
        if who is None:
            raise no_token("the token is over, or none of this hub")
        return who

    async def read(self, ask: Callable[..., Any], *values: Any) -> Any:
        """What a function of a connection and of these values says."""

        def asked() -> Any:
            with self.store.reading() as database:
                return ask(database, *values)

        return await run_in_threadpool(asked)

    async def write(self, change: Callable[..., Any], *values: Any) -> Any:
        """What a function of a connection, of these values and of the time did; it is on disk then."""

        return await asyncio.wrap_future(self.store.later(lambda database: change(database, *values, self.clock())))

    async def add(
        self, team_id: str, judged: Sequence[ingest.Candidate | ingest.Result]
    ) -> tuple[list[ingest.Result], int]:
        """Keep the events of a batch, and wake who waits for them; what became of each, and where the team's events end now."""
        change = partial(ingest.add, team_id=team_id, judged=judged, now=self.clock())
        told = await asyncio.wrap_future(self.store.later(change, adds=True))
        self.live.ring(team_id)
        return told

    async def _ready(self, request: Request) -> Response:
        """Whether the database answers."""
        await self.read(read.page, "", read.START)
        return await _healthy(request)


async def _healthy(_: Request) -> Response:
    return JSONResponse({"status": "ok"})


async def _refused(_: Request, error: HubError) -> Response:
    return JSONResponse({"schema": ERROR_SCHEMA, **shown(error)}, error.status, headers=error.headers)


async def _unknown(request: Request, error: HTTPException) -> Response:
    message = "there is no such call" if error.status_code == 404 else error.detail
    refused = HubError("CALL_UNKNOWN", error.status_code, message, "see docs/hub.md of kitty", error.headers)
    return await _refused(request, refused)


async def _fault(request: Request, _: Exception) -> Response:
    return await _refused(request, HubError("FAULT", 500, "a fault in the hub", "its log says more"))
