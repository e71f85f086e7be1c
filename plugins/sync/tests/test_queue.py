"""The queue: each event once, never over its cap, never overwritten, whoever writes at the same time."""

from __future__ import annotations

import contextlib
import gc
import json
import sqlite3
import stat
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from kitty_host.api import KittyError
from kitty_host.files import lock
from kitty_host.ledger.event import new_id
from kitty_sync.account import Backfill, enqueue
from kitty_sync.events import Entry, digest_of
from kitty_sync.queue import PENDING, WAYS_OUT, Change, Queue
from kitty_sync.settings import Target

from .conftest import PROJECT, Sync


def test_the_file_is_the_users_alone(sync: Sync) -> None:
    sync.poke(1)
    assert sync.queue.path.is_relative_to(sync.project.root.parent / "home")
    with contextlib.closing(sqlite3.connect(sync.queue.path)) as database:
        assert database.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        database.execute("BEGIN IMMEDIATE")
        database.execute("DELETE FROM events")
        for path in sync.queue.path.parent.glob("*.db*"):
            assert stat.S_IMODE(path.stat().st_mode) == 0o600, path


def test_status_tells_depth_cap_backlog_and_age(sync: Sync) -> None:
    empty = sync.run("status")
    assert (empty["depth"], empty["oldest"], empty["backlog"]) == (0, None, [])
    sync.poke(3)
    told = sync.run("status")
    oldest = min(row["timestamp"] for row in sync.mission.ledger.rows())
    assert told == {
        "schema": "kitty.sync/1",
        "hub": "none",
        "tenant": "none",
        "depth": 3,
        "cap": 10_000,
        "pending": 3,
        "delivered": 0,
        "rejected": 0,
        "drained": 0,
        "oldest": oldest,
        "backlog": [{"project": sync.id, "depth": 3, "oldest": oldest}],
        "missing": 0,
        "parked": [],
        "conflicts": [],
        "mismatches": [],
        "ways_out": list(WAYS_OUT),
    }


def test_status_writes_nothing(sync: Sync) -> None:
    sync.project.record(sync.mission, "WP01", "planned")  # a row that no observer was told of
    assert sync.run("status")["missing"] == 1
    assert not sync.queue.path.parent.exists()


def test_the_same_event_is_queued_once(sync: Sync) -> None:
    sync.poke(2)
    for _ in range(2):
        assert sync.run("backfill")["depth"] == 2


def test_a_ledger_is_looked_at_again_only_when_it_has_changed(sync: Sync) -> None:
    sync.poke(2)
    assert [sync.run("backfill")["known"] for _ in range(2)] == [2, 0]
    sync.project.record(sync.mission, "WP01", "planned")
    again = sync.run("backfill")
    assert (again["queued"], again["known"]) == (1, 2)


def test_what_is_kittys_own_stays_where_it_is(sync: Sync) -> None:
    sync.poke(1)
    with sync.mission.ledger.live.open("a") as stream:
        stream.write(
            '{"event_type": "StepIssued", "event_id": "01J00000000000000000000000", "timestamp": "2026-01-01T00:00:00Z"}\n'
        )
        stream.write(
            '{"kind": "annotation", "wp_id": "WP01", "at": "2026-01-01T00:00:00Z", "actor": "a", "delta": {},'
            ' "event_id": "01J00000000000000000000001"}\n'
        )
    assert sync.run("backfill")["depth"] == 1


def changed(sync: Sync) -> str:
    """Change what the first row of the ledger says, under its id; returns its digest then."""
    row = sync.mission.ledger.rows()[0]
    row["payload"]["wp_title"] = "forged"
    sync.mission.ledger.live.write_text(json.dumps(row, sort_keys=True) + "\n")
    return digest_of(row)


def test_an_event_id_with_another_content_is_a_conflict_and_overwrites_nothing(sync: Sync) -> None:
    sync.poke(1)
    [kept] = sync.queue.pending()
    offered = changed(sync)
    for _ in range(2):
        answer = sync.project.kitty("sync", "backfill", "--json")
        assert (answer.exit_code, answer.code) == (1, "EVENT_ID_CONFLICT")
        assert answer.json["details"]["event_ids"] == [kept.entry.event_id]
    assert sync.queue.pending() == [kept]
    [told] = sync.run("status")["conflicts"]
    assert told.pop("line")
    assert told == {
        "kind": "EVENT_ID_CONFLICT",
        "project": sync.id,
        "event_id": kept.entry.event_id,
        "expected": kept.entry.digest,
        "actual": offered,
        "source": str(sync.mission.ledger.live),
    }


