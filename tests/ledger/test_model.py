"""The ledger against models of it: in thousands of generated histories what was acknowledged stays, and all ways of reading give one state.

Three models, none of them made of the code that they judge. `spec_kitty_events.diary`, written by others, says what rows add up to.
It keeps nothing of what kitty remembers beside that (who took a work package on, what entered a lane, which steps are open), so a slow
reader of the pages' words stands here for it (`remembered`). And a set of lines stands for the file: what was acknowledged must be in it.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import json
import logging
import os
import random
import shutil
import tempfile
import types
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple, cast

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from spec_kitty_events import diary

from kitty_host.api import KittyError
from kitty_host.files import lock, same_file
from kitty_host.ledger import event as event_module
from kitty_host.ledger import snapshot as cached
from kitty_host.ledger.emit import emit
from kitty_host.ledger.event import (
    STEP_ANSWERED,
    STEP_ISSUED,
    Event,
    Other,
    Row,
    annotation,
    decode,
    encode,
    envelope,
    transition,
    ulid,
)
from kitty_host.ledger.lines import decode_lines, whole_lines
from kitty_host.ledger.log import Ledger
from kitty_host.ledger.machine import EDGES, GENESIS, LANES
from kitty_host.ledger.reduce import Snapshot, reduce
from kitty_host.ledger.wp import WpState
from kitty_host.mission import Mission
from kitty_host.plugins import Plugins
from kitty_host.state import State
from kitty_host.testing import Project

COMPARED = ("event_count", "last_event_id", "materialized_at", "summary", "mission_slug", "work_packages")
PACKAGES = ("WP01", "WP02")


@pytest.fixture(scope="module", autouse=True)
def _quiet_oracle() -> Iterator[None]:
    log = logging.getLogger("spec_kitty_events.diary")
    log.disabled = True
    yield
    log.disabled = False


# Histories: a few writers with clocks of their own, and a few work packages, moments and ids, so that rows meet.


class Told(NamedTuple):
    """What a writer is told to do; small numbers, so that a failing history shrinks to one that can be read."""

    kind: str
    writer: int
    package: int
    pick: int
    tick: int
    """Whether the time goes on, and the others hear of it."""


SKEW = (0, 2, -2)
"""Seconds by which the clocks of the writers are wrong."""
FORWARD = ("genesis", "planned", "claimed", "in_progress", "for_review", "in_review", "approved", "done")
# Forward more often than not, or no history would ever reach an approval.
WAYS = {
    lane: [*[target for source, target in itertools.pairwise(FORWARD) if source == lane] * 3, *sorted(EDGES[lane])]
    for lane in (*LANES, GENESIS)
}
# And back again: most of what is hard about an order is about reviews.
WAYS["in_review"] = ["approved", "planned", "in_progress", "approved", "planned", "done", "blocked", "approved"]
WAYS["approved"] = ["in_progress", "done", "in_progress", "planned", "in_progress", "canceled", "blocked"]
# Rows that quarrel: each is legal for somebody who has not heard of the others.
STRAYS = (
    ("in_review", "approved"),
    ("in_review", "planned"),
    ("approved", "in_progress"),
    ("approved", "done"),
    ("planned", "claimed"),
    ("for_review", "in_progress"),
    ("in_review", "in_progress"),
    ("approved", "planned"),
)
DELTAS: tuple[Row, ...] = (
    {"note": "one"},
    {"subtasks": {"T001": "done"}},
    {"subtasks": {"T001": "planned", "T002": "not_applicable"}},
    {"agent": "claude"},
    {"shell_pid": "7", "shell_pid_created_at": "1.5", "agent": "codex"},
    {"tracker_refs": ["#1", "#2"]},
    {"tracker_refs_replace": ["#3"]},
    {"release_runtime_claim": True},
    {"review": {"at": "2026", "actor": "rita", "wp_id": "WP01", "reason": "late"}},
    {"review": {"at": "", "actor": "", "wp_id": "", "reason": ""}},
    {"note": "two", "assignee": "bob", "role": "reviewer", "model": "m"},
    {"tracker_refs": ["#2", "#2"], "note": "three"},
    {"shell_pid": 0},
    {"tracker_refs_replace": [], "tracker_refs": ["#9"]},
    {"agent": "", "provider": "p"},
    {},
)


class Writers:
    """Three writers: the first is as careful as kitty, one runs ahead, one behind; the last two hear late of what others wrote."""

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.step = 0
        self.second = 10
        self._views: tuple[dict[str, str], ...] = ({}, {}, {})

    def write(self, told: Told) -> Row:
        """The row that comes of it."""
        self.step += 1
        self.second += told.tick
        row = self._made(told)
        self.rows.append(row)
        return row

    def _made(self, told: Told) -> Row:
        kind, pick = told.kind, told.pick
        repeatable = [row for row in self.rows if row.get("event_type") not in (STEP_ISSUED, STEP_ANSWERED)]
        if kind == "again" and repeatable:
            return repeatable[-1 - pick % len(repeatable)]
        if kind == "alike" and repeatable:
            # Under an id that is taken, and maybe at its time, too.
            like = repeatable[-1 - pick % len(repeatable)]
            fresh = self._stamped(self._moved(told), told)
            return {**fresh, "event_id": like.get("event_id", "x"), **({"at": like["at"]} if "at" in like else {})}
        if kind == "note":
            row = annotation(PACKAGES[told.package], DELTAS[pick + 8 * told.tick], actor=f"w{told.writer}")
            return self._stamped(row, told)
        if kind == "other":
            return self._stamped(envelope(f"Kind{pick % 2}", {"n": self.step}, aggregate_id="m"), told)
        if kind == "issue":
            return self._stamped(envelope(STEP_ISSUED, {"agent": f"w{told.writer}"}, aggregate_id="m"), told)
        if kind == "answer":
            issued = [row["event_id"] for row in self.rows if row.get("event_type") == STEP_ISSUED] or ["nobody"]
            answer = {"step_id": issued[pick % len(issued)]}
            return self._stamped(envelope(STEP_ANSWERED, answer, aggregate_id="m"), told)
        return self._stamped(self._moved(told), told)

    def _moved(self, told: Told) -> Row:
        wp_id, pick = PACKAGES[told.package], told.pick
        source = self._views[told.writer].get(wp_id, GENESIS)
        ways = WAYS[source]
        actor: Any = f"w{told.writer}"
        force = told.kind == "force" or not ways
        if force:
            target = LANES[pick]
        elif told.kind in ("stray", "alike") or (told.kind == "seed" and pick % 2):
            source, target = STRAYS[pick]
        else:
            target = ways[pick % len(ways)]
        if told.kind == "seed":
            actor = "migration:backfill" if told.tick else {**ACTOR, "tool": "migration:repair"}
        elif pick == 4:
            actor = ACTOR
        if told.kind != "seed":
            for writer, view in enumerate(self._views):
                if writer in (0, told.writer) or told.tick:
                    view[wp_id] = target
        return moved(wp_id, source, target, actor=actor, force=force, pick=pick)

    def _stamped(self, row: Row, told: Told) -> Row:
        moment = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=self.second + SKEW[told.writer])
        at = moment.isoformat(timespec="microseconds")
        # Ids ascend as times do, but for some of those who are not kitty.
        late = told.writer and (told.pick >= 6 or (told.kind == "note" and told.pick % 4 > 1))
        number = max(0, self.step - 4) if late else self.step
        if told.writer == 0:
            mine = [one["at"] for one in self.rows if one.get("wp_id") == row.get("wp_id") and "at" in one]
            if mine and at <= max(mine):
                at = (datetime.fromisoformat(max(mine)) + timedelta(microseconds=1)).isoformat(timespec="microseconds")
        elif told.pick % 2:
            at = moment.isoformat(timespec="seconds").replace("+00:00", "Z" if told.writer == 2 else "+00:00")
        return {**row, "event_id": ulid(number, self.step), "timestamp" if "event_type" in row else "at": at}


ACTOR = {"role": "reviewer", "profile": None, "tool": "claude", "model": "m"}


def moved(wp_id: str, source: str, target: str, *, actor: Any = "ada", force: bool = False, pick: int = 0) -> Row:
    """A transition with all that its edge asks for, unless `pick` says that the writer was sloppy."""
    approves = target in ("approved", "done")
    review = {
        "reviewer": "rita",
        "verdict": "approved" if approves else "changes_requested",
        "reference": f"r{pick % 2}",
    }
    told: Row | None = None
    if target in ("claimed", "in_progress"):
        told = {"agent": f"agent{pick % 3}", "shell_pid": pick, "shell_pid_created_at": f"{pick}.5"}
    if target == "for_review":
        told = {"evidence": {"head": f"c{pick}", "commits": 1}}
    return transition(
        wp_id,
        source,
        target,
        actor=actor,
        mission_id="01HXYZ0123456789ABCDEFGHJK",
        mission_slug="other" if pick == 7 else "demo",
        force=force,
        reason="because",
        review_ref="r0" if source == "approved" or (source == "for_review" and pick % 2) else None,
        evidence={"review": review, "repos": [{"repo": "r", "branch": "b", "commit": f"c{pick}"}]}
        if approves
        else None,
        review_result=review if source == "in_review" and pick != 5 else None,
        policy_metadata=told if pick != 6 or target == "for_review" else None,
    )


KINDS = (*["go"] * 8, *["note"] * 3, "stray", "stray", "force", "other", "issue", "answer")


def tellings(*more: str, writers: int = 2) -> st.SearchStrategy[Told]:
    """What a writer may be told; `more` are kinds that not every test can have."""
    return st.builds(
        Told,
        st.sampled_from((*KINDS, *more)),
        st.integers(0, writers),
        st.sampled_from((0, 0, 1)),
        st.integers(0, 7),
        st.integers(0, 1),
    )


def histories(*more: str, size: int = 24, writers: int = 2) -> st.SearchStrategy[list[Row]]:
    """The rows of a ledger, in the order in which they were written."""

    def written(tellings: list[Told]) -> list[Row]:
        made = Writers()
        return [made.write(told) for told in tellings]

    told = tellings(*more, writers=writers)
    # Left alone, Hypothesis makes lists of five; quarrels need more.
    return (st.lists(told, max_size=size) | st.lists(told, min_size=size // 2, max_size=size)).map(written)


# Who quarrels, and how: the first three are as orderly as kitty, so that only what the rows say is in dispute.
TEMPERS = (
    ((0,), ("stray",)),
    ((0,), ("go", "stray")),
    ((0,), ("go", "stray", "seed")),
    ((1, 1, 2), ("go", "stray", "seed")),
    ((1, 1, 2), ("go", "stray", "force", "note")),
    ((1,), ("note",)),
)


@st.composite
def quarrels(draw: st.DrawFn) -> list[Row]:
    """One work package in review, at a few moments: hardly a row is undisputed."""
    writers, kinds = draw(st.sampled_from(TEMPERS))
    made = Writers()
    made.write(Told("force", writers[0], 0, LANES.index("in_review"), 1))
    choices = (st.sampled_from(kinds), st.sampled_from(writers), st.just(0), st.integers(0, 7))
    for one in draw(st.lists(st.builds(Told, *choices, st.sampled_from((0, 0, 1))), min_size=6, max_size=12)):
        made.write(one)
    return made.rows


shuffles = st.integers(0, 1 << 16).map(random.Random)


def events_of(rows: Sequence[Row]) -> list[Event]:
    return [decode(row) for row in rows]


def lines_of(rows: Sequence[Row]) -> list[bytes]:
    return [encode(row).encode().removesuffix(b"\n") for row in rows]


def content_of(lines: Sequence[bytes]) -> bytes:
    return b"".join(line + b"\n" for line in lines)


def lines_in(path: Path) -> list[bytes]:
    return whole_lines(path.read_bytes()) if path.exists() else []


# What is compared


def everything(state: Snapshot, *, in_any_order: bool = False) -> dict[str, Any]:
    """All that a state knows, field by field, so that a new field is compared from its first day on."""
    found: dict[str, Any] = {name: getattr(state, name) for name in Snapshot.__slots__}
    for name in ("others", "issued"):
        found[name] = {key: one.row for key, one in found[name].items()}
    found["run"] = state.run.row if state.run else None
    for name in ("first", "last"):
        # The number in a place counts among the rows of one time only, and only while they are sorted.
        found[name] = found[name] and (*found[name][0][:2], found[name][0][3], found[name][1])
    found["packages"] = [(wp_id, package_facts(package)) for wp_id, package in state.packages.items()]
    found["latest"] = [state.latest(), *(state.latest(wp_id) for wp_id in PACKAGES)]
    found["dict"] = state.to_dict()
    if in_any_order:
        del found["last_row_id"]  # of the last line, whichever that is
    return found


def package_facts(package: WpState) -> dict[str, Any]:
    found = {name: getattr(package, name) for name in WpState.__slots__}
    found["entered"] = {lane: row.row for lane, row in package.entered.items()}
    return {**found, "said_at": tuple(package.said_at), "agent": package.agent, "latest": package.latest}


def theirs(rows: Sequence[Row]) -> dict[str, Any]:
    found = diary.reduce(list(rows)).to_dict()
    return {key: found[key] for key in COMPARED}


def ours(state: Snapshot) -> dict[str, Any]:
    found = state.to_dict()
    return {key: found[key] for key in COMPARED}


def remembered(rows: Sequence[Row]) -> dict[str, Any]:
    """What kitty remembers beside the state, by the words of the pages: slow, and obvious."""
    moves = list({row["event_id"]: row for row in reversed(rows) if "from_lane" in row}.values())
    packages = sorted({row["wp_id"] for row in rows if "wp_id" in row})
    envelopes = [row for row in rows if "event_type" in row]
    answered = {row["payload"]["step_id"] for row in envelopes if row["event_type"] == STEP_ANSWERED}
    issued = {row["event_id"] for row in envelopes if row["event_type"] == STEP_ISSUED}
    runs = [row for row in envelopes if row["event_type"] == STEP_ISSUED]
    facts: dict[str, Any] = {}
    for wp_id in packages:
        mine = sorted((row for row in moves if row["wp_id"] == wp_id), key=lambda row: (row["at"], row["event_id"]))
        takers: list[str] = []
        for row in mine:
            agent = (row["policy_metadata"] or {}).get("agent")
            if row["to_lane"] in ("claimed", "in_progress") and agent:
                takers = [*(one for one in takers if one != agent), agent]
        facts[wp_id] = {
            "entered": {row["to_lane"]: row["event_id"] for row in mine},
            "takers": takers,
            "seen": (mine[-1]["at"], mine[-1]["event_id"]) if mine else ("", ""),
            "latest": max(row["at"] for row in rows if row.get("wp_id") == wp_id),
        }
    return {
        "packages": facts,
        "rows": len(rows),
        "event_count": len(moves),
        "top": max((row["event_id"] for row in moves), default=""),
        "latest": max((str(row.get("at") or row.get("timestamp")) for row in rows), default=""),
        "issued": issued - answered,
        "run": min(((row["timestamp"], row["event_id"]) for row in runs), default=None),
        "others": {
            kind: max((row["timestamp"], row["event_id"]) for row in envelopes if row["event_type"] == kind)
            for kind in {row["event_type"] for row in envelopes}
        },
    }


def kept(state: Snapshot) -> dict[str, Any]:
    """The same of a state."""
    return {
        "packages": {
            wp_id: {
                "entered": {lane: row.event_id for lane, row in package.entered.items()},
                "takers": package.takers,
                "seen": (package.seen_at, package.seen_id),
                "latest": state.latest(wp_id),
            }
            for wp_id, package in state.packages.items()
        },
        "rows": state.rows,
        "event_count": state.event_count,
        "top": state.top,
        "latest": state.latest(),
        "issued": set(state.issued),
        "run": state.run and (state.run.at, state.run.event_id),
        "others": {kind: (one.at, one.event_id) for kind, one in state.others.items()},
    }


# Any order is one state


def one_state_in_any_order(rows: list[Row], chance: random.Random) -> None:
    wanted = reduce(events_of(rows))
    assert ours(wanted) == theirs(rows)
    assert kept(wanted) == remembered(rows)
    for turn in range(3):
        other = rows[::-1] if turn == 0 else chance.sample(rows, len(rows))
        found = reduce(events_of(other))
        assert everything(found, in_any_order=True) == everything(wanted, in_any_order=True)
        assert kept(found) == remembered(other)


@given(histories("seed", "again") | quarrels(), shuffles)
@settings(max_examples=120)
def test_the_lines_of_any_history_add_up_to_one_state_in_any_order(rows: list[Row], chance: random.Random) -> None:
    one_state_in_any_order(rows, chance)


@pytest.mark.slow
@given(histories("seed", "again") | quarrels(), shuffles)
@settings(max_examples=800)
def test_so_do_those_of_hundreds_of_histories(rows: list[Row], chance: random.Random) -> None:
    one_state_in_any_order(rows, chance)


@pytest.mark.sweep
@given(histories("seed", "again") | quarrels(), shuffles)
@settings(max_examples=4000)
def test_so_do_those_of_thousands_of_histories(rows: list[Row], chance: random.Random) -> None:
    one_state_in_any_order(rows, chance)


# Branches


def one_state_however_merged(rows: list[Row], chance: random.Random) -> None:
    ledger = Ledger(Path("mission"), Path("common"), "m")
    wanted = everything(reduce(events_of(rows)), in_any_order=True)
    lines = lines_of(rows)
    fork = chance.randint(0, len(lines))
    branches: list[list[bytes]] = [lines[:fork] for _ in range(3)]
    for line in lines[fork:]:
        for branch in chance.sample(branches, chance.choice((1, 1, 1, 2, 3))):
            branch.append(line)
    for order in itertools.permutations(branches):
        merged = ledger.union(*order)
        step_by_step = ledger.union(ledger.union(*order[:2]), order[2])
        assert merged == step_by_step
        assert merged[: len(order[0])] == order[0], "the first copy stays as it is"
        assert sorted(merged) == sorted(lines)
        assert everything(reduce(decode_lines(merged, Path("x"))), in_any_order=True) == wanted


@given(histories("seed") | quarrels(), shuffles)
@settings(max_examples=60)
def test_branches_merged_in_any_order_are_one_state(rows: list[Row], chance: random.Random) -> None:
    one_state_however_merged(rows, chance)


@pytest.mark.slow
@given(histories("seed") | quarrels(), shuffles)
@settings(max_examples=400)
def test_so_are_those_of_hundreds_of_histories(rows: list[Row], chance: random.Random) -> None:
    one_state_however_merged(rows, chance)


@pytest.mark.sweep
@given(histories("seed") | quarrels(), shuffles)
@settings(max_examples=2000)
def test_so_are_those_of_thousands_of_histories(rows: list[Row], chance: random.Random) -> None:
    one_state_however_merged(rows, chance)


# A state and what follows


def through_the_cache(state: Snapshot) -> Snapshot:
    return cached._state(json.loads(json.dumps(cached._told(state))))


def one_state_however_extended(rows: list[Row]) -> None:
    events = events_of(rows)
    whole = [everything(reduce(events[:count])) for count in range(len(events) + 1)]
    assert {key: whole[-1]["dict"][key] for key in COMPARED} == theirs(rows)
    for cut in range(len(events) + 1):
        for known in (reduce(events[:cut]), through_the_cache(reduce(events[:cut]))):
            if known.extend(events[cut:]):
                assert everything(known) == whole[-1], f"the rows from {cut} on were added to a state"
    # As readers do, one by one: what was extended is extended further, and is reduced anew where it must be.
    state = Snapshot()
    for count, event in enumerate(events, 1):
        if not state.extend([event]):
            state = reduce(events[:count])
        assert everything(state) == whole[count], f"up to row {count}"
        if count % 2:
            state = through_the_cache(state)


# Much of the first kind can be added to a state, and little of the last.
in_file_order = histories("again", "alike", writers=0) | quarrels() | quarrels() | histories("seed", "again", "alike")


def strays(*picks: int) -> list[Row]:
    made = Writers()
    return [made.write(Told("stray", 0, 0, pick, 1)) for pick in picks]


@given(in_file_order)
@settings(max_examples=300)
@example(strays(0, 2, 2, 0))  # approved once, left twice: what left it last waits for the next approval
def test_a_state_and_what_follows_is_the_state_of_all_or_refused(rows: list[Row]) -> None:
    one_state_however_extended(rows)


@pytest.mark.slow
@given(in_file_order)
@settings(max_examples=1000)
def test_so_it_is_for_a_thousand_histories(rows: list[Row]) -> None:
    one_state_however_extended(rows)


@pytest.mark.sweep
@given(in_file_order)
@settings(max_examples=4000)
def test_so_it_is_for_thousands_of_histories(rows: list[Row]) -> None:
    one_state_however_extended(rows)


@given(histories(writers=0))
@settings(max_examples=50)
def test_what_kitty_wrote_alone_is_never_refused(rows: list[Row]) -> None:
    # Two reopenings of one approval are two writers' work; the first writer makes them only when told to stray.
    rows = [row for row in rows if row.get("from_lane") != "approved" or row.get("force")]
    tangled = any(package.tangled for package in reduce(events_of(rows)).packages.values())
    state = Snapshot()
    assert state.extend(events_of(rows)) or tangled


# The cache file


def read(path: Path, cache: Path) -> Snapshot:
    with path.open("rb") as stream:
        return cached.read_snapshot(stream, path, cache)


THRESHOLDS = {
    "every state is cached": {"_SMALL": 0, "_STALE": -1},
    "a few rows are read behind the cache": {"_SMALL": 900, "_STALE": 1500, "_TAIL": 1200},
    "by the decoder for big files": {"_SMALL": 0, "_STALE": 700, "_HUGE": 0},
}


@pytest.fixture(params=THRESHOLDS)
def thresholds(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Small files are read as big ones are, and syncs, which nothing here is about, cost no time."""
    for name, value in THRESHOLDS[request.param].items():
        monkeypatch.setattr(cached, name, value)
    for name in ("fsync", "fdatasync"):
        monkeypatch.setattr(os, name, lambda descriptor: None, raising=False)


