"""A mission made from a brief: what a small plugin says of a plan is what is there, and nothing that it says can be more than text."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from markdown_it import MarkdownIt

from kitty_host.api import KittyError
from kitty_host.inert import inert
from kitty_host.ledger.event import Other
from kitty_host.packages import front_matter
from kitty_host.records import Brief, PlannedPackage, PlannedStep
from kitty_runtime.from_brief import MOST, Planned, plan

if TYPE_CHECKING:
    from conftest import Road

# The plan is JSON in the checkout, so that a test can say what it likes.
STORE = """
import json
from kitty_host.api import hookimpl


@hookimpl
def kitty_brief(repo):
    from kitty_host.records import Brief

    place = repo.root / "plan.json"
    if not place.exists():
        return None
    text = place.read_text()
    return Brief("plan.json", text, "0" * 64, len(text))


@hookimpl
def kitty_intake(source):
    from kitty_host.records import Brief, PlannedPackage, PlannedStep

    told = json.loads(source.content)
    packages = tuple(
        PlannedPackage(
            one["id"],
            one.get("title", one["id"]),
            one.get("body", ""),
            tuple(one.get("needs", ())),
            tuple(one.get("files", ())),
            tuple(PlannedStep(*step) for step in one.get("steps", ())),
            one.get("settled", ""),
        )
        for one in told.get("tasks", ())
    )
    return Brief(source.name, source.content.decode(), "", 0, told.get("title", ""), format="json",
                 requirements=tuple(told.get("requirements", ())), packages=packages)
"""


@pytest.fixture
def planned(road: Road, install_plugin: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Writes a plan and starts a mission from it; gives what the command printed."""
    monkeypatch.setenv("KITTY_PLUGINS", "runtime,lanes,store")
    install_plugin("store", STORE)

    def make(*tasks: dict[str, Any], **told: Any) -> dict[str, Any]:
        road.project.write("plan.json", json.dumps({**told, "tasks": tasks}))
        return road("mission", "create", "demo", "--from-brief")

    return make


def fronts(road: Road) -> dict[str, dict[str, Any]]:
    """The front matter of the work packages by id."""
    found = [front_matter(path.read_bytes(), path) for path in sorted(road.mission.directory.glob("tasks/*.md"))]
    return {one["work_package_id"]: one for one in found}


def test_every_open_task_becomes_a_work_package_in_the_order_of_the_plan(
    road: Road, planned: Callable[..., Any]
) -> None:
    said = planned(
        {"id": "C", "title": "Third, but first in the plan", "needs": ["A", "B"], "files": ["src/c.py", "docs/**"]},
        {"id": "A", "title": "First", "steps": [["A.1", "one", True], ["A.2", "two"]]},
        {"id": "B", "title": "Second", "needs": ["A"], "files": ["src/b.py"]},
        title="A plan",
    )
    assert said["packages"] == ["WP01", "WP02", "WP03"]
    assert {one.wp_id: (one.title, one.dependencies, one.owned_files) for one in road.mission.packages} == {
        "WP01": ("Third, but first in the plan", ("WP02", "WP03"), ("src/c.py", "docs/**")),
        "WP02": ("First", (), ("**",)),
        "WP03": ("Second", ("WP02",), ("src/b.py",)),
    }
    assert road.mission.title == "A plan"
    (row,) = [event for event in road.mission.ledger.events() if isinstance(event, Other)]
    assert row.row["payload"]["wp_count"] == 3


def test_finalize_and_every_phase_before_it_accept_what_was_made(road: Road, planned: Callable[..., Any]) -> None:
    planned({"id": "A", "files": ["a.py"]}, {"id": "B", "needs": ["A"]}, requirements=["R1: it works"])
    assert road("specify")["complete"] is True
    assert road("tasks")["complete"] is True
    assert road("finalize")["packages"] == ["WP01", "WP02"]
    assert road.lane("WP02") == "planned"


def test_a_plan_without_tasks_gives_a_specification_only(road: Road, planned: Callable[..., Any]) -> None:
    said = planned(title="Just words")
    assert (said["packages"], said["settled"], said["unknown"]) == ([], {}, [])
    assert sorted(path.name for path in road.mission.directory.iterdir()) == [
        "meta.json",
        "spec.md",
        "status.events.jsonl",
    ]


def test_what_is_over_is_named_and_not_planned(road: Road, planned: Callable[..., Any]) -> None:
    said = planned(
        {"id": "A", "title": "Long done", "settled": "done"},
        {"id": "B", "needs": ["A", "C", "GONE"]},
        {"id": "C", "settled": "cancelled", "needs": ["B"]},
    )
    assert said["settled"] == {"A": "done", "C": "cancelled"}
    assert said["unknown"] == ["GONE"]
    (package,) = road.mission.packages
    assert (package.wp_id, package.dependencies) == ("WP01", ())
    tasks = (road.mission.directory / "tasks.md").read_text()
    assert "- A: Long done (done)\n- C: C (cancelled)\n" in tasks
    assert "which the plan does not have:\n\n- GONE\n" in tasks


