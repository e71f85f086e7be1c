"""What somebody who keeps a hub sees of it: health, counts, lines; how it ends; and what it is called behind a proxy."""

from __future__ import annotations

import json
import re
import signal
import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from kitty_sync.hub import tokens
from kitty_sync.hub.serve import public_address
from kitty_sync.hub.store import Store

from ..hub import HubProcess, record
from .browser import Here
from .test_commands import kitty
from .test_released import sent

ADA = "ada@example.org"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store(tmp_path / "hub.db")
    yield made
    made.close()


def token_of(here: Here, role: str) -> dict[str, str]:
    who = here.add(f"{role}@example.org", role=role)
    with here.store.writing() as database:
        pair = tokens.open_session(database, who.user_id, who.team_id, here.now)
    return {"Authorization": f"Bearer {pair.access_token}"}


def counts(text: str) -> dict[tuple[str, ...], float]:
    """Every sample by its name and its labels' values."""
    families = text_string_to_metric_families(text)
    return {(one.name, *one.labels.values()): one.value for family in families for one in family.samples}


# Metrics


def test_what_was_done_is_counted(hub: HubProcess) -> None:
    hub.add_user(ADA)
    bearer = {"Authorization": f"Bearer {hub.login(ADA)['access_token']}"}
    with httpx.Client(base_url=hub.address, trust_env=False) as client:
        bad = record(2)
        bad["event"]["payload"] = {}
        changed = record(1, build_id="other")
        for events in ([record(1), bad], [record(1), changed]):
            client.post("/v1/events", json={"events": events}, headers=bearer).raise_for_status()
        client.get("/v1/me")
        client.get("/nowhere/secret-thing")
        with client.stream("GET", "/v1/events/stream", headers=bearer) as stream:
            heard = stream.iter_lines()
            next(heard)
            told = counts(client.get("/metrics").text)
            assert told["kitty_hub_listeners",] == 1
        text = client.get("/metrics").text
    assert told["kitty_hub_requests_total", "POST", "/v1/events", "200"] == 2
    assert told["kitty_hub_requests_total", "GET", "/v1/me", "401"] == 1
    assert told["kitty_hub_requests_total", "GET", "", "404"] == 1
    assert told["kitty_hub_request_seconds_count", "/v1/events"] == 2
    found = {
        status: told.get(("kitty_hub_events_total", status))
        for status in ("stored", "duplicate", "conflict", "rejected")
    }
    assert found == {"stored": 1, "duplicate": 1, "conflict": 1, "rejected": 1}
    assert told["kitty_hub_refusals_total", "TOKEN_REJECTED"] == 1
    assert told["kitty_hub_refusals_total", "CALL_UNKNOWN"] == 1
    for word in ("secret-thing", "example.org", "team", "01J"):
        assert word not in text


def test_what_the_released_client_did_is_counted_too(hub: HubProcess) -> None:
    hub.add_user(ADA)
    bearer = {"Authorization": f"Bearer {hub.login(ADA)['access_token']}"}
    with httpx.Client(base_url=hub.address, trust_env=False, headers=bearer) as client:
        for events in ([sent(1), sent(2)], [sent(1), sent(3, event_type="NobodyKnows"), None]):
            client.post("/api/v1/events/batch/", json={"events": events}).raise_for_status()
        assert client.post("/api/v1/events/batch/", content=b"{").status_code == 400
        with pytest.raises(InvalidStatus) as refused:
            connect(f"ws{hub.address.removeprefix('http')}/api/v1/ws", additional_headers=bearer, proxy=None)
        assert refused.value.response.headers["X-Request-Id"]
        assert refused.value.response.headers["X-Content-Type-Options"] == "nosniff"
        told = counts(client.get("/metrics").text)
    kept = {
        status: told.get(("kitty_hub_events_total", status)) for status in ("stored", "duplicate", "aside", "rejected")
    }
    assert kept == {"stored": 2, "duplicate": 1, "aside": 1, "rejected": 1}
    assert told["kitty_hub_refusals_total", "BODY_INVALID"] == 1
    assert told["kitty_hub_refusals_total", "TOKEN_REJECTED"] == 1
    assert told["kitty_hub_requests_total", "WEBSOCKET", "/api/v1/ws", "401"] == 1


