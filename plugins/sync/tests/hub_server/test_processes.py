"""Several hubs on one PostgreSQL, killed at random: every reader sees every event once, in the order of commits."""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from ..hub import HubProcess, record
from ..postgres import Postgres
from .team import Team
from .test_reading import add, ids, listening

WRITERS, KILLS, BATCH = 16, 8, 8
PATIENCE = 60.0
"""Seconds in which readers come to the end, a lost notification included."""


@pytest.fixture
def hubs(postgres: Postgres, isolated: Path) -> Iterator[list[HubProcess]]:
    """Three of them, on one new database; they start at once."""
    address = postgres.database()
    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(lambda number: HubProcess(isolated / f"hub{number}", address), range(3)))
    yield found
    for one in found:
        one.stop()


class Caller:
    """Somebody who asks any of the hubs, and another one when it does not answer."""

    def __init__(self, hubs: list[HubProcess], token: str) -> None:
        self._hubs = hubs
        self._client = httpx.Client(headers={"Authorization": f"Bearer {token}"}, trust_env=False, timeout=60)

    def call(self, ask: Callable[[httpx.Client, str], Any]) -> Any:
        """What the first one that can answers. Any other answer than a good one or 503 fails."""
        while True:
            try:
                return ask(self._client, random.choice(self._hubs).address)
            except httpx.TransportError:
                pass
            except httpx.HTTPStatusError as error:
                if error.response.status_code != 503:
                    raise
            threading.Event().wait(0.05)


def good(answer: httpx.Response) -> Any:
    answer.raise_for_status()
    return answer.json()


def write(caller: Caller, first: int, over: threading.Event) -> set[str]:
    """Send batch after batch, each until it is acknowledged; return what was."""
    told: set[str] = set()
    while not over.is_set():
        body = {"events": [record(first + place) for place in range(BATCH)]}
        said = caller.call(lambda client, hub, body=body: good(client.post(f"{hub}/v1/events", json=body)))
        assert {one["status"] for one in said["results"]} <= {"stored", "duplicate"}
        told |= {one["event_id"] for one in said["results"]}
        first += BATCH
    return told


def read_pages(caller: Caller, enough: Callable[[list[str]], bool]) -> list[str]:
    found: list[str] = []
    cursor = ""
    while not enough(found):
        query = {"after": cursor, "limit": 13}
        page = caller.call(lambda client, hub, query=query: good(client.get(f"{hub}/v1/events", params=query)))
        found += [one["event"]["event_id"] for one in page["events"]]
        cursor = page["cursor"]
    return found


def read_stream(caller: Caller, enough: Callable[[list[str]], bool]) -> list[str]:
    found: list[str] = []
    cursor = ""

    def listen(client: httpx.Client, hub: str) -> None:
        nonlocal cursor
        with client.stream("GET", f"{hub}/v1/events/stream", params={"after": cursor}) as answer:
            answer.raise_for_status()
            fields: dict[str, str] = {}
            for line in answer.iter_lines():
                if line:
                    name, _, value = line.partition(": ")
                    fields[name] = value
                elif fields.get("event") == "event":
                    cursor = fields["id"]
                    found.append(json.loads(fields["data"])["event"]["event_id"])
                if enough(found):
                    return

    while not enough(found):
        caller.call(listen)
    return found


@pytest.mark.slow
def test_every_reader_sees_every_acknowledged_event_once_and_in_the_order_of_commits(hubs: list[HubProcess]) -> None:
    """Two writers each send the same events, to any of the hubs, while one hub after the other is killed."""
    team = Team(hubs[0], "one")
    over, known = threading.Event(), threading.Event()
    table: list[str] = []
    last: list[float] = []

    def enough(found: list[str]) -> bool:
        """Whoever has missed something does not wait for it for ever."""
        return known.is_set() and (len(found) >= len(table) or time.monotonic() > last[0])

    def caller(role: str) -> Caller:
        return Caller(hubs, team.login(role).access_token)

    with ThreadPoolExecutor(WRITERS + 3) as pool:
        writers = [pool.submit(write, caller("writer"), one // 2 * 1_000_000, over) for one in range(WRITERS)]
        readers = [pool.submit(one, caller("reader"), enough) for one in (read_pages, read_pages, read_stream)]
        try:
            for _ in range(KILLS):
                threading.Event().wait(random.uniform(0.2, 1.0))
                one = random.choice(hubs)
                one.kill()
                one.restart()
            over.set()
            told = set().union(*(one.result() for one in writers))
            table += team.events()
        finally:
            over.set()
            last.append(time.monotonic() + PATIENCE)
            known.set()
        seen = [one.result() for one in readers]
    assert len(table) > WRITERS * BATCH
    assert set(table) == told
    for one in seen:
        assert one == table


def test_who_listens_to_one_hub_hears_what_another_stored(hubs: list[HubProcess]) -> None:
    here, there = Team(hubs[0], "one"), Team(hubs[1], "one")
    with here.client() as writer, there.client("reader") as reader, listening(reader) as stream:
        for number in range(1, 4):
            add(writer, record(number))
            assert next(stream)[1]["event"]["event_id"] == ids(number)[0]


def test_who_did_not_listen_for_a_moment_looks_when_it_listens_again(hubs: list[HubProcess]) -> None:
    """A heartbeat would come before the event if the stream had slept on."""
    here, there = Team(hubs[0], "one"), Team(hubs[1], "one")
    with here.client() as writer, there.client("reader") as reader, listening(reader) as stream:
        add(writer, record(1))
        assert next(stream)[1]["event"]["event_id"] == ids(1)[0]
        ended = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN %' AND datname = current_database()"
        assert len(hubs[0].execute(ended)) == 3
        add(writer, record(2))
        assert next(stream)[1]["event"]["event_id"] == ids(2)[0]


@pytest.mark.slow
def test_when_the_server_was_gone_the_hubs_go_on(isolated: Path) -> None:
    postgres = Postgres()
    address = postgres.database()
    hubs = [HubProcess(isolated / f"hub{number}", address) for number in range(2)]
    try:
        team = Team(hubs[0], "one")
        writer, reader = (Caller(hubs, team.login(role).access_token) for role in ("writer", "reader"))
        over, known = threading.Event(), threading.Event()
        table: list[str] = []
        with ThreadPoolExecutor(5) as pool:
            writers = [pool.submit(write, writer, one * 1_000_000, over) for one in range(3)]
            heard = pool.submit(read_stream, reader, lambda found: known.is_set() and len(found) >= len(table))
            try:
                for how in ("immediate", "fast"):
                    threading.Event().wait(1)
                    postgres.restart(how)
                threading.Event().wait(1)
                over.set()
                told = set().union(*(one.result() for one in writers))
                table += team.events()
            finally:
                over.set()
                known.set()
            assert heard.result() == table
        assert set(table) == told
    finally:
        for one in hubs:
            one.stop()
        postgres.close()
