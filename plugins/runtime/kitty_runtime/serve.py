"""The board over HTTP: one page and one stream of events, on loopback, for who has the address, and for nobody else.

Other pages in the same browser are the danger: they can send requests to any port of this machine. So the address has a secret in it,
the host must be the loopback, nothing but GET is answered, and the page may run nothing but its own script. What the page is made
of is the caller's business.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import socket
from collections.abc import AsyncIterator, Callable

import uvicorn
from starlette.applications import Starlette
from starlette.datastructures import Headers, MutableHeaders, QueryParams
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from kitty_host.api import KittyError
from kitty_host.inert import visible
from kitty_host.loopback import HEADERS, LOCAL
from kitty_host.plugins import PluginFault
from kitty_host.records import Page
from kitty_runtime.stamp import INTERVAL, Stamp

_HOSTS = (str(LOCAL), "localhost")
_HEARTBEAT = 15.0
"""Seconds of silence after which a stream says that it is still there."""
_PATIENCE = 2
"""Seconds that requests have to come to an end once it is over."""

Draw = Callable[[QueryParams], Page]


def new_token() -> str:
    """A secret of 192 bits for the address."""
    return secrets.token_urlsafe(24)


def serve(listener: socket.socket, token: str, draw: Draw, look: Callable[[], Stamp]) -> None:
    """Answer until Ctrl-C, which raises `KeyboardInterrupt` once everything is closed.

    `draw` makes the page that a query asks for; what `look` gives changes whenever the page may.
    """
    server = uvicorn.Server(
        uvicorn.Config(
            application(token, draw, look, lambda: server.should_exit),
            http="h11",
            ws="none",
            lifespan="on",
            access_log=False,
            log_config=None,
            log_level="critical",
            server_header=False,
            date_header=False,
            timeout_graceful_shutdown=_PATIENCE,
        )
    )
    server.run([listener])


def application(token: str, draw: Draw, look: Callable[[], Stamp], is_over: Callable[[], bool]) -> ASGIApp:
    """The application: everything that is answered at all."""
    changes = _Changes()
    drawing = asyncio.Lock()

    async def page(request: Request) -> Response:
        # Git and the files are asked in a thread, by one request at a time, so that streams go on meanwhile.
        async with drawing:
            return await asyncio.to_thread(_drawn, draw, request.query_params)

    async def events(request: Request) -> Response:
        return StreamingResponse(changes.stream(), media_type="text/event-stream")

    @contextlib.asynccontextmanager
    async def watching(_: Starlette) -> AsyncIterator[None]:
        task = asyncio.create_task(changes.watch(look, is_over))
        yield
        task.cancel()

    routes = [Route("/{token}/", page), Route("/{token}/events", events)]
    answering = Starlette(routes=routes, lifespan=watching, exception_handlers={404: _nothing})
    answering.router.redirect_slashes = False
    return _Guard(answering, token)


class _Changes:
    """Counts the changes; who listens is told of each."""

    def __init__(self) -> None:
        self._number = 0
        self._over = False
        self._news = asyncio.Event()

    async def watch(self, look: Callable[[], Stamp], is_over: Callable[[], bool]) -> None:
        """Look twice a second, for everybody together."""
        seen = await asyncio.to_thread(look)
        while not is_over():
            await asyncio.sleep(INTERVAL)
            now = await asyncio.to_thread(look)
            if now != seen:
                seen = now
                self._number += 1
                self._tell()
        self._over = True
        self._tell()

    async def stream(self) -> AsyncIterator[str]:
        """Server-sent events: `changed` whenever there is something new, and a comment now and then."""
        told = self._number
        yield "retry: 1000\n\n"
        while not self._over:
            if told != self._number:
                told = self._number
                yield f"event: changed\ndata: {told}\n\n"
                continue
            try:
                await asyncio.wait_for(self._news.wait(), _HEARTBEAT)
            except TimeoutError:
                yield ": still here\n\n"

    def _tell(self) -> None:
        self._news.set()
        self._news = asyncio.Event()


class _Guard:
    """Refuses in as few words as there are, and puts the headers on everything that leaves."""

    def __init__(self, application: ASGIApp, token: str) -> None:
        self._application = application
        self._token = token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._application(scope, receive, send)
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await (self._refusal(scope) or self._application)(scope, receive, with_headers)

    def _refusal(self, scope: Scope) -> Response | None:
        host = Headers(scope=scope).get("host", "").partition(":")[0]
        token, slash, _ = scope["path"].removeprefix("/").partition("/")
        known = secrets.compare_digest(token.encode(errors="replace"), self._token)
        if host not in _HOSTS or not known or not slash:
            return Response(status_code=404)
        return None if scope["method"] == "GET" else Response(status_code=405, headers={"Allow": "GET"})


def _drawn(draw: Draw, query: QueryParams) -> Response:
    try:
        page = draw(query)
    except KittyError as error:
        return _said(str(error), 404 if error.code == "MISSION_NOT_FOUND" else 500)
    except PluginFault as error:
        return _said(str(error), 500)
    except Exception as error:  # noqa: BLE001 - a page that cannot be drawn ends nothing, and says so
        return _said(f"a fault: {error!r}", 500)
    return Response(page.html, media_type="text/html", headers={"Content-Security-Policy": page.policy})


def _said(text: str, status: int) -> Response:
    return PlainTextResponse(visible(text, lines=False) + "\n", status)


async def _nothing(request: Request, error: Exception) -> Response:
    return Response(status_code=404)
