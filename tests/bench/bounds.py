"""What is counted and not timed: the tests that hold these bounds measure them, and say what they found.

Such a test has the fixture `record_property`, and says `figure` with what it measured, the figure and its bound.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

from figure import Figure
from measure import Bench

ROOT = Path(__file__).parent.parent.parent
BOUNDS = (
    "tests/ledger/test_log.py::test_processes_at_once_lose_nothing",
    "tests/ledger/test_verify.py::test_a_line_of_a_gigabyte_does_not_fill_the_memory",
    "tests/test_config.py::test_a_bomb_is_refused_before_it_goes_off",
    "plugins/intake/tests/test_source.py::test_SC_003_fifty_megabytes_are_refused_cleanly_in_bounded_memory",
    "plugins/sync/tests/test_refresh.py::test_a_hundred_processes_of_ten_threads_refresh_once",
    "plugins/sync/tests/hub_server/test_ingest.py::test_a_bomb_does_not_go_off",
    "plugins/sync/tests/hub_server/test_limits.py::test_ten_thousand_open_codes_cost_little_and_keep_nobody_out",
)


def bounds(bench: Bench) -> Iterator[Figure]:
    """What is lost, and how much memory grows, as the tests found it that fail where a bound is passed."""
    report = bench.scratch / "bounds.xml"
    _pytest("-m", "", "-n", "0", f"--junitxml={report}", *BOUNDS)
    for case in ElementTree.parse(report).iter("testcase"):
        for said in case.iter("property"):
            what, value, goal = said.attrib["value"].split("|")
            yield Figure(what, "", value, goal)


def suites(bench: Bench) -> Iterator[Figure]:
    """How long it takes to be sure: the end-to-end suite, the README's test command, and everything; an hour in all."""
    commands = {
        "the end-to-end suite": (["-m", "pytest", "tests/e2e"], 2),
        "the README's test command": (["-m", "pytest"], 6),
    }
    for what, (command, goal) in commands.items():
        yield _minutes(what, [sys.executable, *command], goal)
    yield _minutes(".ci/run", ["bash", ".ci/run"], 15)


def _minutes(what: str, command: list[str], goal: int) -> Figure:
    begun = time.monotonic()
    subprocess.run(command, cwd=ROOT, check=True, stdout=sys.stderr)
    took = (time.monotonic() - begun) / 60
    return Figure(what, "", f"{took:.1f} min", f"< {goal} min", took < goal)


def _pytest(*arguments: str) -> None:
    subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments], cwd=ROOT, check=True, stdout=sys.stderr
    )
