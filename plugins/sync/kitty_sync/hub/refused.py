"""What the hub answers when it does not do what it was asked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kitty_host.api import KittyError


class Refused(KittyError):
    """A refusal with the status of HTTP that it is sent with."""

    def __init__(
        self, status: int, code: str, message: str, hint: str, headers: Mapping[str, str] | None = None, **details: Any
    ) -> None:
        super().__init__(code, message, hint, **details)
        self.status = status
        self.headers = dict(headers or {})


def busy(message: str) -> Refused:
    """503: it may work in a moment."""
    return Refused(503, "HUB_BUSY", message, "ask again in a moment", {"Retry-After": "1"})
