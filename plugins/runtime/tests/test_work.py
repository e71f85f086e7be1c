"""From claim to approval: recorded before anything is allocated, submitted with evidence, approved as a commit, by somebody else."""

from __future__ import annotations

import shlex
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from kitty_host.state import State

if TYPE_CHECKING:
    from conftest import Road


def steps(road: Road, wp_id: str = "WP01") -> list[str]:
    return [row.to_lane for row in road.transitions(wp_id)]


# Claiming


def test_a_claim_is_recorded_and_then_the_place_is_allocated(road: Road) -> None:
    road.planned()
    said = road("implement", "WP01", "--agent", "ada")
    assert steps(road) == ["planned", "claimed", "in_progress"]
    assert said["branch"].endswith("-lane-a")
    known = road.state.package_state("WP01")
    assert known is not None
    assert known.agent == "ada"


@pytest.mark.parametrize("form", ["WP01", "wp01", "WP01/T001", "{slug}/WP01", "WP01-x.md"])
def test_every_form_of_an_id_that_is_printed_is_understood(road: Road, form: str) -> None:
    road.planned()
    assert road("implement", form.format(slug=road.mission.slug))["wp_id"] == "WP01"


def test_an_unknown_id_names_the_known_ones(road: Road) -> None:
    road.planned(("WP01",), ("WP02",))
    done = road.project.kitty("implement", "WP07", "--json")
    assert (done.code, done.json["hint"]) == ("WP_NOT_FOUND", "it has: WP01, WP02")


def test_asking_again_records_nothing_and_another_agent_is_refused(road: Road) -> None:
    road.planned()
    first = road("implement", "WP01", "--agent", "ada")
    before = road.mission.ledger.lines()
    assert road("implement", "WP01", "--agent", "ADA") == first
    assert road.mission.ledger.lines() == before
    assert "ada's" in road.refuses("TRANSITION_REFUSED", "implement", "WP01", "--agent", "bob")


def test_a_failed_allocation_blocks_with_the_cause_and_a_retry_goes_on(road: Road) -> None:
    road.planned()
    broken = road.project.write("broken")
    done = road.project.kitty("implement", "WP01", "--json", "--agent", "ada")
    assert (done.exit_code, done.code) == (1, "WORKTREE_ALLOC_FAILED")
    last = road.transitions("WP01")[-1].row
    assert (last["to_lane"], last["reason"]) == ("blocked", "worktree_alloc_failed")
    assert "the disk is full" in last["policy_metadata"]["evidence"]
    broken.unlink()
    road("implement", "WP01", "--agent", "bob")
    assert steps(road)[-2:] == ["blocked", "in_progress"]
    known = road.state.package_state("WP01")
    assert known is not None
    assert known.agent == "bob"


def test_a_dependency_must_be_approved_first(road: Road) -> None:
    road.planned(("WP01",), ("WP02", "WP01"))
    assert "depends on WP01" in road.refuses("TRANSITION_REFUSED", "implement", "WP02")
    road.submitted("WP01")
    road.refuses("TRANSITION_REFUSED", "implement", "WP02", "--agent", "bob")
    road("review", "WP01", "--claim", "--agent", "grace")
    road("review", "WP01", "--approve", "--agent", "grace")
    road("implement", "WP02")


def test_two_packages_of_one_lane_are_never_worked_on_at_once(road: Road) -> None:
    road.project.write("one-lane")
    road.planned(("WP01",), ("WP02",))
    road("implement", "WP01", "--agent", "ada")
    assert "WP01" in road.refuses("TRANSITION_REFUSED", "implement", "WP02", "--agent", "bob")


def test_the_ledger_and_not_the_front_matter_says_the_lane(road: Road) -> None:
    road.planned()
    path = road.mission.directory / "tasks/WP01-x.md"
    path.write_text(path.read_text().replace("---\n\n#", "lane: done\n---\n\n#"))
    assert road("status")["missions"][0]["packages"][0]["lane"] == "planned"


# Submitting


def test_the_evidence_is_the_commits(road: Road) -> None:
    road.planned()
    commit = road.submitted()
    assert road.state.submission("WP01") == {"head": commit, "commits": 1}
    assert road.lane("WP01") == "for_review"


