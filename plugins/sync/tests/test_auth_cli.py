"""`kitty auth` as a person meets it, and what a repository can do to it, which is nothing."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from kitty_host.testing import Project
from kitty_sync.auth import login, tokens
from kitty_sync.auth.tokens import Tokens
from kitty_sync.switch import VARIABLE

if TYPE_CHECKING:
    from .odd_server import Server, Trap

PENDING = (400, {"error": "authorization_pending"})
ENV = ("KITTY_TOKEN", "SPEC_KITTY_SAAS_TOKEN", "KITTY_HUB_URL", "SPEC_KITTY_SAAS_URL", "GITHUB_TOKEN")


def state_of(user: Path) -> list[Path]:
    """What kitty made in the user's home, but for locks and logs."""
    found = (path for path in (user / "home").rglob("*") if path.is_file() and path.name != "gitconfig")
    return [path for path in found if path.suffix not in (".lock", ".log")]


@pytest.fixture
def kitty(user: Path, project: Project, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A project in which `kitty auth` is run."""
    monkeypatch.setenv("KITTY_PLUGINS", "sync")
    return project


def test_without_the_switch_nothing_is_looked_at(
    server: Server, kitty: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.log_in()
    monkeypatch.setenv("KITTY_HUB_URL", server.address)
    monkeypatch.setenv("KITTY_TOKEN", "token")
    monkeypatch.delenv(VARIABLE)
    for name in ("login", "status", "logout"):
        answer = kitty.process("auth", name, "--json")
        assert (answer.exit_code, answer.code) == (1, "SYNC_DISABLED")
    assert server.calls == []
    assert kitty.kitty("auth", "login", "--help").exit_code == 0


def test_log_in_look_and_log_out(server: Server, kitty: Project) -> None:
    server.pending = [PENDING]
    done = kitty.process("auth", "login", server.address, "--json")
    assert (done.exit_code, done.json) == (
        0,
        {
            "schema": "kitty.auth/1",
            "issuer": server.address,
            "logged_in": True,
            "store": "file",
            "user": "me@example.invalid",
            "tenant": "team-1",
            "team": "cats",
            "role": "owner",
        },
    )
    assert f"Open {server.address}/device" in done.stderr
    assert "ABCD-EFGH" in done.stderr
    assert "Waiting" in done.stderr
    assert login.current() == login.Login(server.address, "team-1", "cats", "me@example.invalid")
    asked = kitty.kitty("auth", "status")
    assert asked.stdout.splitlines() == [
        f"Logged in at {server.address} as me@example.invalid, owner of cats.",
        "The token is in a file that only you can read.",
    ]
    out = kitty.kitty("auth", "logout", "--json")
    assert out.json == {"schema": "kitty.auth/1", "issuer": server.address, "logged_in": False, "revoked": True}
    assert ("/oauth/revoke", {"token": "refresh-1"}) in server.forms
    assert (login.current(), tokens.read(server.address)) == (None, None)
    assert kitty.kitty("auth", "status", "--json").code == "AUTH_REQUIRED"
    seen = done.stdout + done.stderr + asked.stdout + out.stdout
    assert not any(secret in seen for secret in ("access-", "refresh-", "device-secret"))


def test_the_same_server_again_needs_no_address(server: Server, kitty: Project) -> None:
    server.log_in()
    assert kitty.process("auth", "login", "--json").json["issuer"] == server.address
    assert kitty.kitty("auth", "status", "--json").exit_code == 0


def test_nobody_is_logged_in_anywhere(kitty: Project) -> None:
    for name in ("login", "status", "logout"):
        answer = kitty.kitty("auth", name, "--json")
        assert (answer.exit_code, answer.code) == (1, "AUTH_REQUIRED")
        assert answer.json["hint"] == "run: kitty auth login https://HOST"


def test_a_wrong_address_is_refused(kitty: Project) -> None:
    assert kitty.kitty("auth", "login", "http://hub.example.com", "--json").code == "SERVER_ADDRESS_INVALID"


@pytest.mark.parametrize(
    ("error", "reason"), [("access_denied", "it was denied"), ("expired_token", "the code is over")]
)
def test_a_login_that_is_denied_leaves_nothing(
    server: Server, kitty: Project, user: Path, error: str, reason: str
) -> None:
    server.pending = [PENDING, (400, {"error": error})]
    answer = kitty.process("auth", "login", server.address, "--json")
    assert (answer.exit_code, answer.code) == (1, "LOGIN_FAILED")
    assert reason in answer.json["message"]
    assert state_of(user) == []


def test_ctrl_c_leaves_nothing(server: Server, kitty: Project, user: Path) -> None:
    server.pending = [PENDING] * 1000
    process = subprocess.Popen(
        [sys.executable, "-m", "kitty_host", "auth", "login", server.address],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    while server.paths().count("/oauth/token") < 1:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=10)
    assert (process.returncode, out) == (130, "")
    assert "INTERRUPTED" in err
    assert state_of(user) == []


def test_a_server_that_does_not_say_who_one_is_is_not_logged_in_at(server: Server, kitty: Project, user: Path) -> None:
    server.me = (500, {})
    assert kitty.process("auth", "login", server.address, "--json").code == "AUTH_REQUIRED"
    assert state_of(user) == []


def test_what_the_server_says_steers_no_terminal(server: Server, kitty: Project) -> None:
    server.me = (
        200,
        {**server.me[1], "role": "owner\x1b[2J", "team": {"id": "t", "slug": "cats\nLogged in", "name": ""}},
    )
    server.log_in()
    lines = kitty.kitty("auth", "status").stdout.splitlines()
    assert len(lines) == 2
    assert "\x1b" not in lines[0]


@pytest.mark.slow
@pytest.mark.parametrize(("uri", "opened"), [("https://x.invalid/device?code=1", True), ("file:///etc/passwd", False)])
def test_a_browser_is_opened_on_a_terminal_and_only_for_the_web(
    server: Server, kitty: Project, user: Path, monkeypatch: pytest.MonkeyPatch, uri: str, opened: bool
) -> None:
    browser, seen = user / "browser", user / "opened"
    browser.write_text(f'#!/bin/sh\necho "$1" >> {seen}\n')
    browser.chmod(0o755)
    monkeypatch.setenv("BROWSER", str(browser))
    server.complete = uri
    server.pending = [PENDING]
    kitty.process("auth", "login", server.address)
    assert not seen.exists()
    server.pending = [PENDING]
    terminal, end = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "kitty_host", "auth", "login", server.address], stdin=end, stdout=end, stderr=end
    )
    assert process.wait(30) == 0
    os.close(end)
    os.close(terminal)
    assert seen.exists() == opened
    assert not opened or seen.read_text() == f"{uri}\n"


def test_a_login_that_is_over_is_not_a_status(server: Server, kitty: Project) -> None:
    server.log_in()
    server.expire()
    server.over = True
    answer = kitty.kitty("auth", "status", "--json")
    assert (answer.exit_code, answer.code) == (1, "AUTH_REFRESH_FAILED")
    server.access = "access-0"
    server.log_in()
    server.me = (403, {})
    assert kitty.process("auth", "status", "--json").code == "AUTH_REQUIRED"


def test_logging_out_works_where_the_server_is_away(server: Server, kitty: Project) -> None:
    server.log_in()
    server.close()
    answer = kitty.kitty("auth", "logout")
    assert answer.exit_code == 0
    assert "could not be told" in answer.stdout
    assert (login.current(), tokens.read(server.address)) == (None, None)


@pytest.mark.parametrize("damaged", ["tokens", "hubs"])
def test_a_damaged_file_is_got_rid_of_as_its_hint_says(
    server: Server, kitty: Project, user: Path, damaged: str
) -> None:
    server.log_in()
    path = tokens.path_of(server.address) if damaged == "tokens" else next((user / "home").rglob("hubs.json"))
    path.write_text("{")
    answer = kitty.kitty("auth", "status", "--json")
    assert answer.code == "LOGIN_DAMAGED"
    if damaged == "hubs":
        path.unlink()
    assert kitty.process("auth", "login", server.address, "--json").exit_code == 0
    assert kitty.kitty("auth", "status", "--json").exit_code == 0


# Tokens that were made elsewhere


def test_a_token_for_a_server_that_is_no_hub(server: Server, kitty: Project) -> None:
    server.access = "ghp-secret"
    server.me = (404, {})
    done = kitty.process("auth", "login", server.address, "--with-token", stdin=b"ghp-secret\n")
    assert done.exit_code == 0
    assert "ghp-secret" not in done.stdout + done.stderr
    assert tokens.read(server.address) == tokens.Kept(Tokens("ghp-secret"), "file")
    assert login.current() is None
    said = kitty.kitty("auth", "status", server.address, "--json").json
    assert (said["store"], said["user"]) == ("file", None)
    server.access = "another"
    over = kitty.process("auth", "status", server.address, "--json")
    assert (over.code, over.json["hint"]) == ("AUTH_REQUIRED", f"run: kitty auth login {server.address} --with-token")
    assert kitty.kitty("auth", "logout", server.address, "--json").json["revoked"] is True
    assert tokens.read(server.address) is None


@pytest.mark.parametrize("given", [b"", b"two words\n", b"wrong\n"])
def test_a_token_that_is_none_or_refused_is_not_stored(
    server: Server, kitty: Project, user: Path, given: bytes
) -> None:
    answer = kitty.process("auth", "login", server.address, "--with-token", "--json", stdin=given)
    assert answer.exit_code == 1
    assert answer.code in ("TOKEN_INVALID", "AUTH_REQUIRED")
    assert state_of(user) == []


def test_a_token_of_the_environment_is_enough_and_is_written_nowhere(
    server: Server, kitty: Project, user: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KITTY_HUB_URL", server.address)
    monkeypatch.setenv("KITTY_TOKEN", "access-0")
    assert kitty.process("auth", "login", "--json").json["store"] == "environment"
    assert login.current() == login.Login(server.address, "team-1", "cats", "me@example.invalid")
    assert "environment, KITTY_TOKEN" in kitty.kitty("auth", "status").stdout
    assert [path.name for path in state_of(user)] == ["hubs.json"]
    server.expire()
    over = kitty.process("auth", "status", "--json")
    assert (over.code, over.json["hint"]) == ("AUTH_REQUIRED", "put a valid one into KITTY_TOKEN")
    assert server.refreshes == 0
    assert "KITTY_TOKEN is still set" in kitty.kitty("auth", "logout").stdout


# A hostile repository


def planted(project: Project, trap: Trap) -> None:
    """Everything in a repository that some program takes a server, a token or a proxy from."""
    evil = trap.address
    project.write(
        ".kittify/config.yaml",
        "project:\n  uuid: 6f1d6c0e-1f2e-4d0c-9a55-3a8f3f1c2b7d\n  slug: project\n"
        f"sync:\n  server_url: {evil}\n  hub: {evil}\n  url: {evil}\n  token_path: /etc/passwd\n"
        f"auth:\n  issuer: {evil}\n  token: evil\nhttp:\n  proxy: {evil}\n  sslVerify: false\nproxy: {evil}\n",
    )
    names = (*ENV, "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "SSL_CERT_FILE", "KITTY_SERVER")
    for place in (".env", ".envrc", ".kittify/.env", ".kittify/env"):
        project.write(place, "".join(f"{name}={evil}\n" for name in names))
    project.write(
        "pyproject.toml", f'[tool.kitty]\nhub = "{evil}"\nproxy = "{evil}"\n[tool.kitty.sync]\nurl = "{evil}"\n'
    )
    hubs = {"tenant": "evil", "team": "evil", "user": "evil"}
    for place in ("hubs.json", ".kittify/hubs.json", ".config/kitty/hubs.json", "kitty/hubs.json"):
        project.write(place, json.dumps({"schema": "kitty.hubs/1", "default": evil, "hubs": {evil: hubs}}))
    project.write("keyringrc.cfg", "[backend]\ndefault-keyring=evil.Keyring\nkeyring-path=.\n")
    project.write("config.toml", f'[sync]\nserver_url = "{evil}"\n')
    project.write(".netrc", f"machine 127.0.0.1 login evil password {trap.port}\n")
    project.git("config", "http.proxy", evil)
    project.git("config", f"url.{evil}/.insteadOf", "http://")
    project.git("config", "kitty.hub", evil)


def test_a_repository_cannot_say_where_anything_goes(
    server: Server, kitty: Project, trap: Trap, monkeypatch: pytest.MonkeyPatch
) -> None:
    planted(kitty, trap)
    monkeypatch.delenv("KITTY_KEYRING")
    assert kitty.process("auth", "status", "--json").code == "AUTH_REQUIRED"
    assert kitty.process("auth", "login", "--json").code == "AUTH_REQUIRED"
    assert kitty.process("auth", "login", server.address, "--json").json["issuer"] == server.address
    assert kitty.process("auth", "status", "--json").json["issuer"] == server.address
    server.expire()
    assert kitty.process("auth", "status", "--json").exit_code == 0
    assert kitty.process("auth", "logout", "--json").json["issuer"] == server.address
    assert trap.got == []


def test_the_trap_would_see_somebody(server: Server, kitty: Project, trap: Trap, monkeypatch: Any) -> None:
    monkeypatch.setenv("KITTY_HUB_URL", trap.address)
    assert kitty.process("auth", "login", "--json").exit_code == 1
    assert b"POST /oauth/device" in trap.got[0]
