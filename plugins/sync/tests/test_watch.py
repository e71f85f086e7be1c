"""What happens is shown as it comes, goes on by its cursor where a connection broke, and steers no terminal."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from kitty_sync.watch import Message, messages

if TYPE_CHECKING:
    from .odd_server import Server

SEE = """
from kitty_host.api import Command, hookimpl

@hookimpl
def kitty_commands():
    return [Command("see", "see_cli:see", "Watch.")]
"""
SEE_CLI = """
import click
from kitty_host.command import command

@command("see")
@click.option("--since")
@click.option("--project")
@click.option("--retries", default=5)
@click.argument("issuer")
def see(call, issuer, since, project, retries):
    from kitty_sync.retry import Policy
    from kitty_sync.watch import watch
    transport = call.plugins.required("kitty_transport", issuer=issuer)
    watch(call, transport, project=project, since=since, policy=Policy(retries=retries, backoff=0.1))
"""


def moved(number: int, **payload: Any) -> dict[str, Any]:
    event = {
        "event_type": "WPStatusChanged",
        "timestamp": f"2026-11-27T06:00:0{number}Z",
        "payload": {"wp_id": "WP01", "from_lane": "planned", "to_lane": "claimed", "actor": "robin", **payload},
    }
    return {"mission_id": "01", "mission_slug": "demo-01", "aggregate_type": "WorkPackage", "event": event}


def sent(cursor: str, record: Any) -> str:
    return f"id: {cursor}\nevent: event\ndata: {json.dumps(record)}\n\n"


class Watching:
    """The command, in a process of its own."""

    def __init__(self, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "kitty_host", "see", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def line(self) -> str:
        assert self.process.stdout
        return self.process.stdout.readline().rstrip("\n")

    def interrupt(self) -> tuple[int, str, str]:
        self.process.send_signal(signal.SIGINT)
        out, err = self.process.communicate(timeout=10)
        return self.process.returncode, out, err


@pytest.fixture
def watching(
    server: Server, install_plugin: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Watching]:
    site = install_plugin("see", SEE)
    (site / "see_cli.py").write_text(SEE_CLI)
    monkeypatch.setenv("KITTY_PLUGINS", "sync,see")
    server.log_in()
    return lambda *arguments: Watching(*arguments, server.address)


def asked(server: Server, count: int) -> list[str]:
    while len(server.paths()) < count:
        time.sleep(0.01)
    return server.paths()


def test_an_event_is_a_line_with_time_mission_what_and_who(server: Server, watching: Callable[..., Watching]) -> None:
    server.events = [
        sent("c1", moved(1)) + ": still here\n\n" + sent("c2", moved(2, from_lane=None, actor={"tool": "x"}))
    ]
    see = watching()
    assert see.line() == "2026-11-27T06:00:01Z  demo-01  WP01 planned → claimed  robin"
    assert see.line().startswith("2026-11-27T06:00:02Z  demo-01  WP01 new → claimed  ")
    asked(server, 2)
    code, out, err = see.interrupt()
    assert (code, out) == (0, "")
    assert err.splitlines()[-1] == "go on later with: kitty sync watch --since c2"


def test_as_json_each_event_is_an_object_on_a_line(server: Server, watching: Callable[..., Watching]) -> None:
    server.events = [sent("c1", moved(1)) + sent("c2", moved(2))]
    see = watching("--json")
    said = [json.loads(see.line()) for _ in range(2)]
    assert said[0] == {"schema": "kitty.watched/1", "cursor": "c1", "record": moved(1)}
    assert said[1]["cursor"] == "c2"
    assert see.interrupt()[:2] == (0, "")


def test_a_broken_connection_goes_on_by_its_cursor(server: Server, watching: Callable[..., Watching]) -> None:
    server.events = [sent("c1", moved(1)), sent("c2", moved(2))]
    see = watching("--project", "6f1d6c0e")
    assert [see.line()[:20], see.line()[:20]] == ["2026-11-27T06:00:01Z", "2026-11-27T06:00:02Z"]
    assert asked(server, 3) == [
        "/v1/events/stream?after=latest&project=6f1d6c0e",
        "/v1/events/stream?after=c1&project=6f1d6c0e",
        "/v1/events/stream?after=c2&project=6f1d6c0e",
    ]
    assert see.interrupt()[0] == 0


def test_a_connection_that_breaks_before_anything_came_goes_on_from_where_it_began(
    server: Server, watching: Callable[..., Watching]
) -> None:
    server.events = ["id: c0\nevent: here\ndata: {}\n\n", sent("c1", moved(1))]
    see = watching()
    assert see.line()[:20] == "2026-11-27T06:00:01Z"
    assert asked(server, 2)[:2] == ["/v1/events/stream?after=latest", "/v1/events/stream?after=c0"]
    assert see.interrupt()[0] == 0


def test_it_begins_at_the_start_where_that_is_asked(server: Server, watching: Callable[..., Watching]) -> None:
    see = watching("--since", "start")
    assert asked(server, 1) == ["/v1/events/stream"]
    assert see.interrupt()[0] == 0


def test_it_begins_where_it_is_told(server: Server, watching: Callable[..., Watching]) -> None:
    see = watching("--since", "a b&c")
    assert asked(server, 1) == ["/v1/events/stream?after=a+b%26c"]
    assert see.interrupt()[0] == 0


def test_foreign_text_steers_no_terminal(server: Server, watching: Callable[..., Watching]) -> None:
    server.events = [sent("c1", moved(1, actor="evil\x1b[2J\nkitty: all is well", wp_id="WP\u202e01"))]
    see = watching()
    line = see.line()
    assert "\x1b" not in line
    assert "\u202e" not in line
    assert "all is well" in line
    assert see.interrupt()[1] == ""


def test_what_is_no_event_is_said_and_passed_over(server: Server, watching: Callable[..., Watching]) -> None:
    server.events = ["id: c1\nevent: event\ndata: {}\n\n" + "event: other\ndata: x\n\n" + sent("c2", moved(2))]
    see = watching()
    assert see.line().startswith("2026-11-27T06:00:02Z")
    assert "what came at c1 is no event" in see.interrupt()[2]


def test_a_server_that_stays_away_is_given_up_with_a_history(server: Server, watching: Callable[..., Watching]) -> None:
    server.close()
    see = watching("--retries", "2", "--since", "c7", "--json")
    out, err = see.process.communicate(timeout=30)
    said = json.loads(out)
    assert (see.process.returncode, said["code"], len(said["details"]["history"])) == (1, "SERVER_UNREACHABLE", 3)
    assert said["hint"] == "kitty sync watch --since c7"
    assert err.count("once more in") == 2


def test_a_refusal_is_not_asked_again(server: Server, watching: Callable[..., Watching]) -> None:
    server.refused = 403
    see = watching("--json")
    out, _ = see.process.communicate(timeout=30)
    assert json.loads(out)["code"] == "SERVER_REFUSED"
    assert len(server.calls) == 1
    assert os.environ["KITTY_PLUGINS"] == "sync,see"


@pytest.mark.parametrize(
    ("lines", "found"),
    [
        (["data: a", "data:b", ""], [Message("", "message", "a\nb")]),
        (["id: 1", "", "data: a", "", "id", "data", ""], [Message("1", "message", "a"), Message("", "message", "")]),
        ([": comment", "data: a"], [None]),
        (
            ["id: a\0b", "event: x", "data:  a", "", "data: b", ""],
            [Message("", "x", " a"), Message("", "message", "b")],
        ),
        (["retry: 1", "unknown", "data: {", ""], [Message("", "message", "{")]),
    ],
)
def test_messages_are_read_as_the_standard_says(lines: list[str], found: list[Any]) -> None:
    assert list(messages(lines)) == found
