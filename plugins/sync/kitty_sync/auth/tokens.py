"""Tokens by the issuer that gave them: from the environment, else from the system's keyring, else from a file of the user's.

A file for each issuer says where its tokens are, or holds them, so that a keyring is looked for at a login and by no other command.
Nothing here sends anything, and a token is never part of what a record shows of itself.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar

from kitty_host.api import KittyError
from kitty_host.files import atomic_write, make_directory, remove
from kitty_sync.auth.login import issuer_of

Store = Literal["environment", "keyring", "file"]
Result = TypeVar("Result")

SCHEMA = "kitty.tokens/1"
GITHUB = "https://api.github.com"
KEYRING = "KITTY_KEYRING"
_VARIABLES = {
    "KITTY_TOKEN": ("KITTY_HUB_URL", "SPEC_KITTY_SAAS_URL"),
    "SPEC_KITTY_SAAS_TOKEN": ("SPEC_KITTY_SAAS_URL", "KITTY_HUB_URL"),
}
"""Each token of the environment, and which of its addresses it belongs to: the first that is set."""
_PATIENCE = 5.0
"""Seconds that a keyring may take; one that is locked may ask the user."""
_PLAIN = re.compile(r"[\x21-\x7e]{1,16384}", re.ASCII)


class Tokens(NamedTuple):
    """What an issuer gave."""

    access: str
    refresh: str = ""
    """Empty for a token that is used until it is refused."""
    expires_at: int = 0
    """Seconds since 1970; 0 where nobody said."""
    session: str = ""

    def __repr__(self) -> str:
        return "Tokens(…)"


class Kept(NamedTuple):
    """Tokens, and where they are."""

    tokens: Tokens
    store: Store
    variable: str = ""
    """Of the environment."""


def read(issuer: str) -> Kept | None:
    """The tokens for an issuer. Errors: `LOGIN_DAMAGED`, `KEYRING_UNUSABLE`, `TOKEN_INVALID`."""
    return of_environment(issuer) or stored(issuer)


def write(issuer: str, tokens: Tokens) -> Store:
    """Keep tokens, durably, and say where. A keyring that does not give back what it was given is none.

    Errors: `READ_ONLY`, `DISK_FULL`. Whoever calls this holds the lock of the issuer.
    """
    content = json.dumps(tokens._asdict())
    if _wanted() and _in_keyring(issuer, content):
        _write_file(issuer, {"store": "keyring"})
        return "keyring"
    _write_file(issuer, {"store": "file", "tokens": tokens._asdict()})
    return "file"


def rewrite(issuer: str, tokens: Tokens, store: Store) -> None:
    """Keep tokens where the last ones were; in the file where that fails. Errors: as `write`."""
    if store == "keyring" and _in_keyring(issuer, json.dumps(tokens._asdict())):
        return
    _write_file(issuer, {"store": "file", "tokens": tokens._asdict()})


def clear(issuer: str) -> None:
    """Forget what is stored. Errors: `READ_ONLY`, `KEYRING_UNUSABLE` when the file is gone and the keyring keeps its copy."""
    path = path_of(issuer)
    in_keyring = b'"keyring"' in (path.read_bytes() if path.exists() else b"")
    remove(path)
    if in_keyring:
        _asked(lambda backend: backend.delete_password("kitty", issuer))


def path_of(issuer: str, suffix: str = "json") -> Path:
    """The file of an issuer; with another suffix one that lies beside it."""
    return _directory() / f"{hashlib.sha256(issuer.encode()).hexdigest()}.{suffix}"


def require_plain(token: str, where: str) -> str:
    """A token that can stand in a header. Errors: `TOKEN_INVALID`."""
    if not _PLAIN.fullmatch(token):
        raise KittyError("TOKEN_INVALID", f"what {where} holds is no token", "a token is one word of plain characters")
    return token


def of_environment(issuer: str) -> Kept | None:
    for variable, addresses in _VARIABLES.items():
        token = os.environ.get(variable, "").strip()
        address = next(filter(None, (os.environ.get(name, "").strip() for name in addresses)), "")
        if token and address and issuer_of(address) == issuer:
            return Kept(Tokens(require_plain(token, variable)), "environment", variable)
    token = os.environ.get("GITHUB_TOKEN", "").strip()
    if token and issuer == GITHUB:
        return Kept(Tokens(require_plain(token, "GITHUB_TOKEN")), "environment", "GITHUB_TOKEN")
    return None


def stored(issuer: str) -> Kept | None:
    path = path_of(issuer)
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    try:
        data = json.loads(content)
        if data["schema"] != SCHEMA or data["issuer"] != issuer:
            raise ValueError
        if data["store"] == "file":
            return Kept(_tokens(data["tokens"]), "file")
        kept = _asked(lambda backend: backend.get_password("kitty", issuer))
        return Kept(_tokens(json.loads(kept)), "keyring") if kept else None
    except (ValueError, KeyError, TypeError, RecursionError):
        # Not chained: the text that could not be read may be a token.
        raise KittyError(
            "LOGIN_DAMAGED", f"{path} cannot be used", f"log in again: kitty auth login {issuer}", path=str(path)
        ) from None


def _tokens(data: Any) -> Tokens:
    found = Tokens(**data)
    if not all(isinstance(one, str) for one in (found.access, found.refresh, found.session)):
        raise TypeError
    return found


def _write_file(issuer: str, data: dict[str, Any]) -> None:
    content = json.dumps({"schema": SCHEMA, "issuer": issuer, **data}).encode()
    atomic_write(path_of(issuer), content, mode=0o600)


def _directory() -> Path:
    from platformdirs import user_state_path

    directory = Path(user_state_path("kitty")) / "tokens"
    if not directory.is_dir():
        make_directory(directory)
        directory.chmod(0o700)
    return directory


# The keyring


def _wanted() -> bool:
    return os.environ.get(KEYRING, "").strip().lower() not in ("0", "false", "no", "n", "off")


def _in_keyring(issuer: str, content: str) -> bool:
    """Whether there is a keyring that keeps this."""

    def keep(backend: Any) -> bool:
        backend.set_password("kitty", issuer, content)
        return bool(backend.get_password("kitty", issuer) == content)

    try:
        return _asked(keep)
    except KittyError:
        return False


def _asked(question: Callable[[Any], Result]) -> Result:
    """What a keyring answers, in a thread that is left behind if it hangs. Errors: `KEYRING_UNUSABLE`."""
    answer: list[Result] = []

    def ask() -> None:
        try:
            import keyring

            backend = keyring.get_keyring()
            if backend.priority >= 1:  # those that keep nothing, or keep it in the clear, have less
                answer.append(question(backend))
        except Exception:  # noqa: BLE001 - whatever a backend raises, and what it says may hold the secret
            return

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(_PATIENCE)
    if not answer:
        raise KittyError(
            "KEYRING_UNUSABLE",
            "the system's keyring does not give the login",
            f"unlock it; or do without it: {KEYRING}=0 kitty auth login",
        )
    return answer[0]
