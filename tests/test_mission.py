"""Missions and work packages as they stand in `kitty-specs/`: who is meant, what is read, what a cache may not do."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from kitty_host.api import KittyError
from kitty_host.lanes import lane_ids
from kitty_host.ledger.event import ulid
from kitty_host.mission import Mission, ReportedMission, find_missions, lane_of_worktree, read_mission, select_mission
from kitty_host.packages import Package, package_id
from kitty_host.repo import Repo
from kitty_host.state import mission_is_open
from kitty_host.testing import Project

FIRST, SECOND = ulid(1_767_225_600_000, 1), ulid(1_777_225_600_000, 2)


def refusal(act: Callable[[], object], code: str) -> KittyError:
    with pytest.raises(KittyError) as refused:
        act()
    assert refused.value.code == code
    return refused.value


# Which mission is meant


def select(project: Project, selector: str | None, where: Path | None = None) -> Mission:
    return select_mission(Repo.find(where or project.root), selector, mission_is_open)


@pytest.fixture
def two(project: Project) -> tuple[Mission, Mission]:
    return (
        project.mission("first", mission_id=FIRST, mission_number=7),
        project.mission("second", mission_id=SECOND),
    )


@pytest.mark.parametrize("selector", [FIRST, FIRST[:8], FIRST[:8].lower(), f"first-{FIRST[:8]}", "first"])
def test_a_mission_is_known_by_id_by_eight_characters_and_by_slug(
    project: Project, two: tuple[Mission, Mission], selector: str
) -> None:
    assert select(project, selector).mission_id == FIRST


@pytest.mark.parametrize("selector", ["7", "007", FIRST[:7], FIRST[:9], FIRST.lower(), "fir", "", "nothing"])
def test_nothing_else_names_a_mission_not_even_its_number(
    project: Project, two: tuple[Mission, Mission], selector: str
) -> None:
    error = refusal(lambda: select(project, selector), "MISSION_NOT_FOUND")
    assert error.details["missions"] == [mission.slug for mission in two]


def test_eight_characters_of_two_missions_are_ambiguous_and_the_id_is_not(project: Project) -> None:
    twins = [project.mission(name, mission_id=ulid(1_767_225_600_000, chance)) for chance, name in enumerate("ab")]
    assert twins[0].mid8 == twins[1].mid8
    error = refusal(lambda: select(project, twins[0].mid8), "MISSION_AMBIGUOUS_SELECTOR")
    assert sorted(error.details["candidates"]) == sorted(one.mission_id for one in twins)
    assert select(project, twins[1].mission_id).slug == twins[1].slug


def test_a_name_that_two_missions_share_is_ambiguous(project: Project) -> None:
    for mission_id in (FIRST, SECOND):
        project.mission("search", mission_id=mission_id)
    error = refusal(lambda: select(project, "search"), "MISSION_AMBIGUOUS_SELECTOR")
    assert FIRST in error.hint
    assert SECOND in error.hint
    assert select(project, f"search-{SECOND[:8]}").mission_id == SECOND


def test_an_id_beats_a_slug_that_looks_like_it(project: Project) -> None:
    project.mission("first", mission_id=FIRST)
    imposter = project.mission("x", mission_id=SECOND)
    (imposter.directory).rename(imposter.directory.parent / FIRST)
    assert select(project, FIRST).mission_id == FIRST
    (imposter.directory.parent / FIRST).rename(imposter.directory.parent / FIRST[:8])
    assert select(project, FIRST[:8]).mission_id == FIRST


def test_two_directories_with_one_id_are_ambiguous(project: Project) -> None:
    project.mission("first", mission_id=FIRST)
    project.mission("copy", mission_id=FIRST)
    refusal(lambda: select(project, FIRST), "MISSION_AMBIGUOUS_SELECTOR")


def test_without_a_name_the_only_open_mission_is_meant(project: Project, two: tuple[Mission, Mission]) -> None:
    error = refusal(lambda: select(project, None), "MISSION_REQUIRED")
    assert error.details["missions"] == [mission.slug for mission in two]
    project.record(two[0], "WP01", "planned", "canceled")
    assert select(project, None).mission_id == SECOND
    project.record(two[1], "WP01", "planned", "done")
    assert refusal(lambda: select(project, None), "MISSION_REQUIRED").details["missions"] == []


def test_of_a_single_mission_there_is_no_doubt_although_it_is_closed(project: Project) -> None:
    mission = project.mission()
    project.record(mission, "WP01", "planned", "done")
    assert select(project, None).mission_id == mission.mission_id


def test_a_mission_with_a_broken_ledger_is_open_so_that_it_is_seen(
    project: Project, two: tuple[Mission, Mission]
) -> None:
    two[0].ledger.live.write_bytes(b"{broken\n")
    assert len(refusal(lambda: select(project, None), "MISSION_REQUIRED").details["missions"]) == 2


def test_a_mission_that_a_branch_switch_took_away_is_named(project: Project) -> None:
    project.git("checkout", "-q", "-b", "other")
    away = project.mission("away")
    project.record(away, "WP01", "planned")
    project.git("checkout", "-q", "-f", "main")
    project.git("clean", "-fdxq", "kitty-specs")
    for selector, code in ((away.slug, "MISSION_NOT_FOUND"), (None, "MISSION_REQUIRED")):
        assert (
            f"on another branch: {away.slug}" in refusal(lambda selector=selector: select(project, selector), code).hint
        )
    here = project.mission("here")
    assert here.slug in refusal(lambda: select(project, away.slug), "MISSION_NOT_FOUND").hint


def test_in_the_worktree_of_a_lane_its_mission_is_meant(project: Project, two: tuple[Mission, Mission]) -> None:
    place = f".worktrees/first-{FIRST[:8]}-lane-b"
    project.git("worktree", "add", "-q", "-b", "lane", place)
    assert select(project, None, project.root / place).mission_id == FIRST
    repo = Repo.find(project.root / place)
    assert lane_of_worktree(repo, two[0]) == "lane-b"
    assert lane_of_worktree(repo, two[1]) is None
    assert select(project, "second", project.root / place).mission_id == SECOND


@pytest.mark.parametrize("place", [f"../first-{FIRST[:8]}-lane-b", ".worktrees/first-lane-b", ".worktrees/other"])
def test_another_worktree_belongs_to_no_lane(project: Project, two: tuple[Mission, Mission], place: str) -> None:
    project.git("worktree", "add", "-q", "-b", "lane", place)
    assert lane_of_worktree(Repo.find((project.root / place).resolve()), two[0]) is None


def test_foreign_text_in_a_refusal_is_harmless(project: Project) -> None:
    error = refusal(lambda: select(project, "a\nb\u202e<!--"), "MISSION_NOT_FOUND")
    assert "a%0Ab%E2%80%AE%3C%21" in error.message


# What a mission is


@pytest.mark.parametrize(
    ("directory", "human", "branch"),
    [
        (f"search-{FIRST[:8]}", "search", f"kitty/mission-search-{FIRST[:8]}"),
        ("042-search", "search", f"kitty/mission-search-{FIRST[:8]}"),
        (f"042-search-{FIRST[:8]}", "search", f"kitty/mission-search-{FIRST[:8]}"),
        ("search", "search", f"kitty/mission-search-{FIRST[:8]}"),
    ],
)
def test_its_name_for_people_has_neither_number_nor_id(
    project: Project, directory: str, human: str, branch: str
) -> None:
    mission = Mission(Repo.find(project.root), project.root / "kitty-specs" / directory, {"mission_id": FIRST})
    assert (mission.human, mission.branch) == (human, branch)


def test_an_old_mission_without_an_id_is_known_by_its_slug(project: Project) -> None:
    project.write("kitty-specs/042-old/meta.json", '{"mission_number": 42}')
    mission = select(project, "042-old")
    assert mission.mission_id == "042-old"
    assert (mission.target, mission.title, mission.type) == ("", "042-old", "software-dev")


def test_its_target_is_what_it_is_merged_into(project: Project) -> None:
    assert project.mission("a").target == "main"
    assert project.mission("b", merge_target_branch="release").target == "release"


def test_its_title_is_one_harmless_line(project: Project) -> None:
    assert project.mission("a", friendly_name="Search\n# now <b>").title == "Search %23 now %3Cb%3E"


def test_unknown_keys_of_its_meta_data_survive_a_write(project: Project) -> None:
    mission = project.mission("a", zz_unknown={"b": [1], "a": "ü"})
    mission.meta["mission_number"] = 5
    mission.save()
    text = (mission.directory / "meta.json").read_text()
    assert json.loads(text) == {**mission.meta, "zz_unknown": {"b": [1], "a": "ü"}, "mission_number": 5}
    assert text == json.dumps(json.loads(text), indent=2, sort_keys=True, ensure_ascii=False) + "\n"
    assert mission.refresh().meta["mission_number"] == 5


@pytest.mark.parametrize("text", ["", "{", "[]", "5", b"\xff"])
def test_meta_data_that_is_no_object_is_named(project: Project, text: str | bytes) -> None:
    mission = project.mission("a")
    path = project.write(f"kitty-specs/{mission.slug}/meta.json", text)
    error = refusal(lambda: read_mission(mission.repo, mission.directory), "MISSION_DAMAGED")
    assert str(path) in error.message


def test_only_directories_with_meta_data_are_missions(project: Project) -> None:
    assert find_missions(Repo.find(project.root)) == []
    project.write("kitty-specs/README.md")
    project.write("kitty-specs/notes/spec.md")
    mission = project.mission("a")
    assert [found.slug for found in find_missions(Repo.find(project.root))] == [mission.slug]


# Ids of work packages


@pytest.mark.parametrize(
    "text",
    [
        "WP01",
        "wp01",
        " WP01 ",
        "demo/WP01",
        "WP01/T001",
        "demo/WP01/T001",
        "WP01-build-it.md",
        "tasks/WP01-x.md",
        "WP01-x",
    ],
)
def test_every_form_that_a_command_prints_names_the_work_package(text: str) -> None:
    assert package_id(text, "demo") == "WP01"


@pytest.mark.parametrize("text", ["WP01 WP02", "WPX", "T001", "", "XWP01", "WP"])
def test_what_is_no_id_is_left_as_it_is(text: str) -> None:
    assert package_id(text) == text


def test_a_slug_that_looks_like_an_id_does_not_mislead() -> None:
    assert package_id("wp3-cleanup/WP01", "wp3-cleanup") == "WP01"


def test_an_unknown_work_package_is_refused_with_those_that_exist(project: Project) -> None:
    mission = project.mission(packages=[{"work_package_id": "WP01"}, {"work_package_id": "WP02"}])
    assert mission.package(f"{mission.slug}/wp02").wp_id == "WP02"
    error = refusal(lambda: mission.package("WP09"), "WP_NOT_FOUND")
    assert error.details["ids"] == ["WP01", "WP02"]
    assert "WP01, WP02" in error.hint
    assert "kitty tasks" in refusal(lambda: project.mission("empty").package("WP01"), "WP_NOT_FOUND").hint


# What was told of a mission


def test_a_mission_that_is_elsewhere_has_names_and_packages_and_no_files() -> None:
    packages = [Package(f"WP{number}", "", (), (), "code_change", (), "") for number in (10, 2)]
    there = ReportedMission("demo", {"mission_id": FIRST, "friendly_name": "Demo"}, packages)
    assert (there.slug, there.mission_id, there.title, there.type) == ("demo", FIRST, "Demo", "software-dev")
    assert [package.wp_id for package in there.packages] == ["WP2", "WP10"]
    assert (there.findings(), lane_ids(there)) == ([], {})
    refusal(lambda: there.directory, "MISSION_ELSEWHERE")
    refusal(lambda: there.ledger, "MISSION_ELSEWHERE")
    with pytest.raises(AttributeError):
        there.directories  # type: ignore[attr-defined]  # noqa: B018
