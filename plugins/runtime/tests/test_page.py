"""The page of the board: everything on it is text, everything it needs is in it, and its numbers are those of status."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any
from xml.etree.ElementTree import Element

import html5lib
import pytest

from kitty_host.api import KittyError
from kitty_host.ledger.machine import LANES
from kitty_host.mission import ReportedMission
from kitty_host.plugins import Plugins
from kitty_host.records import Forecast, Page, State
from kitty_runtime.overview import overview
from kitty_runtime.page import page, render

if TYPE_CHECKING:
    from conftest import Road


def parsed(html: str) -> Element:
    """The tree that a browser makes of it; what a parser only forgives is an error."""
    found: Element = html5lib.HTMLParser(strict=True, namespaceHTMLElements=False).parse(html)
    return found


def text(element: Element | None) -> str:
    assert element is not None
    return " ".join("".join(element.itertext()).split())


def classed(tree: Element, name: str) -> Iterator[Element]:
    return (one for one in tree.iter() if name in one.get("class", "").split())


def known(road: Road) -> State:
    """The state with what a page shows besides."""
    state = road.state
    state.recent = state.mission.ledger.recent()
    return state


def test_a_mission_without_files_is_drawn_with_whatever_else_there_is_to_show(road: Road) -> None:
    road.planned()
    there = road.mission
    told = ReportedMission(f"web/{there.slug}", {"mission_id": there.mission_id}, there.packages)
    found = page([State(told, State.load(there).snapshot)], [("History <b>", "history?mission=x"), ("Web", "../")])
    tree = parsed(found.html)
    links = [(text(link), link.get("href")) for link in tree.iter("a")]
    assert links[1:5] == [("Open", "./"), ("All", "?all"), ("History %3Cb%3E", "history?mission=x"), ("Web", "../")]
    assert ("?mission=web/" + there.slug) in [address for _, address in links]
    assert len(tree.findall(".//summary")) == len(there.packages) > 0


def test_the_hook_answers_with_a_whole_page_and_its_policy(road: Road) -> None:
    road.planned()
    found = Plugins.discover().required("kitty_board_page", states=(known(road),), links=())
    assert isinstance(found, Page)
    tree = parsed(found.html)
    assert text(tree.find(".//h2")) == "Demo"
    allowed = dict(part.strip().split(" ", 1) for part in found.policy.split(";"))
    for name in ("script", "style"):
        (element,) = tree.iter(name)
        digest = base64.b64encode(hashlib.sha256((element.text or "").encode()).digest()).decode()
        assert allowed[f"{name}-src"] == f"'sha256-{digest}'"
    shut = ("default-src", "base-uri", "form-action", "frame-ancestors")
    assert {allowed[name] for name in shut} == {"'none'"}
    assert (allowed["connect-src"], allowed["img-src"]) == ("'self'", "data:")


def test_nothing_comes_from_elsewhere(road: Road) -> None:
    road.planned()
    tree = parsed(page((known(road),)).html)
    addresses = [value for one in tree.iter() for name, value in one.attrib.items() if name in ("src", "href")]
    assert addresses
    assert [one for one in addresses if not re.match(r"\./$|\?|#|data:image/svg", one)] == []
    assert [one for one in tree.iter() if one.get("style") or any(name.startswith("on") for name in one.attrib)] == []


def test_each_id_is_there_once(road: Road) -> None:
    road.planned(("WP01",), ("WP02",))
    road.approved("WP01")
    tree = parsed(page((known(road),)).html)
    ids = [one.attrib["id"] for one in tree.iter() if "id" in one.attrib]
    assert len(ids) == len(set(ids))
    named = [name for one in tree.iter() for name in one.get("aria-labelledby", "").split()]
    assert set(named) <= set(ids)


def test_the_numbers_are_those_of_status(road: Road) -> None:
    road.planned(("WP01",), ("WP02",), ("WP03", "WP01"), ("WP04", "WP02"))
    road.approved("WP01")
    road.submitted("WP02")
    road("cancel", "WP03", "--reason", "no")
    road("effort", "WP02", "--tokens", "1500", "--agent", "ada")
    told = overview(road.state)
    tree = parsed(page((known(road),)).html)
    progress = tree.find(".//progress")
    assert progress is not None
    assert progress.get("value") == str(told["progress"]["percent"])
    assert [text(one) for one in classed(tree, "counted")] == ["0 of 3 done, 1 approved"]
    lanes = [one for one in classed(tree, "lane") if one.tag == "section"]
    numbers = {lane: int(text(next(classed(one, "number")))) for lane, one in zip(LANES, lanes, strict=True)}
    assert numbers == told["lanes"]
    assert {lane: len(list(classed(one, "card"))) for lane, one in zip(LANES, lanes, strict=True)} == told["lanes"]
    assert text(next(classed(tree, "waits"))) == "waits for WP02"
    assert [text(one) for one in classed(tree, "spent")] == ["1,500 tokens", "1,500 tokens"]


def test_a_card_has_everything_that_is_known(road: Road) -> None:
    road.planned()
    road.package("WP01", subtasks=("T001", "T002"))
    road("mark-status", "T001", "T002", "--status", "done", "--agent", "ada")
    road.submitted()
    road("review", "WP01", "--claim", "--agent", "grace")
    tree = parsed(page((known(road),)).html)
    (card,) = classed(tree, "card")
    assert text(card.find(".//summary")) == "WP01 lane-a Title of WP01 ada, grace reviews 2/2 subtasks"
    people = [text(one) for one in next(classed(tree, "people")).iter("div")]
    assert people == ["adaWP01 in review", "gracereviews WP01"]


def happened(road: Road) -> list[str]:
    tree = parsed(page((known(road),)).html)
    return [text(one)[len("2026-11-27 03:38 ") :] for one in next(classed(tree, "history")).iter("li")]


def test_the_history_of_a_work_package_is_told_the_latest_first(road: Road) -> None:
    road.planned()
    road.package("WP01", subtasks=("T001", "T002"))
    road("implement", "WP01", "--agent", "ada")
    road.commit("WP01")
    road("mark-status", "WP01", "--status", "done", "--agent", "ada")
    road("submit", "WP01", "--agent", "ada")
    road("effort", "WP01", "--seconds", "60", "--agent", "ada")
    road("review", "WP01", "--claim", "--agent", "grace")
    road("note", "WP01", "look again", "--agent", "grace")
    road("review", "WP01", "--reject", "--reason", "it is empty", "--agent", "grace")
    told = happened(road)
    assert told[0].startswith("grace in review → in progress (changes_requested")
    assert "it is empty" in told[0]
    assert told[1:6] == [
        "grace note look again",
        "grace for review → in review",
        "ada took 1 min",
        "ada in progress → for review",
        "ada T001, T002 done",
    ]


def test_a_long_history_is_its_end(road: Road) -> None:
    road.planned()
    for number in range(3):
        road("note", "WP01", f"note {number}", "--agent", "ada")
    state = road.state
    lines = state.mission.ledger.lines()
    state.recent = state.mission.ledger.recent(sum(len(line) + 1 for line in lines[-2:]))
    tree = parsed(page((state,)).html)
    assert [text(one.find("q")) for one in next(classed(tree, "history")).iter("li")] == ["note 2", "note 1"]


def test_a_state_without_rows_says_that_nothing_happened_lately(road: Road) -> None:
    road.planned()
    assert "Nothing happened lately." in page((road.state,)).html


def test_what_is_ahead_is_shown(road: Road) -> None:
    road.planned()
    state = known(road)
    kinds = {"a<b": "contents", "c": "binary"}
    conflict = {"lane": "lane-b", "others": ["lane-a", "main"], "paths": list(kinds), "kinds": kinds, "hint": "merge"}
    state.forecast = Forecast(False, (conflict,))
    told = "lane-b with lane-a and main in a%3Cb (contents), c (binary) merge"
    assert told in text(parsed(page((state,)).html))
    state.forecast = Forecast(None, reason="Git is too old")
    assert "No forecast: Git is too old" in text(parsed(page((state,)).html))


def test_one_mission_that_cannot_be_read_hides_no_other(road: Road) -> None:
    road.planned()
    lost = road.state
    lost.fault = KittyError("LEDGER_DAMAGED", "line 5 <b>", "kitty ledger repair")
    tree = parsed(page((lost, known(road))).html)
    assert text(next(classed(tree, "bad"))) == "LEDGER_DAMAGED line 5 <b> kitty ledger repair"
    assert len(list(tree.iter("progress"))) == 1


def test_nothing_to_show_is_said(road: Road) -> None:
    assert "No mission is open." in text(parsed(page(()).html))
    road("mission", "create", "demo")
    assert "No work packages yet." in text(parsed(page((known(road),)).html))


# Escaping: what `inert` lets pass, and what it would have to stop if it were forgotten somewhere

HOSTILE = (
    "<script>window.hit=1</script>",
    "<img src=x onerror=window.hit=1>",
    '"><svg onload=window.hit=1>',
    "'><b>",
    "</summary></details></main></script></style>",
    "{{ 7 * 7 }}{% raw %}",
    "&lt;b&gt;",
    "--><!--",
)


def filled(value: Any, words: str) -> Any:
    """The same shape with one text in the place of each."""
    if isinstance(value, dict):
        return {key: filled(one, words) for key, one in value.items()}
    if isinstance(value, list):
        return [filled(one, words) for one in value]
    return words if isinstance(value, str) else value


@pytest.mark.parametrize("words", HOSTILE)
def test_every_text_of_the_page_is_escaped_whatever_it_is(words: str) -> None:
    """Of the template alone: it relies on nobody."""
    shape = {
        **dict.fromkeys(("slug", "title", "counted", "spent", "unforeseen"), "x"),
        "fault": None,
        "open": False,
        "progress": {"percent": 50},
        "conflicts": [{"lane": "x", "others": "x", "paths": [{"path": "x", "kind": "x"}], "hint": "x"}],
        "people": [{"name": "x", "does": ["x", "x"]}],
        "findings": [{"code": "x", "message": "x", "hint": "x"}],
        "exceptions": [
            dict.fromkeys(("gate", "scenario", "operator", "granted", "expires", "environmental", "follow_up"), "x")
        ],
        "packages": ["x"],
        "columns": [
            {
                "lane": "x",
                "words": "x",
                "number": 1,
                "packages": [
                    {
                        **dict.fromkeys(("wp_id", "title", "agent", "reviewer", "lane_id", "spent", "reason"), "x"),
                        "waits_for": ["x"],
                        "depends_on": ["x"],
                        "subtasks": {"done": 1, "total": 2},
                        "history": [dict.fromkeys(("at", "time", "actor", "what", "said"), "x")],
                    }
                ],
            }
        ],
    }
    lost = {"slug": "x", "title": "x", "fault": {"code": "x", "message": "x", "hint": "x"}}

    def drawn(words: str) -> Element:
        html = render(filled([shape, lost], words), [(words, words)])
        found: Element = html5lib.parse(html, namespaceHTMLElements=False)
        return found

    def skeleton(tree: Element) -> list[tuple[str, list[str]]]:
        return [(str(one.tag), sorted(one.attrib)) for one in tree.iter()]

    hostile, harmless = drawn(words), drawn("harmless")
    assert skeleton(hostile) == skeleton(harmless)
    assert text(hostile).count(words) == text(harmless).count("harmless") > 30


ODD: tuple[Any, ...] = ("<b>\u202e", {"<b>": ["<b>"]}, ["<b>"], 5, float("nan"), True, "x" * 10_000)


@pytest.mark.parametrize("odd", ODD, ids=lambda odd: type(odd).__name__)
def test_rows_that_somebody_wrote_by_hand_are_shown_and_do_nothing(road: Road, odd: Any) -> None:
    """In every place of a row in which a reader takes whatever there is."""
    road.planned()
    road.submitted()
    road("review", "WP01", "--claim", "--agent", "grace")
    road("review", "WP01", "--reject", "--reason", "no", "--agent", "grace")
    road("note", "WP01", "note", "--agent", "ada")
    road("effort", "WP01", "--seconds", "5", "--agent", "ada")
    moved, noted, spent_ = road.mission.ledger.rows()[-3:]
    text_ = odd if isinstance(odd, str) else "z"
    rows = [
        {**moved, "reason": odd, "at": text_, "actor": odd if isinstance(odd, str | int) else "z"},
        {**moved, "review_result": {**dict.fromkeys(("reviewer", "verdict", "reference"), odd)}, "force": odd},
        {**noted, "delta": {"note": odd, "subtasks": {text_: "done"}}, "at": text_},
        {**noted, "delta": {"agent": odd, "review": dict.fromkeys(("at", "actor", "wp_id", "reason"), odd)}},
        {**spent_, "payload": {**spent_["payload"], "agent": odd, "wp_id": "WP01"}, "timestamp": odd},
        {**spent_, "payload": odd, "timestamp": odd},
    ]
    with road.mission.ledger.live.open("a") as ledger:
        for number, row in enumerate(rows):
            ledger.write(json.dumps({**row, "event_id": f"01ZZZZZZZZZZZZZZZZZZZZZZZ{number}"}) + "\n")
    html = page((known(road),)).html
    assert not [one for one in parsed(html).iter("b") if one.get("class") != "wp"]
    assert "\u202e" not in html
    assert len(html) < 100_000
    assert len(happened(road)) >= 12


def test_what_has_no_shape_is_shown_by_its_number_whoever_forgot_it(road: Road) -> None:
    road.planned()
    lost = road.state
    lost.fault = KittyError("LEDGER_DAMAGED", "a\u202eb\x00", "c\u2066d")
    html = page((lost,)).html
    assert "a\\u{202e}b\\u{0}" in html
    assert "c\\u{2066}d" in html


def test_the_history_of_one_work_package_has_an_end(road: Road) -> None:
    road.planned()
    road("note", "WP01", "first", "--agent", "ada")
    state = known(road)
    state.recent += state.recent[-1:] * 100
    assert page((state,)).html.count("<time") == 40


def test_hostile_words_of_people_are_inert_as_well(road: Road) -> None:
    road.planned()
    title = "a\u202e<script>\u2028b"
    road.write("tasks/WP01-x.md", f"---\nwork_package_id: WP01\ntitle: {title!r}\n---\n".replace("'", '"'))
    road("note", "WP01", "n\u202e<b>", "--agent", "ag\u202e<i>")
    road("cancel", "WP01", "--reason", "r\u202e</script>", "--agent", "ada")
    html = page((known(road),)).html
    assert "\u202e" not in html
    assert "\u2028" not in html
    assert html.count("%E2%80%AE") >= 4
    assert "\\u{" not in html, "shown by its number is what was forgotten"
