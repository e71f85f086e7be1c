"""The websocket of the released client, spoken by hand: who is let in, what is told, what is taken, and how it ends."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.testclient import TestClient, WebSocketDenialResponse
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from kitty_sync.hub import accounts, live, tokens
from kitty_sync.hub.app import Hub
from kitty_sync.hub.limits import BATCHES, LOGIN
from kitty_sync.hub.released import sessions
from kitty_sync.hub.store import Store

from ..hub import PROJECT, HubProcess, record
from .team import Team
from .test_released import aside, sent


def let_in(client: httpx.Client, team: str = "") -> dict[str, Any]:
    """What somebody is given who asks for a websocket; in the private team, if not said."""
    private = client.get("/api/v1/me").json()["teams"][0]["id"]
    answer = client.post("/api/v1/ws-token", json={"team_id": team or private})
    assert answer.status_code == 200, answer.text
    said: dict[str, Any] = answer.json()
    return said


@contextmanager
def opened(client: httpx.Client) -> Iterator[ClientConnection]:
    """A websocket, with its snapshot still to come."""
    said = let_in(client)
    with connect(said["ws_url"], additional_headers=headers(said["ws_token"]), proxy=None) as socket:
        yield socket


def headers(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}", "X-Spec-Kitty-Sync-Protocol": "2.0"}


def say(socket: ClientConnection, frame: Any) -> Any:
    """Send one frame, and the answer."""
    socket.send(json.dumps(frame))
    return heard(socket)


def heard(socket: ClientConnection) -> Any:
    return json.loads(socket.recv(timeout=20))


def test_a_snapshot_comes_first_with_where_the_work_is(writer: httpx.Client) -> None:
    moves = [("planned", "claimed"), ("claimed", "in_progress")]
    for number, (before, after) in enumerate(moves):
        event = record(number)
        event["event"]["payload"] |= {"from_lane": before, "to_lane": after}
        writer.post("/v1/events", json={"events": [event]}).raise_for_status()
    with opened(writer) as socket:
        said = heard(socket)
    assert said["type"] == "snapshot"
    expected = {"project_uuid": PROJECT, "mission_slug": "demo", "wp_id": "WP01", "lane": "in_progress"}
    assert said["work_packages"] == [expected | {"at": "2026-01-01T00:00:00+00:00"}]
    after = writer.get("/v1/events", params={"after": said["cursor"]}).json()
    assert after["events"] == []


def test_a_snapshot_is_of_the_last_events_however_large_they_are(writer: httpx.Client) -> None:
    moves = [("planned", "claimed"), ("claimed", "in_progress"), ("in_progress", "for_review")]
    for number, (before, after) in enumerate(moves):
        event = record(number, more="x" * 450_000)
        event["event"]["payload"] |= {"from_lane": before, "to_lane": after}
        writer.post("/v1/events", json={"events": [event]}).raise_for_status()
    other = record(7)
    other["event"]["payload"] |= {"wp_id": "WP02"}
    writer.post("/v1/events", json={"events": [other]}).raise_for_status()
    with opened(writer) as socket:
        said = heard(socket)
    assert [(one["wp_id"], one["lane"]) for one in said["work_packages"]] == [
        ("WP01", "for_review"),
        ("WP02", "claimed"),
    ]


def test_who_has_no_pass_gets_no_further_than_a_look_and_not_often(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path / "hub.db")
    hub = Hub(store, "http://127.0.0.1:1")
    written: list[object] = []
    later = store.later

    def noted(*given: Any, **more: Any) -> Any:
        written.append(given)
        return later(*given, **more)

    monkeypatch.setattr(store, "later", noted)
    codes = []
    with TestClient(hub.application(), base_url="http://127.0.0.1:1") as client:
        for _ in range(LOGIN.amount + 5):
            with (
                pytest.raises(WebSocketDenialResponse) as refused,
                client.websocket_connect("/api/v1/ws", headers=headers("x")),
            ):
                pass
            codes.append(refused.value.status_code)
    store.close()
    assert codes == [401] * LOGIN.amount + [429] * 5
    assert written == []


def test_messages_are_counted_as_calls_are(tmp_path: Path) -> None:
    store = Store(tmp_path / "hub.db")
    with store.writing() as database:
        who = accounts.add(database, "ada@example.org", "one", "writer")
        session = tokens.open_session(database, who.user_id, who.team_id, time.time()).session_id
        shown = sessions.let_in(database, session, time.time())
    hub = Hub(store, "http://127.0.0.1:1")
    with (
        contextlib.suppress(CancelledError),  # this client does not wait for what it leaves
        TestClient(hub.application(), base_url="http://127.0.0.1:1") as client,
        client.websocket_connect("/api/v1/ws", headers=headers(shown)) as socket,
    ):
        assert socket.receive_json()["type"] == "snapshot"
        for _ in range(BATCHES.amount):
            hub.limits.batch(session)
        socket.send_json(sent(1))
        said = socket.receive_json()
    store.close()
    assert (said["type"], said["error_category"], said["retryable"]) == ("error", "hub_busy", True)


def test_an_event_is_acknowledged_when_it_is_kept_and_again_as_a_duplicate(team: Team, writer: httpx.Client) -> None:
    one = sent(1)
    with opened(writer) as socket:
        heard(socket)
        assert say(socket, one) == {"type": "ack", "event_id": one["event_id"], "status": "accepted"}
        assert list(team.events()) == [one["event_id"]]
        assert say(socket, one)["status"] == "duplicate"


def test_what_others_store_is_handed_on_and_what_came_over_it_is_not(team: Team, writer: httpx.Client) -> None:
    with opened(writer) as socket, team.client("owner") as other:
        heard(socket)
        assert say(socket, sent(1))["status"] == "accepted"
        other.post("/v1/events", json={"events": [record(2)]}).raise_for_status()
        other.post("/api/v1/events/batch/", json={"events": [sent(3)]}).raise_for_status()
        found = [heard(socket) for _ in range(2)]
    assert [one["type"] for one in found] == ["event", "event"]
    assert [one["event_id"] for one in found] == [sent(number)["event_id"] for number in (2, 3)]
    assert {key: found[0][key] for key in record(2)["event"]} == record(2)["event"]
    assert found[0]["mission_slug"] == "demo"


def test_nothing_of_another_team_is_handed_on(team: Team, writer: httpx.Client) -> None:
    with Team(team.hub, f"{team.slug}-other").client() as other, opened(writer) as socket:
        heard(socket)
        other.post("/v1/events", json={"events": [record(1)]}).raise_for_status()
        writer.post("/v1/events", json={"events": [record(2)]}).raise_for_status()
        assert heard(socket)["event_id"] == record(2)["event"]["event_id"]


def test_what_no_model_takes_is_acknowledged_since_it_is_kept(team: Team, writer: httpx.Client) -> None:
    one = sent(1, event_type="ProofItemRecorded")
    with opened(writer) as socket:
        heard(socket)
        said = say(socket, one)
    assert (said["type"], said["status"], said["error_category"]) == ("ack", "accepted", "event_type_unknown")
    assert [row["event_id"] for row in aside(team)] == [one["event_id"]]


def test_what_is_rejected_is_an_error_and_the_websocket_stays(team: Team, writer: httpx.Client) -> None:
    with opened(writer) as socket:
        heard(socket)
        said = say(socket, sent(1, project_uuid="x"))
        assert (said["type"], said["status"], said["event_id"]) == ("error", "rejected", sent(1)["event_id"])
        assert said["error_message"]
        socket.send(json.dumps(sent(2)).replace('"claimed"', "NaN"))
        assert heard(socket)["error_message"] == "a number is none, or too large"
        assert say(socket, sent(3))["type"] == "ack"


def test_a_commit_is_kept_once_and_acknowledged_with_all_that_names_it(team: Team, writer: httpx.Client) -> None:
    named = {
        "git_hash": "a" * 40,
        "build_id": "b",
        "project_uuid": PROJECT,
        "admission_generation": 1,
        "binding_audience": "x",
    }
    frame = {"type": "LocalCommit", **named, "changed_files": ["a.py"], "committed_at": "2026-01-01T00:00:00Z"}
    with opened(writer) as socket:
        heard(socket)
        first, second = (say(socket, frame) for _ in range(2))
        assert say(socket, frame | {"project_uuid": "x"})["status"] == "rejected"
    assert first.keys() == {"type", "status", "received_at", *named}
    assert first.items() >= {"type": "LocalCommitAck", "status": "accepted", **named}.items()
    assert second["status"] == "duplicate"
    assert [row["event_type"] for row in aside(team)] == ["LocalCommit"]


def test_a_reader_hears_and_adds_nothing(team: Team, writer: httpx.Client) -> None:
    with team.client("reader") as reader, opened(reader) as socket:
        heard(socket)
        said = say(socket, sent(1))
        assert (said["type"], said["error_category"], said["retryable"]) == ("error", "role_forbidden", True)
        assert say(socket, {"type": "LocalCommit"})["error_category"] == "role_forbidden"
        writer.post("/v1/events", json={"events": [record(2)]}).raise_for_status()
        assert heard(socket)["type"] == "event"
    assert list(team.events()) == [record(2)["event"]["event_id"]]


def test_a_ping_is_answered(writer: httpx.Client) -> None:
    with opened(writer) as socket:
        heard(socket)
        assert say(socket, {"type": "ping", "timestamp": "now"}) == {"type": "pong", "timestamp": "now"}


# Who is let in


def test_a_pass_is_taken_once(writer: httpx.Client) -> None:
    said = let_in(writer)
    with connect(said["ws_url"], additional_headers=headers(said["ws_token"]), proxy=None) as socket:
        heard(socket)
    with pytest.raises(InvalidStatus) as refused:
        connect(said["ws_url"], additional_headers=headers(said["ws_token"]), proxy=None)
    assert refused.value.response.status_code == 401


@pytest.mark.parametrize(
    ("more", "status"),
    [
        ({"Authorization": "Bearer khw_none"}, 401),
        ({"Authorization": ""}, 401),
        ({"X-Spec-Kitty-Sync-Protocol": "3.0"}, 412),
    ],
)
def test_nobody_else_is_let_in(writer: httpx.Client, more: dict[str, str], status: int) -> None:
    said = let_in(writer)
    with pytest.raises(InvalidStatus) as refused:
        connect(said["ws_url"], additional_headers=headers(said["ws_token"]) | more, proxy=None)
    assert refused.value.response.status_code == status


def test_an_access_token_is_no_pass_and_a_pass_no_access_token(team: Team) -> None:
    pair = team.login()
    with team.bearer(pair.access_token) as client:
        said = let_in(client)
    with pytest.raises(InvalidStatus):
        connect(said["ws_url"], additional_headers=headers(pair.access_token), proxy=None)
    with team.bearer(said["ws_token"]) as client:
        assert client.get("/api/v1/me").status_code == 401


def test_a_pass_is_for_the_team_of_the_token(team: Team, writer: httpx.Client) -> None:
    let_in(writer, team.slug)
    for other in ("another", None, 7):
        answer = writer.post("/api/v1/ws-token", json={"team_id": other})
        assert (answer.status_code, answer.json()["error"]) == (403, "not_a_team_member")


# How it ends


@pytest.mark.parametrize(
    ("message", "code"),
    [("nothing", 1003), ("[]", 1003), ('{"type": "sing"}', 1003), (b"bytes", 1003), ("x" * (512 * 1024 + 1), 1009)],
    ids=["text", "list", "unknown", "bytes", "large"],
)
def test_what_is_no_message_ends_it(writer: httpx.Client, message: Any, code: int) -> None:
    with opened(writer) as socket:
        heard(socket)
        socket.send(message)
        with pytest.raises(ConnectionClosed):
            socket.recv(timeout=20)
        assert socket.close_code == code


def test_it_ends_with_its_session(team: Team, writer: httpx.Client) -> None:
    pair = team.login("owner")
    with team.bearer(pair.access_token) as client, opened(client) as socket:
        heard(socket)
        team.hub.form("/oauth/revoke", token=pair.refresh_token)
        said = say(socket, sent(1))
        assert (said["type"], said["error_category"]) == ("error", "token_rejected")
        writer.post("/v1/events", json={"events": [record(2)]}).raise_for_status()
        with pytest.raises(ConnectionClosed):
            socket.recv(timeout=20)
        assert socket.close_code == 4401
    assert list(team.events()) == [record(2)["event"]["event_id"]], "nothing after the end of a session"


def test_it_ends_with_the_hub_which_does_not_wait_for_it(hub: HubProcess) -> None:
    with Team(hub, "team").client() as client, opened(client) as socket:
        heard(socket)
        assert hub.stop() == 0
        with pytest.raises(ConnectionClosed):
            socket.recv(timeout=20)
        assert socket.close_code in (1001, 1012)
    log = (hub.directory / "hub.log").read_text()
    assert "Traceback" not in log
    assert "graceful shutdown exceeded" not in log


# What takes time, with a clock and a heart of the test's own


def test_a_pass_lasts_a_minute(tmp_path: Path) -> None:
    store = Store(tmp_path / "hub.db")
    with store.writing() as database:
        member = accounts.add(database, "ada@example.org", "one", "writer")
        pair = tokens.open_session(database, member.user_id, member.team_id, 1000.0)
        first, second = (sessions.let_in(database, pair.session_id, 1000.0) for _ in range(2))
        assert sessions.redeem(database, first, 1059.0) == pair.session_id
        assert sessions.redeem(database, second, 1060.0) is None
    store.close()


def test_a_pass_of_a_session_that_was_ended_lets_nobody_in(tmp_path: Path) -> None:
    store = Store(tmp_path / "hub.db")
    with store.writing() as database:
        member = accounts.add(database, "ada@example.org", "one", "writer")
        pair = tokens.open_session(database, member.user_id, member.team_id, 1000.0)
        shown = sessions.let_in(database, pair.session_id, 1000.0)
        tokens.revoke(database, pair.access_token, 1001.0)
        assert sessions.redeem(database, shown, 1002.0) is None
    store.close()


def test_silence_is_filled_with_pings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "HEARTBEAT", 0.05)
    heard: list[str] = []
    store = Store(tmp_path / "hub.db")
    made = Hub(store, "http://127.0.0.1:1")
    with store.writing() as database:
        member = accounts.add(database, "ada@example.org", "one", "writer")
        pair = tokens.open_session(database, member.user_id, member.team_id, made.clock())
        shown = sessions.let_in(database, pair.session_id, made.clock())
    with (
        contextlib.suppress(CancelledError),  # this client does not wait for what it leaves
        TestClient(made.application()) as client,
        client.websocket_connect("/api/v1/ws", headers=headers(shown)) as socket,
    ):
        assert socket.receive_json()["type"] == "snapshot"
        said = socket.receive_json()
        assert (said["type"], said["timestamp"][-6:]) == ("ping", "+00:00")
        socket.send_json({"type": "pong", "timestamp": said["timestamp"]})
        assert socket.receive_json()["type"] == "ping"
        heard.append("twice")
    assert heard == ["twice"]
    store.close()
