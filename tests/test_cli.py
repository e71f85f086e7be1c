"""The command line: what it imports, what it prints, how it leaves."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from kitty_host import __version__
from kitty_host.lanes import write_lanes
from kitty_host.records import Lane, Lanes
from kitty_host.testing import Project, Result

HEAVY = {
    "importlib.metadata",
    "attr",
    "attrs",
    "cattr",
    "cattrs",
    "ruamel.yaml",
    "json",
    "subprocess",
    "asyncio",
    "filelock",
    "rich",
    "httpx",
}

TOOL = """
from kitty_host.api import Command, hookimpl
@hookimpl
def kitty_commands():
    names = ["ok", "refuse", "fault", "deep", "interrupt", "leave", "plain", "many", "who", "wait", "quit"]
    return [Command(name, f"tool_cli:{name}", f"Do {name}.") for name in names]
"""
TOOL_CLI = '''
import click
from kitty_host.api import KittyError
from kitty_host.command import Invocation, command

@command("ok", mission=True)
@click.argument("words", nargs=-1)
def ok(call, words):
    """Say which mission is meant."""
    call.show({"schema": "tool/1", "mission": call.mission.mission_id, "words": words}, f"it is {call.mission.slug}")

@command("refuse")
def refuse(call):
    """Refuse."""
    raise KittyError("NO_WAY", "this is wrong", "do that", number=5, path=call.repo.root)

@command("fault")
def fault(call):
    """Break."""
    raise ValueError("broken inside")

@command("deep")
def deep(call):
    """Break in the host."""
    import json
    json.loads("{")

@command("interrupt")
def interrupt(call):
    """Be interrupted."""
    raise KeyboardInterrupt

@command("leave")
@click.argument("code", type=int)
def leave(call, code):
    """Leave with a code."""
    click.echo("left")
    click.get_current_context().exit(code)

@click.command()
@click.argument("number", type=int)
def plain(number):
    """A plain click command."""
    raise click.ClickException("plain failure")

@command("many")
def many(call):
    """Print many lines."""
    for number in range(100_000):
        click.echo(f"line {number}")

@command("who", agent=True)
def who(call):
    """Say who acts."""
    call.show({"schema": "tool/1", "actor": call.actor()}, call.actor())

@command("wait")
def wait(call):
    """Wait for ever."""
    import time
    click.echo("waiting")
    time.sleep(60)

@command("quit")
def quit(call):
    """Leave as scripts do."""
    raise SystemExit(5)
'''


@pytest.fixture
def tool(install: Callable[..., Path], project: Project) -> Project:
    """A repository in which a stranger's commands can be run."""
    site = install("tool", TOOL)
    (site / "tool_cli.py").write_text(TOOL_CLI)
    return project


# What is imported

SHOW_MODULES = """
import sys
before = set(sys.modules)
from kitty_host.__main__ import main
sys.argv[:1] = ["kitty"]
try:
    main()
except SystemExit as left:
    assert not left.code, left.code
print("modules:", *sorted(set(sys.modules) - before))
"""


def imported(project: Project, *arguments: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", SHOW_MODULES, *arguments], cwd=project.root, capture_output=True, text=True, check=True
    )
    return set(done.stdout.splitlines()[-1].split()[1:])


@pytest.mark.parametrize("arguments", [("--version",), ("--help",), ("-h",), ("-C", ".", "--version")])
def test_a_question_about_kitty_itself_imports_nothing_heavy(tool: Project, arguments: tuple[str, ...]) -> None:
    modules = imported(tool, *arguments)
    assert not modules & HEAVY
    assert "tool_cli" not in modules, "help imports no command"


def test_help_imports_these_modules_beside_click_and_pluggy_and_no_other(tool: Project) -> None:
    """Whoever adds one adds it here, and has measured what it costs on every call."""
    script = "import sys, click, pluggy; print(*sys.modules)"
    below = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    own = [
        "api",
        "builtin",
        "builtin.plugin",
        "cli",
        "command",
        "containment",
        "discovery",
        "hooks",
        "plugins",
        "report",
    ]
    assert imported(tool, "--help") - set(below) <= {
        "kitty_host",
        "kitty_host.__main__",
        *(f"kitty_host.{name}" for name in own),
        "plugin_kitty_tool",
        *("gc", "signal"),
        # What click needs to write help.
        *("_locale", "click._textwrap", "encodings.ascii", "locale", "textwrap"),
    }


def test_the_version_alone_imports_next_to_nothing(tool: Project) -> None:
    assert imported(tool, "--version") <= {"kitty_host", "kitty_host.__main__"}


def test_help_shows_every_command_with_its_summary(tool: Project) -> None:
    result = tool.kitty("--help")
    assert result.exit_code == 0
    for text in ("doctor", "ledger", "plugins", "refuse", "Do refuse.", "-C, --repo-root PATH", "--version"):
        assert text in result.stdout
    assert result.stdout == tool.process("-h").stdout


