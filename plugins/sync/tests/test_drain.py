"""A drain moves events to a file and loses none, wherever it is killed; a backfill makes the account whole."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time

import pytest

from kitty_host import files

from .conftest import Sync


def test_a_drained_file_has_a_manifest_and_one_line_for_each_event(sync: Sync) -> None:
    sync.poke(3)
    answer = sync.run("drain")
    assert (answer["drained"], answer["depth"]) == (3, 0)
    [file] = sync.files()
    assert answer["file"] == f".kittify/sync/{file.name}"
    assert re.fullmatch(r"overflow-\d{8}T\d{6}Z\.jsonl", file.name)
    first, _, body = file.read_bytes().partition(b"\n")
    manifest = json.loads(first)
    assert (manifest["schema"], manifest["count"]) == ("kitty.overflow/1", 3)
    assert manifest["sha256"] == hashlib.sha256(body).hexdigest()
    events = [json.loads(line) for line in body.splitlines()]
    assert [event["event"] for event in events] == sync.mission.ledger.rows()
    assert {(event["project"], event["mission_id"]) for event in events} == {
        (sync.queue.project, sync.mission.mission_id)
    }


def test_a_drain_takes_the_overflowed_ones_too(sync: Sync) -> None:
    sync.cap(2)
    sync.poke(6)
    assert sync.run("drain")["drained"] == 6
    assert (sync.drained(), sync.queued()) == (sync.emitted(), [])


def test_a_second_drain_finds_nothing_and_makes_no_file(sync: Sync) -> None:
    sync.poke(2)
    sync.run("drain")
    again = sync.run("drain")
    assert (again["drained"], again["file"], len(sync.files())) == (0, None, 1)


def test_drains_within_one_second_get_names_of_their_own(sync: Sync) -> None:
    for _ in range(3):
        sync.poke(1)
        sync.run("drain")
    assert len(sync.files()) == 3
    assert sync.drained() == sync.emitted()


def test_a_dry_run_changes_nothing(sync: Sync) -> None:
    sync.poke(2)
    before = (sync.queued(), sync.project.snapshot())
    assert sync.run("drain", "--dry-run")["drained"] == 2
    assert (sync.queued(), sync.project.snapshot()) == before


def test_a_backfill_takes_in_every_row_of_every_mission_that_is_neither_queued_nor_drained(sync: Sync) -> None:
    sync.poke(2)
    sync.run("drain")
    sync.poke(1)
    other = sync.project.mission("other")
    sync.project.record(other, "WP01", "planned", "claimed")  # nobody told the observer
    answer = sync.run("backfill")
    assert (answer["queued"], answer["known"]) == (2, 3)
    every = sorted([*sync.emitted(), *(row["event_id"] for row in other.ledger.rows())])
    assert sorted([*sync.queued(), *sync.drained()]) == every


def test_rows_of_another_tool_without_an_id_are_taken_in_once(sync: Sync) -> None:
    sync.poke(1)
    with sync.mission.ledger.live.open("a") as stream:
        for name in ("Foreign", "Strange"):
            stream.write(f'{{"event_type": "{name}", "timestamp": "2026-01-01T00:00:00Z"}}\n')
    assert [sync.run("backfill")["queued"], sync.run("backfill")["queued"]] == [2, 0]


def killed_before_the_deletion(sync: Sync) -> None:
    """Drain in a process that is killed when its file is there and its events are still queued."""
    with contextlib.closing(sqlite3.connect(sync.queue.path, isolation_level=None)) as database:
        database.execute("BEGIN IMMEDIATE")  # holds up the deletion, and nothing before it
        process = sync.start("sync", "drain")
        deadline = time.monotonic() + 20
        while not list((sync.project.root / ".kittify" / "sync").glob("overflow-*")):
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        database.execute("ROLLBACK")
    assert sync.queued() == sync.emitted()


@pytest.mark.parametrize("next_command", ["drain", "backfill"])
def test_a_drain_that_was_killed_loses_nothing_and_doubles_nothing(sync: Sync, next_command: str) -> None:
    sync.poke(5)
    killed_before_the_deletion(sync)
    sync.run(next_command)
    assert (sync.drained(), sync.queued()) == (sync.emitted(), [])
    sync.poke(1)
    sync.run("backfill")
    assert sorted([*sync.drained(), *sync.queued()]) == sync.emitted()


def test_what_a_killed_drain_left_half_written_is_cleared_away(sync: Sync) -> None:
    sync.poke(2)
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    half = files.temporary(sync.project.root / ".kittify/sync")
    sync.project.write(
        f".kittify/sync/{half.name.replace(f'-{os.getpid()}-', f'-{ended.pid}-')}", '{"schema": "kitty.ov'
    )
    sync.run("drain")
    assert [file.name[:9] for file in sync.files()] == ["overflow-"]
    assert sync.drained() == sync.emitted()


@pytest.mark.parametrize(
    "damage", [lambda text: text[:-20], lambda text: text.replace("Poked", "Paked"), lambda text: ""]
)
def test_a_damaged_file_is_refused_and_its_events_come_from_the_ledger(sync: Sync, damage: object) -> None:
    sync.poke(2)
    sync.run("drain")
    [file] = sync.files()
    file.write_text(damage(file.read_text()))  # type: ignore[operator]
    for name in ("status", "drain", "backfill"):
        answer = sync.project.kitty("sync", name, "--json")
        assert (answer.exit_code, answer.code) == (1, "OVERFLOW_DAMAGED")
        assert str(file) in answer.json["message"]
    file.unlink()
    assert sync.run("backfill")["queued"] == 2


def test_a_drained_event_with_another_content_is_a_conflict(sync: Sync) -> None:
    sync.poke(1)
    sync.run("drain")
    row = {**sync.mission.ledger.rows()[0], "payload": {}}
    sync.mission.ledger.live.write_text(json.dumps(row, sort_keys=True) + "\n")
    assert sync.project.kitty("sync", "backfill", "--json").code == "EVENT_ID_CONFLICT"
    assert sync.queued() == []


def test_what_was_drained_for_another_project_says_nothing_about_this_one(sync: Sync) -> None:
    sync.poke(2)
    sync.run("drain")
    config = sync.project.root / ".kittify/config.yaml"
    config.write_text(config.read_text().replace("6f1d6c0e", "00000000"))
    assert sync.run("backfill")["queued"] == 2


def test_drains_and_commands_at_once_account_for_every_row(sync: Sync) -> None:
    workers = [sync.start("poke", "--count", "10", "--mission", sync.mission.slug) for _ in range(3)]
    drains = [sync.start("sync", "drain") for _ in range(3)]
    for process in [*workers, *drains]:
        out, err = process.communicate()
        assert process.returncode == 0, (out, err)
    sync.run("backfill")
    assert len(sync.emitted()) == 30
    assert sorted([*sync.queued(), *sync.drained()]) == sync.emitted()
