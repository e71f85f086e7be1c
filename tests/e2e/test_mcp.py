"""An agent works over MCP: the server is the real process, the client the protocol's own."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import click
import pytest
from mcp.client.client import Client
from mcp.client.stdio import StdioServerParameters, stdio_client
from mcp.shared.exceptions import MCPError
from mcp_types import CallToolResult

from kitty_host.cli import Kitty
from kitty_host.files import lock
from kitty_host.mission import find_missions
from kitty_host.plugins import Plugins
from kitty_host.repo import Repo
from kitty_host.testing import Project
from kitty_runtime.mcp import PROMPT, TOOLS, typed

if TYPE_CHECKING:
    from conftest import Walk

HELLO = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}


@contextlib.asynccontextmanager
async def agent(where: Path, *arguments: str, mode: str = "auto") -> AsyncIterator[Client]:
    """A client of `kitty -C where mcp arguments`."""
    words = ["-P", "-m", "kitty_host", "-C", str(where), "mcp", *arguments]
    server = StdioServerParameters(command=sys.executable, args=words, env=dict(os.environ), cwd=where)
    async with Client(stdio_client(server), mode=mode) as client:
        yield client


async def ask(client: Client, tool: str, **arguments: Any) -> dict[str, Any]:
    """What a tool answers that does not refuse."""
    said = await client.call_tool(f"kitty_{tool}", arguments)
    assert not said.is_error, said
    return content(said)


async def refusal(client: Client, tool: str, **arguments: Any) -> dict[str, Any]:
    """How a tool refuses."""
    said = await client.call_tool(f"kitty_{tool}", arguments)
    assert said.is_error, said
    told = content(said)
    assert told["schema"] == "kitty.error/1"
    return told


def content(said: CallToolResult) -> dict[str, Any]:
    """The object of a result, which is its text too."""
    [text] = said.content
    assert text.type == "text"
    assert json.loads(text.text) == said.structured_content
    found: dict[str, Any] = said.structured_content
    return found


def run(test: Callable[[], Awaitable[None]]) -> None:
    anyio.run(test)


def notes(walk: Walk) -> list[str]:
    """The notes of the ledger, in their order."""
    [mission] = find_missions(Repo.find(walk.project.root))
    lines = map(json.loads, mission.ledger.live.read_text().splitlines())
    return [row["delta"]["note"] for row in lines if "note" in row.get("delta", {})]


class Server:
    """A server whose pipes the test holds itself."""

    def __init__(self, where: Path) -> None:
        words = [sys.executable, "-m", "kitty_host", "-C", str(where), "mcp", "--agent", "ada"]
        self.process = subprocess.Popen(
            words, cwd=where, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        assert self.process.stdin
        assert self.process.stdout
        self.stdin, self.stdout = self.process.stdin, self.process.stdout

    def send(self, *messages: dict[str, Any] | bytes) -> None:
        for message in messages:
            self.stdin.write(message if isinstance(message, bytes) else json.dumps(message).encode() + b"\n")
        self.stdin.flush()

    def hello(self) -> None:
        self.send(request(0, "initialize", HELLO))
        assert json.loads(self.stdout.readline())["id"] == 0
        self.send({"jsonrpc": "2.0", "method": "notifications/initialized"})

    def children(self) -> list[int]:
        pid = self.process.pid
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def request(number: int, method: str, params: dict[str, Any]) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": number, "method": method, "params": params}


def call(number: int, tool: str, **arguments: Any) -> dict[str, Any]:
    return request(number, "tools/call", {"name": f"kitty_{tool}", "arguments": arguments})


@pytest.fixture
def server(walk: Walk) -> Iterator[Server]:
    """A server on a planned mission."""
    walk.plan()
    made = Server(walk.project.root)
    yield made
    made.process.kill()
    made.process.wait()


def until(true: Callable[[], Any]) -> Any:
    """What a condition gives when it holds; it has a minute."""
    for _ in range(1200):
        found = true()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError("it never came")


@contextlib.contextmanager
def held(walk: Walk) -> Iterator[None]:
    """Whatever writes to the mission waits."""
    [mission] = find_missions(Repo.find(walk.project.root))
    with lock(mission.ledger.lock_file):
        yield


# The road


@pytest.mark.slow
def test_two_agents_take_a_package_from_its_claim_over_a_rejection_to_its_approval(walk: Walk) -> None:
    """One speaks the protocol of 2025, the other that of 2026."""
    walk.plan()
    root = walk.project.root

    async def implement(ada: Client) -> None:
        step = await ask(ada, "next", result="success")
        assert (step["kind"], step["wp_id"]) == ("step", "WP01")
        assert step["prompt"] == Path(step["prompt_file"]).read_text()
        assert "kitty implement WP01" in step["prompt"]
        place = Path((await ask(ada, "implement", wp="WP01"))["workspace_path"])
        assert (await refusal(ada, "submit", wp="WP01"))["code"] == "TRANSITION_REFUSED"
        early = await ask(ada, "next", result="success")
        assert (early["kind"], early["guard_failures"]) == ("blocked", ["WP01 is in_progress: kitty submit WP01"])
        commit = walk.project.commit("wp01.txt", where=place)
        assert (await ask(ada, "submit", wp="wp01"))["head"] == commit
        await ask(ada, "note", wp="WP01", text="ours comes first")

    async def review(ada: Client, grace: Client) -> None:
        told = await refusal(ada, "review", wp="WP01", verdict="claim")
        assert "ada implemented WP01" in told["message"]
        assert "--agent" in told["hint"]
        step = await ask(grace, "next", result="success")
        assert (step["mission_state"], step["wp_id"]) == ("review", "WP01")
        await ask(grace, "review", wp="WP01", verdict="claim")
        assert (await refusal(grace, "review", wp="WP01", verdict="reject"))["code"] == "USAGE"
        await ask(grace, "review", wp="WP01", verdict="reject", reason="it is empty")
        place = Path((await ask(ada, "implement", wp="WP01"))["workspace_path"])
        commit = walk.project.commit("wp01.txt", "more\n", where=place)
        await ask(ada, "submit", wp="WP01")
        await ask(grace, "review", wp="WP01", verdict="claim")
        assert (await ask(grace, "review", wp="WP01", verdict="approve"))["approved_commit"] == commit
        assert (await ask(grace, "next", result="success"))["kind"] == "step"

    async def road() -> None:
        async with agent(root, "--agent", "ada", mode="legacy") as ada, agent(root, "--agent", "grace") as grace:
            await implement(ada)
            await review(ada, grace)
            [mission] = (await ask(ada, "status"))["missions"]
            assert {one["wp_id"]: one["lane"] for one in mission["packages"]}["WP01"] == "approved"

    run(road)
    rows = [json.loads(line) for line in (walk.directory / "status.events.jsonl").read_text().splitlines()]
    assert {
        row["actor"] for row in rows if "to_lane" in row and row["wp_id"] == "WP01" and row["from_lane"] != "genesis"
    } == {
        "ada",
        "grace",
    }
    assert not any(row.get("force") for row in rows if row.get("actor") in ("ada", "grace"))


def test_an_answer_is_what_the_command_prints(walk: Walk) -> None:
    walk.plan()
    project = walk.project

    async def road() -> None:
        async with agent(project.root) as client:
            assert await ask(client, "status") == project.process("status", "--json").json
            asked = await ask(client, "next", agent="ada")
            assert asked == project.process("next", "--agent", "ada", "--json").json
            refused = await refusal(client, "submit", wp="WP09")
            assert refused == project.process("submit", "WP09", "--json").json
            assert refused["code"] == "WP_NOT_FOUND"

    run(road)


@pytest.mark.slow
def test_a_prompt_comes_with_the_answer_and_a_very_long_one_is_cut(walk: Walk) -> None:
    walk.plan()
    step = walk.kitty("next", "--agent", "ada", "--result", "success").json
    place = Path(step["prompt_file"])

    async def road() -> None:
        async with agent(walk.project.root, "--agent", "ada") as client:
            asked = await ask(client, "next")
            assert asked.pop("prompt") == place.read_text()
            assert asked == walk.project.process("next", "--agent", "ada", "--json").json
            place.write_text("ü" * PROMPT)
            text = (await ask(client, "next"))["prompt"]
            assert text.startswith("ü" * (PROMPT // 2))
            assert len(text.encode()) < PROMPT + 1000
            assert text.lstrip("ü").strip() == f"(Cut here; all of it: {place})"
            place.unlink()
            asked = await ask(client, "next")
            assert (asked["prompt_file"], "prompt" in asked) == (None, False)

    run(road)


# The tools


def test_the_tools_cost_an_agent_less_than_two_thousand_tokens(walk: Walk) -> None:
    """At three and a half characters each, which is fewer than JSON has."""

    async def road() -> None:
        async with agent(walk.project.root) as client:
            tools = (await client.list_tools()).tools
            size = len(json.dumps([one.model_dump(by_alias=True, exclude_none=True, mode="json") for one in tools]))
            assert (size + len(client.instructions or "")) / 3.5 < 2000
            assert {one.name for one in tools} == {
                "kitty_next", "kitty_implement", "kitty_submit", "kitty_review", "kitty_status", "kitty_note", "kitty_mark_status",
            }  # fmt: skip
            hints = {one.name: one.annotations for one in tools}
            assert all(one and one.destructive_hint is False and one.open_world_hint is False for one in hints.values())
            assert [name for name, one in hints.items() if one and one.read_only_hint] == ["kitty_status"]

    run(road)


@pytest.mark.parametrize("name", TOOLS)
def test_a_tool_takes_what_its_command_takes(name: str) -> None:
    tool = TOOLS[name]
    command = Kitty(Plugins.discover()).get_command(click.Context(click.Command("kitty")), *tool.words)
    assert command
    values = {one: ["x"] if found["type"] == "array" else "x" for one, found in tool.schema["properties"].items()}
    for verdict in tool.parameters.get("verdict", {"enum": ["x"]})["enum"]:
        words = typed(tool, {**values, "verdict": verdict} if "verdict" in values else values)
        options = {word.partition("=")[0] for word in words[1 : words.index("--")]}
        assert options <= {flag for one in command.params for flag in one.opts}
    wanted = [one.name for one in command.params if isinstance(one, click.Argument)]
    assert list(tool.plain) == wanted
    for parameter, schema in tool.parameters.items():
        [option] = [one for one in command.params if one.name == parameter] or [None]
        if option is not None and isinstance(option.type, click.Choice):
            assert list(option.type.choices) == schema["enum"]


MISTAKES = {
    "nothing where something is needed": ("note", {"wp": "WP01"}),
    "one too many": ("status", {"force": "yes"}),
    "a number": ("implement", {"wp": 1}),
    "another verdict": ("review", {"wp": "WP01", "verdict": "skip"}),
    "no subtasks": ("mark_status", {"ids": [], "status": "done"}),
    "NUL": ("note", {"wp": "WP01", "text": "a\0b"}),
    "more than a command line takes": ("note", {"wp": "WP01", "text": "x" * 200_000}),
}


def test_bad_input_is_refused_and_the_next_call_is_served(walk: Walk) -> None:
    walk.plan()
    before = (walk.directory / "status.events.jsonl").read_bytes()

    async def road() -> None:
        async with agent(walk.project.root, "--agent", "ada") as client:
            for case, (tool, arguments) in MISTAKES.items():
                told = await refusal(client, tool, **arguments)
                assert (told["code"], tool in told["hint"]) == ("USAGE", True), case
                assert len(json.dumps(told)) < 1000, case
            with pytest.raises(MCPError, match="there is no tool kitty_merge; there are kitty_next"):
                await client.call_tool("kitty_merge", {})
            await ask(client, "status")

    run(road)
    assert (walk.directory / "status.events.jsonl").read_bytes() == before


@pytest.mark.slow
def test_no_text_becomes_an_option(walk: Walk) -> None:
    walk.plan()
    texts = ["--help", "-C/", "--"]

    async def road() -> None:
        async with agent(walk.project.root, "--agent", "ada") as client:
            for text in texts:
                assert (await ask(client, "note", wp="WP01", text=text))["schema"] == "kitty.note/1"
            await ask(client, "implement", wp="WP01", agent="--json")
            assert (await refusal(client, "implement", wp="--help"))["code"] == "WP_NOT_FOUND"
            [mission] = (await ask(client, "status", mission=walk.mission))["missions"]
            assert mission["packages"][0]["agent"].endswith("json")

    run(road)
    assert notes(walk) == texts


@pytest.mark.slow
def test_calls_at_once_are_made_in_their_order(walk: Walk) -> None:
    """Agents ask for several tools in one breath: tick off, note, submit."""
    walk.plan()
    texts = [str(number) for number in range(5)]

    async def road() -> None:
        async with agent(walk.project.root, "--agent", "ada") as client, anyio.create_task_group() as tasks:
            for text in texts:
                tasks.start_soon(lambda text=text: ask(client, "note", wp="WP01", text=text))

    run(road)
    assert notes(walk) == texts


# Who and where


@pytest.mark.slow
def test_names_that_are_given_at_the_start_hold_for_calls_without_one(walk: Walk) -> None:
    walk.plan()
    walk.project.mission("other", [{"work_package_id": "WP07", "title": "x", "owned_files": ["x.txt"]}])

    async def road() -> None:
        async with agent(walk.project.root, "--agent", "ada", "--mission", walk.mission) as client:
            asked = await ask(client, "next")
            assert (asked["agent"], asked["mission_slug"]) == ("ada", walk.mission)
            asked = await ask(client, "next", agent="grace", mission="other")
            assert asked["agent"] == "grace"
            assert asked["mission_slug"].startswith("other-")

    run(road)


@pytest.mark.slow
def test_in_a_lane_the_actor_is_who_claimed_it(walk: Walk) -> None:
    walk.plan()
    place = Path(walk.kitty("implement", "WP01", "--agent", "ada").json["workspace_path"])

    async def road() -> None:
        async with agent(place) as client:
            await ask(client, "note", wp="WP01", text="from here")
            assert (await ask(client, "next"))["agent"] == "ada"

    run(road)


@pytest.mark.slow
def test_nothing_is_imported_from_the_repository(walk: Walk) -> None:
    """An agent starts its servers where it works."""
    walk.plan()
    for name in ("click", "attrs", "json"):
        walk.project.write(f"{name}.py", "raise SystemExit('not this one')\n")

    async def road() -> None:
        async with agent(walk.project.root) as client:
            await ask(client, "status")

    run(road)


@pytest.mark.slow
def test_where_nothing_is_initialized_there_is_no_server(project: Project) -> None:
    (project.root / ".kittify/config.yaml").unlink()
    done = project.process("mcp", stdin=b"")
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr.startswith("SPEC_KITTY_REPO_NOT_INITIALIZED")


# The protocol


PRINTS = """
import os
from kitty_host.api import hookimpl

