"""How often one may ask. Each process counts for itself.

There are no more counters than a fixed number for each limit: who is counted is mapped to one of them by a secret of the process. So
many addresses cost no memory, and nobody can aim at the counter of another.
"""

from __future__ import annotations

import hashlib
import ipaddress
import math
import secrets
import time
from functools import lru_cache
from typing import TYPE_CHECKING

from limits import RateLimitItem, RateLimitItemPerMinute, RateLimitItemPerSecond
from limits.storage import MemoryStorage
from limits.strategies import FixedWindowRateLimiter

from kitty_sync.hub.error import HubError

if TYPE_CHECKING:
    from starlette.requests import HTTPConnection, Request

LOGIN = RateLimitItemPerMinute(600, namespace="login")
"""Calls of logging in, and pages that do, by address. Many programs may be behind one, and each asks every two seconds."""
FAILED_HERE = RateLimitItemPerMinute(20, 10, namespace="failed-here")
"""Wrong codes and links, by address."""
FAILED_AS = RateLimitItemPerMinute(10, 10, namespace="failed-as")
"""Wrong codes, by account."""
BATCHES = RateLimitItemPerSecond(1000, 10, namespace="batches")
"""Calls that change something, by token."""
_COUNTERS = 4096
"""Of each limit."""


class Limits:
    """The counters of a process."""

    def __init__(self) -> None:
        self._storage = MemoryStorage()
        self._counted = FixedWindowRateLimiter(self._storage)
        self._secret = secrets.token_bytes(16)

    def login(self, request: HTTPConnection) -> None:
        """Count a call of logging in. Errors: `HUB_BUSY` (429)."""
        self._count(LOGIN, _place(request))

    def batch(self, token: str) -> None:
        """Count a call that changes something. Errors: `HUB_BUSY` (429)."""
        self._count(BATCHES, token)

    def may_try(self, request: Request, user_id: str = "") -> None:
        """Refuse who was wrong too often. Errors: `HUB_BUSY` (429)."""
        for limit, whose in _attempts(request, user_id):
            if not self._counted.test(limit, self._counter(whose)):
                raise self._too_often(limit, whose)

    def failed(self, request: Request, user_id: str = "") -> None:
        """Count a code or a link that was wrong."""
        for limit, whose in _attempts(request, user_id):
            self._counted.hit(limit, self._counter(whose))

    def __len__(self) -> int:
        """How many counters are in use."""
        return len(self._storage.storage)

    def _count(self, limit: RateLimitItem, whose: str) -> None:
        if not self._counted.hit(limit, self._counter(whose)):
            raise self._too_often(limit, whose)

    def _too_often(self, limit: RateLimitItem, whose: str) -> HubError:
        ends = self._counted.get_window_stats(limit, self._counter(whose)).reset_time
        seconds = max(1, math.ceil(ends - time.time()))
        message = f"more than {limit.amount} times in {limit.get_expiry()} seconds"
        return HubError("HUB_BUSY", 429, message, f"ask again in {seconds} s", {"Retry-After": str(seconds)})

    def _counter(self, whose: str) -> str:
        digest = hashlib.blake2b(whose.encode(errors="surrogatepass"), key=self._secret, digest_size=8).digest()
        return str(int.from_bytes(digest, "big") % _COUNTERS)


def _attempts(request: Request, user_id: str) -> list[tuple[RateLimitItem, str]]:
    here: list[tuple[RateLimitItem, str]] = [(FAILED_HERE, _place(request))]
    return [*here, (FAILED_AS, user_id)] if user_id else here


def _place(request: HTTPConnection) -> str:
    return place_of(request.client.host if request.client else "")


@lru_cache(4096)  # whoever asks for a code is compared with all who wait
def place_of(host: str) -> str:
    """Whom an address counts for; of IPv6 its network, since whoever has one address has 2 to the 64th."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    return str(ipaddress.ip_network((address, 64), strict=False)) if address.version == 6 else host
