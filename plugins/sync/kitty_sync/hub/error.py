"""What the hub answers when it does not do what it was asked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kitty_host.api import KittyError


class HubError(KittyError):
    """A refusal with the status of HTTP that it is sent with."""

    def __init__(
        self, code: str, status: int, message: str, hint: str, headers: Mapping[str, str] | None = None, **details: Any
    ) -> None:
        super().__init__(code, message, hint, **details)
        self.status = status
        self.headers = dict(headers or {})


def busy(message: str) -> HubError:
    """503: it may work in a moment."""
    return HubError("HUB_BUSY", 503, message, "ask again in a moment", {"Retry-After": "1"})


def no_token(message: str) -> HubError:
    """401: nobody is let in with what was shown."""
    return HubError("TOKEN_REJECTED", 401, message, "log in again", {"WWW-Authenticate": "Bearer"})
