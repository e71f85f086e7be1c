"""The one rendering of the board: states in, a page out. It asks for nothing but what a `State` gives, and links to nothing but itself.

The numbers are `overview`'s. Who serves it, and when it is drawn again, is `serve`'s.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator, Sequence
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, StrictUndefined, Template
from markupsafe import Markup

from kitty_host.effort import add_up
from kitty_host.inert import inert, visible
from kitty_host.ledger.event import SPENT, Annotation, Event, Other, Transition, actor_name
from kitty_host.ledger.machine import BLOCKED, CLAIMED, FOR_REVIEW, IN_PROGRESS, IN_REVIEW, LANES
from kitty_host.records import Page
from kitty_host.state import State
from kitty_runtime.overview import counted, overview_or_fault, spent, told_effort

_BUSY = (CLAIMED, IN_PROGRESS, BLOCKED, FOR_REVIEW, IN_REVIEW)
_LATELY = 40
"""How much of what happened to one work package is told."""
_TIME = re.compile(r"(\d{4}-\d\d-\d\d)T(\d\d:\d\d)[\d:.]*(Z|\+00:00)", re.ASCII)

Told = dict[str, Any]


def page(states: Sequence[State], links: Sequence[tuple[str, str]] = ()) -> Page:
    """The board of some missions, in their order, with more links than its own."""
    more = [(inert(words, prose=True), address) for words, address in links]
    return Page(render([_mission(state) for state in states], more), _policy())


def render(missions: Sequence[Told], links: Sequence[tuple[str, str]] = ()) -> str:
    """The page as HTML. Every text is escaped, harmless or not."""
    style, script = Markup(_file("board.css")), Markup(_file("board.js"))
    return _template().render(missions=missions, links=links, style=style, script=script)


@cache
def _template() -> Template:
    environment = Environment(
        autoescape=True, finalize=_shown, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(_file("board.html"))


def _shown(value: Any) -> Any:
    """What is in no kind of text that a template is given: something without a shape, which would turn what stands beside it."""
    return visible(value) if type(value) is str else value


@cache
def _file(name: str) -> str:
    return (files("kitty_runtime") / "web" / name).read_text(encoding="utf-8")


@cache
def _policy() -> str:
    """Only this script and this style; requests to where the page came from, for its updates; and the icon, which is inside."""
    script, style = (_hash(_file(name)) for name in ("board.js", "board.css"))
    return (
        f"default-src 'none'; script-src '{script}'; style-src '{style}'; connect-src 'self'; img-src data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _mission(state: State) -> Told:
    row = overview_or_fault(state)
    if row["fault"]:
        return row
    history = _history(state.recent)
    packages = [_package(package, history.get(package["wp_id"], [])) for package in row["packages"]]
    forecast = row["forecast"] or {"clean": True, "conflicts": [], "reason": ""}
    return {
        **row,
        "counted": counted(row),
        "spent": spent(row["effort"]) if row["effort"] else "",
        "columns": [
            {
                "lane": lane,
                "words": lane.replace("_", " "),
                "number": row["lanes"][lane],
                "packages": [package for package in packages if package["lane"] == lane],
            }
            for lane in LANES
        ],
        "people": _people(packages),
        "conflicts": [_conflict(one) for one in forecast["conflicts"]],
        "unforeseen": inert(forecast["reason"], prose=True) if forecast["clean"] is None else "",
    }


def _package(package: Told, history: list[Told]) -> Told:
    return {
        **package,
        "wp_id": inert(package["wp_id"]),
        "lane_id": inert(package["lane_id"] or ""),
        "spent": spent(package["effort"]) if package["effort"] else "",
        "history": history,
    }


def _people(packages: Sequence[Told]) -> list[Told]:
    """Everybody who has something in hand, and what."""
    found: dict[str, list[str]] = {}
    for package in packages:
        if package["lane"] in _BUSY and package["agent"]:
            words = "in review" if package["reviewer"] else package["lane"].replace("_", " ")
            found.setdefault(package["agent"], []).append(f"{package['wp_id']} {words}")
        if package["reviewer"]:
            found.setdefault(package["reviewer"], []).append(f"reviews {package['wp_id']}")
    return [{"name": name, "does": found[name]} for name in sorted(found)]


def _conflict(conflict: Told) -> Told:
    kinds = conflict["kinds"]
    return {
        "lane": conflict["lane"],
        "others": " and ".join(conflict["others"]),
        "paths": [{"path": inert(path, prose=True), "kind": kinds[path]} for path in conflict["paths"]],
        "hint": conflict["hint"],
    }


# History


def _history(rows: Sequence[Event]) -> dict[str, list[Told]]:
    """What happened to each work package lately, the latest first."""
    found: dict[str, list[Told]] = {}
    for row in sorted(rows, key=lambda row: (row.at, row.event_id), reverse=True):
        mine = found.setdefault(_about(row), [])
        if len(mine) < _LATELY:
            when = {"at": inert(row.at), "time": _time(row.at), "actor": inert(_actor(row), prose=True)}
            mine += [{**when, **told} for told in _happened(row)]
    return found


def _about(row: Event) -> str:
    """The work package that a row speaks of; empty where it speaks of none."""
    return row.wp_id if not isinstance(row, Other) else str(_payload(row).get("wp_id") or "")


def _actor(row: Event) -> str:
    return actor_name(row.actor) if not isinstance(row, Other) else str(_payload(row).get("agent") or "")


def _payload(row: Other) -> Told:
    payload = row.row.get("payload") if row.kind == SPENT else None
    return payload if isinstance(payload, dict) else {}


def _happened(row: Event) -> Iterator[Told]:
    """What a row says, and the words that somebody gave with it."""
    if isinstance(row, Transition):
        verdict = (row.result or {}).get("verdict")
        judged = f" ({inert(str(verdict), prose=True)})" if verdict else ""
        forced = ", by force" if row.force else ""
        yield _told(f"{_words(row.from_lane)} → {_words(row.to_lane)}{judged}{forced}", row.row.get("reason"))
    elif isinstance(row, Annotation):
        if row.delta.get("note") is not None:
            yield _told("note", row.delta["note"])
        subtasks = row.delta.get("subtasks") or {}
        for status in dict.fromkeys(subtasks.values()):
            names = [inert(one) for one, said in subtasks.items() if said == status]
            yield _told(f"{', '.join(names)} {_words(status)}")
        if row.delta.get("review"):
            yield _told("review", row.delta["review"]["reason"])
    elif effort := add_up([row] if row.kind == SPENT else []).get(""):
        yield _told(f"took {spent(told_effort(effort))}")


def _told(what: str, said: Any = None) -> Told:
    return {"what": what, "said": inert(str(said), prose=True) if said else ""}


def _words(lane: str) -> str:
    return lane.replace("_", " ")


def _time(at: str) -> str:
    """To the minute; a time that is written in another way is shown as it is."""
    found = _TIME.fullmatch(at)
    return f"{found[1]} {found[2]}" if found else inert(at, prose=True)
