"""A claim is on record before there is a place to work in; where there is none in the end, that is on record too."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kitty_host.mission import find_missions
from kitty_host.repo import Repo
from kitty_host.state import State

from .conftest import Walk


def steps(walk: Walk) -> list[str]:
    """The lanes that WP01 has been in, oldest first."""
    return [str(row["to_lane"]) for row in rows(walk)]


def rows(walk: Walk) -> list[dict[str, Any]]:
    [mission] = find_missions(Repo.find(walk.project.root))
    return [dict(row) for row in mission.ledger.rows() if row.get("wp_id") == "WP01" and "to_lane" in row]


def lane_branch(walk: Walk) -> str:
    [mission] = find_missions(Repo.find(walk.project.root))
    return f"{mission.branch}-lane-a"


def taken_place(walk: Walk) -> Path:
    return walk.project.write(f".worktrees/{walk.mission}-lane-a/mine", "mine\n")


def locked_ref(walk: Walk) -> Path:
    return walk.project.write(f".git/refs/heads/{lane_branch(walk)}.lock", "")


@pytest.mark.parametrize("obstacle", [taken_place, locked_ref], ids=lambda one: one.__name__)
def test_a_place_that_cannot_be_had_blocks_the_package_and_says_why(
    walk: Walk, obstacle: Callable[[Walk], Path]
) -> None:
    walk.plan()
    path = obstacle(walk)
    done = walk.project.kitty("implement", "WP01", "--agent", "ada", "--json")
    assert done.exit_code == 1, done
    assert steps(walk)[-3:] == ["claimed", "in_progress", "blocked"]
    last = rows(walk)[-1]
    assert last["reason"] == "worktree_alloc_failed"
    assert last["evidence"] is None
    assert last["policy_metadata"]["evidence"] == f"{done.code}: {done.json['message']}"
    assert path.exists()
    path.unlink()
    if path.name == "mine":
        path.parent.rmdir()
    walk.implement("WP01")
    assert steps(walk)[-3:] == ["blocked", "in_progress", "for_review"]


@pytest.mark.parametrize("moment", ["prepared", "committed"])
def test_a_claim_that_was_killed_before_its_place_was_there_is_gone_on_with(walk: Walk, moment: str) -> None:
    """At the first moment Git has the lock of the lane's branch, which nobody gives back."""
    walk.plan()
    killed_claim(walk, moment)
    assert steps(walk)[-2:] == ["claimed", "in_progress"]
    assert (walk.project.root / f".git/refs/heads/{lane_branch(walk)}.lock").exists() == (moment == "prepared")
    walk.implement("WP01")
    assert steps(walk)[-5:] == ["claimed", "in_progress", "blocked", "in_progress", "for_review"]
    walk.review("WP01")
    assert not list((walk.project.root / ".git").rglob("refs/**/*.lock"))
    assert not (walk.project.root / ".git/kitty/claims").exists()


def killed_claim(walk: Walk, moment: str = "prepared") -> None:
    walk.project.killed("implement", "WP01", "--agent", "ada", at=moment, ref=f"refs/heads/{lane_branch(walk)}")


def findings(walk: Walk) -> dict[str, dict[str, Any]]:
    """What `status` finds, by code, and that it wrote nothing."""
    before = walk.project.snapshot()
    found = walk.kitty("status").json["missions"][0]["findings"]
    assert walk.project.snapshot() == before
    return {one["code"]: one for one in found}


def test_the_next_command_names_it_and_the_next_one_that_writes_blocks_it(walk: Walk) -> None:
    walk.plan()
    killed_claim(walk)
    named = findings(walk)["WORKSPACE_MISSING"]
    assert named["message"] == "WP01 is ada's and has no worktree here: kitty implement WP01 --agent ada"
    assert named["message"] in walk.project.kitty("status").stdout
    assert named["message"] in walk.kitty("next", "--agent", "ada").json["notes"], "to whoever has it"
    assert steps(walk)[-1] == "in_progress", "a question mends nothing"
    walk.kitty("note", "WP02", "something", "--agent", "bob")
    last = rows(walk)[-1]
    assert (last["from_lane"], last["to_lane"], last["actor"]) == ("in_progress", "blocked", "kitty:recovery")
    assert (last["reason"], last["evidence"]) == ("worktree_alloc_failed", None)
    assert "killed" in last["policy_metadata"]["evidence"]
    assert "WORKSPACE_MISSING" not in findings(walk)
    walk.kitty("note", "WP02", "something else", "--agent", "bob")
    assert steps(walk).count("blocked") == 1
    assert walk.kitty("implement", "WP01", "--agent", "bob").json["workspace_path"]
    assert steps(walk)[-2:] == ["blocked", "in_progress"]


def test_a_claim_that_was_over_a_moment_ago_was_not_left(walk: Walk) -> None:
    """Somebody who looks for claims that were left sees its name, it is over, and then its lock can be had: on a file that says nothing."""
    walk.plan()
    walk.kitty("implement", "WP01", "--agent", "ada")
    meta = json.loads((walk.directory / "meta.json").read_text())
    record = walk.project.write(f".git/kitty/claims/{meta['mission_id']}/WP01", "")
    walk.kitty("note", "WP02", "something", "--agent", "bob")
    assert steps(walk)[-1] == "in_progress"
    assert not record.exists()
    assert not record.parent.exists()


