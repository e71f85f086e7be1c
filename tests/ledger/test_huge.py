"""The quick way through a long ledger gives exactly what the whole way gives, row by row, whatever a block holds."""

from __future__ import annotations

import io
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kitty_host.api import KittyError
from kitty_host.ledger import lines as lines_module
from kitty_host.ledger import snapshot as cached
from kitty_host.ledger.event import SUBTASK, Row, annotation, encode, envelope, transition, ulid
from kitty_host.ledger.huge import Hurry
from kitty_host.ledger.lines import Block, blocks, decode_lines
from kitty_host.ledger.machine import EDGES, GENESIS, LANES
from kitty_host.ledger.reduce import Snapshot, reduce

PATH = Path("status.events.jsonl")
PACKAGES = ("WP01", "WP02", "WP03")
VERDICT = {"reviewer": "grace", "verdict": "approved", "reference": "0" * 40}


def at(number: int) -> str:
    return f"2026-01-01T{number // 3600:02}:{number // 60 % 60:02}:{number % 60:02}.000000+00:00"


class Writer:
    """Writes what kitty would: legal steps, ascending ids and times; `slips` in a hundred rows are something else."""

    def __init__(self, chance: random.Random, slips: int) -> None:
        self.chance = chance
        self.slips = slips
        self.lanes = dict.fromkeys(PACKAGES, GENESIS)
        self.rows: list[Row] = []

    def write(self, count: int) -> list[bytes]:
        for number in range(count):
            made = self._row(self.chance.choice(PACKAGES))
            key = "timestamp" if "event_type" in made else "at"
            self.rows.append({"event_id": ulid(number, number), key: at(number), **made})
            if self.chance.randrange(100) < self.slips:
                self._slip()
        return [encode(row).encode().removesuffix(b"\n") for row in self.rows]

    def _row(self, wp_id: str) -> Row:
        kind = self.chance.randrange(10)
        if kind == 9:
            return envelope(self.chance.choice(["WPCreated", "PlanStarted"]), {"wp_id": wp_id}, aggregate_id=wp_id)
        return self._note(wp_id) if kind >= 7 else self._step(wp_id)

    def _step(self, wp_id: str) -> Row:
        chance, source = self.chance, self.lanes[wp_id]
        ways = sorted(EDGES[source] - {"canceled", "done"}) or ["planned"]
        target = self.lanes[wp_id] = chance.choice(ways)
        policy = {"agent": chance.choice(["ada", "bob", ""]), "shell_pid": chance.choice([None, 1, 2])}
        policy["shell_pid_created_at"] = chance.choice([None, "1.5"])
        result = {**VERDICT, "verdict": "changes_requested", "feedback_path": chance.choice([None, "f.md"])}
        return transition(
            wp_id,
            source,
            target,
            actor=chance.choice(["ada", "claude:opus:python:implementer"]),
            mission_id="m",
            mission_slug="demo",
            force=chance.randrange(4) == 0,
            policy_metadata=policy if target in ("claimed", "in_progress") and chance.randrange(4) else None,
            review_result=(VERDICT if target == "approved" else result) if chance.randrange(2) else None,
            evidence={"review": VERDICT} if target == "approved" else None,
            review_ref=chance.choice([None, "r1"]),
            direct=chance.randrange(2) == 0,
        )

    def _note(self, wp_id: str) -> Row:
        chance = self.chance
        delta: Row = {}
        if chance.randrange(2):
            delta["subtasks"] = {f"T{chance.randrange(4)}": chance.choice(sorted(SUBTASK))}
        if chance.randrange(2):
            delta["note"] = f"note {len(self.rows)}"
        if chance.randrange(2):
            delta[chance.choice(["agent", "role", "model", "assignee"])] = chance.choice(["x", "y"])
        if chance.randrange(3) == 0:
            delta["shell_pid"] = chance.randrange(9)
        return annotation(wp_id, delta, actor=chance.choice(["ada", "bob"]))

    def _slip(self) -> None:
        """Make the last row something that is not in the usual run of things."""
        row, chance = self.rows[-1], self.chance
        earlier = chance.choice(self.rows)
        for_all = [
            {"event_id": earlier["event_id"]},
            {"event_id": "z" * 26},
            {"at": earlier.get("at", at(0)), "timestamp": earlier.get("timestamp", at(0))},
            {"actor": "migration:backfill"},
            {"actor": {"role": "r", "profile": None, "tool": "t", "model": None}},
            {"event_type": None},
            {"event_type": "StepIssued", "payload": {"step": "x"}},
            {"type": "RetrospectiveCaptured"},
            {"event_name": "retrospective.x"},
        ]
        for_steps = [
            {"from_lane": chance.choice(LANES)},
            {"to_lane": chance.choice(LANES)},
            {"from_lane": "approved", "to_lane": "approved"},
            {"execution_mode": "main"},
            {"policy_metadata": {"agent": 7, "shell_pid": "12", "more": [1]}},
            {"review_result": {**VERDICT, "feedback_path": 3}},
        ]
        for_notes = [
            {"delta": {"tracker_refs": ["a", str(chance.randrange(3))]}},
            {"delta": {"tracker_refs_replace": ["b"]}},
            {"delta": {"release_runtime_claim": True, "agent": "z"}},
            {"delta": {"review": {"at": "a", "actor": "b", "wp_id": "c", "reason": "d"}}},
            {"delta": {"agent": "", "model": None, "subtasks": None, "note": None}},
            {"delta": {"shell_pid": "17"}},
        ]
        slips: list[Row] = [*for_all, *(for_steps if "from_lane" in row else for_notes if "delta" in row else [])]
        slip = chance.choice(slips)
        if "from_lane" in row and "to_lane" in slip:
            self.lanes[row["wp_id"]] = str(slip["to_lane"])
        keep = "timestamp" if "event_type" in row else "at"
        row.update({key: value for key, value in slip.items() if key not in ("at", "timestamp") or key == keep})


