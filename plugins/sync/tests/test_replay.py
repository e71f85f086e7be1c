"""Replay: any order, any repetition and any split of recorded events leave one state; what is not for here writes nothing."""

from __future__ import annotations

import hashlib
import json
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kitty_host.api import KittyError
from kitty_host.ledger.event import new_id
from kitty_host.testing import isolate
from kitty_sync.events import canonical, digest_of
from kitty_sync.queue import DELIVERED, DRAINED, PENDING, Queue
from kitty_sync.replay import (
    Apply,
    Duplicate,
    EventIdConflict,
    Mismatch,
    ProjectMismatch,
    SchemaRejected,
    TenantMismatch,
    judge,
    replay,
)
from kitty_sync.settings import Target

from .conftest import PROJECT, Sync

OTHER = "00000000-0000-4000-8000-000000000000"


def line(event_id: str = "01J00000000000000000000000", **changed: Any) -> bytes:
    """A recorded event, as a drain writes it."""
    row = {"event_type": "PlanStarted", "event_id": event_id, "timestamp": "2026-01-01T00:00:00Z", "payload": {}}
    row.update(changed.pop("row", {}))
    record = {
        "event_id": event_id,
        "digest": digest_of(row),
        "tenant": "t",
        "project": PROJECT,
        "mission_id": "m",
        "mission_slug": "m",
        "event": row,
        **changed,
    }
    return canonical({key: value for key, value in record.items() if value is not None}).encode()


def verdict(recorded: bytes, known: tuple[str, str] | None = None) -> Any:
    return judge(recorded, "t", PROJECT, lambda project, event_id: known)


# The judgement


def test_an_event_without_a_place_is_applied() -> None:
    found = verdict(line())
    assert isinstance(found, Apply)
    assert (found.entry.project, found.entry.event_id) == (PROJECT, "01J00000000000000000000000")


@pytest.mark.parametrize(
    ("row", "at"),
    [
        ({"timestamp": "2026", "at": "2025"}, "2026"),
        ({"timestamp": None, "at": "2025"}, "2025"),
        ({"timestamp": "2026"}, "2026"),
        ({"timestamp": None}, ""),
    ],
)
def test_when_it_happened_stands_under_one_of_two_names(row: dict[str, Any], at: str) -> None:
    assert verdict(line(row=row)).entry.at == at


@pytest.mark.parametrize("place", [PENDING, DELIVERED, "parked"])
def test_an_event_with_a_place_is_a_duplicate(place: str) -> None:
    digest = json.loads(line())["digest"]
    assert verdict(line(), (digest, place)) == Duplicate("01J00000000000000000000000")


def test_a_drained_event_is_applied() -> None:
    assert isinstance(verdict(line(), (json.loads(line())["digest"], DRAINED)), Apply)


@pytest.mark.parametrize(
    ("recorded", "error", "expected", "actual"),
    [
        (line(tenant="u"), TenantMismatch, "t", "u"),
        (line(tenant="u", project=OTHER), TenantMismatch, "t", "u"),
        (line(project=OTHER), ProjectMismatch, PROJECT, OTHER),
        (line(project="nonsense"), ProjectMismatch, PROJECT, "nonsense"),
    ],
)
def test_the_tenant_is_judged_before_the_project(recorded: bytes, error: type, expected: str, actual: str) -> None:
    found = verdict(recorded)
    assert isinstance(found, Mismatch)
    assert (found.error, found.expected, found.actual) == (error, expected, actual)


@pytest.mark.parametrize("place", [PENDING, DELIVERED, DRAINED])
def test_one_id_with_two_contents_is_a_conflict(place: str) -> None:
    found = verdict(line(), ("another", place))
    assert isinstance(found, Mismatch)
    assert (found.error, found.expected) == (EventIdConflict, "another")


@pytest.mark.parametrize(
    "recorded",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff\xfe",
        b"[" * 100_000,
        line(tenant=None),
        line(event=None),
        line(event=[]),
        line(event_id="x"),
        line(digest="0" * 64),
        line(digest=7),
        line(row={"event_id": "01J00000000000000000000001"}),
        line().replace(b"PlanStarted", b"TasksStarted"),
    ],
)
def test_what_is_no_recorded_event_is_rejected(recorded: bytes) -> None:
    found = verdict(recorded)
    assert isinstance(found, Mismatch)
    assert found.error is SchemaRejected


