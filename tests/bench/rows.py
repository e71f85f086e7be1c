"""The rows: each prepares what it needs in a scratch directory, measures, and gives lines to print."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

import hubs
from ledgers import count_lines, fill
from measure import Cost, Measured, Ratio, in_turn, inside, process

from kitty_host.mission import find_missions
from kitty_host.repo import Repo

KITTY = Path(sys.executable).with_name("kitty")
IMPORT_CLICK = (sys.executable, "-c", "import click")


class Bench(NamedTuple):
    """Where to work, how often to measure, and real missions if there are any."""

    scratch: Path
    runs: int
    corpus: Path | None


def line(what: str, against: str, goal: str, ratio: float, met: bool, note: str = "") -> str:
    """One printed row."""
    return f"{what:44} / {against:38} {ratio:7.2f}  goal {goal:8} {'' if met else 'MISSED'} {note}".rstrip()


def at_most(what: str, against: str, goal: float, ratio: Ratio) -> str:
    """A row whose CPU ratio shall stay below a goal."""
    return line(what, against, f"<= {goal}", ratio.cpu, ratio.cpu <= goal, _cpu(ratio))


def measured(what: str, against: str, ratio: Ratio) -> str:
    """A row without a goal, to compare with another."""
    return line(what, against, "none", ratio.cpu, True, _cpu(ratio))


def _cpu(ratio: Ratio) -> str:
    return f"({ratio.one.cpu * 1000:.0f} / {ratio.other.cpu * 1000:.0f} ms CPU)"


def start(bench: Bench) -> Iterator[str]:
    """`--version` and `--help` against the import of click."""
    for argument, goal in (("--version", 1.15), ("--help", 1.35)):
        ratio = in_turn(process(KITTY, argument), process(*IMPORT_CLICK), runs=bench.runs)
        yield at_most(f"kitty {argument}", "python -c 'import click'", goal, ratio)


def many(bench: Bench) -> Iterator[str]:
    """`--help` with 25 plugins among 115 distributions against the same without them."""
    site = bench.scratch / "site"
    site.mkdir()
    for number in range(115):
        metadata = site / f"other_{number}-1.0.dist-info"
        metadata.mkdir()
        text = f"[console_scripts]\nx{number} = x:x\n"
        if number < 25:
            (site / f"kitty_many_{number}.py").write_text(
                "from kitty_host.api import Command, hookimpl\n\n@hookimpl\ndef kitty_commands():\n"
                f"    return [Command('many-{number}', 'x:y', 'One of many.')]\n"
            )
            text += f"[kitty]\nmany{number} = kitty_many_{number}\n"
        (metadata / "entry_points.txt").write_text(text)
    with_many = process(KITTY, "--help", environment={"PYTHONPATH": str(site)})
    click_cpu = in_turn(process(*IMPORT_CLICK), process(*IMPORT_CLICK), runs=bench.runs).one.cpu
    ratio = in_turn(with_many, process(KITTY, "--help"), runs=bench.runs)
    more = (ratio.one.cpu - ratio.other.cpu) / click_cpu
    yield line(
        "--help, 25 plugins and 115 distributions more", "python -c 'import click', on top", "<= 0.4", more, more <= 0.4
    )


def queries(bench: Bench) -> Iterator[str]:
    """`status` and `next` on ten work packages against the import of click."""
    root = _repository(bench.scratch / "ten", packages=10)
    for command in ("status", "next"):
        # As an agent asks: in the repository, and with its name in the environment.
        asked = process(KITTY, command, "--json", where=root, environment={"KITTY_AGENT": "bench"})
        ratio = in_turn(asked, process(*IMPORT_CLICK), runs=bench.runs)
        yield at_most(f"kitty {command} --json, 10 work packages, warm", "python -c 'import click'", 2.0, ratio)


def million(bench: Bench) -> Iterator[str]:
    """`status` on a ledger of a million rows: with its cache against a short ledger, without it against counting the lines."""
    short = _repository(bench.scratch / "short", packages=10)
    root = _repository(bench.scratch / "long", packages=10)
    (mission,) = find_missions(Repo.find(root))
    fill(mission, 1_000_000)
    long = process(KITTY, "status", "--json", where=root)

    def forget() -> None:
        shutil.rmtree(mission.repo.cache, ignore_errors=True)

    # Read once through, so that neither has to wait for the disk.
    cold = in_turn(long, process(*count_lines(mission.ledger.live)), runs=min(bench.runs, 5), before=forget)
    warm = in_turn(long, process(KITTY, "status", "--json", where=short), runs=bench.runs)
    yield at_most("kitty status, a million events, warm", "the same, a few rows", 2, warm)
    yield at_most("kitty status, a million events, cold", "counting the lines", 5, cold)


def corpus(bench: Bench) -> Iterator[str]:
    """`status --all` on real missions: with caches against an empty mission, without them against parsing the same front matters."""
    if bench.corpus is None:
        yield "status --all of real missions: not measured; name a directory with kitty-specs/ by --corpus"
        return
    short = _repository(bench.scratch / "empty", packages=0)
    root = _repository(bench.scratch / "corpus", packages=0)
    shutil.rmtree(root / "kitty-specs")
    shutil.copytree(bench.corpus / "kitty-specs", root / "kitty-specs")
    everything = process(KITTY, "status", "--all", "--json", where=root)
    cache = Repo.find(root).cache

    def forget() -> None:
        shutil.rmtree(cache, ignore_errors=True)

    warm = in_turn(everything, process(KITTY, "status", "--all", "--json", where=short), runs=bench.runs)
    yield at_most("kitty status --all, real missions, warm", "the same, an empty mission", 3, warm)
    parsing = process(sys.executable, "-c", _PARSE, root)
    cold = in_turn(everything, parsing, runs=min(bench.runs, 5), before=forget)
    yield at_most("kitty status --all, real missions, cold", "parsing the same front matters", 1.5, cold)
    sevenfold = _repository(bench.scratch / "sevenfold", packages=0)
    shutil.rmtree(sevenfold / "kitty-specs")
    for number in range(_COPIES):
        for mission in (bench.corpus / "kitty-specs").iterdir():
            _copy_of(mission, sevenfold / "kitty-specs", number)
    grown = in_turn(process(KITTY, "status", "--all", "--json", where=sevenfold), everything, runs=bench.runs)
    yield at_most("kitty status --all, real missions seven times over, warm", "the same, once", _COPIES, grown)


_COPIES = 7


def _copy_of(mission: Path, place: Path, number: int) -> None:
    """A real mission under another id and another name."""
    meta = json.loads((mission / "meta.json").read_bytes())
    ids = f"{meta['mission_id'][:6]}{number}{meta['mission_id'][7:]}"
    copy = place / f"{mission.name.removesuffix(meta['mission_id'][:8])}{ids[:8]}"
    shutil.copytree(mission, copy)
    (copy / "meta.json").write_text(
        json.dumps({**meta, "mission_id": ids, "slug": copy.name, "mission_slug": copy.name})
    )


def appends(bench: Bench) -> Iterator[str]:
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
    note = f"({ratio.one.wall * 1000:.2f} / {ratio.other.wall * 1000:.2f} ms)"
    yield line("one durable append, in process", "one raw fdatasync (wall)", "<= 2", ratio.wall, ratio.wall <= 2, note)
    both = in_turn(lambda: _writers(_APPEND, directory), lambda: _writers(_SQLITE, directory), runs=min(bench.runs, 5))
    faster = both.other.wall / both.one.wall
    note = f"({_ROWS * 8 / both.one.wall:.0f} / {_ROWS * 8 / both.other.wall:.0f} a second)"
    yield line(
        "durable appends a second, 8 writers", "SQLite, WAL, synchronous FULL", ">= 2.5", faster, faster >= 2.5, note
    )


def queue(bench: Bench) -> Iterator[str]:
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
        note = f"({rate:.0f} / {against:.0f} a second; the longest took {max(waits) * 1000:.0f} ms)"
        what = f"events queued a second, {count} process{'es' if count > 1 else ''}"
        name = "SQLite, WAL, synchronous FULL" if count == 1 else "one process"
        yield line(what, name, f">= {goal}", rate / against, rate / against >= goal, note)


def sync(bench: Bench) -> Iterator[str]:
    """A local command that writes, with sync on, against the same with sync off; with a hub that is there, and one that is not."""
    root = _repository(bench.scratch / "synced", packages=10)
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
            note = f"({ratio.one.wall * 1000:.0f} / {ratio.other.wall * 1000:.0f} ms)"
            name = f"a command that writes, sync on, server {what}"
            yield line(name, "the same with sync off (wall)", "<= 1.3", ratio.wall, ratio.wall <= 1.3, note)
    finally:
        hub.close()


def ingest(bench: Bench) -> Iterator[str]:
    """The hub keeps batches of 500: against the bare statement into the same table, from what was judged before and from what is sent."""
    from kitty_sync.hub.store import Store

    runs = min(bench.runs, 7)
    parts = hubs.before_it_is_kept(runs)
    with hubs.postgresql(bench.scratch) as server:
        files = (str(bench.scratch / "ingest.db"), str(bench.scratch / "bare.db"))
        servers = (server("ingest"), server("bare"))
        ways = (("SQLite", "executemany", files, hubs.bare_sqlite, 0.8),)
        more = (("PostgreSQL", "INSERT … SELECT unnest", servers, hubs.bare_postgresql, 0.6),)
        for name, statement, places, bare, goal in (*ways, *more):
            kept = hubs.Kept(*map(Store, places))
            ratio = hubs.against(kept, bare(kept), runs)
            # A server's CPU is not this process's; a file's is, and does not tell of how busy the machine is.
            by = "cpu" if name == "SQLite" else "wall"
            took, other = (getattr(one, by) / hubs.BATCH * 1e6 for one in ratio)
            whole = took + parts["parsed"] + parts["judged"]
            walls = " / ".join(f"{hubs.BATCH / one.wall:.0f}" for one in ratio)
            note = f"(by {by}; {walls} events a second)"
            yield line(
                f"events kept, {name}", f"bare {statement}", f">= {goal}", other / took, other / took >= goal, note
            )
            yield line(
                "the same, parsed and judged before by one process", f"bare {statement}", "none", other / whole, True
            )
            kept.store.close()
    said = ", ".join(f"{name} {value:.1f}" for name, value in parts.items())
    yield f"before an event is kept, µs of CPU: {said} (which has the models and the canonical JSON in it)"


def live(bench: Bench) -> Iterator[str]:
    """From before an event is sent until each of 500 who listen has it; and what one process of a hub carries."""
    for name in ("SQLite", "PostgreSQL"):
        with contextlib.ExitStack() as stack:
            place = str(bench.scratch / "live.db")
            if name == "PostgreSQL":
                place = stack.enter_context(hubs.postgresql(bench.scratch))("live")
            serving = hubs.Serving(KITTY, bench.scratch, place)
            stack.callback(serving.close)
            empty, used = serving.memory(), serving.cpu()
            took, memory = asyncio.run(hubs.heard(serving))
            each = (serving.cpu() - used) / len(took) * 1e6
            rate, waits = asyncio.run(hubs.asked(serving))
        half, most = _quantiles(took)
        mark = "" if most < 100 else " MISSED"
        yield f"heard by {hubs.SUBSCRIBERS} who listen, {name}: p50 {half:.0f} ms, p99 {most:.0f} ms, goal p99 < 100 ms{mark}"
        yield (
            f"the hub in memory: {empty:.0f} MiB, and {memory:.0f} MiB with all of them; "
            f"{each:.0f} µs of CPU for each who hears of an event"
        )
        half, most = _quantiles(waits)
        yield (
            f"requests with one event by {hubs.SENDERS} at once, one process, {name}: {rate:.0f} a second, "
            f"p50 {half:.0f} ms, p99 {most:.0f} ms"
        )


def _quantiles(took: list[float]) -> tuple[float, float]:
    """The median and the 99th percentile, in milliseconds, of seconds in order."""
    half, most = (took[int(len(took) * part)] * 1000 for part in (0.5, 0.99))
    return half, most


ALONE = {**os.environ, "KITTY_PLUGINS": "merge"}
MERGE = ("merge", "--json", "--keep-worktrees")


class _Landable(NamedTuple):
    """A repository whose lanes are all approved, and a copy of it to begin with again and again."""

    root: Path
    pristine: Path

    @classmethod
    def make(cls, place: Path, lanes: int) -> _Landable:
        root = _landable(place, lanes=lanes, commits=10, files=5000)
        pristine = root.with_name(root.name + "-pristine")
        shutil.copytree(root, pristine, symlinks=True)
        return cls(root, pristine)

    def reset(self) -> None:
        shutil.rmtree(self.root)
        shutil.copytree(self.pristine, self.root, symlinks=True)
        # As it is where somebody works: the copied files are other ones, to Git's index and to kitty's caches.
        for command in (["git", "status"], [KITTY, "merge", "--dry-run"]):
            subprocess.run(command, cwd=self.root, check=True, capture_output=True, env=ALONE)
        os.sync()

    def kitty(self) -> Measured:
        return process(KITTY, "-C", self.root, *MERGE, environment=ALONE)


def landing(bench: Bench) -> Iterator[str]:
    """A whole `kitty merge` against lane-by-lane `git merge --no-ff`, ten lanes of ten commits, 5,000 files."""
    for lanes, goal in ((10, 0.6), (50, 0.45)):
        ready = _Landable.make(bench.scratch / f"landing-{lanes}", lanes)
        branches = _git(ready.root, "for-each-ref", "--format=%(refname:short)", "refs/heads/kitty/").split()
        script = " && ".join(f"git merge --quiet --no-ff --no-edit {branch}" for branch in branches)
        ratio = in_turn(ready.kitty(), process("sh", "-c", script, where=ready.root), runs=5, before=ready.reset)
        yield at_most(
            f"kitty merge, {lanes} lanes x 10 commits, 5,000 files", "git merge --no-ff, lane by lane", goal, ratio
        )


def resume(bench: Bench) -> Iterator[str]:
    """The plain re-run after a kill against an uninterrupted landing, ten lanes: killed by hooks of Git's, kitty and its Gits together."""
    ready = _Landable.make(bench.scratch / "resume", 10)
    on_target = 'grep -q " refs/heads/main$" && kill -9 0'
    for when, name, body in (
        ("before the target moved", "reference-transaction", f'[ "$1" = prepared ] && {on_target}'),
        ("when it had moved", "reference-transaction", f'[ "$1" = committed ] && {on_target}'),
        ("when all files were written", "post-merge", "kill -9 0"),
    ):
        killed = itertools.cycle((True, False))

        def before(name: str = name, body: str = body, killed: Iterator[bool] = killed) -> None:
            ready.reset()
            if next(killed):
                hook = ready.root / ".git/hooks" / name
                hook.parent.mkdir(exist_ok=True)
                hook.write_text(f"#!/bin/sh\n{body}\nexit 0\n")
                hook.chmod(0o755)
                command = [KITTY, "-C", ready.root, *MERGE]
                done = subprocess.run(command, env=ALONE, capture_output=True, start_new_session=True)
                assert done.returncode < 0, done
                hook.unlink()

        ratio = in_turn(ready.kitty(), ready.kitty(), runs=5, before=before)
        yield at_most(f"kitty merge again, killed {when}", "an uninterrupted landing", 1.5, ratio)


