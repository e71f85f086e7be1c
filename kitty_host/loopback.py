"""Serving pages from this machine: the socket on a loopback address, and the headers without which no page leaves."""

from __future__ import annotations

import socket
from ipaddress import IPv4Address, IPv6Address

from kitty_host.api import KittyError
from kitty_host.frozen import SHUT

HEADERS = {
    "Content-Security-Policy": SHUT,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}
"""Of every answer to a browser; a page that runs something, or has a style, says so in a policy of its own."""
LOCAL = IPv4Address("127.0.0.1")


def listen(port: int, place: IPv4Address | IPv6Address = LOCAL) -> socket.socket:
    """A socket that listens on a loopback address; on a free port where it is 0. Errors: `PORT_UNUSABLE`."""
    if not place.is_loopback:
        raise ValueError(f"{place} is no loopback address")
    family = socket.AF_INET6 if place.version == 6 else socket.AF_INET
    # Said by its name: only then does asyncio send the rest of an answer before the first part was acknowledged, 40 ms later.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((str(place), port))
        listener.listen(128)
    except OSError as error:
        listener.close()
        message = f"port {port} cannot be used: {error.strerror}"
        raise KittyError("PORT_UNUSABLE", message, "leave --port out") from error
    return listener