def test_a_full_queue_warns_once_and_the_command_succeeds(sync: Sync) -> None:
    sync.cap(2)
    answer = sync.project.kitty("poke", "--count", "5")
    assert answer.exit_code == 0
    assert len(answer.stderr.splitlines()) == 1
    assert answer.stderr.startswith("warning: OFFLINE_QUEUE_FULL: the offline queue is full: 2 of 2 events")
    assert "kitty sync drain" in answer.stderr
    assert len(sync.project.kitty("poke", "--count", "2").stderr.splitlines()) == 1
    assert (len(sync.queued()), len(sync.emitted())) == (2, 7)


def test_a_queue_that_is_exactly_full_is_no_trouble(sync: Sync) -> None:
    sync.cap(3)
    assert sync.project.kitty("poke", "--count", "3").stderr == ""
    assert sync.run("backfill")["depth"] == 3


def test_the_commands_of_sync_fail_on_a_full_queue_and_name_the_ways_out(sync: Sync) -> None:
    sync.cap(2)
    sync.poke(5)
    answer = sync.project.kitty("sync", "backfill", "--json")
    assert (answer.exit_code, answer.code) == (1, "OFFLINE_QUEUE_FULL")
    details = answer.json["details"]
    assert (details["depth"], details["cap"], details["oldest"]) == (2, 2, sync.queue.oldest())
    assert len(details["ways_out"]) == 3
    assert sync.run("status")["missing"] == 3


def test_auto_drain_makes_room_and_loses_nothing(sync: Sync) -> None:
    sync.cap(2)
    sync.poke(5)
    answer = sync.run("backfill", "--auto-drain")
    assert (answer["drained_now"], answer["depth"]) == (5, 0)
    assert sync.drained() == sync.emitted()


def put(queue: Queue, *entries: Entry, cap: int = 10_000) -> Backfill:
    """Queue entries as a command does."""
    with queue.locked():
        return enqueue(queue, entries, cap, "test")


def entry(event_id: str, *, project: str = PROJECT, digest: str = "digest") -> Entry:
    return Entry(project, event_id, digest, "2026", "{}")


def test_a_conflict_while_a_command_runs_is_one_warning_and_the_other_rows_are_queued(sync: Sync) -> None:
    ids = [new_id() for _ in range(3)]
    earlier = [entry(event_id, digest="another") for event_id in ids[:2]]
    put(sync.queue, *earlier)
    answer = sync.project.kitty("poke", *(word for event_id in ids for word in ("--id", event_id)))
    assert answer.exit_code == 0
    assert len(answer.stderr.splitlines()) == 1
    assert "EVENT_ID_CONFLICT" in answer.stderr
    assert [one.entry for one in sync.queue.pending()][:2] == earlier
    assert sync.queued() == sorted(ids)
    assert len(sync.run("status")["conflicts"]) == 2


def test_a_backfill_stops_at_the_cap(sync: Sync) -> None:
    sync.cap(2)
    sync.project.record(sync.mission, "WP01", "planned", "claimed", "in_progress")  # nobody told the observer
    assert sync.project.kitty("sync", "backfill", "--json").code == "OFFLINE_QUEUE_FULL"
    oldest_first = [row["event_id"] for row in sync.mission.ledger.rows()]
    assert [one.entry.event_id for one in sync.queue.pending()] == oldest_first[:2]


def test_another_projects_events_count_against_the_cap_and_stay_its_own(sync: Sync) -> None:
    sync.cap(2)
    put(sync.queue, entry("theirs", project="other"))
    assert "OFFLINE_QUEUE_FULL" in sync.project.kitty("poke", "--count", "2").stderr
    assert [(one["project"], one["depth"]) for one in sync.run("status")["backlog"]] == [
        (sync.id, 1),
        ("other", 1),
    ]
    assert sync.run("drain")["drained_now"] == 2
    assert (sync.drained(), sync.queue.ids("other", PENDING)) == (sync.emitted(), ["theirs"])


