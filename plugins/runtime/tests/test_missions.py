"""Missions and their artefacts: created on a branch that exists, committed file by file with the user's hooks."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import datetime
from typing import TYPE_CHECKING

import pytest

from kitty_host.ledger.event import Other
from kitty_host.mission import find_missions
from kitty_host.repo import Repo

if TYPE_CHECKING:
    from conftest import Road


def test_a_mission_lands_on_the_current_branch_unless_told(road: Road) -> None:
    road.project.git("switch", "--quiet", "-c", "work")
    said = road("mission", "create", "demo")
    assert road.mission.target == "work"
    assert said == {
        "schema": "kitty.mission/1",
        "mission_id": road.mission.mission_id,
        "slug": f"demo-{road.mission.mid8}",
        "dir": f"kitty-specs/demo-{road.mission.mid8}",
        "type": "software-dev",
        "current_branch": "work",
        "planning_base_branch": "work",
        "merge_target_branch": "work",
        "branch_matches_target": True,
    }


def test_creating_commits_nothing_and_records_it(road: Road) -> None:
    head = road.project.git("rev-parse", "HEAD")
    road("mission", "create", "demo", "--title", "A title")
    assert road.project.git("rev-parse", "HEAD") == head
    assert [event.kind for event in road.mission.ledger.events() if isinstance(event, Other)] == ["MissionCreated"]
    assert road.mission.title == "A title"


@pytest.mark.parametrize("slug", ["Demo", "a b", "../x", "x-", "x--y", "x" * 61, ""])
def test_a_slug_is_lower_case_and_short(road: Road, slug: str) -> None:
    road.refuses("MISSION_SLUG", "mission", "create", slug)


def test_a_detached_head_refuses_unless_a_target_is_named(road: Road) -> None:
    road.project.git("switch", "--quiet", "--detach")
    road.refuses("BRANCH_STRATEGY_REQUIRED", "mission", "create", "demo")
    road.refuses("BRANCH_STRATEGY_REQUIRED", "mission", "create", "demo", "--target", "nowhere")
    road("mission", "create", "demo", "--target", "main")


def test_a_repository_without_a_commit_refuses(road: Road) -> None:
    road.project.git("update-ref", "-d", "HEAD")
    road.refuses("REPO_EMPTY", "mission", "create", "demo")


def test_a_pr_bound_mission_does_not_start_on_its_target(road: Road) -> None:
    road.refuses("BRANCH_STRATEGY_REQUIRED", "mission", "create", "demo", "--pr-bound")
    road("mission", "create", "demo", "--pr-bound", "--branch-strategy", "already-confirmed", "--agent", "ada")
    assert road.mission.meta["branch_strategy"]["answer"] == "already-confirmed"
    assert road.mission.meta["branch_strategy"]["actor"] == "ada"


def test_an_unknown_type_names_the_known_ones(road: Road) -> None:
    done = road.project.kitty("mission", "create", "demo", "--type", "nonsense", "--json")
    assert done.code == "MISSION_TYPE_NOT_FOUND"
    assert done.json["hint"].startswith("there are: documentation, plan, research, software-dev; ")


def test_an_artefact_is_scaffolded_then_checked_then_committed(road: Road) -> None:
    road("mission", "create", "demo")
    said = road("specify")
    assert (said["complete"], said["missing"]) == (
        False,
        ["spec.md: Goal is not written", "spec.md: Requirements is not written", "spec.md: Done when is not written"],
    )
    road.write("spec.md", "# S\n\n## Goal\n\ng\n\n## Requirements\n\nr\n\n## Done when\n\nd\n")
    said = road("specify")
    assert said["complete"] is True
    assert road.project.git("show", "--name-only", "--format=", said["commit"]).splitlines() == [
        f"kitty-specs/{road.mission.slug}/meta.json",
        f"kitty-specs/{road.mission.slug}/spec.md",
    ]
    assert road("specify")["commit"] is None


def test_what_else_is_staged_stays_staged(road: Road) -> None:
    road.project.write("mine.txt")
    road.project.git("add", "mine.txt")
    road.planned()
    assert "A  mine.txt" in road.project.git("status", "--porcelain")
    assert road.project.git("log", "--format=", "--name-only", "--", "mine.txt") == ""


def test_a_hook_that_refuses_is_a_failure_and_the_artefact_stays(road: Road) -> None:
    road("mission", "create", "demo")
    hook = road.project.write(".git/hooks/pre-commit", "#!/bin/sh\necho not today >&2\nexit 1\n")
    hook.chmod(0o755)
    spec = road.write("spec.md", "# S\n\n## Goal\n\ng\n\n## Requirements\n\nr\n\n## Done when\n\nd\n")
    done = road.project.kitty("specify", "--json")
    assert (done.exit_code, done.code) == (1, "COMMIT_REFUSED")
    assert "not today" in done.json["message"]
    assert spec.exists()
    assert road.project.git("diff", "--cached", "--name-only") == ""


def test_finalizing_gives_lanes_and_opens_the_packages(road: Road) -> None:
    road.planned(("WP01",), ("WP02", "WP01"))
    assert (road.lane("WP01"), road.lane("WP02")) == ("planned", "planned")
    lanes = json.loads((road.mission.directory / "lanes.json").read_text())
    assert [lane["wp_ids"] for lane in lanes["lanes"]] == [["WP01"], ["WP02"]]
    assert lanes["planning_commit_sha"]
    assert road.project.git("rev-parse", "--verify", f"refs/kitty/{road.mission.mission_id}/ledger")


def test_nothing_on_the_road_commits_the_ledger(road: Road) -> None:
    road.planned()
    road.approved()
    assert road.project.git("log", "--all", "--format=", "--name-only", "--", "kitty-specs/*.jsonl") == ""
    assert road.project.git("status", "--porcelain").splitlines() == [
        f"?? kitty-specs/{road.mission.slug}/status.events.jsonl"
    ]


def test_finalizing_again_changes_nothing(road: Road) -> None:
    road.planned()
    before = (road.project.git("rev-parse", "HEAD"), road.mission.ledger.lines())
    road("finalize")
    assert (road.project.git("rev-parse", "HEAD"), road.mission.ledger.lines()) == before


def test_a_package_that_is_added_later_is_opened_then(road: Road) -> None:
    road.planned()
    road.package("WP02")
    road("finalize")
    assert road.lane("WP02") == "planned"
    assert len(road.transitions("WP01")) == 1


def test_checking_writes_nothing(road: Road) -> None:
    road("mission", "create", "demo")
    road.package("WP01")
    before = road.project.snapshot()
    assert road("finalize", "--check")["packages"] == ["WP01"]
    assert road.project.snapshot() == before


def test_a_package_that_owns_nothing_refuses(road: Road) -> None:
    road("mission", "create", "demo")
    road.write("tasks/WP01-x.md", "---\nwork_package_id: WP01\n---\n")
    assert "WP01" in road.refuses("OWNED_FILES_MISSING", "finalize")
    road.write("tasks/WP01-x.md", "---\nwork_package_id: WP01\nowned_files: [../x]\n---\n")
    road.refuses("OWNED_FILES_OUTSIDE", "finalize")


def test_broken_front_matter_refuses_with_the_line(road: Road) -> None:
    road("mission", "create", "demo")
    road.write("tasks/WP01-x.md", "---\nwork_package_id: WP01\ntitle: [\n---\n")
    assert "line" in road.refuses("WP_INVALID", "finalize")


def test_missions_that_are_made_at_once_never_share_a_directory_or_eight_characters(road: Road) -> None:
    import subprocess
    import sys

    command = [sys.executable, "-m", "kitty_host", "mission", "create", "same"]
    running = [subprocess.Popen(command, cwd=road.root, stdout=subprocess.DEVNULL) for _ in range(6)]
    assert [process.wait() for process in running] == [0] * 6
    found = find_missions(Repo.find(road.root))
    assert len({mission.mid8 for mission in found}) == len({mission.mission_id for mission in found}) == 6


def test_work_that_has_begun_stays_in_its_lane(road: Road) -> None:
    road.planned(("WP01",), ("WP02",))
    road("implement", "WP02", "--agent", "ada")
    road.project.write("one-lane")
    before = (road.mission.directory / "lanes.json").read_bytes()
    assert "WP02" in road.refuses("LANES_BEGUN", "finalize")
    assert (road.mission.directory / "lanes.json").read_bytes() == before


def test_commits_that_would_ride_along_are_named(road: Road) -> None:
    road.project.git("switch", "--quiet", "-c", "feature")
    road.project.commit("junk.txt", message="JUNK")
    road("mission", "create", "demo", "--target", "main")
    road.package("WP01")
    findings = road("finalize")["findings"]
    (found,) = [finding for finding in findings if finding["code"] == "PLAN_ELSEWHERE"]
    assert "JUNK" in found["message"]


def test_a_brief_that_is_not_there_is_named(road: Road, monkeypatch: pytest.MonkeyPatch) -> None:
    road.refuses("PLUGIN_MISSING", "mission", "create", "demo", "--from-brief")


def test_an_incomplete_artefact_is_a_failure_the_second_time(road: Road) -> None:
    road("mission", "create", "demo")
    assert road.project.kitty("specify").exit_code == 0
    assert road.project.kitty("specify").exit_code == 1


def test_a_single_mission_is_meant_although_it_is_closed(road: Road) -> None:
    assert road("status")["missions"] == []
    road.planned()
    road("cancel", "WP01", "--reason", "no")
    assert road("status")["missions"][0]["open"] is False
    assert road("next", "--agent", "ada")["kind"] == "terminal"


@pytest.mark.parametrize("answer", ["stay", "switch", "stop"])
def test_in_a_terminal_a_pr_bound_mission_asks_and_keeps_the_answer(road: Road, answer: str) -> None:
    ours, theirs = os.openpty()
    command = [sys.executable, "-m", "kitty_host", "mission", "create", "demo", "--pr-bound", "--agent", "ada"]
    with subprocess.Popen(command, cwd=road.root, stdin=theirs, stdout=theirs, stderr=subprocess.PIPE) as asked:
        os.close(theirs)
        os.write(ours, f"{answer}\n".encode() + (b"topic\n" if answer == "switch" else b""))
        assert asked.stderr
        said = asked.stderr.read()
    os.close(ours)
    assert b"stay, switch, stop" in said
    assert road.project.git("branch", "--show-current") == ("topic" if answer == "switch" else "main")
    if answer == "stop":
        assert asked.returncode == 1
        assert b"BRANCH_STRATEGY_REQUIRED" in said
        assert not (road.root / "kitty-specs").exists()
    else:
        assert asked.returncode == 0, said
        told = road.mission.meta["branch_strategy"]
        assert (told["answer"], told["actor"]) == (answer, "ada")
        assert datetime.fromisoformat(told["at"]).utcoffset() is not None


def test_a_detached_head_is_no_acknowledged_branch(road: Road) -> None:
    road.project.git("switch", "--quiet", "--detach")
    road.refuses("BRANCH_STRATEGY_REQUIRED", "mission", "create", "demo", "--target", "main", "--pr-bound")
