"""How a refusal is told to the released client. It reads other keys in every room, so that all of them are there."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Any

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response

from kitty_sync.hub.accounts import Member
from kitty_sync.hub.answer import JsonAnswer
from kitty_sync.hub.error import HubError

Handler = Callable[[Request], Awaitable[Response]]

_PROTOCOL = "X-Spec-Kitty-Sync-Protocol"
_SPOKEN = "2"
"""What is before the dot of the versions that are understood."""
_PASSING = (429, 503)


def answering(handler: Handler) -> Handler:
    """A call whose refusals have that client's form."""

    @wraps(handler)
    async def answered(request: Request) -> Response:
        try:
            return await handler(request)
        except HubError as error:
            request.app.hub.metrics.refused(error.code)
            return refused(error)

    return answered


def refused(error: HubError, /, **more: Any) -> Response:
    """A refusal. `details` is never empty: a batch that is refused without them is sent again in halves."""
    code = error.code.lower()
    body: dict[str, Any] = {
        "error": error.message,
        "error_code": code,
        "error_category": code,
        "error_description": error.message,
        "message": f"{error.message}; {error.hint}",
        "detail": error.message,
        "details": [{"code": code, "detail": error.message}],
        "retryable": error.status in _PASSING,
        "user_action_required": error.status not in _PASSING,
        "source": "hub",
    }
    if "Retry-After" in error.headers:
        body["retry_after_seconds"] = int(error.headers["Retry-After"])
    return JsonAnswer(body | more, error.status, headers=error.headers)


def may_write(who: Member, what: str) -> None:
    """Errors: `ROLE_FORBIDDEN` (403)."""
    if not who.may_write:
        raise HubError("ROLE_FORBIDDEN", 403, f"a {who.role} may not add {what}", "ask an owner for another role")


def spoken(headers: Headers) -> None:
    """That the client speaks what is spoken here; one that does not say so is believed. Errors: `PROTOCOL_UNKNOWN` (412)."""
    version = headers.get(_PROTOCOL, _SPOKEN)
    if version.partition(".")[0] != _SPOKEN:
        message = f"this hub speaks version {_SPOKEN}.0 of the protocol, not {version[:20]!r}"
        raise HubError(
            "PROTOCOL_UNKNOWN", 412, message, "install the release of the client that docs/hub.md of kitty names"
        )
