"""What other tools lost on the way from approved lanes to the target, by public reports: each test is named after one of them.

`SK` is spec-kitty's tracker. What needs the whole road is among the end-to-end tests.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import Yard

LINES = [f"line {number}\n" for number in range(40)]
STRATEGIES = pytest.mark.parametrize("strategy", ["merge", "squash"])


def changed(*numbers: int) -> str:
    """The lines, some of them in capitals."""
    return "".join(line.upper() if number in numbers else line for number, line in enumerate(LINES))


def land(yard: Yard, *arguments: str) -> None:
    done = yard.project.kitty("merge", "--json", "--mission", yard.mission.slug, *arguments)
    assert done.exit_code == 0, done
    assert yard.status() == ""


def on_target(yard: Yard, path: str) -> str:
    return yard.project.git("show", f"main:{path}")


def place(yard: Yard, wp_id: str) -> Path:
    found = yard.start(wp_id).path
    assert found is not None
    return found


def moved(yard: Yard, wp_id: str, *arguments: str) -> None:
    """A `git mv` on a lane, approved."""
    where = place(yard, wp_id)
    yard.project.git("mv", *arguments, where=where)
    yard.project.git("commit", "--quiet", "-m", "move", where=where)
    yard.approve(wp_id)


# What a later lane, or a squash, took away


@STRATEGIES
@pytest.mark.parametrize("correction", ["another line", "the line as it was", "no file"])
def test_a_correction_of_an_approved_package_is_not_reverted_by_a_later_lane(
    yard: Yard, correction: str, strategy: str
) -> None:
    """SK #2993, #3942. The later lane has begun on what was approved first, and has it still."""
    if correction != "no file":
        yard.project.commit("shared.txt", "before\n")
    yard.plan(yard.package("WP01"), yard.package("WP02", "WP01"), yard.package("WP03", "WP01"))
    yard.finish("WP01", "wrong\n", path="shared.txt")
    yard.finish("WP02")
    yard.finish("WP03")
    yard.project.record(yard.mission, "WP01", "in_progress")
    if correction == "no file":
        yard.project.git("rm", "--quiet", "shared.txt", where=place(yard, "WP01"))
        yard.project.git("commit", "--quiet", "-m", "remove", where=place(yard, "WP01"))
        yard.approve("WP01")
    else:
        yard.finish("WP01", {"another line": "right\n"}.get(correction, "before\n"), path="shared.txt")
    land(yard, "--strategy", strategy)
    found = yard.tree("shared.txt")
    assert (found.read_text() if found.exists() else None) == {
        "another line": "right\n",
        "the line as it was": "before\n",
        "no file": None,
    }[correction]
    assert on_target(yard, "wp03.txt") == "work"


def test_a_squash_keeps_both_lanes_lines(yard: Yard) -> None:
    """SK #4892, get-shit-done #1451."""
    yard.project.commit("shared.txt", changed())
    yard.plan(yard.package("WP01"), yard.package("WP02"))
    yard.finish("WP01", changed(2, 3), path="shared.txt")
    yard.finish("WP02", changed(35), path="shared.txt")
    land(yard, "--strategy", "squash")
    assert yard.tree("shared.txt").read_text() == changed(2, 3, 35)


@STRATEGIES
def test_of_two_lanes_that_change_one_line_neither_is_dropped_for_the_other(yard: Yard, strategy: str) -> None:
    """SK #4892."""
    yard.project.commit("shared.txt", changed())
    yard.plan(yard.package("WP01"), yard.package("WP02"))
    yard.finish("WP01", changed(2), path="shared.txt")
    yard.finish("WP02", changed().replace("line 2\n", "another 2\n"), path="shared.txt")
    before = yard.project.git("rev-parse", "main")
    done = yard.project.kitty("merge", "--json", "--strategy", strategy)
    assert (done.exit_code, done.code, done.json["details"]["paths"]) == (1, "MERGE_CONFLICT", ["shared.txt"])
    assert yard.project.git("rev-parse", "main") == before


