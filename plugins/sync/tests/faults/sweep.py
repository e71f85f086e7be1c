"""Emits events and delivers them while everything fails that can, one fault at a time, and makes the account."""

from __future__ import annotations

import contextlib
import json
import os
import random
import sqlite3
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from kitty_host.files import lock
from kitty_host.ledger.event import new_id, now, transition
from kitty_host.testing import Project
from kitty_sync.queue import DELIVERED, DRAINED, PARKED, PENDING, PLACES, Queue

from ..conftest import PROJECT
from ..hub import HubProcess
from .client import Client
from .wire import Fault, Wire

ROWS_OF_A_MISSION = 5_000
_BAD = 100
"""Every so manyth row is one that the peer's models refuse."""


class Sweep:
    """One project with its client, hub and wire; both databases on small disks of their own."""

    def __init__(self, project: Project, hub: HubProcess, wire: Wire, disks: dict[str, Path], seed: int) -> None:
        self.project = project
        self.hub = hub
        self.wire = wire
        self.disks = disks
        self.client = Client(project.root)
        self.queue = Queue(_target())
        self.chance = random.Random(seed)
        self.emitted: set[str] = set()
        self.counts: Counter[str] = Counter()
        """Of each fault, how often it struck; of each exit code, how often it came."""
        self.said: dict[str, Any] = {}
        """What a command said last when a fault struck."""
        self._mission: Any = None
        self._rows = 0
        self.typical = 0.3
        """Seconds of a delivery, to kill within it."""

    def round(self, kind: str, events: int) -> None:
        """Emit, run one command while one fault strikes, and put what was broken in order again."""
        self.emit(events)
        began = time.monotonic()
        code = FAULTS[kind](self)
        if kind == "none":
            self.typical = 0.5 * self.typical + 0.5 * (time.monotonic() - began)
        self.counts[kind] += 1
        self.counts[f"exit {code}"] += 1
        self.said[kind] = self.client.said() if code == 1 else code
        assert code in (0, 1, -9), self.client.said()
        self.wire.faults.clear()

    def emit(self, count: int) -> None:
        """Rows in a ledger, as somebody who was not watched writes them."""
        if self._mission is None or self._rows >= ROWS_OF_A_MISSION:
            self._mission, self._rows = self.project.mission(f"m{len(self.emitted)}"), 0
        lines = [self._row(number) for number in range(self._rows, self._rows + count)]
        self._mission.ledger.append(lines)
        self._rows += count
        self.emitted |= {row["event_id"] for row in lines}

    def _row(self, number: int) -> dict[str, Any]:
        if number % _BAD == 7:
            return {"event_type": "PlanStarted", "event_id": new_id(), "timestamp": now()}
        mission_id, slug = self._mission.mission_id, self._mission.slug
        row = transition(
            f"WP{number % 10:02}", "planned", "claimed", actor="ada", mission_id=mission_id, mission_slug=slug
        )
        return {**row, "event_id": new_id(), "at": now()}

    def command(self) -> tuple[str, ...]:
        """Something that a user may run, deliveries most of all."""
        return self.chance.choice((*[("sync", "now")] * 7, ("sync", "flush"), ("sync", "drain"), ("sync", "replay")))

    def run(self, *arguments: str, kill_after: float | None = None) -> int:
        """Run a command."""
        return self.client.run(*arguments, "--json", kill_after=kill_after)

    def instant(self) -> float:
        """A moment within a delivery."""
        return self.chance.uniform(0, self.typical)

    # The account

    def account(self) -> dict[str, set[str]]:
        """Backfill, and look: every emitted event is in one place, and what is said to be there is there."""
        assert self.run("sync", "backfill") == 0, self.client.said()
        places = {place: self.queue.ids(PROJECT, place) for place in PLACES}
        found = [event_id for ids in places.values() for event_id in ids]
        assert len(found) == len(set(found)), "an event is in two places"
        assert set(found) == self.emitted, (len(found), len(self.emitted))
        stored = self.hub.events()
        assert set(places[DELIVERED]) <= set(stored), "something is called delivered that the hub does not have"
        assert set(stored) <= self.emitted
        written = [
            json.loads(line)["event_id"]
            for file in (self.project.root / ".kittify/sync").glob("overflow-*.jsonl")
            for line in file.read_text().splitlines()[1:]
        ]
        assert set(places[DRAINED]) <= set(written), "something is called drained that no file has"
        return {place: set(ids) for place, ids in places.items()}

    def finish(self) -> None:
        """Deliver everything: what was emitted and is not refused is at the hub, once."""
        assert self.run("sync", "replay") == 0, self.client.said()
        assert self.run("sync", "flush") == 0, self.client.said()
        places = self.account()
        assert places[PENDING] == places[DRAINED] == set()
        assert places[DELIVERED] == set(self.hub.events())
        assert places[DELIVERED] | places[PARKED] == self.emitted
        assert len(places[PARKED]) >= len(self.emitted) // _BAD - 1


def _target() -> Any:
    from kitty_sync.settings import target

    return target()


# The faults: each runs one command, lets something fail meanwhile, and gives the exit code.


def none(sweep: Sweep) -> int:
    return sweep.run("sync", "now")


