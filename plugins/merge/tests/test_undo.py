"""Taking a landing back: everything as before, by more rows and never by fewer, and not where others have built on it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from kitty_host.state import State
from kitty_host.testing import Result

if TYPE_CHECKING:
    from conftest import Yard


def ready(yard: Yard) -> None:
    """Two lanes and a planning artefact, approved, beside a user's own work."""
    yard.project.commit("changed.txt", "before\n")
    yard.project.commit("removed.txt", "before\n")
    yard.project.commit("staged.txt", "before\n")
    yard.project.commit(".gitignore", ".worktrees/\n*.local\n")
    yard.plan(
        yard.package("WP01", owns="**"),
        yard.package("WP02"),
        yard.package("WP03", owns="docs/**", execution_mode="planning_artifact"),
    )
    workspace = yard.start("WP01")
    yard.project.git("rm", "--quiet", "removed.txt", where=workspace.path)
    yard.project.git("commit", "--quiet", "-m", "remove", where=workspace.path)
    yard.work("WP01", "the project's\n", path="own.local")
    yard.work("WP01", "the same\n", path="twin.txt")
    yard.work("WP01", "staged alike\n", path="both.txt")
    yard.finish("WP01", "after\n", path="changed.txt")
    yard.finish("WP02")
    yard.finish("WP03", path="docs/a.md")
    yard.project.write("staged.txt", "mine\n")
    yard.project.git("add", "staged.txt")
    yard.project.write("un tracked.txt", "mine\n")
    yard.project.write("own.local", "mine, ignored\n")
    yard.project.write("twin.txt", "the same\n")
    yard.project.write("both.txt", "staged alike\n")
    yard.project.git("add", "both.txt")


def everything(yard: Yard) -> tuple[str, dict[str, bytes], str, str]:
    """What plain Git and the file system say, but for the ledger, which only grows."""
    files = {
        path.relative_to(yard.root).as_posix(): path.read_bytes()
        for path in sorted(yard.root.rglob("*"))
        if path.is_file() and ".git/" not in f"{path}/" and ".worktrees" not in path.parts
        if path.name != "status.events.jsonl"
    }
    index = yard.project.git("ls-files", "--stage")
    return yard.project.git("rev-parse", "main"), files, index, yard.status()


def kitty(yard: Yard, *arguments: str) -> Result:
    done = yard.project.kitty("merge", *arguments, "--json", "--mission", yard.mission.slug)
    assert done.exit_code == 0, done
    return done


@pytest.mark.parametrize("strategy", ["merge", "squash"])
def test_everything_is_as_before_and_lands_again(yard: Yard, strategy: str) -> None:
    ready(yard)
    before, rows = everything(yard), yard.mission.ledger.lines()
    landed = kitty(yard, "--strategy", strategy).json
    tree = yard.project.git("rev-parse", "main^{tree}:changed.txt")
    told = kitty(yard, "--undo").json
    assert (told["old"], told["new"]) == (landed["new"], landed["old"])
    assert told["wp_ids"] == ["WP01", "WP02", "WP03"]
    assert everything(yard) == before
    now = yard.mission.ledger.lines()
    assert now[: len(rows)] == rows
    assert [State.load(yard.mission).lane(wp_id) for wp_id in told["wp_ids"]] == ["approved"] * 3
    assert yard.project.git("rev-parse", "--verify", "--quiet", yard.mission.ledger.ref)
    assert yard.mission.ledger.lines_at(yard.mission.repo.git, yard.mission.ledger.ref) == now
    assert yard.mission.refresh().meta.get("mission_number") is None
    assert kitty(yard, "--strategy", strategy).json["new"] not in (landed["new"], landed["old"])
    assert yard.project.git("rev-parse", "main^{tree}:changed.txt") == tree
    assert yard.status() == "M  staged.txt\n?? un tracked.txt".replace("un tracked.txt", '"un tracked.txt"')


def test_a_dry_run_takes_nothing_back(yard: Yard) -> None:
    ready(yard)
    kitty(yard)
    before = yard.project.snapshot()
    assert kitty(yard, "--undo", "--dry-run").json["undone"] is False
    after = yard.project.snapshot()
    assert {name for name in before if before[name] != after.get(name) and "/objects/" not in name} == set()


