"""What a killed landing was asked for is not asked again, and who listens hears of it all the same."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import Yard

# Kills its own process right before or after the n-th call of a function.
DRIVER = """
import importlib, os, signal, sys
module, _, name = sys.argv[1].rpartition(":")
owner = importlib.import_module(module)
real = getattr(owner, name)
def killing(*arguments, **named):
    if sys.argv[2] == "after":
        real(*arguments, **named)
    os.kill(os.getpid(), signal.SIGKILL)
setattr(owner, name, killing)
from kitty_host.cli import run
sys.exit(run(sys.argv[3:]))
"""
WHERE = [
    ("kitty_merge.landing:build_final", "before"),
    ("kitty_merge.move:refs", "before"),
    ("kitty_merge.move:refs", "after"),
    ("kitty_merge.move:wind_up", "after"),
]


@pytest.fixture
def killed(yard: Yard) -> Callable[..., None]:
    yard.plan(yard.package("WP01"), yard.package("WP02"))
    yard.finish("WP01")
    yard.finish("WP02")

    def kill(function: str, when: str, *arguments: str) -> None:
        command = ["-C", str(yard.root), "merge", "--json", *arguments]
        done = subprocess.run([sys.executable, "-c", DRIVER, function, when, *command], env=os.environ, cwd="/")
        assert done.returncode == -signal.SIGKILL

    return kill


@pytest.mark.parametrize(("function", "when"), WHERE)
def test_resume_keeps_the_strategy(yard: Yard, killed: Callable[..., None], function: str, when: str) -> None:
    old = yard.project.git("rev-parse", "main")
    killed(function, when, "--strategy", "squash")
    done = yard.project.kitty("merge", "--json", "--mission", yard.mission.slug)
    assert done.exit_code == 0, done
    assert done.json["receipt"]["strategy"] == "squash"
    assert yard.project.git("rev-list", "--count", f"{old}..main") == "1"


@pytest.mark.parametrize("at", ["prepared", "committed"])
def test_SC_002_an_interrupted_merge_of_ten_lanes_is_clean_after_one_more_command(yard: Yard, at: str) -> None:
    names = [f"WP{number:02}" for number in range(1, 11)]
    yard.plan(*(yard.package(name) for name in names))
    heads = [yard.finish(name) for name in names]
    old = yard.project.git("rev-parse", "main")
    yard.project.killed("merge", at=at)
    assert (yard.project.git("rev-parse", "main") == old) == (at == "prepared")
    done = yard.project.kitty("merge", "--json", "--mission", yard.mission.slug)
    assert done.exit_code == 0, done
    assert len(done.json["lanes"]) == 10
    assert yard.project.git("rev-list", *heads, "--not", "main") == ""
    assert yard.status() == ""
    assert {yard.lane_of(name) for name in names} == {"done"}
    assert yard.project.kitty("merge", "--status", "--json").json["unfinished"] == []


@pytest.mark.parametrize(("function", "when"), WHERE)
def test_resume_keeps_the_worktrees_that_were_to_be_kept(
    yard: Yard, killed: Callable[..., None], function: str, when: str
) -> None:
    killed(function, when, "--keep-worktrees")
    assert yard.project.kitty("merge", "--json", "--mission", yard.mission.slug).exit_code == 0
    assert len(list((yard.root / ".worktrees").iterdir())) == 2


@pytest.mark.parametrize(("function", "when"), WHERE)
def test_an_abort_after_a_kill_is_as_before(yard: Yard, killed: Callable[..., None], function: str, when: str) -> None:
    before = yard.project.git("rev-parse", "main"), yard.project.git("ls-files", "--stage"), yard.status()
    killed(function, when)
    assert yard.project.kitty("merge", "--abort", "--mission", yard.mission.slug).exit_code == 0
    assert (yard.project.git("rev-parse", "main"), yard.project.git("ls-files", "--stage"), yard.status()) == before
    assert {yard.lane_of("WP01"), yard.lane_of("WP02")} == {"approved"}
    assert yard.project.kitty("merge", "--status", "--json").json["unfinished"] == []
    assert yard.project.kitty("merge", "--json").exit_code == 0


@pytest.mark.parametrize(("function", "when"), WHERE)
def test_observers_hear_of_every_row_at_least_once(
    yard: Yard,
    killed: Callable[..., None],
    function: str,
    when: str,
    install_plugin: Callable[..., object],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    heard = yard.root.parent / "heard.txt"
    install_plugin(
        "listens",
        f"""
from kitty_host.api import hookimpl

@hookimpl
def kitty_emitted(event, mission):
    with open({str(heard)!r}, "a") as stream:
        print(event["event_id"], file=stream)

@hookimpl
def kitty_merged(landing):
    with open({str(heard)!r}, "a") as stream:
        print("landed", landing.new, file=stream)