def test_nothing_to_review_refuses_unless_a_reason_is_given(road: Road) -> None:
    road.planned()
    road("implement", "WP01", "--agent", "ada")
    road.refuses("TRANSITION_REFUSED", "submit", "WP01")
    road("submit", "WP01", "--no-changes", "it was there already")
    road("review", "WP01", "--claim", "--agent", "grace")
    assert road("review", "WP01", "--approve", "--agent", "grace")["approved_commit"] is None
    assert road.state.approved_commit("WP01") is None


def test_somebody_elses_package_is_not_submitted(road: Road) -> None:
    road.planned()
    road("implement", "WP01", "--agent", "ada")
    road.commit("WP01")
    road.refuses("TRANSITION_REFUSED", "submit", "WP01", "--agent", "bob")


def test_open_subtasks_stop_a_submission(road: Road) -> None:
    road("mission", "create", "demo")
    road.package("WP01", subtasks=("T001", "T002"))
    road("finalize")
    road("implement", "WP01", "--agent", "ada")
    road.commit("WP01")
    assert "T001, T002" in road.refuses("TRANSITION_REFUSED", "submit", "WP01")
    road("mark-status", "T001", "--status", "done")
    assert "T002" in road.refuses("TRANSITION_REFUSED", "submit", "WP01")
    road("mark-status", "WP01/t002", "--status", "skipped")
    road("submit", "WP01")


# Reviewing


def test_a_work_package_stands_for_all_of_its_subtasks(road: Road) -> None:
    road("mission", "create", "demo")
    road.package("WP01", subtasks=("T001",))
    road.package("WP02", subtasks=("T002", "T003"))
    said = road("mark-status", "WP02", "--status", "done", "--agent", "ada")
    assert said["subtasks"] == {"WP02": {"T002": "done", "T003": "done"}}


def test_a_subtask_is_the_one_of_the_package_that_is_named(road: Road) -> None:
    road("mission", "create", "demo")
    for wp_id in ("WP01", "WP02"):
        road.package(wp_id, subtasks=("T001",))
    assert "2 work packages" in road.refuses("TRANSITION_REFUSED", "mark-status", "T001", "--status", "done")
    for form in ("WP01/T001", f"{road.mission.slug}/wp01/t001"):
        assert road("mark-status", form, "--status", "done")["subtasks"] == {"WP01": {"T001": "done"}}
    assert "no subtask" in road.refuses("TRANSITION_REFUSED", "mark-status", "WP01/T002", "--status", "done")


@pytest.mark.parametrize("subtask", ["T001", "T01", "T0001", "T001a", "T005-sig", "T012-chain", "T004e"])
def test_every_form_of_a_subtask_that_occurs_is_understood(road: Road, subtask: str) -> None:
    road("mission", "create", "demo")
    road.package("WP01", subtasks=(subtask, "T999"))
    road.package("WP02", subtasks=(f"{{id: {subtask}, title: t, status: done}}",))
    for form in (
        f"WP01/{subtask}",
        f"{road.mission.slug}/WP01/{subtask}",
        f"wp01/{subtask.lower()}",
        f"WP01-x.md/{subtask}",
    ):
        assert road("mark-status", form, "--status", "done")["subtasks"] == {"WP01": {subtask: "done"}}
    assert road("mark-status", f"WP02/{subtask}", "--status", "done")["subtasks"] == {"WP02": {subtask: "done"}}
    assert "no work package" in road.refuses("WP_NOT_FOUND", "mark-status", f"WP07/{subtask}", "--status", "done")
    assert "no work package" in road.refuses(
        "WP_NOT_FOUND", "mark-status", f"nobody/WP01/{subtask}", "--status", "done"
    )


def test_what_is_approved_is_a_commit(road: Road) -> None:
    road.planned()
    commit = road.approved()
    assert road.state.approved_commit("WP01") == commit
    row = road.transitions("WP01")[-1].row
    assert row["review_result"]["reference"] == row["evidence"]["repos"][0]["commit"] == commit


def test_the_reviewer_is_not_the_implementer(road: Road) -> None:
    road.planned()
    road.submitted(agent="ada")
    assert "implemented" in road.refuses("TRANSITION_REFUSED", "review", "WP01", "--claim", "--agent", "Ada")


