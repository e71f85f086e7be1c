"""The client's side of a login against the hub itself: renewed once for all, ended, and followed live."""

from __future__ import annotations

import contextlib
import json
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from kitty_host.api import KittyError
from kitty_host.testing import Project
from kitty_sync.auth import refresh, tokens
from kitty_sync.auth.tokens import Tokens
from kitty_sync.transport import transport_for

from .hub import HubProcess, record

ADA = "ada@example.org"


@pytest.fixture
def ada(user: Path, hub: HubProcess) -> HubProcess:
    """A hub at which the user is logged in."""
    hub.add_user(ADA)
    said = hub.login(ADA)
    refresh.keep(hub.address, Tokens(said["access_token"], said["refresh_token"]))
    return hub


def rows(hub: HubProcess, statement: str) -> list[tuple[object, ...]]:
    with contextlib.closing(sqlite3.connect(hub.database, timeout=30)) as database, database:
        return database.execute(statement).fetchall()


def expire(hub: HubProcess) -> None:
    rows(hub, "UPDATE tokens SET expires_at = 1 WHERE kind = 'access'")


def refreshes(hub: HubProcess) -> int:
    return len(rows(hub, "SELECT 1 FROM tokens WHERE kind = 'refresh'")) - 1


def test_processes_and_threads_refresh_once_at_the_hub(ada: HubProcess) -> None:
    asked = (
        "import sys, threading\nfrom kitty_sync.transport import transport_for\n"
        "to, said = transport_for(sys.argv[1]), []\n"
        "threads = [threading.Thread(target=lambda: said.append(to.request('GET', '/v1/me').status)) for _ in range(5)]\n"
        "sys.stdin.readline()\n[one.start() for one in threads]\n[one.join() for one in threads]\nprint(*said)"
    )
    expire(ada)
    command = [sys.executable, "-c", asked, ada.address]
    started = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(6)]
    for one in started:
        assert one.stdin
        one.stdin.write("go\n")
        one.stdin.flush()
    assert [one.communicate()[0].split() for one in started] == [["200"] * 5] * 6
    assert refreshes(ada) == 1


def test_the_pair_before_is_taken_after_a_lost_answer(ada: HubProcess) -> None:
    before = tokens.read(ada.address)
    assert before
    ada.form("/oauth/token", grant_type="refresh_token", refresh_token=before.tokens.refresh, client_id="cli_native")
    expire(ada)
    assert transport_for(ada.address).request("GET", "/v1/me").status == 200


def test_a_session_that_the_hub_ends_is_over(ada: HubProcess) -> None:
    rows(ada, "UPDATE sessions SET revoked_at = 1")
    for _ in range(2):
        with pytest.raises(KittyError) as failed:
            transport_for(ada.address).request("GET", "/v1/me")
        assert failed.value.code == "AUTH_REFRESH_FAILED"
    assert tokens.read(ada.address) is None


def test_logging_out_ends_the_session_at_the_hub(
    ada: HubProcess, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KITTY_PLUGINS", "sync")
    assert project.kitty("auth", "status", ada.address, "--json").json["user"] == ADA
    assert project.kitty("auth", "logout", ada.address, "--json").json["revoked"] is True
    assert rows(ada, "SELECT count(*) FROM sessions WHERE revoked_at IS NULL") == [(0,)]


@pytest.fixture
def following(ada: HubProcess) -> Iterator[subprocess.Popen[str]]:
    """`watch`, in a process of its own."""
    asked = (
        "import sys\nfrom kitty_host.command import Invocation\nfrom kitty_host.plugins import Plugins\n"
        "from kitty_sync.transport import transport_for\nfrom kitty_sync.watch import watch\n"
        "watch(Invocation(Plugins([]), json=True), transport_for(sys.argv[1]), project=None, since='start')"
    )
    process = subprocess.Popen([sys.executable, "-c", asked, ada.address], stdout=subprocess.PIPE, text=True)
    yield process
    process.kill()
    process.communicate()


def test_events_are_followed_live_and_over_a_restart_of_the_hub(
    ada: HubProcess, following: subprocess.Popen[str]
) -> None:
    to = transport_for(ada.address)

    def send(number: int) -> None:
        body = json.dumps({"events": [record(number)]}).encode()
        answer = to.request("POST", "/v1/events", body=body, headers={"content-type": "application/json"})
        assert json.loads(answer.body)["results"][0]["status"] == "stored"

    def seen() -> str:
        assert following.stdout
        said = json.loads(following.stdout.readline())
        return str(said["record"]["event"]["event_id"])

    send(1)
    assert seen() == record(1)["event"]["event_id"]
    ada.kill()
    threading.Timer(1.0, ada.restart).start()
    ids = []
    while not ids:
        with contextlib.suppress(KittyError):
            send(2)
            ids.append(seen())
    send(3)
    assert [*ids, seen()] == [record(number)["event"]["event_id"] for number in (2, 3)]
    following.send_signal(signal.SIGINT)
    assert following.wait(10) == 0
