"""The one way a change of state is made: asked, guarded, written, told."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from kitty_host.api import KittyError
from kitty_host.ledger import event
from kitty_host.ledger.emit import emit
from kitty_host.ledger.event import BadRow, Row, annotation, envelope, new_id, transition
from kitty_host.mission import Mission
from kitty_host.plugins import Plugins
from kitty_host.state import State
from kitty_host.testing import Project

HOOK = "from kitty_host.api import Finding, hookimpl\n@hookimpl\n"


@pytest.fixture
def mission(project: Project) -> Mission:
    made: Mission = project.mission(
        packages=[
            {"work_package_id": "WP01", "dependencies": [], "subtasks": ["T001", "T002"]},
            {"work_package_id": "WP02", "dependencies": ["WP01"], "subtasks": []},
        ]
    )
    return made


@pytest.fixture
def plugins(alone: Path) -> Plugins:
    return Plugins([])


def to(mission: Mission, wp_id: str, source: str, target: str, **fields: Any) -> Row:
    return transition(
        wp_id, source, target, mission_id=mission.mission_id, mission_slug=mission.slug, **{"actor": "ada", **fields}
    )


def moves(mission: Mission, *steps: tuple[str, str, str], **fields: Any) -> Callable[[State], list[Row]]:
    return lambda state: [to(mission, *step, **fields) for step in steps]


def refusal(act: Callable[[], object], code: str = "TRANSITION_REFUSED") -> KittyError:
    with pytest.raises(KittyError) as refused:
        act()
    assert refused.value.code == code
    return refused.value


def lane(mission: Mission, wp_id: str = "WP01") -> str:
    return State.load(mission).lane(wp_id)


SEED = ("WP01", "genesis", "planned")
CLAIM = ("WP01", "planned", "claimed")
START = ("WP01", "claimed", "in_progress")
SUBMIT = ("WP01", "in_progress", "for_review")


# Ids and times


def test_rows_come_back_with_ids_and_times_as_they_are_on_disk(plugins: Plugins, mission: Mission) -> None:
    rows = emit(plugins, mission, moves(mission, SEED, CLAIM))
    assert rows == mission.ledger.rows()
    assert len({row["event_id"] for row in rows}) == 2
    assert rows[0]["at"] < rows[1]["at"]


def test_ids_and_times_that_a_row_has_are_kept(plugins: Plugins, mission: Mission) -> None:
    mine = {"event_id": new_id(), "at": "2026-01-01T00:00:00.000000+00:00"}
    [row] = emit(plugins, mission, lambda state: [{**to(mission, *SEED), **mine}])
    assert {key: row[key] for key in mine} == mine


def test_an_envelope_has_its_time_under_another_key(plugins: Plugins, mission: Mission) -> None:
    [row] = emit(plugins, mission, lambda state: [envelope("StepIssued", {}, aggregate_id=mission.slug)])
    assert "at" not in row
    assert row["timestamp"]


def test_a_plan_of_nothing_writes_nothing(project: Project, plugins: Plugins, mission: Mission) -> None:
    assert emit(plugins, mission, lambda state: []) == []
    assert not mission.ledger.live.exists()


@pytest.mark.parametrize(
    "last",
    [
        "2999-01-01T00:00:00.000000+00:00",
        "2999-01-01T00:00:00Z",
        "2999-01-01T00:00:00.999999+00:00",
        "2999-01-01T00:00:00+00:00",
    ],
)
def test_no_row_is_earlier_than_the_last_one_of_its_work_package(plugins: Plugins, mission: Mission, last: str) -> None:
    mission.ledger.append([{**to(mission, *SEED), "event_id": new_id(), "at": last}])
    one, two = emit(plugins, mission, moves(mission, CLAIM, START))
    assert last < one["at"] < two["at"]
    assert lane(mission) == "in_progress"
    [note] = emit(plugins, mission, lambda state: [annotation("WP01", {"note": "x"}, actor="ada")])
    assert note["at"] > two["at"]
    [other] = emit(plugins, mission, moves(mission, ("WP02", "genesis", "planned")))
    assert other["at"] < last, "the clock of one work package is no business of another"


def test_a_row_about_the_mission_is_later_than_all_that_was(plugins: Plugins, mission: Mission) -> None:
    last = "2999-01-01T00:00:00.000000+00:00"
    mission.ledger.append([{**to(mission, *SEED), "event_id": new_id(), "at": last}])
    [row] = emit(plugins, mission, lambda state: [envelope("StepIssued", {}, aggregate_id=mission.slug)])
    assert row["timestamp"] > last


def test_a_clock_that_runs_back_changes_no_order(
    plugins: Plugins, mission: Mission, monkeypatch: pytest.MonkeyPatch
) -> None:
    present = datetime(2026, 1, 1, 12, tzinfo=UTC)

    class Clock(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            nonlocal present
            present -= timedelta(hours=1)
            return present

    monkeypatch.setattr(event, "datetime", Clock)
    for step in (SEED, CLAIM, START):
        emit(plugins, mission, moves(mission, step))
    times = [row["at"] for row in mission.ledger.rows()]
    assert times == sorted(times)
    assert lane(mission) == "in_progress"


# The host's own guards


def test_a_row_must_leave_the_lane_in_force(plugins: Plugins, mission: Mission) -> None:
    error = refusal(lambda: emit(plugins, mission, moves(mission, CLAIM)))
    assert error.message == "WP01 is genesis, not planned"
    emit(plugins, mission, moves(mission, SEED))
    error = refusal(lambda: emit(plugins, mission, moves(mission, START, force=True, reason="because")))
    assert error.message == "WP01 is planned, not claimed", "force is no excuse for being out of date"


def test_each_row_is_judged_on_what_the_rows_before_it_leave(plugins: Plugins, mission: Mission) -> None:
    emit(plugins, mission, moves(mission, SEED, CLAIM, START))
    assert lane(mission) == "in_progress"


def test_all_rows_are_written_or_none(plugins: Plugins, mission: Mission) -> None:
    emit(plugins, mission, moves(mission, SEED))
    before = mission.ledger.live.read_bytes()
    refusal(lambda: emit(plugins, mission, moves(mission, CLAIM, ("WP01", "claimed", "done"))))
    assert mission.ledger.live.read_bytes() == before


def test_every_objection_is_in_the_details(plugins: Plugins, mission: Mission) -> None:
    error = refusal(lambda: emit(plugins, mission, moves(mission, CLAIM, ("WP02", "genesis", "done"))))
    assert len(error.details["findings"]) == 2


def test_a_work_package_goes_to_review_with_evidence_and_without_open_subtasks(
    plugins: Plugins, mission: Mission
) -> None:
    emit(plugins, mission, moves(mission, SEED, CLAIM, START))
    evidence = {"evidence": {"head": "abc", "commits": ["abc"]}}
    error = refusal(lambda: emit(plugins, mission, moves(mission, SUBMIT, policy_metadata=evidence)))
    assert "T001, T002" in error.message
    done = {"T001": "done", "T002": "skipped"}
    emit(plugins, mission, lambda state: [annotation("WP01", {"subtasks": done}, actor="ada")])
    error = refusal(lambda: emit(plugins, mission, moves(mission, SUBMIT)))
    assert "nothing to review" in error.message
    emit(plugins, mission, moves(mission, SUBMIT, policy_metadata=evidence))
    assert lane(mission) == "for_review"


def test_a_row_that_spec_kitty_could_not_read_is_never_written(plugins: Plugins, mission: Mission) -> None:
    with pytest.raises(BadRow):
        emit(plugins, mission, moves(mission, SEED, evidence={"note": "no review"}))
    assert not mission.ledger.live.exists()


def test_of_many_who_claim_at_once_one_wins(plugins: Plugins, mission: Mission) -> None:
    emit(plugins, mission, moves(mission, SEED))
    results: list[str] = []

    def claim(name: str) -> None:
        try:
            emit(plugins, mission.refresh(), moves(mission, CLAIM, actor=name))
            results.append(name)
        except KittyError as error:
            results.append(error.code)

    threads = [threading.Thread(target=claim, args=(f"agent {number}",)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    [winner] = set(results) - {"TRANSITION_REFUSED"}
    assert State.load(mission).snapshot.packages["WP01"].actor == winner
    assert len(results) == 8


# Guards of plugins


@pytest.fixture
def guarded(install: Callable[..., Path], mission: Mission) -> Callable[[str], Any]:
    """Installs a manifest; returns its module."""

    def make(source: str) -> Any:
        install("guard", source)
        Plugins.discover()
        return sys.modules["plugin_kitty_guard"]

    return make


def test_one_blocking_finding_of_a_plugin_refuses(guarded: Callable[[str], Any], mission: Mission) -> None:
    guarded(
        HOOK + "def kitty_emit_check(transition, state):\n"
        "    return [Finding('HINT', 'by the way', severity='warn'), Finding('NOT_NOW', transition['wp_id'], 'wait')]\n"
    )
    error = refusal(lambda: emit(Plugins.discover(), mission, moves(mission, SEED)), "NOT_NOW")
    assert (error.message, error.hint) == ("WP01", "wait")
    assert not mission.ledger.live.exists()


def test_a_warning_refuses_nothing(guarded: Callable[[str], Any], mission: Mission) -> None:
    guarded(HOOK + "def kitty_emit_check():\n    return [Finding('HINT', 'by the way', severity='warn')]\n")
    emit(Plugins.discover(), mission, moves(mission, SEED))
    assert lane(mission) == "planned"


@pytest.mark.parametrize(
    "body",
    [
        "raise ValueError('broken')",
        "raise SystemExit(0)",
        "return ['no finding']",
        "return 5",
        "return [None]",
        "yield 1 / 0",
    ],
)
def test_a_check_that_fails_is_itself_an_objection(guarded: Callable[[str], Any], mission: Mission, body: str) -> None:
    guarded(HOOK + f"def kitty_emit_check():\n    {body}\n")
    plugins = Plugins.discover()
    error = refusal(lambda: emit(plugins, mission, moves(mission, SEED)), "PLUGIN_CHECK_FAILED")
    assert "plugin guard" in error.message
    assert [fault.plugin for fault in plugins.faults] == ["guard"]
    assert not mission.ledger.live.exists()


def test_a_check_sees_the_row_to_be_and_the_state_and_holds_no_lock(
    guarded: Callable[[str], Any], mission: Mission
) -> None:
    module = guarded(
        HOOK + "def kitty_emit_check(transition, state):\n"
        "    with state.mission.ledger.locked(wait_seconds=0):\n"
        "        seen.append((transition['event_id'], transition['at'], state.lane('WP01')))\n"
        "seen = []\n"
    )
    emit(Plugins.discover(), mission, moves(mission, SEED))
    [(event_id, at, before)] = module.seen
    assert event_id
    assert at
    assert before == "genesis"


def test_only_transitions_are_checked(guarded: Callable[[str], Any], mission: Mission) -> None:
    module = guarded(HOOK + "def kitty_emit_check(transition):\n    seen.append(transition)\nseen = []\n")
    rows = [annotation("WP01", {"note": "x"}, actor="ada"), envelope("StepIssued", {}, aggregate_id="x")]
    emit(Plugins.discover(), mission, lambda state: rows)
    assert module.seen == []


MEDDLE = """
    if times:
        times.pop()
        from kitty_host.ledger.event import annotation, new_id, now
        row = annotation("WP02", {"note": "somebody was faster"}, actor="bob")
        state.mission.ledger.append([{**row, "event_id": new_id(), "at": now()}])
