"""The queue: each event once, never over its cap, never overwritten, whoever writes at the same time."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest

from kitty_host.api import KittyError
from kitty_host.files import lock
from kitty_sync.entry import Entry, entry_of
from kitty_sync.queue import Queue

from .conftest import Sync


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
        "oldest": oldest,
        "backlog": [{"project": sync.queue.project, "depth": 3, "oldest": oldest}],
        "missing": 0,
        "conflicts": [],
    }


def test_status_writes_nothing(sync: Sync) -> None:
    sync.project.record(sync.mission, "WP01", "planned")  # a row that no observer was told of
    assert sync.run("status")["missing"] == 1
    assert not sync.queue.path.parent.exists()


def test_the_same_event_is_queued_once(sync: Sync) -> None:
    sync.poke(2)
    again = sync.run("backfill")
    assert (again["queued"], again["known"], again["depth"]) == (0, 2, 2)


def test_an_event_id_with_another_content_is_a_conflict_and_overwrites_nothing(sync: Sync) -> None:
    sync.poke(1)
    [kept] = sync.queue.entries()
    row = {**sync.mission.ledger.rows()[0], "payload": {"number": "forged"}}
    sync.mission.ledger.live.write_text(json.dumps(row, sort_keys=True) + "\n")
    for _ in range(2):
        answer = sync.project.kitty("sync", "backfill", "--json")
        assert (answer.exit_code, answer.code) == (1, "EVENT_ID_CONFLICT")
        assert answer.json["details"]["event_ids"] == [kept.event_id]
    assert sync.queue.entries() == [kept]
    offered = entry_of(row, sync.mission, sync.queue.project).digest
    assert sync.run("status")["conflicts"] == [
        {"project": sync.queue.project, "event_id": kept.event_id, "kept": kept.digest, "offered": offered}
    ]


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
    assert len(details["ways_out"]) == 2
    assert sync.run("status")["missing"] == 3


def test_auto_drain_makes_room_and_loses_nothing(sync: Sync) -> None:
    sync.cap(2)
    sync.poke(5)
    answer = sync.run("backfill", "--auto-drain")
    assert (answer["drained"], answer["depth"]) == (5, 0)
    assert sync.drained() == sync.emitted()


def test_a_conflict_while_a_command_runs_is_one_warning_and_the_other_rows_are_queued(sync: Sync) -> None:
    earlier = [Entry(name, "another digest", "2026", "{}") for name in ("A", "B")]
    with sync.queue.locked():
        sync.queue.enqueue(earlier, 10)
    answer = sync.project.kitty("poke", "--id", "A", "--id", "B", "--id", "C")
    assert answer.exit_code == 0
    assert len(answer.stderr.splitlines()) == 1
    assert "EVENT_ID_CONFLICT" in answer.stderr
    assert sync.queue.entries()[:2] == earlier
    assert sync.queued() == ["A", "B", "C"]
    assert len(sync.run("status")["conflicts"]) == 2


def test_a_backfill_stops_at_the_cap(sync: Sync) -> None:
    sync.cap(2)
    sync.project.record(sync.mission, "WP01", "planned", "claimed", "in_progress")  # nobody told the observer
    assert sync.project.kitty("sync", "backfill", "--json").code == "OFFLINE_QUEUE_FULL"
    oldest_first = [row["event_id"] for row in sync.mission.ledger.rows()]
    assert [entry.event_id for entry in sync.queue.entries()] == oldest_first[:2]


def test_another_projects_events_count_against_the_cap_and_stay_its_own(sync: Sync) -> None:
    sync.cap(2)
    other = Queue("other")
    with other.locked():
        other.enqueue([Entry("theirs", "digest", "2026", "{}")], 10)
    assert "OFFLINE_QUEUE_FULL" in sync.project.kitty("poke", "--count", "2").stderr
    assert [(one["project"], one["depth"]) for one in sync.run("status")["backlog"]] == [
        (sync.queue.project, 1),
        ("other", 1),
    ]
    assert sync.run("drain")["drained"] == 2
    assert (sync.drained(), [entry.event_id for entry in other.entries()]) == (sync.emitted(), ["theirs"])


def test_a_queue_that_is_held_does_not_hold_up_a_command(sync: Sync) -> None:
    with lock(sync.queue.path.with_suffix(".lock")):
        started = time.monotonic()
        answer = sync.project.kitty("poke")
        elapsed = time.monotonic() - started
    assert (answer.exit_code, answer.stderr) == (0, "")
    assert elapsed < 10  # generous: a command of sync would wait for 30
    assert sync.queued() == []
    assert sync.run("backfill")["queued"] == 1


def test_a_command_waits_for_the_queue_once_and_not_for_every_row(sync: Sync) -> None:
    held = threading.Event()

    def hold_until_the_third_row() -> None:
        with lock(sync.queue.path.with_suffix(".lock")):
            held.set()
            while len(sync.emitted()) < 3:
                time.sleep(0.005)

    holder = threading.Thread(target=hold_until_the_third_row)
    holder.start()
    held.wait()
    sync.poke(20)
    holder.join()
    assert (len(sync.emitted()), sync.queued()) == (20, [])
    assert sync.run("backfill")["queued"] == 20


def test_a_damaged_queue_is_named_and_hinders_nobody(sync: Sync) -> None:
    sync.poke(1)
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
from kitty_sync.entry import Entry
from kitty_sync.queue import Queue

queue = Queue("p")
for number in range(25):
    for name in (f"{sys.argv[1]}-{number}", f"shared-{number}"):
        with queue.locked():
            queue.enqueue([Entry(name, "digest", "2026", "{}")], int(sys.argv[2]))
"""


@pytest.mark.parametrize(("cap", "depth"), [(10_000, 5 * 25 + 25), (60, 60)])
def test_many_writers_neither_double_an_event_nor_pass_the_cap(sync: Sync, cap: int, depth: int) -> None:
    command = [sys.executable, "-c", WRITER]
    processes = [subprocess.Popen([*command, str(number), str(cap)]) for number in range(5)]
    assert [process.wait() for process in processes] == [0] * 5
    assert sync.queue.depth() == depth


def test_a_writer_that_dies_leaves_nothing_half_done(sync: Sync) -> None:
    def dying() -> Iterator[Entry]:
        yield Entry("first", "digest", "2026", "{}")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), sync.queue.locked():
        sync.queue.enqueue(dying(), 10)
    assert sync.queue.depth() == 0


def test_a_lock_that_is_held_refuses_a_command_in_the_end(sync: Sync) -> None:
    sync.poke(1)
    queue = Queue(sync.queue.project, wait_seconds=0)
    with sync.queue.locked(), pytest.raises(KittyError, match="LOCK_HELD"), queue.locked():
        pass
