"""The pages in a real browser: what it makes of cookies, the origin of forms and the policy; nothing is asked of anybody but the hub."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from ..hub import HubProcess
from .browser import DEVICE

ADA = "ada@example.org"
CHROMIUM = shutil.which("chromium")
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="no chromium: apt-get install chromium")]


@pytest.fixture
def chromium() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield started
        started.close()


def watched(context: BrowserContext) -> tuple[Page, list[str], list[str]]:
    """A page, what it complains of, and what it asks."""
    page, complaints, asked = context.new_page(), [], []
    page.on("console", lambda message: complaints.append(message.text))
    context.on("request", lambda request: asked.append(request.url))
    return page, complaints, asked


def test_a_browser_is_signed_in_lets_a_program_and_another_browser_in_and_is_signed_out(
    hub: HubProcess, chromium: Browser
) -> None:
    hub.add_user(ADA, "one", "owner")
    context = chromium.new_context()
    page, complaints, asked = watched(context)
    page.goto(hub.run("user", "link", ADA)["url"])
    page.get_by_role("button", name="Sign in").click()
    expect(page).to_have_url(f"{hub.address}/account")
    (cookie,) = context.cookies()
    assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Strict")
    assert page.evaluate("getComputedStyle(document.querySelector('main')).maxWidth") == "640px", (
        "the policy lets our own style be"
    )

    codes = hub.form("/oauth/device", client_id="cli_native")
    page.goto(codes["verification_uri_complete"])
    page.get_by_role("button", name="Look").click()
    page.get_by_role("button", name="Approve").click()
    expect(page.get_by_role("heading")).to_have_text("It is let in")
    ask = {"grant_type": DEVICE, "device_code": codes["device_code"], "client_id": "cli_native"}
    assert "access_token" in hub.form("/oauth/token", **ask)

    other, others, asked_there = watched(chromium.new_context())
    other.goto(f"{hub.address}/signin?next=/activate")
    other.get_by_role("button").click()
    code = other.locator("code").inner_text()
    page.goto(f"{hub.address}/activate")
    page.get_by_label("The code").fill(code.lower())
    page.get_by_role("button", name="Look").click()
    page.get_by_role("button", name="Approve").click()
    expect(other).to_have_url(f"{hub.address}/activate", timeout=30_000)

    page.goto(f"{hub.address}/account")
    page.get_by_role("button", name="Sign out").click()
    expect(page).to_have_url(f"{hub.address}/signin")
    assert context.cookies() == []
    page.goto(f"{hub.address}/account")
    expect(page).to_have_url(f"{hub.address}/signin")
    assert (complaints, others) == ([], [])
    assert {urlsplit(url).netloc for url in asked + asked_there} == {urlsplit(hub.address).netloc}


def test_a_page_of_somebody_else_can_send_no_form_and_show_no_frame(hub: HubProcess, chromium: Browser) -> None:
    """Whoever is signed in looks at it, on the same machine, which is the same site."""
    hub.add_user(ADA, "one", "owner")
    context = chromium.new_context()
    page = context.new_page()
    page.goto(hub.run("user", "link", ADA)["url"])
    page.get_by_role("button", name="Sign in").click()
    expect(page).to_have_url(f"{hub.address}/account")
    context.route("http://127.0.0.1:1/**", lambda route: route.fulfill(content_type="text/html", body=evil))
    evil = f'<iframe src="{hub.address}/account"></iframe><form method=post action="{hub.address}/signout"><button>x</button></form>'
    page.goto("http://127.0.0.1:1/")
    assert page.frames[1].evaluate("document.body.innerText").find(ADA) == -1
    with page.expect_response(f"{hub.address}/signout") as answer:
        page.get_by_role("button").click()
    assert answer.value.status == 403
    assert answer.value.request.all_headers()["origin"] == "http://127.0.0.1:1"
    assert "kitty=" in answer.value.request.all_headers()["cookie"], "the cookie alone would have let it"
    page.goto(f"{hub.address}/account")
    expect(page).to_have_url(f"{hub.address}/account")
