"""Logging in from a terminal: the device flow of RFC 8628. A person confirms a code in a browser, anywhere, while the command asks."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import NamedTuple
from urllib.parse import urlsplit

from kitty_host.api import KittyError
from kitty_sync.auth.login import is_loopback
from kitty_sync.auth.refresh import CLIENT, error_of, parse
from kitty_sync.auth.tokens import Tokens
from kitty_sync.retry import TRANSIENT, Clock
from kitty_sync.transport import open_form

_SLOWEST = 10.0
"""Seconds between two questions, whatever the server wishes."""
_LONGEST = 1800.0


class Device(NamedTuple):
    """What a person has to confirm. All of it is foreign text."""

    code: str
    """What the command asks with; a secret."""
    user_code: str
    address: str
    direct: str
    """The address with the code in it; empty where the server gives none that may be opened."""
    seconds: float
    """For which it is good."""
    interval: float

    def __repr__(self) -> str:
        return f"Device({self.user_code!r})"


def begin(issuer: str) -> Device:
    """Ask for a code. Errors: `SERVER_UNREACHABLE`, `LOGIN_FAILED`."""
    answer = open_form(issuer, "/oauth/device", {"client_id": CLIENT, "scope": "offline_access"})
    try:
        if answer.status != 200:
            raise ValueError
        data = json.loads(answer.body)
        texts = [data["device_code"], data["user_code"], data["verification_uri"]]
        direct = data.get("verification_uri_complete") or ""
        if not all(isinstance(one, str) for one in [*texts, direct]):
            raise TypeError
        interval = max(1.0, min(_SLOWEST, float(data.get("interval") or 5)))
        seconds = min(_LONGEST, float(data["expires_in"]))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError):
        raise failed(issuer, f"it does not begin a login, and answers {answer.status}") from None
    code, user_code, address = texts
    return Device(code, user_code, address, direct if _may_be_opened(direct) else "", seconds, interval)


def wait(issuer: str, device: Device, told: Callable[[float], None], clock: Clock = time) -> Tokens:
    """The tokens, when a person has confirmed. `told` is given the seconds that are left before each question.

    A server that is away for a moment ends nothing. Errors: `LOGIN_FAILED`.
    """
    until, interval = clock.monotonic() + device.seconds, device.interval
    while (left := until - clock.monotonic()) > 0:
        told(left)
        clock.sleep(interval)
        try:
            answer = open_form(
                issuer,
                "/oauth/token",
                {
                    "grant_type": "urn:ietf:params:oauth:grant-type:device_code",
                    "device_code": device.code,
                    "client_id": CLIENT,
                },
            )
        except KittyError as error:
            if error.code != "SERVER_UNREACHABLE":
                raise
            continue
        if answer.status == 200:
            try:
                return parse(answer)
            except ValueError as error:
                raise failed(issuer, str(error)) from None
        said = error_of(answer)
        if said == "slow_down":
            interval = min(_SLOWEST, interval + 5)
        elif said == "access_denied":
            raise failed(issuer, "it was denied")
        elif said != "authorization_pending" and answer.status not in TRANSIENT:
            break
    raise failed(issuer, "the code is over")


def failed(issuer: str, reason: str) -> KittyError:
    """A login that came to nothing."""
    return KittyError(
        "LOGIN_FAILED", f"no login at {issuer}: {reason}", f"run: kitty auth login {issuer}", issuer=issuer
    )


def _may_be_opened(address: str) -> bool:
    """A browser opens files and other programs as well, if it is told to."""
    try:
        parts = urlsplit(address)
        host = parts.hostname or ""
    except ValueError:
        return False
    return address.isprintable() and (
        (parts.scheme == "https" and bool(host)) or (parts.scheme == "http" and is_loopback(host))
    )
