"""What a killed landing was asked for is not asked again, and who listens hears of it all the same."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
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
