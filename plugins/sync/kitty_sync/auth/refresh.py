"""One refresh for all: of all threads and processes whose token was refused, one asks the issuer, and the others take what it got.

Before a new pair is used it is stored. A process that is killed on the way leaves the old pair, which the issuer still takes for a while,
or the new one. How something is sent is the transport's business, where the tokens are that of `tokens`.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from kitty_host.api import KittyError
from kitty_host.files import atomic_write, lock, remove
from kitty_host.records import Answer
from kitty_sync.auth import tokens
from kitty_sync.auth.log import log
from kitty_sync.auth.tokens import Kept, Tokens

CLIENT = "cli_native"
REMEMBERED = 60
"""Seconds for which it is known that a login is over."""
_WAIT = 120
"""Seconds to wait for the one who asks."""

Ask = Callable[[str, Mapping[str, str]], Answer]
"""Posts a form to a path of the issuer."""

_threads: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)


class AuthRefreshFailed(KittyError):
    """The access token was refused, and no other one is to be had."""

    def __init__(self, issuer: str, reason: str) -> None:
        super().__init__(
            "AUTH_REFRESH_FAILED",
            f"the login at {issuer} cannot be renewed: {reason}",
            f"run: kitty auth login {issuer}",
            issuer=issuer,
        )


class Renewed(NamedTuple):
    """Tokens that are not the refused ones."""

    kept: Kept
    asked: bool
    """Whether the issuer gave them just now; otherwise somebody else got them."""


def refresh(issuer: str, rejected: str, ask: Ask, since: float) -> Renewed:
    """Other tokens than the one that was refused. Errors: `AUTH_REQUIRED`, `AuthRefreshFailed`.

    `since` is when the token was sent, in seconds since 1970: where somebody has failed to renew it after that, nobody tries again.
    """
    with alone(issuer):
        kept = tokens.read(issuer)
        if kept is None:
            raise absent(issuer)
        if kept.tokens.access != rejected:
            return Renewed(kept, asked=False)
        if not kept.tokens.refresh:
            raise _refused(issuer, kept)
        _raise_known(issuer, kept.tokens, since)
        fresh = _asked(issuer, kept.tokens, ask)
        tokens.rewrite(issuer, fresh, kept.store)
        log(issuer, "refreshed")
        return Renewed(kept._replace(tokens=fresh), asked=True)


@contextlib.contextmanager
def alone(issuer: str) -> Iterator[None]:
    """Whoever changes the tokens of an issuer is in here, one thread of one process. Errors: `AuthRefreshFailed`, `READ_ONLY`."""
    until = time.monotonic() + _WAIT
    with contextlib.ExitStack() as stack:
        # The file alone would do; but each thread that waits for it has another one that waits in its place.
        if not _threads[issuer].acquire(timeout=_WAIT):
            raise AuthRefreshFailed(issuer, "another thread has been at it for too long")
        stack.callback(_threads[issuer].release)
        try:
            left = max(0.0, until - time.monotonic())
            stack.enter_context(
                lock(tokens.path_of(issuer, "lock"), wait_seconds=left, purpose=f"the login at {issuer}")
            )
        except KittyError as error:
            if error.code != "LOCK_HELD":
                raise
            raise AuthRefreshFailed(issuer, error.message) from error
        yield


def keep(issuer: str, fresh: Tokens) -> tokens.Store:
    """Store the tokens of a new login, and forget that the last one was over. Errors: as `tokens.write`."""
    with alone(issuer):
        store = tokens.write(issuer, fresh)
        remove(_note(issuer))
    return store


def drop(issuer: str) -> None:
    """Forget the tokens of a login. Errors: as `tokens.clear`."""
    with alone(issuer):
        remove(_note(issuer))
        tokens.clear(issuer)


def absent(issuer: str) -> KittyError:
    """What to say where there is no token."""
    known = _read_note(issuer)
    if known and known.get("over") and 0 <= time.time() - known["at"] < REMEMBERED:
        return AuthRefreshFailed(issuer, known["reason"])
    return KittyError("AUTH_REQUIRED", f"nobody is logged in at {issuer}", _how(issuer), issuer=issuer)


def parse(answer: Answer) -> Tokens:
    """The tokens of an answer to a request for some. Raises `ValueError`, which shows nothing of it."""
    try:
        data = json.loads(answer.body)
        access, again = data["access_token"], data.get("refresh_token") or ""
        seconds = int(data.get("expires_in") or 0)
        session = str(data.get("session_id") or "")
        return Tokens(
            tokens.require_plain(access, "the answer"),
            tokens.require_plain(again, "the answer") if again else "",
            int(time.time()) + seconds if seconds else 0,
            session[:200],
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError, KittyError):
        raise ValueError("it gave no token") from None


def error_of(answer: Answer) -> str:
    """The `error` of an answer of OAuth; empty where it is none."""
    with contextlib.suppress(ValueError, KeyError, TypeError, RecursionError):
        return str(json.loads(answer.body)["error"])[:100]
    return ""


def _asked(issuer: str, old: Tokens, ask: Ask) -> Tokens:
    try:
        answer = ask("/oauth/token", {"grant_type": "refresh_token", "refresh_token": old.refresh, "client_id": CLIENT})
    except KittyError as error:
        raise _failed(issuer, old, error.message) from error
    if answer.status != 200:
        said = error_of(answer)
        over = said in ("invalid_grant", "session_invalid")
        raise _failed(issuer, old, "the server has ended it" if over else f"the server said {answer.status}", over=over)
    try:
        fresh = parse(answer)
    except ValueError as error:
        raise _failed(issuer, old, f"the server was asked, and {error}") from None
    return fresh if fresh.refresh else fresh._replace(refresh=old.refresh)


def _failed(issuer: str, old: Tokens, reason: str, *, over: bool = False) -> AuthRefreshFailed:
    """Remember the failure for those who wait, and clear the store if the login is over and still the one that is stored."""
    log(issuer, f"not refreshed: {reason}")
    note = {"digest": _digest(old.refresh), "at": time.time(), "over": over, "reason": reason}
    with contextlib.suppress(KittyError, OSError):
        atomic_write(_note(issuer), json.dumps(note).encode(), mode=0o600)
    if over:
        with contextlib.suppress(KittyError):  # what cannot be cleared is known by the note
            kept = tokens.read(issuer)
            if kept and kept.tokens.refresh == old.refresh:
                tokens.clear(issuer)
    return AuthRefreshFailed(issuer, reason)


def _raise_known(issuer: str, held: Tokens, since: float) -> None:
    """A failure with these very tokens is everybody's who sent them before it, and for a while everybody's if the login is over."""
    known = _read_note(issuer)
    if known is None or known["digest"] != _digest(held.refresh):
        return
    age = time.time() - known["at"]
    if age >= 0 and (known["at"] >= since or (known["over"] and age < REMEMBERED)):
        raise AuthRefreshFailed(issuer, known["reason"])


def _read_note(issuer: str) -> dict[str, Any] | None:
    try:
        data = json.loads(_note(issuer).read_bytes())
        return {
            "digest": str(data["digest"]),
            "at": float(data["at"]),
            "over": data["over"] is True,
            "reason": str(data["reason"]),
        }
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _note(issuer: str) -> Any:
    return tokens.path_of(issuer, "refused")


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def _refused(issuer: str, kept: Kept) -> KittyError:
    hint = f"put a valid one into {kept.variable}" if kept.variable else _how(issuer, static=True)
    where = f"the token of {kept.variable}" if kept.variable else "the token that was stored for it"
    return KittyError("AUTH_REQUIRED", f"{issuer} refuses {where}", hint, issuer=issuer)


def _how(issuer: str, *, static: bool = False) -> str:
    return f"run: kitty auth login {issuer}{' --with-token' if static or issuer == tokens.GITHUB else ''}"
