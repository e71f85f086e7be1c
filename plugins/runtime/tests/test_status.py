"""Status: the same numbers everywhere, over nine lanes."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
    assert len(text.splitlines()) == 5


def test_the_old_name_of_the_option_works_and_both_must_agree(road: Road) -> None:
    road.planned()
    assert road("status", "--feature", road.mission.slug) == road("status", "--mission", road.mission.slug)
    done = road.project.kitty("status", "--feature", "one", "--mission", "two", "--json")
    assert (done.exit_code, done.code) == (1, "MISSION_AMBIGUOUS_SELECTOR")
    assert "--feature" not in road.project.kitty("status", "--help").stdout


@pytest.mark.parametrize("question", [["status"], ["next", "--agent", "ada"]], ids=["status", "next"])
@pytest.mark.usefixtures("unmeasured")
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
    heavy = {
        "attr",
        "cattrs",
        "ruamel.yaml",
        "importlib.metadata",
        "asyncio",
        "hashlib",
        "random",
        "msgspec",
        "shutil",
        "rich",
        "decimal",
    }
    assert heavy.isdisjoint(done.stdout.splitlines()[-1].split())


# The forecast

Prophet = Callable[[str], None]
CONFLICT = """{
    "lane": "lane-b", "others": ["lane-a"], "paths": ["a\\n.txt", "b", "c", "d"],
    "kinds": {"a\\n.txt": "contents", "b": "binary", "c": "add/add", "d": "other"}, "hint": "merge it",
}"""


@pytest.fixture
def prophet(road: Road, install_plugin: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> Prophet:
    """A plugin whose forecast is an expression."""

    def make(expression: str) -> None:
        source = "from kitty_host.api import KittyError, hookimpl\n\n@hookimpl\ndef kitty_forecast(mission):\n"
        source += f"    from kitty_host.records import Forecast\n    return {expression}\n"
        install_plugin("prophet", source)
        monkeypatch.setenv("KITTY_PLUGINS", "runtime,lanes,prophet")

    return make


def foretold(road: Road, *arguments: str) -> Any:
    return road("status", *arguments)["missions"][0]["forecast"]


def added(road: Road) -> list[str]:
    """The lines that the forecast adds to the text."""
    return road.project.kitty("status").stdout.splitlines()[5:]


def test_a_conflict_is_told_in_two_lines_with_its_way_out(road: Road, prophet: Prophet) -> None:
    road.planned()
    prophet(f"Forecast(False, ({CONFLICT}, {CONFLICT}))")
    found = foretold(road)
    assert (found["clean"], len(found["conflicts"]), found["conflicts"][0]["lane"]) == (False, 2, "lane-b")
    assert added(road) == [
        "  lane-b will conflict with lane-a in a .txt (contents), b (binary), c (add/add) and 1 more; 1 more: kitty merge --preview",
        "    merge it",
    ]


def test_where_all_is_well_or_nobody_can_say_the_text_is_as_short(road: Road, prophet: Prophet) -> None:
    road.planned()
    assert foretold(road) is None
    assert added(road) == []
    prophet("Forecast(True)")
    assert foretold(road) == {"clean": True, "conflicts": [], "reason": ""}
    assert added(road) == []


def test_a_forecast_that_nobody_can_make_says_why(road: Road, prophet: Prophet) -> None:
    road.planned()
    prophet("Forecast(None, reason='Git is too old')")
    assert foretold(road) == {"clean": None, "conflicts": [], "reason": "Git is too old"}
    assert added(road) == ["  no forecast: Git is too old"]


def test_nothing_to_say_is_null(road: Road, prophet: Prophet) -> None:
    road.planned()
    prophet("None")
    assert foretold(road) is None


@pytest.mark.parametrize(
    ("expression", "said"),
    [
        ("1 / 0", "No forecast: plugin prophet: kitty_forecast failed: ZeroDivisionError: division by zero"),
        ("exit()", "No forecast: plugin prophet: kitty_forecast failed: SystemExit: None"),
        ("(_ for _ in ()).throw(KittyError('GIT_FAILED', 'no'))", "No forecast: GIT_FAILED: no"),
    ],
)
def test_a_forecast_that_fails_is_said_and_the_rest_is_shown(
    road: Road, prophet: Prophet, expression: str, said: str
) -> None:
    road.planned()
    prophet(expression)
    done = road.project.kitty("status", "--json")
    assert (done.exit_code, done.stderr.splitlines()) == (0, [said])
    assert done.json["missions"][0]["forecast"] is None
    assert len(road.project.kitty("status").stdout.splitlines()) == 5


def test_only_the_one_mission_that_is_open_and_has_lanes_is_asked_about(road: Road, prophet: Prophet) -> None:
    prophet("print('asked') or Forecast(True)")

    def asked(*arguments: str) -> bool:
        return "asked" in road.project.kitty("status", *arguments).stderr

    road("mission", "create", "other")
    assert not asked(), "there are no lanes yet"
    shutil.rmtree(road.mission.directory)
    road.planned()
    assert asked()
    assert not asked("--all")
    assert foretold(road, "--all") is None
    road("cancel", "WP01", "--reason", "no")
    assert not asked(), "it is closed"


def test_a_damaged_mission_hides_no_other(road: Road) -> None:
    road.planned()
    slug = road.mission.slug
    for name, file in (("other", "meta.json"), ("third", "status.events.jsonl")):
        place = road.root / road("mission", "create", name)["dir"]
        (place / file).write_text("{\n")
        if file != "meta.json":
            (
                road.root / ".git/kitty/ledger" / f"{json.loads((place / 'meta.json').read_text())['mission_id']}.jsonl"
            ).unlink()
    done = road.project.kitty("status", "--all", "--json")
    assert [one["slug"] for one in done.json["missions"]] == [slug]
    assert [one["code"] for one in done.json["damaged"]] == ["MISSION_DAMAGED", "LEDGER_DAMAGED"]
    assert "MISSION_DAMAGED: " in done.stderr
    assert road("status", "--mission", slug)["missions"][0]["slug"] == slug
    assert road("next", "--mission", slug, "--agent", "ada")["kind"] == "query"
    road.refuses("MISSION_DAMAGED", "status")
    said = road("next", "--agent", "ada")
    assert (said["kind"], said["reason"].partition(":")[0]) == ("blocked", "MISSION_DAMAGED")