@pytest.mark.parametrize(
    ("address", "proxy", "place", "headers", "status"),
    [
        ("http://127.0.0.1:1", False, "127.0.0.1", {}, 200),
        ("http://127.0.0.1:1", False, "127.0.0.1", {"Host": "localhost:1"}, 200),
        ("http://127.0.0.1:1", False, "127.0.0.1", {"Host": "evil.example"}, 401),
        ("https://hub.example.org", False, "127.0.0.1", {"Host": "127.0.0.1:1"}, 401),
        ("https://hub.example.org", True, "127.0.0.1", {"Host": "127.0.0.1:1"}, 200),
        ("https://hub.example.org", True, "127.0.0.1", {"Host": "127.0.0.1:1", "X-Forwarded-For": "192.0.2.1"}, 401),
        ("https://hub.example.org", True, "127.0.0.1", {"X-Forwarded-For": "127.0.0.1, 192.0.2.1"}, 401),
        ("https://hub.example.org", True, "127.0.0.1", {"X-Forwarded-For": "nobody"}, 401),
        ("https://hub.example.org", True, "127.0.0.1", {"Host": "localhost", "X-Forwarded-For": "unknown"}, 401),
        ("https://hub.example.org", True, "127.0.0.1", {"Host": "localhost", "X-Forwarded-For": "192.0.2.1:4711"}, 401),
    ],
)
def test_the_machine_itself_reads_the_metrics_and_no_stranger(
    store: Store, address: str, proxy: bool, place: str, headers: dict[str, str], status: int
) -> None:
    here = Here(store, address, behind_proxy=proxy)
    answer = here.send("GET", "/metrics", place, headers=headers)
    assert answer.status_code == status
    assert ("kitty_hub" in answer.text) == (status == 200)


def test_elsewhere_an_owner_reads_them_and_nobody_less(store: Store) -> None:
    here = Here(store, "https://hub.example.org")
    found = {
        role: here.send("GET", "/metrics", headers=token_of(here, role)).status_code
        for role in ("owner", "writer", "reader")
    }
    assert found == {"owner": 200, "writer": 403, "reader": 403}


# Lines


def lines(hub: HubProcess, count: int) -> list[str]:
    """What was told, when so much of it was: a line follows its answer."""
    deadline = time.monotonic() + 30
    while len(found := hub.told()) < count and time.monotonic() < deadline:
        time.sleep(0.02)
    return found


def some_requests(hub: HubProcess) -> dict[str, Any]:
    """Some that hold secrets, in every place where one can be."""
    hub.add_user(ADA)
    said = hub.login(ADA)
    bearer = {"Authorization": f"Bearer {said['access_token']}", "X-Request-Id": "mine-1"}
    with httpx.Client(base_url=hub.address, trust_env=False) as client:
        answer = client.post("/v1/events", json={"events": [record(1)]}, headers=bearer)
        assert answer.headers["X-Request-Id"] == "mine-1"
        odd = client.get("/v1/events?mission=secret-query", headers=bearer | {"X-Request-Id": "not one"})
        assert re.fullmatch("[0-9a-f]{16}", odd.headers["X-Request-Id"])
        client.get("/signin/link?token=khl_secret", headers={"Cookie": "kitty=khb_secret"})
        client.get("/nowhere/secret-path")
    return said


def test_each_request_is_a_line_of_json(isolated: Path) -> None:
    hub = HubProcess(isolated / "hub", "--log", "json")
    try:
        said = some_requests(hub)
        told = [json.loads(line) for line in lines(hub, 6)]
        team = hub.run("user", "list")["members"][0]
    finally:
        hub.stop()
    assert [(one["method"], one["route"], one["status"]) for one in told] == [
        ("POST", "/oauth/device", 200),
        ("POST", "/oauth/token", 200),
        ("POST", "/v1/events", 200),
        ("GET", "/v1/events", 200),
        ("GET", "/signin/link", 400),
        ("GET", "", 404),
    ]
    assert all(
        one.keys() == {"time", "level", "method", "route", "status", "ms", "user", "team", "request", "address"}
        for one in told
    )
    assert (told[2]["user"], told[2]["team"], told[2]["request"]) == (team["user"]["id"], team["team"]["id"], "mine-1")
    assert told[0]["user"] is None
    everything = json.dumps(told)
    for secret in (said["access_token"], said["refresh_token"], "secret", "01J", "example.org", "not one"):
        assert secret not in everything


def test_each_request_is_a_line_for_people_otherwise(hub: HubProcess) -> None:
    said = some_requests(hub)
    told = lines(hub, 6)
    assert len(told) == 6
    assert re.fullmatch(
        r"\d\d:\d\d:\d\d POST /v1/events 200 ms=[\d.]+ user=\S+ team=\S+ request=mine-1 127\.0\.0\.1", told[2]
    )
    for secret in (said["access_token"], said["refresh_token"], "secret", "01J", "example.org"):
        assert secret not in "\n".join(told)


def test_a_fault_is_told_without_what_was_sent(isolated: Path) -> None:
    hub = HubProcess(isolated / "hub", "--log", "json")
    try:
        hub.add_user(ADA)
        bearer = {"Authorization": f"Bearer {hub.login(ADA)['access_token']}"}
        database = sqlite3.connect(hub.database)
        database.execute("ALTER TABLE events RENAME COLUMN record TO gone")
        database.close()
        body = {"events": [record(1, build_id="secret-build")]}
        answer = httpx.post(f"{hub.address}/v1/events", json=body, headers=bearer, trust_env=False)
        told = [json.loads(line) for line in lines(hub, 4)]
    finally:
        hub.stop()
    assert (answer.status_code, answer.json()["code"]) == (500, "FAULT")
    assert answer.headers["X-Request-Id"] == told[2]["request"]
    assert (told[2]["route"], told[2]["status"]) == ("/v1/events", 500)
    assert told[3]["fault"] == "OperationalError"
    assert any("kitty_sync" in frame for frame in told[3]["where"])
    assert "secret-build" not in (hub.directory / "hub.log").read_text()