def one_state_however_read(rows: list[Row], sizes: list[int]) -> None:
    with tempfile.TemporaryDirectory() as place:
        path, cache = Path(place, "ledger"), Path(place, "cache")
        path.touch()
        done = 0
        for size in [*sizes, len(rows)]:
            lines = lines_of(rows[done : done + size])
            # Nobody promises that a row is whole when it is read.
            for piece in (content_of(lines[:-1]), *((lines[-1], b"\n") if lines else ())):
                with path.open("ab") as stream:
                    stream.write(piece)
                whole = decode_lines(lines_in(path), path)
                assert everything(read(path, cache)) == everything(reduce(whole))
            done += size
        assert everything(read(path, cache)) == everything(reduce(events_of(rows)))
        assert theirs(rows) == ours(read(path, cache))


# The patches of the fixture are the same for every example.
shared = settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], max_examples=20)


@pytest.mark.usefixtures("thresholds")
@given(in_file_order, st.lists(st.integers(0, 6), max_size=5))
@shared
def test_a_growing_file_is_read_as_if_it_were_read_anew(rows: list[Row], sizes: list[int]) -> None:
    one_state_however_read(rows, sizes)


@pytest.mark.slow
@pytest.mark.usefixtures("thresholds")
@given(in_file_order, st.lists(st.integers(0, 6), max_size=5))
@settings(shared, max_examples=150)
def test_so_are_many_more_files(rows: list[Row], sizes: list[int]) -> None:
    one_state_however_read(rows, sizes)


