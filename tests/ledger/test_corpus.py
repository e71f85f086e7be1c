"""Real ledgers: `pytest --corpus DIR` compares the reducer with its oracle on every one of them, and on shuffled lines.

Without the option this file is not collected.
"""

from __future__ import annotations

import json
import logging
import random
import re
from pathlib import Path

import pytest
from spec_kitty_events import diary

from kitty_host.lanes import read_lanes
from kitty_host.ledger.event import Row
from kitty_host.ledger.lines import decode_lines
from kitty_host.ledger.reduce import reduce
from kitty_host.mission import read_mission
from kitty_host.packages import read_packages
from kitty_host.repo import Repo
from kitty_host.state import State

COMPARED = ("event_count", "last_event_id", "materialized_at", "summary", "mission_slug", "work_packages")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    corpus: Path = metafunc.config.getoption("--corpus")
    found = sorted(corpus.glob("kitty-specs/*/status.events.jsonl"))
    if not found:
        raise pytest.UsageError(f"there is no kitty-specs/*/status.events.jsonl in {corpus}")
    metafunc.parametrize("path", found, ids=lambda path: path.parent.name)


def test_a_real_ledger_adds_up_to_what_spec_kitty_makes_of_it(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)
    lines = path.read_bytes().split(b"\n")[:-1]
    rows: list[Row] = [json.loads(line) for line in lines]
    wanted = diary.reduce(rows).to_dict()
    for shuffle in range(4):
        found = reduce(decode_lines(lines, path)).to_dict()
        assert {key: found[key] for key in COMPARED} == {key: wanted[key] for key in COMPARED}, f"shuffle {shuffle}"
        random.Random(shuffle).shuffle(lines)


def test_its_work_packages_and_lanes_are_read_without_a_fault(path: Path, tmp_path: Path) -> None:
    packages, findings = read_packages(path.parent / "tasks", tmp_path / "cache.json")
    assert {finding.code for finding in findings} <= {"WP_MODE"}
    assert read_packages(path.parent / "tasks", tmp_path / "cache.json") == (packages, findings)
    mission = read_mission(Repo(path.parents[2], tmp_path, path.parents[2]), path.parent)
    lanes = read_lanes(mission)
    assert lanes is None or {wp_id for lane in lanes.lanes for wp_id in lane.wp_ids}


def test_every_id_that_occurs_names_its_work_package(path: Path, tmp_path: Path) -> None:
    mission = read_mission(Repo(path.parents[2], tmp_path, path.parents[2]), path.parent)
    known = {package.wp_id for package in mission.packages}
    rows = [json.loads(line) for line in path.read_bytes().split(b"\n")[:-1]]
    told = {str(row["wp_id"]) for row in rows if row.get("wp_id")}
    files = {one.name for one in (path.parent / "tasks").glob("WP*.md")}
    listed = (path.parent / "tasks.md").read_text() if (path.parent / "tasks.md").exists() else ""
    ids = [*told, *files, *re.findall(r"\bWP\d+\b", listed)]
    ids += [f"{wp_id}/{one}" for package in mission.packages for wp_id in (package.wp_id,) for one in package.subtasks]
    for text in ids:
        found = re.match(r"WP\d+", text, re.IGNORECASE)
        assert found, text
        if found[0] in known:
            for form in (text, text.lower(), f"{mission.slug}/{text}", f"{mission.mission_id}/{text}"):
                assert mission.package(form).wp_id == found[0]


def test_progress_is_what_spec_kitty_counts(path: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)
    lines = path.read_bytes().split(b"\n")[:-1]
    wanted = diary.reduce([json.loads(line) for line in lines]).to_dict()["summary"]
    mission = read_mission(Repo(path.parents[2], tmp_path, path.parents[2]), path.parent)
    state = State(mission, reduce(decode_lines(lines, path)))
    found = state.progress()
    # What has a file and no row yet is planned, for whoever looks.
    unseeded = sum(state.lane(wp_id) == "genesis" for wp_id in state.wp_ids())
    assert found.lanes == {**wanted, "planned": wanted["planned"] + unseeded}
    assert found.total == sum(found.lanes.values()) - found.lanes["canceled"]
    assert (found.done, found.approved) == (found.lanes["done"], found.lanes["done"] + found.lanes["approved"])
    assert (found.percent == 100) == (found.total > 0 and found.done == found.total)