@pytest.mark.parametrize("key", json.loads(line()))
@pytest.mark.parametrize("value", [None, 7])
def test_a_record_that_lacks_something_is_told_what(key: str, value: Any) -> None:
    record = {**json.loads(line()), key: value}
    found = verdict(canonical({name: one for name, one in record.items() if one is not None}).encode())
    assert isinstance(found, Mismatch)
    assert (found.code, found.actual) == ("SCHEMA_REJECTED", f"without {key}")


def test_ids_are_compared_in_one_spelling() -> None:
    small = line("01j0000000000000000000000a", project=PROJECT.upper().replace("-", ""))
    found = verdict(small)
    assert isinstance(found, Apply)
    assert (found.entry.project, found.entry.event_id) == (PROJECT, "01J0000000000000000000000A")


# What follows from it


def state_of(queue: Queue) -> dict[str, dict[str, list[str]]]:
    return {
        project: {place: sorted(queue.ids(project, place)) for place in queue.counted()} for project in (PROJECT, OTHER)
    }


def write(path: Path, lines: list[bytes]) -> Path:
    body = b"".join(one + b"\n" for one in lines)
    manifest = {"schema": "kitty.overflow/1", "count": len(lines), "sha256": hashlib.sha256(body).hexdigest()}
    path.write_bytes(json.dumps(manifest).encode() + b"\n" + body)
    return path