# Killed, and run again


@pytest.mark.parametrize("at", ["prepared", "committed"], ids=["before the target moved", "after it"])
def test_resume_keeps_the_strategy(yard: Yard, at: str) -> None:
    """SK #4944. Nor are there two squashed commits in the end."""
    yard.plan(yard.package("WP01"), yard.package("WP02"))
    yard.finish("WP01")
    yard.finish("WP02")
    old = yard.project.git("rev-parse", "main")
    yard.project.killed("merge", "--strategy", "squash", at=at)
    assert (yard.project.git("rev-parse", "main") == old) == (at == "prepared")
    land(yard)
    assert yard.project.git("rev-list", "--count", f"{old}..main") == "1"
    assert [on_target(yard, name) for name in ("wp01.txt", "wp02.txt")] == ["work", "work"]


def test_a_killed_squash_is_one_commit_in_the_end(yard: Yard) -> None:
    """Measured on spec-kitty 3.2.7: two of them."""
    yard.plan(yard.package("WP01"))
    yard.finish("WP01")
    old = yard.project.git("rev-parse", "main")
    for at in ("prepared", "prepared", "committed"):
        yard.project.killed("merge", "--strategy", "squash", at=at)
    land(yard, "--strategy", "squash")
    assert yard.project.git("rev-list", "--count", f"{old}..main") == "1"


@pytest.mark.parametrize("selector", ["id", "its beginning", "slug"])
def test_resume_finishes_the_mission_that_is_named_whichever_way(yard: Yard, selector: str) -> None:
    """SK #1972. Another mission of the same name is under way."""
    yard.plan(yard.package("WP01", owns="other.txt"))
    yard.plan(yard.package("WP01"))
    yard.finish("WP01")
    mission = yard.mission
    yard.project.killed("merge", "--mission", mission.mission_id, at="committed")
    named = {"id": mission.mission_id, "its beginning": mission.mid8, "slug": mission.slug}[selector]
    done = yard.project.kitty("merge", "--resume", "--json", "--mission", named)
    assert (done.exit_code, done.json["receipt"]["mission_id"]) == (0, mission.mission_id)
    assert yard.lane_of("WP01") == "done"
    assert yard.project.kitty("merge", "--status", "--json", "--mission", named).json["unfinished"] == []


def test_a_killed_landing_leaves_no_lock_that_stops_the_next(yard: Yard) -> None:
    """Measured on spec-kitty 3.2.7: resume refused six times of six. Each run here but the last is killed in the same place."""
    yard.plan(yard.package("WP01"))
    yard.finish("WP01")
    for _ in range(6):
        yard.project.killed("merge", at="prepared")
        assert (yard.root / ".git/index.lock").exists(), "there is a lock to be taken over"
    land(yard)


# Names and places


def test_a_git_mv_inside_a_package_lands(yard: Yard) -> None:
    """SK #1039. Another lane has changed the file under its old name."""
    yard.project.commit("old.txt", changed())
    yard.plan(yard.package("WP01"), yard.package("WP02"))
    moved(yard, "WP01", "old.txt", "new.txt")
    yard.finish("WP02", changed(20), path="old.txt")
    land(yard)
    assert yard.tree("new.txt").read_text() == changed(20)
    assert not yard.tree("old.txt").exists()


def test_a_git_mv_of_what_a_dependency_has_made_lands(yard: Yard) -> None:
    """SK #1039. In the end nothing is where the dependency put it."""
    yard.plan(yard.package("WP01"), yard.package("WP02", "WP01"), yard.package("WP03", "WP01"))
    yard.finish("WP01", changed(), path="draft.txt")
    yard.finish("WP02")
    moved(yard, "WP03", "draft.txt", "final.txt")
    land(yard)
    assert yard.tree("final.txt").read_text() == changed()
    assert not yard.tree("draft.txt").exists()


