"""The forms of ids, names and times that scripts and other programs rely on."""

from __future__ import annotations

import re

import pytest

from kitty_host.api import KittyError
from kitty_host.lanes import branch_of, plan_ref
from kitty_host.ledger.event import new_id, now
from kitty_host.mission import Mission
from kitty_host.testing import Project


@pytest.fixture
def mission(project: Project) -> Mission:
    made: Mission = project.mission("add-search", packages=[{"work_package_id": "WP01"}])
    return made


def test_an_id_is_a_ulid() -> None:
    assert re.fullmatch(r"[0-7][0-9A-HJKMNP-TV-Z]{25}", new_id())


def test_a_time_is_utc_with_its_offset() -> None:
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}\+00:00", now())


def test_a_mission_has_an_id_eight_characters_a_slug_and_a_branch(mission: Mission) -> None:
    assert mission.mid8 == mission.mission_id[:8]
    assert mission.slug == mission.directory.name == f"add-search-{mission.mid8}"
    assert mission.human == "add-search"
    assert mission.branch == f"kitty/mission-add-search-{mission.mid8}"


def test_a_plan_has_a_ref_of_its_own(mission: Mission) -> None:
    assert plan_ref(mission) == f"refs/kitty/{mission.mission_id}/plan"
    assert branch_of(mission, "lane-a") == f"{mission.branch}-lane-a"


def test_a_ledger_has_these_names(project: Project, mission: Mission) -> None:
    assert mission.ledger.live == project.root / "kitty-specs" / mission.slug / "status.events.jsonl"
    assert mission.ledger.twin == project.root / ".git" / "kitty" / "ledger" / f"{mission.mission_id}.jsonl"
    assert mission.ledger.ref == f"refs/kitty/{mission.mission_id}/ledger"
    assert mission.ledger.lock_file == project.root / ".git" / "spec-kitty-locks" / f"{mission.slug}.status.lock"


# What names a work package in commands, file names, front matter, task lists and ledgers, of kitty and of spec-kitty.
FORMS = (
    *("WP01", "wp01", "Wp01", " WP01 ", "WP01-task.md", "WP01-a-longer-title", "tasks/WP01-task.md"),
    *("WP01/T001", "WP01/T001a", "WP01/T005-sig", "WP01/T9999", "wp01/t001"),
    *("{slug}/WP01", "{slug}/WP01/T001", "{human}/WP01", "{human}/wp01/T001", "{id}/WP01", "{mid8}/WP01/T001"),
    *("kitty-specs/{slug}/tasks/WP01-task.md", "/somewhere/else/kitty-specs/{slug}/tasks/WP01-task.md"),
)


@pytest.mark.parametrize("form", FORMS)
def test_a_work_package_is_known_by_every_form_that_is_printed(mission: Mission, form: str) -> None:
    names = {"slug": mission.slug, "human": mission.human, "id": mission.mission_id, "mid8": mission.mid8}
    assert mission.package(form.format(**names)).wp_id == "WP01"


@pytest.mark.parametrize(
    "form", ["WP02", "WP1", "WP001", "nobody/WP01", "kitty-specs/nobody/tasks/WP01-task.md", "T001", "", "WP", "xWP01"]
)
def test_what_is_not_one_is_refused_with_those_that_are(mission: Mission, form: str) -> None:
    with pytest.raises(KittyError, match="WP_NOT_FOUND") as refused:
        mission.package(form)
    assert refused.value.hint == "it has: WP01"


def test_a_path_is_relative_with_slashes(mission: Mission) -> None:
    assert mission.repo.relative(mission.directory / "tasks" / "WP01-task.md") == (
        f"kitty-specs/{mission.slug}/tasks/WP01-task.md"
    )


def test_the_keys_of_a_transition_are_those_of_spec_kitty(project: Project, mission: Mission) -> None:
    project.record(mission, "WP01", "planned")
    [row] = mission.ledger.rows()
    assert sorted(row) == [
        *("actor", "at", "event_id", "evidence", "execution_mode", "force", "from_lane", "mission_id", "mission_slug"),
        *("policy_metadata", "reason", "review_ref", "review_result", "to_lane", "wp_id"),
    ]
