"""What is submitted: the commits of a lane, or exactly the owned files of a planning artefact."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from kitty_host.api import KittyError
from kitty_merge.submission import submission

if TYPE_CHECKING:
    from conftest import Yard

PLANNING = {"execution_mode": "planning_artifact"}


def test_the_commits_since_the_base_oldest_first(yard: Yard) -> None:
    yard.plan(yard.package("WP01"), yard.package("WP02", "WP01"))
    yard.finish("WP01")
    commits = (yard.work("WP02", "one\n"), yard.work("WP02", "two\n"))
    shown = submission(yard.mission.package("WP02"), yard.mission)
    assert (shown.head, shown.commits, shown.paths) == (commits[1], commits, ("wp02.txt",))


def test_a_lane_without_commits_has_nothing_to_show(yard: Yard) -> None:
    yard.plan(yard.package("WP01"))
    yard.start("WP01")
    assert submission(yard.mission.package("WP01"), yard.mission).commits == ()


def test_changes_that_are_in_no_commit_refuse(yard: Yard) -> None:
    yard.plan(yard.package("WP01"))
    yard.work("WP01")
    yard.project.write("forgotten.txt", where=yard.start("WP01").path)
    with pytest.raises(KittyError, match=r"SUBMIT_DIRTY.*forgotten\.txt"):
        submission(yard.mission.package("WP01"), yard.mission)


def test_a_path_of_another_live_lane_is_a_finding(yard: Yard) -> None:
    yard.plan(yard.package("WP01"), yard.package("WP02"))
    yard.start("WP02")
    yard.work("WP01", path="wp02.txt")
    found = submission(yard.mission.package("WP01"), yard.mission).findings
    assert [(finding.code, finding.path) for finding in found] == [("LEASE", "wp02.txt")]


def test_a_planning_artefact_is_exactly_its_owned_files(yard: Yard) -> None:
    yard.plan(yard.package("WP01", owns="docs/**", **PLANNING))
    yard.start("WP01")
    yard.project.write("docs/a.md", "a\n")
    yard.project.write("docs/deep/b é.md", "b\n")
    yard.project.write("elsewhere.md", "no\n")
    yard.project.write("staged.md", "staged\n")
    yard.project.git("add", "staged.md")
    head, status = yard.project.git("rev-parse", "HEAD"), yard.status()
    shown = submission(yard.mission.package("WP01"), yard.mission)
    assert shown.paths == ("docs/a.md", "docs/deep/b é.md")
    assert (yard.project.git("rev-parse", "HEAD"), yard.status()) == (head, status)
    assert yard.project.git("rev-parse", f"{shown.head}^") == head
    assert yard.project.git("show", f"{shown.head}:docs/a.md") == "a"


def test_a_removed_file_is_removed_in_the_snapshot(yard: Yard) -> None:
    yard.project.commit("docs/old.md")
    yard.plan(yard.package("WP01", owns="docs/**", **PLANNING))
    yard.start("WP01")
    (yard.root / "docs/old.md").unlink()
    shown = submission(yard.mission.package("WP01"), yard.mission)
    assert yard.project.git("diff", "--name-status", f"{shown.head}^", shown.head) == "D\tdocs/old.md"


def test_submitting_the_same_again_makes_no_commit(yard: Yard) -> None:
    yard.plan(yard.package("WP01", owns="docs/**", **PLANNING))
    yard.start("WP01")
    yard.project.write("docs/a.md")
    first = submission(yard.mission.package("WP01"), yard.mission)
    assert submission(yard.mission.package("WP01"), yard.mission).head == first.head


def test_the_users_filters_apply(yard: Yard) -> None:
    yard.project.commit(".gitattributes", "*.md text eol=lf\n")
    yard.plan(yard.package("WP01", owns="docs/a.md", **PLANNING))
    yard.start("WP01")
    yard.project.write("docs/a.md", b"one\r\ntwo\r\n")
    head = submission(yard.mission.package("WP01"), yard.mission).head
    assert yard.mission.repo.git.read_blob(head, "docs/a.md") == b"one\ntwo\n"


def test_a_link_is_stored_as_a_link(yard: Yard) -> None:
    yard.plan(yard.package("WP01", owns="docs/**", **PLANNING))
    yard.start("WP01")
    yard.project.write("secret.txt", "secret\n")
    (yard.root / "docs").mkdir()
    (yard.root / "docs/link").symlink_to("../secret.txt")
    head = submission(yard.mission.package("WP01"), yard.mission).head
    assert yard.project.git("ls-tree", head, "docs/link").startswith("120000")
    assert yard.mission.repo.git.read_blob(head, "docs/link") == b"../secret.txt"


def test_the_missions_own_records_are_never_snapshotted(yard: Yard) -> None:
    mission = yard.plan(yard.package("WP01", owns="kitty-specs/**", **PLANNING))
    yard.start("WP01")
    yard.project.write(f"kitty-specs/{mission.slug}/data-model.md")
    shown = submission(yard.mission.package("WP01"), yard.mission)
    assert shown.paths == (f"kitty-specs/{mission.slug}/data-model.md",)


def test_a_planning_artefact_stands_on_its_approved_dependencies(yard: Yard) -> None:
    yard.plan(yard.package("WP01"), yard.package("WP02", "WP01", owns="docs/**", **PLANNING))
    approved = yard.finish("WP01")
    yard.start("WP02")
    yard.project.write("docs/a.md")
    shown = submission(yard.mission.package("WP02"), yard.mission)
    assert yard.project.git("rev-parse", f"{shown.head}^") == approved
    assert len(shown.commits) == 1


def test_a_worktree_that_left_its_branch_refuses(yard: Yard) -> None:
    yard.plan(yard.package("WP01"))
    yard.work("WP01")
    workspace = yard.start("WP01").path
    yard.project.git("switch", "--quiet", "--detach", where=workspace)
    yard.project.commit("detached.txt", where=workspace)
    with pytest.raises(KittyError, match="LANE_LEFT") as caught:
        submission(yard.mission.package("WP01"), yard.mission)
    import subprocess

    subprocess.run(caught.value.hint.removeprefix("bring them over: "), shell=True, check=True, capture_output=True)
    assert "detached.txt" in submission(yard.mission.package("WP01"), yard.mission).paths


def test_ignored_files_are_not_snapshotted(yard: Yard) -> None:
    yard.project.commit(".gitignore", ".worktrees/\n.env\n")
    yard.plan(yard.package("WP01", owns="docs/**", **PLANNING))
    yard.start("WP01")
    yard.project.write("docs/.env", "secret\n")
    yard.project.write("docs/a.md")
    assert submission(yard.mission.package("WP01"), yard.mission).paths == ("docs/a.md",)


def test_what_a_sparse_checkout_leaves_out_is_not_removed(yard: Yard) -> None:
    yard.project.commit("docs/kept/b.md")
    yard.project.commit("docs/here/a.md")
    yard.plan(yard.package("WP01", owns="docs/**", **PLANNING))
    yard.start("WP01")
    yard.project.git("sparse-checkout", "set", "--no-cone", "/*", "!/docs/kept/")
    assert not (yard.root / "docs/kept").exists()
    yard.project.write("docs/here/a.md", "changed\n")
    assert submission(yard.mission.package("WP01"), yard.mission).paths == ("docs/here/a.md",)


def test_nothing_unreviewed_rides_along_with_a_planning_artefact(yard: Yard) -> None:
    yard.plan(yard.package("WP01", owns="a.md", **PLANNING), yard.package("WP02", owns="b.md", **PLANNING))
    yard.start("WP02")
    yard.project.write("b.md")
    submission(yard.mission.package("WP02"), yard.mission)
    yard.project.record(yard.mission, "WP02", "canceled")
    yard.start("WP01")
    yard.project.write("a.md")
    shown = submission(yard.mission.package("WP01"), yard.mission)
    assert shown.paths == ("a.md",)
    assert yard.mission.repo.git.read_blob(shown.head, "b.md") is None


def test_a_checkout_without_the_plan_refuses(yard: Yard) -> None:
    yard.project.git("branch", "before")
    mission = yard.plan(yard.package("WP01", owns="a.md", **PLANNING))
    yard.start("WP01")
    package = mission.package("WP01")
    yard.project.git("switch", "--quiet", "--force", "before")
    (mission.directory / "lanes.json").write_bytes(
        mission.repo.git.read_blob("main", f"kitty-specs/{mission.slug}/lanes.json") or b""
    )
    with pytest.raises(KittyError, match="PLAN_ELSEWHERE"):
        submission(package, mission)