@pytest.mark.sweep
@pytest.mark.usefixtures("thresholds")
@given(in_file_order, st.lists(st.integers(0, 6), max_size=5))
@settings(shared, max_examples=400)
def test_so_are_hundreds_of_files(rows: list[Row], sizes: list[int]) -> None:
    one_state_however_read(rows, sizes)


@pytest.mark.usefixtures("thresholds")
@given(histories(size=12).filter(len), st.integers(0, 11), st.sampled_from([b"{broken", b"17", b"\xff", b'{"a": 1}']))
@shared
def test_damage_is_named_alike_with_and_without_a_cache(rows: list[Row], where: int, damage: bytes) -> None:
    where %= len(rows)
    before, after = lines_of(rows[:where]), lines_of(rows[where:])
    with tempfile.TemporaryDirectory() as place:
        path, cache = Path(place, "ledger"), Path(place, "cache")
        path.write_bytes(content_of(before))
        read(path, cache)
        with path.open("ab") as stream:
            stream.write(content_of([damage, *after]))
        with pytest.raises(KittyError) as wanted:
            decode_lines(lines_in(path), path)
        with pytest.raises(KittyError) as found:
            read(path, cache)
        assert (found.value.code, found.value.message) == ("LEDGER_DAMAGED", wanted.value.message)


