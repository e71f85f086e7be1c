"""The landing: one move of the target, checkouts that follow, no byte of the user's lost."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import Yard


def ready(yard: Yard, *, planning: bool = False) -> None:
    """Two lanes, and a planning artefact if asked for, all approved."""
    packages = [yard.package("WP01"), yard.package("WP02")]
    if planning:
        packages.append(yard.package("WP03", owns="docs/**", execution_mode="planning_artifact"))
    yard.plan(*packages)
    yard.finish("WP01")
    yard.finish("WP02", path="sub/wp02.txt")
    if planning:
        yard.finish("WP03", path="docs/a.md")


def refused(yard: Yard, code: str) -> str:
    """The message of a refusal that moved nothing."""
    before = (yard.project.git("for-each-ref", "refs/heads"), yard.status(), yard.mission.ledger.live.read_bytes())
    done = yard.project.kitty("merge", "--json")
    assert (done.exit_code, done.code) == (1, code), done
    assert (
        yard.project.git("for-each-ref", "refs/heads"),
        yard.status(),
        yard.mission.ledger.live.read_bytes(),
    ) == before
    assert not list((yard.root / ".git").rglob("index.lock"))
    assert not list((yard.root / ".git/kitty/merge").glob("*"))
    return str(done.json["message"])


@pytest.mark.parametrize("strategy", ["merge", "squash"])
def test_everything_approved_is_on_the_target_and_the_checkout_is_clean(yard: Yard, strategy: str) -> None:
    ready(yard, planning=True)
    old = yard.project.git("rev-parse", "main")
    done = yard.project.kitty("merge", "--json", "--strategy", strategy)
    assert done.exit_code == 0, done
    assert yard.status() == ""
    assert yard.project.git("rev-parse", "main") == done.json["new"]
    assert yard.project.git("fsck", "--no-dangling") == ""
    for path in ("wp01.txt", "sub/wp02.txt", "docs/a.md"):
        assert yard.tree(path).exists()
    heads = [lane["head"] for lane in done.json["lanes"]]
    if strategy == "merge":
        assert yard.project.git("rev-list", *heads, "--not", "main") == ""
    else:
        assert yard.project.git("rev-list", "--count", f"{old}..main") == "1"


def test_the_receipt_equals_a_count_by_plain_git(yard: Yard) -> None:
    ready(yard, planning=True)
    receipt = yard.project.kitty("merge", "--json").json["receipt"]
    told = {path["path"]: path["new"] for lane in receipt["lanes"] for path in lane["paths"]}
    changed = yard.project.git(
        "diff", "--name-only", receipt["old"], receipt["new"], "--", ".", ":!kitty-specs"
    ).splitlines()
    assert told == {path: yard.project.git("rev-parse", f"{receipt['new']}:{path}") for path in changed}
    assert yard.project.kitty("merge", "--receipt", "--json", "--mission", yard.mission.slug).json["receipt"] == receipt
    said = yard.project.kitty("merge", "--receipt", "--mission", yard.mission.slug).stdout
    assert all(f"    {path}: landed\n" in said for path in told), "and people see each path too"


def test_the_ledger_and_the_number_land_in_the_same_tree(yard: Yard) -> None:
    ready(yard)
    yard.project.kitty("merge")
    directory = f"kitty-specs/{yard.mission.slug}"
    live = yard.tree(f"{directory}/status.events.jsonl").read_text()
    assert yard.project.git("show", f"main:{directory}/status.events.jsonl") + "\n" == live
    assert json.loads(yard.project.git("show", f"main:{directory}/meta.json"))["mission_number"] == 1
    assert json.loads(yard.tree(f"{directory}/meta.json").read_text())["mission_number"] == 1
    kinds = [json.loads(line).get("event_type") for line in live.splitlines()]
    assert kinds[-2:] == ["MissionLanded", "LedgerSealed"]
    assert yard.lane_of("WP01") == yard.lane_of("WP02") == "done"


def test_doing_it_again_does_nothing(yard: Yard) -> None:
    ready(yard)
    first = yard.project.kitty("merge", "--json")
    before = yard.project.snapshot()
    again = yard.project.kitty("merge", "--json", "--mission", yard.mission.slug)
    assert (again.exit_code, again.json) == (0, first.json)
    assert yard.project.snapshot() == before


def test_a_dry_run_moves_nothing(yard: Yard) -> None:
    ready(yard)
    before = (yard.project.git("for-each-ref"), yard.status())
    done = yard.project.kitty("merge", "--dry-run", "--json")
    assert (done.exit_code, done.json["new"]) == (0, None)
    assert (yard.project.git("for-each-ref"), yard.status()) == before


def test_two_missions_get_numbers_one_after_the_other(yard: Yard) -> None:
    ready(yard)
    yard.project.kitty("merge")
    yard.plan(yard.package("WP01", owns="other.txt"))
    yard.finish("WP01", path="other.txt")
    assert yard.project.kitty("merge", "--mission", yard.mission.slug).exit_code == 0
    assert yard.mission.refresh().meta["mission_number"] == 2


def test_worktrees_are_removed_or_kept(yard: Yard) -> None:
    ready(yard)
    yard.project.kitty("merge", "--keep-worktrees")
    assert len(list((yard.root / ".worktrees").iterdir())) == 2
    yard.project.kitty("merge", "--mission", yard.mission.slug)
    assert not (yard.root / ".worktrees").exists()


def test_the_target_is_checked_out_nowhere(yard: Yard) -> None:
    ready(yard)
    yard.project.git("switch", "--quiet", "-c", "elsewhere")
    done = yard.project.kitty("merge", "--json")
    assert done.exit_code == 0, done
    assert yard.project.git("rev-parse", "main") == done.json["new"]
    assert not yard.tree("wp01.txt").exists()
    assert [line for line in yard.status().splitlines() if "status.events.jsonl" not in line] == []
    yard.project.git("switch", "--quiet", "--force", "main")
    assert yard.tree("wp01.txt").exists()


def test_the_target_is_checked_out_in_another_worktree(yard: Yard) -> None:
    ready(yard)
    yard.project.git("switch", "--quiet", "-c", "elsewhere")
    other = yard.root.parent / "second"
    yard.project.git("worktree", "add", "--quiet", str(other), "main")
    assert yard.project.kitty("merge").exit_code == 0
    assert (other / "wp01.txt").exists()
    assert yard.project.git("status", "--porcelain", where=other) == ""


# What the user has lying about


def test_untracked_files_elsewhere_do_not_matter_whatever_their_names(yard: Yard) -> None:
    ready(yard)
    names = ["with space", "line\nbreak", "ümläut", "sub/mine", '"quoted"', "-n"]
    for name in names:
        yard.project.write(name, "mine\n")
    assert yard.project.kitty("merge").exit_code == 0
    assert {yard.tree(name).read_text() for name in names} == {"mine\n"}


def test_staged_and_unstaged_changes_elsewhere_stay_as_they_are(yard: Yard) -> None:
    yard.project.commit("staged.txt")
    yard.project.commit("unstaged.txt")
    ready(yard)
    yard.project.write("staged.txt", "staged\n")
    yard.project.git("add", "staged.txt")
    yard.project.write("unstaged.txt", "unstaged\n")
    yard.project.write("added.txt", "added\n")
    yard.project.git("add", "added.txt")
    assert yard.project.kitty("merge").exit_code == 0
    assert yard.status().splitlines() == ["A  added.txt", "M  staged.txt", " M unstaged.txt"]


@pytest.mark.parametrize("staged", [False, True], ids=["unstaged", "staged"])
def test_changes_of_a_path_that_would_be_written_refuse(yard: Yard, staged: bool) -> None:
    yard.project.commit("wp01.txt", "before\n")
    ready(yard)
    yard.project.write("wp01.txt", "mine\n")
    if staged:
        yard.project.git("add", "wp01.txt")
    assert "wp01.txt" in refused(yard, "MERGE_DIRTY")
    assert yard.tree("wp01.txt").read_text() == "mine\n"


def test_a_file_that_the_user_deleted_and_the_landing_changes_refuses(yard: Yard) -> None:
    yard.project.commit("wp01.txt", "before\n")
    ready(yard)
    yard.tree("wp01.txt").unlink()
    assert "wp01.txt" in refused(yard, "MERGE_DIRTY")


@pytest.mark.parametrize("place", ["wp01.txt", "sub"], ids=["the path", "its parent"])
def test_an_untracked_file_in_the_way_refuses_and_is_named(yard: Yard, place: str) -> None:
    ready(yard)
    yard.project.write(place, "mine\n")
    assert place in refused(yard, "MERGE_IN_THE_WAY")
    assert yard.tree(place).read_text() == "mine\n"


def test_the_same_content_is_adopted(yard: Yard) -> None:
    yard.project.commit("wp02.txt", "before\n")
    ready(yard)
    yard.project.write("wp01.txt", "work\n")
    inode = yard.tree("wp01.txt").stat().st_ino
    assert yard.project.kitty("merge").exit_code == 0
    assert yard.tree("wp01.txt").stat().st_ino == inode
    assert yard.status() == ""


def test_rescue_moves_an_untracked_file_out_of_the_way_and_goes_on(yard: Yard) -> None:
    ready(yard)
    yard.project.write("wp01.txt", "mine\n")
    done = yard.project.kitty("merge", "--rescue", "--json")
    assert done.exit_code == 0, done
    (kept,) = (path for path in (yard.root / ".git/kitty/rescue").rglob("wp01.txt"))
    assert kept.read_text() == "mine\n"
    assert str(kept) in done.stdout + done.stderr
    assert yard.root.joinpath("wp01.txt").read_text() == yard.project.git("show", "main:wp01.txt") + "\n"
    assert yard.status() == ""


def test_an_ignored_file_in_the_way_is_kept_in_the_rescue_folder(yard: Yard) -> None:
    yard.project.commit(".gitignore", ".worktrees/\nwp01.txt\n")
    ready(yard)
    yard.project.write("wp01.txt", "mine\n")
    done = yard.project.kitty("merge")
    assert done.exit_code == 0, done
    assert yard.tree("wp01.txt").read_text() == "work\n"
    (kept,) = (path for path in (yard.root / ".git/kitty/rescue").rglob("wp01.txt"))
    assert kept.read_text() == "mine\n"
    assert str(kept) in done.stderr


def test_somebody_at_work_in_the_checkout_is_not_disturbed(yard: Yard) -> None:
    ready(yard)
    lock = yard.project.write(".git/index.lock", "")
    done = yard.project.kitty("merge", "--json")
    assert (done.exit_code, done.code) == (1, "LOCK_HELD")
    assert lock.exists()
    lock.unlink()
    assert yard.project.kitty("merge").exit_code == 0


def test_stale_stat_data_does_not_matter(yard: Yard) -> None:
    yard.project.commit("wp01.txt", "before\n")
    ready(yard)
    yard.project.write("wp01.txt", "before\n")
    assert yard.project.kitty("merge").exit_code == 0
    assert yard.status() == ""


# Who may land


def test_unapproved_work_refuses(yard: Yard) -> None:
    ready(yard)
    yard.project.record(yard.mission, "WP01", "in_progress")
    refused(yard, "MERGE_NOT_APPROVED")


def test_a_lane_that_moved_since_its_approval_refuses(yard: Yard) -> None:
    ready(yard)
    yard.project.commit(
        "late.txt", where=yard.root / ".worktrees" / Path(yard.branch("WP01")).name.removeprefix("mission-")
    )
    refused(yard, "MERGE_HEAD_MOVED")


def test_another_tools_unfinished_merge_refuses_and_is_left_alone(yard: Yard) -> None:
    ready(yard)
    state = yard.project.write(".kittify/runtime/merge/01X/state.json", "{}")
    assert "state.json" in refused(yard, "MERGE_FOREIGN_STATE")
    assert state.read_text() == "{}"


def test_rebase_is_no_strategy(yard: Yard) -> None:
    ready(yard)
    yard.project.commit(".kittify/config.yaml", "merge:\n  strategy: rebase\n")
    assert "rebase" in refused(yard, "CONFIG_INVALID")


GATE = """
from kitty_host.api import KittyError, hookimpl

