"""What is read out of the plans of other tools; what is almost such a plan stays plain text."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as some
from plan_sources import ALL, PLANS, source_of

from kitty_host.bundle import bundle
from kitty_host.records import Brief, PlannedPackage, Source
from kitty_host.testing import Project
from kitty_intake.formats import recognise
from kitty_intake.formats.foreign import paths_in
from kitty_intake.formats.parents import without_parents

quickly = settings(deadline=None, max_examples=60)


def read(name: str) -> Brief:
    brief = recognise(source_of(name))
    assert brief is not None
    return brief


def needs(brief: Brief) -> dict[str, tuple[str, ...]]:
    """What is open, and what it waits for."""
    return {one.source_id: one.dependencies for one in brief.packages if not one.settled}


def read_files(files: Mapping[str, str], name: str = "plan") -> Brief:
    brief = recognise(Source(name, bundle({path: text.encode() for path, text in files.items()})))
    assert brief is not None
    return brief


def test_a_feature_of_spec_kit() -> None:
    brief = read("spec_kit/001-photo-albums")
    assert (brief.format, brief.title) == ("spec-kit", "Photo albums")
    assert brief.requirements == (
        "User Story 1 - See photos in albums by date (Priority: P1)",
        "User Story 2 - Put albums in an order of one's own (Priority: P2)",
        "FR-001: System MUST sort imported photos into albums by the day they were taken.",
        "FR-002: System MUST keep photos without a date in an album of their own.",
        "FR-003: Users MUST be able to reorder albums by dragging.",
        "SC-001: 1,000 photos are imported in under 10 seconds.",
    )
    assert needs(brief) == {
        "Phase 1": (),
        "Phase 2": ("Phase 1",),
        "Phase 3": ("Phase 2",),
        "Phase 4": ("Phase 2",),
        "Phase 5": ("Phase 3", "Phase 4"),
    }
    story = brief.packages[2]
    assert [(step.source_id, step.title, step.done) for step in story.steps] == [
        ("T005", "Test the import in tests/test_import.py", False),
        ("T006", "Import a folder in albums/importer.py (depends on T003, T004)", False),
        ("T007", "Show albums in albums/web/index.py", False),
    ]
    assert story.owned_files == ("tests/test_import.py", "albums/importer.py", "albums/web/index.py")
    assert story.body.startswith("**Goal**: Every photo is in an album")
    assert brief.packages[4].owned_files == ("docs/**",)


def test_phases_of_spec_kit_that_are_over_are_waited_for_by_nobody() -> None:
    brief = read("spec_kit/014-export-queue")
    assert [(one.source_id, one.settled) for one in brief.packages][:2] == [("Phase 3.1", "done"), ("Phase 3.2", "")]
    assert needs(brief) == {
        "Phase 3.2": (),
        "Phase 3.3": ("Phase 3.2",),
        "Phase 3.4": ("Phase 3.3",),
        "Phase 3.5": ("Phase 3.4",),
    }
    tests = brief.packages[1]
    assert [step.done for step in tests.steps] == [True, False]
    assert tests.owned_files == ("tests/integration/test_restart.py",)


def test_a_task_of_spec_kit_that_depends_on_one_of_another_phase_is_obeyed() -> None:
    brief = read("spec_kit/020-suche")
    assert brief.title == "Suche über alle Ordner 全文検索"
    assert needs(brief) == {"1": (), "2": ("1",), "3": ("1", "2"), "4": ("2", "3")}
    assert brief.packages[0].owned_files == ("search/update.py", "search/rebuild.py")


def test_a_specification_of_spec_kit_without_tasks() -> None:
    brief = read_files({"spec.md": "# Feature Specification: X\n\n- **FR-001**: System MUST x.\n"})
    assert (brief.format, brief.title, brief.packages) == ("spec-kit", "X", ())


def test_a_change_of_openspec() -> None:
    brief = read("openspec/add-two-factor-auth")
    assert (brief.format, brief.title) == ("openspec", "Add two-factor authentication")
    assert brief.requirements == (
        "ADDED auth: Second factor",
        "ADDED auth: Second factor, scenario: Right code",
        "ADDED auth: Second factor, scenario: Old code",
        "MODIFIED auth: Sessions",
        "MODIFIED auth: Sessions, scenario: Session without it",
        "ADDED notifications: Mail about the second factor",
    )
    assert needs(brief) == {"1": (), "2": ("1",), "3": ("2",), "4": ("3",)}
    assert [one.title for one in brief.packages] == ["Secrets", "Codes", "Notifications", "Documentation"]
    assert brief.packages[1].owned_files == ("src/auth/totp.ts", "src/auth/recovery.ts", "test/auth/**")
    assert [step.source_id for step in brief.packages[1].steps] == ["2.1", "2.2", "2.3"]


def test_a_change_of_openspec_that_has_begun_and_has_no_title() -> None:
    brief = read("openspec/update-rate-limits")
    assert brief.title == "update rate limits"
    assert brief.requirements == (
        "MODIFIED api/limits: Limits",
        "MODIFIED api/limits: Limits, scenario: Two keys behind one address",
        "REMOVED api/limits: Limits by address",
    )
    assert [one.settled for one in brief.packages] == ["done", "", "", ""]
    assert needs(brief) == {"2": (), "3": ("2",), "4": ("3",)}


def test_a_change_of_openspec_without_numbers() -> None:
    brief = read("openspec/remove-old-login")
    assert needs(brief) == {"1": (), "2": ("1",)}
    assert [(step.source_id, step.title) for step in brief.packages[0].steps] == [
        ("1.1", "Delete the page in web/login-old.html"),
        ("1.2", "Redirect its address"),
        ("1.3", "keep the query"),
    ]


def test_a_directory_of_backlog_md() -> None:
    brief = read("backlog/shop")
    assert (brief.format, brief.title) == ("backlog-md", "The shop")
    assert needs(brief) == {"task-2": ("task-1",), "task-3": ("task-2",), "task-10": ("task-3", "task-9")}
    assert {one.source_id: one.settled for one in brief.packages if one.settled} == {"task-1": "done", "task-4": "done"}
    assert brief.packages[4].owned_files == ("src/mail/invoice.py", "templates/**")
    assert brief.requirements == (
        "task-2: A cart survives a week",
        "task-2: An empty cart is not kept",
        "task-3: An invoice is made",
        "task-10: It is sent once",
    )


def test_a_task_of_backlog_md_with_subtasks_is_what_they_are() -> None:
    brief = read("backlog/types")
    assert needs(brief) == {
        "BACK-355.01": ("task-300",),
        "BACK-355.02": ("BACK-355.01", "task-300"),
        "BACK-355.03": ("BACK-355.01", "BACK-355.02", "task-300"),
        "BACK-356": ("BACK-355.01", "BACK-355.02", "BACK-355.03"),
    }
    assert brief.packages[1].title == "Command: --type"
    assert "BACK-355: Every task may have a type" in brief.requirements


def test_one_file_of_backlog_md() -> None:
    brief = read("backlog/single/task-42 - Dark-mode.md")
    assert (brief.title, needs(brief)) == ("Dark mode", {"TASK-42": ("TASK-7",)})
    assert brief.packages[0].body.startswith("## Description")


def test_a_list_of_task_master() -> None:
    brief = read("task_master/weather/tasks.json")
    assert (brief.format, brief.title) == ("task-master", "Weather station")
    assert needs(brief) == {"2": ("1",), "3": ("1",), "4": ("2", "3"), "6": ("4", "5", "17")}
    assert {one.source_id: one.settled for one in brief.packages if one.settled} == {"1": "done", "5": "cancelled"}
    sensor = brief.packages[1]
    assert [(step.source_id, step.done) for step in sensor.steps] == [("2.1", True), ("2.2", False), ("2.3", False)]
    assert sensor.body == (
        "Temperature and humidity, once a minute.\n\nOver I2C.\nRetry twice.\n\nA recorded session gives the recorded values."
    )
    assert brief.requirements == ("2: A recorded session gives the recorded values.", "4: It shows 1,440 points.")


def test_a_tagged_list_of_task_master_whose_subtasks_depend_on_others() -> None:
    brief = read("task_master/bot/tasks.json")
    assert list(needs(brief)) == ["3", "1", "2"], "the order of the plan"
    assert needs(brief) == {"3": ("1", "2"), "1": (), "2": ("1",)}


def test_two_tags_of_task_master_are_told_apart() -> None:
    brief = read("task_master/two_tags")
    assert needs(brief) == {
        "master/2": ("master/1",),
        "feature-macros/1": (),
        "feature-macros/2": ("feature-macros/1",),
    }


def test_issues_of_beads_below_an_epic() -> None:
    brief = read("beads/reader/issues.jsonl")
    assert (brief.format, brief.title) == ("beads", "A reader for feeds")
    assert needs(brief) == {"rd-a1.1": (), "rd-a1.2": ("rd-a1.1",), "rd-b7": ("rd-a1.1", "rd-a1.2"), "rd-c9": ()}
    assert {one.source_id: one.settled for one in brief.packages if one.settled} == {"rd-a1.3": "closed"}
    assert brief.requirements == ("rd-a1.1: a feed that is gone is told", "rd-a1.1: nothing is fetched twice")
    assert brief.packages[1].body == "Design:\nOne column."


def test_epics_of_beads_in_epics() -> None:
    brief = read("beads/rename/plan.jsonl")
    assert needs(brief) == {"mv-3": (), "mv-4": ("mv-3",), "mv-6": ("mv-3", "mv-4")}
    assert [one.source_id for one in brief.packages if one.settled == "deleted"] == ["mv-7"]


def test_newer_issues_of_beads_in_their_directory() -> None:
    brief = read("beads/directory")
    assert needs(brief) == {"web-x1": ("web-x3", "web-x9"), "web-x2": ("web-x9",), "web-x3": ()}
    assert brief.packages[0].title == "Search: größer, 速く"


@pytest.mark.parametrize("name", ALL)
def test_line_ends_of_another_system_change_nothing(name: str) -> None:
    def told(brief: Brief | None) -> object:
        assert brief is not None
        packages = tuple(evolve(one, body=one.body.replace("\r\n", "\n")) for one in brief.packages)
        return brief.format, brief.title, brief.requirements, packages

    source = source_of(name)
    files = {path: content.replace(b"\n", b"\r\n") for path, content in source.files.items()}
    content = bundle(files) if files else source.content.replace(b"\n", b"\r\n")
    assert told(recognise(Source(name, content))) == told(recognise(source))


# Strictness


@pytest.mark.parametrize("name", sorted(path.name for path in (PLANS / "markdown").iterdir()))
def test_what_only_resembles_a_plan_of_a_tool_is_plain_text(name: str) -> None:
    brief = read(f"markdown/{name}")
    assert (brief.format, brief.packages, brief.requirements) == ("text", (), ())


def edited(name: str, change: Callable[[Any], Any]) -> str:
    return json.dumps(change(json.loads((PLANS / name).read_text())))


TASK_MASTER = "task_master/weather/tasks.json"
ALMOST = {
    "a task without a title": lambda tasks: {"tasks": [*tasks["tasks"], {"id": 9, "status": "pending"}]},
    "a task without a status": lambda tasks: {"tasks": [*tasks["tasks"], {"id": 9, "title": "x"}]},
    "a task that is a text": lambda tasks: {"tasks": [*tasks["tasks"], "x"]},
    "dependencies that are no list": lambda tasks: {"tasks": [{**tasks["tasks"][0], "dependencies": "1"}]},
    "a tag beside something else": lambda tasks: {"master": tasks, "version": 1},
    "no tasks at all": lambda tasks: {"tasks": []},
    "a list": lambda tasks: tasks["tasks"],
}


@pytest.mark.parametrize("change", ALMOST)
def test_what_is_almost_a_list_of_task_master_is_plain_text(change: str) -> None:
    brief = recognise(Source("tasks.json", edited(TASK_MASTER, ALMOST[change]).encode()))
    assert brief is not None
    assert brief.format == "text"
    whole = recognise(Source("tasks.json", edited(TASK_MASTER, lambda tasks: {"tasks": tasks["tasks"]}).encode()))
    assert whole is not None
    assert whole.format == "task-master"


LINE = '{"id": "x-1", "title": "x", "status": "open"}\n'


@pytest.mark.parametrize(
    ("text", "known"),
    [
        (LINE, True),
        (LINE + "\r\n\n" + LINE.replace("x-1", "x-2"), True),
        ("\ufeff" + LINE, True),
        (LINE + "not json\n", False),
        (LINE + "[]\n", False),
        (LINE + '{"id": "x-2", "title": "x"}\n', False),
        (LINE.replace("x-1", "one"), False),
        (LINE.replace('"title"', '"id"'), False),
        (LINE.replace('"title"', '"id": "x-2", "title"'), False),
        ("\n", False),
    ],
)
def test_every_line_of_beads_is_an_issue_or_none_is(text: str, known: bool) -> None:
    brief = recognise(Source("issues.jsonl", text.encode()))
    assert brief is not None
    assert (brief.format == "beads") == known


BACKLOG = "---\nid: task-1\ntitle: T\nstatus: To Do\ndependencies: []\n---\n\nBody\n"


@pytest.mark.parametrize(
    ("page", "known"),
    [
        (BACKLOG, True),
        (BACKLOG.replace("\n", "\r\n"), True),
        ("\ufeff" + BACKLOG, True),
        (BACKLOG.replace("id: task-1", "id: 1"), False),
        (BACKLOG.replace("title: T\n", ""), False),
        (BACKLOG.replace("status: To Do\n", ""), False),
        (BACKLOG.replace("dependencies: []\n", ""), False),
        (BACKLOG.replace("title: T", "title: [T"), False),
        (BACKLOG.replace("---\n\nBody", "\nBody"), False),
        ("\n" + BACKLOG, False),
    ],
)
def test_front_matter_of_backlog_md_is_whole_or_it_is_another_page(page: str, known: bool) -> None:
    brief = recognise(Source("task.md", page.encode()))
    assert brief is not None
    assert (brief.format == "backlog-md") == known


def test_a_directory_of_backlog_md_has_tasks_only() -> None:
    assert read_files({"a.md": BACKLOG}).format == "backlog-md"
    assert read_files({"a.md": BACKLOG, "post.md": "# Post\n"}).format == "text"
    assert read_files({"tasks/a.md": BACKLOG, "docs/post.md": "# Post\n"}).format == "backlog-md"


def test_folders_that_lack_what_makes_them_a_plan_are_plain_text() -> None:
    tasks = "## Phase 1: Setup\n\n- [ ] T001 Do it\n"
    assert read_files({"tasks.md": tasks, "plan.md": "# Plan\n"}).format == "spec-kit"
    assert read_files({"tasks.md": tasks}).format == "text"
    assert read_files({"tasks.md": tasks.replace("T001", "Task"), "plan.md": "# Plan\n"}).format == "text"
    proposal = "## Why\n\nSo.\n\n## What Changes\n\n- it\n"
    assert read_files({"proposal.md": proposal}).format == "openspec"
    assert read_files({"proposal.md": proposal.replace("## Why", "## Reasons")}).format == "text"
    assert read_files({"proposal.md": "## Why\n\nSo.\n"}).format == "text"


def test_a_third_party_adds_a_format_by_the_same_hook_and_comes_first(
    project: Project, install_plugin: Callable[..., Path]
) -> None:
    install_plugin(
        "stranger",
        """
