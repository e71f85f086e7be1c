"""The hub as an application: which rooms answer, and the form of every refusal.

The calls themselves are in rooms of their own, each a function `routes(hub)`. Whoever is not let in has had nothing but headers read. All
work on the database is done in threads; an answer is sent after its transaction.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from concurrent.futures import Future
from functools import partial
from typing import Any, TypeVar

from attrs import define, field
from sqlalchemy.exc import SQLAlchemyError
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.types import ASGIApp

from kitty_host.plugins import Plugins
from kitty_host.report import ERROR_SCHEMA, shown
from kitty_sync.hub import board, bodies, ingest, metrics, oauth, openapi, pages, read, released, tokens, v1
from kitty_sync.hub.accounts import Member
from kitty_sync.hub.answer import JsonAnswer
from kitty_sync.hub.around import Around
from kitty_sync.hub.error import HubError, busy, no_token
from kitty_sync.hub.limits import Limits
from kitty_sync.hub.live import Live
from kitty_sync.hub.metrics import Metrics
from kitty_sync.hub.store import Store

STREAMS = 200
"""To how many a member of a team may listen at once, at each process."""
T = TypeVar("T")


@define
class Hub:
    """One hub: what it keeps, who listens to it, where it is, what time it is."""

    store: Store
    address: str
    """What it calls itself."""
    clock: Callable[[], float] = time.time
    live: Live = field(factory=Live)
    plugins: Plugins | None = None
    """Whoever draws the board."""
    limits: Limits = field(factory=Limits)
    metrics: Metrics = field(factory=Metrics)
    behind_proxy: bool = False
    """Whether everybody but this machine comes through a proxy, which says who it is."""
    closing: bool = False
    crowded: Callable[[], bool] = lambda: False
    """Whether there are as many connections as there may be."""
    _patterns: dict[Any, str] = field(factory=dict, init=False)
    _listening: Counter[tuple[str, str]] = field(factory=Counter, init=False)

    def application(self) -> Starlette:
        """Everything that is answered."""
        routes: list[BaseRoute] = [
            Route("/healthz", _healthy),
            Route("/readyz", self._ready),
            *oauth.routes(self),
            *pages.routes(self),
            *metrics.routes(self),
            *v1.routes(self),
            *released.routes(self),
            *openapi.routes(self),
            *board.routes(self),
        ]
        self._patterns = {one.endpoint: one.path for one in routes if isinstance(one, Route | WebSocketRoute)}
        handlers: dict[Any, Any] = {HubError: self._refused, HTTPException: self._unknown, Exception: self._fault}
        return _Application(self, routes=routes, exception_handlers=handlers)

    # What the rooms of calls need

    async def member(self, request: Request) -> Member:
        """Who asks. Errors: `TOKEN_REJECTED` (401), `HUB_BUSY` (429)."""
        token = bodies.bearer(request)
        who: Member | None = await self.read(tokens.holder, token, self.clock())
        if who is None:
            raise no_token("the token is over, or none of this hub")
        request.state.who = who
        if request.scope.get("method") not in (None, "GET", "HEAD"):
            self.limits.batch(token)
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
        kept = self.store.later(change, adds=True, team=team_id)
        # Whoever sent it may have gone by then; those who listen are told all the same.
        loop = asyncio.get_running_loop()

        def tell(_: Future[Any]) -> None:
            with contextlib.suppress(RuntimeError):  # the hub has ended
                loop.call_soon_threadsafe(self.live.ring, team_id)

        kept.add_done_callback(tell)
        return await asyncio.wrap_future(kept)

    async def listen(self, who: Member, told: AsyncIterator[T]) -> AsyncGenerator[T, None]:
        """The same, counted as one that this member listens to; see `may_listen`."""
        self._listening[who.user_id, who.team_id] += 1
        try:
            async for one in told:
                yield one
        finally:
            self._listening[who.user_id, who.team_id] -= 1

    def may_listen(self, who: Member) -> None:
        """Nobody takes the connections of all. Errors: `HUB_BUSY` (429)."""
        if self._listening[who.user_id, who.team_id] >= STREAMS:
            message = f"{who.email} listens {STREAMS} times already"
            raise HubError("HUB_BUSY", 429, message, "end some of them", {"Retry-After": "60"})

    # What every answer has

    def refusal(self, error: HubError) -> Response:
        """How a refusal is answered."""
        self.metrics.refused(error.code)
        return JsonAnswer({"schema": ERROR_SCHEMA, **shown(error)}, error.status, headers=error.headers)

    def pattern_of(self, endpoint: Any) -> str:
        """The path of a call as it is written down here; empty for none."""
        return self._patterns.get(endpoint, "")

    async def _ready(self, request: Request) -> Response:
        """Whether the database answers, and the hub is not about to end."""
        if self.closing:
            raise busy("the hub is about to end")
        try:
            await self.read(read.page, "", read.START)
        except (SQLAlchemyError, HubError) as error:
            raise busy("the database does not answer") from error
        return await _healthy(request)

    async def _refused(self, _: Request, error: HubError) -> Response:
        return self.refusal(error)

    async def _unknown(self, _: Request, error: HTTPException) -> Response:
        message = "there is no such call" if error.status_code == 404 else error.detail
        return self.refusal(
            HubError("CALL_UNKNOWN", error.status_code, message, "see docs/hub.md of kitty", error.headers)
        )

    async def _fault(self, _: Request, __: Exception) -> Response:
        return self.refusal(HubError("FAULT", 500, "a fault in the hub", "its log says more"))


class _Application(Starlette):
    """The calls, and around all of them, faults included, what every answer has."""

    def __init__(self, hub: Hub, **calls: Any) -> None:
        super().__init__(**calls)
        self.hub = hub

    def build_middleware_stack(self) -> ASGIApp:
        return Around(super().build_middleware_stack(), self.hub)


async def _healthy(_: Request) -> Response:
    return JsonAnswer({"status": "ok"})
