"""The board in a real browser: it follows what happens, a keyboard is enough, nothing leaves this machine, and words stay words."""

from __future__ import annotations

import contextlib
import http.server
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, Request, expect, sync_playwright

from kitty_host.ledger.machine import LANES
from kitty_host.mission import find_missions
from kitty_host.repo import Repo
from kitty_host.state import State

if TYPE_CHECKING:
    from conftest import Walk

CHROMIUM = shutil.which("chromium")
QUIET = ("background-networking", "component-update", "sync", "quic")
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--no-first-run", *(f"--disable-{name}" for name in QUIET)]
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium: apt-get install chromium")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One for all tests of this module."""
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield started
        started.close()


class Looker:
    """Somebody with a browser in front of the board."""

    def __init__(self, url: str, page: Page) -> None:
        self.url = url
        self.page = page
        self.complaints: list[str] = []
        self.requests: list[str] = []
        page.on("console", lambda message: self.complaints.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: self.complaints.append(f"error: {error}"))
        page.context.on("request", self._asked)

    def look(self, query: str = "") -> None:
        """Open the board and wait until it is live."""
        self.page.goto(self.url + query)
        expect(self.page.locator("#live")).to_have_text("live")

    def card(self, wp_id: str) -> Any:
        """The card of a work package."""
        return self.page.locator("summary", has=self.page.locator(".wp", has_text=re.compile(f"^{wp_id}$")))

    def lane(self, lane: str) -> Any:
        """A column."""
        return self.page.locator(f"section.lane.{lane}")

    def _asked(self, request: Request) -> None:
        self.requests.append(request.url)


@contextlib.contextmanager
def serving(root: Path) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """A board: its address and its process, which ends as if by Ctrl-C."""
    command = [sys.executable, "-m", "kitty_host", "board", "--no-open", "--json"]
    with subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield json.loads(process.stdout.readline())["url"], process
        finally:
            process.send_signal(signal.SIGINT)
    assert process.returncode == 0


@contextlib.contextmanager
def looking(browser: Browser, url: str) -> Iterator[Looker]:
    """A window that is new. There is nothing to complain of, and nobody else is asked, whatever is done in it."""
    context = browser.new_context(reduced_motion="reduce")
    made = Looker(url, context.new_page())
    try:
        yield made
    finally:
        context.close()
    assert made.complaints == []
    assert {urlsplit(one).hostname for one in made.requests if not one.startswith("data:")} == {"127.0.0.1"}


@pytest.fixture
def looker(walk: Walk, browser: Browser) -> Iterator[Looker]:
    """A board of the test's own repository."""
    with serving(walk.project.root) as (url, _), looking(browser, url) as made:
        yield made


@pytest.fixture(scope="module")
def address(planned: Walk) -> Iterator[str]:
    """The board of a mission to which nothing happens."""
    with serving(planned.project.root) as (url, _):
        yield url


@pytest.fixture
def reader(address: str, browser: Browser) -> Iterator[Looker]:
    """Somebody who only looks at that."""
    with looking(browser, address) as made:
        made.look()
        yield made


Elsewhere = Callable[..., None]


@pytest.fixture
def elsewhere(walk: Walk) -> Elsewhere:
    """A command in a process of its own, as another person would run it."""

    def run(*arguments: str) -> None:
        done = walk.project.process(*arguments)
        assert done.exit_code == 0, done

    return run


# It follows what happens


def test_it_shows_what_happens_without_being_loaded_again(walk: Walk, looker: Looker, elsewhere: Elsewhere) -> None:
    walk.plan()
    looker.look()
    expect(looker.lane("planned").locator(".card")).to_have_count(2)
    looker.page.evaluate("window.mark = 'same page'")
    elsewhere("implement", "WP01", "--agent", "ada")
    expect(looker.lane("in_progress").locator(".wp")).to_have_text("WP01")
    expect(looker.lane("in_progress").locator(".who")).to_have_text("ada")
    expect(looker.page.locator(".counted")).to_have_text("0 of 2 done")
    elsewhere("mission", "create", "another")
    expect(looker.page.locator("h2").filter(has_text="Another")).to_be_visible()
    assert looker.page.evaluate("window.mark") == "same page"


