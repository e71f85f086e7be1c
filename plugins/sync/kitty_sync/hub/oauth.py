"""The calls of logging in: a device asks for codes, and for tokens when somebody has let it in; tokens are renewed and given back.

Errors have the form of RFC 6749 where a body was understood.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from attrs import asdict
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from kitty_sync.hub import bodies, device, tokens
from kitty_sync.hub.answer import JsonAnswer
from kitty_sync.hub.audit import by_request

if TYPE_CHECKING:
    from kitty_sync.hub.app import Hub

_DEVICE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"
_CLIENT, _SCOPE = "cli_native", "offline_access"
_SECRET = {"Cache-Control": "no-store", "Pragma": "no-cache"}
_WAYS: dict[str, tuple[Callable[..., tokens.Pair | str | None], str]] = {
    _DEVICE_GRANT: (device.poll, "device_code"),
    "refresh_token": (tokens.rotate, "refresh_token"),
}


def routes(hub: Hub) -> list[Route]:
    """These calls, of one hub."""

    async def begin(request: Request) -> Response:
        """Two codes for a device."""
        hub.limits.login(request)
        said = await bodies.form(request)
        if said.get("client_id") != _CLIENT:
            return _error("invalid_client")
        grant = await hub.write(partial(device.begin, address=by_request(request).where))
        place = f"{hub.address}/activate"
        codes = {"device_code": grant.device_code, "user_code": grant.user_code, "verification_uri": place}
        complete = f"{place}?user_code={grant.user_code}"
        times = {"expires_in": device.SECONDS, "interval": device.INTERVAL}
        return JsonAnswer({**codes, "verification_uri_complete": complete, **times}, headers=_SECRET)

    async def token(request: Request) -> Response:
        """Tokens for a device code that was approved, or for a refresh token."""
        hub.limits.login(request)
        said = await bodies.form(request)
        if said.get("client_id") != _CLIENT:
            return _error("invalid_client")
        if said.get("grant_type") not in _WAYS:
            return _error("unsupported_grant_type")
        way, name = _WAYS[said["grant_type"]]
        if not said.get(name):
            return _error("invalid_request")
        answer = await hub.write(partial(way, by=by_request(request)), said[name])
        if not isinstance(answer, tokens.Pair):
            return _error(answer or "invalid_grant")
        times = {"expires_in": tokens.ACCESS_SECONDS, "refresh_token_expires_in": tokens.REFRESH_SECONDS}
        rest = {"token_type": "Bearer", **times, "scope": _SCOPE}
        return JsonAnswer({**asdict(answer), **rest}, headers=_SECRET)

    async def revoke(request: Request) -> Response:
        """The family of a token ends."""
        hub.limits.login(request)
        said = await bodies.form(request)
        await hub.write(partial(tokens.revoke, by=by_request(request)), said.get("token", ""))
        return JsonAnswer({"revoked": True}, headers=_SECRET)

    return [
        Route("/oauth/device", begin, methods=["POST"]),
        Route("/oauth/token", token, methods=["POST"]),
        Route("/oauth/revoke", revoke, methods=["POST"]),
    ]


def _error(error: str) -> Response:
    return JsonAnswer({"error": error}, 400, headers=_SECRET)
