"""Leases: who changes what another live lane owns is told so, with a way out that works."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from kitty_host.lanes import require_lanes, write_lanes
from kitty_host.state import State
from kitty_merge.heads import read_heads
from kitty_merge.leases import all_trespasses
from kitty_merge.planner import plan
from kitty_merge.submission import submission

if TYPE_CHECKING:
    from conftest import Yard


def told(yard: Yard) -> list[dict[str, Any]]:
    leases: list[dict[str, Any]] = yard.project.kitty("merge", "--preview", "--json").json["leases"]
    return leases


def named(yard: Yard) -> list[tuple[str, str, str]]:
    return [(one["lane"], one["path"], one["owner"]) for one in told(yard)]


def shown(yard: Yard, wp_id: str) -> list[str]:
    return [finding.path for finding in submission(yard.mission.package(wp_id), yard.mission).findings]


def take_out(yard: Yard, wp_id: str, hint: str) -> None:
    """Type what the way out says, up to the commit."""
    command = hint.removeprefix("take it out: ").partition("; commit")[0].rpartition("; ")[2]
    assert command.startswith("git -C "), hint
    subprocess.run(["bash", "-c", command], check=True)
    yard.project.git("commit", "--quiet", "--all", "-m", "taken out", where=yard.start(wp_id).path)


def two_lanes(yard: Yard) -> None:
    yard.project.commit("wp02.txt", "as it was\n")
    yard.plan(yard.package("WP01"), yard.package("WP02"))
    yard.work("WP01")


def test_a_change_to_what_another_live_lane_owns_is_told_with_its_owner(yard: Yard) -> None:
    two_lanes(yard)
    assert told(yard) == []
    yard.work("WP01", "changed\n", path="wp02.txt")
    (lease,) = told(yard)
    assert {key: lease[key] for key in ("lane", "path", "owner", "wp_ids")} == {
        "lane": "lane-a",
        "path": "wp02.txt",
        "owner": "lane-b",
        "wp_ids": ["WP02"],
    }
    assert "owned_files of WP01 cover it, and those of WP02 no more, and run: kitty finalize" in lease["hint"]
    assert shown(yard, "WP01") == ["wp02.txt"]
    lines = yard.project.kitty("merge", "--preview").stdout.splitlines()
    assert "LEASE: lane-a: wp02.txt belongs to lane-b" in lines


@pytest.mark.parametrize(
    ("name", "how"),
    [
        *(
            (name, "changed")
            for name in ("wp02.txt", "a b.txt", "new\nline.txt", "[a]*.txt", "it's.txt", ":x.txt", "ä\x1b.txt")
        ),
        *((name, "added") for name in ("wp02.txt", "new\nline.txt", "[a]*.txt")),
        *((name, "removed") for name in ("wp02.txt", ":x.txt")),
    ],
)
def test_what_was_taken_out_as_the_hint_says_is_no_trespass(yard: Yard, name: str, how: str) -> None:
    if how != "added":
        yard.project.commit(name if not name.startswith(":") else f"./{name}", "as it was\n")
    yard.plan(yard.package("WP01"), yard.package("WP02", owns="**"))
    # An owner of everything would share its lane: the files of both are told apart by hand, as an old lanes.json may have them.
    lanes = require_lanes(yard.mission)
    assert len(lanes.lanes) == 1
    first, second = (
        lanes.lanes[0]._replace(wp_ids=("WP01",), write_scope=("wp01.txt",)),
        lanes.lanes[0]._replace(lane_id="lane-b", wp_ids=("WP02",), write_scope=("[!wk]*", "wp02.txt")),
    )
    write_lanes(yard.mission, lanes._replace(lanes=(first, second)))
    yard.work("WP01")
    there = yard.start("WP01").path
    assert there is not None
    before = yard.project.git("rev-parse", "HEAD^{tree}", where=there)
    (there / name).unlink() if how == "removed" else (there / name).write_text("changed\n")
    yard.project.git("add", "--all", where=there)
    yard.project.git("commit", "--quiet", "-m", "change", where=there)
    (lease,) = told(yard)
    assert (lease["path"], shown(yard, "WP01")) == (name, [name])
    assert lease["hint"].isprintable()
    take_out(yard, "WP01", lease["hint"])
    assert yard.project.git("rev-parse", "HEAD^{tree}", where=there) == before
    assert (told(yard), shown(yard, "WP01")) == ([], [])


def test_the_version_of_a_dependency_is_the_one_to_go_back_to(yard: Yard) -> None:
    yard.project.commit("wp01.txt", "long ago\n")
    yard.plan(yard.package("WP01"), yard.package("WP02", "WP01"), yard.package("WP03", "WP01"))
    yard.finish("WP01", "approved\n")
    yard.work("WP03")
    assert told(yard) == [], "what it stands on is not its own"
    yard.work("WP03", "trespass\n", path="wp01.txt")
    assert named(yard) == [("lane-b", "wp01.txt", "lane-a")]
    take_out(yard, "WP03", told(yard)[0]["hint"])
    assert yard.project.git("show", f"{yard.branch('WP03')}:wp01.txt") == "approved"
    assert told(yard) == []


def test_what_another_lane_has_done_and_got_approved_is_told_of_that_one(yard: Yard) -> None:
    yard.plan(yard.package("WP01"), yard.package("WP02"), yard.package("WP03", "WP01"), yard.package("WP04", "WP01"))
    yard.work("WP01", "trespass\n", path="wp02.txt")
    yard.finish("WP01")
    yard.work("WP04")
    assert yard.project.git("show", f"{yard.branch('WP04')}:wp02.txt") == "trespass"
    assert named(yard) == [("lane-a", "wp02.txt", "lane-b")]


def test_what_the_owner_has_taken_in_is_no_trespass(yard: Yard) -> None:
    two_lanes(yard)
    yard.work("WP02", "its own\n")
    yard.work("WP01", "changed\n", path="wp02.txt")
    assert named(yard) == [("lane-a", "wp02.txt", "lane-b")]
    there = yard.start("WP02").path
    yard.project.git("merge", "--quiet", "--no-edit", "-X", "theirs", yard.branch("WP01"), where=there)
    assert [one for one in named(yard) if one[0] == "lane-a"] == []


def test_what_came_with_the_target_or_with_the_owners_branch_is_not_the_lanes_doing(yard: Yard) -> None:
    two_lanes(yard)
    yard.work("WP02", "two\n")
    yard.project.commit("elsewhere.txt")
    yard.project.commit("wp02.txt", "on the target\n")
    there = yard.start("WP01").path
    yard.project.git("merge", "--quiet", "--no-edit", "main", where=there)
    assert told(yard) == []
    yard.project.git("merge", "--quiet", "--no-edit", "-X", "theirs", yard.branch("WP02"), where=there)
    yard.work("WP02", "three\n")
    assert told(yard) == []


def test_what_a_lane_that_is_closed_owned_is_free(yard: Yard) -> None:
    two_lanes(yard)
    yard.work("WP01", "changed\n", path="wp02.txt")
    assert len(told(yard)) == 1
    yard.project.record(yard.mission, "WP02", "canceled")
    assert (told(yard), shown(yard, "WP01")) == ([], [])


def test_what_was_handed_over_is_no_trespass(yard: Yard) -> None:
    two_lanes(yard)
    yard.work("WP01", "changed\n", path="wp02.txt")
    assert len(told(yard)) == 1
    for wp_id, owned in (("WP01", '["wp01.txt", "wp02.txt"]'), ("WP02", '["other.txt"]')):
        path = yard.mission.directory / f"tasks/{wp_id}-task.md"
        lines = path.read_text().splitlines(keepends=True)
        path.write_text("".join(f"owned_files: {owned}\n" if "owned_files" in line else line for line in lines))
    yard.mission = yard.mission.refresh()
    write_lanes(yard.mission, plan(yard.mission.packages, yard.mission))
    assert (told(yard), shown(yard, "WP01")) == ([], [])


def test_a_lane_whose_worktree_is_gone_gets_one_by_the_hint(yard: Yard) -> None:
    two_lanes(yard)
    yard.work("WP01", "changed\n", path="wp02.txt")
    there = yard.start("WP01").path
    yard.project.git("worktree", "remove", "--force", str(there))
    hint = told(yard)[0]["hint"]
    commands = hint.removeprefix("take it out: ").partition("; commit")[0]
    assert commands.startswith("git worktree add ")
    subprocess.run(["bash", "-c", commands.replace("; ", " && ")], check=True, cwd=yard.root, capture_output=True)
    yard.project.git("commit", "--quiet", "--all", "-m", "taken out", where=there)
    assert told(yard) == []


def test_every_lane_costs_no_process_of_its_own(yard: Yard, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    yard.plan(*(yard.package(f"WP{number:02}") for number in range(1, 7)))
    for number in range(1, 7):
        yard.work(f"WP{number:02}")
    state, heads = State.load(yard.mission), read_heads(yard.mission)
    trace = tmp_path / "trace"
    monkeypatch.setenv("GIT_TRACE", str(trace))
    assert all_trespasses(state, require_lanes(yard.mission), heads) == []
    assert trace.read_text().count("trace: built-in") == 2