@pytest.mark.slow
def test_what_one_looked_at_stays_as_it_was(walk: Walk, looker: Looker, elsewhere: Elsewhere) -> None:
    walk.plan()
    looker.page.set_viewport_size({"width": 500, "height": 300})
    looker.look()
    looker.card("WP02").focus()
    looker.page.keyboard.press("Enter")
    expect(looker.page.locator("details[open] .history")).to_have_count(1)
    looker.page.evaluate("window.scrollTo(0, 120)")
    elsewhere("note", "WP02", "look at this", "--agent", "bob")
    expect(looker.page.locator("details[open] .history")).to_contain_text("look at this")
    expect(looker.card("WP02")).to_be_focused()
    assert looker.page.evaluate("window.scrollY") == 120


@pytest.mark.slow
def test_without_its_script_it_is_a_page_like_any_other(walk: Walk, looker: Looker, browser: Browser) -> None:
    walk.plan()
    looker.look()
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(looker.url)
    expect(page.locator(".card")).to_have_count(2)
    page.locator("summary").first.click()
    expect(page.locator("details[open] .history li").first).to_be_visible()
    expect(page.locator("#filter")).to_be_hidden()
    page.get_by_role("link", name="All").click()
    expect(page.locator(".card")).to_have_count(2)
    context.close()


@pytest.mark.slow
def test_it_says_so_when_the_server_has_gone(walk: Walk, browser: Browser) -> None:
    walk.plan()
    with contextlib.suppress(AssertionError), serving(walk.project.root) as (url, process):
        page = browser.new_page()
        page.goto(url)
        expect(page.locator("#live")).to_have_text("live")
        process.kill()
        process.wait()
    expect(page.locator("#live")).to_have_text("not connected")
    expect(page.locator(".card")).to_have_count(2)
    page.close()


# A keyboard is enough


@pytest.mark.slow
def test_everything_is_reached_by_tab_in_order(planned: Walk, reader: Looker) -> None:
    reached = []
    for _ in range(9):
        reader.page.keyboard.press("Tab")
        reached.append(reader.page.evaluate("document.activeElement.id || document.activeElement.textContent"))
    slug = planned.mission
    assert reached[:8] == [
        *("Skip to the missions", "Open", "All", "filter", "keys"),
        *(f"{slug}-link", f"{slug}-WP01-card", f"{slug}-WP02-card"),
    ]
    reader.page.keyboard.press("Shift+Tab")
    shadow = reader.page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert shadow == "solid", "it is seen where one is"


@pytest.mark.slow
def test_one_can_skip_what_is_the_same_on_every_page(reader: Looker) -> None:
    reader.page.keyboard.press("Tab")
    reader.page.keyboard.press("Enter")
    reader.page.keyboard.press("Tab")
    expect(reader.page.locator("h2 a")).to_be_focused()


@pytest.mark.slow
def test_arrows_go_from_card_to_card(walk: Walk, looker: Looker) -> None:
    walk.plan()
    walk.implement("WP01")
    walk.kitty("cancel", "WP02", "--reason", "no")
    looker.look()
    press = looker.page.keyboard.press
    press("ArrowRight")
    expect(looker.card("WP01")).to_be_focused()
    press("ArrowRight")
    expect(looker.card("WP02")).to_be_focused()
    press("ArrowRight")
    expect(looker.card("WP02")).to_be_focused()
    press("ArrowLeft")
    expect(looker.card("WP01")).to_be_focused()
    press("Enter")
    expect(looker.page.locator("details[open] .history")).to_contain_text("in progress → for review")
    press("Escape")
    expect(looker.page.locator("details[open]")).to_have_count(0)
    expect(looker.card("WP01")).to_be_focused()