def test_a_file_that_is_added_to_a_directory_which_another_lane_moves_goes_along(yard: Yard) -> None:
    """SK #1039. Git moves it where the user has asked for that; elsewhere it is a conflict."""
    yard.project.git("config", "merge.directoryRenames", "true")
    yard.project.commit("old/one.txt", changed(1))
    yard.project.commit("old/two.txt", changed(2))
    yard.plan(yard.package("WP01"), yard.package("WP02"))
    moved(yard, "WP01", "old", "new")
    yard.finish("WP02", "added\n", path="old/added.txt")
    land(yard)
    assert yard.tree("new/added.txt").read_text() == "added\n"


@pytest.mark.parametrize("killed", [False, True], ids=["at once", "after a kill"])
@pytest.mark.parametrize("kind", ["cone", "patterns", "stale"])
def test_a_stale_sparse_checkout_reverts_nothing(yard: Yard, kind: str, killed: bool) -> None:
    """SK #588. What the checkout does not show is landed all the same, and the user's next commit leaves it alone."""
    yard.project.commit("sub/changed.txt", "before\n")
    yard.project.commit("other/same.txt", "before\n")
    yard.plan(yard.package("WP01"), yard.package("WP02"))
    yard.finish("WP01")
    yard.work("WP02", path="sub/new.txt")
    yard.finish("WP02", "after\n", path="sub/changed.txt")
    if kind == "cone":
        yard.project.git("sparse-checkout", "set", "other", "kitty-specs", ".kittify")
    else:
        yard.project.git("sparse-checkout", "set", "--no-cone", "/*", "!/sub/")
    if kind == "stale":
        yard.project.write(".git/info/sparse-checkout", "/*\n!/other/\n")
    assert not yard.tree("sub").exists()
    if killed:
        yard.project.killed("merge", at="committed")
    land(yard)
    yard.project.write("mine.txt")
    yard.project.git("add", "--sparse", ".")
    yard.project.git("commit", "--quiet", "--all", "-m", "mine")
    assert yard.project.git("diff", "--name-only", "main~", "main") == "mine.txt"
    assert [on_target(yard, path) for path in ("sub/changed.txt", "sub/new.txt")] == ["after", "work"]


def test_changes_in_another_checkout_of_the_target_refuse_and_are_named(yard: Yard) -> None:
    """vibe-kanban #1897 and #543."""
    yard.project.commit("shared.txt", "before\n")
    yard.plan(yard.package("WP01"))
    yard.finish("WP01", path="shared.txt")
    yard.project.git("switch", "--quiet", "-c", "elsewhere")
    other = yard.root.parent / "other"
    yard.project.git("worktree", "add", "--quiet", str(other), "main")
    mine = yard.project.write("shared.txt", "mine\n", where=other)
    before = yard.project.git("rev-parse", "main")
    done = yard.project.kitty("merge", "--json")
    assert (done.exit_code, done.code) == (1, "MERGE_DIRTY")
    assert str(other) in done.json["message"]
    assert (mine.read_text(), yard.project.git("rev-parse", "main")) == ("mine\n", before)
    subprocess.run(done.json["hint"].partition(": ")[2], shell=True, check=True, capture_output=True)
    land(yard)
    assert mine.read_text() == "work\n"
    yard.project.git("stash", "pop", where=other, check=False)
    assert "mine\n" in mine.read_text(), "and what was put aside is there"


def test_a_repository_that_was_moved_lands_and_lands_again(yard: Yard) -> None:
    """Its worktrees lead to where it was. They cannot be cleaned up, and that is no reason to say that nothing has landed."""
    yard.plan(yard.package("WP01"))
    yard.finish("WP01")
    elsewhere = yard.root.with_name("moved")
    shutil.move(yard.root, elsewhere)
    yard.project.root = elsewhere
    for _ in range(2):
        done = yard.project.kitty("merge", "--json")
        assert done.exit_code == 0, done
    assert "stays: " in done.stderr
    assert on_target(yard, "wp01.txt") == "work"
