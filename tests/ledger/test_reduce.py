"""The reducer gives what spec-kitty's own reducer gives, on any rows in any order."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from spec_kitty_events import diary

from kitty_host.ledger.event import Row, decode, transition, ulid
from kitty_host.ledger.machine import EDGES, GENESIS, LANES
from kitty_host.ledger.reduce import reduce

COMPARED = ("event_count", "last_event_id", "materialized_at", "summary", "mission_slug", "work_packages")


@pytest.fixture(scope="module", autouse=True)
def _quiet_oracle() -> Iterator[None]:
    log = logging.getLogger("spec_kitty_events.diary")
    log.disabled = True
    yield
    log.disabled = False


def ours(rows: list[Row]) -> dict[str, Any]:
    found = reduce([decode(row) for row in rows]).to_dict()
    return {key: found[key] for key in COMPARED}


def theirs(rows: list[Row]) -> dict[str, Any]:
    found = diary.reduce(rows).to_dict()
    return {key: found[key] for key in COMPARED}


# Ledgers: few work packages, few moments, few ids, so that rows meet.

packages = st.sampled_from(["WP01", "WP01", "WP02"])
ids = st.integers(0, 60).map(lambda number: ulid(number % 7, number))
moments = st.sampled_from(
    [f"2026-01-01T00:00:{second:02}.000000+00:00" for second in range(6)]
    + ["2026-01-01T00:00:02Z", "2026-01-01T00:00:03+00:00", "2025-12-31T23:59:59.9+00:00"]
)
actors: st.SearchStrategy[Any] = st.sampled_from(
    [
        "ada",
        "bob",
        "",
        "migration:backfill",
        "migration:repair",
        {"role": "reviewer", "profile": None, "tool": "claude", "model": "m"},
        {"role": "migration:role", "profile": "p", "tool": None, "model": None},
        {"role": None, "profile": None, "tool": None, "model": None},
    ]
)
# The lanes about which rows quarrel come up more often than the others.
busy = st.sampled_from([*LANES, GENESIS, *(["in_review", "approved", "planned", "claimed"] * 3)])
slugs = st.sampled_from(
    ["demo", "demo", "demo", "", "../evil", "a..b", ".hidden", " demo", "démo", "-dash", "a/b", "a\\b", "x.y_z-1"]
)
reviews = st.fixed_dictionaries(
    {
        "reviewer": st.sampled_from(["rita", ""]),
        "verdict": st.sampled_from(["approved", "changes_requested"]),
        "reference": st.just("r1"),
    },
    optional={"feedback_path": st.sampled_from([None, "f.md"])},
)
claims = st.fixed_dictionaries(
    {},
    optional={
        "agent": st.sampled_from(["claude", "", None]),
        "shell_pid": st.sampled_from([0, 7, "7", None]),
        "shell_pid_created_at": st.sampled_from(["1.5", "", None]),
        "migration_original_actor": st.just("x"),
    },
)


@st.composite
def arbitrary_transitions(draw: st.DrawFn) -> Row:
    """Any lane to any lane, whoever and whenever."""
    return seal(draw, draw(busy), draw(busy), draw(packages), draw(moments), draw(ids))


def seal(draw: st.DrawFn, source: str, target: str, wp_id: str, at: str, event_id: str) -> Row:
    leaving_review = source in ("in_review", "in_progress", "for_review")
    row = transition(
        wp_id,
        source,
        target,
        actor=draw(actors),
        mission_id="01HXYZ0123456789ABCDEFGHJK",
        mission_slug=draw(slugs),
        force=draw(st.integers(0, 5)) == 0,
        review_ref=draw(st.sampled_from([None, None, "r1", ""])) if source == "for_review" else None,
        evidence=draw(st.none() | st.fixed_dictionaries({"review": reviews})) if target == "approved" else None,
        review_result=draw(st.none() | st.just({}) | reviews) if leaving_review else None,
        policy_metadata=draw(st.none() | claims) if target == "claimed" else None,
    )
    row.update(at=at, event_id=event_id)
    if draw(st.integers(0, 9)) == 0:
        row["feature_slug"] = row.pop("mission_slug")
    for key in draw(
        st.sets(st.sampled_from(["review_result", "evidence", "policy_metadata", "mission_id"]), max_size=1)
    ):
        if row[key] is None or key == "mission_id":
            del row[key]
    if draw(st.integers(0, 9)) == 0:
        row["aaa_unknown"] = draw(st.integers(0, 2))
    return row


@st.composite
def walks(draw: st.DrawFn) -> list[Row]:
    """A history along the edges, on clocks that disagree."""
    wp_id, lane, rows = draw(packages), draw(st.sampled_from([GENESIS, "planned", "in_review", "approved"])), []
    for step in range(draw(st.integers(1, 14))):
        target = draw(st.sampled_from(sorted(EDGES[lane]) or ["planned"]))
        second = max(0, step + draw(st.sampled_from([0, 0, 0, -2, 3])))
        event_id = ulid(step, draw(st.integers(0, 1 << 40)))
        rows.append(seal(draw, lane, target, wp_id, f"2026-01-01T00:00:{second:02}.000000+00:00", event_id))
        lane = target
    return rows


overrides = st.fixed_dictionaries(dict.fromkeys(("at", "actor", "wp_id", "reason"), st.sampled_from(["", "x"])))
statuses = st.sampled_from(["done", "planned", "skipped", "not_applicable", "in_progress"])
deltas = st.fixed_dictionaries(
    {},
    optional={
        "subtasks": st.dictionaries(st.sampled_from(["T001", "T002"]), statuses),
        "note": st.sampled_from(["a note", "", None]),
        "tracker_refs": st.lists(st.sampled_from(["#1", "#2", "#3"]), max_size=3),
        "tracker_refs_replace": st.none() | st.lists(st.sampled_from(["#1", "#4"]), max_size=2),
        "release_runtime_claim": st.booleans(),
        "shell_pid": st.sampled_from([None, 0, 5, "6"]),
        "review": st.none() | overrides,
        "review_result": st.just({"verdict": "lost"}),
        **dict.fromkeys(
            (
                "agent",
                "assignee",
                "role",
                "agent_profile",
                "agent_profile_version",
                "model",
                "provider",
                "shell_pid_created_at",
            ),
            st.sampled_from([None, "", "one", "two"]),
        ),
    },
)
annotations = st.fixed_dictionaries(
    {
        "kind": st.just("annotation"),
        "event_id": ids,
        "wp_id": st.sampled_from(["WP01", "WP02", "WP09"]),
        "at": moments,
        "actor": actors,
        "delta": deltas,
    }
)
others: st.SearchStrategy[Row] = st.sampled_from(
    [
        {"event_type": "WPCreated", "event_id": "x", "timestamp": "2026", "payload": {}},
        {"type": "RetrospectiveCaptured", "event_id": "y", "at": "2026"},
        {"event_name": "retrospective.done"},
    ]
)
histories = st.lists(walks(), max_size=2).map(lambda found: [row for rows in found for row in rows])


@st.composite
def ledgers(draw: st.DrawFn) -> list[Row]:
    """Walks, noise, annotations, foreign rows, and now and then a row twice; in any order."""
    rows = draw(histories) + draw(st.lists(arbitrary_transitions() | annotations | others, max_size=12))
    if rows:
        rows = rows + draw(st.lists(st.sampled_from(rows), max_size=2))
    return draw(st.permutations(rows))


@given(ledgers())
@settings(max_examples=200)
@example([])
def test_any_ledger_adds_up_to_what_spec_kitty_makes_of_it(rows: list[Row]) -> None:
    assert ours(rows) == theirs(rows)


# The rules, one by one


def row(source: str, target: str, second: int, number: int, actor: str = "ada", **fields: Any) -> Row:
    made = transition("WP01", source, target, actor=actor, mission_id="m", mission_slug="demo", **fields)
    return {**made, "event_id": ulid(1, number), "at": f"2026-01-01T00:00:{second:02}.000000+00:00"}


SEED = "migration:backfill"
VERDICT = {"reviewer": "rita", "verdict": "approved", "reference": "r1"}
PID = {"shell_pid": 7, "shell_pid_created_at": "1.5", "agent": "seed"}
RULES: dict[str, tuple[list[Row], dict[str, Any]]] = {
    "a row that does not leave the lane in force counts for nothing": (
        [row("planned", "canceled", 1, 1), row("in_progress", "for_review", 2, 2)],
        {"lane": "canceled", "last_event_id": ulid(1, 1)},
    ),
    "unless it is forced": (
        [row("planned", "canceled", 1, 1), row("in_progress", "for_review", 2, 2, force=True, reason="x")],
        {"lane": "for_review", "force_count": 1},
    ),
    "a rejection beats a simultaneous approval": (
        [row("for_review", "in_review", 1, 1), row("in_review", "planned", 2, 2), row("in_review", "approved", 2, 3)],
        {"lane": "planned"},
    ),
    "in either order": (
        [row("for_review", "in_review", 1, 1), row("in_review", "approved", 2, 2), row("in_review", "planned", 2, 3)],
        {"lane": "planned"},
    ),
    "an approval that did not know of a rejection is stale": (
        [row("for_review", "in_review", 1, 1), row("in_review", "planned", 2, 2), row("in_review", "approved", 3, 3)],
        {"lane": "planned"},
    ),
    "what leaves approved follows its approval though a clock was ahead": (
        [
            row("for_review", "in_review", 1, 1),
            row("approved", "in_progress", 3, 2, review_ref="r"),
            row("in_progress", "blocked", 4, 3),
            row("in_review", "approved", 9, 4),
        ],
        {"lane": "blocked", "last_transition_at": "2026-01-01T00:00:04.000000+00:00"},
    ),
    "and though its id is smaller": (
        [row("for_review", "in_review", 1, 1), row("approved", "done", 2, 2), row("in_review", "approved", 2, 3)],
        {"lane": "done"},
    ),
    "a second cycle keeps its own approval": (
        [
            row("in_review", "approved", 1, 1),
            row("approved", "in_review", 2, 2, force=True, reason="x"),
            row("approved", "done", 3, 3),
            row("in_review", "approved", 5, 4),
        ],
        {"lane": "done"},
    ),
    "a seed yields to one who was there": (
        [row("planned", "claimed", 1, 1, SEED), row("in_progress", "for_review", 2, 2)],
        {"lane": "for_review"},
    ),
    "a seed that lost still tells who had claimed": (
        [row("planned", "canceled", 1, 1), row("planned", "claimed", 2, 2, SEED, policy_metadata=PID)],
        {"lane": "canceled", **PID},
    ),
    "but never over what was told": (
        [
            row("planned", "claimed", 1, 1, policy_metadata={"shell_pid": 1}),
            row("planned", "claimed", 2, 2, SEED, policy_metadata=PID),
        ],
        {"lane": "claimed", "shell_pid": 1, "agent": "seed"},
    ),
    "a real process id is not paired with the start time of a seed": (
        [
            row("planned", "claimed", 1, 1, SEED, policy_metadata=PID),
            row("planned", "claimed", 2, 2, policy_metadata={"shell_pid": 1}, force=True, reason="x"),
        ],
        {"shell_pid": 1, "agent": "seed"},
    ),
    "nor with that of a seed that lost": (
        [
            row("planned", "canceled", 1, 1),
            row("planned", "claimed", 2, 2, SEED, policy_metadata=PID),
            row("planned", "claimed", 3, 3, policy_metadata={"shell_pid": 1}, force=True, reason="x"),
        ],
        {"shell_pid": 1, "shell_pid_created_at": None},
    ),
    "but with one that somebody told since": (
        [
            row("planned", "claimed", 1, 1, SEED, policy_metadata=PID),
            row(
                "planned",
                "claimed",
                2,
                2,
                policy_metadata={**PID, "shell_pid_created_at": "2.5"},
                force=True,
                reason="x",
            ),
            row("planned", "claimed", 3, 3, policy_metadata={"shell_pid": 2}, force=True, reason="x"),
        ],
        {"shell_pid": 2, "shell_pid_created_at": "2.5"},
    ),
    "a rejection that a seed restates holds against its own approval": (
        [
            row("for_review", "in_review", 1, 1),
            row("in_review", "approved", 2, 2),
            row("in_review", "planned", 3, 3, SEED),
        ],
        {"lane": "planned"},
    ),
    "and not against one on which somebody has built": (
        [
            row("for_review", "in_review", 1, 1),
            row("in_review", "approved", 2, 2),
            row("approved", "done", 3, 3),
            row("in_review", "planned", 4, 4, SEED),
        ],
        {"lane": "done"},
    ),
    "nor where that was built on after the seed": (
        [
            row("in_review", "approved", 2, 2, review_result=VERDICT),
            row("in_review", "planned", 3, 3, SEED, review_result={**VERDICT, "verdict": "changes_requested"}),
            row("approved", "done", 4, 4),
        ],
        {"lane": "done", "review_result": VERDICT},
    ),
    "nor against one that came out of another lane": (
        [
            row("for_review", "in_progress", 1, 1),
            row("in_progress", "approved", 2, 2),
            row("in_review", "planned", 3, 3, SEED),
        ],
        {"lane": "approved"},
    ),
    "nor against what was no approval": (
        [row("in_review", "done", 2, 2), row("in_review", "planned", 3, 3, SEED)],
        {"lane": "done"},
    ),
    "what left another lane has not built on it": (
        [
            row("in_review", "approved", 2, 2),
            row("planned", "claimed", 3, 3),
            row("in_review", "planned", 4, 4, SEED),
        ],
        {"lane": "planned"},
    ),
    "it holds against an approval that comes later": (
        [
            row("for_review", "in_review", 1, 1),
            row("in_review", "planned", 2, 2, SEED),
            row("in_review", "approved", 3, 3),
        ],
        {"lane": "planned"},
    ),
    "and against no other way that somebody went": (
        [
            row("for_review", "in_review", 1, 1),
            row("in_review", "planned", 2, 2, SEED),
            row("in_review", "blocked", 3, 3),
        ],
        {"lane": "blocked"},
    ),
    "leaving a review without a result takes the last one back": (
        [
            row("in_review", "approved", 1, 1, review_result=VERDICT),
            row("approved", "in_review", 2, 2, force=True, reason="x"),
            row("in_review", "blocked", 3, 3, force=True, reason="x"),
        ],
        {"lane": "blocked", "review_result": None},
    ),
    "a result stays until another one comes": (
        [row("in_review", "approved", 1, 1, review_result=VERDICT), row("approved", "done", 2, 2)],
        {"lane": "done", "review_result": VERDICT},
    ),
    "of two seeds with one id the smaller text counts": (
        [row("planned", "claimed", 1, 1, SEED), row("planned", "blocked", 1, 1, SEED)],
        {"lane": "blocked"},
    ),
    "whatever else stands in their lines": (
        [{**row("planned", "claimed", 1, 1, SEED), "aaa_unknown": 0}, row("planned", "blocked", 1, 1, SEED)],
        {"lane": "blocked"},
    ),
    "of two rows with one id the first counts": (
        [row("planned", "claimed", 1, 1), row("planned", "blocked", 1, 1)],
        {"lane": "claimed"},
    ),
    "a seed first, then others with its id: the first counts": (
        [row("planned", "claimed", 1, 1, SEED), row("planned", "done", 1, 1), row("planned", "blocked", 1, 1, SEED)],
        {"lane": "claimed"},
    ),
}


@pytest.mark.parametrize("rule", RULES)
def test_a_rule(rule: str) -> None:
    rows, wanted = RULES[rule]
    found = ours(rows)
    assert found == theirs(rows)
    state = found["work_packages"]["WP01"]
    assert {key: state.get(key) for key in wanted} == wanted


def test_the_start_time_of_a_seed_goes_when_a_real_claim_comes() -> None:
    rows, _ = RULES["a real process id is not paired with the start time of a seed"]
    assert "shell_pid_created_at" not in ours(rows)["work_packages"]["WP01"]


@pytest.mark.slow
@given(ledgers())
@settings(max_examples=1000)
def test_so_do_many_more_ledgers(rows: list[Row]) -> None:
    assert ours(rows) == theirs(rows)


@pytest.mark.sweep
@given(ledgers())
@settings(max_examples=10_000)
def test_so_do_ten_thousand_ledgers(rows: list[Row]) -> None:
    assert ours(rows) == theirs(rows)


@given(histories, st.data())
@settings(max_examples=50)
def test_the_order_of_lines_changes_nothing(rows: list[Row], data: st.DataObject) -> None:
    unique = list({row["event_id"]: row for row in rows}.values())
    shuffled = data.draw(st.permutations(unique))
    assert ours(shuffled) == ours(unique)


@given(st.lists(annotations, max_size=10))
@settings(max_examples=50)
def test_annotations_alone_say_nothing_about_lanes(rows: list[Row]) -> None:
    found = ours(rows)
    assert found == theirs(rows)
    assert set(found["summary"].values()) <= {0}
    assert {one["lane"] for one in found["work_packages"].values()} <= {"uninitialized"}