def test_the_version_is_a_literal_that_the_packaging_repeats() -> None:
    root = Path(__file__).parent.parent
    packaging = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    assert packaging["version"] == __version__
    assert packaging["scripts"] == dict.fromkeys(("kitty", "kittyctl"), "kitty_host.__main__:main")


@pytest.mark.parametrize("arguments", [("--version",), ("-C", ".", "--version")])
def test_the_version_is_told_with_and_without_other_options(tool: Project, arguments: tuple[str, ...]) -> None:
    assert tool.process(*arguments) == Result(0, f"kitty {__version__}\n", "")


# Exit codes


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("ok",), 0),
        (("refuse",), 1),
        (("plain", "5"), 1),
        ((), 2),
        (("ok", "--no-such-option"), 2),
        (("--no-such-option", "ok"), 2),
        (("plain", "text"), 2),
        (("leave",), 2),
        (("ledger",), 2),
        (("ledger", "no-such-command"), 2),
        (("fault",), 3),
        (("interrupt",), 130),
        (("leave", "0"), 0),
        (("leave", "1"), 1),
        (("quit",), 5),
    ],
)
def test_the_exit_code_says_how_it_went(tool: Project, arguments: tuple[str, ...], code: int) -> None:
    tool.mission()
    assert tool.process(*arguments).exit_code == code


def test_an_interrupted_process_leaves_with_130(tool: Project) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "kitty_host", "wait"],
        cwd=tool.root,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        # Whoever runs these tests in the background has interrupts ignored, and children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"waiting\n"
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=30)
    assert process.returncode == 130
    assert b"Traceback" not in told


def test_a_reader_who_has_seen_enough_is_no_fault(tool: Project) -> None:
    command = f"'{sys.executable}' -m kitty_host many | head -n 1; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], cwd=tool.root, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("line 0\n", "")
    assert done.returncode == 1, "what was asked for was not all done"


# Errors


def test_a_refusal_is_two_lines_on_standard_error(tool: Project) -> None:
    assert tool.process("refuse") == Result(1, "", "NO_WAY: this is wrong\n  do that\n")


def test_a_refusal_is_one_object_under_json(tool: Project) -> None:
    result = tool.process("refuse", "--json")
    assert (result.exit_code, result.stderr) == (1, "")
    assert result.json == {
        "schema": "kitty.error/1",
        "code": "NO_WAY",
        "message": "this is wrong",
        "hint": "do that",
        "details": {"number": 5, "path": str(tool.root)},
    }


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("ok", "--no-such-option", "--json"), "USAGE"),
        (("--json", "ok"), "USAGE"),
        (("plain", "text", "--json"), "USAGE"),
        (("ledger", "--json"), "USAGE"),
        (("ok", "--json", "--mission"), "USAGE"),
        (("plain", "5", "--json"), "USAGE"),
        (("interrupt", "--json"), "INTERRUPTED"),
        (("fault", "--json"), "FAULT"),
        (("-C", "/no/such/place", "ok", "--json"), "WORKSPACE_ROOT_NOT_FOUND"),
    ],
)
def test_every_error_is_one_object_under_json(tool: Project, arguments: tuple[str, ...], code: str) -> None:
    result = tool.kitty(*arguments)
    assert result.exit_code > 0
    assert set(result.json) == {"schema", "code", "message", "hint", "details"}
    assert (result.json["schema"], result.code) == ("kitty.error/1", code)
    assert "\n" not in result.json["message"]


def test_after_two_dashes_json_is_a_word_like_any_other(tool: Project) -> None:
    mission = tool.mission()
    result = tool.kitty("ok", "--json", "--", "--json")
    assert result.json["words"] == ["--json"]
    assert tool.kitty("ok", "--", "--json").stdout == f"it is {mission.slug}\n"


def test_a_usage_error_names_the_help_to_read(tool: Project) -> None:
    result = tool.process("ledger", "show", "--no-such-option")
    assert "kitty ledger show --help" in result.stderr
    assert result.stdout == ""


# Faults


def test_a_fault_names_the_plugin_and_a_log_with_the_traceback(tool: Project) -> None:
    result = tool.process("fault", "--json")
    assert result.exit_code == 3
    assert result.json["details"]["plugin"] == "tool"
    assert "broken inside" in result.json["message"]
    log = Path(result.json["details"]["log"])
    assert str(log) in result.json["hint"]
    assert "ValueError: broken inside" in log.read_text()
    assert 'raise ValueError("broken inside")' in log.read_text()


def test_a_fault_below_a_plugin_is_the_plugins(tool: Project) -> None:
    assert "plugin tool" in tool.kitty("deep").stderr


def test_a_fault_is_two_lines_for_people(tool: Project) -> None:
    result = tool.process("fault")
    assert result.stdout == ""
    assert len(result.stderr.splitlines()) == 2
    assert "Traceback" not in result.stderr


def test_debug_shows_the_traceback_itself(tool: Project) -> None:
    result = tool.process("fault", environment={"KITTY_DEBUG": "1"})
    assert result.exit_code == 1
    assert result.stderr.rstrip().endswith("ValueError: broken inside")
    assert "Traceback" in result.stderr