from kitty_host.api import hookimpl

@hookimpl
def kitty_intake(source):
    if not source.content.startswith(b"- "):
        return None
    from kitty_host.records import Brief, PlannedPackage
    text = source.content.decode()
    tasks = tuple(PlannedPackage(str(number), line) for number, line in enumerate(text.splitlines()))
    return Brief(source.name, text, "", 0, "Bullets", format="bullets", packages=tasks)
""",
    )
    project.write("plan.md", "- one\n- two\n")
    taken = project.kitty("intake", "plan.md", "--json").json
    assert (taken["format"], taken["packages"]) == ("bullets", 2)
    shown = project.kitty("brief", "--json").json
    assert (shown["format"], shown["packages"], shown["title"]) == ("bullets", 2, "Bullets")


# The parts


@pytest.mark.parametrize(
    ("line", "paths"),
    [
        ("Create src/models/user.py", ("src/models/user.py",)),
        ("in `src/a.ts`, and src/b.ts.", ("src/a.ts", "src/b.ts")),
        ("below docs/ and ./tests/x_test.go", ("docs/**", "tests/x_test.go")),
        ("in .github/workflows/ci.yml", (".github/workflows/ci.yml",)),
        ("see https://example.com/a/b.html or //cdn/x.js", ()),
        ("../up/x.py /etc/x.conf ~/x/y.py a/../b.py C:/x/y.py", ()),
        (".git/hooks/x.sh .kittify/config.yaml kitty-specs/x/spec.md", ()),
        ("TCP/IP and/or 1/2 client/server", ()),
        ("tests/test_[name].py src/*/x.py", ()),
        ("größe/日本.py", ("größe/日本.py",)),
        ("a/" * 100 + "x.py", ()),
    ],
)
def test_paths_are_found_in_sentences(line: str, paths: tuple[str, ...]) -> None:
    assert paths_in([line]) == paths


def tasks_of(*told: tuple[str, str]) -> tuple[PlannedPackage, ...]:
    """Ids, and what each waits for; a capital is open, a small letter is settled."""
    return tuple(
        PlannedPackage(one, one, dependencies=tuple(wanted), settled="" if one.isupper() else "done")
        for one, wanted in told
    )


@pytest.mark.parametrize(
    ("told", "parents", "left"),
    [
        ((("A", ""), ("B", "A")), {}, {"A": "", "B": "A"}),
        ((("E", ""), ("A", ""), ("B", "E")), {"A": "E"}, {"A": "", "B": "A"}),
        ((("E", "X"), ("A", ""), ("X", "")), {"A": "E"}, {"A": "X", "X": ""}),
        ((("E", ""), ("a", ""), ("B", "E")), {"a": "E"}, {"E": "", "a": "", "B": "E"}),
        ((("E", "AB"), ("A", ""), ("B", "")), {"A": "E", "B": "E"}, {"A": "", "B": ""}),
        ((("E", ""), ("A", "E")), {"A": "E"}, {"A": ""}),
        ((("E", ""), ("F", ""), ("A", ""), ("B", "F")), {"F": "E", "A": "F"}, {"A": "", "B": "A"}),
        ((("E", "F"), ("F", ""), ("A", ""), ("B", "")), {"A": "E", "B": "F"}, {"A": "B", "B": ""}),
        ((("A", ""), ("B", "")), {"A": "B", "B": "A"}, {"A": "", "B": ""}),
        ((("A", ""),), {"A": "A"}, {"A": ""}),
        ((("e", "X"), ("A", ""), ("X", ""), ("B", "e")), {"A": "e"}, {"e": "X", "A": "", "X": "", "B": "e"}),
        ((("A", ""),), {"A": "GONE"}, {"A": ""}),
    ],
)
def test_what_holds_others_is_what_they_are(
    told: tuple[tuple[str, str], ...], parents: dict[str, str], left: dict[str, str]
) -> None:
    found = without_parents(tasks_of(*told), parents)
    assert found is not None
    assert {one.source_id: "".join(one.dependencies) for one in found} == left


def test_epics_of_epics_do_not_explode() -> None:
    many = [str(number) for number in range(1000)]
    epics = tuple(PlannedPackage(f"e{one}", "x", dependencies=tuple(f"e{other}" for other in many)) for one in many)
    tasks = tuple(PlannedPackage(f"t{one}", "x") for one in many)
    assert without_parents(epics + tasks, {f"t{one}": f"e{one}" for one in many}) is None
    chain = tuple(PlannedPackage(one, "x") for one in many)
    assert without_parents(chain, {one: str(int(one) + 1) for one in many}) is None


@some.composite
def graphs(draw: Callable[..., Any]) -> dict[int, list[int]]:
    """Tasks by number and what each waits for, without circles."""
    count = draw(some.integers(1, 12))
    return {
        number: draw(some.lists(some.integers(1, number - 1), unique=True)) if number > 1 else []
        for number in range(1, count + 1)
    }


@quickly
@given(graphs(), some.sets(some.integers(1, 12)))
def test_any_graph_of_task_master_and_beads_comes_through(graph: dict[int, list[int]], done: set[int]) -> None:
    tasks = [
        {"id": one, "title": f"T{one}", "status": "done" if one in done else "pending", "dependencies": wanted}
        for one, wanted in graph.items()
    ]
    issues = [
        {
            "id": f"x-{one}",
            "title": f"T{one}",
            "status": "closed" if one in done else "open",
            "dependencies": [{"depends_on_id": f"x-{need}", "type": "blocks"} for need in wanted],
        }
        for one, wanted in graph.items()
    ]
    told = {str(one): tuple(map(str, wanted)) for one, wanted in graph.items() if one not in done}
    task_master = recognise(Source("tasks.json", json.dumps({"tasks": tasks}).encode()))
    beads = recognise(Source("issues.jsonl", "".join(json.dumps(one) + "\n" for one in issues).encode()))
    assert task_master is not None
    assert beads is not None
    assert needs(task_master) == told
    assert needs(beads) == {f"x-{one}": tuple(f"x-{need}" for need in wanted) for one, wanted in told.items()}