@pytest.mark.slow
def test_arrows_go_up_and_down_a_lane_and_a_filter_leaves_what_is_wanted(walk: Walk, looker: Looker) -> None:
    walk.plan()
    looker.look()
    press = looker.page.keyboard.press
    press("ArrowDown")
    press("ArrowDown")
    expect(looker.card("WP02")).to_be_focused()
    press("ArrowUp")
    expect(looker.card("WP01")).to_be_focused()
    press("/")
    expect(looker.page.locator("#filter")).to_be_focused()
    looker.page.keyboard.type("wp02")
    expect(looker.card("WP01")).to_be_hidden()
    expect(looker.card("WP02")).to_be_visible()
    expect(looker.page.locator("#matches")).to_have_text("1 of 2")
    walk.kitty("note", "WP01", "something happens", "--agent", "ada")
    walk.kitty("effort", "WP02", "--tokens", "7", "--agent", "ada")
    expect(looker.card("WP02")).to_contain_text("7 tokens")
    expect(looker.card("WP01")).to_be_hidden()
    expect(looker.page.locator("#filter")).to_be_focused()
    press("Escape")
    expect(looker.card("WP01")).to_be_focused()
    press("?")
    expect(looker.page.get_by_role("dialog", name="Keys")).to_be_visible()
    press("Escape")
    expect(looker.page.get_by_role("dialog")).to_be_hidden()
    expect(looker.card("WP01")).to_be_focused()


@pytest.mark.slow
def test_a_screen_reader_is_told_what_is_what(reader: Looker) -> None:
    page = reader.page
    expect(page.get_by_role("main")).to_have_count(1)
    expect(page.get_by_role("navigation", name="Which missions")).to_be_visible()
    expect(page.get_by_role("region", name="Demo", exact=True)).to_be_visible()
    expect(page.get_by_role("progressbar", name="Demo")).to_have_attribute("value", "0")
    expect(page.get_by_role("region", name="planned 2")).to_be_visible()
    expect(page.get_by_role("searchbox", name="Filter")).to_be_visible()
    expect(page.get_by_role("region", name="planned 2").get_by_role("listitem")).to_have_count(2)


# How it looks

# Every text against what is behind it, by the formula of WCAG 2.
CONTRAST = """() => {
  const number = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const over = ([r, g, b, a = 1], [x, y, z]) => [r * a + x * (1 - a), g * a + y * (1 - a), b * a + z * (1 - a)];
  const light = (rgb) => {
    const [r, g, b] = rgb.map((one) => one / 255).map((one) => (one <= 0.04045 ? one / 12.92 : ((one + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (element) => {
    const chain = [];
    for (let one = element; one; one = one.parentElement) chain.push(number(getComputedStyle(one).backgroundColor));
    return chain.reverse().reduce((below, colour) => over(colour, below), [255, 255, 255]);
  };
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.textContent.trim() || !element.checkVisibility() || element.closest("script, progress")) continue;
    const back = behind(element), front = over(number(getComputedStyle(element).color), back);
    const [low, high] = [light(back), light(front)].sort((one, other) => one - other);
    found.push([Math.round(100 * (high + 0.05) / (low + 0.05)) / 100, walker.currentNode.textContent.trim()]);
  }
  return found;
}"""


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_can_be_read_in_the_light_and_in_the_dark(walk: Walk, looker: Looker, scheme: Any) -> None:
    walk.plan()
    (walk.directory / "tasks" / "WP03-x.md").write_text("---\nwork_package_id: WP03\ndependencies: [WP01, WP02]\n---\n")
    (walk.directory / "tasks" / "WP04-x.md").write_text("no front matter\n")
    walk.implement("WP01")
    walk.kitty("review", "WP01", "--claim", "--agent", "grace")
    walk.kitty("cancel", "WP02", "--reason", "no", "--agent", "ada")
    walk.kitty("effort", "WP01", "--cost", "1", "--agent", "ada")
    looker.page.emulate_media(color_scheme=scheme)
    looker.look()
    for summary in looker.page.locator("summary").all():
        summary.click()
    background = looker.page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, re.findall(r"\d+", background))) > 3 * 128) == (scheme == "light")
    found = looker.page.evaluate(CONTRAST)
    assert len(found) > 40
    assert [one for one in found if one[0] < 4.5] == []


