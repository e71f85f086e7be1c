"""How a device is let in, and for how long: the device flow, rotation, revocation. The clock is the test's own, the flow a real one."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx
import pytest
from sqlalchemy import delete, func, select

from kitty_sync.hub import accounts, device, schema, tokens
from kitty_sync.hub.app import Hub
from kitty_sync.hub.error import HubError
from kitty_sync.hub.store import Store

from ..hub import HubProcess

DEVICE = "urn:ietf:params:oauth:grant-type:device_code"


class Clocked:
    """A hub in this process, at a time that the test says."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.now = 1_000_000.0
        self.application = Hub(store, "http://127.0.0.1:1", clock=lambda: self.now).application()
        with store.writing() as database:
            self.member = accounts.add(database, "ada@example.org", "one", "writer")

    def send(self, method: str, path: str, **more: Any) -> httpx.Response:
        async def sent() -> httpx.Response:
            transport = httpx.ASGITransport(app=self.application)
            async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:1") as client:
                return await client.request(method, path, **more)

        return asyncio.run(sent())

    def begin(self) -> dict[str, Any]:
        said: dict[str, Any] = self.send("POST", "/oauth/device", data={"client_id": "cli_native"}).json()
        return said

    def poll(self, code: str) -> dict[str, Any]:
        answer = self.send(
            "POST",
            "/oauth/token",
            data={"grant_type": DEVICE, "device_code": code, "client_id": "cli_native"},
        )
        assert answer.status_code == (400 if "error" in answer.json() else 200)
        said: dict[str, Any] = answer.json()
        return said

    def decide(self, code: str, *, approve: bool = True) -> None:
        with self.store.writing() as database:
            device.decide(database, code, self.member, self.now, approve=approve)

    def login(self) -> dict[str, Any]:
        codes = self.begin()
        self.decide(codes["user_code"])
        return self.poll(codes["device_code"])

    def refresh(self, token: str) -> dict[str, Any]:
        answer = self.send(
            "POST",
            "/oauth/token",
            data={"grant_type": "refresh_token", "refresh_token": token, "client_id": "cli_native"},
        )
        assert answer.status_code == (400 if "error" in answer.json() else 200)
        said: dict[str, Any] = answer.json()
        return said

    def me(self, token: str) -> int:
        return self.send("GET", "/v1/me", headers={"Authorization": f"Bearer {token}"}).status_code


@pytest.fixture
def clocked(tmp_path: Path) -> Iterator[Clocked]:
    store = Store(tmp_path / "hub.db")
    yield Clocked(store)
    store.close()


def test_a_device_is_let_in_from_beginning_to_end(hub: HubProcess) -> None:
    added = hub.add_user("Ada@example.org", "one", "owner")
    codes = hub.form("/oauth/device", client_id="cli_native", scope="offline_access")
    assert codes["verification_uri_complete"] == f"{hub.address}/activate?user_code={codes['user_code']}"
    assert codes.keys() >= {"device_code", "verification_uri", "expires_in", "interval"}
    with httpx.Client(base_url=hub.address, trust_env=False) as client:
        ask = {"grant_type": DEVICE, "device_code": codes["device_code"], "client_id": "cli_native"}
        pending = client.post("/oauth/token", data=ask)
        assert (pending.status_code, pending.json()) == (400, {"error": "authorization_pending"})
        hub.approve("ada@example.org", codes["user_code"].lower().replace("-", " "))
        said = client.post("/oauth/token", data=ask).json()
        assert said.keys() == {
            "access_token",
            "refresh_token",
            "token_type",
            "session_id",
            "expires_in",
            "refresh_token_expires_in",
            "scope",
        }
        me = client.get("/v1/me", headers={"Authorization": f"Bearer {said['access_token']}"}).json()
    assert me == {key: added[key] for key in ("user", "team", "role")}
    assert (me["user"]["email"], me["team"]["slug"], me["role"]) == ("ada@example.org", "one", "owner")


def test_a_code_is_taken_once(clocked: Clocked) -> None:
    codes = clocked.begin()
    clocked.decide(codes["user_code"])
    assert "access_token" in clocked.poll(codes["device_code"])
    assert clocked.poll(codes["device_code"]) == {"error": "expired_token"}


def test_who_asks_too_soon_is_told_to_slow_down_and_has_to_wait_longer(clocked: Clocked) -> None:
    code = clocked.begin()["device_code"]
    said = []
    for seconds in (0, device.INTERVAL, 1, device.INTERVAL, device.INTERVAL + 2 * device.SLOWER):
        clocked.now += seconds
        said.append(clocked.poll(code)["error"])
    assert said == ["authorization_pending"] * 2 + ["slow_down"] * 2 + ["authorization_pending"]