def test_every_answer_has_the_headers_of_the_house(store: Store) -> None:
    for address, strict in (("http://127.0.0.1:1", False), ("https://hub.example.org", True)):
        here = Here(store, address)
        for path in ("/healthz", "/v1/me", "/nowhere", "/signin", "/account"):
            headers = here.send("GET", path).headers
            assert headers["X-Content-Type-Options"] == "nosniff"
            assert headers["Cache-Control"] == "no-store"
            assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
            assert headers["Referrer-Policy"] == "same-origin"
            assert ("Strict-Transport-Security" in headers) == strict


# The end


def test_a_database_that_is_gone_is_not_ready_and_still_alive(store: Store) -> None:
    here = Here(store)
    with store.writing() as database:
        database.exec_driver_sql("DROP TABLE events")
    assert (here.send("GET", "/readyz").status_code, here.send("GET", "/healthz").status_code) == (503, 200)


def test_before_it_ends_it_is_not_ready_and_streams_end_and_requests_are_answered(isolated: Path) -> None:
    hub = HubProcess(isolated / "hub", "--drain", "3")
    hub.add_user(ADA)
    bearer = {"Authorization": f"Bearer {hub.login(ADA)['access_token']}"}
    with httpx.Client(base_url=hub.address, trust_env=False, timeout=30) as client:
        with client.stream("GET", "/v1/events/stream", headers=bearer) as stream:
            told = stream.iter_lines()
            next(told)
            assert httpx.get(f"{hub.address}/readyz", trust_env=False).status_code == 200
            ended: list[int] = []
            waits = threading.Thread(target=lambda: ended.append(hub.stop(signal.SIGTERM)))
            waits.start()
            list(told)  # to its end, long before a heartbeat
        answer = httpx.get(f"{hub.address}/readyz", trust_env=False)
        assert (answer.status_code, answer.json()["code"], answer.headers["Retry-After"]) == (503, "HUB_BUSY", "1")
        assert httpx.get(f"{hub.address}/healthz", trust_env=False).status_code == 200
        assert client.post("/v1/events", json={"events": [record(1)]}, headers=bearer).status_code == 200
    waits.join(30)
    assert ended == [0]


# Behind a proxy


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("https://Hub.Example.org/", "https://hub.example.org"),
        ("https://hub.example.org:443", "https://hub.example.org"),
        ("https://hub.example.org:8443", "https://hub.example.org:8443"),
        ("http://localhost:8770", "http://localhost:8770"),
        ("http://[::1]:8770", "http://[::1]:8770"),
    ],
)
def test_an_address_has_one_spelling(text: str, address: str) -> None:
    assert public_address(text) == address


@pytest.mark.parametrize(
    "text",
    [
        "hub.example.org",
        "http://hub.example.org",
        "https://",
        "https://a/b",
        "https://a?b",
        "https://a@b",
        "https://a:x",
        "https://a b",
        "ftp://a",
    ],
)
def test_what_is_no_address_is_refused(isolated: Path, text: str) -> None:
    said = kitty(isolated, "hub", "serve", "--port", "0", "--database", "hub.db", "--address", text)
    assert said["code"] == "SERVER_ADDRESS_INVALID"
    assert not (isolated / "hub.db").exists()


def test_behind_a_proxy_it_calls_itself_as_it_is_told(isolated: Path) -> None:
    hub = HubProcess(isolated / "hub", "--address", "https://hub.example.org", "--behind-proxy")
    try:
        assert hub.address.startswith("http://127.0.0.1:"), "where it listens is said all the same"
        codes = hub.form("/oauth/device", client_id="cli_native")
        assert codes["verification_uri"] == "https://hub.example.org/activate"
        hub.add_user(ADA)
        assert hub.run("user", "link", ADA)["url"].startswith("https://hub.example.org/signin/link?token=")
    finally:
        hub.stop()


@pytest.mark.parametrize(
    ("behind", "said", "seen"),
    [
        (False, "192.0.2.1", "127.0.0.1"),
        (True, "192.0.2.1", "192.0.2.1"),
        (True, "203.0.113.9, 192.0.2.1", "192.0.2.1"),
        (True, "2001:DB8::1", "2001:db8::1"),
        (True, "x", "unknown"),
        (True, "unknown", "unknown"),
        (True, "192.0.2.1:4711", "192.0.2.1"),
        (True, "[2001:db8::1]:80", "2001:db8::1"),
        (True, "127.0.0.1, [x]:80", "unknown"),
    ],
)
def test_what_a_proxy_says_is_believed_only_where_there_is_one(
    store: Store, behind: bool, said: str, seen: str
) -> None:
    here = Here(store, behind_proxy=behind)
    headers = {"X-Forwarded-For": said}
    codes = here.send("POST", "/oauth/device", "127.0.0.1", headers=headers, data={"client_id": "cli_native"}).json()
    browser = here.signed_in(here.add(ADA))
    browser.open("/activate")
    assert f"<b>{seen}</b>" in browser.press(code=codes["user_code"]).text