def test_another_agent_is_handed_out_what_was_claimed_and_killed(walk: Walk) -> None:
    walk.plan()
    killed_claim(walk)
    assert walk.kitty("implement", "WP01", "--agent", "bob").json["workspace_path"]
    assert steps(walk)[-3:] == ["in_progress", "blocked", "in_progress"]
    done = walk.project.kitty("implement", "WP01", "--agent", "ada", "--json")
    assert "bob's" in done.json["message"]


def test_what_refuses_or_has_nothing_to_write_mends_nothing(walk: Walk) -> None:
    walk.plan()
    killed_claim(walk)
    before = walk.project.snapshot()
    assert walk.project.kitty("submit", "WP02", "--agent", "bob").exit_code == 1
    assert walk.project.kitty("move", "WP02", "done", "--agent", "bob").exit_code == 1
    assert walk.project.kitty("implement", "WP99", "--agent", "bob").exit_code == 1
    assert walk.project.snapshot() == before


def test_a_claim_of_another_clone_is_named_and_left_alone(walk: Walk) -> None:
    """It looks the same here: a claim in the ledger, and no worktree."""
    walk.plan()
    [mission] = find_missions(Repo.find(walk.project.root))
    policy = {"agent": "ada"}
    walk.project.record(mission, "WP01", "claimed", "in_progress", actor="ada", policy_metadata=policy)
    walk.kitty("note", "WP01", "something", "--agent", "bob")
    assert steps(walk)[-1] == "in_progress"
    assert "WORKSPACE_MISSING" in findings(walk)


def test_a_worktree_that_somebody_removed_is_named_and_made_again(walk: Walk) -> None:
    walk.plan()
    place = Path(walk.kitty("implement", "WP01", "--agent", "ada").json["workspace_path"])
    assert "WORKSPACE_MISSING" not in findings(walk)
    walk.project.git("worktree", "remove", "--force", str(place))
    assert "WORKSPACE_MISSING" in findings(walk)
    walk.kitty("note", "WP01", "something", "--agent", "bob")
    walk.kitty("implement", "WP01", "--agent", "ada")
    assert steps(walk)[-1] == "in_progress"
    assert "blocked" not in steps(walk)
    assert place.is_dir()


def test_nothing_is_taken_from_a_git_that_outlives_the_command_that_started_it(walk: Walk) -> None:
    walk.plan()
    root, branch = walk.project.root, lane_branch(walk)
    said, go = root / ".git/said", root / ".git/go"
    waits = f'grep -q " refs/heads/{branch}$" && touch {said} && until [ -e {go} ]; do sleep 0.05; done'
    hook = walk.project.write(
        ".git/hooks/reference-transaction", f'#!/bin/sh\n[ "$1" = prepared ] && {waits}\nexit 0\n'
    )
    hook.chmod(0o755)
    command = [sys.executable, "-m", "kitty_host", "implement", "WP01", "--json", "--agent", "ada"]
    first = subprocess.Popen(command, cwd=root, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_for(said.exists)
    first.kill()
    first.wait()
    lock = root / f".git/refs/heads/{branch}.lock"
    walk.kitty("note", "WP01", "something", "--agent", "bob")
    assert steps(walk)[-1] == "in_progress", "its place is still being made"
    second = subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    with pytest.raises(subprocess.TimeoutExpired):
        second.wait(timeout=2)
    assert lock.exists()
    go.touch()
    out, _ = second.communicate(timeout=60)
    assert second.returncode == 0, out
    assert not lock.exists()


def wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_a_claim_leaves_the_checkout_as_it_was(walk: Walk) -> None:
    walk.plan()
    before = walk.project.git("status", "--porcelain"), walk.project.git("rev-parse", "HEAD")
    walk.kitty("implement", "WP01", "--agent", "ada")
    assert (walk.project.git("status", "--porcelain"), walk.project.git("rev-parse", "HEAD")) == before


def test_of_two_reviewers_at_once_one_has_the_review(walk: Walk) -> None:
    walk.plan()
    walk.implement("WP01")
    command = [sys.executable, "-m", "kitty_host", "review", "WP01", "--claim", "--json", "--agent"]
    running = [subprocess.Popen([*command, name], cwd=walk.project.root, stdout=subprocess.PIPE) for name in NAMES]
    said = [process.communicate(timeout=120)[0] for process in running]
    codes = [process.returncode for process in running]
    assert sorted(codes) == [0] + [1] * (len(NAMES) - 1), said
    assert sum(b"TRANSITION_REFUSED" in one for one in said) == len(NAMES) - 1
    assert steps(walk)[-2:] == ["for_review", "in_review"]
    [mission] = find_missions(Repo.find(walk.project.root))
    known = State.load(mission).package_state("WP01")
    assert known is not None
    assert known.actor == NAMES[codes.index(0)]


NAMES = ("grace", "edsger", "barbara", "tony")
