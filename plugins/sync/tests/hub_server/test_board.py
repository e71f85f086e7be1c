"""The calls of a team's board: who may look, what is drawn by whom, how a change is told, and that nothing else runs."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from ..hub import PROJECT, HubProcess, record

OTHER = "11111111-1f2e-4d0c-9a55-3a8f3f1c2b7d"
# Draws what it is given, so that no real page is needed to see what that is.
PAINTER = """
from kitty_host.api import hookimpl

@hookimpl
def kitty_board_page(states, links):
    import json
    from kitty_host.records import Page
    told = {one.mission.slug: {wp_id: one.lane(wp_id) for wp_id in one.wp_ids()} for one in states}
    if "explode" in told:
        1 / 0
    page = Page(json.dumps({"missions": told, "links": links}), "default-src 'none'; script-src 'sha256-x'")
    return page
"""
ROOMS = ("", "events", "who", "history")


class Boards:
    """A hub with a board, and people who look at it."""

    def __init__(self, hub: HubProcess, number: int) -> None:
        self.hub = hub
        self.number = number
        self._tokens: dict[str, str] = {}
        self._cookies: dict[str, httpx.Cookies] = {}

    def join(self, email: str, team: str = "team", role: str = "writer") -> None:
        """Somebody who may add events, if the role lets them."""
        self.hub.add_user(email, self.called(team), role)
        self._cookies.pop(email, None)
        self._tokens[email] = self.hub.login(email, "--team", self.called(team))["access_token"]

    def called(self, team: str) -> str:
        """A team of this test's own."""
        return f"{team}-{self.number}"

    def add(self, number: int, email: str = "ada@example.org", slug: str = "demo", **more: Any) -> None:
        """Store an event."""
        made = record(number, **more)
        made.update(mission_slug=slug, mission_id=f"id-{slug}")
        headers = {"Authorization": f"Bearer {self._tokens[email]}"}
        with self.browser() as client:
            answer = client.post("/v1/events", json={"events": [made]}, headers=headers)
        assert [one["status"] for one in answer.json()["results"]] == ["stored"]

    @contextlib.contextmanager
    def browser(self, email: str = "", team: str = "team") -> Iterator[httpx.Client]:
        """A browser, of somebody who has signed in by a link; or of nobody."""
        with httpx.Client(base_url=self.hub.address, trust_env=False, timeout=60) as client:
            if email:
                client.cookies.update(self._cookies.get(email) or self._sign_in(client, email, team))
            yield client

    def _sign_in(self, client: httpx.Client, email: str, team: str) -> httpx.Cookies:
        link = self.hub.run("user", "link", email, "--team", self.called(team))["url"]
        token = {"token": urlsplit(link).query.partition("=")[2]}
        taken = client.post("/signin/link", data=token, headers={"Origin": self.hub.address})
        assert taken.status_code == 303, taken.text
        return self._cookies.setdefault(email, taken.cookies)


@pytest.fixture(scope="module")
def drawing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubProcess]:
    """A hub for all tests of this module."""
    from kitty_host.testing import isolate

    place = tmp_path_factory.mktemp("boards")
    with pytest.MonkeyPatch.context() as patch:
        isolate(place, patch)
        info = place / "site" / "kitty_painter-1.0.dist-info"
        info.mkdir(parents=True)
        (place / "site" / "painter_plugin.py").write_text(PAINTER)
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: kitty-painter\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text("[kitty]\npainter = painter_plugin\n")
        patch.setenv("PYTHONPATH", str(place / "site"))
        patch.setenv("KITTY_PLUGINS", "sync,painter")
        found = HubProcess(place / "hub")
        yield found
        found.stop()


@pytest.fixture
def boards(drawing: HubProcess) -> Boards:
    """Of this test alone: ada may write and rita read in `team`, mallory in another."""
    _made.append("")
    found = Boards(drawing, len(_made))
    found.join("ada@example.org")
    found.join("rita@example.org", role="reader")
    found.join("mallory@example.org", "others")
    found.add(1)
    found.add(2, slug="gone", payload={**record(2)["event"]["payload"], "to_lane": "canceled"})
    found.add(3, slug="web", project=OTHER, project_slug="web")
    found.add(4, "mallory@example.org", "theirs")
    return found


_made: list[str] = []


@pytest.fixture
def ada(boards: Boards) -> Iterator[httpx.Client]:
    with boards.browser("ada@example.org") as client:
        yield client


def missions(client: httpx.Client, place: str = "/board/") -> list[str]:
    answer = client.get(place)
    assert answer.status_code == 200, answer.text
    return sorted(answer.json()["missions"])


# Who may look