def test_debug_does_not_change_a_refusal(tool: Project) -> None:
    assert tool.process("refuse", environment={"KITTY_DEBUG": "1"}) == tool.process("refuse")


def test_a_log_that_cannot_be_written_is_no_second_fault(tool: Project, alone: Path) -> None:
    (alone / "file").touch()
    result = tool.process("fault", environment={"HOME": str(alone / "file"), "XDG_STATE_HOME": str(alone / "file")})
    assert result.exit_code == 3
    assert "KITTY_DEBUG=1" in result.stderr


def test_nothing_is_written_outside_but_the_log(tool: Project) -> None:
    before = tool.snapshot()
    tool.kitty("fault")
    assert tool.snapshot() == before


# Where, which mission, who


def test_a_command_can_be_run_from_elsewhere(tool: Project, alone: Path) -> None:
    mission = tool.mission()
    assert tool.process("-C", str(tool.root), "ok", where=alone).stdout == f"it is {mission.slug}\n"
    assert tool.process("--repo-root", "project", "ok", where=alone).stdout == f"it is {mission.slug}\n"
    nested = tool.process("-C", "project", "-C", ".kittify", "ok", where=alone)
    assert nested.stdout == f"it is {mission.slug}\n", "as Git's, each is relative to the one before"
    result = tool.process("-C", "missing", "ok", where=alone)
    assert result.exit_code == 1
    assert result.stderr.startswith("WORKSPACE_ROOT_NOT_FOUND: missing")


def test_feature_is_an_old_name_of_mission_that_help_hides(tool: Project) -> None:
    one, two = tool.mission("one"), tool.mission("two")
    assert "--mission" in tool.kitty("ok", "--help").stdout
    assert "--feature" not in tool.kitty("ok", "--help").stdout
    by_mission = tool.kitty("ok", "--json", "--mission", one.slug)
    assert by_mission == tool.kitty("ok", "--json", "--feature", one.slug)
    assert by_mission == tool.kitty("ok", "--json", "--feature", one.slug, "--mission", one.slug)
    assert by_mission.json["mission"] == one.mission_id
    clash = tool.kitty("ok", "--json", "--feature", one.slug, "--mission", two.slug)
    assert (clash.exit_code, clash.code) == (1, "MISSION_AMBIGUOUS_SELECTOR")


@pytest.mark.parametrize("option", ["--mission", "--feature"])
def test_an_empty_name_is_wrong_usage_and_not_the_only_mission(tool: Project, option: str) -> None:
    tool.mission()
    result = tool.kitty("ok", "--json", option, " ")
    assert (result.exit_code, result.code) == (2, "USAGE")


def test_the_actor_is_named_else_known_from_the_surroundings(tool: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    mission = tool.mission(packages=[{"work_package_id": "WP01"}])
    lane = tool.root / ".worktrees" / f"{mission.human}-{mission.mid8}-lane-a"
    write_lanes(mission, Lanes((Lane("lane-a", ("WP01",), ()), Lane("lane-b", ("WP02",), ()))))
    tool.record(mission, "WP02", "planned")
    tool.record(mission, "WP02", "claimed", policy_metadata={"agent": "somebody in another lane"})
    tool.git("worktree", "add", "-q", "-b", "lane", str(lane))

    def who(*arguments: str, where: Path = tool.root) -> str:
        return tool.kitty("who", *arguments, where=where).stdout.strip()

    assert who() == who(where=lane) == "Test Person"
    tool.record(mission, "WP01", "planned")
    tool.record(mission, "WP01", "claimed", policy_metadata={"agent": "claimer"})
    assert who(where=lane) == "claimer"
    assert who() == "Test Person"
    monkeypatch.setenv("KITTY_AGENT", "from-environment")
    assert who() == who(where=lane) == "from-environment"
    assert who("--agent", "named") == "named"
    monkeypatch.delenv("KITTY_AGENT")
    tool.git("config", "--global", "--unset", "user.name")
    result = tool.kitty("who", "--json")
    assert (result.exit_code, result.code) == (1, "ACTOR_REQUIRED")
    assert "--agent" in result.json["hint"]


def test_every_own_command_has_json_and_help(tool: Project) -> None:
    for name in ("doctor", "ledger show", "ledger verify", "ledger repair", "plugins list", "plugins doctor"):
        text = tool.kitty(*name.split(), "--help").stdout
        assert "--json" in text
        assert f"Usage: kitty {name}" in text


def test_json_is_one_object_with_a_schema(tool: Project) -> None:
    tool.mission()
    for name in ("doctor", "ledger show", "ledger verify", "ledger repair", "plugins list", "plugins doctor"):
        done = tool.kitty(*name.split(), "--json")
        assert json.loads(done.stdout)["schema"].startswith("kitty.")
        assert done.stdout.count("\n") == 1
        assert done.stderr == ""


def test_the_environment_of_the_tests_is_nobodys(tool: Project) -> None:
    assert os.environ["HOME"].startswith(str(tool.root.parent))