def test_a_queue_that_is_held_does_not_hold_up_a_command(sync: Sync) -> None:
    with lock(sync.queue.path.with_suffix(".lock")):
        started = time.monotonic()
        answer = sync.project.kitty("poke")
        elapsed = time.monotonic() - started
    assert (answer.exit_code, answer.stderr) == (0, "")
    assert elapsed < 10  # generous: a command of sync would wait for 30
    assert sync.queued() == []
    assert sync.run("backfill")["queued"] == 1


def test_the_rows_of_one_command_are_queued_in_one_transaction(sync: Sync, monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[Queue] = []
    changing = Queue.changing

    def counting(queue: Queue) -> contextlib.AbstractContextManager[Change]:
        begun.append(queue)
        return changing(queue)

    monkeypatch.setattr(Queue, "changing", counting)
    sync.poke(20)
    assert (len(begun), len(sync.queued())) == (1, 20)


def test_a_command_that_fails_after_its_rows_were_written_queues_them(sync: Sync) -> None:
    """The ledger has them, whatever became of the command."""
    answer = sync.project.kitty("poke", "--count", "2", "--fail")
    assert answer.exit_code == 3
    assert sync.queued() == sync.emitted() != []


def test_a_damaged_queue_is_named_and_hinders_nobody(sync: Sync) -> None:
    sync.poke(1)
    gc.collect()  # a connection of this process would make the file whole again
    sync.queue.path.write_bytes(b"no database" * 100)
    answer = sync.project.kitty("poke", "--count", "3")
    assert answer.exit_code == 0
    assert len(answer.stderr.splitlines()) == 1
    assert "QUEUE_DAMAGED" in answer.stderr
    refused = sync.project.kitty("sync", "backfill", "--json")
    assert (refused.exit_code, refused.code) == (1, "QUEUE_DAMAGED")
    assert str(sync.queue.path) in refused.json["hint"]
    sync.queue.path.unlink()
    assert sync.run("backfill")["depth"] == 4


@pytest.mark.parametrize(
    ("config", "key"),
    [
        ("project:\n  slug: p\n", "project.uuid"),
        ("project:\n  uuid: everybody\n", "project.uuid"),
        (
            "project:\n  uuid: 6f1d6c0e-1f2e-4d0c-9a55-3a8f3f1c2b7d\nsync:\n  queue_max_events: 0\n",
            "sync.queue_max_events",
        ),
        ("project:\n  uuid: 6f1d6c0e-1f2e-4d0c-9a55-3a8f3f1c2b7d\nsync:\n  queue_max_events: many\n", "sync"),
    ],
)
def test_a_malformed_setting_is_an_error_and_no_default(sync: Sync, config: str, key: str) -> None:
    sync.project.write(".kittify/config.yaml", config)
    answer = sync.project.kitty("sync", "status", "--json")
    assert (answer.code, answer.json["details"]["key"]) == ("CONFIG_INVALID", key)
    poke = sync.project.kitty("poke", "--count", "2")
    assert poke.exit_code == 0
    assert [line[:23] for line in poke.stderr.splitlines()] == ["warning: CONFIG_INVALID"]


def test_a_damaged_ledger_is_not_backfilled_by_guessing(sync: Sync) -> None:
    sync.poke(1)
    with sync.mission.ledger.live.open("ab") as stream:
        stream.write(b"{broken}\n")
    assert sync.project.kitty("sync", "backfill", "--json").code == "LEDGER_DAMAGED"


def test_what_is_damaged_hides_no_other_mission(sync: Sync) -> None:
    sync.project.record(sync.mission, "WP01", "planned")
    for slug, name in (("aaa", "status.events.jsonl"), ("zzz", "meta.json")):
        other = sync.project.mission(slug)
        (other.directory / name).write_text("{broken}\n")
    answer = sync.project.kitty("sync", "backfill", "--json")
    assert (answer.exit_code, answer.code) == (1, "MISSION_DAMAGED")
    assert sync.queued() == sync.emitted() != []


def test_many_processes_queue_every_row_once(sync: Sync) -> None:
    processes = [sync.start("poke", "--count", "10", "--mission", sync.mission.slug) for _ in range(6)]
    for process in processes:
        out, err = process.communicate()
        assert (process.returncode, err) == (0, b""), out
    assert len(sync.emitted()) == 60
    assert set(sync.queued()) <= set(sync.emitted())
    sync.run("backfill")
    assert sync.queued() == sync.emitted()


WRITER = """
import sys
from kitty_sync.account import enqueue
from kitty_host.ledger.event import new_id
from kitty_sync.account import Backfill, enqueue
from kitty_sync.events import Entry, digest_of
from kitty_sync.queue import PENDING, WAYS_OUT, Change, Queue
from kitty_sync.settings import Target
from kitty_sync.settings import Target

queue = Queue(Target())
for number in range(25):
    for name in (f"{sys.argv[1]}-{number}", f"shared-{number}"):
        with queue.locked():
            enqueue(queue, [Entry("p", name, "digest", "2026", "{}")], int(sys.argv[2]), "test")
"""


@pytest.mark.parametrize(("cap", "depth"), [(10_000, 5 * 25 + 25), (60, 60)])
def test_many_writers_neither_double_an_event_nor_pass_the_cap(sync: Sync, cap: int, depth: int) -> None:
    command = [sys.executable, "-c", WRITER]
    processes = [subprocess.Popen([*command, str(number), str(cap)]) for number in range(5)]
    assert [process.wait() for process in processes] == [0] * 5
    assert sync.queue.depth() == depth


def test_a_writer_that_dies_leaves_nothing_half_done(sync: Sync) -> None:
    def dying() -> Iterator[Entry]:
        yield entry("first")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), sync.queue.locked():
        enqueue(sync.queue, dying(), 10, "test")
    assert sync.queue.depth() == 0