def test_who_was_denied_is_told_so(clocked: Clocked) -> None:
    codes = clocked.begin()
    clocked.decide(codes["user_code"], approve=False)
    assert clocked.poll(codes["device_code"]) == {"error": "access_denied"}


def test_a_command_denies_too(hub: HubProcess) -> None:
    hub.add_user("ada@example.org")
    codes = hub.form("/oauth/device", client_id="cli_native")
    hub.approve("ada@example.org", codes["user_code"], "--deny")
    ask = {"grant_type": DEVICE, "device_code": codes["device_code"], "client_id": "cli_native"}
    answer = httpx.post(f"{hub.address}/oauth/token", data=ask, trust_env=False)
    assert answer.json() == {"error": "access_denied"}


def test_a_code_lasts_ten_minutes(clocked: Clocked) -> None:
    codes = clocked.begin()
    clocked.now += codes["expires_in"] - 1
    assert clocked.poll(codes["device_code"]) == {"error": "authorization_pending"}
    clocked.now += 1
    assert clocked.poll(codes["device_code"]) == {"error": "expired_token"}
    with pytest.raises(Exception, match="USER_CODE_UNKNOWN"):
        clocked.decide(codes["user_code"])


def test_a_code_that_was_decided_is_not_decided_again(clocked: Clocked) -> None:
    codes = clocked.begin()
    clocked.decide(codes["user_code"], approve=False)
    with pytest.raises(Exception, match="USER_CODE_UNKNOWN"):
        clocked.decide(codes["user_code"])


def test_a_few_places_do_not_keep_the_others_from_logging_in(clocked: Clocked) -> None:
    """A network of IPv6 is one of them. Where all is full, whoever has most gives up the oldest."""
    with clocked.store.writing() as database:
        for place in range(4):
            for number in range(device.WAITING_EACH):
                device.begin(database, clocked.now, address=f"2001:db8:0:{place}::{number:x}")
        with pytest.raises(HubError, match="too many"):
            device.begin(database, clocked.now, address="2001:db8:0:1::ffff")
    said = clocked.begin()
    clocked.decide(said["user_code"])
    assert "access_token" in clocked.poll(said["device_code"])


def test_who_was_taken_out_before_the_program_asked_again_does_not_come_back_with_it(clocked: Clocked) -> None:
    said = clocked.begin()
    clocked.decide(said["user_code"])
    with clocked.store.writing() as database:
        accounts.remove(database, clocked.member, clocked.now)
    assert clocked.poll(said["device_code"]) == {"error": "expired_token"}
    again = clocked.begin()
    with clocked.store.writing() as database:
        clocked.member = accounts.add(database, "ada@example.org", "one", "writer")
    clocked.decide(again["user_code"])
    with clocked.store.writing() as database:
        database.execute(delete(schema.members))
    assert clocked.poll(again["device_code"]) == {"error": "access_denied"}


def test_what_is_over_is_forgotten(clocked: Clocked) -> None:
    """The session that nobody used goes when somebody else begins one."""
    clocked.login()
    clocked.now += tokens.REFRESH_SECONDS + 1
    clocked.login()
    with clocked.store.reading() as database:
        assert database.scalar(select(func.count()).select_from(schema.sessions)) == 1
        assert database.scalar(select(func.count()).select_from(schema.tokens)) == 2


def test_no_more_than_a_thousand_codes_wait_at_once(clocked: Clocked) -> None:
    with clocked.store.writing() as database:
        for number in range(device.WAITING):
            device.begin(database, clocked.now, address=f"10.{number >> 8}.{number & 255}.1")
    answer = clocked.send("POST", "/oauth/device", data={"client_id": "cli_native"})
    assert (answer.status_code, answer.headers["Retry-After"]) == (429, "60")
    clocked.now += device.SECONDS
    assert "device_code" in clocked.begin()