def hurried(content: bytes, block: int) -> Snapshot | None:
    """The state by the quick way, in blocks of that many bytes; None where it refuses."""
    state = Snapshot()
    hurry = Hurry(state, PATH)
    stream = io.BytesIO(content)
    before, lines_module._BLOCK = lines_module._BLOCK, block  # type: ignore[attr-defined]
    try:
        whole = all(hurry.extend(one) for one in blocks(stream, PATH))
    finally:
        lines_module._BLOCK = before  # type: ignore[attr-defined]
    hurry.settle(stream)
    return state if whole else None


def facts(state: Snapshot) -> dict[str, Any]:
    """Everything there is in a state."""
    told = cached._told(state)
    told["others"] = sorted(told["others"], key=str)
    # The place in the file counts among the rows of one time only, and only while they are sorted.
    return {**told, "dict": state.to_dict()}


def check(seed: int, slips: int, block: int, count: int) -> bool:
    """Whether the quick way had an answer; it is the right one."""
    found = Writer(random.Random(seed), slips).write(count)
    state = hurried(b"".join(line + b"\n" for line in found), block)
    if state is not None:
        assert facts(state) == facts(reduce(decode_lines(found, PATH)))
    return state is not None


@given(st.integers(0), st.sampled_from([700, 4000, 1 << 20]))
@settings(deadline=None, max_examples=60)
def test_what_kitty_writes_goes_the_quick_way_and_is_right(seed: int, block: int) -> None:
    assert check(seed, 0, block, 120)


@given(st.integers(0), st.sampled_from([1, 3, 20]), st.sampled_from([700, 4000]))
@settings(deadline=None, max_examples=150)
def test_with_anything_else_in_between_it_is_right_or_refuses(seed: int, slips: int, block: int) -> None:
    check(seed, slips, block, 80)


@pytest.mark.slow
@given(st.integers(0), st.sampled_from([0, 1, 3, 20]), st.sampled_from([700, 4000, 1 << 20]))
@settings(deadline=None, max_examples=1000)
def test_so_it_is_for_a_thousand_ledgers(seed: int, slips: int, block: int) -> None:
    check(seed, slips, block, 80)


@pytest.mark.sweep
@given(st.integers(0), st.sampled_from([0, 1, 3, 20]), st.sampled_from([700, 4000, 1 << 20]))
@settings(deadline=None, max_examples=4000)
def test_so_it_is_for_thousands_of_ledgers(seed: int, slips: int, block: int) -> None:
    check(seed, slips, block, 80)


def test_the_quick_way_is_really_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """But for the block in which the packages come up for the first time."""
    slow: list[int] = []
    real = Hurry._extend_slowly

    def count(self: Hurry, block: Block) -> bool:
        slow.append(block.number)
        return real(self, block)

    monkeypatch.setattr(Hurry, "_extend_slowly", count)
    assert check(1, 0, 4000, 500)
    assert slow == [0]


@pytest.mark.parametrize("broken", [b"{", b"[]", b'{"event_id": "1"}', b'{"kind": "x"}', b"\xff", b'"text"'])
def test_damage_is_named_with_line_and_byte(broken: bytes) -> None:
    found = Writer(random.Random(1), 0).write(300)
    place = 200
    content = [*found[:place], broken, *found[place:]]
    with pytest.raises(KittyError, match="LEDGER_DAMAGED") as refused:
        hurried(b"".join(line + b"\n" for line in content), 2000)
    assert refused.value.details["line"] == place + 1
    assert refused.value.details["byte"] == sum(len(line) + 1 for line in found[:place])