@hookimpl
def kitty_gates(candidate):
    return []

@hookimpl
def kitty_acceptance(candidate):
    from kitty_host.records import Acceptance, Gate
    root = candidate.mission.repo.root
    if not (root / "accepted").exists():
        raise KittyError("MERGE_NOT_ACCEPTED", "it was not accepted yet", "touch accepted")
    return Acceptance(candidate.key, (Gate("tests", True),), "rita", tuple((root / "accepted").read_text().split()))
"""


def test_where_a_plugin_has_gates_somebody_must_answer_for_an_acceptance_with_all_of_them(
    yard: Yard, install_plugin: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KITTY_PLUGINS", "merge,gate")
    install_plugin("gate", GATE)  # type: ignore[operator]
    ready(yard)
    assert "not accepted yet" in refused(yard, "MERGE_NOT_ACCEPTED")
    yard.project.write("accepted", "other")
    assert "without the gates of gate" in refused(yard, "MERGE_NOT_ACCEPTED")
    yard.project.write("accepted", "other gate")
    done = yard.project.kitty("merge", "--json")
    assert done.exit_code == 0, done
    assert done.json["receipt"]["gates"] == ["tests"]


def test_gates_without_anybody_who_accepts_land_nothing(
    yard: Yard, install_plugin: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KITTY_PLUGINS", "merge,gate")
    install_plugin("gate", GATE.partition("@hookimpl\ndef kitty_acceptance")[0])  # type: ignore[operator]
    ready(yard)
    refused(yard, "PLUGIN_MISSING")


def test_without_gates_approvals_suffice_and_the_landing_says_so(yard: Yard) -> None:
    ready(yard)
    done = yard.project.kitty("merge")
    assert "No gate is installed" in done.stderr
    assert "gates: none ran" in done.stdout


def test_a_dry_run_refuses_where_the_landing_would(yard: Yard) -> None:
    ready(yard)
    yard.project.write("wp01.txt", "mine\n")
    done = yard.project.kitty("merge", "--dry-run", "--json")
    assert (done.exit_code, done.code) == (1, "MERGE_IN_THE_WAY")
    assert not list((yard.root / ".git").rglob("index.lock"))


def test_a_worktree_at_commits_that_are_in_no_branch_stays(yard: Yard) -> None:
    ready(yard)
    workspace = yard.root / ".worktrees" / Path(yard.branch("WP01")).name.removeprefix("mission-")
    yard.project.git("switch", "--quiet", "--detach", where=workspace)
    yard.project.commit("lost.txt", where=workspace)
    assert "in no branch" in yard.project.kitty("merge").stderr
    assert (workspace / "lost.txt").exists()


def test_ignored_files_that_go_with_a_worktree_are_named(yard: Yard) -> None:
    yard.project.commit(".gitignore", ".worktrees/\n.env\n")
    ready(yard)
    workspace = yard.root / ".worktrees" / Path(yard.branch("WP01")).name.removeprefix("mission-")
    yard.project.write(".env", where=workspace)
    assert "1 ignored file, such as .env" in yard.project.kitty("merge").stderr


def test_after_a_landing_elsewhere_the_switch_to_the_target_works(yard: Yard) -> None:
    ready(yard)
    yard.project.git("switch", "--quiet", "-c", "elsewhere")
    before = yard.mission.ledger.lines()
    assert yard.project.kitty("merge").exit_code == 0
    assert set(before) < set(yard.mission.ledger.lines())
    yard.project.git("switch", "--quiet", "main")
    assert yard.status() == ""
    assert set(before) < set(yard.mission.ledger.lines())


def test_a_cancelled_lane_with_commits_stays_out(yard: Yard) -> None:
    ready(yard)
    yard.project.record(yard.mission, "WP02", "canceled")
    done = yard.project.kitty("merge", "--json")
    assert done.exit_code == 0, done
    assert not yard.tree("sub").exists()


def test_a_package_without_changes_on_a_dependencys_commit_lands(yard: Yard) -> None:
    yard.plan(yard.package("WP01"), yard.package("WP02", "WP01"), yard.package("WP03", "WP01"))
    yard.finish("WP01")
    yard.finish("WP02")
    yard.start("WP03")
    yard.project.record(yard.mission, "WP03", "approved")
    assert yard.project.kitty("merge").exit_code == 0


def test_a_directory_that_becomes_a_file_lands(yard: Yard) -> None:
    yard.project.commit("d/inside.txt")
    yard.plan(yard.package("WP01", owns="**"))
    workspace = yard.start("WP01").path
    yard.project.git("rm", "--quiet", "-r", "d", where=workspace)
    yard.project.git("commit", "--quiet", "-m", "remove", where=workspace)
    yard.finish("WP01", path="d")
    done = yard.project.kitty("merge")
    assert done.exit_code == 0, done
    assert yard.tree("d").is_file()
    assert yard.status() == ""


def test_late_commits_after_a_squash_are_named(yard: Yard) -> None:
    ready(yard)
    assert yard.project.kitty("merge", "--strategy", "squash", "--keep-worktrees").exit_code == 0
    assert yard.project.kitty("merge", "--keep-worktrees").exit_code == 0
    yard.project.commit(
        "late.txt", where=yard.root / ".worktrees" / Path(yard.branch("WP01")).name.removeprefix("mission-")
    )
    done = yard.project.kitty("merge", "--json")
    assert (done.exit_code, done.code) == (1, "MERGE_HEAD_MOVED")


def test_paths_are_taken_literally(yard: Yard) -> None:
    yard.plan(yard.package("WP01", owns="**"))
    yard.finish("WP01", path="app/[id]/page*.tsx")
    yard.project.write("app/[id]/mine.tsx", "mine\n")
    assert yard.project.kitty("merge").exit_code == 0
    assert yard.tree("app/[id]/page*.tsx").exists()


def test_a_sha256_repository_lands(yard: Yard, isolated: Path) -> None:
    from kitty_host.testing import CONFIG, Project

    project = Project(isolated / "sha256")
    project.root.mkdir()
    project.git("init", "--quiet", "--object-format=sha256")
    project.write(".kittify/config.yaml", CONFIG)
    project.write(".gitignore", ".worktrees/\n")
    project.git("add", ".")
    project.git("commit", "--quiet", "-m", "first")
    there = type(yard)(project)
    ready(there, planning=True)
    done = project.kitty("merge", "--json")
    assert done.exit_code == 0, done
    assert there.status() == ""


def test_the_git_directory_may_lie_elsewhere(yard: Yard, isolated: Path) -> None:
    yard.project.git("init", "--quiet", "--separate-git-dir", str(isolated / "elsewhere.git"))
    ready(yard)
    done = yard.project.kitty("merge", "--json")
    assert done.exit_code == 0, done
    assert yard.status() == ""
    assert yard.tree("wp01.txt").exists()


def test_a_clock_that_is_behind_makes_no_commit_missing(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    """`rev-list` goes by dates, and would list commits that are reachable when the merges are much older than what they merge."""
    yard.plan(*(yard.package(f"WP{number:02}") for number in range(1, 11)))
    for number in range(1, 11):
        yard.finish(f"WP{number:02}")
    monkeypatch.setenv("GIT_COMMITTER_DATE", "1700000000 +0000")
    done = yard.project.kitty("merge", "--json")
    assert done.exit_code == 0, done


def test_a_ref_that_somebody_holds_is_named(yard: Yard) -> None:
    ready(yard)
    held = yard.root / ".git/refs/heads" / f"{yard.branch('WP01')}.lock"
    held.touch()
    before = yard.project.git("rev-parse", "main")
    done = yard.project.kitty("merge", "--json")
    assert (done.code, done.json["details"]["lock"]) == ("LOCK_HELD", str(held))
    assert yard.project.git("rev-parse", "main") == before
    held.unlink()
    assert yard.project.kitty("merge", "--json").exit_code == 0


def test_a_file_that_is_only_meant_to_be_added_is_in_the_way_like_a_staged_one(yard: Yard) -> None:
    """Git lists it among the staged files, with no content, and would not write over it."""
    yard.plan(yard.package("WP01"))
    yard.finish("WP01")
    yard.project.write("wp01.txt", "mine\n")
    yard.project.git("add", "--intent-to-add", "wp01.txt")
    for arguments in ((), ("--rescue",)):
        done = yard.project.kitty("merge", "--json", *arguments)
        assert (done.exit_code, done.code) == (1, "MERGE_DIRTY"), done
    assert yard.tree("wp01.txt").read_text() == "mine\n"