@pytest.mark.parametrize(
    ("said", "error"),
    [
        ({"grant_type": DEVICE, "device_code": "x", "client_id": "somebody"}, "invalid_client"),
        ({"grant_type": "password", "client_id": "cli_native"}, "unsupported_grant_type"),
        ({"grant_type": DEVICE, "client_id": "cli_native"}, "invalid_request"),
        ({"grant_type": DEVICE, "device_code": "khd_x", "client_id": "cli_native"}, "expired_token"),
        ({"grant_type": "refresh_token", "refresh_token": "khr_\ud800", "client_id": "cli_native"}, "invalid_grant"),
    ],
)
def test_what_cannot_be_granted_is_an_error_of_oauth(clocked: Clocked, said: dict[str, str], error: str) -> None:
    answer = clocked.send("POST", "/oauth/token", content=urlencode(said, errors="surrogatepass"))
    assert (answer.status_code, answer.json()) == (400, {"error": error})


def test_an_access_token_lasts_fifteen_minutes(clocked: Clocked) -> None:
    token = clocked.login()["access_token"]
    clocked.now += 15 * 60 - 1
    assert clocked.me(token) == 200
    clocked.now += 1
    assert clocked.me(token) == 401


def test_refreshing_gives_a_new_pair_of_the_same_session(clocked: Clocked) -> None:
    first = clocked.login()
    clocked.now += 15 * 60
    second = clocked.refresh(first["refresh_token"])
    assert second["session_id"] == first["session_id"]
    assert {second["access_token"], second["refresh_token"]}.isdisjoint(first.values())
    assert clocked.me(second["access_token"]) == 200
    third = clocked.refresh(second["refresh_token"])
    assert clocked.me(third["access_token"]) == 200


def test_the_previous_refresh_token_is_taken_for_thirty_seconds_more(clocked: Clocked) -> None:
    """An answer can be lost."""
    first = clocked.login()
    lost = clocked.refresh(first["refresh_token"])
    clocked.now += 30
    again = clocked.refresh(first["refresh_token"])
    assert clocked.me(again["access_token"]) == 200
    assert clocked.me(lost["access_token"]) == 200, "another process may have it"


def test_its_later_use_ends_the_whole_family_and_no_other(clocked: Clocked) -> None:
    first, other = clocked.login(), clocked.login()
    second = clocked.refresh(first["refresh_token"])
    clocked.now += 31
    assert clocked.me(second["access_token"]) == 200
    assert clocked.refresh(first["refresh_token"]) == {"error": "invalid_grant"}
    assert clocked.me(second["access_token"]) == 401
    assert clocked.refresh(second["refresh_token"]) == {"error": "invalid_grant"}
    assert clocked.me(other["access_token"]) == 200


@pytest.mark.parametrize("kind", ["access_token", "refresh_token"])
def test_revoking_either_token_ends_the_session(clocked: Clocked, kind: str) -> None:
    said = clocked.login()
    answer = clocked.send("POST", "/oauth/revoke", data={"token": said[kind]})
    assert (answer.status_code, answer.json()) == (200, {"revoked": True})
    assert clocked.me(said["access_token"]) == 401
    assert clocked.refresh(said["refresh_token"]) == {"error": "invalid_grant"}


def test_revoking_what_is_not_known_is_said_to_be_done(clocked: Clocked) -> None:
    assert clocked.send("POST", "/oauth/revoke", data={"token": "khr_x"}).json() == {"revoked": True}


def test_one_kind_of_token_is_not_taken_for_the_other(clocked: Clocked) -> None:
    said = clocked.login()
    assert clocked.me(said["refresh_token"]) == 401
    assert clocked.refresh(said["access_token"]) == {"error": "invalid_grant"}


def test_another_role_holds_at_once(clocked: Clocked) -> None:
    token = clocked.login()["access_token"]
    with clocked.store.writing() as database:
        accounts.add(database, "ada@example.org", "one", "reader")
    headers = {"Authorization": f"Bearer {token}"}
    assert clocked.send("GET", "/v1/me", headers=headers).json()["role"] == "reader"
    answer = clocked.send("POST", "/v1/events", headers=headers, json={"events": []})
    assert (answer.status_code, answer.json()["code"]) == (403, "ROLE_FORBIDDEN")


def test_no_secret_is_kept(hub: HubProcess) -> None:
    hub.add_user("ada@example.org")
    codes = hub.form("/oauth/device", client_id="cli_native")
    said = hub.login("ada@example.org")
    hub.stop()
    kept = b"".join(path.read_bytes() for path in hub.directory.iterdir())
    assert sqlite3.connect(hub.database).execute("SELECT count(*) FROM tokens").fetchone() == (2,)
    for secret in (codes["device_code"], said["access_token"], said["refresh_token"]):
        assert len(secret) == 4 + 43
        assert secret.encode() not in kept
        assert secret[4:].encode() not in kept
