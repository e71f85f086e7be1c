"""A drain moves events to a file and loses none, wherever it is killed; a backfill makes the account whole."""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from kitty_host import files
from kitty_host.ledger.event import is_ulid
from kitty_sync.account import enqueue
from kitty_sync.events import Entry
from kitty_sync.queue import DRAINED, PENDING

from .conftest import Sync


def test_a_drained_file_has_a_manifest_and_one_line_for_each_event(sync: Sync) -> None:
    sync.poke(3)
    answer = sync.run("drain")
    assert (answer["drained_now"], answer["depth"]) == (3, 0)
    [file] = sync.files()
    assert answer["file"] == f".kittify/sync/{file.name}"
    assert re.fullmatch(r"overflow-\d{8}T\d{6}Z\.jsonl", file.name)
    first, _, body = file.read_bytes().partition(b"\n")
    manifest = json.loads(first)
    assert (manifest["schema"], manifest["count"]) == ("kitty.overflow/1", 3)
    assert manifest["sha256"] == hashlib.sha256(body).hexdigest()
    events = [json.loads(line) for line in body.splitlines()]
    assert [event["event"] for event in events] == sync.mission.ledger.rows()
    assert {(event["project"], event["mission_id"]) for event in events} == {(sync.id, sync.mission.mission_id)}


def test_a_drain_takes_the_overflowed_ones_too(sync: Sync) -> None:
    sync.cap(2)
    sync.poke(6)
    assert sync.run("drain")["drained_now"] == 6
    assert (sync.drained(), sync.queued()) == (sync.emitted(), [])


def test_a_second_drain_finds_nothing_and_makes_no_file(sync: Sync) -> None:
    sync.poke(2)
    sync.run("drain")
    again = sync.run("drain")
    assert (again["drained_now"], again["file"], len(sync.files())) == (0, None, 1)


def test_drains_within_one_second_get_names_of_their_own(sync: Sync) -> None:
    for _ in range(3):
        sync.poke(1)
        sync.run("drain")
    assert len(sync.files()) == 3
    assert sync.drained() == sync.emitted()


def test_a_dry_run_changes_nothing(sync: Sync) -> None:
    sync.poke(2)
    before = (sync.queued(), sync.project.snapshot())
    assert sync.run("drain", "--dry-run")["drained_now"] == 2
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


def test_rows_of_another_tool_without_an_id_are_taken_in_once_each_under_one_of_their_own(sync: Sync) -> None:
    sync.poke(1)
    with sync.mission.ledger.live.open("a") as stream:
        for name in ("SpecifyStarted", "PlanStarted", "PlanStarted"):
            stream.write(f'{{"event_type": "{name}", "timestamp": "2026-01-01T00:00:00Z"}}\n')
    assert [sync.run("backfill")["queued"], sync.run("backfill")["queued"]] == [2, 0]
    ids = sync.queued()
    assert all(map(is_ulid, ids))
    sync.queue.path.unlink()
    sync.run("backfill")
    assert sync.queued() == ids


KILLED = """
import os, signal, sys
from kitty_sync import account, queue

def die(*arguments):
    os.kill(os.getpid(), signal.SIGKILL)

place = {place}
setattr(place[0], place[1], die)
from kitty_host.cli import run
run(["sync", "drain"])
"""
POINTS = {
    "before its file is there": '(account, "write_overflow")',
    "when its file is there and its events still wait": '(queue.Change, "drained")',
    "when all is done and nothing was said": '(queue.Queue, "counted")',
}


@pytest.mark.parametrize("next_command", ["drain", "backfill"])
@pytest.mark.parametrize("point", POINTS)
def test_a_drain_that_was_killed_loses_nothing_and_doubles_nothing(sync: Sync, next_command: str, point: str) -> None:
    sync.cap(3)
    sync.poke(5)
    code = KILLED.format(place=POINTS[point])
    done = subprocess.run([sys.executable, "-c", code], cwd=sync.project.root)
    assert done.returncode == -signal.SIGKILL
    sync.project.kitty("sync", next_command)
    places = sync.run("status")
    assert places["pending"] + places["drained"] + places["missing"] == 5
    for place, ids in ((PENDING, sync.queued()), (DRAINED, sync.drained())):
        assert sorted(sync.queue.ids(sync.id, place)) == ids
    assert len({*sync.queued(), *sync.drained()}) == 5 - places["missing"]
    sync.run("drain")
    assert (sync.drained(), sync.queued()) == (sync.emitted(), [])


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
    "damage", [lambda text: text[:-20], lambda text: text.replace("WPCreated", "WPCreatet"), lambda text: ""]
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
    assert sync.queued() == sync.emitted()


def test_a_drained_event_with_another_content_is_a_conflict(sync: Sync) -> None:
    sync.poke(1)
    sync.run("drain")
    row = sync.mission.ledger.rows()[0]
    row["payload"]["wp_title"] = "forged"
    sync.mission.ledger.live.write_text(json.dumps(row, sort_keys=True) + "\n")
    assert sync.project.kitty("sync", "backfill", "--json").code == "EVENT_ID_CONFLICT"
    assert sync.queued() == []


def test_all_projects_are_drained_to_a_file_that_is_named(sync: Sync, tmp_path: Path) -> None:
    sync.poke(2)
    with sync.queue.locked():
        enqueue(sync.queue, [Entry("other", "theirs", "digest", "2026", "{}")], 10, "test")
    file = tmp_path / "all.jsonl"
    told = sync.run("drain", "--all", "--to", str(file))
    assert (told["drained_now"], told["depth"], told["file"]) == (3, 0, str(file))
    assert len(file.read_text().splitlines()) == 4
    again = sync.project.kitty("sync", "drain", "--all", "--to", str(file), "--json")
    assert (again.exit_code, again.code) == (1, "FILE_EXISTS")
    file.unlink()
    assert sync.run("backfill")["queued"] == 0, "it was taken somewhere else on purpose"


def test_all_and_a_file_go_together(sync: Sync) -> None:
    assert sync.project.kitty("sync", "drain", "--all").exit_code == 2
    assert sync.project.kitty("sync", "drain", "--to", "x").exit_code == 2


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
