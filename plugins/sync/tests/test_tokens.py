"""Where tokens are kept, for whom, and that nobody sees one who only looks at a record, a file list or an error."""

from __future__ import annotations

import json
import stat
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from kitty_host.api import KittyError
from kitty_sync.auth import tokens
from kitty_sync.auth.tokens import Kept, Tokens

A, B = "https://a.invalid", "https://b.invalid"
PAIR = Tokens("access-secret", "refresh-secret", 1_800_000_000, "session-1")

# A backend as a distribution of somebody else would bring it; its ways are in a file beside it.
KEYRING = """
import json, pathlib, time
from keyring.backend import KeyringBackend

HERE = pathlib.Path(__file__).parent
class Keyring(KeyringBackend):
    priority = {priority}
    def _kept(self):
        path = HERE / "kept.json"
        return json.loads(path.read_text()) if path.exists() else {{}}
    def _way(self, name):
        path = HERE / "way"
        way = path.read_text() if path.exists() else ""
        with (HERE / "asked").open("a") as stream:
            stream.write(name + "\\n")
        if way == "hang":
            time.sleep(600)
        if way == "fail":
            raise RuntimeError("secret in it: access-secret")
        return way
    def set_password(self, service, name, password):
        if self._way("set") != "forget":
            (HERE / "kept.json").write_text(json.dumps(self._kept() | {{service + "|" + name: password}}))
    def get_password(self, service, name):
        self._way("get")
        return self._kept().get(service + "|" + name)
    def delete_password(self, service, name):
        self._way("delete")
        kept = self._kept()
        kept.pop(service + "|" + name)
        (HERE / "kept.json").write_text(json.dumps(kept))
"""