@pytest.mark.slow
def test_it_fits_a_telephone(reader: Looker) -> None:
    reader.page.set_viewport_size({"width": 360, "height": 640})
    assert reader.page.evaluate("document.documentElement.scrollWidth") <= 360
    expect(reader.card("WP02")).to_be_visible()


# Words stay words

WORDS = (
    "<script>window.hit = 1</script>",
    "<img src=x onerror='window.hit = 1'>",
    '"><svg onload="window.hit = 1">',
    "</script></summary></main>",
    "{{7*7}}{% raw %}",
    "javascript:window.hit=1",
    "\u202edetrevni",
)


def test_hostile_words_are_text_wherever_they_stand(walk: Walk, looker: Looker) -> None:
    walk.create("demo", "--title", "".join(WORDS))
    walk.write_plan()
    for phase in ("specify", "plan", "tasks", "finalize"):
        walk.kitty(phase)
    text = " ".join(WORDS)
    front = json.dumps(text)
    for wp_id, mode in (("WP01", "code_change"), ("WP02", "planning_artifact")):
        path = walk.directory / "tasks" / f"{wp_id}-x.md"
        path.write_text(
            f"---\nwork_package_id: {wp_id}\ntitle: {front}\nexecution_mode: {mode}\nsubtasks: [{front}]\n---\n"
        )
    (walk.directory / "tasks" / "WP03.md").write_text(f"---\nwork_package_id: {front}\n---\n")
    for number, one in enumerate(WORDS):
        walk.kitty("note", "WP01", one, "--agent", f"{number}{one}")
    walk.kitty("cancel", "WP02", "--reason", text, "--agent", text)
    walk.kitty("implement", "WP01", "--agent", text)
    lanes = walk.directory / "lanes.json"
    lanes.write_text(lanes.read_text().replace("lane-a", "lane-a<img src=x onerror=window.hit=1>"))
    looker.look()
    for summary in looker.page.locator("summary").all():
        summary.click()
    expect(looker.page.locator("details[open] .history li").first).to_be_visible()
    walk.kitty("note", "WP01", text, "--agent", "ada")
    expect(looker.page.locator(".history").first).to_contain_text("raw %25%7D javascript")
    assert looker.page.evaluate("window.hit") is None
    assert looker.page.locator("main :is(script, img, svg, iframe, style)").count() == 0
    shown = looker.page.locator("body").inner_text()
    assert "\u202e" not in shown
    assert "49" not in looker.page.locator("h2").first.inner_text()
    assert shown.count("window.hit") > 10, "they are there to be read"


@pytest.fixture
def outside() -> Iterator[tuple[str, list[str]]]:
    """Another server: its address, and what it was asked for. It answers, so that nobody waits for it."""
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", asked
        server.shutdown()


@pytest.mark.slow
def test_the_policy_bars_what_would_get_past_all_that(reader: Looker, outside: tuple[str, list[str]]) -> None:
    """Planted by hand, as if an escape were missing: nothing is fetched, nothing runs, nothing is sent."""
    place, asked = outside
    reader.page.evaluate(
        """(place) => {
          const planted = document.createElement("div");
          planted.innerHTML = `<img src="${place}/image"><b style="color: red" onclick="window.hit = 1">b</b>
            <iframe src="${place}/frame"></iframe><link rel=stylesheet href="${place}/style">
            <form action="${place}/form"><button>go</button></form>`;
          document.body.append(planted);
          const script = document.createElement("script");
          script.textContent = "window.hit = 1";
          document.body.append(script);
          planted.querySelector("b").click();
          planted.querySelector("button").click();
        }""",
        place,
    )
    fetched = reader.page.evaluate("(place) => fetch(place).then(() => 'sent', () => 'barred')", f"{place}/fetch")
    reader.page.wait_for_timeout(500)
    assert (fetched, asked, reader.page.evaluate("window.hit"), reader.page.url) == ("barred", [], None, reader.url)
    barred = [one for one in reader.complaints if "Content Security Policy" in one]
    for directive in ("img-src", "style-src", "script-src", "form-action", "connect-src", "default-src"):
        assert any(directive in one for one in barred), directive
    # What is barred is complained of, which is what was to be seen here.
    reader.complaints.clear()


