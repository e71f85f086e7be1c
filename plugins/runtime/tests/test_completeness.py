"""What an artefact lacks: sections, open questions, requirements that cannot be referred to, and requirements that nobody builds."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from kitty_runtime.completeness import missing, requirements
from kitty_runtime.discovery import SHIPPED, read_type

if TYPE_CHECKING:
    from conftest import Road

STEPS = {step.artifact: step for step in read_type(SHIPPED / "software-dev.yaml", {}).steps}
SPEC = "# S\n\n## Goal\n\ng\n\n## Requirements\n\n{}\n\n## Done when\n\nd\n"
TABLE = "| id | requirement | status |\n|---|---|---|\n"


def lacking(road: Road, requirements: str) -> list[str]:
    road.write("spec.md", SPEC.format(requirements))
    return missing(road.mission, STEPS["spec.md"])


@pytest.fixture
def begun(road: Road) -> Road:
    road("mission", "create", "demo")
    return road


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("r", []),
        (TABLE + "| FR-001 | one | open |\n| FR-002 | two | done |", []),
        (TABLE + "| FR-001 | one | open |\n| FR-001 | two | open |", ["spec.md: there are two requirements FR-001"]),
        (TABLE + "| FR-001 | one |  |", ["spec.md, line 11: FR-001 has no status"]),
        ("| id | requirement |\n|---|---|\n| FR-001 | one |", ["spec.md, line 11: FR-001 has no status"]),
        ("- **FR-001** (open): one\n- NFR-1 (open): two", []),
        ("- FR-001: one\n- FR-002 (open): two", ["spec.md, line 9: FR-001 has no status"]),
        ("one [NEEDS CLARIFICATION: how many?] two", ["spec.md, line 9: to be clarified: how many?"]),
        ("[needs clarification]", ["spec.md, line 9: to be clarified: ?"]),
        ("```\n[NEEDS CLARIFICATION: quoted]\n- FR-001: quoted\n```", []),
        ("<!-- kitty: write this -->", ["spec.md: Requirements is not written"]),
        ("r <!-- kitty: write this - more -->", ["spec.md, line 9: `kitty:_write_this_-_more`"]),
        ("", ["spec.md: Requirements is not written"]),
    ],
)
def test_what_a_specification_lacks(begun: Road, text: str, says: list[str]) -> None:
    found = lacking(begun, text)
    assert len(found) == len(says)
    for line, expected in zip(found, says, strict=True):
        assert expected.partition("`")[0] in line


def test_requirements_are_read_from_tables_and_lists(begun: Road) -> None:
    begun.write(
        "spec.md",
        SPEC.format(
            "| Status | ID | What |\n|---|---|---|\n| x | y | z |\n\n"
            + TABLE
            + "| **FR-001** | a \\| b | Open |\n\n- C-2 (dropped): no\n\n### More\n\n- SC-003 (open) — yes"
        ),
    )
    assert [(one.id, one.status) for one in requirements(begun.mission)] == [
        ("FR-001", "Open"),
        ("C-2", "dropped"),
        ("SC-003", "open"),
    ]


def test_an_incomplete_specification_is_not_committed_and_says_what_is_missing(begun: Road) -> None:
    begun("specify")
    begun.write("spec.md", SPEC.format("- FR-001: one [NEEDS CLARIFICATION: which?]"))
    head = begun.project.git("rev-parse", "HEAD")
    done = begun.project.kitty("specify", "--json")
    assert (done.exit_code, done.json["complete"], done.json["commit"]) == (1, False, None)
    assert len(done.json["missing"]) == 2
    assert begun.project.git("rev-parse", "HEAD") == head
    begun.write("spec.md", SPEC.format("- FR-001 (open): one"))
    assert begun("specify")["complete"]


def test_a_work_package_with_an_open_question_is_not_complete(begun: Road) -> None:
    begun.write("tasks.md", "## Work packages\n\nw\n")
    begun.package("WP01")
    path = begun.mission.directory / "tasks/WP01-x.md"
    path.write_text(path.read_text() + "\n[NEEDS CLARIFICATION: where?]\n")
    done = begun.project.kitty("tasks", "--json")
    assert (done.exit_code, done.json["missing"]) == (1, ["tasks/WP01-x.md, line 12: to be clarified: where?"])


def test_requirements_that_nobody_builds_are_named_and_so_are_those_that_do_not_exist(road: Road) -> None:
    road.planned()
    road.write("spec.md", SPEC.format("- FR-001 (open): one\n- FR-002 (open): two\n- FR-003 (dropped): three"))
    path = road.mission.directory / "tasks/WP01-x.md"
    path.write_text(path.read_text().replace("subtasks:", "requirement_refs: [FR-001, FR-009]\nsubtasks:"))
    before = road.project.snapshot()
    findings = road("finalize", "--check")["findings"]
    assert [(one["code"], one["message"].partition(":")[0]) for one in findings] == [
        ("REQUIREMENT_UNPLANNED", "no work package meets FR-002"),
        ("REQUIREMENT_UNKNOWN", "WP01 refers to FR-009, which is no requirement of spec.md"),
    ]
    assert road.project.snapshot() == before
    path.write_text(path.read_text().replace("FR-009", "FR-002"))
    assert road("finalize", "--check")["findings"] == []


@pytest.mark.parametrize(
    "command", [["specify"], ["plan"], ["tasks"], ["finalize", "--check"], ["mission", "create", "x"]]
)
def test_every_command_of_the_ceremony_reports_the_branches(road: Road, command: list[str]) -> None:
    road.planned()
    road.project.git("switch", "--quiet", "-c", "side")
    options = [] if command[0] == "mission" else ["--mission", road.mission.slug]
    said = road(*command, *options, *(["--target", "main"] if command[0] == "mission" else []))
    assert said["current_branch"] == "side"
    assert said["merge_target_branch"] == "main"
    assert said["planning_base_branch"] == ("side" if command[0] == "mission" else "main")
    assert said["branch_matches_target"] is False


def test_on_another_branch_a_person_is_told(road: Road) -> None:
    road.planned()
    road.project.git("switch", "--quiet", "-c", "side")
    assert "You are on side; the mission lands on main." in road.project.kitty("plan").stdout
    road.project.git("switch", "--quiet", "--detach")
    assert "You are on no branch; the mission lands on main." in road.project.kitty("plan").stdout


def test_another_type_has_its_own_steps_and_the_same_commands(road: Road) -> None:
    road("mission", "create", "demo", "--type", "documentation")
    assert "audit.md" in road("artifact", "audit")["artifact"]
    assert road("specify")["step"] == "discover"
    assert road("plan")["step"] == "design"
    road.write("audit.md", "## What is there\n\na\n\n## Gaps\n\nb\n")
    assert road("artifact", "audit")["complete"]
    assert road.project.git("log", "-1", "--format=%s") == f"Audit {road.mission.slug}"
    assert road.refuses("STEP_NOT_FOUND", "artifact", "dance").endswith("no step that makes dance")


def test_a_type_without_packages_has_no_tasks(road: Road) -> None:
    road("mission", "create", "demo", "--type", "plan")
    road.refuses("STEP_NOT_FOUND", "tasks")


def test_the_scaffold_says_what_belongs_where(road: Road) -> None:
    road("mission", "create", "demo")
    said = road("specify")
    text = (road.root / said["artifact"]).read_text()
    for part in STEPS["spec.md"].parts:
        assert f"## {part.heading}\n\n<!-- kitty: write this - {part.hint} -->" in text
    assert said["missing"] == [f"spec.md: {part.heading} is not written" for part in STEPS["spec.md"].parts]
