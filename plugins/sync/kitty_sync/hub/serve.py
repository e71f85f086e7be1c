"""Runs the hub on a socket until it is told to end; then streams end, requests come to their end, and the file is let go."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import uvicorn
from sqlalchemy import URL

from kitty_host.api import KittyError
from kitty_host.files import lock
from kitty_sync.hub.app import Hub
from kitty_sync.hub.store import Store

_PATIENCE = 10
"""Seconds that requests have to come to their end."""
_LARGEST_MESSAGE = 512 * 1024
"""Bytes of a message of a websocket. None is compressed, so that none is a bomb."""


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens on loopback; on a free port where it is 0. Errors: `HUB_NOT_LOOPBACK`, `PORT_UNUSABLE`."""
    try:
        place = ipaddress.ip_address("127.0.0.1" if host == "localhost" else host)
        loopback = place.is_loopback
    except ValueError:
        loopback = False
    if not loopback:
        raise KittyError(
            "HUB_NOT_LOOPBACK",
            f"{host} is no loopback address, and tokens may not travel without TLS",
            "leave --host out, and put a proxy that speaks TLS in front",
        )
    family = socket.AF_INET6 if place.version == 6 else socket.AF_INET
    # Said by its name: only then does asyncio send the rest of an answer before the first part was acknowledged, 40 ms later.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((str(place), port))
        listener.listen(128)
    except OSError as error:
        listener.close()
        raise KittyError(
            "PORT_UNUSABLE", f"port {port} cannot be used: {error.strerror}", "leave --port out"
        ) from error
    return listener


def serve(database: URL, listener: socket.socket, listening: Callable[[str], None]) -> None:
    """Serve until SIGINT or SIGTERM. `listening` is told the address, when either is heeded. Errors: `HUB_DATABASE`, `LOCK_HELD`."""
    with listener, _alone(database):
        store = Store(database)
        try:
            hub = Hub(store, _address(listener))
            server = _Server(_config(hub), hub, lambda: listening(hub.address))
            asyncio.run(server.serve([listener]))
        finally:
            store.close()


def _alone(database: URL) -> contextlib.AbstractContextManager[object]:
    """A file has one hub at a time: one process has all the bells, and commits for all who write."""
    if database.drivername != "sqlite":
        return contextlib.nullcontext()
    file = Path(str(database.database))
    return lock(file.with_name(f"{file.name}.lock"), wait_seconds=0, purpose=f"the hub's database {file}", sign=True)


def _address(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if listener.family == socket.AF_INET6 else f"http://{host}:{port}"


def _config(hub: Hub) -> uvicorn.Config:
    return uvicorn.Config(
        hub.application(),
        http="h11",
        ws="auto",
        ws_max_size=_LARGEST_MESSAGE,
        ws_per_message_deflate=False,
        lifespan="off",
        access_log=False,
        log_level="warning",
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=_PATIENCE,
    )


class _Server(uvicorn.Server):
    """Ends streams as soon as it is told to end; uvicorn would wait for those who listen to go."""

    def __init__(self, config: uvicorn.Config, hub: Hub, started: Callable[[], None]) -> None:
        super().__init__(config)
        self._hub = hub
        self._started = started

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
        self.should_exit = True
        self._hub.live.end()