# The same numbers everywhere


def on_the_page(looker: Looker) -> dict[str, Any]:
    """What a person reads there."""
    page = looker.page
    return {
        "percent": int(page.locator("progress").get_attribute("value") or ""),
        "told": " ".join(page.locator(".progress p").inner_text().split()),
        "lanes": {lane: int(looker.lane(lane).locator(".number").text_content() or "") for lane in LANES},
    }


def everywhere(walk: Walk, looker: Looker) -> dict[str, Any]:
    """One set of numbers, after it was seen that terminal, JSON and page agree with the state."""
    (mission,) = find_missions(Repo.find(walk.project.root))
    progress = State.load(mission).progress()
    (row,) = walk.kitty("status").json["missions"]
    waiting = progress.approved - progress.done
    told = f"{progress.done} of {progress.total} done{f', {waiting} approved' if waiting else ''}"
    assert row["progress"] == {key: value for key, value in progress._asdict().items() if key != "lanes"}
    assert row["lanes"] == progress.lanes
    terminal = walk.project.kitty("status").stdout.splitlines()
    assert f"{progress.percent} %  {told}" in terminal[1]
    in_terminal = {lane: int(number) for number, lane in re.findall(r"(\d+) (\w+)", terminal[2])}
    assert in_terminal == {lane: number for lane, number in progress.lanes.items() if number}
    looker.look("?all")
    assert on_the_page(looker) == {
        "percent": progress.percent,
        "told": f"{progress.percent} % {told}",
        "lanes": progress.lanes,
    }
    return progress._asdict()


def test_FR_018_terminal_json_and_page_agree_to_the_landing(walk: Walk, looker: Looker) -> None:
    """At every step of a real mission; what is cancelled leaves the total, and after the landing it is 100 %."""
    walk.plan()
    (walk.directory / "tasks" / "WP03-x.md").write_text(
        "---\nwork_package_id: WP03\ntitle: Third\nowned_files: [third.txt]\n---\n"
    )
    walk.kitty("finalize")
    assert everywhere(walk, looker)["total"] == 3
    walk.implement("WP01")
    walk.kitty("review", "WP01", "--claim", "--agent", "grace")
    assert everywhere(walk, looker)["percent"] == 23
    walk.kitty("review", "WP01", "--approve", "--agent", "grace")
    walk.kitty("cancel", "WP03", "--reason", "no")
    found = everywhere(walk, looker)
    assert (found["total"], found["approved"], found["lanes"]["canceled"]) == (2, 1, 1)
    walk.implement("WP02")
    walk.review("WP02")
    assert everywhere(walk, looker)["percent"] == 90
    walk.kitty("accept")
    walk.kitty("merge")
    found = everywhere(walk, looker)
    assert (found["done"], found["total"], found["percent"]) == (2, 2, 100)


@pytest.mark.slow
def test_a_skip_for_want_of_the_browser_is_red_in_ci(tmp_path: Path) -> None:
    """A test of this very module, where there is no Chromium."""
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-n",
        "0",
        "-m",
        "",
        "-p",
        "no:cacheprovider",
        __file__,
        "-k",
        "telephone",
    ]
    environment = {**os.environ, "PATH": str(tmp_path), "HOME": str(tmp_path), "CI": "true"}
    done = subprocess.run(command, cwd=Path(__file__).parents[2], env=environment, capture_output=True, text=True)
    assert (done.returncode, "1 skipped" in done.stdout) == (1, True), done.stdout
    assert "test_board_browser.py::test_it_fits_a_telephone" in done.stdout
