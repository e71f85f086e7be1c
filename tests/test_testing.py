"""The fixtures for plugin authors: isolated, real, and honest about what was written."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import pytest

from kitty_host.config import Config
from kitty_host.plugins import Plugins
from kitty_host.testing import Project


def test_a_project_is_an_initialized_repository_with_one_commit_on_main(project: Project) -> None:
    assert project.git("rev-parse", "--abbrev-ref", "HEAD") == "main"
    assert project.git("rev-list", "--count", "HEAD") == "1"
    assert project.git("status", "--porcelain") == ""
    assert Config.load(project.root / ".kittify" / "config.yaml").data["project"]["slug"] == "project"


def test_nobodys_settings_reach_a_test(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GIT_DIR", "KITTY_AGENT", "SPEC_KITTY_HOME", "XDG_STATE_HOME"):
        monkeypatch.setenv(name, "/somebody/elses")
    project: Project = request.getfixturevalue("project")
    assert Path.home() == project.root.parent / "home"
    assert project.git("config", "user.name") == "Test Person"
    leaked = {name for name in os.environ if name.startswith(("KITTY_", "SPEC_KITTY_", "XDG_"))}
    assert leaked == set()


def test_several_projects_lie_side_by_side(make_project: Callable[[str], Project]) -> None:
    assert make_project("one").root.parent == make_project("two").root.parent


def test_a_mission_is_committed_with_its_work_packages(project: Project) -> None:
    mission = project.mission("search", packages=[{"work_package_id": "WP01", "title": "T: x"}], mission_number=5)
    assert [package.title for package in mission.packages] == ["T: x"]
    assert mission.meta["mission_number"] == 5
    assert project.git("status", "--porcelain") == ""


def test_recorded_lanes_are_rows_like_any_other(project: Project) -> None:
    mission = project.mission()
    project.record(mission, "WP01", "planned", "claimed", actor="ada", policy_metadata={"agent": "ada"})
    assert [(row["from_lane"], row["to_lane"]) for row in mission.ledger.rows()] == [
        ("genesis", "planned"),
        ("planned", "claimed"),
    ]


def test_a_commit_holds_exactly_its_file(project: Project) -> None:
    project.write("other.txt")
    head = project.commit("a/b.txt", "x\n")
    assert project.git("show", "--format=", "--name-only", head) == "a/b.txt"
    with pytest.raises(AssertionError, match="no-such-branch"):
        project.git("checkout", "no-such-branch")


def test_a_snapshot_sees_every_change_but_the_cache(project: Project) -> None:
    before = project.snapshot()
    project.write(".git/kitty/cache/x.json")
    assert project.snapshot() == before
    changes: list[Callable[[], object]] = [
        lambda: project.write("README.md", "changed\n"),
        lambda: project.write(".git/kitty/other"),
        lambda: (project.root / "empty").mkdir(),
        lambda: (project.root.parent / "beside").touch(),
        lambda: (project.root / "link").symlink_to("nowhere"),
        lambda: project.git("tag", "new"),
    ]
    for change in changes:
        before = project.snapshot()
        change()
        assert project.snapshot() != before


@pytest.mark.usefixtures("alone")
def test_a_command_runs_here_or_in_a_process_with_the_same_result(project: Project) -> None:
    assert project.kitty("doctor") == project.process("doctor")
    assert project.kitty("ledger", "show", "--json").code == project.process("ledger", "show", "--json").code


STDIN = (
    "from kitty_host.api import Command, hookimpl\n@hookimpl\n"
    "def kitty_commands():\n    return [Command('echo', 'echo_cli:echo', 'Echo.')]\n"
)
ECHO = (
    "import sys\nfrom kitty_host.command import command\n@command('echo')\n"
    "def echo(call):\n    '''Echo.'''\n    call.show({}, sys.stdin.buffer.read().decode())\n"
)


def test_standard_input_reaches_a_command_both_ways(install: Callable[..., Path], project: Project) -> None:
    (install("echo", STDIN) / "echo_cli.py").write_text(ECHO)
    assert project.kitty("echo", stdin=b"hi").stdout == project.process("echo", stdin=b"hi").stdout == "hi\n"
    assert sys.stdin.__class__.__name__ != "TextIOWrapper" or not sys.stdin.closed


def test_a_plugin_of_one_test_is_gone_in_the_next(install_plugin: Callable[..., Path]) -> None:
    assert not {"plugin_kitty_echo", "echo_cli"} & set(sys.modules)
    assert not list((install_plugin("other", "x = 1\n")).glob("*echo*"))


LISTING = "from kitty_host.api import hookimpl\n@hookimpl\ndef kitty_charter_sections(action):\n    return [action]\n"


def test_some_plugins_are_there_and_nobody_else(
    install_plugin: Callable[..., Path], plugins_with: Callable[..., Plugins], project: Project
) -> None:
    install_plugin("installed", LISTING)
    install_plugin("stranger", LISTING)
    plugins = plugins_with("installed", given=LISTING)
    assert plugins.collect("kitty_charter_sections", action="review") == ["review", "review"]
    assert sorted(plugins.implementers("kitty_charter_sections")) == ["given", "installed"]
    states = {row["name"]: row["state"] for row in project.process("plugins", "list", "--json").json["plugins"]}
    assert (states["installed"], states["given"], states["stranger"]) == ("loaded", "loaded", "not allowed")


def test_a_plugin_that_is_broken_is_there_with_its_fault(plugins_with: Callable[..., Plugins]) -> None:
    [fault] = plugins_with(broken="1 / 0\n").faults
    assert fault.plugin == "broken"


def test_a_plugin_that_is_not_installed_is_a_mistake_in_the_test(plugins_with: Callable[..., Plugins]) -> None:
    with pytest.raises(AssertionError, match="not installed: nobody"):
        plugins_with("nobody")


def test_what_a_plugin_needs_and_where_it_enters_can_be_said(install_plugin: Callable[..., Path]) -> None:
    site = install_plugin("odd", "x = 1\n", requires=["kitty-host>=99"], group="kitty2")
    assert metadata.requires("kitty-odd") == ["kitty-host>=99"]
    assert "[kitty2]" in (site / "kitty_odd-1.0.dist-info" / "entry_points.txt").read_text()
