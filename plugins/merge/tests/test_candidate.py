"""The candidate: built from objects only, known by its key, and judged before anything moves."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from kitty_host.api import KittyError
from kitty_host.lanes import require_lanes, write_lanes
from kitty_merge.account import account
from kitty_merge.candidate import build, squashed
from kitty_merge.objections import objections, refs_of
from kitty_merge.workspace import worktree_path

if TYPE_CHECKING:
    from conftest import Yard


def codes(yard: Yard) -> list[str]:
    candidate = build(yard.mission)
    return [finding.code for finding in objections(candidate, refs_of(candidate))]


def two_lanes(yard: Yard) -> None:
    yard.plan(yard.package("WP01"), yard.package("WP02"))
    yard.finish("WP01")
    yard.finish("WP02")


def test_building_moves_nothing(yard: Yard) -> None:
    two_lanes(yard)
    before = (yard.project.git("for-each-ref"), yard.status())
    candidate = build(yard.mission)
    assert (yard.project.git("for-each-ref"), yard.status()) == before
    assert yard.project.git("ls-tree", "--name-only", candidate.tip).splitlines()[-2:] == ["wp01.txt", "wp02.txt"]


def test_the_key_ignores_the_missions_records_and_nothing_else(yard: Yard) -> None:
    two_lanes(yard)
    key = build(yard.mission).key
    yard.project.record(yard.mission, "WP01", "approved")
    assert build(yard.mission).key == key
    yard.project.commit("unrelated.txt")
    moved = build(yard.mission).key
    assert moved != key
    yard.work("WP01", "more\n")
    assert build(yard.mission).key != moved


def test_lanes_that_conflict_refuse_and_name_lane_and_paths(yard: Yard) -> None:
    yard.plan(yard.package("WP01"), yard.package("WP02"))
    yard.finish("WP01", "one\n", path="shared.txt")
    yard.finish("WP02", "two\n", path="shared.txt")
    with pytest.raises(KittyError, match="MERGE_CONFLICT") as caught:
        build(yard.mission)
    told = caught.value.details
    assert (told["lane"], told["wp_ids"], told["paths"]) == ("lane-b", ["WP02"], ["shared.txt"])
    assert told["others"] == ["lane-a"]
    assert "git merge " + yard.branch("WP01") in caught.value.hint


def test_lanes_that_fit_each_other_and_not_together_refuse_and_name_them_all(yard: Yard) -> None:
    yard.fit_in_pairs_only()
    with pytest.raises(
        KittyError, match=r"lane-c \(WP03\) conflicts with lane-a \(WP01\) and lane-b \(WP02\) in"
    ) as caught:
        build(yard.mission)
    assert caught.value.details["others"] == ["lane-a", "lane-b"]
    yard.settle("WP03", caught.value.hint)
    build(yard.mission)


def test_nothing_objects_to_approved_work(yard: Yard) -> None:
    two_lanes(yard)
    assert codes(yard) == []


def test_unapproved_work_objects(yard: Yard) -> None:
    two_lanes(yard)
    yard.project.record(yard.mission, "WP01", "in_progress")
    assert codes(yard) == ["MERGE_NOT_APPROVED"]


def test_a_commit_after_the_approval_objects(yard: Yard) -> None:
    two_lanes(yard)
    yard.work("WP01", "unreviewed\n")
    yard.project.record(yard.mission, "WP01", "approved")
    assert codes(yard) == ["MERGE_HEAD_MOVED"]


def test_a_lane_that_was_reset_objects(yard: Yard) -> None:
    yard.plan(yard.package("WP01"))
    yard.finish("WP01")
    yard.project.git("reset", "--hard", "--quiet", "HEAD^", where=yard.start("WP01").path)
    assert "MERGE_HEAD_MOVED" in codes(yard)


def test_an_approved_lane_that_is_gone_objects(yard: Yard) -> None:
    two_lanes(yard)
    yard.project.git("worktree", "remove", "--force", str(worktree_path(yard.mission, "lane-a")))
    yard.project.git("branch", "-D", yard.branch("WP01"))
    assert codes(yard) == ["MERGE_INCOMPLETE"]


def test_a_branch_that_no_lane_owns_objects(yard: Yard) -> None:
    two_lanes(yard)
    stray = yard.branch("WP01").replace("lane-a", "lane-x")
    yard.project.git("branch", stray, "main")
    assert codes(yard) == []
    tree = yard.project.git("rev-parse", "main^{tree}")
    yard.project.git("branch", "--force", stray, yard.project.git("commit-tree", "-p", "main", "-m", "stray", tree))
    assert codes(yard) == ["MERGE_INCOMPLETE"]


def test_cancelled_work_needs_nothing(yard: Yard) -> None:
    yard.plan(yard.package("WP01"), yard.package("WP02"))
    yard.finish("WP01")
    yard.project.record(yard.mission, "WP02", "canceled")
    assert codes(yard) == []


def test_the_account_names_every_path_deletions_included(yard: Yard) -> None:
    yard.project.commit("old.txt", "old\n")
    yard.plan(yard.package("WP01", owns="**"))
    workspace = yard.start("WP01")
    yard.project.git("rm", "--quiet", "old.txt", where=workspace.path)
    yard.project.git("commit", "--quiet", "-m", "remove", where=workspace.path)
    yard.finish("WP01")
    head = yard.project.git("rev-parse", yard.branch("WP01"))
    (lane,) = account(build(yard.mission))
    assert {(path.path, path.old, path.new, path.how) for path in lane.paths} == {
        ("old.txt", yard.project.git("rev-parse", "main:old.txt"), "", "landed"),
        ("wp01.txt", "", yard.project.git("rev-parse", f"{head}:wp01.txt"), "landed"),
    }
    assert (lane.lane_id, lane.head, lane.wp_ids) == ("lane-a", head, ("WP01",))
    assert list(lane.commits) == yard.project.git("rev-list", "--reverse", f"main..{head}").split()
    assert len(lane.commits) == 2


def test_what_both_sides_changed_is_accounted_as_merged(yard: Yard) -> None:
    lines = [f"{number}\n" for number in range(9)]
    yard.project.commit("both.txt", "".join(lines))
    yard.plan(yard.package("WP01"), yard.package("WP02"), yard.package("WP03"))
    yard.finish("WP01", "".join(["first\n", *lines[1:]]), path="both.txt")
    yard.finish("WP02")
    yard.finish("WP03", "".join([*lines[:-1], "last\n"]), path="both.txt")
    told = [[path.how for path in lane.paths] for lane in account(build(yard.mission))]
    assert told == [["merged with lane-c"], ["landed"], ["merged with lane-a"]]


def test_what_a_later_lane_changed_again_is_superseded_and_what_it_took_back_is_reverted(yard: Yard) -> None:
    yard.project.commit("back.txt", "before\n")
    yard.plan(yard.package("WP01", owns="a/**"), yard.package("WP02", "WP01", owns="b/**"))
    yard.work("WP01", "mine\n", path="again.txt")
    yard.finish("WP01", "mine\n", path="back.txt")
    lanes = require_lanes(yard.mission)
    if lanes.of("WP01") == lanes.of("WP02"):
        apart = [lane._replace(wp_ids=("WP01",)) for lane in lanes.lanes]
        apart.append(apart[0]._replace(lane_id="lane-b", wp_ids=("WP02",), depends_on=("lane-a",), group=1))
        write_lanes(yard.mission, lanes._replace(lanes=tuple(apart)))
    yard.work("WP02", "theirs\n", path="again.txt")
    back = yard.work("WP02", "before\n", path="back.txt")
    yard.finish("WP02")
    first, _ = account(build(yard.mission))
    assert {path.path: path.how for path in first.paths} == {
        "again.txt": "superseded by lane-b",
        "back.txt": f"reverted by {back}",
    }


def test_what_the_target_changed_too_names_its_commit(yard: Yard) -> None:
    lines = [f"{number}\n" for number in range(9)]
    yard.project.commit("both.txt", "".join(lines))
    yard.plan(yard.package("WP01"))
    yard.finish("WP01", "".join(["first\n", *lines[1:]]), path="both.txt")
    theirs = yard.project.commit("both.txt", "".join([*lines[:-1], "last\n"]))
    (lane,) = account(build(yard.mission))
    assert [path.how for path in lane.paths] == [f"merged with {theirs}"]


def test_a_rename_in_one_lane_and_a_change_in_the_other_are_both_accounted_for(yard: Yard) -> None:
    lines = [f"{number}\n" for number in range(30)]
    yard.project.commit("from.txt", "".join(lines))
    yard.plan(yard.package("WP01"), yard.package("WP02"))
    yard.project.git("mv", "from.txt", "to.txt", where=yard.start("WP01").path)
    yard.project.git("commit", "--quiet", "-m", "rename", where=yard.start("WP01").path)
    yard.finish("WP01")
    yard.finish("WP02", "".join([*lines[:-1], "last\n"]), path="from.txt")
    candidate = build(yard.mission)
    told = {lane.lane_id: {path.path: path.how for path in lane.paths} for lane in account(candidate)}
    assert told["lane-a"] == {"from.txt": "landed", "to.txt": "merged with lane-b", "wp01.txt": "landed"}
    assert told["lane-b"] == {"from.txt": "merged with lane-a"}
    assert yard.project.git("show", f"{candidate.tip}:to.txt").endswith("last")


def test_a_file_that_follows_a_renamed_directory_is_accounted_for(yard: Yard) -> None:
    yard.project.git("config", "merge.directoryRenames", "true")
    for number in range(4):
        yard.project.commit(f"before/{number}.txt", f"{number}\n" * 9)
    yard.plan(yard.package("WP01"), yard.package("WP02"))
    yard.project.git("mv", "before", "after", where=yard.start("WP01").path)
    yard.project.git("commit", "--quiet", "-m", "rename", where=yard.start("WP01").path)
    yard.finish("WP01")
    yard.work("WP02", "new\n", path="aaa.txt")  # neither the same content under another name is where it went
    yard.work("WP02", "other\n", path="aaa/new.txt")  # nor another content under the same name
    yard.finish("WP02", "new\n", path="before/new.txt")
    told = {path.path: path.how for path in account(build(yard.mission))[1].paths}
    assert told == {"aaa.txt": "landed", "aaa/new.txt": "landed", "before/new.txt": "moved to after/new.txt"}


def test_attributes_that_move_with_their_directory_are_heeded_where_they_are_then(yard: Yard) -> None:
    """The lane that renames the directory touches no attributes: another one brings them."""
    git = yard.project.git
    git("config", "merge.directoryRenames", "true")
    yard.project.commit("src/list.txt", "first\nlast\n")
    yard.project.commit("src/other.txt", "other\n")
    yard.plan(*(yard.package(name) for name in ("WP01", "WP02", "WP03")))
    yard.work("WP01", "*.txt merge=union\n", path="src/.gitattributes")
    yard.finish("WP01", "first\none\nlast\n", path="src/list.txt")
    renaming = yard.start("WP02").path
    git("mv", "src", "lib", where=renaming)
    git("commit", "--quiet", "-m", "rename", where=renaming)
    yard.approve("WP02")
    yard.finish("WP03", "first\nthree\nlast\n", path="src/list.txt")
    assert git("show", f"{build(yard.mission).tip}:lib/list.txt") == "first\none\nthree\nlast"


def test_a_dropped_path_refuses(yard: Yard) -> None:
    from attrs import evolve

    two_lanes(yard)
    candidate = build(yard.mission)
    git = yard.mission.repo.git
    from kitty_merge import trees

    tree = trees.with_entries(yard.mission.repo, candidate.tip, {"wp02.txt": None})
    parents = yard.project.git("rev-parse", f"{candidate.tip}^@").split()
    planted = git.commit_tree(tree, parents, "a merge that drops")
    with pytest.raises(KittyError, match=r"MERGE_INCOMPLETE.*wp02\.txt"):
        account(evolve(candidate, tip=planted, chain=planted))
    with pytest.raises(KittyError, match=f"MERGE_INCOMPLETE: {planted[:10]} has not the tree of the lanes"):
        account(evolve(candidate, tip=planted))


def test_a_dropped_deletion_refuses(yard: Yard) -> None:
    from attrs import evolve

    from kitty_merge import trees

    yard.project.commit("old.txt", "old\n")
    yard.plan(yard.package("WP01", owns="**"))
    workspace = yard.start("WP01")
    yard.project.git("rm", "--quiet", "old.txt", where=workspace.path)
    yard.project.git("commit", "--quiet", "-m", "remove", where=workspace.path)
    yard.finish("WP01")
    candidate = build(yard.mission)
    kept = trees.entries(yard.mission.repo.git, "main", "old.txt")
    tree = trees.with_entries(yard.mission.repo, candidate.tip, dict(kept))
    parents = yard.project.git("rev-parse", f"{candidate.tip}^@").split()
    planted = yard.mission.repo.git.commit_tree(tree, parents, "a merge that brings back")
    with pytest.raises(KittyError, match=r"MERGE_INCOMPLETE.*old\.txt"):
        account(evolve(candidate, tip=planted, chain=planted))


def test_a_commit_of_nobody_in_the_result_refuses(yard: Yard) -> None:
    from attrs import evolve

    two_lanes(yard)
    candidate = build(yard.mission)
    planted = yard.project.git("commit-tree", "-p", candidate.tip, "-m", "on top", f"{candidate.tip}^{{tree}}")
    with pytest.raises(KittyError, match=f"MERGE_INCOMPLETE: {planted[:10]} is in the result and in no lane") as told:
        account(evolve(candidate, tip=planted, chain=planted))
    assert f"git show {planted[:10]};" in told.value.hint


def test_a_result_without_the_lanes_commits_refuses_although_its_tree_is_right(yard: Yard) -> None:
    from attrs import evolve

    two_lanes(yard)
    candidate = build(yard.mission)
    planted = yard.project.git("commit-tree", "-p", candidate.old, "-m", "x", f"{candidate.tip}^{{tree}}")
    heads = [head for _, head in candidate.heads]
    with pytest.raises(KittyError, match=f"{heads[0][:10]} is not in the result") as told:
        account(evolve(candidate, tip=planted, chain=planted))
    assert told.value.details["commits"] == heads


def test_a_result_without_the_target_refuses(yard: Yard) -> None:
    from attrs import evolve

    two_lanes(yard)
    yard.project.commit("theirs.txt")
    candidate = build(yard.mission)
    parents = [option for _, head in candidate.heads for option in ("-p", head)]
    planted = yard.project.git("commit-tree", *parents, "-m", "x", f"{candidate.tip}^{{tree}}")
    with pytest.raises(KittyError, match=f"{candidate.old[:10]} is not in the result"):
        account(evolve(candidate, tip=planted, chain=planted))


def test_squash_is_one_commit_with_the_same_tree(yard: Yard) -> None:
    two_lanes(yard)
    merged = build(yard.mission)
    candidate = squashed(merged)
    git = yard.project.git
    assert git("rev-parse", f"{candidate.tip}^{{tree}}") == git("rev-parse", f"{merged.tip}^{{tree}}")
    assert git("rev-parse", f"{candidate.tip}^@") == candidate.old
    for lane_id, head in candidate.heads:
        assert f"Kitty-Lane: {lane_id} {head}" in git("log", "-1", "--format=%B", candidate.tip)
    assert candidate.key == merged.key
    account(candidate)


def test_approved_work_that_the_plan_forgot_objects(yard: Yard) -> None:
    from kitty_merge.planner import plan

    two_lanes(yard)
    (yard.mission.directory / "tasks/WP02-task.md").unlink()
    yard.mission = yard.mission.refresh()
    write_lanes(yard.mission, plan(yard.mission.packages, yard.mission))
    assert "MERGE_INCOMPLETE" in codes(yard)
    yard.project.git("worktree", "remove", "--force", str(worktree_path(yard.mission, "lane-b")))
    yard.project.git("branch", "-D", yard.branch("WP01").replace("lane-a", "lane-b"))
    assert codes(yard) == ["MERGE_INCOMPLETE"]
