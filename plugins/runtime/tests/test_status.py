"""Status: the same numbers everywhere, over nine lanes."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from kitty_host.ledger.machine import LANES

if TYPE_CHECKING:
    from conftest import Road


def test_the_shape_that_scripts_rely_on(road: Road) -> None:
    road.planned(("WP01",), ("WP02", "WP01"))
    road("implement", "WP01", "--agent", "ada")
    (mission,) = road("status")["missions"]
    assert set(mission["lanes"]) == set(LANES)
    assert (mission["lanes"]["planned"], mission["lanes"]["in_progress"]) == (1, 1)
    first = mission["packages"][0]
    assert {key: first[key] for key in ("wp_id", "title", "lane", "agent", "lane_id", "depends_on")} == {
        "wp_id": "WP01",
        "title": "Title of WP01",
        "lane": "in_progress",
        "agent": "ada",
        "lane_id": "lane-a",
        "depends_on": [],
    }
    assert first["last_event_id"] == road.transitions("WP01")[-1].event_id
    assert mission["progress"] == {"done": 0, "approved": 0, "total": 2, "percent": 15}


def test_progress_counts_approvals_and_is_whole_only_when_everything_is_done(road: Road) -> None:
    road.planned(("WP01",), ("WP02",))
    road.approved("WP01")
    assert road("status")["missions"][0]["progress"] == {"done": 0, "approved": 1, "total": 2, "percent": 45}
    road("cancel", "WP02", "--reason", "no")
    assert road("status")["missions"][0]["progress"]["percent"] == 90
    road("move", "WP01", "done", "--force", "--reason", "landed")
    assert road("status", "--all")["missions"][0]["progress"] == {"done": 1, "approved": 1, "total": 1, "percent": 100}


def test_it_is_a_query(road: Road) -> None:
    road.planned()
    before = road.project.snapshot()
    road("status")
    assert road.project.kitty("status").exit_code == 0
    assert road.project.snapshot() == before


def test_a_hostile_title_is_one_harmless_line(road: Road) -> None:
    road("mission", "create", "demo", "--title", "ok\n\x1b[31m# heading\u202e")
    road.write("tasks/WP01-x.md", '---\nwork_package_id: WP01\ntitle: "a\\nb\\e[31m"\nowned_files: [x]\n---\n')
    text = road.project.kitty("status").stdout
    assert "%1B" in text
    assert "\u202e" not in text
    assert len(text.splitlines()) == 3


def test_the_old_name_of_the_option_works_and_both_must_agree(road: Road) -> None:
    road.planned()
    assert road("status", "--feature", road.mission.slug) == road("status", "--mission", road.mission.slug)
    done = road.project.kitty("status", "--feature", "one", "--mission", "two", "--json")
    assert (done.exit_code, done.code) == (1, "MISSION_AMBIGUOUS_SELECTOR")
    assert "--feature" not in road.project.kitty("status", "--help").stdout


@pytest.mark.parametrize("question", [["status"], ["next", "--agent", "ada"]], ids=["status", "next"])
def test_a_question_loads_neither_attrs_nor_yaml(road: Road, question: list[str]) -> None:
    road.planned()
    road("status")  # front matter is read once, and then comes from the cache
    script = f"""
import sys
from kitty_host.cli import run
assert run({[*question, "--json"]!r}) == 0
print(*sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=road.project.root, capture_output=True, text=True, check=True
    )
    heavy = {"attr", "cattrs", "ruamel.yaml", "importlib.metadata", "asyncio", "hashlib", "random", "msgspec", "shutil"}
    assert heavy.isdisjoint(done.stdout.splitlines()[-1].split())