def preview(bench: Bench) -> Iterator[str]:
    """Ten lanes, all pairs and the target: by few processes and from the cache, against a process for each pair; `status` with it."""
    from kitty_host.state import State
    from kitty_merge.heads import read_heads
    from kitty_merge.preview import preview as look_ahead
    from kitty_merge.trial import trial

    root = _landable(bench.scratch / "preview", lanes=10, commits=10, files=500)
    (mission,) = find_missions(Repo.find(root))
    state, heads = State.load(mission), read_heads(mission)
    assert heads.target is not None
    lanes = list(heads.branches.values())
    pairs = list(combinations(lanes, 2))

    def engine() -> None:
        with trial(mission.repo, [heads.target, *lanes]) as attempt:
            attempt.merge([*pairs, *((heads.target, lane) for lane in lanes)])

    def forget() -> None:
        shutil.rmtree(mission.repo.cache, ignore_errors=True)

    script = "".join(f"git merge-tree --write-tree {one} {other} && " for one, other in pairs) + "true"
    one_by_one = process("sh", "-c", script, where=root)
    against = "45 pairs, one Git process each"
    ratio = in_turn(inside(engine), one_by_one, runs=bench.runs, before=forget)
    yield at_most("preview, 10 lanes, cold: pairs and target", against, 0.3, ratio)
    whole = inside(lambda: look_ahead(state, read_heads(mission)))
    ratio = in_turn(whole, one_by_one, runs=bench.runs, before=forget)
    yield measured("the same and the chain, whole function, cold", against, ratio)
    ratio = in_turn(whole, one_by_one, runs=bench.runs)
    yield measured("the same, whole function, warm", against, ratio)
    asked = process(KITTY, "status", "--json", where=root, environment={"KITTY_AGENT": "bench"})
    ratio = in_turn(asked, process(*IMPORT_CLICK), runs=bench.runs)
    yield at_most("kitty status --json, 10 lanes at work, warm", "python -c 'import click'", 2.0, ratio)