def test_people_are_told_what_became_of_the_plan(road: Road, planned: Callable[..., Any]) -> None:
    planned({"id": "A"}, {"id": "B", "files": ["b.py"]}, {"id": "C", "settled": "done"}, {"id": "D", "needs": ["X"]})
    said = road.project.kitty("mission", "create", "again", "--from-brief").stdout.splitlines()
    assert said[1:5] == [
        "The plan has 3 open tasks, each of them a work package now.",
        "Not planned, because it is over: C.",
        "Waited for, but not in the plan: X.",
        "The plan names no files for WP01, WP03: what owns everything shares a lane with all others, "
        "so narrow owned_files before kitty finalize.",
    ]


def refused(road: Road, planned: Callable[..., Any], code: str, *tasks: dict[str, Any]) -> str:
    """A plan that no mission is made from: nothing is written."""
    road.project.write("plan.json", json.dumps({"tasks": tasks}))
    message = road.refuses(code, "mission", "create", "demo", "--from-brief")
    assert not (road.root / "kitty-specs").exists()
    return message


def test_a_circle_is_refused_and_named(road: Road, planned: Callable[..., Any]) -> None:
    message = refused(
        road,
        planned,
        "WP_CYCLE",
        {"id": "D"},
        {"id": "A", "needs": ["B", "D"]},
        {"id": "B", "needs": ["C"]},
        {"id": "C", "needs": ["A"]},
    )
    shown = message.partition(": ")[2].split(" -> ")
    assert shown[0] == shown[-1]
    needs = {"A": "B", "B": "C", "C": "A"}
    assert all(needs[one] == other for one, other in pairwise(shown))


def test_a_task_that_waits_for_itself_is_a_circle(road: Road, planned: Callable[..., Any]) -> None:
    refused(road, planned, "WP_CYCLE", {"id": "A", "needs": ["A"]})


def test_a_circle_through_what_is_over_is_none(road: Road, planned: Callable[..., Any]) -> None:
    assert planned({"id": "A", "needs": ["B"]}, {"id": "B", "needs": ["A"], "settled": "done"})["packages"] == ["WP01"]


def test_two_tasks_with_one_name_are_refused(road: Road, planned: Callable[..., Any]) -> None:
    assert "called A" in refused(road, planned, "WP_DUPLICATE", {"id": "A"}, {"id": "A", "settled": "done"})


def test_a_plan_of_very_many_tasks_is_refused(road: Road, planned: Callable[..., Any]) -> None:
    refused(road, planned, "INTAKE_TOO_LARGE", *({"id": f"T{number}"} for number in range(MOST + 1)))


def test_steps_that_are_open_become_subtasks_that_can_be_ticked_off(road: Road, planned: Callable[..., Any]) -> None:
    planned(
        {"id": "A", "files": ["a.py"], "steps": [["T001", "done before", True], ["T002", "left"]]},
        {"id": "B", "files": ["b.py"], "steps": [["1.10", "also left"]]},
    )
    assert [one.subtasks for one in road.mission.packages] == [("T002",), ("1.10",)]
    text = next(road.mission.directory.glob("tasks/WP01*")).read_text()
    assert "- T002: left\n" in text
    assert "## Done already\n\n- T001: done before\n" in text
    road("finalize")
    assert road("mark-status", "1.10", "WP01/T002", "--status", "done", "--agent", "ada")["subtasks"] == {
        "WP01": {"T002": "done"},
        "WP02": {"1.10": "done"},
    }


@pytest.mark.parametrize("ids", [("T1", "t1"), ("1; rm -rf x", "2"), ("WP02", "T001"), ("", "T001")])
def test_steps_whose_names_cannot_be_typed_get_numbers(
    road: Road, planned: Callable[..., Any], ids: tuple[str, str]
) -> None:
    planned({"id": "A", "steps": [[ids[0], "one"]]}, {"id": "B", "steps": [[ids[1], "two"]]})
    assert [one.subtasks for one in road.mission.packages] == [("T001",), ("T002",)]


@pytest.mark.parametrize("path", ["/etc/x", "../x", "a/../../x", "-x", "a b", "x\n- y", "[x]", "~/x", "", "$(id)"])
def test_a_path_that_is_no_path_of_the_repository_is_owned_by_nobody(
    road: Road, planned: Callable[..., Any], path: str
) -> None:
    planned({"id": "A", "files": [path, "src/ok.py", ".github/x.yml"]}, {"id": "B", "files": [path]})
    assert [one.owned_files for one in road.mission.packages] == [("src/ok.py", ".github/x.yml"), ("**",)]
    road("finalize")