class Ring:
    """A keyring of the test's own."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def way(self, way: str) -> None:
        (self._directory / "way").write_text(way)

    @property
    def kept(self) -> dict[str, str]:
        path = self._directory / "kept.json"
        found: dict[str, str] = json.loads(path.read_text()) if path.exists() else {}
        return found

    @property
    def asked(self) -> list[str]:
        path = self._directory / "asked"
        return path.read_text().split() if path.exists() else []


@pytest.fixture
def keyring(user: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Ring]:
    def make(priority: float = 5) -> Ring:
        directory = user / "ring"
        directory.mkdir()
        (directory / "test_ring.py").write_text(KEYRING.format(priority=priority))
        monkeypatch.syspath_prepend(str(directory))
        monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "test_ring.Keyring")
        monkeypatch.delenv("KITTY_KEYRING")
        monkeypatch.setattr(tokens, "_PATIENCE", 1.0)
        import keyring.core

        keyring.core.init_backend()
        return Ring(directory)

    yield make  # type: ignore[misc]
    gone = sys.modules.pop("test_ring", None)
    import keyring.backend
    import keyring.core

    if gone is not None:
        keyring.backend.KeyringBackend._classes.discard(
            gone.Keyring
        )  # every one that was ever made is a candidate from then on

    monkeypatch.undo()
    keyring.core.init_backend()


def holding(directory: Path, secret: str) -> list[Path]:
    return [path for path in directory.rglob("*") if path.is_file() and secret.encode() in path.read_bytes()]


# The file


def test_a_file_of_the_users_alone(user: Path) -> None:
    assert tokens.read(A) is None
    assert tokens.write(A, PAIR) == "file"
    assert tokens.read(A) == Kept(PAIR, "file")
    path = tokens.path_of(A)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    tokens.clear(A)
    assert tokens.read(A) is None
    assert holding(user, "secret") == []
    tokens.clear(A)


def test_each_issuer_has_its_own(user: Path) -> None:
    tokens.write(A, PAIR)
    assert tokens.read(B) is None
    tokens.path_of(A).rename(tokens.path_of(B))  # and a file that is moved is not taken for another's
    with pytest.raises(KittyError) as refused:
        tokens.read(B)
    assert refused.value.code == "LOGIN_DAMAGED"


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        '{"schema": "kitty.tokens/1"}',
        '{"schema": "kitty.tokens/1", "issuer": "https://a.invalid", "store": "file", "tokens": {"access": 1}}',
        '{"schema": "kitty.tokens/1", "issuer": "https://a.invalid", "store": "file", "tokens": {"access-secret": "x"}}',
        '{"schema": "kitty.tokens/1", "issuer": "https://a.invalid", "store": "file", "tokens": "access-secret"}',
    ],
)
def test_a_damaged_file_is_said_without_what_is_in_it(user: Path, content: str) -> None:
    tokens.path_of(A).write_text(content)
    with pytest.raises(KittyError) as refused:
        tokens.read(A)
    assert refused.value.code == "LOGIN_DAMAGED"
    import traceback

    assert "access-secret" not in "".join(traceback.format_exception(refused.value))
    assert tokens.write(A, PAIR) == "file"  # and a new login mends it
    assert tokens.read(A) == Kept(PAIR, "file")


def test_no_record_shows_a_token(user: Path) -> None:
    for text in (repr(PAIR), str(PAIR), f"{PAIR}", repr(Kept(PAIR, "file")), repr([PAIR])):
        assert "secret" not in text


# The environment


def test_a_token_of_the_environment_is_for_its_server_only(user: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KITTY_TOKEN", "token-of-env")
    assert tokens.read(A) is None
    monkeypatch.setenv("KITTY_HUB_URL", f"{A}:443/")
    assert tokens.read(A) == Kept(Tokens("token-of-env"), "environment", "KITTY_TOKEN")
    assert tokens.read(B) is None
    tokens.write(A, PAIR)
    assert tokens.stored(A) == Kept(PAIR, "file")
    kept = tokens.read(A)
    assert kept
    assert kept.store == "environment"


def test_each_token_of_the_environment_belongs_to_the_address_of_its_family(
    user: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KITTY_HUB_URL", A)
    monkeypatch.setenv("SPEC_KITTY_SAAS_URL", B)
    monkeypatch.setenv("SPEC_KITTY_SAAS_TOKEN", "token-of-b")
    assert tokens.read(A) is None
    kept = tokens.read(B)
    assert kept
    assert kept.tokens.access == "token-of-b"
    monkeypatch.delenv("SPEC_KITTY_SAAS_URL")
    kept = tokens.read(A)
    assert kept
    assert kept.variable == "SPEC_KITTY_SAAS_TOKEN"
    monkeypatch.setenv("KITTY_TOKEN", "token-of-a")
    kept = tokens.read(A)
    assert kept
    assert kept.tokens.access == "token-of-a"


def test_a_token_of_github_is_for_github_only(user: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_TOKEN", "gh-token")
    monkeypatch.setenv("KITTY_HUB_URL", A)
    assert tokens.read(A) is None
    assert tokens.read("https://github.com") is None
    assert tokens.read("https://api.github.com") == Kept(Tokens("gh-token"), "environment", "GITHUB_TOKEN")


@pytest.mark.parametrize("token", ["two words", "line\nbreak", "ä", "x" * 20_000])
def test_what_cannot_stand_in_a_header_is_no_token_and_not_repeated(
    user: Path, monkeypatch: pytest.MonkeyPatch, token: str
) -> None:
    monkeypatch.setenv("KITTY_HUB_URL", A)
    monkeypatch.setenv("KITTY_TOKEN", token)
    with pytest.raises(KittyError) as refused:
        tokens.read(A)
    assert refused.value.code == "TOKEN_INVALID"
    assert token not in f"{refused.value}{refused.value.hint}"


# The keyring


def test_a_keyring_is_used_and_the_file_says_only_that(user: Path, keyring: Callable[..., Ring]) -> None:
    ring = keyring()
    assert tokens.write(A, PAIR) == "keyring"
    assert tokens.read(A) == Kept(PAIR, "keyring")
    assert json.loads(ring.kept[f"kitty|{A}"])["access"] == "access-secret"
    assert holding(user / "home", "secret") == []
    tokens.rewrite(A, PAIR._replace(access="new-secret"), "keyring")
    kept = tokens.read(A)
    assert kept
    assert kept.tokens.access == "new-secret"
    tokens.clear(A)
    assert (tokens.read(A), ring.kept) == (None, {})


@pytest.mark.parametrize("way", ["forget", "fail", "hang"])
def test_a_keyring_that_does_not_give_it_back_is_none(user: Path, keyring: Callable[..., Ring], way: str) -> None:
    ring = keyring()
    ring.way(way)
    assert tokens.write(A, PAIR) == "file"
    assert tokens.read(A) == Kept(PAIR, "file")


@pytest.mark.parametrize("priority", [0, -1, 0.5])
def test_a_keyring_that_keeps_nothing_or_keeps_it_in_the_clear_is_none(
    user: Path, keyring: Callable[..., Ring], priority: float
) -> None:
    ring = keyring(priority)
    assert tokens.write(A, PAIR) == "file"
    assert (ring.asked, ring.kept) == ([], {})


def test_whoever_does_not_want_a_keyring_is_not_asked_for_one(
    user: Path, keyring: Callable[..., Ring], monkeypatch: pytest.MonkeyPatch
) -> None:
    ring = keyring()
    monkeypatch.setenv("KITTY_KEYRING", "0")
    assert tokens.write(A, PAIR) == "file"
    assert ring.asked == []


def test_a_keyring_is_looked_for_at_a_login_only(user: Path, keyring: Callable[..., Ring]) -> None:
    ring = keyring()
    ring.way("fail")
    tokens.write(A, PAIR)
    before = len(ring.asked)
    ring.way("")
    for _ in range(3):
        assert tokens.read(A) == Kept(PAIR, "file")
    tokens.rewrite(A, PAIR, "file")
    assert len(ring.asked) == before


@pytest.mark.parametrize("way", ["fail", "hang"])
def test_a_keyring_that_is_gone_is_said(user: Path, keyring: Callable[..., Ring], way: str) -> None:
    ring = keyring()
    tokens.write(A, PAIR)
    ring.way(way)
    with pytest.raises(KittyError) as refused:
        tokens.read(A)
    assert refused.value.code == "KEYRING_UNUSABLE"
    assert "secret" not in str(refused.value)
    tokens.rewrite(A, PAIR, "keyring")  # what was renewed is not lost by it
    assert tokens.read(A) == Kept(PAIR, "file")