@pytest.mark.parametrize("room", ROOMS)
@pytest.mark.parametrize("start", ["/board/", f"/board/{PROJECT}/"])
def test_nobody_looks_without_having_signed_in(boards: Boards, start: str, room: str) -> None:
    tokens = [f"Bearer {one}" for one in boards._tokens.values()]
    for headers in ({}, {"Cookie": "kitty=khb_wrong"}, {"Authorization": tokens[0]}):
        with boards.browser() as client:
            answer = client.get(start + room, headers=headers)
            assert (answer.status_code, answer.text) == (401, "you are signed out: sign in again\n")
            led = client.get(start + room, headers={**headers, "Sec-Fetch-Mode": "navigate"})
            assert (led.status_code, led.headers["location"].partition("?")[0]) == (303, "/signin")


def test_every_role_may_look_and_another_team_sees_its_own(boards: Boards) -> None:
    for email in ("ada@example.org", "rita@example.org"):
        with boards.browser(email) as client:
            assert "web/web" in missions(client)
    with boards.browser("mallory@example.org", "others") as client:
        assert missions(client) == ["theirs"]
        assert client.get(f"/board/{OTHER}/").status_code == 404
        assert client.get("/board/?mission=demo").status_code == 404
        assert client.get("/board/history?mission=demo").status_code == 404
        assert "demo" not in client.get("/board/history").text + client.get("/board/who").text


def test_the_front_page_leads_to_the_board_or_to_where_one_signs_in(boards: Boards, ada: httpx.Client) -> None:
    assert ada.get("/").headers["location"] == "board/"
    with boards.browser() as client:
        assert client.get("/").headers["location"] == "/signin"


# What is there


def test_a_page_has_the_open_missions_or_all_or_a_project_s_or_one(ada: httpx.Client) -> None:
    assert missions(ada) == ["6f1d6c0e/demo", "web/web"]
    assert missions(ada, "/board/?all") == ["6f1d6c0e/demo", "6f1d6c0e/gone", "web/web"]
    assert missions(ada, f"/board/{OTHER}/") == ["web"]
    assert (
        missions(ada, "/board/?mission=6f1d6c0e/demo") == missions(ada, "/board/?mission=id-demo") == ["6f1d6c0e/demo"]
    )
    assert missions(ada, f"/board/{PROJECT}/?mission=gone") == ["gone"]
    assert ada.get("/board/?mission=<b>").text == "there is no mission %3Cb%3E here; see ?all\n"


def test_what_is_asked_for_in_a_query_or_without_a_slash_is_led_to_its_place(ada: httpx.Client) -> None:
    led = ada.get(f"/board?project={OTHER}&mission=web", follow_redirects=True)
    assert led.url.path == f"/board/{OTHER}/"
    assert list(led.json()["missions"]) == ["web"]
    for place in ("//192.0.2.1", "http://192.0.2.1", "../../x", "\\\\192.0.2.1"):
        answer = ada.get("/board/", params={"project": place})
        assert answer.url.join(answer.headers["location"]).netloc == answer.url.netloc


def test_links_lead_to_what_else_there_is(ada: httpx.Client) -> None:
    team = ada.get("/board/").json()["links"]
    assert team == [
        *(["Who is on what", "who"], ["History", "history"], ["6f1d6c0e", f"{PROJECT}/"], ["web", f"{OTHER}/"]),
    ]
    one = ada.get(f"/board/{OTHER}/?mission=web").json()["links"]
    assert one == [["Who is on what", "who"], ["History", "history?mission=web"], ["All projects", "../"]]


def test_who_is_on_what_and_what_happened_are_pages_of_text(ada: httpx.Client) -> None:
    who = ada.get("/board/who").text
    assert [re.sub(r"<[^>]*>", " ", row).split()[:3] for row in re.findall(r"<tr><td>.*", who)] == [
        ["ada", "claimed", "WP01"],
        ["ada", "claimed", "WP01"],
    ]
    assert re.findall(r'href="(\./\?mission=[^"]*)"', who) == ["./?mission=6f1d6c0e/demo", "./?mission=web/web"]
    told = ada.get("/board/history").text
    assert re.findall(r"<td>(WP01 [^<]*)</td>", told) == [
        *("WP01 planned → claimed", "WP01 planned → canceled", "WP01 planned → claimed"),
    ]
    assert "gone" not in ada.get("/board/history?mission=demo").text