MIXED = [
    *(line(f"01J000000000000000000000{number:02}") for number in range(12)),
    line("01J00000000000000000000050", tenant="u"),
    line("01J00000000000000000000051", project=OTHER),
    line("01J00000000000000000000052", tenant="u", project=OTHER),
    b"{",
]


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_FR_028_any_order_any_repetition_and_any_split_give_one_state(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    place = tmp_path_factory.mktemp("replay")
    with pytest.MonkeyPatch.context() as patch:
        isolate(place, patch)
        shuffled = data.draw(st.permutations(MIXED + data.draw(st.lists(st.sampled_from(MIXED), max_size=8))))
        cuts = sorted(data.draw(st.lists(st.integers(0, len(shuffled)), max_size=4)))
        parts = [shuffled[low:high] for low, high in zip([0, *cuts], [*cuts, len(shuffled)], strict=True)]
        files = [write(place / f"{number}.jsonl", list(part)) for number, part in enumerate(parts)]
        queue = Queue(Target("https://hub", "t"))
        for group in (files[:1], files[1:], files if data.draw(st.booleans()) else []):
            replay(queue, PROJECT, group, 1_000)
        assert state_of(queue)[PROJECT][PENDING] == [f"01J000000000000000000000{number:02}" for number in range(12)]
        assert state_of(queue)[OTHER] == {place: [] for place in queue.counted()}
        assert sum(queue.counted().values()) == 12
        refused = queue.refusals(PROJECT)
        assert {one.kind for one in refused} == {"TENANT_MISMATCH", "PROJECT_MISMATCH", "SCHEMA_REJECTED"}
        assert all(one.expected and one.actual and one.line and ":" in one.source for one in refused)


def test_a_conflict_is_one_whichever_comes_first(sync: Sync, tmp_path: Path) -> None:
    one, two = line(), line(row={"payload": {"other": True}})
    for number, order in enumerate(([one, two], [two, one])):
        queue = Queue(Target("https://hub", "t"))
        if queue.path.exists():
            queue.path.unlink()
        outcome = replay(queue, PROJECT, [write(tmp_path / f"{number}.jsonl", order)], 10)
        assert (outcome.applied, len(outcome.mismatches)) == (1, 1)
        assert [pending.entry.line for pending in queue.pending()] == [order[0].decode()]
        [refusal] = queue.refusals(PROJECT)
        assert refusal.kind == "EVENT_ID_CONFLICT"
        assert refusal.source.endswith(f"{number}.jsonl:3")


def test_what_is_not_for_here_is_told_and_the_rest_goes_on(sync: Sync, tmp_path: Path) -> None:
    lines = [line(tenant="none"), line(new_id(), tenant="none", project=OTHER), line(new_id(), tenant="acme")]
    file = write(tmp_path / "drained.jsonl", lines)
    told = sync.run("replay", str(file))
    assert (told["applied"], told["depth"]) == (1, 1)
    assert [(one["kind"], one["source"]) for one in told["mismatches"]] == [
        ("PROJECT_MISMATCH", f"{file}:3"),
        ("TENANT_MISMATCH", f"{file}:4"),
    ]
    told = sync.run("status")["mismatches"]
    assert sorted(one["kind"] for one in told) == ["PROJECT_MISMATCH", "TENANT_MISMATCH"]
    strict = sync.project.kitty("sync", "replay", "--strict", str(file), "--json")
    assert (strict.exit_code, strict.code) == (1, "PROJECT_MISMATCH")
    assert len(strict.json["details"]["mismatches"]) == 2


def test_what_became_of_each_event_is_counted(sync: Sync, tmp_path: Path) -> None:
    ids = [f"01J0000000000000000000000{number}" for number in range(5)]
    file = write(tmp_path / "drained.jsonl", [*map(line, ids), line(tenant="u")])
    queue = Queue(Target("https://hub", "t"))
    first = replay(queue, PROJECT, [file], 3)
    second = replay(queue, PROJECT, [file], 5)
    assert [(one.applied, one.duplicates, one.overflowed, len(one.mismatches)) for one in (first, second)] == [
        (3, 0, 2, 1),
        (2, 3, 0, 1),
    ]


def test_a_complaint_names_the_event_or_where_it_has_no_id_the_line(sync: Sync, tmp_path: Path) -> None:
    event_id = json.loads(line())["event_id"]
    replay(Queue(Target("https://hub", "t")), PROJECT, [write(tmp_path / "first.jsonl", [line()])], 10)
    for recorded, named, hint in (
        (line(tenant="u"), event_id, "log in"),
        (line(project=OTHER), event_id, "in a checkout"),
        (line(row={"payload": {"other": True}}), event_id, "queued first"),
        (b"{", "the line", "where it was made"),
    ):
        file = write(tmp_path / "drained.jsonl", [recorded, b"["])
        with pytest.raises(KittyError) as told:
            replay(Queue(Target("https://hub", "t")), PROJECT, [file], 10).complain()
        assert told.value.message.startswith(f"{file}:2: {named}: expected ")
        assert hint in told.value.hint


def test_a_strict_replay_fails_at_the_end_and_has_done_the_rest(sync: Sync, tmp_path: Path) -> None:
    lines = [line(new_id(), tenant="acme"), line(tenant="none")]
    random.shuffle(lines)
    answer = sync.project.kitty("sync", "replay", "--strict", str(write(tmp_path / "x.jsonl", lines)), "--json")
    assert (answer.exit_code, answer.code) == (1, "TENANT_MISMATCH")
    assert len(sync.queued()) == 1


def test_a_damaged_file_changes_nothing(sync: Sync, tmp_path: Path) -> None:
    good = write(tmp_path / "good.jsonl", [line(tenant="none")])
    bad = write(tmp_path / "bad.jsonl", [line(tenant="none")])
    bad.write_bytes(bad.read_bytes()[:-5])
    answer = sync.project.kitty("sync", "replay", str(good), str(bad), "--json")
    assert (answer.exit_code, answer.code) == (1, "OVERFLOW_DAMAGED")
    assert sync.queued() == []


def test_what_finds_no_room_stays_in_its_file(sync: Sync) -> None:
    sync.cap(3)
    sync.poke(3)
    sync.run("drain")
    sync.poke(2)
    answer = sync.project.kitty("sync", "replay", "--json")
    assert (answer.exit_code, answer.code) == (1, "OFFLINE_QUEUE_FULL")
    told = sync.run("status")
    assert (told["pending"], told["drained"], told["missing"]) == (3, 2, 0)
