"""A team's missions, as its events add up to: the states that a board shows.

Events become rows of ledgers again, and the host's reducer says what those mean; there is no second state machine. All of it is a
cache of the table, a process's own: it is brought up to date by what is new, and what it does not know any more it reads again.
"""

from __future__ import annotations

import json
from array import array
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from heapq import nlargest
from typing import Any, NamedTuple

from sqlalchemy import Connection, bindparam, text

from kitty_host.inert import inert
from kitty_host.ledger.event import Annotation, BadRow, Event, Other, actor_name, decode
from kitty_host.ledger.machine import BLOCKED, CLAIMED, FOR_REVIEW, GENESIS, IN_PROGRESS, IN_REVIEW, PLANNED
from kitty_host.ledger.reduce import Snapshot, reduce
from kitty_host.mission import ReportedMission
from kitty_host.packages import Package
from kitty_host.state import State
from kitty_sync.hub.read import AT_ONCE

CHANGED, CREATED, PACKAGE = "WPStatusChanged", "MissionCreated", "WPCreated"
_RECENT = 60
"""Rows of a mission that are kept for who shows what happened lately."""
_STEP = 500
"""Events that are read at once."""
_NAME, _PROSE = 200, 2000
"""Characters that are kept of a name and of a sentence; more is not shown anyway."""
_MOST_NEEDS = 100
_TITLE = ("friendly_name", "mission_type", "target_branch")
_OLD_LANES = {"doing": IN_PROGRESS}
_BUSY = (CLAIMED, IN_PROGRESS, BLOCKED, FOR_REVIEW)


class Hand(NamedTuple):
    """What somebody has in hand."""

    who: str
    does: str
    wp_id: str
    title: str
    mission: str
    """As it is shown and asked for."""
    since: str
    """The time that the row gives."""


def rows_of(event: Mapping[str, Any]) -> list[Event]:
    """An event that is valid as rows of a ledger, with as much of it as anybody shows. Errors: `BadRow`.

    Whoever claims a work package, or takes it up again where it was blocked, works on it: so it is in the ledgers that it comes from, and
    the event says no more.
    """
    at, event_id, kind = str(event["timestamp"]), event["event_id"], event["event_type"]
    payload = event.get("payload") or {}
    if kind != CHANGED:
        told = {key: _cut(payload[key]) for key in _TITLE if payload.get(key)} if kind == CREATED else {}
        return [Other(event_id, at, kind, {"event_type": kind, "payload": told})]
    actor, source, target = name_of(payload["actor"]), _lane(payload.get("from_lane")), _lane(payload["to_lane"])
    row = {
        "event_id": event_id,
        "wp_id": _cut(payload["wp_id"]),
        "from_lane": source,
        "to_lane": target,
        "at": at,
        "actor": actor,
        "force": payload.get("force") is True,
        "execution_mode": payload["execution_mode"],
    }
    for key in ("reason", "review_ref"):
        if payload.get(key) is not None:
            row[key] = _cut(payload[key], _PROSE)
    if (source, target) == (PLANNED, CLAIMED):
        row["policy_metadata"] = {"agent": actor}
    taken = [decode(row)]
    if (source, target, row["force"]) == (BLOCKED, IN_PROGRESS, False):
        taken.append(Annotation(event_id, row["wp_id"], at, actor, {"agent": actor}))
    return taken


