"""The commands of `kitty tracker` around the exchange: the switch, the extra, the binding, what is asked wrongly."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from kitty_host.testing import Project
from kitty_sync.switch import VARIABLE

from .bound import Bound

COMMANDS = (["bind", "beads"], ["pull"], ["push"], ["sync"], ["status"])


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_without_the_switch_nothing_is_asked_and_nothing_written(
    bound: Bound, monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    monkeypatch.delenv(VARIABLE)
    before = bound.project.snapshot()
    answer = bound.answer(*command)
    assert (answer.exit_code, answer.code) == (1, "SYNC_DISABLED")
    assert bound.project.snapshot() == before
    assert bound.world.calls() == []


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_without_the_extra_the_hint_installs_it(
    project: Project, monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    project.mission()
    monkeypatch.setenv(VARIABLE, "1")
    find = importlib.util.find_spec
    monkeypatch.setattr(
        "kitty_sync.tracker.cli.find_spec", lambda name: None if name == "spec_kitty_tracker" else find(name)
    )
    answer = project.kitty("tracker", *command, "--json")
    assert answer.code == "EXTRA_MISSING"
    assert "kitty-sync[tracker]" in answer.json["hint"]


@pytest.mark.parametrize("command", ["pull", "push", "sync", "status"])
def test_a_project_that_is_not_bound(project: Project, monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    project.mission()
    monkeypatch.setenv(VARIABLE, "1")
    answer = project.kitty("tracker", command, "--json")
    assert answer.code == "TRACKER_UNBOUND"
    assert "kitty tracker bind" in answer.json["hint"]


@pytest.mark.parametrize("command", ["pull", "push", "sync"])
def test_a_full_queue_is_a_refusal_before_anything_is_asked_and_a_drain_a_way_out(bound: Bound, command: str) -> None:
    with (bound.project.root / ".kittify/config.yaml").open("a") as stream:
        stream.write("sync:\n  queue_max_events: 1\n")
    bound.project.record(bound.mission, "WP01", "planned", "claimed", "in_progress")
    answer = bound.answer(command)
    assert (answer.exit_code, answer.code) == (1, "OFFLINE_QUEUE_FULL")
    assert len(answer.json["details"]["ways_out"]) == 3
    assert bound.world.calls() == []
    assert bound.answer(command, "--auto-drain").exit_code == 0
    assert list((bound.project.root / ".kittify/sync").glob("overflow-*.jsonl"))


def test_binding_keeps_what_else_the_configuration_says(bound: Bound) -> None:
    path = bound.project.root / ".kittify/config.yaml"
    path.write_text(f"# ours\n{path.read_text()}  other: 1 # kept\n")
    before = path.read_bytes()
    bound.tracker("bind", bound.world.provider, "--workspace", bound.world.workspace)
    assert path.read_bytes() == before
    bound.tracker("bind", "beads", "--workspace", "elsewhere")
    text = path.read_text()
    assert "# ours" in text
    assert "other: 1 # kept" in text
    assert "workspace: elsewhere" in text


@pytest.mark.parametrize(
    "arguments",
    [
        ["sync", "--take", "local"],
        ["sync", "--wp", "WP01", "--take", "local"],
        ["sync", "--field", "title", "--take", "local"],
        ["sync", "--wp", "WP01", "--field", "status", "--take", "remote"],
        ["push", "--recreate"],
        ["bind", "jira"],
    ],
    ids=" ".join,
)
def test_what_is_asked_wrongly(bound: Bound, arguments: list[str]) -> None:
    answer = bound.answer(*arguments)
    assert (answer.exit_code, answer.code) == (2, "USAGE")
    assert bound.world.calls() == []


@pytest.mark.parametrize(
    "line", ["sync_max_retries: -1", "sync_max_retries: 1000", "sync_max_retries: two", "fields: {title: never}"]
)
def test_a_setting_that_is_none(bound: Bound, line: str) -> None:
    bound.configure(line)
    assert bound.answer("push").code == "CONFIG_INVALID"
    assert bound.world.calls() == []


def test_there_is_no_bd(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    project.mission("demo", [{"work_package_id": "WP01"}])
    monkeypatch.setenv(VARIABLE, "1")
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    project.kitty("tracker", "bind", "beads")
    assert project.kitty("tracker", "push", "--json").code == "TRACKER_COMMAND"


def test_a_file_of_links_that_is_none(bound: Bound) -> None:
    bound.tracker("sync")
    path = bound.project.root / ".git/kitty/tracker.db"
    path.write_bytes(b"no database, " * 1000)
    answer = bound.answer("sync")
    assert (answer.code, str(path) in answer.json["hint"]) == ("TRACKER_DAMAGED", True)
    path.unlink()
    assert len(bound.tracker("sync")["linked"]) == 2


def test_people_are_told_what_happened(bound: Bound) -> None:
    told = bound.project.kitty("tracker", "sync").stdout
    assert "WP01: " in told
    assert bound.project.kitty("tracker", "sync").stdout == "Both sides are alike.\n"
    bound.replace("The cart", "Mine")
    bound.world.edit(bound.issue(), title="The basket\x1b[31m")
    told = bound.project.kitty("tracker", "sync").stdout
    assert "kitty tracker sync --wp WP01 --field title --take local|remote" in told
    assert "\x1b" not in told
    assert "to be decided: title" in bound.project.kitty("tracker", "status").stdout


def test_the_exchange_imports_no_network_library() -> None:
    import kitty_sync.tracker

    places = Path(kitty_sync.tracker.__file__).parent.glob("*.py")
    words = ("http", "socket", "urllib", "websockets", "requests", "ssl", "subprocess", "asyncio")
    lines = [line.split() for place in places for line in place.read_text().splitlines()]
    imported = [line[1] for line in lines if line[:1] in (["import"], ["from"])]
    assert imported
    assert [one for one in imported if any(word in one for word in words)] == []