ROWS: dict[str, Callable[[Bench], Iterator[str]]] = {
    "start": start,
    "many": many,
    "queries": queries,
    "million": million,
    "corpus": corpus,
    "appends": appends,
    "queue": queue,
    "sync": sync,
    "ingest": ingest,
    "live": live,
    "landing": landing,
    "resume": resume,
    "preview": preview,
}

_PARSE = """
import re, sys
from pathlib import Path
from ruamel.yaml import YAML
for path in sorted(Path(sys.argv[1]).glob("kitty-specs/*/tasks/WP*.md")):
    YAML(typ="safe").load(re.match(rb"---\\s*\\n(.*?)^---", path.read_bytes(), re.S | re.M)[1])
"""

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


def _git(root: Path, *arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=root, check=True, capture_output=True, text=True).stdout.strip()


def _repository(root: Path, *, packages: int, owned: bool = True) -> Path:
    """An initialized repository with one finalized mission; nothing is claimed."""
    root.mkdir(parents=True)
    _git(root, "init", "--quiet", "--initial-branch=main")
    for key, value in (("user.name", "bench"), ("user.email", "bench@kitty.invalid"), ("gc.auto", "0")):
        _git(root, "config", key, value)
    _git(root, "commit", "--quiet", "--allow-empty", "-m", "first")
    for arguments in (["init"], ["mission", "create", "bench"]):
        subprocess.run([KITTY, "-C", root, *arguments], check=True, capture_output=True)
    (mission,) = (path for path in (root / "kitty-specs").iterdir() if path.is_dir())
    (mission / "tasks").mkdir()
    for name, headings in (
        ("spec", ("Goal", "Requirements", "Done when")),
        ("plan", ("Approach", "Work packages")),
        ("tasks", ("Work packages",)),
    ):
        (mission / f"{name}.md").write_text("# x\n\n" + "\n".join(f"## {heading}\n\nx\n" for heading in headings))
    for number in range(1, packages + 1):
        front = {
            "work_package_id": f"WP{number:02}",
            "title": f"Package {number}",
            "dependencies": [],
            "owned_files": [f"lane{number}/**"],
        }
        (mission / "tasks" / f"WP{number:02}-x.md").write_text(
            "---\n" + "".join(f"{key}: {json.dumps(value)}\n" for key, value in front.items()) + "---\n\n# x\n"
        )
    _git(root, "add", ".")
    _git(root, "commit", "--quiet", "-m", "plan")
    if packages:
        subprocess.run([KITTY, "-C", root, "finalize"], check=True, capture_output=True)
    return root


