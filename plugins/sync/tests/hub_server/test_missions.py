"""A team's missions are what the reducer makes of the rows that its events were, in whatever pieces and order they came."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from kitty_host.ledger.event import decode, ulid
from kitty_host.ledger.machine import LANES
from kitty_host.ledger.reduce import reduce
from kitty_host.mission import ReportedMission
from kitty_host.state import State
from kitty_sync.events import canonical, digest_of, id_of, wire
from kitty_sync.hub import accounts, ingest
from kitty_sync.hub.missions import Missions, hands
from kitty_sync.hub.store import Store

from ..hub import PROJECT, record
from ..postgres import Postgres

MISSION = "01J0000000000000000000MMMM"
NAMES = st.sampled_from(["ada", "grace", "eve"])


class Kept:
    """A hub's table with one new team each time, and its events."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.who = self.team()

    def team(self) -> accounts.Member:
        """A new one, whose events are added from now on."""
        with self.store.writing() as database:
            self.who = accounts.add(database, "ada@example.org", f"team-{next(_teams)}", "writer")
        return self.who

    def add(self, *records: Any) -> None:
        """Store events as a client's are stored; all of them are valid."""
        judged = ingest.judge({"events": list(records)}, self.who)
        assert [one for one in judged if isinstance(one, ingest.Result)] == []
        with self.store.adding() as database:
            ingest.add(database, self.who.team_id, judged, 0.0)

    def look(self, found: Missions | None = None) -> Missions:
        """The missions, as they are when one looks; from the start, unless somebody looked before."""
        found = found or Missions(self.who.team_id)
        with self.store.reading() as database:
            found.catch_up(database)
        return found


