"""Which server is meant: only the user and the environment say so, in one spelling, and nothing that is damaged is guessed at."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from kitty_host.api import KittyError
from kitty_sync.auth import login
from kitty_sync.auth.login import Login, issuer_of

ONE = Login("https://one.invalid", "team-1", "cats", "me@one.invalid")
TWO = Login("https://two.invalid", "team-2", "dogs", "me@two.invalid")


@pytest.mark.parametrize(
    ("text", "issuer"),
    [
        ("https://hub.example.com", "https://hub.example.com"),
        (" HTTPS://Hub.Example.COM/ ", "https://hub.example.com"),
        ("https://hub.example.com:443", "https://hub.example.com"),
        ("https://hub.example.com:0443/", "https://hub.example.com"),
        ("https://hub.example.com:8443", "https://hub.example.com:8443"),
        ("https://bücher.example", "https://xn--bcher-kva.example"),
        ("https://BÜCHER.example", "https://xn--bcher-kva.example"),
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000"),
        ("http://127.9.9.9:80", "http://127.9.9.9"),
        ("http://localhost:8000", "http://localhost:8000"),
        ("http://[::1]:8000", "http://[::1]:8000"),
        ("http://[0:0:0:0:0:0:0:1]", "http://[::1]"),
        ("https://10.0.0.1", "https://10.0.0.1"),
    ],
)
def test_an_address_has_one_spelling(text: str, issuer: str) -> None:
    assert issuer_of(text) == issuer
    assert issuer_of(issuer) == issuer


@pytest.mark.parametrize(
    "text",
    [
        "",
        "hub.example.com",
        "//hub.example.com",
        "ftp://hub.example.com",
        "file:///etc/passwd",
        "javascript:alert(1)",
        "https://",
        "https:///path",
        "https://hub.example.com/path",
        "https://hub.example.com//",
        "https://hub.example.com?x",
        "https://hub.example.com?",
        "https://hub.example.com#x",
        "https://hub.example.com\\.evil.com",
        "https://hub example.com",
        "https://hub.example.com\n.evil.com",
        "https://hub.\texample.com",
        "https://hub.example.com:",
        "https://hub.example.com:0",
        "https://hub.example.com:65536",
        "https://hub.example.com:x",
        "https://hub..example.com",
        "https://.example.com",
        "https://hub.example.com.",
        "https://-hub.example.com",
        "https://hub%2eexample.com",
        "https://[::1%25eth0]",
        "https://[::1",
        "https://127.1",
        "https://0x7f000001",
        "https://2130706433",
        "https://1.2.3.256",
        "http://hub.example.com",
        "http://10.0.0.1",
        "http://0.0.0.0:80",
        "http://[::]",
        "http://localhost.evil.com",
        "http://127.0.0.1.evil.com",
        "https://" + "a" * 300,
        "https://\u202emoc.live",
    ],
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(KittyError) as refused:
        issuer_of(text)
    assert refused.value.code == "SERVER_ADDRESS_INVALID"


@pytest.mark.parametrize(
    "text", ["https://me:hunter2@hub.example.com", "https://hunter2@hub.example.com", "me:hunter2@x"]
)
def test_a_password_in_an_address_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(KittyError) as refused:
        issuer_of(text)
    assert refused.value.code == "SERVER_ADDRESS_INVALID"
    assert "hunter2" not in f"{refused.value} {refused.value.hint} {refused.value.details}"


def test_the_last_login_is_the_default(user: Path) -> None:
    assert (login.current(), login.chosen()) == (None, None)
    login.record(ONE)
    login.record(TWO)
    assert (login.current(), login.chosen()) == (TWO, TWO.issuer)
    login.record(ONE)
    assert login.current() == ONE
    login.forget(ONE.issuer)
    assert (login.current(), login.chosen()) == (None, None)  # another hub is not chosen by itself


def test_the_environment_names_the_server_first(user: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    login.record(TWO)
    login.record(ONE)
    monkeypatch.setenv("SPEC_KITTY_SAAS_URL", "https://TWO.invalid/")
    assert login.current() == TWO
    monkeypatch.setenv("KITTY_HUB_URL", "https://three.invalid")
    assert (login.current(), login.chosen()) == (None, "https://three.invalid")
    monkeypatch.setenv("KITTY_HUB_URL", " ")
    assert login.current() == TWO
    monkeypatch.setenv("KITTY_HUB_URL", "http://three.invalid")
    with pytest.raises(KittyError) as refused:
        login.current()
    assert refused.value.code == "SERVER_ADDRESS_INVALID"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"\xff",
        b'"text"',
        b'{"schema": "kitty.hubs/1"}',
        b'{"schema": "kitty.hubs/2", "default": "", "hubs": {}}',
        b'{"schema": "kitty.hubs/1", "default": 1, "hubs": {}}',
        b'{"schema": "kitty.hubs/1", "default": "", "hubs": []}',
        b'{"schema": "kitty.hubs/1", "default": "", "hubs": {"https://a": {"tenant": 1, "team": "", "user": ""}}}',
        b'{"schema": "kitty.hubs/1", "default": "", "hubs": {"https://a": {"tenant": ""}}}',
        b"[" * 100_000,
    ],
)
def test_a_damaged_file_is_an_error_and_no_default(user: Path, content: bytes) -> None:
    login.record(ONE)
    path = next((user / "home").rglob("hubs.json"))
    path.write_bytes(content)
    for ask in (login.current, login.chosen, lambda: login.record(TWO)):
        with pytest.raises(KittyError) as refused:
            ask()
        assert refused.value.code == "LOGIN_DAMAGED"
        assert str(path) in refused.value.message
    assert path.read_bytes() == content


def test_the_file_holds_no_secret_and_is_the_users_alone(user: Path) -> None:
    login.record(ONE)
    path = next((user / "home").rglob("hubs.json"))
    assert path.stat().st_mode & 0o777 == 0o600
    assert json.loads(path.read_text()) == {
        "schema": "kitty.hubs/1",
        "default": ONE.issuer,
        "hubs": {ONE.issuer: {"tenant": "team-1", "team": "cats", "user": "me@one.invalid"}},
    }


def test_logins_made_at_once_are_all_remembered(user: Path) -> None:
    made = "import sys\nfrom kitty_sync.auth.login import *\nrecord(Login(f'https://{sys.argv[1]}.invalid', 't', 's', 'u'))"
    processes = [subprocess.Popen([sys.executable, "-c", made, f"h{number}"]) for number in range(8)]
    assert [process.wait() for process in processes] == [0] * 8
    assert len(json.loads(next((user / "home").rglob("hubs.json")).read_text())["hubs"]) == 8


@pytest.mark.usefixtures("unmeasured")
def test_asking_who_is_logged_in_loads_nothing_heavy(user: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    login.record(ONE)
    monkeypatch.setenv("KITTY_HUB_URL", ONE.issuer)
    heavy = (
        "httpx",
        "keyring",
        "ssl",
        "attr",
        "asyncio",
        "idna",
        "kitty_sync.auth.tokens",
        "kitty_sync.transport",
        "click",
    )
    asked = (
        "import sys\nfrom kitty_sync.auth.login import current\nprint(current().team)\n"
        f"print([name for name in {heavy} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True)
    assert done.stdout.splitlines() == ["cats", "[]"]