def _landable(root: Path, *, lanes: int, commits: int, files: int) -> Path:
    """A repository whose lanes are all approved, each with its commits."""
    root.mkdir(parents=True)
    _git(root, "init", "--quiet", "--initial-branch=main")
    for number in range(files):
        path = root / f"src/{number % 50}/{number}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{number}\n" * 20)
    shutil.move(root, root.with_name("moving"))
    made = _repository(root, packages=lanes)
    shutil.move(root.with_name("moving") / "src", made / "src")
    shutil.rmtree(root.with_name("moving"))
    _git(made, "add", "src")
    _git(made, "commit", "--quiet", "-m", "files")
    _approve(made, lanes, commits)
    return made


def _approve(root: Path, lanes: int, commits: int) -> None:
    from kitty_host.lanes import require_lanes
    from kitty_host.ledger.emit import emit
    from kitty_host.ledger.event import transition
    from kitty_host.mission import find_missions
    from kitty_host.plugins import Plugins
    from kitty_host.repo import Repo

    (mission,) = find_missions(Repo.find(root))
    stream: list[str] = []
    for lane in require_lanes(mission).lanes:
        stream.append(f"reset refs/heads/{lane.branch}\nfrom refs/heads/main\n")
        for number in range(commits):
            folder = lane.write_scope[0].removesuffix("/**")
            stream.append(
                f"commit refs/heads/{lane.branch}\ncommitter bench <bench@kitty.invalid> {1700000000 + number} +0000\ndata 1\nx\n"
                + f"M 644 inline {folder}/{number}.txt\ndata 8\ncontent\n\n"
            )
    subprocess.run(["git", "fast-import", "--quiet"], cwd=root, input="".join(stream).encode(), check=True)
    for lane in require_lanes(mission).lanes:
        head = _git(root, "rev-parse", lane.branch)
        verdict = {"reviewer": "grace", "verdict": "approved", "reference": head}
        evidence = {"review": verdict, "repos": [{"repo": "bench", "branch": lane.branch, "commit": head}]}
        for wp_id in lane.wp_ids:
            emit(
                Plugins([]),
                mission,
                lambda state, wp_id=wp_id, evidence=evidence: [  # type: ignore[misc]
                    transition(
                        wp_id,
                        state.lane(wp_id),
                        "approved",
                        actor="bench",
                        mission_id=mission.mission_id,
                        mission_slug=mission.slug,
                        force=True,
                        reason="bench",
                        evidence=evidence,
                    )
                ],
            )
