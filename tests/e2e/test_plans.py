"""The plans of other tools become missions: what stands here was read off each plan by hand, and is what its work packages say."""

from __future__ import annotations

import json
import random
import shutil
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from kitty_host.api import KittyError
from kitty_host.mission import Mission, read_mission
from kitty_host.packages import front_matter
from kitty_host.records import Source
from kitty_host.repo import Repo
from kitty_host.testing import Project

sys.path.insert(0, str(Path(__file__).parents[2] / "plugins" / "intake" / "tests"))

from hostile import changed
from plan_sources import PLANS


class Expected(NamedTuple):
    """A mission by hand: per work package its title, what it waits for, what it owns (empty: nothing is named), its subtasks."""

    title: str
    packages: dict[str, tuple[str, str, str, str]]
    settled: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    lanes: int = 1
    """Lanes at least: work that the plan lets go on side by side and whose files do not meet."""


EXPECTED = {
    "spec_kit/001-photo-albums": Expected(
        "Photo albums",
        {
            "WP01": ("Phase 1: Setup (Shared Infrastructure)", "", "albums/__init__.py tools/lint.toml", "T001 T002"),
            "WP02": (
                "Phase 2: Foundational (Blocking Prerequisites)",
                "WP01",
                "albums/schema.sql albums/dates.py",
                "T003 T004",
            ),
            "WP03": (
                "Phase 3: User Story 1 - See photos in albums by date (Priority: P1) %F0%9F%8E%AF MVP",
                "WP02",
                "tests/test_import.py albums/importer.py albums/web/index.py",
                "T005 T006 T007",
            ),
            "WP04": (
                "Phase 4: User Story 2 - Put albums in an order of one's own (Priority: P2)",
                "WP02",
                "tests/test_order.py albums/order.py",
                "T008 T009",
            ),
            "WP05": ("Phase 5: Polish & Cross-Cutting Concerns", "WP03 WP04", "docs/**", "T010 T011"),
        },
        lanes=3,
    ),
    "spec_kit/014-export-queue": Expected(
        "Export queue",
        {
            "WP01": (
                "Phase 3.2: Tests First (TDD) %E2%9A%A0%EF%B8%8F MUST COMPLETE BEFORE 3.3",
                "",
                "tests/integration/test_restart.py",
                "T004",
            ),
            "WP02": (
                "Phase 3.3: Core Implementation (ONLY after tests are failing)",
                "WP01",
                "src/export/table.py src/export/worker.py src/export/api.py",
                "T005 T006 T007",
            ),
            "WP03": ("Phase 3.4: Integration", "WP02", "src/app.py", "T008"),
            "WP04": ("Phase 3.5: Polish", "WP03", "", "T009"),
        },
        settled=("Phase 3.1",),
    ),
    "spec_kit/020-suche": Expected(
        "Suche über alle Ordner 全文検索",
        {
            "WP01": ("Index", "", "search/update.py search/rebuild.py", "T002"),
            "WP02": ("User Story 1: Wörter finden", "WP01", "search/query.py", "T003"),
            "WP03": ("User Story 2: In Anhängen finden", "WP01 WP02", "search/pdf.py", "T004"),
            "WP04": ("Handbuch", "WP02 WP03", "", "T005"),
        },
    ),
    "openspec/add-two-factor-auth": Expected(
        "Add two-factor authentication",
        {
            "WP01": ("Secrets", "", "src/auth/secrets.sql src/auth/secrets.ts", "1.1 1.2"),
            "WP02": ("Codes", "WP01", "src/auth/totp.ts src/auth/recovery.ts test/auth/**", "2.1 2.2 2.3"),
            "WP03": ("Notifications", "WP02", "src/mail/second-factor.ts", "3.1"),
            "WP04": ("Documentation", "WP03", "", "4.1"),
        },
    ),
    "openspec/remove-old-login": Expected(
        "Remove the old login",
        {
            "WP01": ("Implementation", "", "web/login-old.html", "1.1 1.2 1.3"),
            "WP02": ("Verification", "WP01", "", "2.1"),
        },
    ),
    "openspec/update-rate-limits": Expected(
        "update rate limits",
        {
            "WP01": ("Refusing", "", "src/limits/refuse.go", "2.2"),
            "WP02": ("Watching", "WP01", "", "3.1"),
            "WP03": ("Cleaning up", "WP02", "src/limits/address.go", "4.1"),
        },
        settled=("1",),
    ),
    "backlog/shop": Expected(
        "The shop",
        {
            "WP01": ("Keep a cart between visits", "", "", ""),
            "WP02": ("Checkout: pay by invoice", "WP01", "", ""),
            "WP03": ("Mail the invoice", "WP02", "src/mail/invoice.py templates/**", ""),
        },
        settled=("task-1", "task-4"),
        unknown=("task-9",),
    ),
    "backlog/types": Expected(
        "Demo",
        {
            "WP01": ("Keep the type", "", "src/core/types.ts", ""),
            "WP02": ("Command: -%2Dtype", "WP01", "", ""),
            "WP03": ("Show the type", "WP01 WP02", "", ""),
            "WP04": ("Release it", "WP01 WP02 WP03", "", ""),
        },
        unknown=("task-300",),
    ),
    "backlog/single/task-42 - Dark-mode.md": Expected(
        "Dark mode", {"WP01": ("Dark mode", "", "web/theme.css", "")}, unknown=("TASK-7",)
    ),
    "task_master/weather/tasks.json": Expected(
        "Weather station",
        {
            "WP01": ("Read the sensor", "", "", "2.2 2.3"),
            "WP02": ("Keep readings", "", "", ""),
            "WP03": ("Draw a chart", "WP01 WP02", "", ""),
            "WP04": ("Publish", "WP03", "", ""),
        },
        settled=("1", "5"),
        unknown=("17",),
    ),
    "task_master/bot/tasks.json": Expected(
        "Demo",
        {
            "WP01": ("Answer a question", "WP02 WP03", "", "3.1 3.2"),
            "WP02": ("Log in", "", "", ""),
            "WP03": ("Index pages", "WP02", "", "2.1"),
        },
    ),
    "task_master/two_tags": Expected(
        "Demo",
        {
            "WP01": ("Printer", "", "", ""),
            "WP02": ("Expand macros", "", "", ""),
            "WP03": ("Errors inside macros", "WP02", "", ""),
        },
        settled=("master/1",),
    ),
    "beads/reader/issues.jsonl": Expected(
        "A reader for feeds",
        {
            "WP01": ("Fetch feeds", "", "", ""),
            "WP02": ("Show articles", "WP01", "", ""),
            "WP03": ("Release", "WP01 WP02", "", ""),
            "WP04": ("Images are blurred", "", "", ""),
        },
        settled=("rd-a1.3",),
    ),
    "beads/rename/plan.jsonl": Expected(
        "Rename users to members",
        {
            "WP01": ("Add the new column", "", "", ""),
            "WP02": ("Copy what is there", "WP01", "", ""),
            "WP03": ("Headings", "WP01 WP02", "", ""),
        },
        settled=("mv-7",),
    ),
    "beads/directory": Expected(
        "Search",
        {
            "WP01": ("Search: größer, 速く", "WP03", "", ""),
            "WP02": ("Search in titles", "", "", ""),
            "WP03": ("Measure it", "", "", ""),
        },
        unknown=("web-x9",),
    ),
}