def test_a_lock_that_is_held_refuses_a_command_in_the_end(sync: Sync) -> None:
    sync.poke(1)
    queue = Queue(Target(), wait_seconds=0)
    with sync.queue.locked(), pytest.raises(KittyError, match="LOCK_HELD"), queue.locked():
        pass


def test_without_a_number_it_holds_twice_as_many(sync: Sync) -> None:
    sync.cap(3)
    assert sync.run("expand")["cap"] == 6


def test_expanding_makes_room_and_keeps_the_configuration(sync: Sync) -> None:
    sync.cap(2)
    sync.poke(5)
    told = sync.run("expand", "--to", "10")
    assert (told["before"], told["cap"], told["depth"]) == (2, 10, 5)
    assert sync.queued() == sync.emitted()


def test_a_queue_of_another_version_is_not_touched(sync: Sync) -> None:
    sync.poke(1)
    with contextlib.closing(sqlite3.connect(sync.queue.path)) as database:
        database.execute("PRAGMA user_version = 7")
    refused = sync.project.kitty("sync", "status", "--json")
    assert (refused.exit_code, refused.code) == (1, "QUEUE_DAMAGED")


ROOM = 500
"""Events past the cap."""


def test_SC_007_past_the_cap_a_command_succeeds_with_one_line_and_every_way_out_works(sync: Sync) -> None:
    sync.cap(10)
    answer = sync.project.kitty("poke", "--count", str(10 + ROOM))
    assert (answer.exit_code, len(answer.stderr.splitlines())) == (0, 1)
    assert answer.stderr.startswith("warning: OFFLINE_QUEUE_FULL: the offline queue is full: 10 of 10 events")
    told = sync.run("status")
    assert (told["depth"], told["cap"], told["missing"]) == (10, 10, ROOM)
    text = sync.project.kitty("sync", "status").stdout
    for way in ("drain", "expand", "flush"):
        assert f"kitty sync {way}" in text
        assert any(f"kitty sync {way}" in one for one in told["ways_out"])
    assert sync.run("drain")["drained_now"] == 10 + ROOM
    assert sync.drained() == sync.emitted()
    sync.run("expand", "--to", "1000")
    replayed = sync.run("replay", "--strict")
    assert (replayed["applied"], replayed["duplicates"], replayed["depth"]) == (10 + ROOM, 0, 10 + ROOM)
    assert sync.queued() == sync.emitted()
    again = sync.run("replay", "--strict")
    assert (again["applied"], again["duplicates"], again["drained"]) == (0, 10 + ROOM, 0)