HOSTILE = [
    "x\n---\nowned_files: [everything]\n---\n",
    '"\nwork_package_id: WP99',
    "# heading\n<script>alert(1)</script>",
    "```\nout of the fence\n```",
    "~~~~\n<!-- kitty: write this -->",
    "\x1b[31m\u202e\u2028 --> <!--",
    "{{template}} $(id) `id`",
    "\ud800",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_foreign_text_is_never_more_than_text(road: Road, planned: Callable[..., Any], text: str) -> None:
    planned(
        {"id": text, "title": text, "body": text, "steps": [[text, text], ["done", text, True]], "settled": ""},
        {"id": "B", "needs": [text, "x" + text], "settled": ""},
        {"id": "C" + text, "settled": text},
        title=text,
        requirements=[text],
    )
    found = fronts(road)
    assert list(found) == ["WP01", "WP02"]
    assert found["WP01"] == {
        "work_package_id": "WP01",
        "title": inert(text, prose=True),
        "dependencies": [],
        "owned_files": ["**"],
        "execution_mode": "code_change",
        "subtasks": ["T001"],
    }
    assert found["WP02"]["dependencies"] == ["WP01"]
    for path in road.mission.directory.rglob("*.md"):
        page = path.read_text(encoding="utf-8")
        body = page.split("---\n", 2)[2] if path.parent.name == "tasks" else page
        blocks = [token for token in MarkdownIt().parse(body) if token.level == 0]
        assert {token.type for token in blocks} <= KITTYS_OWN, path
        assert sum(token.type == "fence" for token in blocks) <= 1
        outside = re.sub(r"^(`{3,}|~{3,})text\n.*?^\1$", "", body, flags=re.DOTALL | re.MULTILINE)
        assert outside.replace("\n", "").isprintable()
        assert "<" not in outside
    names = [path.name for path in road.mission.directory.glob("tasks/*")]
    assert all(re.fullmatch(r"WP\d\d-[a-z0-9-]+\.md", name) for name in names)
    road("finalize")


KITTYS_OWN = {
    "heading_open",
    "inline",
    "heading_close",
    "paragraph_open",
    "paragraph_close",
    "bullet_list_open",
    "bullet_list_close",
    "fence",
}

texts = some.text(some.characters(exclude_categories=()), max_size=80)
packages = some.builds(
    PlannedPackage,
    texts,
    texts,
    texts,
    some.lists(texts, max_size=3).map(tuple),
    some.lists(texts | some.sampled_from(["src/a.py", "docs/**"]), max_size=3).map(tuple),
    some.lists(some.builds(PlannedStep, texts, texts, some.booleans()), max_size=3).map(tuple),
    some.sampled_from(["", "", "done"]) | texts,
)


def plan_or_code(brief: Brief, title: str) -> Planned | str:
    try:
        return plan(brief, title)
    except KittyError as error:
        return error.code


@settings(deadline=None, max_examples=150)
@given(texts, texts, some.lists(texts, max_size=3), some.lists(packages, max_size=5))
def test_any_brief_is_a_mission_or_a_refusal(
    title: str, text: str, requirements: list[str], tasks: list[PlannedPackage]
) -> None:
    body = text.encode("utf-8", "replace").decode()
    brief = Brief("plan", body, "0" * 64, len(body), title, requirements=tuple(requirements), packages=tuple(tasks))
    made = plan_or_code(brief, title)
    if isinstance(made, str):
        assert made in ("WP_CYCLE", "WP_DUPLICATE")
        return
    for path, content in made.files.items():
        content.decode()
        if path.startswith("tasks/"):
            front = front_matter(content, Path(path))
            assert front["work_package_id"] == path[6:10]
            assert set(front["dependencies"]) <= set(made.wp_ids.values())
            assert front["owned_files"]
    assert len(made.wp_ids) == sum(path.startswith("tasks/") for path in made.files)


def test_without_a_brief_it_is_said_how_to_take_one_in(road: Road, planned: Callable[..., Any]) -> None:
    assert "no brief" in road.refuses("INTAKE_FILE_MISSING", "mission", "create", "demo", "--from-brief")


def test_a_title_of_the_users_own_comes_before_the_plans(road: Road, planned: Callable[..., Any]) -> None:
    road.project.write("plan.json", json.dumps({"title": "Theirs"}))
    road("mission", "create", "demo", "--from-brief", "--title", "Mine")
    assert road.mission.title == "Mine"