""",
    )
    monkeypatch.setenv("KITTY_PLUGINS", "merge,listens")
    known = len(yard.mission.ledger.rows())
    killed(function, when)
    assert yard.project.kitty("merge", "--json", "--mission", yard.mission.slug).exit_code == 0
    told = heard.read_text().splitlines()
    assert {str(row["event_id"]) for row in yard.mission.ledger.rows()[known:]} <= set(told)
    assert f"landed {yard.project.git('rev-parse', 'main')}" in told
    assert len(set(told)) == len(told)


# Taking back


UNDOING = [*WHERE[2:], ("kitty_merge.undo_cli:announce", "before")]


@pytest.mark.parametrize("again", [("--undo",), (), ("--abort",)], ids=["--undo", "plain", "--abort"])
@pytest.mark.parametrize(("function", "when"), UNDOING)
def test_an_undo_that_was_killed_is_finished_and_nobody_lands_again(
    yard: Yard, killed: Callable[..., None], function: str, when: str, again: tuple[str, ...]
) -> None:
    old = yard.project.git("rev-parse", "main")
    assert yard.project.kitty("merge", "--json").exit_code == 0
    killed(function, when, "--undo")
    done = yard.project.kitty("merge", "--json", *again)
    assert done.exit_code == 0, done
    assert done.json["new"] == old
    assert yard.project.git("rev-parse", "main") == old
    assert yard.project.kitty("merge", "--status", "--json").json["unfinished"] == []
    done = yard.project.kitty("merge", "--undo", "--json")
    assert (done.exit_code, done.code) == (1, "UNDO_REFUSED")
    assert yard.project.kitty("merge", "--json").json["old"] == old


@pytest.mark.parametrize("again", [("--undo",), (), ("--abort",)], ids=["--undo", "plain", "--abort"])
def test_an_undo_that_was_killed_before_anything_moved_was_not_made(
    yard: Yard, killed: Callable[..., None], again: tuple[str, ...]
) -> None:
    old = yard.project.git("rev-parse", "main")
    assert yard.project.kitty("merge", "--json").exit_code == 0
    landed = yard.project.git("rev-parse", "main")
    killed("kitty_merge.move:refs", "before", "--undo")
    done = yard.project.kitty("merge", "--json", *again)
    assert done.exit_code == 0, done
    assert yard.project.git("rev-parse", "main") == (old if again == ("--undo",) else landed)
    assert yard.project.kitty("merge", "--status", "--json").json["unfinished"] == []


def test_observers_hear_of_an_undo_that_was_killed(
    yard: Yard, killed: Callable[..., None], plugins_with: Callable[..., object]
) -> None:
    source = """
from pathlib import Path
from kitty_host.api import hookimpl
@hookimpl
def kitty_emitted(event, mission):
    with open(mission.repo.root.parent / "heard", "a") as stream:
        stream.write(f"{event.get('to_lane') or event['event_type']}\\n")
"""
    plugins_with("merge", ear=source)
    assert yard.project.kitty("merge", "--json").exit_code == 0
    heard = yard.root.parent / "heard"
    heard.unlink()
    killed("kitty_merge.move:refs", "after", "--undo")
    assert yard.project.kitty("merge", "--undo", "--json").exit_code == 0
    assert heard.read_text().split() == ["approved", "approved", "MissionLandingUndone"]


def test_giving_up_a_second_landing_leaves_the_first_one(yard: Yard, killed: Callable[..., None]) -> None:
    assert yard.project.kitty("merge", "--json", "--keep-worktrees").exit_code == 0
    landed = yard.project.git("rev-parse", "main")
    yard.project.record(yard.mission, "WP01", "in_progress")
    yard.finish("WP01", "better\n")
    killed("kitty_merge.landing:build_final", "before")
    assert yard.project.kitty("merge", "--abort", "--json").exit_code == 0
    assert yard.project.git("rev-parse", "main") == landed


# A Git that lives longer than kitty


def test_a_git_that_outlives_kitty_keeps_the_lock_until_it_ends(yard: Yard) -> None:
    yard.plan(yard.package("WP01"))
    yard.finish("WP01")
    prepared, go_on = yard.root.parent / "prepared", yard.root.parent / "go-on"
    hook = yard.project.write(
        ".git/hooks/reference-transaction",
        f'#!/bin/sh\n[ "$1" = prepared ] || exit 0\ngrep -q " refs/heads/main$" || exit 0\n: >"{prepared}"\n'
        f'for second in $(seq 600); do [ -e "{go_on}" ] && exit 0; sleep 0.05; done\nexit 1\n',
    )
    hook.chmod(0o755)
    command = [sys.executable, "-m", "kitty_host", "-C", str(yard.root), "merge", "--json"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until(prepared.exists)
        process.kill()
        process.wait()
        done = yard.project.kitty("merge", "--json")
        assert (done.exit_code, done.code) == (1, "LOCK_HELD"), done
    finally:
        go_on.touch()
    hook.unlink()
    until(lambda: yard.project.kitty("merge", "--json").exit_code == 0)
    assert yard.tree("wp01.txt").read_text() == "work\n"
    assert yard.status() == ""


def until(holds: Callable[[], bool]) -> None:
    """Wait for something that comes for sure, and not for ever."""
    for _ in range(600):
        if holds():
            return
        time.sleep(0.05)
    raise AssertionError("it does not come")
