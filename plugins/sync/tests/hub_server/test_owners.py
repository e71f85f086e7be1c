"""What the commands of a hub's machine do to teams, members and sessions, at once, on a hub that serves; and what is noted of it."""

from __future__ import annotations

import getpass
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from kitty_sync.hub import accounts, tokens
from kitty_sync.hub.limits import FAILED_AS
from kitty_sync.hub.store import Store

from ..hub import HubProcess
from .browser import Here
from .test_commands import kitty

ADA, EVE = "ada@example.org", "eve@example.org"


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Here]:
    store = Store(tmp_path / "hub.db")
    yield Here(store)
    store.close()


def me(hub: HubProcess, token: str) -> httpx.Response:
    return httpx.get(f"{hub.address}/v1/me", headers={"Authorization": f"Bearer {token}"}, trust_env=False)


def refused(hub: HubProcess, where: Path, *words: str) -> str:
    return str(kitty(where, "hub", *words, "--database", str(hub.database))["code"])


# Commands


def test_one_command_makes_a_team_and_tokens_that_work(hub: HubProcess) -> None:
    said = hub.run("setup", ADA, "--team", "one")
    assert said["schema"] == "kitty.hub.setup/1"
    told = me(hub, said["access_token"]).json()
    assert (told["user"]["email"], told["team"]["slug"], told["role"]) == (ADA, "one", "owner")
    fields = {"grant_type": "refresh_token", "refresh_token": said["refresh_token"], "client_id": "cli_native"}
    assert me(hub, hub.form("/oauth/token", **fields)["access_token"]).status_code == 200


def test_it_can_be_run_again_by_its_owner_and_by_nobody_else(hub: HubProcess, isolated: Path) -> None:
    first = hub.run("setup", ADA, "--team", "one")
    again = hub.run("setup", ADA.upper(), "--team", "one")
    assert (again["team"], again["user"]) == (first["team"], first["user"])
    assert again["access_token"] != first["access_token"]
    hub.add_user(EVE, "one", "writer")
    for email in (EVE, "new@example.org"):
        assert refused(hub, isolated, "setup", email, "--team", "one") == "TEAM_EXISTS"
    found = hub.run("user", "list", "--team", "one")["members"]
    assert [(one["user"]["email"], one["role"]) for one in found] == [(ADA, "owner"), (EVE, "writer")]


def test_members_are_listed_of_one_team_or_of_all(hub: HubProcess, isolated: Path) -> None:
    hub.add_user(ADA, "one")
    hub.add_user(EVE, "two", "reader")
    found = hub.run("user", "list")["members"]
    assert [(one["team"]["slug"], one["user"]["email"], one["role"]) for one in found] == [
        ("one", ADA, "writer"),
        ("two", EVE, "reader"),
    ]
    assert len(hub.run("user", "list", "--team", "two")["members"]) == 1
    for words in (("user", "list"), ("token", "list"), ("audit",)):
        assert refused(hub, isolated, *words, "--team", "three") == "TEAM_UNKNOWN"


def test_who_is_taken_out_of_a_team_is_out_at_once_and_of_no_other(hub: HubProcess, isolated: Path) -> None:
    hub.add_user(ADA, "one")
    hub.add_user(ADA, "two")
    one, two = (hub.login(ADA, "--team", team) for team in ("one", "two"))
    hub.run("user", "remove", ADA, "--team", "one")
    assert (me(hub, one["access_token"]).status_code, me(hub, two["access_token"]).status_code) == (401, 200)
    fields = {"grant_type": "refresh_token", "refresh_token": one["refresh_token"], "client_id": "cli_native"}
    assert httpx.post(f"{hub.address}/oauth/token", data=fields, trust_env=False).json() == {"error": "invalid_grant"}
    assert refused(hub, isolated, "user", "remove", ADA, "--team", "one") == "USER_UNKNOWN"


def test_a_role_holds_at_once(hub: HubProcess) -> None:
    hub.add_user(ADA, "one", "owner")
    token = hub.login(ADA)["access_token"]
    hub.add_user(ADA, "one", "reader")
    assert me(hub, token).json()["role"] == "reader"


def test_sessions_are_listed_without_secrets_and_ended_one_by_one(hub: HubProcess, isolated: Path) -> None:
    hub.add_user(ADA, "one")
    first, second = hub.login(ADA), hub.login(ADA)
    token = hub.run("user", "link", ADA)["url"].partition("=")[2]
    with httpx.Client(base_url=hub.address, trust_env=False, headers={"Origin": hub.address}) as browser:
        browser.post("/signin/link", data={"token": token})
        listed = hub.run("token", "list", "--team", "one")["sessions"]
        assert [one["kind"] for one in listed] == ["program", "program", "browser"]
        assert {one["email"] for one in listed} == {ADA}
        assert all(one.keys() == {"id", "email", "created_at", "used_at", "address", "kind"} for one in listed)
        hub.run("token", "revoke", first["session_id"])
        assert (me(hub, first["access_token"]).status_code, me(hub, second["access_token"]).status_code) == (401, 200)
        assert browser.get("/account").status_code == 200
        hub.run("token", "revoke", listed[2]["id"])
        assert browser.get("/account").status_code == 303
    assert [one["id"] for one in hub.run("token", "list", "--team", "one")["sessions"]] == [second["session_id"]]
    for session in (first["session_id"], "x"):
        assert refused(hub, isolated, "token", "revoke", session) == "SESSION_UNKNOWN"