def client_killed(sweep: Sweep) -> int:
    return sweep.run(*sweep.command(), kill_after=sweep.instant())


def server_killed(sweep: Sweep) -> int:
    timer = threading.Timer(sweep.instant(), sweep.hub.kill)
    timer.start()
    code = sweep.run("sync", "now")
    timer.join()
    sweep.hub.restart()
    return code


def both_killed(sweep: Sweep) -> int:
    timer = threading.Timer(sweep.instant(), sweep.hub.kill)
    timer.start()
    code = sweep.run("sync", "now", kill_after=sweep.instant())
    timer.join()
    sweep.hub.restart()
    return code


def broken(*faults: Callable[[random.Random], Fault]) -> Callable[[Sweep], int]:
    """Some connections that break, one after the other."""

    def strike(sweep: Sweep) -> int:
        before = sweep.wire.broken
        sweep.wire.faults.extend(fault(sweep.chance) for fault in faults)
        code = sweep.run("sync", "now")
        assert sweep.wire.broken > before, "nothing was broken"
        return code

    return strike


def delayed_and_killed(sweep: Sweep) -> int:
    """The hub has stored it, and the client never hears of that."""
    sweep.wire.faults.append(Fault("delayed", seconds=1.0))
    return sweep.run("sync", "now", kill_after=0.5)


def full_disk(whose: str) -> Callable[[Sweep], int]:
    def strike(sweep: Sweep) -> int:
        with filled(sweep.disks[whose], sweep.chance.choice((0, 0, 4096, 65536))):
            return sweep.run(*(sweep.command() if whose == "client" else ("sync", "now")))

    return strike


def locked_queue(sweep: Sweep) -> int:
    with holding(lambda: lock(sweep.queue.path.with_suffix(".lock")), sweep.chance.uniform(0, 0.4)):
        return sweep.run("sync", "now")


def locked_database(whose: str) -> Callable[[Sweep], int]:
    def strike(sweep: Sweep) -> int:
        path = sweep.queue.path if whose == "client" else sweep.hub.database
        with holding(lambda: exclusively(path), sweep.chance.uniform(0, 0.4)):
            return sweep.run("sync", "now")

    return strike


FAULTS: dict[str, Callable[[Sweep], int]] = {
    "none": none,
    "client killed": client_killed,
    "server killed": server_killed,
    "both killed": both_killed,
    "connections refused": broken(lambda chance: Fault("refused"), lambda chance: Fault("refused")),
    "cut in the head of a request": broken(lambda chance: Fault("cut", chance.randrange(300))),
    "cut in the body of a request": broken(lambda chance: Fault("cut", chance.randrange(300, 1500))),
    "half an answer": broken(lambda chance: Fault("half", chance.randrange(1, 120))),
    "half an answer later": broken(lambda chance: Fault("half", chance.randrange(120, 2000))),
    "a lost answer": broken(lambda chance: Fault("lost")),
    "several lost answers": broken(lambda chance: Fault("lost"), lambda chance: Fault("lost")),
    "a delayed answer": broken(lambda chance: Fault("delayed", seconds=0.2)),
    "a delayed answer to a client that is killed": delayed_and_killed,
    "a full disk of the client": full_disk("client"),
    "a full disk of the hub": full_disk("hub"),
    "a locked queue": locked_queue,
    "a locked database of the client": locked_database("client"),
    "a locked database of the hub": locked_database("hub"),
}


def mixed(faults: int, chance: random.Random) -> list[str]:
    """So many faults, each kind as often as the others, in any order; between them some rounds without any."""
    kinds = [kind for kind in FAULTS if kind != "none"]
    chosen = [kinds[number % len(kinds)] for number in range(faults)] + ["none"] * (faults // 10)
    chance.shuffle(chosen)
    return ["none", *chosen]


# Disks and locks


@contextlib.contextmanager
def small_disk(place: Path, size: str) -> Iterator[Path]:
    """A disk of its own, that can be filled without harm to others."""
    place.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)], capture_output=True, text=True
    )
    if done.returncode:
        pytest.skip(f"a small disk has to be mounted, which this user may not: {done.stderr.strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


@contextlib.contextmanager
def filled(disk: Path, left: int) -> Iterator[None]:
    """No more room than so many bytes."""
    filler = disk / "filler"
    free = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
    with filler.open("wb") as stream:
        os.posix_fallocate(stream.fileno(), 0, max(free - left, 1))
    try:
        yield
    finally:
        filler.unlink()


@contextlib.contextmanager
def holding(take: Callable[[], contextlib.AbstractContextManager[Any]], seconds: float) -> Iterator[None]:
    """Somebody else has it when this begins, and lets it go after a while."""
    taken = threading.Event()

    def hold() -> None:
        with take():
            taken.set()
            time.sleep(seconds)

    thread = threading.Thread(target=hold)
    thread.start()
    taken.wait()
    yield
    thread.join()


@contextlib.contextmanager
def exclusively(path: Path) -> Iterator[None]:
    """Nobody else writes to a database meanwhile."""
    database = sqlite3.connect(path, isolation_level=None, timeout=10)
    try:
        database.execute("BEGIN EXCLUSIVE")
        yield
        database.execute("ROLLBACK")
    finally:
        database.close()