def test_what_a_claim_says_to_type_then_is_typed_by_the_one_who_claimed(
    road: Road, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where somebody else acts unless it is said, and another mission is open."""
    road.planned()
    road.submitted(agent="ada")
    mission = road.mission
    road.project.mission("other")
    monkeypatch.setenv("KITTY_AGENT", "ada")
    claim = ("review", "WP01", "--claim", "--agent", "grace hopper", "--mission", mission.slug)
    said = road.project.kitty(*claim).stdout.splitlines()[-1]
    words = shlex.split(said.removeprefix("Then: ").partition(", or")[0])
    assert words[0] == "kitty"
    assert road.project.kitty(*words[1:]).exit_code == 0
    assert State.load(mission.refresh()).lane("WP01") == "approved"


def test_allowing_it_is_recorded(road: Road) -> None:
    road.planned()
    road.submitted(agent="ada")
    road.project.write(".kittify/config.yaml", "review:\n  allow_self: true\n")
    road("review", "WP01", "--claim", "--agent", "ada")
    assert road.state.last_other("ReviewerSelfApproval") is not None


def test_a_second_reviewer_is_refused_and_can_take_over_with_a_reason(road: Road) -> None:
    road.planned()
    road.submitted()
    road("review", "WP01", "--claim", "--agent", "grace")
    assert "grace" in road.refuses("TRANSITION_REFUSED", "review", "WP01", "--claim", "--agent", "edsger")
    road.refuses("TRANSITION_REFUSED", "review", "WP01", "--approve", "--agent", "edsger")
    road("review", "WP01", "--claim", "--force", "--reason", "grace is away", "--agent", "edsger")
    road("review", "WP01", "--approve", "--agent", "edsger")


def test_a_review_is_claimed_before_it_is_answered(road: Road) -> None:
    road.planned()
    road.submitted()
    road.refuses("TRANSITION_REFUSED", "review", "WP01", "--approve", "--agent", "grace")


def test_a_rejection_goes_back_to_the_implementer(road: Road) -> None:
    road.planned()
    road.submitted(agent="ada")
    road("review", "WP01", "--claim", "--agent", "grace")
    road("review", "WP01", "--reject", "--reason", "no tests", "--agent", "grace")
    assert road.lane("WP01") == "in_progress"
    row = road.transitions("WP01")[-1].row
    assert (row["review_result"]["verdict"], row["reason"]) == ("changes_requested", "no tests")
    road("implement", "WP01", "--agent", "ada")
    road.commit("WP01")
    road("submit", "WP01", "--agent", "ada")
    assert road.lane("WP01") == "for_review"


def test_a_lane_that_moved_since_it_was_submitted_is_not_approved(road: Road) -> None:
    road.planned()
    road.submitted()
    road("review", "WP01", "--claim", "--agent", "grace")
    road.commit("WP01")
    road.refuses("MERGE_HEAD_MOVED", "review", "WP01", "--approve", "--agent", "grace")


@pytest.mark.parametrize("arguments", [["WP01"], ["WP01", "--reject"]])
def test_wrong_usage_is_exit_2(road: Road, arguments: list[str]) -> None:
    road.planned()
    assert road.project.kitty("review", *arguments, "--json").exit_code == 2


# The rest


def test_moving_follows_the_state_machine_unless_forced_with_a_reason(road: Road) -> None:
    road.planned()
    road.refuses("TRANSITION_REFUSED", "move", "WP01", "done")
    road.refuses("TRANSITION_REFUSED", "move", "WP01", "done", "--force")
    road.refuses("TRANSITION_REFUSED", "move", "WP01", "nowhere")
    road("move", "WP01", "done", "--force", "--reason", "it is")
    assert road.lane("WP01") == "done"


def test_cancelling_and_reopening(road: Road) -> None:
    road.planned()
    road("cancel", "WP01", "--reason", "not needed")
    assert road.lane("WP01") == "canceled"
    road("reopen", "WP01", "--reason", "it is", "--mission", road.mission.slug)
    assert road.lane("WP01") == "in_progress"
    road.refuses("TRANSITION_REFUSED", "reopen", "WP01", "--reason", "again")


@pytest.mark.slow
def test_forty_notes_at_once_are_forty_notes(road: Road) -> None:
    road.planned()
    before = {path: path.read_bytes() for path in road.mission.directory.rglob("*.md")}
    command = [sys.executable, "-m", "kitty_host", "note", "WP01", "--agent", "ada"]
    running = [subprocess.Popen([*command, f"note {number}"], cwd=road.project.root) for number in range(40)]
    assert {process.wait(120) for process in running} == {0}
    known = road.state.package_state("WP01")
    assert known is not None
    assert sorted(known.slots["notes"]) == sorted(f"note {number}" for number in range(40))
    assert {path: path.read_bytes() for path in before} == before


def test_notes_are_kept_in_the_ledger_and_the_file_is_untouched(road: Road) -> None:
    road.planned()
    path = road.mission.directory / "tasks/WP01-x.md"
    before = path.read_bytes()
    road("note", "WP01", "one")
    road("note", "WP01", "two")
    known = road.state.package_state("WP01")
    assert known is not None
    assert known.slots["notes"] == ["one", "two"]
    assert path.read_bytes() == before


# Ways around


def test_a_reopening_makes_nobody_else_the_implementer(road: Road) -> None:
    road.planned()
    road.approved("WP01")
    road("reopen", "WP01", "--reason", "again", "--agent", "lead")
    assert "ada's" in road.refuses("TRANSITION_REFUSED", "submit", "WP01", "--agent", "lead")
    road("implement", "WP01", "--agent", "ada")
    road("submit", "WP01", "--agent", "ada")
    road.refuses("TRANSITION_REFUSED", "review", "WP01", "--claim", "--agent", "ada")


def test_whoever_ever_worked_on_it_does_not_approve_it(road: Road) -> None:
    road.planned()
    road("implement", "WP01", "--agent", "ada")
    road.commit("WP01")
    road("move", "WP01", "planned", "--reason", "away")
    road("implement", "WP01", "--agent", "bob")
    road("submit", "WP01", "--agent", "bob")
    road.refuses("TRANSITION_REFUSED", "review", "WP01", "--claim", "--agent", "ada")
    road("move", "WP01", "in_review", "--force", "--reason", "mine", "--agent", "ada")
    road.refuses("TRANSITION_REFUSED", "review", "WP01", "--approve", "--agent", "ada")


@pytest.mark.parametrize("lane", ["claimed", "in_progress", "for_review", "in_review", "approved"])
def test_moving_is_no_way_around_the_checks_of_other_commands(road: Road, lane: str) -> None:
    road.planned(("WP01",), ("WP02", "WP01"))
    road.refuses("TRANSITION_REFUSED", "move", "WP02", lane)


def test_who_acts_is_said_by_the_option_then_the_environment_then_the_lane(
    road: Road, monkeypatch: pytest.MonkeyPatch
) -> None:
    road.planned()
    road("implement", "WP01", "--agent", "ada")
    road.commit("WP01")
    monkeypatch.setenv("KITTY_AGENT", "mallory")
    assert "ada's" in road.refuses("TRANSITION_REFUSED", "submit", "WP01")
    monkeypatch.delenv("KITTY_AGENT")
    road("submit", "WP01")
    assert road.transitions("WP01")[-1].actor == "ada"


def test_an_empty_name_is_no_name(road: Road) -> None:
    road.planned()
    assert road.project.kitty("implement", "WP01", "--agent", " \n").exit_code == 2
    assert road.project.kitty("note", "WP01", " ").exit_code == 2
    road("implement", "WP01", "--agent", " ada ")
    assert road.transitions("WP01")[-1].actor == "ada"


def test_a_review_is_answered_in_one_way(road: Road) -> None:
    road.planned()
    road.submitted()
    assert road.project.kitty("review", "WP01", "--claim", "--approve", "--agent", "grace").exit_code == 2


def test_a_pr_bound_mission_is_asked_again_before_its_first_worktree(road: Road) -> None:
    road.planned()
    mission = road.mission
    mission.meta["pr_bound"] = True
    mission.save()
    road.refuses("BRANCH_STRATEGY_REQUIRED", "implement", "WP01")


def test_planning_artefacts_take_turns_too(road: Road) -> None:
    road.project.write("one-lane")
    road("mission", "create", "demo")
    for wp_id in ("WP01", "WP02"):
        road.package(wp_id, mode="planning_artifact")
    road("finalize")
    road("implement", "WP01", "--agent", "ada")
    road.refuses("TRANSITION_REFUSED", "implement", "WP02", "--agent", "bob")
