"""A claim is on record before there is a place to work in; where there is none in the end, that is on record too."""

from __future__ import annotations

import subprocess
import sys
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


def test_a_claim_that_was_killed_before_its_place_was_there_is_gone_on_with(walk: Walk) -> None:
    walk.plan()
    walk.project.killed("implement", "WP01", "--agent", "ada", at="committed", ref=f"refs/heads/{lane_branch(walk)}")
    assert steps(walk)[-2:] == ["claimed", "in_progress"]
    walk.implement("WP01")
    assert steps(walk)[-2:] == ["in_progress", "for_review"], "nothing was claimed twice"
    walk.review("WP01")


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
