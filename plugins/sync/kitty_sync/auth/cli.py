"""`kitty auth`: log in, see as whom, log out. What a login is stands in `login` and `tokens`; the way to one in `device`."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from kitty_host.api import KittyError
from kitty_host.command import Invocation, command, group
from kitty_host.inert import inert
from kitty_host.report import note
from kitty_sync.switch import require_enabled

if TYPE_CHECKING:  # nothing here may look for a token before it is known that sync is enabled
    from kitty_host.records import Answer
    from kitty_sync.auth.tokens import Tokens

auth = group("auth", help="Log in to a server, out of it, and see as whom.")

_STORES = {"keyring": "the system's keyring", "file": "a file that only you can read", "environment": "the environment"}


class Person(NamedTuple):
    """What a hub says of whoever asks."""

    user: str
    tenant: str
    team: str
    role: str


@command("login", group=auth)
@click.argument("address", required=False)
@click.option("--with-token", is_flag=True, help="Read a token from standard input, such as one for a tracker.")
def login(call: Invocation, address: str | None, with_token: bool) -> None:
    """Log in to the server at ADDRESS, which is the default from then on; without it, to the same as before."""
    issuer = _issuer(address)
    from kitty_sync.auth import refresh, tokens

    kept = tokens.of_environment(issuer)
    if with_token:
        given = _given()
    elif kept:
        given = kept.tokens
    else:
        given = _by_device(call, issuer)
    person = _person(issuer, given.access, hub=not with_token)
    store = "environment" if kept and not with_token else refresh.keep(issuer, given)
    if person:
        _record(issuer, person)
    text = f"{_as_whom(issuer, person)}\nThe token is in {_STORES[store]}."
    if kept and with_token:
        text += f"\nAs long as {kept.variable} is set, it is used instead."
    call.show(_payload(issuer, store, person), text)


@command("status", group=auth)
@click.argument("address", required=False)
def status(call: Invocation, address: str | None) -> None:
    """Ask the server as whom you are logged in."""
    issuer = _issuer(address)
    from kitty_sync.auth import refresh, tokens
    from kitty_sync.transport import transport_for

    if tokens.read(issuer) is None:
        raise refresh.absent(issuer)
    answer = transport_for(issuer).request("GET", "/v1/me")
    kept = tokens.read(issuer)
    person = _judged(issuer, answer, hub=bool(kept and kept.tokens.refresh))
    store = kept.store if kept else "environment"
    where = f"{_STORES[store]}{f', {kept.variable}' if kept and kept.variable else ''}"
    call.show(_payload(issuer, store, person), f"{_as_whom(issuer, person)}\nThe token is in {where}.")


@command("logout", group=auth)
@click.argument("address", required=False)
def logout(call: Invocation, address: str | None) -> None:
    """End the login at the server and forget it here, even if the server cannot be told."""
    issuer = _issuer(address)
    from kitty_sync.auth import login as logins
    from kitty_sync.auth import refresh, tokens

    with refresh.alone(issuer):
        told = _revoked(issuer)
    refresh.drop(issuer)
    logins.forget(issuer)
    left = tokens.of_environment(issuer)
    lines = [f"Logged out of {issuer}."]
    lines += ["The server could not be told: there, the login goes on until it is over by itself."] if not told else []
    lines += [f"{left.variable} is still set, and is used."] if left else []
    payload = {"schema": "kitty.auth/1", "issuer": issuer, "logged_in": bool(left), "revoked": told}
    call.show(payload, "\n".join(lines))


def _issuer(address: str | None) -> str:
    """The server that is meant. Errors: `SYNC_DISABLED`, before anything is looked at; `SERVER_ADDRESS_INVALID`."""
    require_enabled()
    from kitty_sync.auth.login import chosen, issuer_of

    issuer = issuer_of(address) if address is not None else chosen()
    if issuer is None:
        raise KittyError("AUTH_REQUIRED", "nobody is logged in anywhere", "run: kitty auth login https://HOST")
    return issuer


def _given() -> Tokens:
    from kitty_sync.auth.tokens import Tokens, require_plain

    return Tokens(require_plain(sys.stdin.read(65536).strip(), "standard input"))


def _by_device(call: Invocation, issuer: str) -> Tokens:
    from kitty_sync.auth import device

    begun = device.begin(issuer)
    address = inert(begun.direct or begun.address, prose=True, limit=1000)
    note(f"Open {address}\nand confirm the code {inert(begun.user_code, prose=True)}. Ctrl-C ends the login.")
    if begun.direct and not call.json and sys.stdin.isatty() and sys.stderr.isatty():
        import webbrowser

        webbrowser.open(begun.direct)
    return device.wait(issuer, begun, _Progress())


class _Progress:
    """A line each minute, and on a terminal one that counts."""

    def __init__(self) -> None:
        self._minute: int | None = None

    def __call__(self, left: float) -> None:
        minutes = int(left // 60) + 1
        if minutes != self._minute:
            self._minute = minutes
            note(
                f"Waiting; the code is good for {minutes} more minutes." if minutes > 1 else "Waiting; the last minute."
            )


def _person(issuer: str, access: str, *, hub: bool) -> Person | None:
    from kitty_sync.transport import ask_as

    return _judged(issuer, ask_as(issuer, access, "/v1/me"), hub=hub)


def _judged(issuer: str, answer: Answer, *, hub: bool) -> Person | None:
    """Who one is at a hub; None at a server that is no hub, and where `hub` does not say that it must be one.

    Errors: `AUTH_REQUIRED` where the server refuses.
    """
    if answer.status == 200:
        try:
            data = json.loads(answer.body)
            texts = (data["user"]["email"], data["team"]["id"], data["team"]["slug"], data["role"])
            if all(isinstance(one, str) for one in texts):
                return Person(*texts)
        except (ValueError, KeyError, TypeError, RecursionError):
            pass
    if answer.status in (401, 403) or hub:
        raise KittyError(
            "AUTH_REQUIRED",
            f"{issuer} does not say who you are, and answers {answer.status}",
            f"run: kitty auth login {issuer}",
            issuer=issuer,
            status=answer.status,
        )
    return None


def _record(issuer: str, person: Person) -> None:
    from kitty_sync.auth.login import Login, record

    record(Login(issuer, person.tenant, person.team, person.user))


def _revoked(issuer: str) -> bool:
    """Whether the server was told, or has nothing to be told."""
    from kitty_sync.auth import tokens
    from kitty_sync.transport import open_form

    try:
        kept = tokens.stored(issuer)
        if kept is None or not kept.tokens.refresh:
            return True
        return open_form(issuer, "/oauth/revoke", {"token": kept.tokens.refresh}).status == 200
    except KittyError:
        return False


def _payload(issuer: str, store: str, person: Person | None) -> dict[str, Any]:
    return {
        "schema": "kitty.auth/1",
        "issuer": issuer,
        "logged_in": True,
        "store": store,
        **(person._asdict() if person else dict.fromkeys(Person._fields)),
    }


def _as_whom(issuer: str, person: Person | None) -> str:
    if person is None:
        return f"A token for {issuer} is stored. It is no hub, and does not say whose it is."
    user, team, role = (inert(one, prose=True) for one in (person.user, person.team, person.role))
    return f"Logged in at {issuer} as {user}, {role} of {team}."
