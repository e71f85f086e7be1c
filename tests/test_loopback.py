"""What listens here is reached from this machine alone, and answers at once."""

from __future__ import annotations

import asyncio
import socket
from ipaddress import ip_address

import pytest

from kitty_host import loopback
from kitty_host.api import KittyError


@pytest.mark.parametrize("place", ["127.0.0.1", "127.0.0.2"])
def test_it_listens_at_a_loopback_address(place: str) -> None:
    with loopback.listen(0, ip_address(place)) as listener:
        host, port = listener.getsockname()
        assert host == place
        with socket.create_connection((host, port), timeout=5):
            pass


@pytest.mark.parametrize("place", ["0.0.0.0", "192.0.2.1", "::", "::ffff:192.0.2.1"])
def test_it_listens_nowhere_else(place: str) -> None:
    with pytest.raises(ValueError, match="no loopback address"):
        loopback.listen(0, ip_address(place))


def test_a_port_that_is_taken_is_refused() -> None:
    with loopback.listen(0) as listener, pytest.raises(KittyError) as refused:
        loopback.listen(listener.getsockname()[1])
    assert refused.value.code == "PORT_UNUSABLE"


def test_an_answer_is_not_held_back_until_its_beginning_was_acknowledged() -> None:
    """Each part of an answer leaves as it is written: connections that are accepted have TCP_NODELAY."""

    async def accepted() -> int:
        found: asyncio.Future[int] = asyncio.get_running_loop().create_future()

        class Seen(asyncio.Protocol):
            def connection_made(self, transport: asyncio.BaseTransport) -> None:
                made: socket.socket = transport.get_extra_info("socket")
                found.set_result(made.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))

        with loopback.listen(0) as listener:
            server = await asyncio.get_running_loop().create_server(Seen, sock=listener)
            with socket.create_connection(listener.getsockname()):
                value = await asyncio.wait_for(found, 10)
            server.close()
        return value

    assert asyncio.run(accepted())