@hookimpl
def kitty_emitted(event, mission):
    print("a plugin speaks")
    os.write(1, b"and its children do\\n")
"""


@pytest.mark.slow
def test_standard_output_carries_the_protocol_and_nothing_else(walk: Walk, install_plugin: Callable[..., Path]) -> None:
    install_plugin("prints", PRINTS)
    walk.plan()
    server = Server(walk.project.root)
    server.send(b"hello\n", b"\xff\xfe{\n", b"[]\n", b'{"jsonrpc": "2.0"}\n')
    server.hello()
    server.send(b"}{\n", call(1, "note", wp="WP01", text="x"), request(2, "nonsense", {}), call(3, "nonsense"))
    lines = [server.stdout.readline() for _ in range(3)]
    out, err = server.process.communicate(timeout=60)
    messages = [json.loads(line) for line in [*lines, *out.splitlines()]]
    assert {one["jsonrpc"] for one in messages} == {"2.0"}
    answers = {one["id"]: one for one in messages if one.get("id") is not None}
    assert answers[1]["result"]["isError"] is False
    assert "error" in answers[2]
    assert "error" in answers[3]
    assert (server.process.returncode, b"Traceback" in err) == (0, False)
    assert notes(walk) == ["x"]


@pytest.mark.slow
@pytest.mark.parametrize("when", ["before a word", "after the greeting"])
def test_a_client_that_hangs_up_ends_the_server(server: Server, when: str) -> None:
    if when == "after the greeting":
        server.hello()
    assert server.process.communicate(timeout=60)[1] == b""
    assert server.process.returncode == 0


@pytest.mark.slow
@pytest.mark.parametrize("how", ["hangs up", "is killed"])
def test_a_client_that_is_gone_takes_its_command_with_it(walk: Walk, server: Server, how: str) -> None:
    """Killed, it does not even read the answer."""
    server.hello()
    with held(walk):
        server.send(call(1, "note", wp="WP01", text="too late"))
        [child] = until(server.children)
        if how == "is killed":
            server.stdout.close()
        server.stdin.close()
        assert server.process.wait(timeout=60) == 0
        assert not Path(f"/proc/{child}").exists()
    assert b"Traceback" not in server.process.stderr.read()  # type: ignore[union-attr]
    assert notes(walk) == []


@pytest.mark.slow
def test_while_a_command_waits_the_server_answers_and_the_command_can_be_taken_back(walk: Walk, server: Server) -> None:
    server.hello()
    with held(walk):
        server.send(call(1, "note", wp="WP01", text="too late"))
        [child] = until(server.children)
        server.send(request(2, "ping", {}))
        assert json.loads(server.stdout.readline())["id"] == 2
        server.send({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}})
        until(lambda: child not in server.children())
    server.send(call(3, "note", wp="WP01", text="in time"))
    assert json.loads(server.stdout.readline())["id"] == 3
    assert notes(walk) == ["in time"]


@pytest.mark.slow
def test_an_interrupt_ends_the_server_though_nobody_hangs_up(server: Server) -> None:
    server.hello()
    server.process.send_signal(signal.SIGINT)
    assert server.process.wait(timeout=60) == 130
    assert server.stdout.read() == b""


@pytest.mark.slow
def test_in_a_terminal_it_says_whom_it_waits_for(walk: Walk) -> None:
    walk.plan()
    ours, theirs = os.openpty()
    os.write(ours, b"\x04")  # Ctrl-D, typed ahead
    words = [sys.executable, "-m", "kitty_host", "-C", str(walk.project.root), "mcp"]
    done = subprocess.run(words, stdin=theirs, capture_output=True, timeout=60)
    os.close(ours)
    os.close(theirs)
    assert (done.returncode, done.stdout) == (0, b"")
    assert done.stderr.startswith(b"An agent is expected on standard input")
