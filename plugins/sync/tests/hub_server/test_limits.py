"""How often one may ask, how slowly one may send, and how many may be there; and that being counted costs little."""

from __future__ import annotations

import asyncio
import json
import socket
import time
import tracemalloc
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import httpx
import pytest
from starlette.requests import Request

from kitty_sync.hub import around, device, limits, tokens
from kitty_sync.hub.app import STREAMS
from kitty_sync.hub.error import HubError
from kitty_sync.hub.limits import BATCHES, LOGIN, Limits
from kitty_sync.hub.store import Store

from ..hub import HubProcess, peak
from .browser import Here


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Here]:
    store = Store(tmp_path / "hub.db")
    yield Here(store)
    store.close()


def asked(place: str) -> Request:
    return Request({"type": "http", "headers": [], "client": (place, 1)})


def exhausted(counted: Limits, place: str) -> bool:
    try:
        counted.login(asked(place))
    except HubError:
        return True
    return False


# How often


@pytest.mark.parametrize("path", ["/oauth/device", "/oauth/token", "/oauth/revoke", "/signin", "/activate"])
def test_who_calls_to_log_in_too_often_is_told_when_to_come_again(here: Here, path: str) -> None:
    for _ in range(LOGIN.amount):
        here.hub.limits.login(asked("192.0.2.7"))
    answer = here.send("POST" if "oauth" in path else "GET", path)
    assert answer.status_code == 429
    assert 0 < int(answer.headers["Retry-After"]) <= 60
    assert here.send("POST" if "oauth" in path else "GET", path, "198.51.100.9").status_code in (200, 303, 400)


def test_who_sends_batches_too_often_is_told_so_and_others_are_not(here: Here) -> None:
    ada = here.add("ada@example.org")
    with here.store.writing() as database:
        pairs = [tokens.open_session(database, ada.user_id, ada.team_id, here.now) for _ in range(2)]
    one, two = ({"Authorization": f"Bearer {pair.access_token}"} for pair in pairs)
    for _ in range(BATCHES.amount):
        here.hub.limits.batch(pairs[0].access_token)
    answer = here.send("POST", "/v1/events", headers=one, json={"events": []})
    assert (answer.status_code, answer.json()["code"]) == (429, "HUB_BUSY")
    assert 0 < int(answer.headers["Retry-After"]) <= 10
    for method in ("GET", "HEAD"):
        assert here.send(method, "/v1/events", headers=one).status_code == 200, "reading goes on"
    assert here.send("POST", "/v1/events", headers=two, json={"events": []}).status_code == 200


def test_a_network_of_ipv6_is_one_address() -> None:
    counted = Limits()
    for number in range(LOGIN.amount):
        counted.login(asked(f"2001:db8::{number:x}"))
    assert exhausted(counted, "2001:db8::ffff:1")
    assert not exhausted(counted, "2001:db8:0:1::1")


