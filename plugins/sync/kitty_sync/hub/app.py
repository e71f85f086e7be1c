"""The calls of the hub: who may make them, what is taken from a request, what is answered.

Whoever is not let in has had nothing but headers read. All work on the database is done in threads; an answer is sent after its
transaction. What the calls mean is in the other rooms.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from attrs import asdict, define, field
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from kitty_host.report import ERROR_SCHEMA, shown
from kitty_sync.hub import bodies, device, ingest, read, tokens
from kitty_sync.hub.accounts import Member
from kitty_sync.hub.error import HubError
from kitty_sync.hub.live import Live
from kitty_sync.hub.store import Store

_DEVICE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"
_CLIENT, _SCOPE = "cli_native", "offline_access"
_SECRET = {"Cache-Control": "no-store", "Pragma": "no-cache"}


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
            Route("/readyz", self.ready),
            Route("/activate", _activate),
            Route("/oauth/device", self.begin_device, methods=["POST"]),
            Route("/oauth/token", self.token, methods=["POST"]),
            Route("/oauth/revoke", self.revoke, methods=["POST"]),
            Route("/v1/me", self.me),
            Route("/v1/events", self.events),
            Route("/v1/events", self.add_events, methods=["POST"]),
            Route("/v1/events/stream", self.stream),
        ]
        handlers: dict[Any, Any] = {HubError: _refused, HTTPException: _unknown, Exception: _fault}
        return Starlette(routes=routes, exception_handlers=handlers)

    # Logging in

    async def ready(self, request: Request) -> Response:
        """Whether the database answers."""
        await run_in_threadpool(self._look)
        return await _healthy(request)

    async def begin_device(self, request: Request) -> Response:
        """Two codes for a device."""
        said = await bodies.form(request)
        if said.get("client_id") != _CLIENT:
            return _oauth_error("invalid_client")
        grant = await run_in_threadpool(self._written, device.begin)
        place = f"{self.address}/activate"
        codes = {"device_code": grant.device_code, "user_code": grant.user_code, "verification_uri": place}
        complete = f"{place}?user_code={grant.user_code}"
        times = {"expires_in": device.SECONDS, "interval": device.INTERVAL}
        return JSONResponse({**codes, "verification_uri_complete": complete, **times}, headers=_SECRET)

    async def token(self, request: Request) -> Response:
        """Tokens for a device code that was approved, or for a refresh token."""
        said = await bodies.form(request)
        if said.get("client_id") != _CLIENT:
            return _oauth_error("invalid_client")
        ways = {_DEVICE_GRANT: (device.poll, "device_code"), "refresh_token": (tokens.rotate, "refresh_token")}
        if said.get("grant_type") not in ways:
            return _oauth_error("unsupported_grant_type")
        way, name = ways[said["grant_type"]]
        if not said.get(name):
            return _oauth_error("invalid_request")
        answer = await run_in_threadpool(self._written, way, said[name])
        if not isinstance(answer, tokens.Pair):
            return _oauth_error(answer or "invalid_grant")
        rest = {"token_type": "Bearer", "expires_in": tokens.ACCESS_SECONDS, "scope": _SCOPE}
        return JSONResponse({**asdict(answer), **rest}, headers=_SECRET)

    async def revoke(self, request: Request) -> Response:
        """The family of a token ends."""
        token = (await bodies.form(request)).get("token", "")
        await run_in_threadpool(self._written, tokens.revoke, token)
        return JSONResponse({"revoked": True}, headers=_SECRET)

    async def me(self, request: Request) -> Response:
        """Who asks."""
        return JSONResponse((await self._member(request)).shown())

    # Events

    async def add_events(self, request: Request) -> Response:
        """Take a batch."""
        who = await self._member(request)
        if not who.may_write:
            raise HubError("ROLE_FORBIDDEN", 403, f"a {who.role} may not add events", "ask an owner for another role")
        body = await bodies.sent(request)
        encoding = request.headers.get("content-encoding", "").strip().lower()
        results, cursor = await run_in_threadpool(self._take, body, encoding, who)
        self.live.ring(who.team_id)
        return JSONResponse({"results": [asdict(one) for one in results], "cursor": cursor})

    async def events(self, request: Request) -> Response:
        """A page."""
        who = await self._member(request)
        query = request.query_params
        ask = partial(
            read.page,
            after=read.position_of(query.get("after", "")),
            project=query.get("project", ""),
            mission=query.get("mission", ""),
            limit=_limit(query.get("limit", "")),
        )
        page = await run_in_threadpool(self._read, ask, who.team_id)
        records = ",".join(record for _, record in page.records)
        more = "true" if page.more else "false"
        text = f'{{"events":[{records}],"cursor":"{read.cursor_of(page.position)}","more":{more}}}'
        return Response(text, media_type="application/json")

    async def stream(self, request: Request) -> Response:
        """Events as they come. Who was cut off says the last one it saw."""
        who = await self._member(request)
        query = request.query_params
        said = request.headers.get("last-event-id") or query.get("after", "")
        if said == read.LATEST:
            after = await run_in_threadpool(self._read, ingest.last_position, who.team_id)
        else:
            after = read.position_of(said)
        project, token = query.get("project", ""), _bearer(request)

        def look(position: int) -> Awaitable[read.Page | None]:
            return run_in_threadpool(self._next, token, who, position, project)

        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        told = self.live.stream(who.team_id, after, look)
        return StreamingResponse(told, media_type="text/event-stream", headers=headers)

    # In threads

    async def _member(self, request: Request) -> Member:
        who: Member | None = await run_in_threadpool(self._read, tokens.holder, _bearer(request), self.clock())
        if who is None:
            raise _no_token("the token is over, or none of this hub")
        return who

    def _take(self, body: bytes, encoding: str, who: Member) -> tuple[list[ingest.Result], str]:
        judged = ingest.judge(bodies.parsed(bodies.inflated(body, encoding)), who)
        with self.store.writing() as database:
            results = ingest.store(database, who.team_id, judged, self.clock())
            last = ingest.last_position(database, who.team_id)
        return results, read.cursor_of(last)

    def _next(self, token: str, who: Member, position: int, project: str) -> read.Page | None:
        with self.store.reading() as database:
            now = tokens.holder(database, token, self.clock())
            if now is None or now.team_id != who.team_id:
                return None
            return read.page(database, who.team_id, position, project=project)

    def _look(self) -> None:
        with self.store.reading() as database:
            read.page(database, "", read.START, limit=1)

    def _read(self, ask: Callable[..., Any], *values: Any) -> Any:
        with self.store.reading() as database:
            return ask(database, *values)

    def _written(self, change: Callable[..., Any], *values: Any) -> Any:
        with self.store.writing() as database:
            return change(database, *values, self.clock())


def _bearer(request: Request) -> str:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise _no_token("there is no token")
    return token.strip()


def _no_token(message: str) -> HubError:
    return HubError("TOKEN_REJECTED", 401, message, "log in again", {"WWW-Authenticate": "Bearer"})


def _limit(text: str) -> int:
    if not text:
        return read.USUAL
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:9]) <= read.MOST):
        raise HubError("QUERY_INVALID", 400, f"limit is no number from 1 to {read.MOST}", "leave it out")
    return int(text)


def _oauth_error(error: str) -> Response:
    return JSONResponse({"error": error}, 400, headers=_SECRET)


async def _healthy(_: Request) -> Response:
    return JSONResponse({"status": "ok"})


async def _activate(_: Request) -> Response:
    """Until there is a page: what to do."""
    return PlainTextResponse("On the machine of the hub: kitty hub user approve EMAIL CODE\n")


async def _refused(_: Request, error: HubError) -> Response:
    return JSONResponse({"schema": ERROR_SCHEMA, **shown(error)}, error.status, headers=error.headers)


async def _unknown(request: Request, error: HTTPException) -> Response:
    message = "there is no such call" if error.status_code == 404 else error.detail
    refused = HubError("CALL_UNKNOWN", error.status_code, message, "see docs/hub.md of kitty", error.headers)
    return await _refused(request, refused)


async def _fault(request: Request, _: Exception) -> Response:
    return await _refused(request, HubError("FAULT", 500, "a fault in the hub", "its log says more"))