class Missions:
    """The missions of one team, up to a position among its events. It is nobody's but whoever holds it: not for two threads at once.

    What it keeps grows with the missions and work packages; of an event it keeps its number.
    """

    def __init__(self, team_id: str) -> None:
        self.team_id = team_id
        self.position = 0
        self.pages: dict[Any, Any] = {}
        """What was drawn of this position; for whoever draws."""
        self._known: dict[tuple[str, str], _Mission] = {}
        self._called: dict[tuple[str, str], tuple[str, str]] = {}
        """Missions by project and slug, for events that name them by their slug alone."""
        self._projects: dict[str, str] = {}
        """What each project is called."""

    def catch_up(self, database: Connection) -> None:
        """Read what is new."""
        begun = -1
        while begun < self.position:
            begun = self.position
            news: dict[_Mission, list[Event]] = {}
            values = {"team": self.team_id, "after": begun, "limit": _STEP}
            with database.execute(_NEW, values, execution_options={"yield_per": AT_ONCE}) as rows:
                for seq, project, mission_id, slug, record in rows:
                    mission = self._mission(project, mission_id, slug)
                    event = json.loads(record)["event"]
                    self._projects[project] = event.get("project_slug") or self._projects.get(project, "")
                    news.setdefault(mission, []).extend(self._taken(mission, seq, event))
                    self.position = seq
                    self.pages.clear()
            for mission, taken in news.items():
                mission.add(taken)
        for mission in self._known.values():
            if mission.stale:
                self._read_again(database, mission)

    @property
    def projects(self) -> dict[str, str]:
        """What the projects of the team are called, by UUID: each by another name."""
        names = {one: inert(_cut(name)) or one[:8] for one, name in self._projects.items()}
        taken = list(names.values())
        return {one: name if taken.count(name) == 1 else f"{name}-{one}" for one, name in names.items()}

    def states(self, *, project: str = "", mission: str = "", closed: bool = False) -> list[State]:
        """The missions of the team, or of a project, or those that are called so; open ones only, unless one is named.

        First the one to which something happened last. Where projects are mixed, their names stand before the slugs.
        """
        names = self.projects
        several = not project and len(names) > 1
        found = []
        for one in self._known.values():
            if not one.name:
                continue  # what happened to a project, and to no mission of it
            name = f"{names[one.project]}/{one.name}" if several else one.name
            if project not in ("", one.project) or mission not in ("", name, one.name, one.mission_id):
                continue
            state = one.state(name)
            if mission or closed or state.is_open:
                found.append((one, state))
        return [state for _, state in sorted(found, key=lambda pair: -pair[0].seqs[-1])]

    def last(self, project: str, mission: str, count: int) -> list[int]:
        """The positions of the last events of the missions that are called so, of all where none is named."""
        names = self.projects
        found = [
            one
            for one in self._known.values()
            if project in ("", one.project)
            and mission in ("", one.name, one.mission_id, f"{names[one.project]}/{one.name}")
        ]
        return nlargest(count, (seq for one in found for seq in one.seqs[-count:]))

    def _mission(self, project: str, mission_id: str, slug: str) -> _Mission:
        named = mission_id or slug
        key = (project, named)
        if named == slug:
            key = self._called.get(key, key)
        mission = self._known.get(key)
        if mission is None:
            mission = self._known[key] = _Mission(project, named)
        if named != slug and slug and self._called.setdefault((project, slug), key) == key:
            # It may have been known by its slug until now.
            mission.absorb(self._known.pop((project, slug), None))
        mission.slug = slug or mission.slug
        return mission

    def _taken(self, mission: _Mission, seq: int, event: Mapping[str, Any]) -> list[Event]:
        mission.seqs.append(seq)
        try:
            if event["event_type"] == PACKAGE:
                mission.describe(event)
            return rows_of(event)
        except (BadRow, KeyError, TypeError):  # of a hub that knew a later form
            return []

    def _read_again(self, database: Connection, mission: _Mission) -> None:
        rows: list[Event] = []
        for _, record, _ in records(database, self.team_id, mission.seqs):
            try:
                rows += rows_of(json.loads(record)["event"])
            except (BadRow, KeyError, TypeError):
                continue
        mission.put(rows)