def rewritten(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def replaced_at_the_same_time(path: Path, content: bytes) -> None:
    status = path.stat()
    scratch = path.with_name("scratch")
    scratch.write_bytes(content)
    os.utime(scratch, ns=(status.st_atime_ns, status.st_mtime_ns))
    scratch.replace(path)


def rewritten_later(path: Path, content: bytes) -> None:
    status = path.stat()
    path.write_bytes(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1))


@pytest.mark.parametrize(
    ("act", "change"),
    [
        # Each is told apart by one thing alone: the inode, the time of the change, the bytes before the last one that was read.
        (replaced_at_the_same_time, lambda lines: [lines[0].replace(b"note 0", b"note X"), *lines[1:]]),
        (rewritten_later, lambda lines: [lines[0].replace(b"note 0", b"note X"), *lines[1:]]),
        (rewritten, lambda lines: [line.replace(b"note", b"word") for line in [*lines, lines[-1]]]),
        (rewritten, lambda lines: lines[1:]),
        (rewritten, lambda lines: []),
    ],
    ids=["the inode", "the time", "the last bytes", "the size", "nothing left"],
)
def test_another_file_is_not_taken_for_the_one_that_is_cached(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    act: Callable[[Path, bytes], None],
    change: Callable[[list[bytes]], list[bytes]],
) -> None:
    for name, value in {"_SMALL": 0, "_STALE": -1, "_TAIL": 200}.items():
        monkeypatch.setattr(cached, name, value)
    path, cache = tmp_path / "ledger", tmp_path / "cache"
    rows = [
        {**annotation("WP01", {"note": f"note {number}"}, actor="a"), "event_id": ulid(number, 1), "at": "2026"}
        for number in range(5)
    ]
    path.write_bytes(content_of(lines_of(rows)))
    assert everything(read(path, cache)) == everything(reduce(events_of(rows)))
    act(path, content_of(change(lines_of(rows))))
    assert everything(read(path, cache)) == everything(reduce(decode_lines(lines_in(path), path)))


