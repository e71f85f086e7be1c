"""How a browser is signed in, for how long, and what its session is good for; what pages let nobody do."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from starlette.requests import Request

from kitty_sync.hub import accounts, signin
from kitty_sync.hub.audit import SOMEBODY
from kitty_sync.hub.store import Store

from .browser import Browser, Here

ADA, EVE = "ada@example.org", "eve@example.org"


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Here]:
    store = Store(tmp_path / "hub.db")
    yield Here(store)
    store.close()


def looks(browser: Browser) -> bool:
    """Whether a browser is signed in."""
    return browser.open("/account").status_code == 200


def viewer(here: Here, cookie: str, **how: bool) -> accounts.Member | None:
    headers = [(b"cookie", cookie.encode())]
    request = Request({"type": "http", "method": "GET", "path": "/", "query_string": b"", "headers": headers})
    return asyncio.run(signin.viewer(here.hub, request, **how))


# Links


def test_a_link_signs_somebody_in_once(here: Here) -> None:
    ada, browser = here.add(ADA), here.browser()
    path = here.link(ada)
    assert ADA in browser.open(path).text
    assert browser.press().headers["location"] == "/account"
    assert ADA in browser.open("/account").text
    second = here.browser()
    assert second.open(path).status_code == 400
    assert second.post("/signin/link", token=path.partition("=")[2]).status_code == 400
    assert not looks(second)


def test_looking_at_a_link_does_not_use_it_up(here: Here) -> None:
    path = here.link(here.add(ADA))
    assert [here.browser().open(path).status_code for _ in range(3)] == [200] * 3


def test_a_link_lasts_five_minutes(here: Here) -> None:
    ada = here.add(ADA)
    early, late, path = here.browser(), here.browser(), here.link(ada)
    early.open(path)
    late.open(path)
    here.now += 300
    assert late.press().status_code == 400
    here.now -= 1
    assert early.press().status_code == 303


def test_two_who_press_at_once_are_one_who_is_signed_in(here: Here) -> None:
    token = here.link(here.add(ADA)).partition("=")[2]

    async def both() -> list[str | None]:
        take = [here.hub.write(signin.take_link, token, SOMEBODY) for _ in range(2)]
        return list(await asyncio.gather(*take))

    assert sorted(cookie is None for cookie in asyncio.run(both())) == [False, True]


# Codes


def test_a_code_signs_a_browser_in_when_somebody_who_is_approves_it(here: Here) -> None:
    ada, phone = here.signed_in(here.add(ADA)), here.browser("198.51.100.9")
    phone.open("/signin?next=/activate")
    assert phone.press().headers["location"] == "/signin/code?next=%2Factivate"
    waits = phone.open("/signin/code?next=%2Factivate")
    code = re.findall(r"[B-Z]{4}-[B-Z]{4}", waits.text)[0]
    assert "refresh" in waits.text
    ada.open("/activate")
    asks = ada.press(code=code)
    assert "A browser at <b>198.51.100.9</b>" in asks.text
    assert "1970-01-12 13:46:40 UTC" in asks.text
    assert ada.press("approve").status_code == 200
    assert phone.open("/signin/code?next=%2Factivate").headers["location"] == "/activate"
    assert ADA in phone.open("/account").text
    assert "kitty-waits" not in phone.cookies


def test_a_code_that_was_denied_signs_nobody_in(here: Here) -> None:
    ada, phone = here.signed_in(here.add(ADA)), here.browser()
    phone.open("/signin")
    phone.press()
    code = re.findall(r"[B-Z]{4}-[B-Z]{4}", phone.open("/signin/code").text)[0]
    ada.activate(code, "deny")
    assert (phone.open("/signin/code").status_code, looks(phone)) == (400, False)


def test_the_code_of_a_browser_gives_a_program_nothing_and_the_other_way_round(here: Here) -> None:
    ada, phone = here.signed_in(here.add(ADA)), here.browser()
    phone.open("/signin")
    phone.press()
    device_code, _, code = phone.cookies["kitty-waits"].partition("/")
    ada.activate(code)
    assert here.poll(device_code) == {"error": "expired_token"}
    program = here.ask()
    ada.activate(program["user_code"])
    phone.cookies["kitty-waits"] = f"{program['device_code']}/x"
    assert phone.open("/signin/code").status_code == 400
    assert "access_token" in here.poll(program["device_code"])


@pytest.mark.parametrize(
    "where", ["//evil.example", "https://evil.example", "/\\evil.example", "javascript:alert(1)", "/a\nb", "/a?b=//c#d"]
)
def test_nobody_is_led_elsewhere(here: Here, where: str) -> None:
    browser = here.signed_in(here.add(ADA))
    assert browser.open(str(httpx.URL("/signin", params={"next": where}))).headers["location"] == "/account"


# The session


def test_the_cookie_is_for_the_hub_alone(here: Here, tmp_path: Path) -> None:
    plain = here.signed_in(here.add(ADA)).set[0]
    assert plain.startswith("kitty=khb_")
    assert {"HttpOnly", "SameSite=strict", "Path=/"} <= set(plain.split("; "))
    assert "Secure" not in plain
    behind = Here(here.store, "https://hub.example.org").signed_in(here.add(ADA)).set[0]
    assert behind.startswith("__Host-kitty=khb_")
    assert {"HttpOnly", "SameSite=strict", "Path=/", "Secure"} <= set(behind.split("; "))
    assert "Domain" not in behind


def test_a_session_is_over_when_nobody_used_it_for_twelve_hours(here: Here) -> None:
    used, left = here.signed_in(here.add(ADA)), here.signed_in(here.add(ADA))
    for _ in range(2):
        here.now += signin.IDLE_SECONDS - 1
        assert looks(used)
    assert not looks(left)
    here.now += signin.IDLE_SECONDS
    assert not looks(used)


def test_a_session_is_over_after_a_week_however_much_it_was_used(here: Here) -> None:
    browser = here.signed_in(here.add(ADA))
    began = here.now
    while here.now + signin.IDLE_SECONDS // 2 < began + signin.LONGEST_SECONDS:
        here.now += signin.IDLE_SECONDS // 2
        assert looks(browser)
    here.now = began + signin.LONGEST_SECONDS
    assert not looks(browser)


def test_who_looks_is_known_to_other_pages_as_what_they_are_now(here: Here) -> None:
    ada = here.add(ADA, role="owner")
    browser = here.signed_in(ada)
    cookie = f"kitty={browser.cookies['kitty']}"
    assert viewer(here, cookie) == ada
    assert viewer(here, cookie + "x") is None
    assert viewer(here, "") is None
    here.add(ADA, role="reader")
    now = viewer(here, cookie)
    assert now is not None
    assert now.role == "reader"
    with here.store.writing() as database:
        accounts.remove(database, ada, here.now)
    assert viewer(here, cookie) is None
    here.add(ADA)
    assert viewer(here, cookie) is None, "who comes back signs in again"


def test_a_session_is_used_by_who_looks_after_a_minute_and_not_by_what_looks_by_itself(here: Here) -> None:
    ada = here.add(ADA)
    cookie = f"kitty={here.signed_in(ada).cookies['kitty']}"

    def used() -> float:
        with here.store.reading() as database:
            return float(signin.alive(database, ada.team_id, here.now)[0]["used_at"])

    began = used()
    for seconds, how, after in ((60, {}, 0), (1, {"renew": False}, 0), (0, {}, 61)):
        here.now += seconds
        assert viewer(here, cookie, **how) == ada
        assert used() == began + after


def test_who_was_taken_out_of_a_team_has_no_link_and_no_token_there(here: Here) -> None:
    ada = here.add(ADA)
    path, program = here.link(ada), here.ask()
    here.signed_in(ada).activate(program["user_code"])
    token = here.poll(program["device_code"])["access_token"]
    assert here.send("GET", "/v1/me", headers={"Authorization": f"Bearer {token}"}).status_code == 200
    with here.store.writing() as database:
        accounts.remove(database, ada, here.now)
    here.add(ADA)
    assert here.send("GET", "/v1/me", headers={"Authorization": f"Bearer {token}"}).status_code == 401
    assert here.browser().open(path).status_code == 400


def test_a_cookie_is_no_token_and_a_token_no_cookie(here: Here) -> None:
    ada = here.add(ADA)
    browser, program = here.signed_in(ada), here.ask()
    browser.activate(program["user_code"])
    token = here.poll(program["device_code"])["access_token"]
    cookie = browser.cookies["kitty"]
    assert here.send("GET", "/v1/me", headers={"Cookie": f"kitty={cookie}"}).status_code == 401
    assert here.send("GET", "/v1/me", headers={"Authorization": f"Bearer {cookie}"}).status_code == 401
    assert viewer(here, f"kitty={token}") is None


def test_signing_out_ends_the_session_and_not_only_the_cookie(here: Here) -> None:
    browser = here.signed_in(here.add(ADA))
    cookie = browser.cookies["kitty"]
    browser.open("/account")
    assert browser.press().headers["location"] == "/signin"
    assert "kitty" not in browser.cookies
    assert viewer(here, f"kitty={cookie}") is None


def test_ones_own_sessions_are_listed_and_ended_one_by_one(here: Here) -> None:
    ada = here.add(ADA)
    browser, other, program = here.signed_in(ada), here.signed_in(ada, "198.51.100.9"), here.ask()
    browser.activate(program["user_code"])
    token = here.poll(program["device_code"])["access_token"]
    text = browser.open("/account").text
    assert [name in text for name in ("this browser", "browser at 198.51.100.9", "<td>program</td>")] == [True] * 3
    assert not any(secret in text for secret in ("khb_", "kha_", "khr_"))
    browser.press(form=1)
    assert not looks(other)
    browser.open("/account")
    browser.press(form=1)
    assert here.send("GET", "/v1/me", headers={"Authorization": f"Bearer {token}"}).status_code == 401
    assert looks(browser)


def test_nobody_ends_the_session_of_another(here: Here) -> None:
    ada, eve = here.signed_in(here.add(ADA)), here.signed_in(here.add(EVE, role="owner"))
    with here.store.reading() as database:
        team_id = accounts.team_of(database, "one")
        session = next(one["id"] for one in signin.alive(database, team_id, here.now) if one["email"] == ADA)
    secret = re.findall(r'name="form_secret" value="([^"]*)"', eve.open("/account").text)[0]
    eve.post("/account/end", form_secret=secret, session=session)
    assert looks(ada)


def test_no_secret_of_a_browser_is_kept(here: Here, tmp_path: Path) -> None:
    ada = here.add(ADA)
    path, browser, phone = here.link(ada), here.signed_in(ada), here.browser()
    phone.open("/signin")
    phone.press()
    device_code, _, code = phone.cookies["kitty-waits"].partition("/")
    secret = re.findall(r'name="form_secret" value="([^"]*)"', browser.open("/account").text)[0]
    kept = b"".join(one.read_bytes() for one in tmp_path.iterdir())
    assert ada.user_id.encode() in kept
    for one in (browser.cookies["kitty"][4:], path.partition("khl_")[2], device_code[4:], code, secret):
        assert len(one) >= 9
        assert one.encode() not in kept


# Forms and pages


FORMS = ["/signin", "/signin/link", "/activate", "/account/end", "/signout"]


@pytest.mark.parametrize("path", FORMS)
@pytest.mark.parametrize(
    "origin", [None, "null", "https://evil.example", "http://127.0.0.1:2", "http://127.0.0.1:1.evil.example"]
)
def test_a_form_of_another_origin_is_refused(here: Here, path: str, origin: str | None) -> None:
    ada = here.add(ADA)
    token, browser = here.link(ada).partition("=")[2], here.signed_in(ada)
    secret = re.findall(r'name="form_secret" value="([^"]*)"', browser.open("/account").text)[0]
    before = dict(browser.cookies)
    answer = browser.post(path, origin, form_secret=secret, token=token, code=here.ask()["user_code"], answer="approve")
    assert (answer.status_code, browser.cookies, looks(browser)) == (403, before, True)


@pytest.mark.parametrize("path", ["/activate", "/account/end", "/signout"])
def test_a_form_without_the_secret_of_its_session_is_refused(here: Here, path: str) -> None:
    browser, other = here.signed_in(here.add(ADA)), here.signed_in(here.add(ADA))
    of_another = re.findall(r'name="form_secret" value="([^"]*)"', other.open("/account").text)[0]
    program = here.ask()
    for secret in ("", "x", "ä", of_another):
        answer = browser.post(path, form_secret=secret, code=program["user_code"], answer="approve")
        assert answer.status_code == 403
    assert looks(browser)
    assert here.poll(program["device_code"]) == {"error": "authorization_pending"}
    assert here.browser().post(path, form_secret=of_another).status_code == 403


def test_every_form_there_is_was_tried(here: Here) -> None:
    """A form that is added to the pages is added to these tests."""
    posts = [one for one in here.application.routes if "POST" in (getattr(one, "methods", None) or ())]
    found = {one.path for one in posts if not one.path.startswith(("/oauth", "/v1", "/api"))}  # type: ignore[attr-defined]
    assert found == set(FORMS)


def test_pages_have_no_script_and_are_in_no_frame(here: Here) -> None:
    browser = here.signed_in(here.add(ADA))
    for path in ("/account", "/activate", "/signin/link?token=x", here.link(here.add(EVE))):
        answer = browser.open(path)
        policy = dict(one.strip().partition(" ")[::2] for one in answer.headers["content-security-policy"].split(";"))
        assert policy["default-src"] == "'none'"
        assert policy["frame-ancestors"] == "'none'"
        assert policy["form-action"] == "'self'"
        assert policy["img-src"] == "data:"
        assert set(policy) == {"default-src", "img-src", "style-src", "form-action", "frame-ancestors", "base-uri"}
        assert "unsafe" not in answer.headers["content-security-policy"]
        assert "<script" not in answer.text
        assert not re.findall(r'(?:src|href|action)="(?!/[a-z]|data:,")', answer.text)
        assert (answer.headers["cache-control"], answer.headers["x-frame-options"]) == ("no-store", "DENY")
        assert (answer.headers["referrer-policy"], answer.headers["x-content-type-options"]) == (
            "same-origin",
            "nosniff",
        )


def test_what_somebody_wrote_is_text_on_every_page(here: Here) -> None:
    ada = here.add('"><script>alert(1)</script>@example.org')
    browser = here.browser()
    for path in (here.link(ada), '/activate?user_code="><script>', '/signin?next="><script>'):
        assert "<script" not in browser.open(path).text
    browser = here.signed_in(ada)
    for path in ("/account", '/activate?user_code="><script>'):
        assert "script&gt;" in browser.open(path).text
        assert "<script" not in browser.page.text
    browser.open("/activate")
    assert "<script" not in browser.press(code='"><script>').text
