"""What surrounds every call: from where it comes and by which number it is told, how long its body may take, the headers of its answer,
and what is counted and told of it in the end.
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
import secrets
import time
from typing import TYPE_CHECKING, Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from kitty_host.loopback import HEADERS
from kitty_sync.hub import log
from kitty_sync.hub.error import HubError, busy

if TYPE_CHECKING:
    from kitty_sync.hub.app import Hub

BODY_SECONDS = 30.0
"""In which a body is here, whole."""
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
# A form of one's own page says where it is from, which is looked at; nobody else is told anything.
_HEADERS = HEADERS | {"Referrer-Policy": "same-origin"}
_TLS_ONLY = {"Strict-Transport-Security": "max-age=31536000"}


class Around:
    """A hub's calls, and what surrounds them."""

    def __init__(self, calls: ASGIApp, hub: Hub) -> None:
        self._calls = calls
        self._hub = hub
        self._headers = {**_HEADERS, **(_TLS_ONLY if hub.address.startswith("https://") else {})}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] not in ("http", "websocket"):
            await self._calls(scope, receive, send)
            return
        headers = Headers(scope=scope)
        scope["state"] = dict(scope.get("state") or {})
        if self._hub.behind_proxy:
            _believe(scope, headers)
        one = _Request(self._hub, scope, headers, self._headers)
        calls = self._hub.refusal(busy("too many are connected")) if self._hub.crowded() else self._calls
        try:
            await calls(scope, one.receiving(receive), one.sending(send))
        except BaseException as error:
            one.fault(error)
            raise
        finally:
            one.over()


class _Request:
    """One request, from its headers to what is told of it."""

    def __init__(self, hub: Hub, scope: Scope, headers: Headers, own: dict[str, str]) -> None:
        self._hub = hub
        self._scope = scope
        self._own = own
        said = headers.get("x-request-id", "")
        self._id = said if _REQUEST_ID.fullmatch(said) else secrets.token_hex(8)
        self._began = time.perf_counter()
        self._status = 0
        self._listens = False

    def receiving(self, receive: Receive) -> Receive:
        """The same, but for a body that takes too long. Errors, in it: `BODY_TOO_SLOW` (408)."""
        if self._scope["type"] != "http":
            return receive
        until = asyncio.get_running_loop().time() + BODY_SECONDS
        whole = False

        async def received() -> Message:
            nonlocal whole
            if whole:
                return await receive()
            try:
                async with asyncio.timeout_at(until):
                    message = await receive()
            except TimeoutError:
                raise _too_slow() from None
            whole = not message.get("more_body", False)
            return message

        return received

    def sending(self, send: Send) -> Send:
        """The same, with the headers of every answer."""

        async def sent(message: Message) -> None:
            if message["type"] in ("http.response.start", "websocket.http.response.start"):
                self._status = message["status"]
                headers = MutableHeaders(scope=message)
                for name, value in self._own.items():
                    headers.setdefault(name, value)
                headers["X-Request-Id"] = self._id
                if headers.get("content-type", "").startswith("text/event-stream"):
                    self._listening()
            elif message["type"] == "websocket.accept":
                self._status = 101
                self._listening()
            await send(message)

        return sent

    def fault(self, error: BaseException) -> None:
        """What nobody expected, where nothing was answered."""
        if not self._status and isinstance(error, Exception):
            self._status = 500

    def over(self) -> None:
        """Count it, and tell of it."""
        seconds = time.perf_counter() - self._began
        method, route = self._scope.get("method", "WEBSOCKET"), self._route()
        self._hub.metrics.answered(method, route, self._status, None if self._listens else seconds)
        if self._listens:
            self._hub.metrics.listeners.dec()
        who, client = self._scope["state"].get("who"), self._scope.get("client")
        told = {"method": method, "route": route, "status": self._status, "ms": round(seconds * 1000, 1)}
        told |= {"user": who and who.user_id, "team": who and who.team_id, "request": self._id}
        log.request({**told, "address": client[0] if client else None})

    def _listening(self) -> None:
        self._listens = True
        self._hub.metrics.listeners.inc()

    def _route(self) -> str:
        """The pattern; never what was asked for, which can hold anything."""
        path: Any = getattr(self._scope.get("route"), "path", None)
        return path if isinstance(path, str) else self._hub.pattern_of(self._scope.get("endpoint"))


def _believe(scope: Scope, headers: Headers) -> None:
    """Take what the proxy says of who asks. It adds the address that it saw at the end; what stands before, anybody can have written."""
    said = headers.getlist("x-forwarded-for")
    if said:
        scope["client"] = (_address(said[-1].rpartition(",")[2].strip()), 0)
    scheme = headers.get("x-forwarded-proto", "")
    if scheme in ("http", "https"):
        scope["scheme"] = scheme


def _address(text: str) -> str:
    """An address, with a port behind it or not. What cannot be read is of nobody, and above all not of the proxy's machine."""
    with_port = re.fullmatch(r"\[(.+)\](?::\d+)?|([0-9.]+):\d+", text)
    try:
        return str(ipaddress.ip_address(next(filter(None, with_port.groups())) if with_port else text))
    except ValueError:
        return "unknown"


def _too_slow() -> HubError:
    headers = {"Connection": "close"}
    return HubError("BODY_TOO_SLOW", 408, f"the body was not here in {BODY_SECONDS:g} s", "send less at once", headers)
