"""Which server the user works with, and as whom: `hubs.json` in the user's configuration. No secret is in it, and no server is asked.

An address comes from the user or from the environment, never from anything below a repository: nothing here takes a path or looks at one
but the user's own. Tokens are in `tokens`.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any, NamedTuple

from kitty_host.api import KittyError

SCHEMA = "kitty.hubs/1"
ADDRESSES = ("KITTY_HUB_URL", "SPEC_KITTY_SAAS_URL")
"""The variables that name a server, the first that is set."""
_PORTS = {"https": 443, "http": 80}
_NAME = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)(\.(?!-)[a-z0-9_-]{1,63}(?<!-))*", re.ASCII)
_NUMBER = re.compile(r"(0x[0-9a-f]*|[0-9]+)", re.ASCII)


class Login(NamedTuple):
    """As whom the user works with a hub."""

    issuer: str
    tenant: str
    """The id of the team, which is what the hub keeps events apart by."""
    team: str
    """Its name in addresses."""
    user: str
    """An e-mail address."""


def current() -> Login | None:
    """The login at the server of the environment, else at the one that was logged in to last. No network and no token.

    Errors: `LOGIN_DAMAGED`, `SERVER_ADDRESS_INVALID`.
    """
    named, known = of_environment(), _read()
    return known.logins.get(named or known.default)


def chosen() -> str | None:
    """The issuer that is meant where none is named. Errors: as `current`."""
    return of_environment() or _read().default or None


def of_environment() -> str | None:
    """The issuer that the environment names. Errors: `SERVER_ADDRESS_INVALID`."""
    text = next(filter(None, (os.environ.get(name, "").strip() for name in ADDRESSES)), None)
    return issuer_of(text) if text else None


def record(login: Login) -> None:
    """Remember a login; it is the default from now on. Errors: `LOGIN_DAMAGED`, `READ_ONLY`, `DISK_FULL`."""
    with _changing():
        _write(_Known(login.issuer, {**_read().logins, login.issuer: login}))


def forget(issuer: str) -> None:
    """Remember it no longer. Errors: as `record`."""
    with _changing():
        known = _read()
        if issuer in known.logins:
            rest = {name: login for name, login in known.logins.items() if name != issuer}
            _write(_Known("" if known.default == issuer else known.default, rest))


def issuer_of(text: str) -> str:
    """An address as `https://host[:port]`, in the one spelling by which tokens are kept. Errors: `SERVER_ADDRESS_INVALID`.

    `http` is for loopback only. The host is in lower case and ASCII, a default port is left out.
    """
    from urllib.parse import urlsplit

    text = text.strip()
    if "@" in text:  # what stands before it may be a password, and is not repeated
        raise _invalid("the address of a server has no user name in it")
    if not text.isprintable() or any(one in text for one in "\\?# "):
        raise _invalid("the address of a server is a scheme and a host, and nothing else")
    try:
        parts = urlsplit(text)
        scheme, host, port = parts.scheme, _host(parts.hostname or ""), parts.port
    except ValueError:
        scheme, host, port = "", "", None
    if scheme not in _PORTS or not host or port == 0 or parts.path not in ("", "/") or parts.netloc.endswith(":"):
        raise _invalid(f"{text[:200]} is no address of a server")
    if scheme == "http" and not is_loopback(host):
        raise _invalid(f"{text[:200]} would send a login in the clear")
    shown = f"[{host}]" if ":" in host else host
    return f"{scheme}://{shown}" if port in (None, _PORTS[scheme]) else f"{scheme}://{shown}:{port}"


def is_loopback(host: str) -> bool:
    """Whether a host is this machine, by its name alone."""
    import ipaddress

    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _host(text: str) -> str:
    """A host in its one spelling; empty for what is none. Raises `ValueError`."""
    import ipaddress

    if ":" in text:
        return ipaddress.IPv6Address(text).compressed if "%" not in text else ""
    if not text.isascii():
        import idna

        text = idna.encode(text, uts46=True).decode()
    text = text.lower()
    if _NUMBER.fullmatch(text.rpartition(".")[2]):
        # Some systems read `127.1` or `0x7f000001` as addresses, too.
        return str(ipaddress.IPv4Address(text))
    return text if len(text) <= 253 and _NAME.fullmatch(text) else ""


def _invalid(message: str) -> KittyError:
    return KittyError("SERVER_ADDRESS_INVALID", message, "give it as https://HOST or https://HOST:PORT")


class _Known(NamedTuple):
    default: str
    logins: dict[str, Login]


def _path() -> Path:
    from platformdirs import user_config_path

    return Path(user_config_path("kitty")) / "hubs.json"


def _read() -> _Known:
    path = _path()
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return _Known("", {})
    try:
        data = json.loads(content)
        if data["schema"] != SCHEMA:
            raise ValueError(data["schema"])
        logins = {_text(issuer): _login(issuer, one) for issuer, one in data["hubs"].items()}
        return _Known(_text(data["default"]), logins)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise KittyError(
            "LOGIN_DAMAGED", f"{path} cannot be read", "move it away and run: kitty auth login ADDRESS", path=str(path)
        ) from error


def _login(issuer: str, data: Any) -> Login:
    return Login(issuer, _text(data["tenant"]), _text(data["team"]), _text(data["user"]))


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(value)
    return value


def _write(known: _Known) -> None:
    from kitty_host.files import atomic_write

    hubs = {one.issuer: {"tenant": one.tenant, "team": one.team, "user": one.user} for one in known.logins.values()}
    data = {"schema": SCHEMA, "default": known.default, "hubs": hubs}
    atomic_write(_path(), json.dumps(data, indent=2).encode() + b"\n", mode=0o600)


def _changing() -> Any:
    from kitty_host.files import lock

    return lock(_path().with_name("hubs.lock"), wait_seconds=10, purpose="the list of logins")