_teams = itertools.count()


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def store(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """The table, on either database."""
    if request.param == "sqlite":
        found = Store(tmp_path_factory.mktemp("kept") / "hub.db")
    else:
        postgres: Postgres = request.getfixturevalue("postgres")
        found = Store(postgres.database())
    yield found
    found.close()


@pytest.fixture
def kept(store: Store) -> Kept:
    """It, with a team of the test's own."""
    return Kept(store)


def moved(number: int, source: str | None, target: str, **more: Any) -> Any:
    """One transition, later than those with smaller numbers."""
    made = record(number)
    names = {key: more.pop(key) for key in ("mission_id", "mission_slug", "event_type") if key in more}
    made["event"]["timestamp"] = f"2026-01-01T00:00:00.{number:06}+00:00"
    made["event"]["payload"].update(from_lane=source, to_lane=target, **more)
    made.update(names)
    return made


def lanes_of(found: Missions, **wanted: Any) -> Any:
    return {
        state.mission.slug: {wp_id: state.lane(wp_id) for wp_id in state.wp_ids()}
        for state in found.states(closed=True, **wanted)
    }


# What they add up to


@st.composite
def ledgers(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Rows of a ledger: any lanes at all, at times that may be equal or go back, by force or not."""
    rows = []
    for number in range(draw(st.integers(1, 25))):
        target = draw(st.sampled_from(LANES))
        actor = draw(NAMES)
        row = {
            "event_id": ulid(1_700_000_000_000 + number, draw(st.integers(0, 3))),
            "wp_id": draw(st.sampled_from(["WP01", "WP02", "WP10"])),
            "from_lane": draw(st.sampled_from(["genesis", *LANES])),
            "to_lane": target,
            "at": f"2026-01-01T00:00:00.{draw(st.integers(0, 30)):06}+00:00",
            "actor": actor,
            "force": draw(st.booleans()),
            "execution_mode": "worktree",
            "mission_id": MISSION,
            "mission_slug": "demo",
            "reason": "because",
            "review_ref": draw(st.none() | st.just("ref")),
            "evidence": None,
            "review_result": None,
            "policy_metadata": None,
        }
        if target in ("approved", "done"):
            review = {"reviewer": actor, "verdict": "approved", "reference": "r"}
            repo = {"repo": "r", "branch": "b", "commit": "c"}
            row["evidence"] = {"repos": [repo], "verification": [], "review": review}
        if (row["from_lane"], target) == ("planned", "claimed"):
            row["policy_metadata"] = {"agent": actor}
        if (row["from_lane"], target) == ("blocked", "in_progress"):
            row["force"] = True
        rows.append(row)
    return rows


def sent(row: dict[str, Any]) -> Any:
    """A row as its client sends it."""
    told = {"event_id": id_of(row, digest_of(row)), "project": PROJECT, "mission_id": MISSION, "mission_slug": "demo"}
    return json.loads(canonical(wire({**told, "event": row})))


def shown(state: State) -> Any:
    """Lanes, progress, and who."""
    who = {wp_id: (one.lane, one.actor, one.slots.get("agent")) for wp_id, one in state.snapshot.packages.items()}
    return who, state.progress(), state.is_open, sorted(hands([state]))


@given(rows=ledgers(), data=st.data())
@settings(max_examples=60, deadline=None)
def test_events_mean_what_their_rows_meant(store: Store, rows: Any, data: Any) -> None:
    kept = Kept(store)
    found: Missions | None = None
    order = data.draw(st.permutations([*rows, *rows[:3]]))
    while order:
        size = data.draw(st.integers(1, len(order)))
        kept.add(*map(sent, order[:size]))
        order = order[size:]
        found = kept.look(found)
    [there] = found.states(closed=True) if found else []
    [anew] = kept.look().states(closed=True)
    here = State(ReportedMission("demo", {}), reduce(map(decode, rows)))
    assert shown(there) == shown(here)
    assert shown(anew) == shown(here)


def test_whoever_takes_blocked_work_up_again_works_on_it(kept: Kept) -> None:
    kept.add(moved(1, "planned", "claimed"), moved(2, "claimed", "blocked"))
    kept.add(moved(3, "blocked", "in_progress", actor="eve"))
    assert [(one.who, one.does, one.wp_id) for one in hands(kept.look().states())] == [("eve", "in progress", "WP01")]


def test_of_another_team_nothing_is_known(kept: Kept) -> None:
    kept.add(moved(1, "planned", "claimed"))
    kept.team()
    kept.add(moved(2, "planned", "blocked"))
    assert lanes_of(kept.look()) == {"demo": {"WP01": "blocked"}}


def test_a_look_reads_only_what_is_new(kept: Kept) -> None:
    kept.add(moved(1, "genesis", "planned"), moved(2, "planned", "claimed"))
    found = kept.look()
    with kept.store.writing() as database:
        database.execute(text("UPDATE events SET record = 'gone' WHERE team_id = :team"), {"team": kept.who.team_id})
    kept.add(moved(3, "claimed", "in_progress"))
    assert lanes_of(kept.look(found)) == {"demo": {"WP01": "in_progress"}}


def test_more_than_is_read_at_once_is_read(kept: Kept) -> None:
    kept.add(*(moved(number, "claimed", "claimed", wp_id=f"WP{number}") for number in range(1, 1000)))
    kept.add(moved(1000, "claimed", "blocked", wp_id="WP1"))
    [state] = kept.look().states()
    assert (state.progress().lanes["claimed"], state.progress().lanes["blocked"]) == (998, 1)


# What is said of them


def created(number: int, title: str, **names: Any) -> Any:
    made = moved(number, None, "planned", **names)
    made["event"]["event_type"] = "MissionCreated"
    purpose = {"purpose_tldr": title, "purpose_context": title}
    made["event"]["payload"] = {
        "mission_slug": "demo", "mission_number": None, "mission_type": "software-dev", "target_branch": "main",
        "wp_count": 1, "friendly_name": title, **purpose,
    }  # fmt: skip
    return made


def packaged(number: int, wp_id: str, title: str, *needs: str, **names: Any) -> Any:
    made = moved(number, None, "planned", **names)
    made["event"]["event_type"] = "WPCreated"
    payload = {"mission_slug": "demo", "wp_id": wp_id, "wp_title": title, "depends_on": list(needs), "actor": "ada"}
    made["event"]["payload"] = payload
    return made


def test_titles_and_dependencies_are_those_that_were_said_last_whenever_they_came(kept: Kept) -> None:
    kept.add(created(5, "New"), created(4, "Old"), packaged(9, "WP02", "Second", "WP01"), packaged(8, "WP02", "Worse"))
    kept.add(packaged(7, "WP10", "Tenth"), packaged(6, "WP01", "First"))
    [state] = kept.look().states()
    assert state.mission.title == "New"
    assert [(one.wp_id, one.title, one.dependencies) for one in state.packages] == [
        *(("WP01", "First", ()), ("WP02", "Second", ("WP01",)), ("WP10", "Tenth", ())),
    ]
    assert state.progress().lanes["planned"] == 3


@pytest.mark.parametrize("mission_id", ["demo", ""])
def test_a_mission_that_some_events_name_by_its_slug_alone_is_one(kept: Kept, mission_id: str) -> None:
    """As those of the released client do, and those of old missions."""
    by_slug = {"mission_id": mission_id, "mission_slug": "demo"}
    kept.add(moved(9, "planned", "blocked", mission_id=mission_id and "another", mission_slug="another"))
    kept.add(moved(1, None, "planned", **by_slug))
    found = kept.look()
    kept.add(packaged(2, "WP01", "First", **by_slug), created(3, "Demo"), moved(4, "planned", "claimed", **by_slug))
    kept.add(moved(5, "claimed", "in_progress", **by_slug))
    for one in (kept.look(found), kept.look()):
        [state] = one.states(mission="demo")
        assert lanes_of(one)["another"] == {"WP01": "blocked"}
        assert (state.mission.title, state.mission.mission_id) == ("Demo", MISSION)
        assert [(package.title, state.lane(package.wp_id)) for package in state.packages] == [("First", "in_progress")]
        assert [row.event_id[-1] for row in state.recent] == list("12345")


def test_what_the_released_client_sends_is_understood(kept: Kept) -> None:
    """No lane before the first one, an old name of a lane, an actor in parts."""
    actor = {"role": "implementer", "profile": "p", "tool": "claude", "model": "m"}
    kept.add(moved(1, None, "planned"), moved(2, "planned", "claimed", actor=actor), moved(3, "claimed", "doing"))
    [state] = kept.look().states()
    assert (state.lane("WP01"), state.snapshot.packages["WP01"].agent) == ("in_progress", "claude")


def test_what_happened_to_no_mission_makes_none(kept: Kept) -> None:
    kept.add(moved(1, "planned", "claimed", mission_id="", mission_slug=""))
    found = kept.look()
    assert (found.states(closed=True), len(found.last("", "", 5))) == ([], 1)


def test_where_projects_are_mixed_each_mission_says_of_which_it_is(kept: Kept) -> None:
    other = "11111111-1f2e-4d0c-9a55-3a8f3f1c2b7d"
    kept.add(moved(1, "planned", "claimed"), record(2, project=other, project_slug="web"))
    found = kept.look()
    assert found.projects == {PROJECT: "6f1d6c0e", other: "web"}
    assert [state.mission.slug for state in found.states()] == ["web/demo", "6f1d6c0e/demo"]
    assert [state.mission.slug for state in found.states(project=other)] == ["demo"]
    assert [state.mission.slug for state in found.states(mission="web/demo")] == ["web/demo"]
    assert len(found.states(mission="demo")) == 2
    kept.add(record(3, project="22222222-1f2e-4d0c-9a55-3a8f3f1c2b7d", project_slug="web"))
    assert len(set(kept.look(found).projects.values())) == 3


def test_what_is_closed_is_shown_to_who_asks_for_it(kept: Kept) -> None:
    kept.add(moved(1, "planned", "canceled"))
    found = kept.look()
    assert (found.states(), len(found.states(closed=True)), len(found.states(mission="demo"))) == ([], 1, 1)


def test_names_are_harmless_and_texts_have_an_end(kept: Kept) -> None:
    slug = "<script>alert(1)</script>"
    kept.add(packaged(1, "WP" + "9" * 5000, "x" * 50_000, *map(str, range(5000)), mission_slug=slug))
    kept.add(moved(2, "planned", "blocked", reason="y" * 50_000, actor="z" * 50_000, mission_slug=slug))
    [state] = kept.look().states()
    assert "<" not in state.mission.slug
    [package] = [one for one in state.packages if one.wp_id != "WP01"]
    assert max(map(len, (package.wp_id, package.title, package.dependencies, *package.dependencies))) <= 200
    row = state.snapshot.packages["WP01"].entered["blocked"]
    assert (len(row.row["reason"]), len(str(row.actor))) == (2000, 200)