def test_a_page_that_cannot_be_drawn_ends_nothing(boards: Boards) -> None:
    boards.join("eve@example.org", "breakers")
    boards.add(5, "eve@example.org", "explode")
    with boards.browser("eve@example.org", "breakers") as client:
        for _ in range(2):
            answer = client.get("/board/")
            assert (answer.status_code, answer.text) == (
                500,
                "the board cannot be drawn; the log of the hub says why\n",
            )
        assert any("ZeroDivisionError" in line for line in boards.hub.told())
        assert client.get("/board/who").status_code == 200


# Headers


@pytest.mark.parametrize("place", ["/", "/board/", "/board/who", "/board/history", "/board/?mission=none", "/board"])
def test_every_answer_forbids_what_it_does_not_need(boards: Boards, ada: httpx.Client, place: str) -> None:
    with boards.browser() as nobody:
        for client in (ada, nobody):
            headers = client.get(place).headers
            policy = dict(part.strip().split(" ", 1) for part in headers["content-security-policy"].split(";"))
            assert policy["default-src"] == "'none'"
            assert set(policy) <= {
                *("default-src", "base-uri", "form-action", "frame-ancestors", "img-src", "style-src", "script-src"),
            }
            assert {name: headers[name] for name in SAFE} == SAFE
            assert "unsafe" not in headers["content-security-policy"]


SAFE = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cache-control": "no-store",
}


def test_the_policy_of_the_page_is_its_own(ada: httpx.Client) -> None:
    assert ada.get("/board/").headers["content-security-policy"] == "default-src 'none'; script-src 'sha256-x'"


def test_the_board_is_looked_at_and_nothing_else(ada: httpx.Client) -> None:
    for room in ROOMS:
        assert {ada.request(method, f"/board/{room}").status_code for method in ("POST", "PUT", "DELETE")} == {405}


# Changes


def lines(answer: httpx.Response) -> Iterator[str]:
    return (line for line in answer.iter_lines() if line)


def test_a_stream_tells_of_each_change_and_not_of_what_was(boards: Boards, ada: httpx.Client) -> None:
    with ada.stream("GET", "/board/events") as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert {name: answer.headers[name] for name in SAFE} == SAFE
        said = lines(answer)
        assert next(said) == "retry: 1000"
        before = missions(ada)
        for number in (10, 11):
            boards.add(number, slug=f"new-{number}")
            assert next(said) == "event: changed"
            assert next(said).startswith("data: ")
            assert len(missions(ada)) == len(before) + number - 9


def test_a_stream_of_another_team_is_not_told(boards: Boards, ada: httpx.Client) -> None:
    with boards.browser("mallory@example.org", "others") as other, other.stream("GET", "/board/events") as theirs:
        said = lines(theirs)
        next(said)
        with ada.stream("GET", "/board/events") as mine:
            heard = lines(mine)
            next(heard)
            boards.add(20, slug="ours")
            assert next(heard) == "event: changed"
            position = next(heard)
        boards.add(21, "mallory@example.org", "theirs-too")
        assert next(said) == "event: changed"
        assert next(said) == "data: 2" != position


@pytest.mark.parametrize("how", ["signs out", "is removed"])
def test_the_stream_of_who_may_look_no_longer_ends_and_tells_nothing(boards: Boards, how: str) -> None:
    boards.join("leaver@example.org")
    with boards.browser("leaver@example.org") as client, client.stream("GET", "/board/events") as answer:
        said = lines(answer)
        assert next(said) == "retry: 1000"
        if how == "signs out":
            secret = re.search(r'name="form_secret" value="([^"]*)"', client.get("/account").text)
            assert secret
            gone = client.post("/signout", data={"form_secret": secret[1]}, headers={"Origin": boards.hub.address})
            assert gone.status_code == 303
        else:
            boards.hub.run("user", "remove", "leaver@example.org", "--team", boards.called("team"))
        boards.add(30 if how == "signs out" else 31, slug=f"late-{how[:2]}")
        assert next(said, "") == ""


def test_streams_end_with_the_hub(boards: Boards) -> None:
    with boards.browser("ada@example.org") as client, client.stream("GET", "/board/events") as answer:
        said = lines(answer)
        assert next(said) == "retry: 1000"
        assert boards.hub.stop() == 0
        assert next(said, "") == ""
    boards.hub.restart()


# Where nothing draws one


def test_a_hub_where_nothing_draws_a_board_says_so(isolated: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KITTY_PLUGINS", "sync")
    hub = HubProcess(isolated / "hub")
    try:
        with Boards(hub, 0).browser() as client:
            front = client.get("/")
            assert front.status_code == 200
            assert "nothing installed draws a board" in front.text
            assert client.get("/board/").status_code == 404
    finally:
        hub.stop()
    assert "nothing installed draws a board" in (isolated / "hub" / "hub.log").read_text()
