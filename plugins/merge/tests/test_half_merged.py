"""A lane in which a merge was cut off: it is merged again, nothing of anybody's is lost, and nothing is taken from who works there."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from kitty_host import claims
from kitty_host.api import KittyError
from kitty_host.records import Workspace
from kitty_merge.workspace import DATABASE, allocate, worktree_path

if TYPE_CHECKING:
    from conftest import Yard


@pytest.fixture
def place(yard: Yard) -> Path:
    """The worktree of a lane whose second package needs what another lane has; its command was killed while it merged that."""
    yard.project.commit("two.txt", "before\n")
    packages = [yard.package("WP01", owns="one.txt"), yard.package("WP02", owned_files=["two.txt", "new.txt"])]
    yard.plan(*packages, yard.package("WP03", "WP01", "WP02", owns="one.txt"))
    yard.finish("WP01", path="one.txt")
    yard.work("WP02", "after\n", path="two.txt")
    commit = yard.finish("WP02", path="new.txt")
    yard.project.record(yard.mission, "WP03", "claimed", "in_progress")
    record = yard.mission.repo.state / "claims" / yard.mission.mission_id / "WP03"
    record.parent.mkdir(parents=True)
    record.write_text(f"{time.time() - 5}\nmerge {commit}\n")
    return worktree_path(yard.mission, "lane-a")


def handed_out(yard: Yard) -> Workspace:
    with claims.pending(yard.mission, "WP03"):
        return allocate(yard.mission.package("WP03"), yard.mission)


def test_what_is_there_of_the_merge_makes_way_and_is_kept(yard: Yard, place: Path) -> None:
    (place / "two.txt").write_text("aft")
    (place / "new.txt").write_text("perhaps somebody's\n")
    (place / "mine.txt").write_text("mine\n")
    assert handed_out(yard).path == place
    assert [(place / name).read_text() for name in ("two.txt", "new.txt", "mine.txt")] == [
        "after\n",
        "work\n",
        "mine\n",
    ]
    assert yard.project.git("status", "--porcelain", where=place) == "?? mine.txt"
    kept = yard.mission.repo.state / "rescue" / yard.mission.mission_id
    assert {path.name: path.read_text() for path in kept.rglob("*.txt")} == {
        "two.txt": "aft",
        "new.txt": "perhaps somebody's\n",
    }


@pytest.mark.parametrize("name", ["index.lock", "HEAD.lock", "ORIG_HEAD.lock"])
def test_the_locks_of_the_dead_are_removed(yard: Yard, place: Path, name: str) -> None:
    lock = yard.root / ".git/worktrees" / place.name / name
    lock.write_text("half of it")
    assert handed_out(yard).path == place
    assert not lock.exists()


def test_a_lock_that_was_there_before_is_somebody_elses(yard: Yard, place: Path) -> None:
    lock = yard.root / ".git/worktrees" / place.name / "index.lock"
    lock.touch()
    os.utime(lock, (1, 1))
    with pytest.raises(KittyError):
        handed_out(yard)
    assert lock.exists()


@pytest.fixture
def committing(yard: Yard, place: Path) -> Iterator[Path]:
    """Somebody commits in the lane, with an editor open; the lock that their Git has."""
    (place / "one.txt").write_text("theirs\n")
    ready = yard.root.parent / "ready"
    environment = {**os.environ, "GIT_EDITOR": f"touch '{ready}' && sleep 600 #"}
    git = subprocess.Popen(["git", "commit", "--all"], cwd=place, env=environment, start_new_session=True)
    end = time.monotonic() + 60
    while not ready.exists():
        assert time.monotonic() < end
        time.sleep(0.02)
    yield yard.root / ".git/worktrees" / place.name / "index.lock"
    os.killpg(git.pid, 9)
    git.wait()


def test_nothing_is_taken_from_who_works_there_now(yard: Yard, place: Path, committing: Path) -> None:
    assert committing.exists()
    with pytest.raises(KittyError, match="LOCK_HELD") as refused:
        handed_out(yard)
    assert "git commit" in refused.value.message
    assert committing.exists()
    assert (place / "one.txt").read_text() == "theirs\n"


def test_the_hooks_that_run_in_a_lane_know_its_test_database(yard: Yard, place: Path) -> None:
    """They are what kitty starts there; gates run on the merged result, in a worktree of nobody's lane."""
    heard = yard.root.parent / "heard"
    for name in ("post-checkout", "commit-msg"):
        hook = yard.project.write(
            f".git/hooks/{name}", f'#!/bin/sh\necho {name} "$SPEC_KITTY_TEST_DB_NAME" >>{heard}\n'
        )
        hook.chmod(0o755)
    workspace = handed_out(yard)
    assert heard.read_text().splitlines() == [f"commit-msg {workspace.env[DATABASE]}"]
    yard.project.git("worktree", "remove", "--force", str(place))
    handed_out(yard)
    assert heard.read_text().splitlines()[1:] == [f"post-checkout {workspace.env[DATABASE]}"]
