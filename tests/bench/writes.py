"""What it costs to write durably: rows of a ledger, events of the queue, a command with sync on."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from figure import Figure, figure
from measure import KITTY, Bench, Cost, in_turn, inside, process
from scenes import repository


def appends(bench: Bench) -> Iterator[Figure]:
    """Durable appends: in process against one raw fdatasync; eight writers against SQLite doing the same."""
    from kitty_host.ledger.log import Ledger

    directory = bench.scratch / "ledger"
    directory.mkdir()
    ledger = Ledger(directory / "mission", directory / "common", "M")
    row = {"event_id": "X" * 26, "payload": "x" * 400, "event_type": "Bench"}
    raw = os.open(directory / "raw", os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def fdatasync() -> None:
        os.write(raw, b"x" * 500)
        os.fdatasync(raw)

    ratio = in_turn(inside(lambda: ledger.append([row])), inside(fdatasync), runs=bench.runs * 10)
    note = f"{ratio.one.wall * 1000:.2f} / {ratio.other.wall * 1000:.2f} ms"
    yield figure("one durable append, in process", "one raw fdatasync (wall)", "≤ 2", ratio.wall, ratio.wall <= 2, note)
    both = in_turn(lambda: _writers(_APPEND, directory), lambda: _writers(_SQLITE, directory), runs=min(bench.runs, 5))
    faster = both.other.wall / both.one.wall
    note = f"{_ROWS * 8 / both.one.wall:.0f} / {_ROWS * 8 / both.other.wall:.0f} a second"
    yield figure(
        "durable appends a second, 8 writers", "SQLite, WAL, synchronous FULL", "≥ 2.5", faster, faster >= 2.5, note
    )


def queue(bench: Bench) -> Iterator[Figure]:
    """Enqueueing for sync: one process against bare SQLite; eight processes against the rate of one; the longest wait of any."""
    os.environ["XDG_STATE_HOME"] = str(bench.scratch / "state")
    for count, goal in ((1, 0.9), (8, 0.8)):
        waits: list[float] = []

        def enqueued(count: int = count, waits: list[float] = waits) -> Cost:
            cost, told = _queued(count)
            waits += told
            return cost

        other = (lambda: _bare(bench.scratch)) if count == 1 else (lambda: _queued(1)[0])
        ratio = in_turn(enqueued, other, runs=min(bench.runs, 5))
        rate, against = _ROWS * count / ratio.one.wall, _ROWS / ratio.other.wall
        note = f"{rate:.0f} / {against:.0f} a second"
        what = f"events queued a second, {count} process{'es' if count > 1 else ''}"
        name = "SQLite, WAL, synchronous FULL" if count == 1 else "one process"
        yield figure(what, name, f"≥ {goal}", rate / against, rate / against >= goal, note)
        longest = max(waits) * 1000
        yield Figure(f"{what}: the longest took", "", f"{longest:.0f} ms", "< 250 ms", longest < 250)


def sync(bench: Bench) -> Iterator[Figure]:
    """A local command that writes, with sync on, against the same with sync off; with a hub that is there, and one that is not."""
    root = repository(bench.scratch / "synced", packages=10)
    home = bench.scratch / "sync-home"
    hub = _Hub(bench.scratch / "hub")
    base = {"XDG_STATE_HOME": str(home / "state"), "XDG_CONFIG_HOME": str(home / "config"), "KITTY_KEYRING": "0"}
    on = {**base, "SPEC_KITTY_ENABLE_SAAS_SYNC": "1"}
    hub.log_in(root, on)
    try:
        for what in ("alive", "dead"):
            if what == "dead":
                hub.close()
            command = (KITTY, "-C", root, "move", "WP01", "planned", "--force", "--agent", "ada", "--reason", "bench")
            ratio = in_turn(process(*command, environment=on), process(*command, environment=base), runs=bench.runs)
            note = f"{ratio.one.wall * 1000:.0f} / {ratio.other.wall * 1000:.0f} ms"
            name = f"a command that writes, sync on, server {what}"
            yield figure(name, "the same with sync off (wall)", "≤ 1.3", ratio.wall, ratio.wall <= 1.3, note)
    finally:
        hub.close()


_ROWS = 200
"""What each writer writes."""
_APPEND = """
import sys
from pathlib import Path
from kitty_host.ledger.log import Ledger
place, number, count = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
ledger = Ledger(place / "many", place / "common", "many")
print("ready", flush=True)
sys.stdin.readline()
for event in range(count):
    ledger.append([{"event_id": f"{number}-{event}", "payload": "x" * 400, "event_type": "Bench"}])
"""

_SQLITE = """
import sqlite3, sys
number, count = sys.argv[2], int(sys.argv[3])
connection = sqlite3.connect(sys.argv[1] + "/many.db", timeout=60, isolation_level=None)
connection.execute("PRAGMA synchronous=FULL")
print("ready", flush=True)
sys.stdin.readline()
for event in range(count):
    connection.execute("INSERT INTO events VALUES (?, ?)", (f"{number}-{event}", "x" * 400))
