"""Runs the hub on a socket until it is told to end; then streams end, requests come to their end, and the file is let go."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import re
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import h11
import uvicorn
from attrs import frozen
from sqlalchemy import URL
from uvicorn.protocols.http.h11_impl import H11Protocol

from kitty_host import loopback
from kitty_host.api import KittyError
from kitty_host.plugins import Plugins
from kitty_host.system import allow_files
from kitty_sync.hub import log, signin, sqlite
from kitty_sync.hub.app import Hub
from kitty_sync.hub.around import BODY_SECONDS
from kitty_sync.hub.metrics import loopback as is_loopback
from kitty_sync.hub.store import Store

_PATIENCE = 10
"""Seconds that requests have to come to their end."""
_HEAD_SECONDS = 10.0
"""In which the head of a request is here."""
_LARGEST_HEAD = 16 * 1024
"""Bytes of it."""
_OTHER_FILES = 256
"""Open files of a hub that are no connections."""
_LARGEST_MESSAGE = 512 * 1024
"""Bytes of a message of a websocket. None is compressed, so that none is a bomb."""


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens on loopback; on a free port where it is 0. Errors: `HUB_NOT_LOOPBACK`, `PORT_UNUSABLE`."""
    try:
        place = loopback.LOCAL if host == "localhost" else ipaddress.ip_address(host)
    except ValueError:
        place = None
    if place is None or not place.is_loopback:
        raise KittyError(
            "HUB_NOT_LOOPBACK",
            f"{host} is no loopback address, and tokens may not travel without TLS",
            "leave --host out, and put a proxy that speaks TLS in front",
        )
    return loopback.listen(port, place)


@frozen
class Options:
    """How a hub is served."""

    address: str = ""
    """What it calls itself; else where it listens."""
    behind_proxy: bool = False
    log_json: bool = False
    connections: int = 2000
    """At once."""
    drain: float = 0
    """Seconds between being told to end and taking no more connections, in which `/readyz` says so."""


def serve(
    database: URL,
    listener: socket.socket,
    listening: Callable[[str], None],
    options: Options | None = None,
    plugins: Plugins | None = None,
) -> None:
    """Serve until SIGINT or SIGTERM. `listening` is told the address, when either is heeded.

    Errors: `HUB_DATABASE`, `LOCK_HELD`, `SERVER_ADDRESS_INVALID`.
    """
    options = options or Options()
    address = public_address(options.address) if options.address else _address(listener)
    allow_files(options.connections + _OTHER_FILES)
    with listener, _alone(database):
        store = Store(database)
        try:
            with store.writing() as connection:
                signin.tell_address(connection, address)
            hub = Hub(store, address, behind_proxy=options.behind_proxy, plugins=plugins)
            server = _Server(hub, options, lambda: listening(_address(listener)))
            asyncio.run(server.serve([listener]))
        finally:
            store.close()


def _alone(database: URL) -> contextlib.AbstractContextManager[object]:
    """A file has one hub at a time: one process has all the bells, and commits for all who write."""
    if database.drivername != "sqlite":
        return contextlib.nullcontext()
    return sqlite.alone(Path(str(database.database)), sign=True)


def public_address(text: str) -> str:
    """An address of a hub in its one spelling. Errors: `SERVER_ADDRESS_INVALID`."""
    try:
        parts = urlsplit(text.strip().rstrip("/").lower())
        host, port = parts.hostname or "", parts.port
    except ValueError:
        host, port, parts = "", None, urlsplit("")
    bare = f"[{host}]" if ":" in host else host
    plain = f"{parts.scheme}://{bare}{'' if port is None else f':{port}'}"
    safe = parts.scheme == "https" or (parts.scheme == "http" and is_loopback(host))
    if not safe or not re.fullmatch(r"[a-z0-9.-]+|[0-9a-f:.]+", host) or parts.geturl() != plain:
        raise KittyError(
            "SERVER_ADDRESS_INVALID",
            f"{text!r} is no address of a hub",
            "give https://HOST[:PORT], or http:// on a loopback address",
        )
    usual = {"https": 443, "http": 80}[parts.scheme]
    return plain.removesuffix(f":{usual}") if port == usual else plain


def _address(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if listener.family == socket.AF_INET6 else f"http://{host}:{port}"


def _config(hub: Hub, options: Options) -> uvicorn.Config:
    return uvicorn.Config(
        hub.application(),
        http=_Connection,
        ws="auto",
        ws_max_size=_LARGEST_MESSAGE,
        ws_per_message_deflate=False,
        lifespan="off",
        access_log=False,
        log_config=log.configuration(options.log_json),
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=_PATIENCE,
        h11_max_incomplete_event_size=_LARGEST_HEAD,
    )


class _Connection(H11Protocol):
    """A connection that is ended where a request does not come: its head, its body, or what is left of the body of one that was answered.

    Whoever sends a little at a time has no more time than others.
    """

    _waits_for: Any = None
    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin."""
        super().connection_made(transport)
        self._watch(_HEAD_SECONDS)

    def data_received(self, data: bytes) -> None:
        """Some of a request."""
        super().data_received(data)
        if self.transport.get_protocol() is not self:
            return
        state = self.conn.their_state
        if state is h11.SEND_BODY:
            self._watch(BODY_SECONDS + _HEAD_SECONDS)
        elif state is h11.IDLE:
            self._watch(_HEAD_SECONDS)
        else:
            self._unwatch()

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        """It is another's from here on."""
        self._unwatch()
        super().handle_websocket_upgrade(event)

    def connection_lost(self, exc: Exception | None) -> None:
        """The end."""
        self._unwatch()
        super().connection_lost(exc)

    def _watch(self, seconds: float) -> None:
        state = self.conn.their_state
        if self._deadline is None or self._waits_for is not state:
            self._unwatch()
            self._waits_for, self._deadline = state, self.loop.call_later(seconds, self.transport.close)

    def _unwatch(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        self._waits_for = self._deadline = None


class _Server(uvicorn.Server):
    """Ends streams as soon as it is told to end; uvicorn would wait for those who listen to go."""

    def __init__(self, hub: Hub, options: Options, started: Callable[[], None]) -> None:
        super().__init__(_config(hub, options))
        self._hub = hub
        self._drain = options.drain
        self._started = started
        hub.crowded = lambda: len(self.server_state.connections) > options.connections

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self._hub.live.begin(self._hub.store)
        await super().startup(sockets)
        self._started()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await super().shutdown(sockets)
        self._hub.live.close()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        for one in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(one, self._end)
        yield

    def _end(self) -> None:
        """Say that one is about to end, and end after a while; at once for who is told twice."""
        if self._hub.closing or not self._drain:
            self.should_exit = True
        else:
            asyncio.get_running_loop().call_later(self._drain, setattr, self, "should_exit", True)
        self._hub.closing = True
        self._hub.live.end()
