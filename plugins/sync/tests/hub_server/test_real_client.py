"""The released client itself, from the package index, against a hub: it logs in, delivers, refreshes, listens, and asks for trackers.

It loses events of its own before they are in its store; what its store says that it delivered is what the hub has, by id.
"""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

import httpx
import pytest

from ..hub import HubProcess, record
from .real_client import RealClient, installed

pytestmark = pytest.mark.slow
ADA, BOB = "ada@example.org", "bob@example.org"


@pytest.fixture(scope="session")
def commands(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return installed(tmp_path_factory.mktemp("released") / "environment")


@pytest.fixture
def client(commands: Path, hub: HubProcess, isolated: Path) -> RealClient:
    """Logged in, with a project that may send."""
    hub.add_user(ADA, "cats")
    made = RealClient(commands, isolated / "ada", hub)
    assert "Authenticated as ada@example.org" in made.log_in(ADA)
    made.git("init", "--quiet")
    made.git("commit", "--quiet", "--allow-empty", "-m", "start")
    made.run("init", "--ai", "claude", "--non-interactive", ".")
    made.git("add", ".")
    made.git("commit", "--quiet", "-m", "init")
    made.git("switch", "--quiet", "-c", "work")
    made.run("sync", "opt-in")
    return made


def rows(hub: HubProcess, query: str) -> list[Any]:
    database = sqlite3.connect(hub.database, timeout=30)
    with database:
        found = database.execute(query).fetchall()
    database.close()
    return found


def kept(hub: HubProcess) -> set[str]:
    """The id of every event that came from the client: those that are handed on, and those that no model takes."""
    return set(hub.events("cats")) | {one for (one,) in rows(hub, "SELECT event_id FROM set_aside")}


def test_it_delivers_and_the_hub_has_exactly_what_it_delivered(client: RealClient, hub: HubProcess) -> None:
    status = client.run("auth", "status")
    assert "Authenticated" in status
    assert ADA in status
    assert "cats" in status
    said = ["--friendly-name", "Demo", "--purpose-tldr", "To see", "--purpose-context", "To see it go"]
    client.run("agent", "mission", "create", "demo", *said, "--json")
    report = client.sync_now()
    assert report["delivered"] > 0
    assert report["failures"] == []
    assert report["delivered"] == report["selected"] == len(client.delivered())
    assert kept(hub) == client.delivered()
    assert len(hub.events("cats")) > 0, "others see some of them"
    assert client.uploaded() == {one for (one,) in rows(hub, "SELECT hash FROM artifacts")}
    assert client.uploaded() != set()
    assert client.sync_now(code=1)["selected"] == 0

    shown = client.run("sync", "status", "--check")
    assert "authentication valid" in shown

    # The hub ends the access token; the client believes that it has minutes left.
    rows(hub, "UPDATE tokens SET expires_at = 1 WHERE kind = 'access'")
    assert rows(hub, "SELECT count(*) FROM tokens WHERE replaced_at IS NOT NULL") == [(0,)]
    discovered = client.run("tracker", "discover", "--provider", "github")
    assert "No bindable resources found for provider 'github'" in discovered
    assert rows(hub, "SELECT count(*) FROM tokens WHERE replaced_at IS NOT NULL") == [(1,)]


def test_its_websocket_delivers_and_hears_what_others_store(client: RealClient, hub: HubProcess) -> None:
    client.sync_now(code=1)  # nothing yet; but from now on the client knows where it may send
    assert client.delivered() == set()
    hub.add_user(BOB, "cats")
    bob = {"Authorization": f"Bearer {hub.login(BOB)['access_token']}"}
    running = client.listen()
    assert running.stdout is not None
    assert running.stdout.readline() == "Connected\n", running.communicate()[0]
    assert client.delivered() != set(), "what waited went over the websocket"
    assert kept(hub) == client.delivered()
    one = record(1)
    httpx.post(f"{hub.address}/v1/events", headers=bob, json={"events": [one]}, trust_env=False).raise_for_status()
    heard = json.loads(running.stdout.readline())
    assert heard["type"] == "event"
    assert {key: heard[key] for key in one["event"]} == one["event"]
    assert running.stdout.readline() == "Offline\n"
    assert running.wait(30) == 0
