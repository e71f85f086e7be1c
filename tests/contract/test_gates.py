"""Nothing of kitty's own is accepted without its contract suite and its end-to-end suite."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import kitty_charter
from kitty_charter.acceptance import settings
from kitty_host.repo import Repo

ROOT = Path(__file__).parents[2]
GATES = {suite.name: suite for suite in settings(Repo.find(ROOT)).gates}
SCENARIOS = ("FR_038", "FR_039", "FR_040", "FR_041")


def collected(*paths: str, listing: Path) -> list[str]:
    """The ids of what pytest finds below some paths."""
    subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-p",
            "no:cacheprovider",
            "-p",
            "kitty_collecting",
            "--collect-only",
            "-q",
            *paths,
        ],
        cwd=ROOT,
        env={
            **os.environ,
            "KITTY_COLLECTED": str(listing),
            "PYTHONPATH": str(Path(kitty_charter.__file__).parent / "collect"),
        },
        check=True,
        capture_output=True,
    )
    found: list[str] = json.loads(listing.read_bytes())
    return found


def test_SC_011_both_suites_are_gates() -> None:
    assert list(GATES) == ["contract", "end-to-end"]


@pytest.mark.parametrize("name", GATES)
def test_a_gate_expects_nearly_as_many_tests_as_there_are(name: str, tmp_path: Path) -> None:
    """So that a suite that loses its tests is red, and nobody has to touch the number for each new one."""
    suite = GATES[name]
    assert "--junitxml={report}" in suite.command
    [path] = [word for word in shlex.split(suite.command) if word.startswith("tests/")]
    found = len(collected(path, listing=tmp_path / "collected.json"))
    assert suite.minimum_tests <= found < 2 * suite.minimum_tests


def test_the_end_to_end_suite_has_twenty_minutes() -> None:
    """What takes longer is ended, and red."""
    assert GATES["end-to-end"].timeout_seconds == 20 * 60


def test_the_scenarios_are_collected(tmp_path: Path) -> None:
    found = collected("tests/e2e/test_scenarios.py", listing=tmp_path / "collected.json")
    assert len(found) >= len(SCENARIOS)
    for scenario in SCENARIOS:
        assert any(scenario in one for one in found), scenario
