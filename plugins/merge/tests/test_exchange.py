"""Two clones: lanes and ledger rows of both are in both after an exchange, and nothing replaces anything."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from kitty_host.lanes import require_lanes
from kitty_host.mission import find_missions
from kitty_host.repo import Repo
from kitty_host.state import State
from kitty_host.testing import Project

if TYPE_CHECKING:
    from conftest import Yard


@pytest.fixture
def clones(yard: Yard) -> tuple[Yard, Project]:
    """A repository with a finished lane, published to a bare remote, and a second clone of it."""
    remote = yard.root.parent / "remote.git"
    yard.plan(yard.package("WP01"), yard.package("WP02"))
    yard.finish("WP01")
    yard.project.git("init", "--quiet", "--bare", str(remote))
    yard.project.git("remote", "add", "origin", str(remote))
    yard.project.git("push", "--quiet", "origin", "main")
    second = Project(yard.root.parent / "second")
    yard.project.git("clone", "--quiet", str(remote), str(second.root), where=yard.root.parent)
    done = yard.project.kitty("lanes", "sync", "--push", "--json")
    assert done.exit_code == 0, done
    return yard, second


def ids(project: Project) -> set[str]:
    (mission,) = find_missions(Repo.find(project.root))
    return {str(row["event_id"]) for row in mission.ledger.rows()}


def test_a_plain_clone_has_no_record_until_it_exchanges(clones: tuple[Yard, Project]) -> None:
    yard, second = clones
    assert ids(second) == set()
    done = second.kitty("lanes", "sync", "--json")
    assert done.exit_code == 0, done
    assert ids(second) == ids(yard.project)
    assert done.json["lanes"] == [yard.branch("WP01")]


def test_rows_of_both_sides_are_in_both(clones: tuple[Yard, Project]) -> None:
    yard, second = clones
    second.kitty("lanes", "sync")
    (theirs,) = find_missions(Repo.find(second.root))
    second.record(theirs, "WP02", "claimed")
    yard.project.record(yard.mission, "WP02", "blocked")
    wanted = ids(second) | ids(yard.project)
    assert second.kitty("lanes", "sync", "--push").exit_code == 0
    assert yard.project.kitty("lanes", "sync", "--push").exit_code == 0
    assert second.kitty("lanes", "sync").exit_code == 0
    assert ids(second) == ids(yard.project) == wanted
    (theirs,) = find_missions(Repo.find(second.root))
    assert State.load(theirs).snapshot.to_dict() == State.load(yard.mission).snapshot.to_dict()


def test_a_lane_that_only_the_remote_has_can_land(clones: tuple[Yard, Project]) -> None:
    _yard, second = clones
    second.kitty("lanes", "sync")
    (theirs,) = find_missions(Repo.find(second.root))
    second.record(theirs, "WP02", "canceled")
    done = second.kitty("merge", "--json")
    assert done.exit_code == 0, done
    assert (second.root / "wp01.txt").exists()
    assert second.git("status", "--porcelain") == ""


def test_exchanging_again_changes_nothing(clones: tuple[Yard, Project]) -> None:
    yard, _ = clones
    before = (yard.project.git("for-each-ref", "refs/heads", "refs/kitty"), ids(yard.project))
    assert yard.project.kitty("lanes", "sync", "--push").exit_code == 0
    assert (yard.project.git("for-each-ref", "refs/heads", "refs/kitty"), ids(yard.project)) == before


def test_a_lane_that_is_checked_out_here_is_not_moved(clones: tuple[Yard, Project]) -> None:
    yard, second = clones
    second.kitty("lanes", "sync")
    yard.work("WP01", "more\n")
    yard.project.kitty("lanes", "sync", "--push")
    second.git("switch", "--quiet", yard.branch("WP01"))
    before = second.git("rev-parse", "HEAD")
    assert second.kitty("lanes", "sync").exit_code == 0
    assert second.git("rev-parse", "HEAD") == before


def test_publishing_without_a_remote_refuses(yard: Yard) -> None:
    yard.plan(yard.package("WP01"))
    for arguments in (["--push"], ["--remote", "elsewhere"]):
        done = yard.project.kitty("lanes", "sync", *arguments, "--json")
        assert (done.exit_code, done.code) == (1, "REMOTE_REQUIRED")


def test_a_lane_whose_dependency_moved_is_named_and_brought_up_to_date(yard: Yard) -> None:
    yard.plan(yard.package("WP01"), yard.package("WP02", "WP01"), yard.package("WP03", "WP01"))
    yard.finish("WP01")
    yard.work("WP03")
    lane = next(one for one in require_lanes(yard.mission).lanes if "WP03" in one.wp_ids)
    assert "WP01" not in lane.wp_ids
    yard.project.record(yard.mission, "WP01", "in_progress")
    corrected = yard.finish("WP01", "corrected\n")
    shown = yard.project.kitty("lanes", "show", "--json").json["lanes"]
    assert {one["lane_id"]: one["stale"] for one in shown if one["stale"]} == {lane.lane_id: [corrected]}
    done = yard.project.kitty("lanes", "sync", "--json")
    assert (done.exit_code, done.json["refreshed"]) == (0, [lane.lane_id])
    assert yard.mission.repo.git.is_ancestor(corrected, f"refs/heads/{lane.branch}")
    again = yard.project.kitty("lanes", "sync", "--json").json
    assert again["refreshed"] == []


def test_a_lane_with_changes_that_are_in_no_commit_is_not_touched(yard: Yard) -> None:
    yard.plan(yard.package("WP01"), yard.package("WP02", "WP01"), yard.package("WP03", "WP01"))
    yard.finish("WP01")
    yard.work("WP03")
    place = yard.start("WP03").path
    assert place is not None
    (place / "wp03.txt").write_text("in the middle of it\n")
    yard.project.record(yard.mission, "WP01", "in_progress")
    yard.finish("WP01", "corrected\n")
    done = yard.project.kitty("lanes", "sync", "--json")
    assert (done.exit_code, done.code) == (1, "WORKTREE_ALLOC_FAILED")
    assert (place / "wp03.txt").read_text() == "in the middle of it\n"