@pytest.mark.parametrize("name", EXPECTED)
def test_a_plan_becomes_the_mission_that_one_reads_in_it(project: Project, name: str) -> None:
    expected = EXPECTED[name]
    place = PLANS / name
    given = project.root / place.name
    shutil.copytree(place, given) if place.is_dir() else shutil.copy(place, given)
    taken = project.kitty("intake", place.name, "--json")
    assert taken.exit_code == 0, taken
    made = project.kitty("mission", "create", "demo", "--from-brief", "--json")
    assert made.exit_code == 0, made
    assert tuple(made.json["settled"]) == expected.settled
    assert tuple(made.json["unknown"]) == expected.unknown
    finalized = project.kitty("finalize", "--json")
    assert finalized.exit_code == 0, finalized
    mission = the_mission(project)
    whole = [wp_id for wp_id, (_, _, owned, _) in expected.packages.items() if not owned]
    assert made.json["everything"] == whole
    told = [one for one in finalized.json["findings"] if one["code"] == "OWNED_FILES_EVERYTHING"]
    assert [one["message"].partition(" may ")[0] for one in told] == (
        [", ".join(whole)] if whole and len(expected.packages) > 1 else []
    )
    assert mission.title == expected.title
    assert mission.package_findings == []
    found = {
        one.wp_id: (one.title, " ".join(one.dependencies), " ".join(one.owned_files), " ".join(one.subtasks))
        for one in mission.packages
    }
    assert found == {
        wp_id: (title, needs, owned or "**", steps) for wp_id, (title, needs, owned, steps) in expected.packages.items()
    }
    lanes = json.loads((mission.directory / "lanes.json").read_text())["lanes"]
    assert sorted(wp_id for lane in lanes for wp_id in lane["wp_ids"]) == sorted(expected.packages)
    assert len(lanes) >= expected.lanes
    for lane in lanes:
        order = {wp_id: number for number, wp_id in enumerate(lane["wp_ids"])}
        for wp_id in lane["wp_ids"]:
            needs = expected.packages[wp_id][1].split()
            assert all(order[need] < order[wp_id] for need in needs if need in order)


def the_mission(project: Project) -> Mission:
    (directory,) = (project.root / "kitty-specs").iterdir()
    return read_mission(Repo.find(project.root), directory)


