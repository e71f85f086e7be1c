"""`kitty plugins`: who is there, who ought to be, who is at fault, and who was written for another kitty."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kitty_host import __version__
from kitty_host.testing import Project

HOOK = "from kitty_host.api import Command, Finding, hookimpl\n@hookimpl\n"
GOOD = HOOK + "def kitty_doctor(repo):\n    return []\n"
SPEAKING = GOOD + "@hookimpl\ndef kitty_commands():\n    return [Command('say', 'say_cli:say', 'Say.')]\n"
SAY_CLI = "import click\n@click.command()\ndef say():\n    pass\n"

Install = Callable[..., Path]


@pytest.fixture(autouse=True)
def no_roles(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is installed beside the host differs from one environment to the next."""
    monkeypatch.setattr("kitty_host.builtin.plugin_health.roles", dict)


def listed(project: Project) -> dict[str, Any]:
    result = project.kitty("plugins", "list", "--json")
    assert result.exit_code == 0
    assert result.json["schema"] == "kitty.plugins/1"
    return {row["name"]: row for row in result.json["plugins"]}


def codes(project: Project, *, exit_code: int = 0) -> dict[str, Any]:
    """The findings of the doctor by code."""
    result = project.kitty("plugins", "doctor", "--json")
    assert result.exit_code == exit_code, result
    assert result.json["ok"] == (exit_code == 0)
    return {finding["code"]: finding for finding in result.json["findings"]}


# Who is there


def test_the_list_shows_who_is_there_and_what_they_do(install: Install, project: Project) -> None:
    install("speaking", SPEAKING)
    row = listed(project)["speaking"]
    assert row.pop("import_ms") >= 0
    assert row == {
        "name": "speaking",
        "distribution": "kitty-speaking",
        "version": "1.0",
        "state": "loaded",
        "hooks": ["kitty_commands", "kitty_doctor"],
        "commands": ["say"],
    }
    text = project.kitty("plugins", "list").stdout
    assert "kitty-speaking 1.0: 2 hooks, 1 command, " in text
    assert "commands: say\n" in text


def test_the_list_shows_who_failed_and_who_is_not_allowed(
    install: Install, install_plugin: Install, project: Project
) -> None:
    install("broken", "1 / 0\n")
    install_plugin("stranger", "1 / 0\n")
    rows = listed(project)
    assert [rows[name]["state"] for name in ("host", "broken", "stranger")] == ["loaded", "failed", "not allowed"]
    assert rows["broken"] == {
        "name": "broken",
        "distribution": "kitty-broken",
        "version": "1.0",
        "state": "failed",
        "hooks": [],
        "commands": [],
        "import_ms": None,
    }
    text = project.kitty("plugins", "list").stdout
    assert "kitty-stranger 1.0: not allowed" in text
    assert "fault: kitty-broken: import of plugin_kitty_broken failed: ZeroDivisionError" in text


