"""Without the switch there is no queue, no directory and no SQLite; the commands say how to enable it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from kitty_host.testing import Project
from kitty_sync.switch import VARIABLE

OFF = ["", "0", "false", "no", "off", "2", "enabled"]
ON = ["1", "true", "YES", "y", "On", " 1 "]


def state_of(project: Project) -> list[Path]:
    """What was made in the user's home beside the Git configuration of the test."""
    return [path for path in (project.root.parent / "home").rglob("*") if path.name != "gitconfig"]


@pytest.mark.parametrize("value", [None, *OFF])
def test_disabled_leaves_no_trace(poked: Project, monkeypatch: pytest.MonkeyPatch, value: str | None) -> None:
    if value is not None:
        monkeypatch.setenv(VARIABLE, value)
    poked.mission()
    assert poked.kitty("poke").exit_code == 0
    before = poked.snapshot()
    for name in ("status", "drain", "backfill"):
        answer = poked.kitty("sync", name, "--json")
        assert (answer.exit_code, answer.code) == (1, "SYNC_DISABLED")
        assert VARIABLE in answer.json["hint"]
    assert poked.snapshot() == before
    assert state_of(poked) == []


@pytest.mark.usefixtures("unmeasured")
def test_disabled_loads_no_sqlite(poked: Project) -> None:
    poked.mission()
    asked = (
        "import sys\nfrom kitty_host.cli import run\n"
        "codes = [run(['poke']), run(['sync', 'status'])]\n"
        "print(codes, 'kitty_sync.switch' in sys.modules, 'sqlite3' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", asked], cwd=poked.root, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "[0, 1] True False"


@pytest.mark.parametrize("value", ON)
def test_enabled_queues_every_row(poked: Project, monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv(VARIABLE, value)
    poked.mission()
    assert poked.kitty("poke", "--count", "2").stderr == ""
    assert poked.kitty("sync", "status", "--json").json["depth"] == 2


def test_help_is_there_without_the_switch(poked: Project) -> None:
    assert "drain" in poked.kitty("sync", "--help").stdout
    assert "--dry-run" in poked.kitty("sync", "drain", "--help").stdout