def test_every_plan_that_was_written_for_this_is_read_by_hand_too() -> None:
    formats = {path.name for path in PLANS.iterdir()} - {"markdown"}
    assert {name.partition("/")[0] for name in EXPECTED} == formats
    assert all(sum(name.startswith(f"{one}/") for name in EXPECTED) >= 3 for one in formats)


def test_the_specification_and_the_tasks_are_complete_and_agents_can_begin(project: Project) -> None:
    shutil.copytree(PLANS / "spec_kit/001-photo-albums", project.root / "specs/001-photo-albums")
    assert project.kitty("intake", "--auto").exit_code == 0
    assert project.kitty("mission", "create", "demo", "--from-brief").exit_code == 0
    for phase in ("specify", "tasks", "finalize"):
        assert project.kitty(phase, "--json").exit_code == 0, phase
    spec = (the_mission(project).directory / "spec.md").read_text()
    assert "- FR-001 (open): System MUST sort imported photos into albums by the day they were taken.\n" in spec
    assert "\n~~~text\n=== checklists/requirements.md," in spec
    begun = project.kitty("implement", "WP01", "--agent", "ada", "--json")
    assert begun.exit_code == 0, begun
    project.commit("albums/__init__.py", where=Path(begun.json["workspace_path"]))
    assert project.kitty("mark-status", "T001", "T002", "--status", "done", "--agent", "ada").exit_code == 0
    submitted = project.kitty("submit", "WP01", "--agent", "ada", "--json")
    assert submitted.exit_code == 0, submitted


def test_a_plan_without_tasks_is_only_a_specification(project: Project) -> None:
    project.write("plan.md", "# Move to the new server\n\n- [ ] 1.1 Copy\n")
    assert project.kitty("intake", "plan.md").exit_code == 0
    made = project.kitty("mission", "create", "demo", "--from-brief", "--json").json
    assert made["packages"] == []
    assert the_mission(project).title == "Move to the new server"
    assert project.kitty("specify", "--json").json["complete"] is True
    assert project.kitty("finalize", "--json").code == "WP_NOT_FOUND"


def test_a_plan_that_goes_in_a_circle_is_taken_in_and_no_mission_is_made(project: Project) -> None:
    tasks = [
        {"id": one, "title": f"T{one}", "status": "pending", "dependencies": [need]} for one, need in ((1, 2), (2, 1))
    ]
    project.write("tasks.json", json.dumps({"tasks": tasks}))
    assert project.kitty("intake", "tasks.json", "--json").json["packages"] == 2
    before = project.snapshot()
    refused = project.kitty("mission", "create", "demo", "--from-brief", "--json")
    assert refused.code == "WP_CYCLE"
    assert project.snapshot() == before
    # The hint is to be believed.
    tasks[0]["dependencies"] = []
    project.write("tasks.json", json.dumps({"tasks": tasks}))
    assert "kitty intake SOURCE --force" in refused.json["hint"]
    assert project.kitty("intake", "tasks.json", "--force").exit_code == 0
    assert project.kitty("mission", "create", "demo", "--from-brief").exit_code == 0
    assert project.kitty("finalize").exit_code == 0


def test_of_a_brief_that_was_changed_no_mission_is_made(project: Project) -> None:
    project.write("plan.md", "# Move to the new server\n")
    assert project.kitty("intake", "plan.md").exit_code == 0
    path = project.root / ".kittify/mission-brief.md"
    path.write_bytes(path.read_bytes().replace(b"new", b"old"))
    before = project.snapshot()
    refused = project.kitty("mission", "create", "demo", "--from-brief", "--json")
    assert refused.code == "INTAKE_BRIEF_TAMPERED"
    assert "the SHA-256 of the text is " in refused.json["message"]
    assert project.snapshot() == before


def test_the_demo_takes_a_plan_with_tasks_too(project: Project) -> None:
    plan = PLANS / "task_master/weather/tasks.json"
    place = project.root.parent / "demo"
    done = project.process("demo", str(place), "--plan", str(plan), "--json", where=project.root.parent)
    assert done.exit_code == 0, done


@settings(deadline=None, max_examples=100)
@given(some.randoms(use_true_random=False))
def test_whatever_is_read_in_a_plan_is_a_mission_or_a_refusal(chance: random.Random) -> None:
    from kitty_intake.formats import recognise
    from kitty_runtime.from_brief import plan

    brief = recognise(Source("plan", changed(chance)))
    if brief is None:
        return
    try:
        made = plan(brief, "Title")
    except KittyError as error:
        assert error.code in ("WP_CYCLE", "WP_DUPLICATE", "INTAKE_TOO_LARGE"), error  # noqa: PT017
        return
    for path, content in made.files.items():
        if path.startswith("tasks/"):
            front = front_matter(content, Path(path))
            assert front["owned_files"]
            assert set(front["dependencies"]) < set(made.wp_ids.values())
