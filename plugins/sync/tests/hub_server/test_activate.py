"""The page on which somebody lets a program in: what it shows, what it decides, and how often one may be wrong."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from kitty_sync.hub import device
from kitty_sync.hub.limits import FAILED_AS, FAILED_HERE
from kitty_sync.hub.store import Store

from ..hub import HubProcess
from .browser import DEVICE, Here

ADA, EVE = "ada@example.org", "eve@example.org"


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Here]:
    store = Store(tmp_path / "hub.db")
    yield Here(store)
    store.close()


def test_a_program_is_let_in_with_the_code_that_its_address_leads_to(here: Here) -> None:
    browser, program = here.signed_in(here.add(ADA)), here.ask("198.51.100.9")
    path = program["verification_uri_complete"].removeprefix(here.address)
    assert program["user_code"] in browser.open(path).text
    assert here.poll(program["device_code"]) == {"error": "authorization_pending"}
    asks = browser.press()
    assert "A program at <b>198.51.100.9</b>" in asks.text
    assert "1970-01-12 13:46:40 UTC" in asks.text
    here.now += 10
    assert here.poll(program["device_code"]) == {"error": "authorization_pending"}, "looking is not deciding"
    browser.press("approve")
    here.now += 10
    token = here.poll(program["device_code"])["access_token"]
    me = here.send("GET", "/v1/me", headers={"Authorization": f"Bearer {token}"}).json()
    assert (me["user"]["email"], me["team"]["slug"]) == (ADA, "one")


def test_a_program_is_not_let_in(here: Here) -> None:
    browser, program = here.signed_in(here.add(ADA)), here.ask()
    assert "not let in" in browser.activate(program["user_code"], "deny").text
    assert here.poll(program["device_code"]) == {"error": "access_denied"}


def test_who_is_not_signed_in_signs_in_first_and_comes_back(here: Here) -> None:
    browser = here.browser()
    answer = browser.open("/activate?user_code=BBBB-BBBB")
    assert answer.headers["location"] == "/signin?next=%2Factivate%3Fuser_code%3DBBBB-BBBB"
    assert 'value="/activate?user_code=BBBB-BBBB"' in browser.open(answer.headers["location"]).text


def test_codes_that_never_were_are_over_or_decided_are_not_told_apart(here: Here) -> None:
    browser = here.signed_in(here.add(ADA))
    over = here.ask()["user_code"]
    here.now += device.SECONDS
    decided = here.ask()["user_code"]
    browser.activate(decided, "deny")
    told = set()
    for code in ("BBBB-BBBB", over, decided, "", "x" * 300):
        answer = browser.activate(code)
        told.add((answer.status_code, answer.text))
    assert len(told) == 1
    assert next(iter(told))[0] == 400


def test_a_code_that_is_looked_for_is_not_compared_letter_by_letter(here: Here) -> None:
    code = here.ask()["user_code"]
    with here.store.reading() as database:
        kept = database.exec_driver_sql("SELECT user_digest FROM grants").scalar_one()
    assert len(kept) == 64
    assert code not in kept


def test_who_was_wrong_ten_times_waits_even_with_the_right_code(here: Here) -> None:
    browser, code = here.signed_in(here.add(ADA)), here.ask()["user_code"]
    assert [browser.activate("BBBB-BBBB").status_code for _ in range(FAILED_AS.amount)] == [400] * FAILED_AS.amount
    answer = browser.activate(code)
    assert answer.status_code == 429
    assert 0 < int(answer.headers["Retry-After"]) <= 600
    elsewhere = here.signed_in(here.add(ADA), "198.51.100.9")
    assert elsewhere.activate(code).status_code == 429, "the account, too"
    assert here.signed_in(here.add(EVE), "198.51.100.10").activate(code).status_code == 200


def test_an_address_that_was_wrong_twenty_times_waits_whoever_it_is(here: Here) -> None:
    for _ in range(FAILED_HERE.amount):
        assert here.browser().open("/signin/link?token=khl_x").status_code == 400
    path = here.link(here.add(ADA))
    assert here.browser().open(path).status_code == 429
    assert here.browser().post("/signin/link", token=path.partition("=")[2]).status_code == 429
    assert here.browser("198.51.100.9").open(path).status_code == 200


def test_one_address_does_not_keep_the_others_from_logging_in(here: Here) -> None:
    with here.store.writing() as database:
        for _ in range(device.WAITING_EACH):
            device.begin(database, here.now, address="192.0.2.7")
    answer = here.send("POST", "/oauth/device", data={"client_id": "cli_native"})
    assert (answer.status_code, answer.headers["Retry-After"]) == (429, "60")
    assert "device_code" in here.ask("198.51.100.9")


def test_from_a_link_of_the_command_to_a_program_that_is_let_in(hub: HubProcess) -> None:
    """The same with a hub in a process of its own, as it is installed."""
    hub.add_user(ADA, "one", "owner")
    url = hub.run("user", "link", ADA)["url"]
    assert url.startswith(f"{hub.address}/signin/link?token=khl_")
    with httpx.Client(base_url=hub.address, trust_env=False, headers={"Origin": hub.address}) as browser:
        assert ADA in browser.get(url).text
        token = url.partition("=")[2]
        assert browser.post("/signin/link", data={"token": token}).headers["location"] == "/account"
        codes = hub.form("/oauth/device", client_id="cli_native")
        text = browser.get(codes["verification_uri_complete"]).text
        secret = text.partition('name="form_secret" value="')[2].partition('"')[0]
        fields = {"form_secret": secret, "code": codes["user_code"]}
        assert "127.0.0.1" in browser.post("/activate", data=fields).text
        assert browser.post("/activate", data={**fields, "answer": "approve"}).status_code == 200
    ask = {"grant_type": DEVICE, "device_code": codes["device_code"], "client_id": "cli_native"}
    assert "access_token" in hub.form("/oauth/token", **ask)