def refused(yard: Yard, *arguments: str) -> Result:
    before = yard.project.git("for-each-ref"), yard.status(), yard.mission.ledger.lines()
    done = yard.project.kitty("merge", "--undo", "--json", "--mission", yard.mission.slug, *arguments)
    assert done.exit_code == 1, done
    assert (yard.project.git("for-each-ref"), yard.status(), yard.mission.ledger.lines()) == before
    return done


def test_what_has_not_landed_is_not_undone(yard: Yard) -> None:
    ready(yard)
    assert refused(yard).code == "UNDO_REFUSED"
    kitty(yard)
    kitty(yard, "--undo")
    assert refused(yard).code == "UNDO_REFUSED"
    receipt = yard.project.kitty("merge", "--receipt", "--json")
    assert "has not landed" in receipt.json["message"]


@pytest.mark.parametrize("who", ["a commit on the target", "another branch", "a remote that has it"])
def test_what_others_have_built_on_is_not_undone(yard: Yard, who: str) -> None:
    ready(yard)
    kitty(yard)
    if who == "a commit on the target":
        yard.project.commit("later.txt")
    elif who == "another branch":
        yard.project.git("branch", "feature")
    else:
        yard.project.git("update-ref", "refs/remotes/origin/main", "main")
    done = refused(yard)
    assert done.code == "UNDO_REFUSED"
    assert "git revert --mainline 1" in done.json["hint"]


def test_the_way_out_that_the_refusal_names_works(yard: Yard) -> None:
    yard.plan(yard.package("WP01"))
    yard.finish("WP01")
    landed = kitty(yard).json["new"]
    yard.project.commit("later.txt")
    hint = refused(yard).json["hint"]
    assert f"git revert --mainline 1 {landed[:10]}" in hint
    assert kitty(yard, "--receipt").json["receipt"]["new"] == landed


def test_changes_since_the_landing_are_not_written_over(yard: Yard) -> None:
    ready(yard)
    kitty(yard)
    yard.project.write("changed.txt", "mine, since\n")
    assert refused(yard).code == "MERGE_DIRTY"
    assert yard.tree("changed.txt").read_text() == "mine, since\n"


def test_a_file_where_one_comes_back_is_in_the_way(yard: Yard) -> None:
    ready(yard)
    kitty(yard)
    yard.project.write("removed.txt", "mine, since\n")
    assert refused(yard).code == "MERGE_IN_THE_WAY"


def test_only_the_last_landings_packages_are_approved_again(yard: Yard) -> None:
    yard.plan(yard.package("WP01"), yard.package("WP02"))
    yard.finish("WP01")
    yard.finish("WP02")
    kitty(yard)
    yard.project.record(yard.mission, "WP02", "in_progress")
    yard.finish("WP02", "better\n")
    kitty(yard)
    assert kitty(yard, "--undo").json["wp_ids"] == ["WP02"]
    assert [State.load(yard.mission).lane(wp_id) for wp_id in ("WP01", "WP02")] == ["done", "approved"]
    assert yard.tree("wp02.txt").read_text() == "work\n"


def test_the_target_is_checked_out_nowhere(yard: Yard) -> None:
    ready(yard)
    yard.project.git("switch", "--quiet", "-c", "elsewhere")
    before = everything(yard)
    old = yard.project.git("rev-parse", "main")
    kitty(yard)
    kitty(yard, "--undo")
    assert yard.project.git("rev-parse", "main") == old
    assert everything(yard)[1:] == before[1:]


def test_a_landing_of_another_clone_is_undone_without_its_notes(yard: Yard) -> None:
    """What only the notes of this repository know, such as what was untracked before, is in the commits all the same."""
    yard.plan(yard.package("WP01"))
    yard.finish("WP01")
    landed = kitty(yard).json
    for path in (yard.root / ".git/kitty/undo").iterdir():
        path.unlink()
    assert kitty(yard, "--undo").json["new"] == landed["old"]
    assert not os.path.lexists(yard.tree("wp01.txt"))


def test_observers_hear_of_it(yard: Yard, install_plugin: object) -> None:
    ready(yard)
    kitty(yard)
    kitty(yard, "--undo")
    last = yard.mission.ledger.rows()[-1]
    assert last["event_type"] == "MissionLandingUndone"
    assert last["payload"]["new"] == yard.project.git("rev-parse", "main")