def test_many_addresses_cost_no_more_than_some() -> None:
    counted = Limits()
    tracemalloc.start()
    try:
        for number in range(50_000):
            counted.login(asked(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"))
        grown = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert len(counted) <= limits._COUNTERS
    assert grown < 8 * 1024 * 1024


def test_nobody_knows_whose_counter_is_whose() -> None:
    one, two = Limits(), Limits()
    places = [f"192.0.2.{number}" for number in range(20)]
    assert [one._counter(place) for place in places] != [two._counter(place) for place in places]


def test_nobody_listens_with_all_the_connections_of_the_others(here: Here) -> None:
    ada, eve = here.add("ada@example.org"), here.add("eve@example.org")

    async def listens(many: int) -> None:
        async def nothing() -> AsyncIterator[str]:
            while True:
                yield ""

        streams = [here.hub.listen(ada, nothing()) for _ in range(many)]
        for stream in streams:
            await anext(stream)
        with pytest.raises(HubError, match="listens"):
            here.hub.may_listen(ada)
        here.hub.may_listen(eve)
        await streams[0].aclose()
        here.hub.may_listen(ada)
        for stream in streams:
            await stream.aclose()

    asyncio.run(listens(STREAMS))
    for path in ("/v1/events/stream", "/board/events"):
        here.hub._listening[ada.user_id, ada.team_id] = STREAMS
        browser = here.signed_in(ada)
        with here.store.writing() as database:
            pair = tokens.open_session(database, ada.user_id, ada.team_id, here.now)
        bearer = {"Authorization": f"Bearer {pair.access_token}"}
        answer = here.send("GET", path, headers=bearer) if path.startswith("/v1") else browser.open(path)
        assert answer.status_code in (429, 404), "404 where nothing draws a board"


@pytest.mark.slow
def test_ten_thousand_open_codes_cost_little_and_keep_nobody_out(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """Of as many addresses. Those that were given wait, and can be approved; the rest is told to come again."""
    hub = HubProcess(tmp_path, "--behind-proxy")
    told: Counter[int] = Counter()
    try:
        hub.add_user("ada@example.org")
        codes: list[str] = []
        with httpx.Client(base_url=hub.address, trust_env=False, timeout=60) as client:
            client.get("/healthz")
            before = peak(hub.pid)
            for number in range(10_000):
                place = {"X-Forwarded-For": f"10.{number >> 8}.{number & 255}.7"}
                said = client.post("/oauth/device", data={"client_id": "cli_native"}, headers=place)
                told[said.status_code] += 1
                codes += [said.json()["user_code"]] if said.status_code == 200 else []
            grown = peak(hub.pid) - before
        assert told == {200: device.WAITING, 429: 10_000 - device.WAITING}
        record_property("figure", f"memory for 10,000 device codes|{grown / 1024:.0f} MiB|< 64 MiB")
        assert grown < 64 * 1024
        for code in (codes[0], codes[-1]):
            hub.approve("ada@example.org", code)
    finally:
        hub.stop()


# How slowly, how much, how many


def connect(hub: HubProcess) -> socket.socket:
    host, port = hub.address.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), timeout=60)


def answer(connection: socket.socket) -> bytes:
    """Everything up to the end of the connection."""
    said = b""
    try:
        while piece := connection.recv(65536):
            said += piece
    except ConnectionResetError:
        pass
    return said


def drip(connection: socket.socket, seconds: float) -> bytes:
    """Send one byte now and then, until nobody takes it; what was said meanwhile."""
    connection.settimeout(0.2)
    said = b""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            connection.sendall(b"x")
            piece = connection.recv(65536)
        except TimeoutError:
            continue
        except OSError:
            return said
        if not piece:
            return said
        said += piece
    raise AssertionError("the hub still takes what drips")


@pytest.mark.slow
def test_a_body_that_drips_is_ended(hub: HubProcess) -> None:
    with connect(hub) as connection:
        connection.sendall(b"POST /oauth/token HTTP/1.1\r\nHost: x\r\nContent-Length: 8000\r\n\r\n")
        said = drip(connection, around.BODY_SECONDS + 5)
    assert said.startswith(b"HTTP/1.1 408 ")
    assert b"connection: close" in said.lower()
    assert b'"BODY_TOO_SLOW"' in said


@pytest.mark.slow
def test_a_head_that_drips_is_ended(hub: HubProcess) -> None:
    with connect(hub) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nX: ")
        drip(connection, 15)


@pytest.mark.slow
def test_who_says_nothing_is_not_waited_for(hub: HubProcess) -> None:
    with connect(hub) as connection:
        connection.settimeout(20)
        assert connection.recv(1) == b""


@pytest.mark.slow
def test_a_body_that_drips_on_after_its_answer_is_ended(hub: HubProcess) -> None:
    """Nobody reads it, since its sender was not let in."""
    with connect(hub) as connection:
        connection.sendall(b"POST /v1/events HTTP/1.1\r\nHost: x\r\nContent-Length: 8000\r\n\r\n")
        assert drip(connection, around.BODY_SECONDS + 15).startswith(b"HTTP/1.1 401 ")


def test_a_head_that_is_too_large_is_refused(hub: HubProcess) -> None:
    with connect(hub) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nX: " + b"x" * 20_000)
        assert answer(connection).startswith(b"HTTP/1.1 400 ")


def test_those_who_are_too_many_are_told_so(isolated: Path) -> None:
    hub = HubProcess(isolated / "hub", "--connections", "2")
    ask = b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    try:
        with connect(hub), connect(hub):
            with connect(hub) as third:
                third.sendall(ask)
                said = answer(third)
            assert said.startswith(b"HTTP/1.1 503 ")
            assert json.loads(said.partition(b"\r\n\r\n")[2])["code"] == "HUB_BUSY"
            assert b"retry-after: 1" in said.lower()
        deadline = time.monotonic() + 30
        said = b""
        while not said.startswith(b"HTTP/1.1 200 ") and time.monotonic() < deadline:
            with connect(hub) as again:
                again.sendall(ask)
                said = answer(again)
        assert said.startswith(b"HTTP/1.1 200 ")
    finally:
        hub.stop()
