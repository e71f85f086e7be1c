"""The board of a team: what one clone does another hears and everybody sees, as the ledger has it; and nothing leaves the hub."""

from __future__ import annotations

import http.client
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
from hub import PROJECT, HubProcess, record
from playwright.sync_api import Browser, Page, expect, sync_playwright

from kitty_host.mission import find_missions
from kitty_host.repo import Repo
from kitty_host.state import State
from kitty_sync.hub import accounts
from kitty_sync.hub.missions import Missions, hands
from kitty_sync.hub.store import Store

if TYPE_CHECKING:
    from conftest import Walk

ADA, BOB = "ada@example.org", "bob@example.org"
CHROMIUM = shutil.which("chromium")
QUIET = ("background-networking", "component-update", "sync", "quic")
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--no-first-run", *(f"--disable-{name}" for name in QUIET)]


@pytest.fixture(autouse=True)
def _switched_on(isolated: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPEC_KITTY_ENABLE_SAAS_SYNC", "1")
    monkeypatch.setenv("KITTY_KEYRING", "0")
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


def log_in(hub: HubProcess, email: str, root: Path, **environment: str) -> None:
    """As a person does: with a code that is confirmed elsewhere."""
    with subprocess.Popen(
        [sys.executable, "-m", "kitty_host", "auth", "login", hub.address],
        cwd=root,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
    ) as process:
        assert process.stderr is not None
        code = ""
        while not code:
            line = process.stderr.readline()
            assert line, "the login ended without a code"
            code = line.partition("confirm the code ")[2].partition(".")[0]
        hub.approve(email, code)
        assert process.wait(60) == 0


@pytest.fixture
def team(walk: Walk, hub: HubProcess) -> Walk:
    """A repository whose user is logged in to a team of two."""
    for email in (ADA, BOB):
        hub.add_user(email)
    log_in(hub, ADA, walk.project.root)
    return walk


def on_the_hub(hub: HubProcess, **wanted: Any) -> list[State]:
    """The missions of the team as the hub has them."""
    store = Store(hub.database)
    try:
        with store.reading() as database:
            [who] = accounts.memberships(database, ADA)
            found = Missions(who.team_id)
            found.catch_up(database)
    finally:
        store.close()
    return found.states(closed=True, **wanted)


def told(state: State) -> Any:
    """What a board shows of a mission, but for what only files say."""
    packages = {
        wp_id: (
            state.shown_lane(wp_id),
            known.agent if (known := state.package_state(wp_id)) and known.slots.get("agent") else None,
            known.actor if known else None,
        )
        for wp_id in state.wp_ids()
    }
    titles = [(one.wp_id, one.title, one.dependencies) for one in state.packages]
    return state.mission.slug, state.mission.title, state.progress(), state.is_open, packages, titles


# The same as the ledger has it


@pytest.mark.slow
def test_a_mission_is_at_every_moment_what_its_ledger_says(team: Walk, hub: HubProcess) -> None:
    """Step by step through whatever can become of a work package, with real commands."""

    def same() -> Any:
        team.kitty("sync", "now")
        [here] = find_missions(Repo.find(team.project.root))
        [there] = on_the_hub(hub)
        assert told(there) == told(State.load(here))
        return there

    team.plan()
    same()
    where = team.kitty("implement", "WP01", "--agent", "ada").json["workspace_path"]
    assert [(one.who, one.does) for one in hands([same()])] == [("ada", "in progress")]
    team.kitty("move", "WP01", "blocked", "--reason", "wait", "--agent", "ada")
    same()
    team.kitty("implement", "WP01", "--agent", "eve")
    assert [one.who for one in hands([same()])] == ["eve"]
    team.project.commit("wp01.txt", where=Path(where))
    team.kitty("submit", "WP01", "--agent", "eve")
    team.kitty("review", "WP01", "--claim", "--agent", "grace")
    assert [(one.who, one.does) for one in hands([same()])] == [("grace", "reviews")]
    team.kitty("review", "WP01", "--reject", "--reason", "no", "--agent", "grace")
    same()
    team.kitty("implement", "WP01", "--agent", "eve")
    team.project.commit("wp01.txt", "more\n", where=Path(where))
    team.kitty("submit", "WP01", "--agent", "eve")
    team.review("WP01")
    team.kitty("cancel", "WP02", "--reason", "no", "--agent", "ada")
    same()
    team.kitty("reopen", "WP02", "--reason", "yes", "--agent", "ada")
    same()
    team.kitty("move", "WP02", "planned", "--reason", "later", "--agent", "ada")
    team.implement("WP02")
    team.review("WP02")
    assert same().is_open
    team.kitty("accept")
    team.kitty("merge")
    assert same().progress().percent == 100
    assert list(hands(on_the_hub(hub))) == []


# Two clones and a hub


class Stream:
    """The live stream of the board, as a browser listens to it."""

    def __init__(self, hub: HubProcess, cookie: str) -> None:
        self._connection = http.client.HTTPConnection(urlsplit(hub.address).netloc, timeout=60)
        self._connection.request("GET", "/board/events", headers={"Cookie": cookie})
        self._answer = self._connection.getresponse()
        assert self._answer.status == 200

    def line(self) -> str:
        """The next one; empty at the end."""
        return self._answer.readline().decode()

    def changed(self) -> None:
        """Wait for the next word of a change."""
        while (line := self.line()) != "event: changed\n":
            assert line, "the stream ended"


def sign_in(hub: HubProcess, email: str) -> str:
    """The cookie of a browser that took a one-time link."""
    link = hub.run("user", "link", email)["url"]
    connection = http.client.HTTPConnection(urlsplit(hub.address).netloc, timeout=60)
    headers = {"Origin": hub.address, "Content-Type": "application/x-www-form-urlencoded"}
    connection.request("POST", "/signin/link", urlsplit(link).query, headers)
    answer = connection.getresponse()
    assert answer.status == 303, answer.read()
    return str(answer.headers["Set-Cookie"]).partition(";")[0]


def page_of(hub: HubProcess, cookie: str, path: str = "/board/") -> str:
    """A page, as somebody who is signed in gets it."""
    connection = http.client.HTTPConnection(urlsplit(hub.address).netloc, timeout=60)
    connection.request("GET", path, headers={"Cookie": cookie})
    answer = connection.getresponse()
    assert answer.status == 200, answer.status
    return answer.read().decode()


@pytest.fixture
def watching(team: Walk, hub: HubProcess, tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Bob in a clone and a home of his own, who listens."""
    root, home = tmp_path / "bobs", tmp_path / "bobs-home"
    home.mkdir()
    team.project.git("clone", "--quiet", str(team.project.root), str(root))
    environment = {"HOME": str(home)}
    log_in(hub, BOB, root, **environment)
    with subprocess.Popen(
        [sys.executable, "-m", "kitty_host", "sync", "watch", "--since", "start", "--json"],
        cwd=root,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, **environment},
    ) as process:
        yield process
        process.send_signal(signal.SIGINT)


@pytest.mark.slow
def test_what_one_clone_does_another_hears_and_everybody_sees(
    team: Walk, hub: HubProcess, watching: subprocess.Popen[str], capsys: pytest.CaptureFixture[str]
) -> None:
    cookie = sign_in(hub, BOB)
    stream = Stream(hub, cookie)

    def heard() -> Any:
        assert watching.stdout is not None
        return json.loads(watching.stdout.readline())["record"]["event"]

    team.plan()
    team.kitty("sync", "now")
    stored = list(hub.events())
    events = [heard() for _ in stored]
    assert [one["event_id"] for one in events] == stored, "each once, in the order of the hub"
    assert [one["payload"]["wp_id"] for one in events if one["event_type"] == "WPStatusChanged"] == ["WP01", "WP02"]
    stream.changed()
    assert team.mission in page_of(hub, cookie)
    team.kitty("implement", "WP01", "--agent", "ada")
    begin = time.perf_counter()
    team.kitty("sync", "now")
    moves = [heard()["payload"] for _ in range(2)]
    after = time.perf_counter() - begin
    assert [(one["wp_id"], one["to_lane"], one["actor"]) for one in moves] == [
        ("WP01", "claimed", "ada"),
        ("WP01", "in_progress", "ada"),
    ]
    stream.changed()
    page = page_of(hub, cookie)
    seen = time.perf_counter() - begin
    assert re.search(r'<span class="who">ada</span>', page)
    assert "WP01 in progress" in page
    with capsys.disabled():
        sys.stdout.write(f"\nkitty sync now to heard: {after:.2f} s; to the page: {seen:.2f} s\n")
    assert "ada" in page_of(hub, cookie, "/board/who")
    history = page_of(hub, cookie, f"/board/history?mission={team.mission}")
    assert [re.sub(r"<[^>]*>", "", one) for one in re.findall(r"<td>WP01 (.*?)</td>", history)] == [
        *("claimed → in progress", "planned → claimed", "genesis → planned", "created WP01"),
    ]


# In a browser


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One for all tests of this module."""
    assert CHROMIUM, "no chromium: apt-get install chromium"
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield started
        started.close()


@pytest.fixture
def looker(browser: Browser, hub: HubProcess) -> Iterator[Page]:
    """A window. Whatever is done in it, nobody but the hub is asked, and there is nothing to complain of."""
    context = browser.new_context(reduced_motion="reduce")
    asked: list[str] = []
    complaints: list[str] = []
    context.on("request", lambda request: asked.append(request.url))
    page = context.new_page()
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    yield page
    context.close()
    assert asked, "the listener listens"
    assert [one for one in asked if not one.startswith((f"{hub.address}/", "data:"))] == []
    # A browser says by itself that it was told who is signed out; whether that is so is each test's affair.
    assert [one for one in complaints if "401 (Unauthorized)" not in one] == []


Add = Callable[..., None]


@pytest.fixture
def add(hub: HubProcess) -> Add:
    """Events of a team with one writer, stored as any client stores them."""
    hub.add_user(ADA)
    token = hub.login(ADA)["access_token"]
    number = iter(range(1, 1000))

    def stored(**payload: Any) -> None:
        one = record(next(number))
        names = payload.pop("names", {})
        one["event"]["event_type"] = payload.pop("event_type", "WPStatusChanged")
        one["event"]["timestamp"] = f"2026-01-01T00:00:00.{one['event']['lamport_clock']:06}+00:00"
        one["event"]["payload"] = (
            payload if one["event"]["event_type"] != "WPStatusChanged" else {**one["event"]["payload"], **payload}
        )
        one.update(names)
        connection = http.client.HTTPConnection(urlsplit(hub.address).netloc, timeout=60)
        headers = {"Authorization": f"Bearer {token}"}
        connection.request("POST", "/v1/events", json.dumps({"events": [one]}), headers)
        answer = json.load(connection.getresponse())
        assert [result["status"] for result in answer["results"]] == ["stored"], answer

    return stored


def enter(page: Page, hub: HubProcess) -> None:
    """Sign in by a one-time link, and go to the board."""
    page.goto(hub.run("user", "link", ADA)["url"])
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url("**/account")
    page.goto(hub.address)
    page.wait_for_url("**/board/")
    expect(page.locator("#live")).to_have_text("live")


@pytest.mark.slow
def test_the_board_moves_when_an_event_is_stored(looker: Page, hub: HubProcess, add: Add) -> None:
    add()
    enter(looker, hub)
    expect(looker.locator(".lane.claimed .who")).to_have_text("ada")
    looker.evaluate("window.mark = 'same page'")
    add(from_lane="claimed", to_lane="in_progress", actor="ada")
    expect(looker.locator(".lane.in_progress .wp")).to_have_text("WP01")
    expect(looker.locator(".people dd")).to_have_text("WP01 in progress")
    assert looker.evaluate("window.mark") == "same page"
    for name, words in (("Who is on what", "in progress"), ("History", "WP01 claimed → in progress")):
        looker.get_by_role("link", name=name).click()
        expect(looker.get_by_role("cell", name=words)).to_be_visible()
        looker.get_by_role("link", name="Board").click()
        expect(looker.locator("#live")).to_have_text("live")


@pytest.mark.slow
def test_a_browser_that_is_signed_out_is_shown_nothing(looker: Page, hub: HubProcess, add: Add) -> None:
    add()
    looker.goto(f"{hub.address}/board/?all")
    looker.wait_for_url("**/signin?next=*")
    enter(looker, hub)
    other = looker.context.new_page()
    other.goto(f"{hub.address}/account")
    other.get_by_role("button", name="Sign out").click()
    other.wait_for_url("**/signin")
    add(from_lane="claimed", to_lane="in_progress", reason="secret")
    expect(looker.locator("#live")).to_have_text("not connected")
    assert "secret" not in looker.content()
    looker.goto(f"{hub.address}/board/who")
    looker.wait_for_url("**/signin?next=*")


WORDS = (
    "<script>window.hit = 1</script>",
    "<img src=http://192.0.2.1/x onerror='window.hit = 1'>",
    '"><svg onload="window.hit = 1">',
    "</script></summary></main></style>",
    "{{7*7}}{% raw %}",
    "javascript:window.hit=1",
    "\u202edetrevni",
)


@pytest.mark.slow
def test_hostile_words_are_text_wherever_they_stand(looker: Page, hub: HubProcess, add: Add) -> None:
    text = " ".join(WORDS)
    mission = {"mission_slug": text[:200], "mission_id": text[:100]}
    created = {"mission_slug": text, "mission_number": None, "mission_type": text, "target_branch": text, "wp_count": 1}
    titles = {"friendly_name": text, "purpose_tldr": text, "purpose_context": text}
    add(event_type="MissionCreated", names=mission, **created, **titles)
    for number, word in enumerate((*WORDS, text)):
        wp = {"wp_id": f"WP{number}{word}", "mission_slug": text}
        add(event_type="WPCreated", names=mission, **wp, wp_title=word, depends_on=[word], actor=word)
        add(names=mission, **wp, from_lane="genesis", to_lane="planned", actor=word, reason=word)
        add(names=mission, **wp, from_lane="planned", to_lane="claimed", actor=word, reason=word)
    add(names=mission, wp_id=f"WP0{WORDS[0]}", from_lane="claimed", to_lane="blocked", actor=text, reason=text)
    enter(looker, hub)
    assert looker.locator(".card").count() == len(WORDS) + 1
    for summary in looker.locator("summary").all():
        summary.click()
    looker.get_by_role("link", name="%3C").first.click()
    expect(looker.locator("#live")).to_have_text("live")
    for place in ("", "?all", "who", "history"):
        looker.goto(f"{hub.address}/board/{place}")
        expect(looker.locator("main")).to_contain_text("window.hit")
        assert looker.evaluate("window.hit") is None
        assert looker.locator("main :is(script, img, svg, iframe, style)").count() == 0
        shown = looker.locator("body").inner_text()
        assert "\u202e" not in shown
        assert not re.search(r"\b49\b", shown)
    links = looker.locator("a").evaluate_all("all => all.map((one) => one.href)")
    assert links
    assert [one for one in links if not one.startswith(f"{hub.address}/")] == []
    assert PROJECT not in looker.title()
