"""Only the host, this plugin and one small plugin that makes rows; a queue of the test's own; servers that can fail."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from kitty_host.testing import Project, isolate
from kitty_sync import transport
from kitty_sync.auth import login, refresh, tokens
from kitty_sync.queue import PENDING, Queue
from kitty_sync.settings import Target, target
from kitty_sync.switch import VARIABLE

from .hub import HubProcess
from .odd_server import Server, Trap

ADA = "ada@example.org"
PROJECT = "6f1d6c0e-1f2e-4d0c-9a55-3a8f3f1c2b7d"
# A command that emits rows, so that the queue is filled the way every command fills it.
POKE = """
from kitty_host.api import Command, hookimpl

@hookimpl
def kitty_commands():
    return [Command("poke", "poke_cli:poke", "Emit rows.")]
"""
POKE_CLI = """
import click
from kitty_host.command import command

@command("poke", mission=True)
@click.option("--count", default=1)
@click.option("--id", "ids", multiple=True)
@click.option("--fail", is_flag=True)
def poke(call, count, ids, fail):
    from kitty_host.ledger.emit import emit
    from kitty_host.ledger.event import envelope
    for number, event_id in enumerate(ids or [None] * count):
        payload = {"wp_id": f"WP{number:02}", "wp_title": "Poked", "wp_path": "tasks/x.md", "depends_on": [], "actor": "poke",
            "mission_slug": call.mission.slug, "mission_number": None, "created_at": None}
        row = envelope("WPCreated", payload, aggregate_id=payload["wp_id"], aggregate_type="WorkPackage")
        emit(call.plugins, call.mission, lambda state: [row | {"event_id": event_id}])
    if fail:
        raise RuntimeError("poked too hard")
    call.show({"schema": "poke/1"}, "poked")
"""


class Sync:
    """A project whose rows are queued, and what its queue and files hold."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self.mission = project.mission()
        self.id = PROJECT
        self.queue = Queue(Target())

    def cap(self, events: int) -> None:
        """Let the queue hold so many events."""
        with (self.project.root / ".kittify/config.yaml").open("a") as stream:
            stream.write(f"sync:\n  queue_max_events: {events}\n")

    def poke(self, count: int) -> None:
        """Emit rows, each told to the observer."""
        answer = self.project.kitty("poke", "--count", str(count))
        assert answer.exit_code == 0, answer

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Start a command in a process of its own."""
        command = [sys.executable, "-m", "kitty_host", *arguments]
        return subprocess.Popen(command, cwd=self.project.root, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def emitted(self) -> list[str]:
        """The id of every row of the ledger, sorted."""
        return sorted(row["event_id"] for row in self.mission.ledger.rows())

    def queued(self) -> list[str]:
        """The id of every event that waits, sorted."""
        return sorted(self.queue.ids(self.id, PENDING))

    def files(self) -> list[Path]:
        """The drained files."""
        return sorted((self.project.root / ".kittify" / "sync").glob("*"))

    def drained(self) -> list[str]:
        """The id of every event of every drained file, sorted, with those that stand in several as often."""
        import json

        lines = [line for file in self.files() for line in file.read_text().splitlines()[1:]]
        return sorted(json.loads(line)["event_id"] for line in lines)

    def run(self, *arguments: str) -> Any:
        """Run a `kitty sync` command that succeeds, and return its JSON."""
        answer = self.project.kitty("sync", *arguments, "--json")
        assert answer.exit_code == 0, answer
        return answer.json


@pytest.fixture
def poked(project: Project, install_plugin: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> Project:
    """A project with the command `poke`; sync is not enabled."""
    site = install_plugin("poke", POKE)
    (site / "poke_cli.py").write_text(POKE_CLI)
    monkeypatch.setenv("KITTY_PLUGINS", "sync,poke")
    return project


@pytest.fixture
def sync(poked: Project, monkeypatch: pytest.MonkeyPatch) -> Sync:
    """The same with sync enabled."""
    monkeypatch.setenv(VARIABLE, "1")
    return Sync(poked)


@pytest.fixture(autouse=True)
def _nobody_is_known() -> None:
    """Connections stay for a process; the next test's server may have the same port."""
    transport._known.clear()


@pytest.fixture
def hub(isolated: Path) -> Iterator[HubProcess]:
    """A hub in which nobody is yet, which may be killed."""
    found = HubProcess(isolated / "hub")
    yield found
    found.stop()


@pytest.fixture(scope="session")
def standing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubProcess]:
    """A hub for all tests of a process. Nobody kills it, and each test has a team of its own."""
    directory = tmp_path_factory.mktemp("standing")
    with pytest.MonkeyPatch.context() as patch:
        isolate(directory, patch)
        found = HubProcess(directory / "hub")
    yield found
    found.stop()


class Online(Sync):
    """A project whose user is logged in to a hub, in a team of its own."""

    def __init__(self, project: Project, hub: HubProcess) -> None:
        super().__init__(project)
        self.hub = hub
        self.team = f"cats-{next(_numbers)}"
        hub.add_user(ADA, self.team)
        log_in(hub, team=self.team)
        self.queue = Queue(target())

    def stored(self) -> dict[str, str]:
        """The digest of every event that the hub has of the team, by id."""
        return self.hub.events(self.team)


@pytest.fixture
def online(poked: Project, standing: HubProcess, monkeypatch: pytest.MonkeyPatch) -> Online:
    """The same with ada, who may write, logged in."""
    monkeypatch.setenv(VARIABLE, "1")
    monkeypatch.setenv("KITTY_KEYRING", "0")
    return Online(poked, standing)


@pytest.fixture
def online_alone(poked: Project, hub: HubProcess, monkeypatch: pytest.MonkeyPatch) -> Online:
    """The same with a hub that may be killed."""
    monkeypatch.setenv(VARIABLE, "1")
    monkeypatch.setenv("KITTY_KEYRING", "0")
    return Online(poked, hub)


def log_in(hub: HubProcess, address: str = "", team: str = "team") -> None:
    """Leave what a login leaves; `address` is a way to the hub that is not its own. The command itself is tried elsewhere."""
    said = hub.login(ADA, "--team", team)
    issuer = address or hub.address
    refresh.keep(issuer, tokens.Tokens(said["access_token"], said["refresh_token"]))
    answer = transport.ask_as(issuer, said["access_token"], "/v1/me")
    told = json.loads(answer.body)["team"]
    login.record(login.Login(issuer, told["id"], told["slug"], ADA))


_numbers = itertools.count()


@pytest.fixture
def user(isolated: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user who has switched sync on, without keyring and proxies; the test's directory."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "GITHUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.setenv(VARIABLE, "1")
    monkeypatch.setenv("KITTY_KEYRING", "0")
    return isolated


@pytest.fixture
def server(user: Path) -> Iterator[Server]:
    """A server at which the user is not logged in yet."""
    made = Server()
    yield made
    made.close()


@pytest.fixture
def other(user: Path) -> Iterator[Server]:
    """Another one."""
    made = Server()
    yield made
    made.close()


@pytest.fixture
def trap() -> Iterator[Trap]:
    """A port to which nothing may be sent."""
    made = Trap()
    yield made
    made.close()
