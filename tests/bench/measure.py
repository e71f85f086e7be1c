"""Measuring two things in turn: A B A B …, so that a machine whose speed drifts drifts for both."""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

KITTY = Path(sys.executable).with_name("kitty")
IMPORT_CLICK = (sys.executable, "-c", "import click")


class Bench(NamedTuple):
    """Where to work, how often to measure, and what there is beside kitty."""

    scratch: Path
    runs: int
    corpus: Path | None
    """A directory with `kitty-specs/` of real missions."""
    peer: Path | None
    """The command of spec-kitty, in an environment of its own."""


class NotThere(Exception):
    """A row cannot be measured; says what it needs."""


class Cost(NamedTuple):
    """What one run cost, in seconds."""

    cpu: float
    """Of the process and its children."""
    wall: float


class Ratio(NamedTuple):
    """The medians of two things and how they compare."""

    one: Cost
    other: Cost

    @property
    def cpu(self) -> float:
        """CPU of the one as a multiple of the other's."""
        return self.one.cpu / self.other.cpu

    @property
    def wall(self) -> float:
        """The same for the wall clock."""
        return self.one.wall / self.other.wall


Measured = Callable[[], Cost]


def process(*command: str | Path, where: Path | None = None, environment: Mapping[str, str] | None = None) -> Measured:
    """A whole process, its children included; it must succeed."""

    def run() -> Cost:
        begun = time.perf_counter()
        child = subprocess.Popen(
            [str(part) for part in command], cwd=where, env=_plain(environment), stdout=subprocess.DEVNULL
        )
        _, status, used = os.wait4(child.pid, 0)
        wall = time.perf_counter() - begun
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode:
            raise RuntimeError(f"{command} ended with {child.returncode}")
        return Cost(used.ru_utime + used.ru_stime, wall)

    return run


def inside(work: Callable[[], object]) -> Measured:
    """A function of this process, and the processes that it waits for."""

    def run() -> Cost:
        begun, cpu = time.perf_counter(), _used()
        work()
        return Cost(_used() - cpu, time.perf_counter() - begun)

    return run


def _used() -> float:
    each = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in each)


def in_turn(one: Measured, other: Measured, *, runs: int = 15, before: Callable[[], object] | None = None) -> Ratio:
    """Medians of both after one run of each that is not counted; `before` prepares each run and is not measured."""
    found: tuple[list[Cost], list[Cost]] = ([], [])
    for number in range(runs + 1):
        for measured, costs in zip((one, other), found, strict=True):
            if before is not None:
                before()
            cost = measured()
            if number:
                costs.append(cost)
    return Ratio(median(found[0]), median(found[1]))


def median(costs: Sequence[Cost]) -> Cost:
    """Of each of its parts."""
    return Cost(statistics.median(cost.cpu for cost in costs), statistics.median(cost.wall for cost in costs))


def _plain(environment: Mapping[str, str] | None) -> dict[str, str]:
    """Bytecode is kept, as it is for every user."""
    return {
        **{name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"},
        **(environment or {}),
    }