def test_a_role_that_nothing_fills_is_named_with_what_to_install(
    install: Install, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    install("good", GOOD)
    filled = {"good": "kitty-good", "better": "kitty-better"}
    monkeypatch.setattr("kitty_host.builtin.plugin_health.roles", lambda: filled)
    found = {
        "code": "PLUGIN_UNFILLED",
        "message": "nothing fills the role better",
        "hint": "run: pip install kitty-better",
        "severity": "info",
        "path": "",
    }
    for name in ("list", "doctor"):
        result = project.kitty("plugins", name, "--json")
        assert (result.exit_code, result.json["findings"]) == (0, [found])
        assert "pip install kitty-better" in project.kitty("plugins", name).stdout


# Who is at fault


def test_where_all_is_well_the_doctor_says_so(install: Install, project: Project) -> None:
    site = install("speaking", SPEAKING)
    (site / "say_cli.py").write_text(SAY_CLI)
    result = project.kitty("plugins", "doctor")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.endswith("No plugin is at fault.\n")


def test_a_fault_is_exit_code_1_and_the_whole_answer(install: Install, project: Project) -> None:
    install("broken", "1 / 0\n")
    result = project.process("plugins", "doctor", "--json")
    assert (result.exit_code, result.stderr) == (1, "")
    assert result.json["faults"] == [
        {
            "plugin": "broken",
            "distribution": "kitty-broken",
            "message": "import of plugin_kitty_broken failed: ZeroDivisionError: division by zero",
        }
    ]
    assert {row["name"] for row in result.json["plugins"]} >= {"host", "broken"}
    text = project.kitty("plugins", "doctor").stdout
    assert "fault: kitty-broken: " in text
    assert "No plugin is at fault" not in text


@pytest.mark.parametrize("body", ["import time\ntime.sleep(3600)\n", "print('x' * 1_000_000)\n", "while True: pass\n"])
def test_a_command_that_cannot_be_imported_is_left(
    install: Install, project: Project, monkeypatch: pytest.MonkeyPatch, body: str
) -> None:
    monkeypatch.setenv("KITTY_PLUGIN_TIMEOUT", "0.5")
    site = install("speaking", SPEAKING)
    (site / "say_cli.py").write_text(body + SAY_CLI)
    result = project.kitty("plugins", "doctor", "--json")
    assert result.exit_code == 1
    [fault] = result.json["faults"]
    assert fault["message"].startswith("plugin speaking: the command say failed: Too")


# Who is slow


def slow_one(project: Project) -> Any:
    """Asked in a process of its own: in this one everything is imported already."""
    result = project.process("plugins", "doctor", "--json")
    assert result.exit_code == 0, result
    return [finding for finding in result.json["findings"] if finding["code"] == "PLUGIN_SLOW"]


@pytest.mark.parametrize("module", ["importlib.metadata", "attrs", "ruamel.yaml", "asyncio", "json", "subprocess"])
@pytest.mark.usefixtures("unmeasured")
def test_a_manifest_that_brings_in_something_heavy_is_named(install: Install, project: Project, module: str) -> None:
    install("heavy", f"import {module}\n{GOOD}")
    [finding] = slow_one(project)
    assert finding["severity"] == "warn"
    assert finding["message"].startswith("kitty-heavy: ")
    assert module in finding["message"]


def test_a_manifest_that_takes_its_time_is_named(install: Install, project: Project) -> None:
    install("slow", f"import time\ntime.sleep(0.1)\n{GOOD}")
    [finding] = slow_one(project)
    assert finding["message"].startswith("kitty-slow: importing the manifest takes ")
    assert " ms, at every start" in finding["message"]


# Who was written for another kitty


@pytest.mark.parametrize("bound", ["kitty-host>=99", "kitty_host<0.0.1", "Kitty.Host==0.0.*"])
def test_a_plugin_for_another_version_is_named(install: Install, project: Project, bound: str) -> None:
    install("other", GOOD, requires=["click", bound])
    finding = codes(project, exit_code=1)["PLUGIN_INTERFACE"]
    assert finding["severity"] == "block"
    assert finding["message"].startswith("kitty-other was written for kitty-host")
    assert finding["message"].endswith(f"and this is {__version__}")
    assert "No plugin is at fault" not in project.kitty("plugins", "doctor").stdout


def test_a_plugin_that_fails_and_is_for_another_version_is_told_so_too(install: Install, project: Project) -> None:
    install("other", "from kitty_host.api import gone\n", requires=["kitty-host>=99"])
    assert "PLUGIN_INTERFACE" in codes(project, exit_code=1)


@pytest.mark.parametrize(
    "requires", [[], ["kitty-host"], ["click>=8"], ["kitty-host>=99; extra == 'test'"], ["no requirement <<<"]]
)
def test_a_plugin_without_a_bound_is_warned_of(install: Install, project: Project, requires: list[str]) -> None:
    install("boundless", GOOD, requires=requires)
    assert codes(project)["PLUGIN_UNBOUND"]["severity"] == "warn"


def test_a_plugin_with_a_bound_that_fits_is_not_named(install: Install, project: Project) -> None:
    install("fitting", GOOD, requires=["kitty-host>=0.1,<1"])
    assert {"PLUGIN_INTERFACE", "PLUGIN_UNBOUND"} & set(codes(project)) == set()


def test_what_is_not_allowed_is_not_examined(install: Install, install_plugin: Install, project: Project) -> None:
    install("good", GOOD)
    install_plugin("stranger", GOOD, requires=["kitty-host>=99"])
    assert "PLUGIN_INTERFACE" not in codes(project)


@pytest.mark.parametrize("group", ["kitty2", "kitty1", "kitty.v2", "kitty-3", "kitty_v4"])
def test_a_plugin_in_the_group_of_another_interface_is_named(install: Install, project: Project, group: str) -> None:
    install("other", GOOD, group=group)
    finding = codes(project, exit_code=1)["PLUGIN_INTERFACE"]
    assert "kitty-other was written for another interface" in finding["message"]
    assert f"in the group {group}" in finding["message"]


@pytest.mark.parametrize("group", ["kittyhawk", "kitty.plugins", "kitty_themes", "2kitty"])
def test_a_group_that_only_looks_like_it_is_nobodys_business(install: Install, project: Project, group: str) -> None:
    install("other", GOOD, group=group)
    assert "PLUGIN_INTERFACE" not in codes(project)


def test_a_plugin_for_both_interfaces_is_fine(install: Install, project: Project) -> None:
    site = install("both", GOOD)
    place = site / "kitty_both-1.0.dist-info" / "entry_points.txt"
    place.write_text(f"{place.read_text()}\n[kitty2]\nboth = elsewhere\n")
    assert "PLUGIN_INTERFACE" not in codes(project)
