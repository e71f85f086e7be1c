"""A server with a login that fails as it is told to, and a port to which nothing may be sent: what a good hub never does."""

from __future__ import annotations

import asyncio
import gzip
import socket
import threading
import time
import zlib
from collections.abc import Callable
from functools import cache
from typing import Any


class Server:
    """A server with a login, on loopback, in a thread of its own: it counts, and fails as it is told to."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str, str]] = []
        """Method, path with query, and authorization of every request."""
        self.forms: list[tuple[str, dict[str, str]]] = []
        self.access, self.refresh, self.number = "access-0", "refresh-0", 0
        self.previous = ""
        """The refresh token before, which is taken as well."""
        self.over = False
        """Whether the login is over."""
        self.failing: int | None = None
        """A status to answer requests for tokens with; 0 for no answer at all."""
        self.hold_before, self.hold_after = threading.Event(), threading.Event()
        self.hold_before.set()
        self.hold_after.set()
        self.together = 0
        """How many requests with a wrong token are refused at once, when the last of them is there."""
        self.pending = list[tuple[int, dict[str, str]]]()
        """What polls of the device flow are answered; then the tokens."""
        self.me: tuple[int, Any] = (200, ME)
        self.events: list[str] = []
        """What the stream sends, connection by connection."""
        self.before: Callable[[str], object] = lambda authorization: None
        """Called with the authorization of each request before it is judged."""
        self.complete = ""
        """The address with the code in it."""
        self.refused = 0
        """A status to answer requests for the stream with."""
        self._waiting = 0
        self._all = threading.Event()
        self._server, self._thread, self.address = serving(self._app())

    @property
    def refreshes(self) -> int:
        """How often a refresh was asked for."""
        return sum(fields.get("grant_type") == "refresh_token" for _, fields in self.forms)

    def paths(self) -> list[str]:
        """The paths that were asked for."""
        return [path for _, path, _ in self.calls]

    def log_in(self) -> None:
        """Keep a login at this server that works, as a command would have."""
        from kitty_sync.auth import refresh
        from kitty_sync.auth.login import Login, record
        from kitty_sync.auth.tokens import Tokens

        refresh.keep(self.address, Tokens(self.access, self.refresh, 0, "session"))
        record(Login(self.address, "team-1", "cats", "me@example.invalid"))

    def expire(self) -> None:
        """Take the access token no longer."""
        self.access = "another"

    def close(self) -> None:
        """End it."""
        self.hold_before.set()
        self.hold_after.set()
        self._server.should_exit = self._server.force_exit = True
        self._thread.join(10)

    def _app(self) -> Any:
        from starlette.applications import Starlette
        from starlette.routing import Route

        return Starlette(
            routes=[
                Route("/oauth/device", self._device, methods=["POST"]),
                Route("/oauth/token", self._token, methods=["POST"]),
                Route("/oauth/revoke", self._revoke, methods=["POST"]),
                Route("/v1/events/stream", self._stream),
                Route("/{path:path}", self._other, methods=["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD"]),
            ]
        )

    def _note(self, request: Any) -> None:
        path = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        self.calls.append((request.method, path, request.headers.get("authorization", "")))

    async def _form(self, request: Any) -> dict[str, str]:
        self._note(request)
        fields = {key: str(value) for key, value in (await request.form()).items()}
        self.forms.append((request.url.path, fields))
        return fields

    async def _device(self, request: Any) -> Any:
        from starlette.responses import JSONResponse

        await self._form(request)
        return JSONResponse(
            {
                "device_code": "device-secret",
                "user_code": "ABCD-EFGH",
                "verification_uri": f"{self.address}/device",
                "expires_in": 600,
                "interval": 1,
                "verification_uri_complete": self.complete,
            }
        )

    async def _token(self, request: Any) -> Any:
        from starlette.responses import JSONResponse

        fields = await self._form(request)
        if not self.hold_before.is_set():
            await until(self.hold_before)
            if await request.is_disconnected():
                return JSONResponse({}, 499)
        if self.failing is not None:
            if self.failing == 0:
                await asyncio.sleep(3600)
            return JSONResponse({"error": "broken"}, self.failing)
        if fields["grant_type"] == "refresh_token":
            if self.over or fields["refresh_token"] not in (self.refresh, self.previous):
                return JSONResponse({"error": "invalid_grant"}, 400)
        elif self.pending:
            status, body = self.pending.pop(0)
            return JSONResponse(body, status)
        self.number += 1
        self.previous, self.refresh, self.access = (
            self.refresh,
            f"refresh-{self.number}",
            f"access-{self.number}",
        )
        await until(self.hold_after)
        return JSONResponse(
            {"access_token": self.access, "refresh_token": self.refresh, "expires_in": 900, "session_id": "s"}
        )

    async def _revoke(self, request: Any) -> Any:
        from starlette.responses import JSONResponse

        await self._form(request)
        return JSONResponse({"revoked": True}, self.failing or 200)

    async def _refusal(self, request: Any) -> Any:
        """What a request without the right token gets; None for the right one."""
        from starlette.responses import JSONResponse

        self._note(request)
        self.before(request.headers.get("authorization", ""))
        if request.headers.get("authorization") == f"Bearer {self.access}":
            return None
        if self.together:
            self._waiting += 1
            if self._waiting >= self.together:
                self._all.set()
            await until(self._all)
        return JSONResponse({"schema": "kitty.error/1", "code": "TOKEN", "message": "no", "hint": ""}, 401)

    async def _stream(self, request: Any) -> Any:
        from starlette.responses import JSONResponse, StreamingResponse

        if refusal := await self._refusal(request):
            return refusal
        if self.refused:
            return JSONResponse({"code": "FORBIDDEN", "message": "not you"}, self.refused)
        text = self.events.pop(0) if self.events else None

        async def lines() -> Any:
            yield ": here\n\n"
            if text is None:
                await asyncio.sleep(3600)
            yield text

        return StreamingResponse(lines(), media_type="text/event-stream")

    async def _other(self, request: Any) -> Any:
        from starlette.responses import JSONResponse, Response, StreamingResponse

        path = request.url.path
        if path == "/open/never":
            await asyncio.sleep(3600)
        if refusal := await self._refusal(request):
            return refusal
        if path == "/v1/me":
            return JSONResponse(self.me[1], self.me[0])
        if path == "/never":
            await asyncio.sleep(3600)
        if path == "/redirect":
            return Response(status_code=302, headers={"location": request.query_params["to"]})
        if path == "/bomb":
            return Response(bomb(), headers={"content-encoding": "gzip"})
        if path == "/drip":

            async def drip() -> Any:
                while True:
                    yield b"x"
                    await asyncio.sleep(0.05)

            return StreamingResponse(drip())
        if path == "/cut":
            return Response(gzip.compress(b"x" * 1000)[:-9], headers={"content-encoding": "gzip"})
        if path == "/cookie":
            return Response(b"", headers={"set-cookie": "a=b"})
        body = await request.body()
        return JSONResponse({"headers": dict(request.headers), "body": body.decode(), "path": str(request.url)})


ME = {
    "user": {"id": "u", "email": "me@example.invalid", "name": "Me"},
    "team": {"id": "team-1", "slug": "cats", "name": "Cats"},
    "role": "owner",
}


@cache
def bomb() -> bytes:
    """A few hundred kilobytes that are 512 MiB when they are inflated."""
    packer, block = zlib.compressobj(9, wbits=31), bytes(1024 * 1024)
    return b"".join(packer.compress(block) for _ in range(512)) + packer.flush()


async def until(event: threading.Event) -> None:
    """Wait for what another thread sets."""
    while not event.is_set():
        await asyncio.sleep(0.01)


def serving(app: Any) -> tuple[Any, threading.Thread, str]:
    """Serve an application on a free port of loopback; the server, its thread and its address."""
    import uvicorn

    server = uvicorn.Server(
        uvicorn.Config(app, host="127.0.0.1", port=0, log_level="critical", ws="none", lifespan="off")
    )
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    return server, thread, f"http://127.0.0.1:{listener.getsockname()[1]}"


class Trap:
    """A port that counts who connects and answers nobody."""

    def __init__(self) -> None:
        self.got: list[bytes] = []
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self.address = f"http://127.0.0.1:{self.port}"
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            with connection:
                connection.settimeout(1)
                try:
                    self.got.append(connection.recv(65536))
                except OSError:
                    self.got.append(b"")

    def close(self) -> None:
        """End it."""
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
