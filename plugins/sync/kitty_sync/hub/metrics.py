"""What is counted, for Prometheus. Nothing is counted by team, by user or by address: whoever reads this learns nothing of a tenant.

Who may read it: where the hub is asked by its own machine, everybody there; else an owner of any team, with a token. The hub knows that
it is asked by its own machine if nothing stands between: while it calls itself by an address of loopback, or if it is told that it is
behind a proxy and the request did not come through it.
"""

from __future__ import annotations

import ipaddress
from collections import Counter as Tally
from collections.abc import Iterable
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from kitty_sync.hub.accounts import OWNER
from kitty_sync.hub.error import HubError

if TYPE_CHECKING:
    from kitty_sync.hub.app import Hub

_METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "WEBSOCKET"))


class Metrics:
    """The counters of a process. It belongs to the thread of the event loop."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "kitty_hub_requests", "Requests that were answered.", ["method", "route", "status"], registry=self._registry
        )
        self._seconds = Histogram(
            "kitty_hub_request_seconds", "How long answers took.", ["route"], registry=self._registry
        )
        self._events = Counter("kitty_hub_events", "What became of events.", ["status"], registry=self._registry)
        self._refusals = Counter("kitty_hub_refusals", "Refusals, by their code.", ["code"], registry=self._registry)
        self.listeners = Gauge("kitty_hub_listeners", "Who listens now.", registry=self._registry)

    def answered(self, method: str, route: str, status: int, seconds: float | None) -> None:
        """Count a request; `route` is a pattern, and `seconds` None for one that listened as long as it liked."""
        self._requests.labels(method if method in _METHODS else "other", route, str(status)).inc()
        if seconds is not None:
            self._seconds.labels(route).observe(seconds)

    def took(self, statuses: Iterable[str]) -> None:
        """Count events by what became of each: `stored`, `duplicate`, `conflict`, `rejected`."""
        for status, count in Tally(statuses).items():
            self._events.labels(status).inc(count)

    def refused(self, code: str) -> None:
        """Count a refusal."""
        self._refusals.labels(code).inc()

    def text(self) -> bytes:
        """All of it, as Prometheus reads it."""
        return generate_latest(self._registry)


def routes(hub: Hub) -> list[Route]:
    """This call, of one hub."""

    async def told(request: Request) -> Response:
        """What is counted."""
        if not _of_this_machine(hub, request) and (await hub.member(request)).role != OWNER:
            raise HubError(
                "ROLE_FORBIDDEN", 403, "an owner may read the metrics", "ask one, or ask on the machine itself"
            )
        return Response(hub.metrics.text(), media_type=CONTENT_TYPE_LATEST)

    return [Route("/metrics", told)]


def _of_this_machine(hub: Hub, request: Request) -> bool:
    # The host that was asked for, too: a page of somewhere else can give its own name the address of this machine.
    asks, host = request.client.host if request.client else "", request.url.hostname or ""
    known = hub.behind_proxy or loopback(urlsplit(hub.address).hostname or "")
    return known and loopback(asks) and loopback(host)


def loopback(host: str) -> bool:
    """Whether a name or an address is one of this machine."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