def test_a_link_is_for_one_team(hub: HubProcess, isolated: Path) -> None:
    for team in ("one", "two"):
        hub.add_user(ADA, team)
    assert refused(hub, isolated, "user", "link", ADA) == "TEAM_REQUIRED"
    assert refused(hub, isolated, "user", "link", EVE) == "USER_UNKNOWN"
    assert hub.run("user", "link", ADA, "--team", "two")["team"]["slug"] == "two"


# What is noted


def test_every_change_by_a_command_is_noted(hub: HubProcess) -> None:
    hub.add_user(ADA, "one", "owner")
    hub.add_user(ADA, "one", "owner")
    hub.add_user(ADA, "one", "writer")
    said = hub.login(ADA)
    hub.run("user", "link", ADA)
    hub.run("token", "revoke", said["session_id"])
    hub.run("user", "remove", ADA, "--team", "one")
    found = hub.run("audit")["entries"]
    command = (getpass.getuser(), "command")
    assert [(one["action"], one["who"], one["from"], one["whom"], one["team"], one["what"]) for one in found] == [
        ("user.made", *command, ADA, None, ""),
        ("team.made", *command, "", "one", "one"),
        ("member.added", *command, ADA, "one", "owner"),
        ("member.role", *command, ADA, "one", "writer"),
        ("program.approved", *command, ADA, "one", "127.0.0.1"),
        ("session.opened", "", "127.0.0.1", ADA, "one", said["session_id"]),
        ("link.made", *command, ADA, "one", ""),
        ("session.ended", *command, ADA, "one", said["session_id"]),
        ("member.removed", *command, ADA, "one", ""),
    ]
    assert all(one["at"].startswith("20") for one in found)
    assert [one["action"] for one in hub.run("audit", "--limit", "2")["entries"]] == ["session.ended", "member.removed"]
    assert len(hub.run("audit", "--team", "one")["entries"]) == len(found) - 1


def test_every_change_by_a_page_or_a_call_is_noted_with_its_address(here: Here) -> None:
    ada = here.add(ADA)
    browser, program = here.signed_in(ada), here.ask("198.51.100.9")
    browser.activate(program["user_code"])
    given = here.poll(program["device_code"])
    browser.activate(here.ask()["user_code"], "deny")
    here.send("POST", "/oauth/revoke", data={"token": given["access_token"]})
    here.send("POST", "/oauth/revoke", data={"token": given["access_token"]})
    browser.open("/account")
    browser.press()
    place = "192.0.2.7"
    assert here.audited("action", "who", "whom", "from")[3:] == [
        ("link.made", "ada", ADA, "command"),
        ("browser.signed_in", ADA, ADA, place),
        ("program.approved", ADA, ADA, place),
        ("session.opened", "", ADA, place),
        ("program.denied", ADA, ADA, place),
        ("session.ended", "", ADA, place),
        ("browser.signed_out", ADA, ADA, place),
    ]


def test_what_was_refused_is_noted_and_no_more_often_than_one_may_try(here: Here) -> None:
    browser = here.signed_in(here.add(ADA))
    for _ in range(FAILED_AS.amount + 5):
        browser.activate("BBBB-BBBB")
    here.browser("198.51.100.9").open("/signin/link?token=khl_x")
    here.browser("198.51.100.9").post("/signin/link", token="khl_x")
    noted = here.audited("action", "who", "from")[5:]
    assert noted == [("code.refused", ADA, "192.0.2.7")] * FAILED_AS.amount + [("link.refused", "", "198.51.100.9")] * 2


def test_a_refresh_token_that_two_have_is_noted(here: Here) -> None:
    ada = here.add(ADA)
    with here.store.writing() as database:
        pair = tokens.open_session(database, ada.user_id, ada.team_id, here.now)
    fields = {"grant_type": "refresh_token", "refresh_token": pair.refresh_token, "client_id": "cli_native"}
    here.send("POST", "/oauth/token", data=fields)
    here.now += tokens.GRACE_SECONDS + 1
    here.send("POST", "/oauth/token", "198.51.100.9", data=fields)
    assert here.audited("action", "whom", "what", "from")[-1] == (
        "session.stolen",
        ADA,
        pair.session_id,
        "198.51.100.9",
    )


def test_a_change_that_was_not_done_is_not_noted(here: Here) -> None:
    def begun() -> None:
        with here.store.writing() as database:
            accounts.add(database, ADA, "one", "owner")
            raise KeyError

    with pytest.raises(KeyError):
        begun()
    assert here.audited("action") == []


def test_no_entry_holds_a_secret(hub: HubProcess) -> None:
    hub.add_user(ADA, "one")
    said, link = hub.login(ADA), hub.run("user", "link", ADA)["url"].partition("=")[2]
    codes = hub.form("/oauth/device", client_id="cli_native")
    hub.approve(ADA, codes["user_code"], "--deny")
    httpx.post(
        f"{hub.address}/signin/link", data={"token": "khl_mine"}, headers={"Origin": hub.address}, trust_env=False
    )
    database = sqlite3.connect(hub.database)
    rows: list[Any] = database.execute("SELECT * FROM audit").fetchall()
    database.close()
    assert "link.refused" in str(rows)
    for secret in (said["access_token"], said["refresh_token"], link, codes["user_code"], codes["device_code"], "khl_"):
        assert secret not in str(rows)
