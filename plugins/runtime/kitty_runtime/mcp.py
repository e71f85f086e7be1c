"""`kitty mcp`: what an agent needs of kitty, as tools of the Model Context Protocol on standard input and output.

A tool is a command, run with `--json` in a process of its own, one after the other: there is one way to do a thing. In this process a
command could not be interrupted when the agent changes its mind, plugins would be without limits (which hold in the main thread only,
and move the very descriptor on which the protocol is spoken), and a fault would end the conversation. Starting Python takes a sixth of
a second, and agents think for longer.

What the tools are called and take is said here; what they do, by the commands.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from subprocess import DEVNULL
from typing import TYPE_CHECKING, Any

from attrs import frozen

from kitty_host import __version__, system
from kitty_host.api import KittyError
from kitty_host.command import Invocation, command
from kitty_host.inert import inert, visible
from kitty_host.report import ERROR_SCHEMA, INTERRUPTED, note

if TYPE_CHECKING:
    from anyio.abc import ByteReceiveStream, Process
    from mcp_types import CallToolResult
    from mcp_types import Tool as McpTool

PROMPT = 32 * 1024
"""Bytes of a prompt that come with an answer."""
_LONGEST = 100_000
"""Bytes of one argument: Linux gives 128 KiB to each word of a command line."""
_PATIENCE = 5
"""Seconds for a command that was interrupted to put its things in order."""
_INSTRUCTIONS = (
    "kitty hands out the work in this repository. Ask kitty_next, do the one step that it names, commit in the workspace, "
    "report with kitty_next(result). A refusal says how to mend it in its hint. Never edit kitty's records by hand."
)


@frozen
class Tool:
    """One command as a tool."""

    words: tuple[str, ...]
    description: str
    parameters: Mapping[str, Mapping[str, Any]]
    """JSON schemas, by name. `mission`, and `agent` where the command has it, are added to them."""
    required: tuple[str, ...] = ()
    plain: tuple[str, ...] = ()
    """Which parameters are arguments of the command, in their order; of the others each is the option of its name."""
    has_agent: bool = True
    only_reads: bool = False

    @property
    def schema(self) -> dict[str, Any]:
        """What it takes."""
        common = {"mission": _MISSION, "agent": _AGENT} if self.has_agent else {"mission": _MISSION}
        return {
            "type": "object",
            "properties": {**self.parameters, **common},
            "required": list(self.required),
            "additionalProperties": False,
        }


_TEXT: Mapping[str, Any] = {"type": "string"}
_MISSION: Mapping[str, Any] = {"type": "string", "description": "Id or slug, where several are open"}
_AGENT: Mapping[str, Any] = {"type": "string", "description": "Your name, the same in every call"}
_WP: Mapping[str, Any] = {"type": "string", "description": "Work package, as WP01"}


def _one_of(*values: str) -> Mapping[str, Any]:
    return {"type": "string", "enum": list(values)}


TOOLS = {
    "kitty_next": Tool(
        ("next",),
        "What to do next. Without result: a question, nothing changes. With it: says how your last step ended and issues the next "
        "(the first one only issues). Do what prompt says.",
        {"result": _one_of("success", "failed", "blocked")},
    ),
    "kitty_implement": Tool(
        ("implement",),
        "Claim a work package. Work and commit in workspace_path, with env set; null: in the repository, on owned files, uncommitted.",
        {"wp": _WP},
        ("wp",),
        ("wp",),
    ),
    "kitty_submit": Tool(
        ("submit",),
        "Hand your committed work to review.",
        {"wp": _WP, "no_changes": {"type": "string", "description": "Why there is nothing to commit"}},
        ("wp",),
        ("wp",),
    ),
    "kitty_review": Tool(
        ("review",),
        "Review what another agent submitted: claim, look at its commits, then approve, or reject with a reason.",
        {"wp": _WP, "verdict": _one_of("claim", "approve", "reject"), "reason": _TEXT},
        ("wp", "verdict"),
        ("wp",),
    ),
    "kitty_status": Tool(
        ("status",), "Progress: missions, packages, lanes, forecast of conflicts.", {}, has_agent=False, only_reads=True
    ),
    "kitty_note": Tool(
        ("note",),
        "Note what the next agent should know about a work package.",
        {"wp": _WP, "text": _TEXT},
        ("wp", "text"),
        ("wp", "text"),
    ),
    "kitty_mark_status": Tool(
        ("mark-status",),
        "Tick subtasks off: T001, WP01/T001, or WP01 for all of its own.",
        {
            "ids": {"type": "array", "items": _TEXT, "minItems": 1},
            "status": _one_of("done", "planned", "skipped"),
        },
        ("ids", "status"),
        ("ids",),
    ),
}


@command("mcp", mission=True, agent=True)
def mcp(call: Invocation) -> None:
    """Serve an agent over MCP, on standard input and output, until it hangs up.

    --agent and --mission hold for every tool that is not given its own.
    """
    given = {"agent": call.named_agent()}
    directory = call.repo.here
    if call.selector or call.feature:
        given["mission"] = call.mission.mission_id
    if find_spec("mcp_types") is None:  # which came with version 2 of mcp
        raise KittyError(
            "EXTRA_MISSING",
            "kitty mcp needs the package mcp, 2.3 or later, which is not installed",
            "run: pip install 'kitty-runtime[mcp]'",
        )
    if sys.stdin.isatty():
        note("An agent is expected on standard input: docs/agents.md of kitty says how to tell it. Ctrl-D ends this.")
    # Nothing wakes the thread that reads standard input, so nothing else would end this.
    signal.signal(signal.SIGINT, lambda *_: os._exit(INTERRUPTED))
    import anyio

    try:
        anyio.run(_serve, directory, {name: value for name, value in given.items() if value})
    except* BrokenPipeError:
        pass  # a client that was killed reads no answers


async def _serve(directory: Path, given: Mapping[str, str]) -> None:
    import anyio
    from mcp.server.lowlevel import Server
    from mcp.server.stdio import stdio_server
    from mcp.shared.exceptions import MCPError
    from mcp_types import INVALID_PARAMS, CallToolRequestParams, ListToolsResult

    turn = anyio.Lock()

    async def tools(*_: Any) -> ListToolsResult:
        return ListToolsResult(tools=[_described(name, tool) for name, tool in TOOLS.items()])

    async def run_tool(_: Any, asked: CallToolRequestParams) -> CallToolResult:
        tool, arguments = TOOLS.get(asked.name), asked.arguments or {}
        if tool is None:
            raise MCPError(INVALID_PARAMS, f"there is no tool {inert(asked.name)}; there are {', '.join(TOOLS)}")
        problem = _problem(tool, arguments)
        if problem:
            return _result(_refusal("USAGE", problem, f"see the input schema of {asked.name}"))
        # In the order in which they were asked for: agents ask for several at once.
        async with turn:
            return _result(await _answer([*_at(directory), *typed(tool, {**given, **arguments})]))

    server: Server[Any] = Server(
        "kitty", version=__version__, instructions=_INSTRUCTIONS, on_list_tools=tools, on_call_tool=run_tool
    )
    async with stdio_server() as (incoming, outgoing):
        await server.run(incoming, outgoing, server.create_initialization_options())


def typed(tool: Tool, arguments: Mapping[str, Any]) -> list[str]:
    """The command line of one call. Nothing that is given can become an option."""
    words = [*tool.words, "--json"]
    for name, value in arguments.items():
        if name == "verdict":
            words.append(f"--{value}")
        elif name not in tool.plain and name in tool.schema["properties"]:
            words.append(f"--{name.replace('_', '-')}={value}")
    words.append("--")
    for name in tool.plain:
        words += arguments[name] if isinstance(arguments[name], list) else [arguments[name]]
    return words


def _at(directory: Path) -> list[str]:
    # -P: the directory that an agent stands in is no place to import from.
    return [sys.executable, "-P", "-m", "kitty_host", "-C", str(directory)]


def _described(name: str, tool: Tool) -> McpTool:
    from mcp_types import Tool as Described
    from mcp_types import ToolAnnotations

    hints = ToolAnnotations(read_only_hint=tool.only_reads, destructive_hint=False, open_world_hint=False)
    return Described(name=name, description=tool.description, input_schema=tool.schema, annotations=hints)


def _problem(tool: Tool, arguments: Mapping[str, Any]) -> str:
    """What is wrong with the arguments of a call; empty where nothing is."""
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import best_match

    error = best_match(Draft202012Validator(tool.schema).iter_errors(arguments))
    if error is not None:
        return visible(f"{error.json_path}: {error.message}"[:300], lines=False)
    texts = [text for value in arguments.values() for text in (value if isinstance(value, list) else [value])]
    if any("\0" in text for text in texts):
        return "a text has a NUL in it"
    return f"a text is longer than {_LONGEST} bytes" if any(len(one.encode()) > _LONGEST for one in texts) else ""


async def _answer(words: Sequence[str]) -> dict[str, Any]:
    """What a command printed, with its prompt. A command that printed no JSON is a fault, and said so."""
    code, out, err = await _run(words)
    try:
        answer = json.loads(out)
        if not isinstance(answer, dict):
            raise ValueError("no object")
    except ValueError:
        told = inert(err.decode(errors="replace")[-200:], prose=True)
        return _refusal("FAULT", f"the command ended with {code} and no answer: {told}", "run it in a terminal")
    prompt = answer.get("prompt_file")
    return {**answer, "prompt": _prompt(Path(prompt))} if prompt else answer


def _prompt(path: Path) -> str | None:
    """The beginning of a prompt, which is nearly always all of it; None where it cannot be read."""
    try:
        with path.open("rb") as stream:
            text = stream.read(PROMPT + 1)
    except OSError:
        return None
    cut = f"\n\n(Cut here; all of it: {path})\n" if len(text) > PROMPT else ""
    return text[:PROMPT].decode(errors="ignore" if cut else "replace") + cut


async def _run(words: Sequence[str]) -> tuple[int, bytes, bytes]:
    """Exit code and output of a command. Cancelled, it interrupts the command and waits for its end."""
    import anyio

    process = await anyio.open_process(words, stdin=DEVNULL)
    out, err = bytearray(), bytearray()
    try:
        async with anyio.create_task_group() as both:
            both.start_soon(_collect, process.stdout, out)
            both.start_soon(_collect, process.stderr, err)
        return await process.wait(), bytes(out), bytes(err)
    finally:
        with anyio.CancelScope(shield=True):
            await _end(process)
            await process.aclose()


async def _collect(stream: ByteReceiveStream | None, into: bytearray) -> None:
    if stream is not None:
        async for piece in stream:
            into += piece


async def _end(process: Process) -> None:
    import anyio

    for end in (partial(process.send_signal, system.INTERRUPT), process.kill):
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                end()
            with anyio.move_on_after(_PATIENCE):
                await process.wait()


def _refusal(code: str, message: str, hint: str) -> dict[str, Any]:
    return {"schema": ERROR_SCHEMA, "code": code, "message": message, "hint": hint, "details": {}}


def _result(answer: dict[str, Any]) -> CallToolResult:
    from mcp_types import CallToolResult, TextContent

    text = TextContent(type="text", text=json.dumps(answer))
    return CallToolResult(content=[text], structured_content=answer, is_error=answer.get("schema") == ERROR_SCHEMA)