# The log


class Crash(BaseException):
    """The process ends here."""


class LogMachine(RuleBasedStateMachine):
    """Two copies of a ledger in real files, beside people, crashes and another program; the model is the set of acknowledged lines."""

    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp())
        self.writers = Writers()
        self.acknowledged: dict[bytes, None] = {}
        self.doubled: Counter[bytes] = Counter()
        """How often somebody wrote a line again."""
        self.every: set[bytes] = set()
        """Whatever anybody ever tried to write."""
        self.clone: Ledger | None = None
        self.of_clone: set[bytes] = set()
        self.caches: list[bytes] = []
        self.patch = pytest.MonkeyPatch()
        self.linked = True
        self.ledger = self.opened()

    def opened(self, where: str = "here") -> Ledger:
        return Ledger(self.root / where / "kitty-specs" / "demo", self.root / where / "git", "m")

    def teardown(self) -> None:
        self.patch.undo()
        shutil.rmtree(self.root)

    @initialize(linked=st.sampled_from([True, True, True, False]))
    def on_a_file_system(self, linked: bool) -> None:
        self.linked = linked
        if not linked:

            def fail(*_: Any, **__: Any) -> None:
                raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))

            self.patch.setattr(os, "link", fail)

    # What the rules need

    def made(self, tellings: list[Told]) -> list[Row]:
        rows = [self.writers.write(told) for told in tellings]
        self.every.update(lines_of(rows))
        return rows

    def acknowledge(self, lines: Sequence[bytes]) -> None:
        self.acknowledged.update(dict.fromkeys(lines))

    def written(self) -> None:
        """After any command that writes."""
        assert self.ledger.findings() == []
        assert same_file(self.ledger.live, self.ledger.twin) or not self.linked or not self.ledger.live.exists()
        # What it has made of both names is durable, as if it had written that itself.
        self.acknowledge(self.ledger.lines())

    def holds_all(self, path: Path) -> bool:
        return set(lines_in(path)) >= self.acknowledged.keys()

    @property
    def cache(self) -> Path:
        return self.root / "here" / "git" / "kitty" / "cache" / "ledger-m.json"

    @property
    def torn(self) -> bool:
        live = self.ledger.live
        return live.exists() and live.read_bytes()[-1:] not in (b"", b"\n")

    def replace_live(self, content: bytes) -> None:
        """As Git does, and most editors: another file under the same name."""
        self.ledger.live.parent.mkdir(parents=True, exist_ok=True)
        scratch = self.ledger.live.with_name("scratch")
        scratch.write_bytes(content)
        scratch.replace(self.ledger.live)

    # Commands

    @rule(told=st.lists(tellings("seed"), min_size=1, max_size=3))
    def append(self, told: list[Told]) -> None:
        self.append_rows(told)

    def append_rows(self, told: list[Told]) -> None:
        rows = self.made(told)
        self.ledger.append(rows)
        assert self.ledger.lines()[-len(rows) :] == lines_of(rows)
        self.acknowledge(lines_of(rows))
        self.written()

    @rule(told=st.lists(tellings(writers=0), min_size=1, max_size=4))
    def work(self, told: list[Told]) -> None:
        """What happens most, and what a cached state can be extended by."""
        self.append_rows([one._replace(kind="go" if one.kind == "stray" else one.kind) for one in told])

    @rule()
    def repair(self) -> None:
        with self.ledger.locked():
            pass
        self.written()

    @rule()
    def leave(self) -> None:
        self.ledger.leave_the_checkout()

    @rule(
        told=st.lists(tellings("seed"), min_size=1, max_size=3),
        call=st.sampled_from(["write", "write", "fdatasync", "fsync", "replace", "link", "ftruncate"]),
        turn=st.integers(0, 3),
        part=st.integers(0, 8),
    )
    def crash(self, told: list[Told], call: str, turn: int, part: int) -> None:
        rows = self.made(told)
        real = getattr(os, call)
        turns = itertools.count()

        def called(*arguments: Any, **named: Any) -> Any:
            if next(turns) == turn:
                if call == "write":
                    descriptor, content = arguments
                    real(descriptor, bytes(content[: len(content) * part // 8]))
                raise Crash
            return real(*arguments, **named)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(os, call, called)
            try:
                self.ledger.append(rows)
            except Crash:
                pass
            else:
                self.acknowledge(lines_of(rows))
        # What the next process would sweep away; this one lives on and its temporary files with it.
        for path in self.root.rglob(".kitty-tmp-*"):
            path.unlink()
        self.ledger = self.opened()

    # What others do

    @precondition(lambda self: not self.torn)
    @rule(told=tellings())
    def peer(self, told: Told) -> None:
        """spec-kitty reads the whole file and replaces it, under the same lock."""
        with lock(self.ledger.lock_file, wait_seconds=0):
            live = self.ledger.live
            [row] = self.made([told])
            self.replace_live((live.read_bytes() if live.exists() else b"") + content_of(lines_of([row])))
        self.acknowledge(lines_of([row]))

    @precondition(lambda self: self.holds_all(self.ledger.twin))
    @rule(count=st.integers(0, 40))
    def older_copy(self, count: int) -> None:
        self.replace_live(content_of(self.ledger.lines()[:count]))

    @precondition(lambda self: self.holds_all(self.ledger.twin))
    @rule()
    def remove_live(self) -> None:
        self.ledger.live.unlink(missing_ok=True)

    @precondition(lambda self: self.holds_all(self.ledger.live))
    @rule()
    def remove_twin(self) -> None:
        self.ledger.twin.unlink(missing_ok=True)

    @precondition(lambda self: self.ledger.live.exists())
    @rule(told=tellings(), part=st.integers(1, 8))
    def tear(self, told: Told, part: int) -> None:
        [line] = lines_of(self.made([told]))
        with self.ledger.live.open("ab") as stream:
            stream.write(line[: len(line) * part // 8])

    @precondition(lambda self: self.ledger.live.exists() and not self.torn and bool(lines_in(self.ledger.live)))
    @rule(which=st.integers(0, 40), in_place=st.booleans())
    def double(self, which: int, in_place: bool) -> None:
        lines = lines_in(self.ledger.live)
        line = lines[which % len(lines)]
        self.doubled[line] += 1
        if in_place:
            with self.ledger.live.open("ab") as stream:
                stream.write(line + b"\n")
        elif self.holds_all(self.ledger.twin):
            self.replace_live(content_of([line, *lines]))

    # Clones

    @precondition(lambda self: self.clone is None)
    @rule()
    def fork(self) -> None:
        self.clone = self.opened("there")
        self.clone.extend(self.ledger.lines())
        self.of_clone = set(self.clone.lines())

    @precondition(lambda self: self.clone is not None)
    @rule(told=st.lists(tellings("seed"), min_size=1, max_size=3))
    def append_there(self, told: list[Told]) -> None:
        assert self.clone is not None
        rows = self.made(told)
        self.clone.append(rows)
        self.of_clone.update(lines_of(rows))

    @precondition(lambda self: self.clone is not None)
    @rule()
    def take(self) -> None:
        assert self.clone is not None
        lacking = self.of_clone - set(self.ledger.lines())
        # A tail that is whole but for its newline is finished first, and then the line is not lacking.
        assert self.ledger.extend(self.clone.lines()) in (len(lacking), len(lacking) - 1)
        self.acknowledge(self.clone.lines())
        self.written()

    @precondition(lambda self: self.clone is not None)
    @rule()
    def give(self) -> None:
        assert self.clone is not None
        self.clone.extend(self.ledger.lines())
        self.of_clone |= set(self.ledger.lines())

    @precondition(lambda self: self.clone is not None and self.holds_all(self.ledger.twin))
    @rule()
    def check_out_theirs(self) -> None:
        assert self.clone is not None
        self.replace_live(content_of(self.clone.lines()))

    # The cache

    @rule(pick=st.integers(0, 5))
    def garble_the_cache(self, pick: int) -> None:
        if not self.cache.exists():
            return
        content = self.cache.read_bytes()
        garbage = (b"", b"{}", b"[]", content[: len(content) // 2], content.replace(b'"seen_at"', b'"x"'), b"\xff")
        self.cache.write_bytes(garbage[pick])

    @rule()
    def delete_the_cache(self) -> None:
        shutil.rmtree(self.cache.parent, ignore_errors=True)

    @precondition(lambda self: self.cache.exists())
    @rule()
    def keep_the_cache(self) -> None:
        self.caches.append(self.cache.read_bytes())

    @precondition(lambda self: self.caches)
    @rule(which=st.integers(0, 9), theirs=st.booleans())
    def bring_an_old_cache_back(self, which: int, theirs: bool) -> None:
        other = self.root / "there" / "git" / "kitty" / "cache" / "ledger-m.json"
        content = other.read_bytes() if theirs and other.exists() else self.caches[which % len(self.caches)]
        self.cache.parent.mkdir(parents=True, exist_ok=True)
        self.cache.write_bytes(content)

    # What holds after every step

    def files(self) -> dict[str, tuple[int, int, bytes]]:
        found = {}
        for path in self.root.rglob("*"):
            name = path.relative_to(self.root).as_posix()
            if "git/kitty/cache" not in name and path.is_file():
                status = path.stat()
                found[name] = (status.st_ino, status.st_mtime_ns, path.read_bytes())
        return found

    @invariant()
    def nothing_is_lost_and_nothing_is_made_up(self) -> None:
        lines = Counter(self.ledger.lines())
        assert lines.keys() >= self.acknowledged.keys()
        assert lines.keys() <= self.every
        for line, count in lines.items():
            assert count <= 1 + self.doubled[line]
        if self.clone is not None:
            assert set(self.clone.lines()) == self.of_clone

    @invariant()
    def every_way_of_reading_gives_one_state_and_writes_nothing(self) -> None:
        before = self.files()
        for ledger in filter(None, (self.ledger, self.clone)):
            events = ledger.events()
            wanted = everything(reduce(events))
            assert everything(ledger.snapshot()) == wanted
            assert everything(ledger.snapshot()) == wanted, "now from the cache"
            rows = ledger.rows()
            assert len(rows) == len(events) == wanted["rows"]
            assert {key: wanted["dict"][key] for key in COMPARED} == theirs(rows)
            ledger.findings()
        assert self.files() == before


@pytest.mark.usefixtures("thresholds")
def test_whatever_happens_to_its_files_a_ledger_keeps_what_it_acknowledged() -> None:
    run_state_machine_as_test(LogMachine, settings=settings(max_examples=15, stateful_step_count=30))


@pytest.mark.usefixtures("thresholds")
@pytest.mark.parametrize(
    "stories", [pytest.param(35, marks=pytest.mark.slow), pytest.param(150, marks=pytest.mark.sweep)]
)
def test_so_it_does_in_many_more_and_longer_stories(stories: int) -> None:
    run_state_machine_as_test(LogMachine, settings=settings(max_examples=stories, stateful_step_count=50))


# Emitting


@pytest.fixture
def mission(project: Project, alone: Path) -> Mission:
    made: Mission = project.mission(packages=[{"work_package_id": wp_id, "dependencies": []} for wp_id in PACKAGES])
    return made


class Clocks:
    """What the writers take for the time: each has a clock that was set wrong, and is set anew now and then."""

    def __init__(self) -> None:
        self.second = 0.0

    def now(self) -> datetime:
        return datetime(2026, 1, 1, 12, tzinfo=UTC) + timedelta(seconds=self.second)


@pytest.fixture
def clocks(monkeypatch: pytest.MonkeyPatch) -> Clocks:
    found = Clocks()

    class Clock(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return found.now()

    monkeypatch.setattr(event_module, "datetime", Clock)
    seconds = types.SimpleNamespace(time_ns=lambda: int(found.now().timestamp() * 1_000_000_000))
    monkeypatch.setattr(event_module, "time", seconds)
    return found


def moment(row: Row) -> datetime:
    return datetime.fromisoformat(row.get("at") or row["timestamp"])


def when(row: Row) -> str:
    return str(row.get("at") or row["timestamp"])


class EmitMachine(RuleBasedStateMachine):
    """Writers whose clocks disagree, one of them not kitty; each sees the ledger as it is and makes legal moves only.

    The times and ids of what kitty writes are kitty's own: that is what makes it count.
    """

    def __init__(self, mission: Mission, clocks: Clocks) -> None:
        super().__init__()
        self.mission = mission
        self.clocks = clocks
        self.numbers = itertools.count(1)
        self.acknowledged: list[bytes] = []
        for path in (mission.ledger.live, mission.ledger.twin):
            path.unlink(missing_ok=True)

    def legal(self, lane: str, pick: int) -> str:
        ways = WAYS[lane]
        return ways[pick % len(ways)] if ways else ""

    def move(self, state: State, lanes: dict[str, str], told: Told) -> Row | None:
        wp_id = PACKAGES[told.package]
        source = lanes.get(wp_id) or state.lane(wp_id)
        pick = told.pick if told.pick not in (5, 6) else 0  # nobody is sloppy here
        if (target := self.legal(source, pick)) == "":
            lanes[wp_id] = "planned"
            return moved(wp_id, source, "planned", force=True)
        lanes[wp_id] = target
        row = moved(wp_id, source, target, pick=pick)
        return {**row, "review_ref": None} if source == "in_review" else row

    def emitted(self, plan: Callable[[State], Sequence[Row]]) -> tuple[list[Row], list[Row], State]:
        """What was there, what was added, and the state afterwards."""
        before = self.mission.ledger.rows()
        added = emit(Plugins([]), self.mission, plan)
        assert self.mission.ledger.rows() == before + added, "what was acknowledged is what is there"
        self.acknowledged = self.mission.ledger.lines()
        return before, added, State.load(self.mission)

    @rule(second=st.sampled_from([0, 0, 1, 1.5, -3600, 3600, 86400.25]))
    def set_the_clock(self, second: float) -> None:
        self.clocks.second = second

    @rule(second=st.sampled_from([0, 0.000001, 1]))
    def wait(self, second: float) -> None:
        self.clocks.second += second

    @rule(told=st.lists(tellings(), min_size=1, max_size=4))
    def go(self, told: list[Told]) -> None:
        lanes: dict[str, str] = {}

        def plan(state: State) -> list[Row]:
            lanes.clear()
            return [row for one in told if (row := self.move(state, lanes, one)) is not None]

        before, added, after = self.emitted(plan)
        for wp_id, lane in lanes.items():
            assert after.lane(wp_id) == lane, "a transition that was acknowledged is not in force"
        state = after.snapshot
        assert state.packages[added[-1]["wp_id"]].event_id == added[-1]["event_id"]
        self.ascend(before, added)

    @rule(package=st.integers(0, 1), number=st.integers(0, 9))
    def say(self, package: int, number: int) -> None:
        wp_id = PACKAGES[package]
        delta = {"note": f"note {number}", "agent": f"agent{number}", "subtasks": {"T001": LANES[number % 9]}}
        before, added, after = self.emitted(lambda state: [annotation(wp_id, delta, actor="ada")])
        package_state = after.snapshot.packages[wp_id]
        assert package_state.slots["notes"][-1] == delta["note"]
        assert package_state.slots["subtasks"] == delta["subtasks"]
        assert package_state.agent == delta["agent"]
        self.ascend(before, added)

    @rule(kind=st.sampled_from(["MissionLanded", "MissionLandingUndone", STEP_ISSUED]))
    def tell_of_the_mission(self, kind: str) -> None:
        before, [row], after = self.emitted(lambda state: [envelope(kind, {"x": 1}, aggregate_id="m")])
        found = after.last_other("MissionLanded", "MissionLandingUndone", STEP_ISSUED)
        assert isinstance(found, Other)
        assert found.event_id == row["event_id"], "the last word about the mission is not the last one"
        assert all(when(row) > when(one) and moment(row) > moment(one) for one in before)

    @rule(told=tellings(), second=st.sampled_from([-7200, -1, 0, 1, 7200, 100_000]), form=st.integers(0, 2))
    def peer(self, told: Told, second: int, form: int) -> None:
        """spec-kitty writes by its own clock and sets no floor: its row may be stale, kitty's next one may not."""
        row = self.move(State.load(self.mission), {}, told)
        assert row is not None
        at = datetime(2026, 1, 1, 12, tzinfo=UTC) + timedelta(seconds=second)
        text = (at.isoformat(timespec="microseconds"), at.isoformat(), at.isoformat().replace("+00:00", "Z"))[form]
        number = next(self.numbers)
        self.mission.ledger.append([{**row, "at": text, "event_id": ulid(int(at.timestamp() * 1000), number)}])

    @rule(package=st.integers(0, 1), pick=st.integers(0, 7))
    def refuse(self, package: int, pick: int) -> None:
        wp_id, before = PACKAGES[package], self.mission.ledger.lines()
        lane = State.load(self.mission).lane(wp_id)
        source = LANES[pick]
        if source == lane:
            return
        with contextlib.suppress(KittyError):
            emit(Plugins([]), self.mission, lambda state: [moved(wp_id, source, "blocked")])
            raise AssertionError("an illegal move was written")
        assert self.mission.ledger.lines() == before

    def ascend(self, before: list[Row], added: list[Row]) -> None:
        for number, row in enumerate(added):
            earlier = [*before, *added[:number]]
            for one in earlier:
                if one.get("wp_id") == row["wp_id"]:
                    assert when(row) > when(one)
                    assert moment(row) > moment(one)
                if "from_lane" in row and "from_lane" in one:
                    assert row["event_id"] > one["event_id"]

    @invariant()
    def nothing_is_lost(self) -> None:
        lines = self.mission.ledger.lines()
        assert lines[: len(self.acknowledged)] == self.acknowledged
        rows = self.mission.ledger.rows()
        assert ours(self.mission.ledger.snapshot()) == theirs(rows)


@pytest.mark.usefixtures("thresholds")
def test_what_is_emitted_is_in_force_whatever_the_clocks_say(mission: Mission, clocks: Clocks) -> None:
    run_state_machine_as_test(
        cast(Any, lambda: EmitMachine(mission, clocks)), settings=settings(max_examples=8, stateful_step_count=20)
    )


@pytest.mark.usefixtures("thresholds")
@pytest.mark.parametrize(
    "stories", [pytest.param(35, marks=pytest.mark.slow), pytest.param(150, marks=pytest.mark.sweep)]
)
def test_so_it_is_in_many_more_and_longer_stories(mission: Mission, clocks: Clocks, stories: int) -> None:
    run_state_machine_as_test(
        cast(Any, lambda: EmitMachine(mission, clocks)), settings=settings(max_examples=stories, stateful_step_count=40)
    )
