"""Events are read in the order of their commits, each exactly once, however many write and however a reader is cut off."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

from kitty_sync.hub.tokens import Pair, digest_of

from ..hub import PROJECT, HubProcess, record
from .team import Team

OTHER = "00000000-0000-4000-8000-000000000000"


def add(client: httpx.Client, *records: Any) -> str:
    """Add events that are new, and return the cursor that was answered."""
    answer = client.post("/v1/events", json={"events": list(records)}).json()
    assert {one["status"] for one in answer["results"]} == {"stored"}
    return str(answer["cursor"])


def ids(*numbers: int) -> list[str]:
    return [record(number)["event"]["event_id"] for number in numbers]


def read(client: httpx.Client, **query: Any) -> tuple[list[str], str, bool]:
    answer = client.get("/v1/events", params=query).json()
    return [one["event"]["event_id"] for one in answer["events"]], answer["cursor"], answer["more"]


def test_pages_follow_one_another(writer: httpx.Client) -> None:
    end = add(writer, *map(record, range(1, 6)))
    found, first, more = read(writer, limit=2)
    assert (found, more) == (ids(1, 2), True)
    found, second, more = read(writer, limit=3, after=first)
    assert (found, second, more) == (ids(3, 4, 5), end, False)
    assert read(writer, after=second) == ([], second, False)
    add(writer, record(6))
    assert read(writer, after=second)[0] == ids(6)


def test_every_event_has_its_cursor(writer: httpx.Client) -> None:
    add(writer, *map(record, range(1, 4)))
    events = writer.get("/v1/events").json()["events"]
    for place, one in enumerate(events):
        assert read(writer, after=one["cursor"])[0] == ids(1, 2, 3)[place + 1 :]


def test_a_page_is_filtered_by_project_and_mission(writer: httpx.Client) -> None:
    add(writer, record(1), record(2, project=OTHER), record(3, mission="another"), record(4) | {"mission_slug": "s"})
    assert read(writer, project=OTHER)[0] == ids(2)
    assert read(writer, project=PROJECT)[0] == ids(1, 3, 4)
    assert read(writer, mission="another")[0] == ids(3)
    assert read(writer, mission="s")[0] == ids(4)
    assert read(writer, project=OTHER, mission="s")[0] == []
    assert read(writer, project=PROJECT, limit=2)[0::2] == (ids(1, 3), True)


def test_a_project_is_found_in_every_spelling(writer: httpx.Client) -> None:
    add(writer, record(1))
    for said in (PROJECT, PROJECT.upper(), PROJECT.replace("-", ""), f"{{{PROJECT}}}"):
        assert len(writer.get("/v1/events", params={"project": said}).json()["events"]) == 1


def test_a_page_is_not_much_larger_than_a_batch(writer: httpx.Client) -> None:
    for number in range(1, 6):
        add(writer, record(number, more="x" * 400_000))
    cursor, found, more = "", [], True
    while more:
        answer = writer.get("/v1/events", params={"after": cursor})
        assert len(answer.content) < 1_300_000
        page = answer.json()
        cursor, more = page["cursor"], page["more"]
        found += [one["event"]["event_id"] for one in page["events"]]
    assert found == ids(1, 2, 3, 4, 5)


@pytest.mark.parametrize(
    "query",
    [{"after": "x"}, {"after": "MTo"}, {"after": "5"}, {"after": "é"}, {"project": "\0"}, {"mission": "\0"}]
    + [{"limit": one} for one in ("0", "-1", "1001", "x", "²", "00000000100099999999", "0" * 5000)]
    + [{"project": one} for one in ("x", "6f1d6c0e")],
    ids=str,
)
def test_what_is_no_cursor_or_no_limit_is_refused(writer: httpx.Client, query: dict[str, str]) -> None:
    answer = writer.get("/v1/events", params=query)
    assert (answer.status_code, answer.json()["code"]) == (400, "QUERY_INVALID")


@pytest.mark.slow
def test_while_several_write_a_reader_sees_every_event_once_and_in_the_order_of_commits(team: Team) -> None:
    """Each writer's own events come in the order in which it was told that they are stored."""
    writers, batches, size = 4, 25, 8

    def write(number: int) -> None:
        with team.client() as client:
            for batch in range(batches):
                first = number * 100_000 + batch * size
                add(client, *map(record, range(first, first + size)))

    found: list[str] = []
    with ThreadPoolExecutor(writers) as pool, team.client("reader") as reader:
        running = [pool.submit(write, number) for number in range(writers)]
        cursor = ""
        while True:
            over = all(one.done() for one in running)
            page, cursor, more = read(reader, after=cursor, limit=7)
            found += page
            if over and not more:
                break
        for one in running:
            one.result()
    assert len(found) == len(set(found)) == writers * batches * size
    assert found == list(team.events())
    for number in range(writers):
        mine = [one for one in found if int(one[3:]) // 100_000 == number]
        assert mine == sorted(mine)


def test_the_cursor_that_a_writer_is_told_is_behind_its_events(team: Team) -> None:
    def write(number: int) -> None:
        with team.client() as client:
            for batch in range(20):
                cursor = add(client, record(number * 100_000 + batch))
                [event] = [
                    one
                    for one in client.get("/v1/events", params={"limit": 1000}).json()["events"]
                    if one["event"]["event_id"] == ids(number * 100_000 + batch)[0]
                ]
                assert event["event"]["event_id"] not in read(client, after=cursor)[0]

    with ThreadPoolExecutor(2) as pool:
        for running in [pool.submit(write, number) for number in range(2)]:
            running.result()


# Live


@contextmanager
def listening(client: httpx.Client, last: str = "", **query: str) -> Iterator[Iterator[tuple[str, Any]]]:
    """A stream that is there; yields the cursor and the record of each event, and an empty pair for a comment."""
    headers = {"Last-Event-ID": last} if last else {}
    with client.stream("GET", "/v1/events/stream", params=query, headers=headers, timeout=60) as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        lines = answer.iter_lines()
        here = [next(lines) for _ in range(4)]
        assert here[0].startswith("id: ")
        assert here[1:] == ["event: here", "data: {}", ""]
        yield told(lines)


def told(lines: Iterator[str]) -> Iterator[tuple[str, Any]]:
    fields: dict[str, str] = {}
    for line in lines:
        if line.startswith(":"):
            yield "", None
        elif line:
            name, _, value = line.partition(": ")
            fields[name] = value
        elif fields:
            assert fields["event"] == "event"
            yield fields["id"], json.loads(fields["data"])
            fields = {}


def test_an_event_that_is_stored_while_one_listens_arrives(team: Team, writer: httpx.Client) -> None:
    with team.client("reader") as reader, listening(reader) as stream:
        for number in range(1, 4):
            cursor = add(writer, record(number))
            assert next(stream) == (cursor, reader.get("/v1/events").json()["events"][-1])


@pytest.mark.parametrize("how", ["last", "after"])
def test_who_was_cut_off_goes_on_where_it_was(team: Team, writer: httpx.Client, how: str) -> None:
    add(writer, record(1), record(2))
    with team.client("reader") as reader:
        with listening(reader) as stream:
            seen = [next(stream)]
        add(writer, record(3))
        with listening(reader, **{how: seen[0][0]}) as stream:
            seen += [next(stream), next(stream)]
            add(writer, record(4))
            seen.append(next(stream))
    assert [one["event"]["event_id"] for _, one in seen] == ids(1, 2, 3, 4)


def test_from_now_on_is_without_what_was_before(team: Team, writer: httpx.Client) -> None:
    add(writer, record(1))
    with team.client("reader") as reader, listening(reader, after="latest") as stream:
        add(writer, record(2))
        assert next(stream)[1]["event"]["event_id"] == ids(2)[0]


def test_what_a_browser_saw_last_counts_more_than_what_its_address_says(team: Team, writer: httpx.Client) -> None:
    first = add(writer, record(1))
    second = add(writer, record(2))
    add(writer, record(3))
    with team.client("reader") as reader, listening(reader, last=second, after=first) as stream:
        assert next(stream)[1]["event"]["event_id"] == ids(3)[0]


def test_a_stream_is_of_one_project_where_that_is_asked(team: Team, writer: httpx.Client) -> None:
    add(writer, record(1), record(2, project=OTHER))
    with team.client("reader") as reader, listening(reader, project=OTHER) as stream:
        assert next(stream)[1]["event"]["event_id"] == ids(2)[0]
        add(writer, record(3))
        add(writer, record(4, project=OTHER))
        assert next(stream)[1]["event"]["event_id"] == ids(4)[0]


@pytest.mark.slow
def test_no_event_is_lost_between_looking_and_waiting(team: Team) -> None:
    """Single events, as fast as they can be added, by two, while three listen."""
    count = 150

    def write(first: int) -> None:
        with team.client() as client:
            for number in range(first, first + count):
                add(client, record(number))

    def hear(_: int) -> list[str]:
        with team.client("reader") as reader, listening(reader) as stream:
            return [next(stream)[1]["event"]["event_id"] for _ in range(2 * count)]

    with ThreadPoolExecutor(5) as pool:
        heard = [pool.submit(hear, number) for number in range(3)]
        for running in [pool.submit(write, first) for first in (0, 1000)]:
            running.result()
        for one in heard:
            assert one.result() == list(team.events())


@pytest.mark.slow
def test_after_a_silence_a_stream_says_that_it_is_there(team: Team) -> None:
    with team.client("reader") as reader, listening(reader) as stream:
        assert next(stream) == ("", None)


def revoked(team: Team, pair: Pair) -> None:
    team.hub.form("/oauth/revoke", token=pair.refresh_token)


def ran_out(team: Team, pair: Pair) -> None:
    team.hub.execute("UPDATE tokens SET expires_at = 0 WHERE digest = ?", digest_of(pair.access_token))


@pytest.mark.parametrize("how", [revoked, ran_out], ids=lambda one: one.__name__)
def test_who_may_no_longer_listen_hears_nothing_more(
    team: Team, writer: httpx.Client, how: Callable[[Team, Pair], None]
) -> None:
    pair = team.login("reader")
    with team.bearer(pair.access_token) as reader, listening(reader) as stream:
        add(writer, record(1))
        next(stream)
        how(team, pair)
        add(writer, record(2))
        assert next(stream, None) is None


def test_when_the_hub_ends_its_streams_end(hub: HubProcess) -> None:
    team = Team(hub, "one")
    with team.client("reader") as reader, listening(reader) as stream:
        assert hub.stop() == 0
        assert list(stream) == []