"""


_ENQUEUE = """
import sys, time
from kitty_sync.account import enqueue
from kitty_sync.events import Entry
from kitty_sync.queue import Queue
from kitty_sync.settings import Target
number, count = sys.argv[1], int(sys.argv[2])
queue = Queue(Target())

def one(event):
    with queue.locked():
        enqueue(queue, [Entry("p", f"{number}-{event}", "d" * 64, "2026", "x" * 400)], 10**9, "bench")

one("first")  # makes the queue
print("ready", flush=True)
sys.stdin.readline()
for event in range(count):
    begun = time.perf_counter()
    one(event)
    print(begun, time.perf_counter())
"""


def _queued(processes: int) -> tuple[Cost, list[float]]:
    """So many processes that queue their events, from the first that begins to the last that ends; and how long each event took.

    The clock is one for all processes; a writer's end, with the closing of its file, is in neither of the two that are compared.
    """
    from kitty_sync.queue import Queue
    from kitty_sync.settings import Target

    for leftover in Queue(Target()).path.parent.glob("*"):
        leftover.unlink()
    running = [
        subprocess.Popen(
            [sys.executable, "-c", _ENQUEUE, str(number), str(_ROWS)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(processes)
    ]
    for writer in running:
        assert writer.stdout is not None
        writer.stdout.readline()
    for writer in running:
        assert writer.stdin is not None
        writer.stdin.write("go\n")
        writer.stdin.flush()
    told = [line.split() for writer in running for line in writer.communicate()[0].splitlines()]
    if any(writer.returncode for writer in running):
        raise RuntimeError("a writer failed")
    begun, ended = [float(line[0]) for line in told], [float(line[1]) for line in told]
    wall = max(ended) - min(begun)
    return Cost(wall, wall), [end - begin for begin, end in zip(begun, ended, strict=True)]


def _bare(directory: Path) -> Cost:
    """One process that inserts the same rows into the same tables, with a connection that stays."""
    from kitty_sync.queue import Queue
    from kitty_sync.settings import Target

    for leftover in directory.glob("bare.db*"):
        leftover.unlink()
    database = sqlite3.connect(directory / "bare.db", isolation_level=None)
    database.execute("PRAGMA journal_mode=WAL")
    database.execute("PRAGMA synchronous=FULL")
    with contextlib.closing(sqlite3.connect(Queue(Target()).path)) as queue:
        tables = queue.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY type = 'index'").fetchall()
    for (table,) in tables:
        database.execute(table)
    insert = "INSERT INTO events (project, event_id, digest, at, place, line) VALUES (?, ?, ?, ?, ?, ?)"
    database.execute(insert, ("p", "first", "d" * 64, "2026", "pending", "x" * 400))
    begun = time.perf_counter()
    for event in range(_ROWS):
        database.execute(insert, ("p", f"0-{event}", "d" * 64, "2026", "pending", "x" * 400))
    wall = time.perf_counter() - begun
    database.close()
    return Cost(wall, wall)


class _Hub:
    """A hub in a process of its own, and somebody who is logged in to it."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir()
        self._database = directory / "hub.db"
        command = [KITTY, "hub", "serve", "--database", self._database, "--port", "0", "--json"]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self.address = str(json.loads(self._process.stdout.readline())["address"])

    def log_in(self, root: Path, environment: dict[str, str]) -> None:
        """As somebody who may write."""
        who = "bench@example.org"
        hub = [KITTY, "hub", "user"]
        database = ["--database", self._database]
        subprocess.run([*hub, "add", who, "--team", "bench", *database], check=True, stdout=subprocess.DEVNULL)
        command = [KITTY, "auth", "login", self.address]
        told = {**os.environ, **environment}
        with subprocess.Popen(
            command, cwd=root, env=told, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        ) as login:
            assert login.stderr is not None
            code = ""
            while not code:
                said = login.stderr.readline()
                code = said.partition("confirm the code ")[2].partition(".")[0]
            subprocess.run([*hub, "approve", who, code, *database], check=True, stdout=subprocess.DEVNULL)
            if login.wait():
                raise RuntimeError("nobody could log in")

    def close(self) -> None:
        """End it."""
        self._process.terminate()
        self._process.wait()


def _writers(script: str, directory: Path) -> Cost:
    """Eight processes that write their rows, from the moment when all of them are ready."""
    for leftover in directory.glob("many*"):
        shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()
    shutil.rmtree(directory / "common", ignore_errors=True)
    connection = sqlite3.connect(directory / "many.db")
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("CREATE TABLE events (id TEXT PRIMARY KEY, payload TEXT)")
    connection.close()
    running = [
        subprocess.Popen(
            [sys.executable, "-c", script, str(directory), str(number), str(_ROWS)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        for number in range(8)
    ]
    for writer in running:
        assert writer.stdout is not None
        writer.stdout.readline()
    begun = time.perf_counter()
    for writer in running:
        assert writer.stdin is not None
        writer.stdin.write(b"go\n")
        writer.stdin.flush()
    if any(writer.wait() for writer in running):
        raise RuntimeError("a writer failed")
    wall = time.perf_counter() - begun
    return Cost(wall, wall)