"""


def test_a_ledger_that_moved_while_guards_ran_is_asked_about_once_more(
    guarded: Callable[[str], Any], mission: Mission
) -> None:
    module = guarded(
        HOOK
        + "def kitty_emit_check(transition, state):\n    seen.append(state.last_event_id)"
        + MEDDLE
        + "seen, times = [], [1]\n"
    )
    emit(Plugins.discover(), mission, moves(mission, SEED))
    assert len(set(module.seen)) == len(module.seen) == 2
    assert lane(mission) == "planned"


def test_a_ledger_that_moved_twice_is_left_to_the_others(guarded: Callable[[str], Any], mission: Mission) -> None:
    guarded(HOOK + "def kitty_emit_check(transition, state):" + MEDDLE + "times = [1, 2]\n")
    error = refusal(lambda: emit(Plugins.discover(), mission, moves(mission, SEED)), "LOCK_HELD")
    assert error.hint
    assert [row.get("delta") for row in mission.ledger.rows()] == [{"note": "somebody was faster"}] * 2


# Observers


def test_observers_are_told_of_every_row_when_it_is_on_disk_and_the_lock_is_free(
    guarded: Callable[[str], Any], mission: Mission
) -> None:
    module = guarded(
        HOOK + "def kitty_emitted(event, mission):\n"
        "    with mission.ledger.locked(wait_seconds=0):\n"
        "        seen.append((event, event in mission.ledger.rows()))\n"
        "seen = []\n"
    )
    plugins = Plugins.discover()
    rows = emit(plugins, mission, moves(mission, SEED, CLAIM))
    assert module.seen == [(row, True) for row in rows]
    assert plugins.faults == []


@pytest.mark.parametrize("body", ["raise ValueError('broken')", "raise SystemExit(5)", "return 5"])
def test_an_observer_that_fails_changes_nothing_and_is_listed(
    guarded: Callable[[str], Any], mission: Mission, body: str
) -> None:
    guarded(HOOK + f"def kitty_emitted(event):\n    {body}\n")
    plugins = Plugins.discover()
    emit(plugins, mission, moves(mission, SEED))
    assert lane(mission) == "planned"
    [fault] = plugins.faults
    assert (fault.plugin, fault.distribution) == ("guard", "kitty-guard")
    assert "kitty_emitted" in fault.message


def test_an_observer_that_fails_does_not_change_the_exit_code(
    install: Callable[..., Path], project: Project, mission: Mission
) -> None:
    site = install(
        "mover",
        "from kitty_host.api import Command, hookimpl\n"
        "@hookimpl\ndef kitty_commands():\n    return [Command('seed', 'mover_cli:seed', 'Seed.')]\n"
        "@hookimpl\ndef kitty_emitted(event):\n    raise ValueError('broken')\n",
    )
    (site / "mover_cli.py").write_text(
        "from kitty_host.command import command\n"
        "from kitty_host.ledger.emit import emit\n"
        "from kitty_host.ledger.event import transition\n"
        "@command('seed', mission=True, agent=True)\n"
        "def seed(call):\n"
        "    '''Seed.'''\n"
        "    of = dict(actor=call.actor(), mission_id=call.mission.mission_id, mission_slug=call.mission.slug)\n"
        "    emit(call.plugins, call.mission, lambda state: [transition('WP01', 'genesis', 'planned', **of)])\n"
        "    call.show({'schema': 'seed/1', 'faults': len(call.plugins.faults)})\n"
    )
    result = project.process("seed", "--json")
    assert result.exit_code == 0, result
    assert result.json["faults"] == 1
    assert lane(mission) == "planned"


# What is acknowledged is in force


REVIEW = {"reviewer": "rita", "verdict": "approved", "reference": "r1"}
BACK_IN_REVIEW = (("in_progress", "for_review", {}), ("for_review", "in_review", {}))
HISTORIES: dict[str, list[tuple[str, str, dict[str, Any]]]] = {
    "two clones reopened one approval": [
        ("genesis", "approved", {"force": True, "reason": "x"}),
        ("approved", "in_progress", {"review_ref": "r1"}),
        ("approved", "in_progress", {"review_ref": "r2"}),
        *BACK_IN_REVIEW,
    ],
    "the approval that was reopened had been restated by a migration": [
        ("genesis", "approved", {"actor": "migration:backfill"}),
        ("approved", "in_progress", {"review_ref": "r1"}),
        *BACK_IN_REVIEW,
    ],
    "three clones reopened it": [
        ("genesis", "approved", {"force": True, "reason": "x"}),
        *[("approved", "in_progress", {"review_ref": f"r{number}"}) for number in range(3)],
        *BACK_IN_REVIEW,
    ],
}


@pytest.mark.parametrize("year", [2026, 2999], ids=["past", "ahead of the clock"])
@pytest.mark.parametrize("history", HISTORIES)
def test_an_approval_is_in_force_though_a_departure_waited_for_it(
    plugins: Plugins, mission: Mission, history: str, year: int
) -> None:
    rows = [to(mission, "WP01", source, target, **fields) for source, target, fields in HISTORIES[history]]
    mission.ledger.append(
        [{**row, "event_id": new_id(), "at": f"{year}-01-01T00:00:{n:02}.000000+00:00"} for n, row in enumerate(rows)]
    )
    assert lane(mission) == "in_review"
    written = emit(plugins, mission, moves(mission, ("WP01", "in_review", "approved"), review_result=REVIEW))
    assert lane(mission) == "approved"
    assert {row["force"] for row in written} == {False, True}
    assert [row["review_result"] for row in written] == [REVIEW] * len(written)
    times = [row["at"] for row in written]
    assert times == sorted(set(times)), "each is later than the one before it"


def test_a_row_about_the_mission_is_later_than_the_rows_before_it_in_its_command(
    plugins: Plugins, mission: Mission
) -> None:
    far = {**to(mission, *SEED), "event_id": new_id(), "at": "2999-01-01T00:00:00.000000+00:00"}
    mission.ledger.append([far])
    landed = envelope("MissionLanded", {}, aggregate_id="m")
    rows = emit(plugins, mission, lambda state: [to(mission, *CLAIM), to(mission, *START), landed])
    assert rows[2]["timestamp"] > rows[1]["at"] > rows[0]["at"]
