"""Only the host, this plugin and one small plugin that makes rows; a queue of the test's own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from hub import HubProcess

from kitty_host.testing import Project
from kitty_sync.queue import Queue
from kitty_sync.switch import VARIABLE

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
def poke(call, count, ids):
    from kitty_host.ledger.emit import emit
    from kitty_host.ledger.event import envelope
    for number, event_id in enumerate(ids or [None] * count):
        row = envelope("Poked", {"number": number}, aggregate_id=call.mission.mission_id)
        emit(call.plugins, call.mission, lambda state: [row | {"event_id": event_id}])
    call.show({"schema": "poke/1"}, "poked")
"""


class Sync:
    """A project whose rows are queued, and what its queue and files hold."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self.mission = project.mission()
        self.queue = Queue("6f1d6c0e-1f2e-4d0c-9a55-3a8f3f1c2b7d")

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
        """The id of every event of the queue, sorted."""
        return sorted(entry.event_id for entry in self.queue.entries())

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


@pytest.fixture
def hub(isolated: Path) -> Iterator[HubProcess]:
    """A hub in a process of its own, with nobody in it yet."""
    process = HubProcess(isolated / "hub")
    yield process
    process.stop()