class _Mission:
    """One mission, and where its events are."""

    def __init__(self, project: str, mission_id: str) -> None:
        self.project = project
        self.mission_id = mission_id
        self.slug = ""
        self.seqs = array("q")
        self.stale = False
        """Whether a row changed what earlier ones meant, so that all have to be read again."""
        self._snapshot = Snapshot()
        self._packages: dict[str, tuple[tuple[str, str], Package]] = {}
        self._recent: deque[Event] = deque(maxlen=_RECENT)

    @property
    def name(self) -> str:
        """The slug as it is shown and asked for."""
        return inert(self.slug or self.mission_id)

    def add(self, rows: list[Event]) -> None:
        """Rows that come after the others, or seem to."""
        self._recent.extend(rows)
        self.stale = self.stale or not self._snapshot.extend(rows)

    def put(self, rows: list[Event]) -> None:
        """All rows."""
        self._snapshot = reduce(rows)
        self._recent = deque(rows, maxlen=_RECENT)
        self.stale = False

    def absorb(self, other: _Mission | None) -> None:
        """Another one turned out to be this."""
        if other is not None:
            self.seqs = array("q", sorted((*self.seqs, *other.seqs)))
            self.stale = True
            for wp_id, told in other._packages.items():
                self._packages[wp_id] = max(told, self._packages.get(wp_id, told))

    def describe(self, event: Mapping[str, Any]) -> None:
        """What was said of a work package when it was made; what was said last holds."""
        payload, said = event["payload"], (str(event["timestamp"]), event["event_id"])
        wp_id = _cut(payload["wp_id"])
        needs = tuple(_cut(one) for one in (payload.get("depends_on") or ())[:_MOST_NEEDS])
        known = self._packages.get(wp_id)
        if known is None or said >= known[0]:
            self._packages[wp_id] = (said, Package(wp_id, _cut(payload["wp_title"]), needs, (), "code_change", (), ""))

    def state(self, name: str) -> State:
        """As it stands now, called by a name."""
        created = self._snapshot.others.get(CREATED)
        meta = {**(created.row["payload"] if created else {}), "mission_id": inert(self.mission_id)}
        packages = (package for _, package in self._packages.values())
        state = State(ReportedMission(name, meta, packages), self._snapshot)
        state.recent = tuple(self._recent)
        return state


def hands(states: Iterable[State]) -> Iterator[Hand]:
    """Who has what in hand in some missions, by the names of people."""
    found = []
    for state in states:
        titles = {package.wp_id: package.title for package in state.packages}
        for wp_id, known in state.snapshot.packages.items():
            lane, since = known.lane, known.at or ""
            about = (wp_id, titles.get(wp_id, ""), state.mission.slug, since)
            if lane == IN_REVIEW:
                found.append(Hand(known.actor, "reviews", *about))
            elif lane in _BUSY and known.slots.get("agent"):
                found.append(Hand(known.agent, lane.replace("_", " "), *about))
    return iter(sorted(found))


def records(database: Connection, team_id: str, seqs: Iterable[int]) -> Iterator[tuple[int, str, str]]:
    """Position, JSON and time of arrival of some events, in the order of their positions."""
    wanted = sorted(set(seqs))
    for begin in range(0, len(wanted), _STEP):
        values = {"team": team_id, "seqs": wanted[begin : begin + _STEP]}
        with database.execute(_THESE, values, execution_options={"yield_per": AT_ONCE}) as rows:
            yield from ((seq, record, at) for seq, record, at in rows)


def name_of(actor: Any) -> str:
    """Whoever acted, as one name. A structured actor of another form is known by the first text in it."""
    if not isinstance(actor, dict):
        return _cut(actor)
    texts = [one for one in actor.values() if isinstance(one, str) and one]
    return _cut(actor_name({key: one for key, one in actor.items() if isinstance(one, str)}) or next(iter(texts), ""))


def _lane(lane: Any) -> str:
    return GENESIS if lane is None else _OLD_LANES.get(lane, str(lane))


def _cut(value: Any, longest: int = _NAME) -> str:
    return str(value)[:longest]


_NEW = text(
    "SELECT seq, project, mission_id, mission_slug, record FROM events WHERE team_id = :team AND seq > :after"
    " ORDER BY seq LIMIT :limit"
)
_THESE = text(
    "SELECT seq, record, received_at FROM events WHERE team_id = :team AND seq IN :seqs ORDER BY seq"
).bindparams(bindparam("seqs", expanding=True))
