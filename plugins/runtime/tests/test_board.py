"""The board as a server: on loopback, for who has the address, for nobody else, and gone when it is over."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from kitty_host.testing import Project
from kitty_runtime import serve

if TYPE_CHECKING:
    from conftest import Road

PATIENCE = 20


class Answer(NamedTuple):
    """What came back."""

    status: int
    headers: dict[str, str]
    body: str


class Board:
    """`kitty board`, in a process of its own."""

    def __init__(self, root: Path, *arguments: str, **environment: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "kitty_host", "board", "--json", *arguments],
            cwd=root,
            env={**os.environ, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        self.told: dict[str, Any] = json.loads(self.process.stdout.readline())
        self.port = int(self.told.get("port", 0))
        self.path = "/" + str(self.told.get("url", "")).split("/", 3)[-1]

    @contextlib.contextmanager
    def request(
        self, path: str | None = None, method: str = "GET", **headers: str
    ) -> Iterator[http.client.HTTPResponse]:
        """A request whose answer is still to be read. The path is the board's unless another is given."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        try:
            connection.request(method, self.path if path is None else path, headers=headers)
            yield connection.getresponse()
        finally:
            connection.close()

    def ask(self, path: str | None = None, method: str = "GET", **headers: str) -> Answer:
        """A request and its whole answer."""
        with self.request(path, method, **headers) as answer:
            return Answer(answer.status, dict(answer.getheaders()), answer.read().decode())

    def end(self, number: int = signal.SIGINT) -> tuple[int, str, str]:
        """End it; its exit code and what it has said besides."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        out, err = self.process.communicate(timeout=PATIENCE)
        return self.process.returncode, out, err


@pytest.fixture
def serving(road: Road) -> Iterator[Callable[..., Board]]:
    """Starts boards of the repository; they end with the test."""
    boards: list[Board] = []

    def start(*arguments: str, **environment: str) -> Board:
        made = Board(road.root, *(arguments or ("--no-open",)), **environment)
        boards.append(made)
        return made

    yield start
    for one in boards:
        one.end(signal.SIGKILL)


@pytest.fixture
def board(road: Road, serving: Callable[..., Board]) -> Board:
    """A board of one mission with one work package."""
    road.planned()
    return serving()


def test_it_prints_where_it_is_and_is_there(board: Board) -> None:
    assert board.told == {
        "schema": "kitty.board/1",
        "url": f"http://127.0.0.1:{board.port}{board.path}",
        "port": board.port,
    }
    assert len(board.path) > 22 + 2, "128 bits take 22 characters"
    answer = board.ask()
    assert answer.status == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert "Title of WP01" in answer.body


def test_two_boards_have_two_addresses(board: Board, serving: Callable[..., Board]) -> None:
    other = serving()
    assert (other.path, other.port) != (board.path, board.port)
    assert other.path != board.path


def test_it_is_on_loopback_only(board: Board) -> None:
    """Of all addresses of this machine the one."""
    with socket.socket() as elsewhere, pytest.raises(ConnectionRefusedError):
        elsewhere.connect(("127.0.0.2", board.port))


def test_a_port_can_be_chosen_and_one_that_is_taken_is_refused(
    road: Road, board: Board, serving: Callable[..., Board]
) -> None:
    refused = serving("--no-open", "--port", str(board.port))
    assert refused.told["code"] == "PORT_UNUSABLE"
    assert refused.process.wait(PATIENCE) == 1
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    assert serving("--no-open", "--port", str(port)).port == port
    assert road.project.kitty("board", "--port", "65536", "--json").exit_code == 2


# Who is answered


@pytest.mark.parametrize(
    "change",
    [
        lambda path: "/",
        lambda path: path.rstrip("/"),
        lambda path: path[:-2] + "/",
        lambda path: path[:-1] + "x/",
        lambda path: f"/{path}",
        lambda path: path.swapcase(),
        lambda path: f"{path}other",
        lambda path: f"{path}events/",
        lambda path: f"{path}%2e%2e/",
        lambda path: f"{path}../",
        lambda path: "/events",
        lambda path: "/favicon.ico",
        lambda path: "/%ff%00%c3%a9/",
    ],
)
def test_any_other_address_is_not_found_and_tells_nothing(board: Board, change: Callable[[str], str]) -> None:
    answer = board.ask(change(board.path))
    assert (answer.status, answer.body) == (404, "")
    assert "allow" not in answer.headers


@pytest.mark.parametrize("host", ["evil.example", "evil.example:{}", "127.0.0.1.evil.example:{}", "127.0.0.2:{}", ""])
def test_a_name_that_leads_here_from_elsewhere_is_refused(board: Board, host: str) -> None:
    """DNS rebinding: the page of an attacker whose name suddenly means this machine."""
    answer = board.ask(Host=host.format(board.port))
    assert (answer.status, answer.body) == (404, "")


def test_the_name_of_this_machine_is_its_address(board: Board) -> None:
    """As it is through a tunnel, with another port."""
    assert board.ask(Host="localhost:8080").status == 200


@pytest.mark.parametrize("method", ["HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE"])
def test_nothing_but_get_is_answered(board: Board, method: str) -> None:
    for path in (board.path, f"{board.path}events"):
        answer = board.ask(path, method)
        assert (answer.status, answer.body, answer.headers["allow"]) == (405, "", "GET")
    assert board.ask("/", method).status == 404


def test_every_answer_has_the_headers(road: Road, board: Board) -> None:
    with board.request(f"{board.path}events") as events:
        answers = [dict(events.getheaders())]
    answers += [board.ask(path).headers for path in (board.path, "/", f"{board.path}?mission=nobody")]
    answers.append(board.ask(method="POST").headers)
    for headers in answers:
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["cache-control"] == "no-store"
        policy = headers["content-security-policy"]
        for name in ("default-src", "base-uri", "form-action", "frame-ancestors"):
            assert f"{name} 'none'" in policy
        assert "unsafe" not in policy
        assert "server" not in headers


# What is answered


def test_all_missions_one_or_those_that_are_open(road: Road, board: Board) -> None:
    first = road.mission.slug
    road("cancel", "WP01", "--reason", "no", "--mission", first)
    second = road("mission", "create", "second")["slug"]

    def titles(query: str) -> set[str]:
        return {slug for slug in (first, second) if f'id="{slug}-title"' in board.ask(board.path + query).body}

    assert titles("") == {second}
    assert titles("?all") == {first, second}
    assert titles(f"?mission={first}") == {first}
    unknown = board.ask(f"{board.path}?mission=<b>nobody")
    assert (unknown.status, unknown.headers["content-type"]) == (404, "text/plain; charset=utf-8")
    assert unknown.body.startswith("MISSION_NOT_FOUND: ")


@pytest.mark.parametrize(
    ("name", "code"),
    [("status.events.jsonl", "LEDGER_DAMAGED"), ("meta.json", "MISSION_DAMAGED"), ("lanes.json", "LANES_INVALID")],
)
def test_a_mission_that_is_damaged_says_so_in_its_place(road: Road, board: Board, name: str, code: str) -> None:
    slug = road.mission.slug
    damaged = road.mission.directory / name
    road("mission", "create", "second")
    damaged.write_bytes(b"[]\n")
    answer = board.ask()
    assert answer.status == 200
    assert f"<code>{code}</code>" in answer.body
    assert slug in answer.body
    assert answer.body.count("<progress") == 1


def test_a_question_changes_nothing(road: Road, board: Board) -> None:
    before = road.project.snapshot()
    assert board.ask().status == board.ask(f"{board.path}?all").status == 200
    assert road.project.snapshot() == before


def test_a_page_that_cannot_be_drawn_says_why_and_ends_nothing(
    road: Road, serving: Callable[..., Board], install_plugin: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    road.planned()
    source = (
        "from kitty_host.api import hookimpl\n\n@hookimpl(tryfirst=True)\ndef kitty_board_page(states):\n    1 / 0\n"
    )
    install_plugin("painter", source)
    monkeypatch.setenv("KITTY_PLUGINS", "runtime,lanes,painter")
    board = serving()
    for _ in range(2):
        answer = board.ask()
        assert answer.status == 500
        assert answer.body == "plugin painter: kitty_board_page failed: ZeroDivisionError: division by zero\n"


def test_the_page_of_a_stranger_runs_nothing_unless_it_says_so(
    road: Road, serving: Callable[..., Board], install_plugin: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    road.planned()
    source = (
        "from kitty_host.api import hookimpl\n\n@hookimpl\ndef kitty_board_page(states):\n"
        "    from kitty_host.records import Page\n    return Page('<script>1</script>')\n"
    )
    install_plugin("painter", source)
    monkeypatch.setenv("KITTY_PLUGINS", "runtime,lanes,painter")
    answer = serving().ask()
    assert answer.body == "<script>1</script>"
    assert answer.headers["content-security-policy"].startswith("default-src 'none'; base-uri")


# News, and the end


def test_whoever_listens_is_told_of_each_change(road: Road, board: Board) -> None:
    with board.request(f"{board.path}events") as one, board.request(f"{board.path}events") as other:
        assert one.getheader("content-type") == "text/event-stream; charset=utf-8"
        for number in ("1", "2"):
            assert road.project.process("note", "WP01", number, "--agent", "ada").exit_code == 0
            for listener in (one, other):
                while (line := listener.readline().decode()) != "event: changed\n":
                    assert line in ("retry: 1000\n", "\n"), line
                assert listener.readline().decode() == f"data: {number}\n"


def test_a_stream_in_which_nothing_happens_says_that_it_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve, "_HEARTBEAT", 0.01)

    async def listen() -> list[str]:
        stream = serve._Changes().stream()
        return [await anext(stream) for _ in range(3)]

    assert asyncio.run(listen()) == ["retry: 1000\n\n", ": still here\n\n", ": still here\n\n"]


def test_it_ends_at_once_and_quietly_although_somebody_listens(board: Board) -> None:
    with board.request(f"{board.path}events") as events:
        assert events.readline() == b"retry: 1000\n"
        board.process.send_signal(signal.SIGINT)
        assert events.read().strip() == b"", "the stream has an end, and is not cut off"
    assert board.end() == (0, "", "")


def test_killed_it_leaves_nothing_behind(road: Road, serving: Callable[..., Board]) -> None:
    road.planned()
    before = road.project.snapshot()
    board = serving()
    assert board.ask().status == 200
    assert board.end(signal.SIGKILL)[0] == -signal.SIGKILL
    assert road.project.snapshot() == before
    with pytest.raises(ConnectionRefusedError):
        board.ask()


def test_people_are_told_the_address_and_how_it_ends(road: Road) -> None:
    road.planned()
    with subprocess.Popen(
        [sys.executable, "-m", "kitty_host", "board", "--no-open"], cwd=road.root, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("http://127.0.0.1:")
        assert "Ctrl-C" in process.stdout.readline()
        process.send_signal(signal.SIGINT)
        try:
            assert process.wait(30) == 0
        finally:
            process.kill()


# The browser


@pytest.fixture
def browsers(tmp_path: Path) -> Path:
    """A directory with two browsers: one that a person names, and one that takes the terminal. Each notes what it is asked for."""
    place = tmp_path / "browsers"
    for name in ("mine", "www-browser"):
        Project(tmp_path).write(f"browsers/{name}", f'#!/bin/sh\necho "$1" > {place}/{name}.asked\n').chmod(0o755)
    return place


def path_with(browsers: Path) -> dict[str, str]:
    return {"PATH": f"{browsers}{os.pathsep}{os.environ['PATH']}", "DISPLAY": "", "WAYLAND_DISPLAY": "", "BROWSER": ""}


def test_it_is_opened_in_the_browser(road: Road, serving: Callable[..., Board], browsers: Path) -> None:
    road.planned()
    board = serving("--port", "0", **{**path_with(browsers), "BROWSER": str(browsers / "mine")})
    asked = browsers / "mine.asked"
    until = time.monotonic() + PATIENCE
    while not asked.exists() or not asked.read_text().endswith("\n"):
        assert time.monotonic() < until, "nobody was asked"
        time.sleep(0.05)
    assert asked.read_text() == f"{board.told['url']}\n"


@pytest.mark.parametrize("arguments", [["--no-open"], ["--port", "0"]], ids=["unwanted", "none"])
def test_none_is_opened_where_nobody_wants_one_or_none_is(
    road: Road, serving: Callable[..., Board], browsers: Path, arguments: list[str]
) -> None:
    """A browser without a display takes the terminal."""
    road.planned()
    wanted = {"BROWSER": str(browsers / "mine")} if arguments == ["--no-open"] else {}
    board = serving(*arguments, **{**path_with(browsers), **wanted})
    assert board.ask().status == 200
    assert board.end() == (0, "", "")
    assert list(browsers.glob("*.asked")) == []
