"""Where there is no room for a worktree, or nothing may be written: that is on record, and once there is, the same command goes on."""

from __future__ import annotations

import functools
import os
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from kitty_host.files import TEMPORARY_PREFIX
from kitty_host.mission import find_missions
from kitty_host.repo import Repo
from kitty_host.testing import initialized

from .conftest import Walk

BIG = 400 * 1024


def mount(place: Path, *options: str) -> None:
    done = subprocess.run(["mount", "-t", "tmpfs", *options, "tmpfs", str(place)], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"a small disk has to be mounted, which this user may not: {done.stderr.strip()}")


def remount(place: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", str(place)], check=True)


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Callable[..., Path]]:
    """Mounts a small disk on a directory, until the test is over."""
    places: list[Path] = []

    def make(place: Path, size: str) -> Path:
        place.mkdir(exist_ok=True, parents=True)
        mount(place, "-o", f"size={size}")
        places.append(place)
        return place

    yield make
    for place in places:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def rows(walk: Walk) -> list[dict[str, Any]]:
    [mission] = find_missions(Repo.find(walk.project.root))
    return [dict(row) for row in mission.ledger.rows()]


def lane(walk: Walk) -> str:
    return str([row["to_lane"] for row in rows(walk) if row.get("wp_id") == "WP01" and "to_lane" in row][-1])


@pytest.mark.slow
def test_a_disk_too_small_for_the_worktree_blocks_and_a_larger_one_goes_on(
    walk: Walk, mounted: Callable[..., Path]
) -> None:
    walk.project.commit("big", os.urandom(BIG))
    walk.plan()
    place = mounted(walk.project.root / ".worktrees", "200k")
    for _ in range(2):
        done = walk.project.kitty("implement", "WP01", "--agent", "ada", "--json")
        assert (done.exit_code, done.code) == (1, "WORKTREE_ALLOC_FAILED"), done
        last = rows(walk)[-1]
        assert (last["to_lane"], last["reason"]) == ("blocked", "worktree_alloc_failed")
        assert last["policy_metadata"]["evidence"] == f"{done.code}: {done.json['message']}"
    remount(place, "size=4m")
    walk.implement("WP01")
    assert lane(walk) == "for_review"


@pytest.mark.slow
def test_a_read_only_place_blocks_and_a_writable_one_goes_on(walk: Walk, mounted: Callable[..., Path]) -> None:
    walk.plan()
    place = mounted(walk.project.root / ".worktrees", "4m")
    remount(place, "ro")
    done = walk.project.kitty("implement", "WP01", "--agent", "ada", "--json")
    assert (done.exit_code, lane(walk)) == (1, "blocked"), done
    assert "Read-only file system" in rows(walk)[-1]["policy_metadata"]["evidence"]
    remount(place, "rw")
    walk.implement("WP01")
    assert lane(walk) == "for_review"


@pytest.mark.slow
def test_refs_that_may_not_be_written_block_and_writable_ones_go_on(walk: Walk, mounted: Callable[..., Path]) -> None:
    walk.plan()
    place = mounted(walk.project.root / ".git/refs/heads/kitty", "1m")
    remount(place, "ro")
    done = walk.project.kitty("implement", "WP01", "--agent", "ada", "--json")
    assert (done.exit_code, lane(walk)) == (1, "blocked"), done
    remount(place, "rw")
    walk.implement("WP01")
    assert lane(walk) == "for_review"


@pytest.mark.parametrize("free", [0, 4, 8, 12, 16, 24, 32, 48, 64, 96, 160])
def test_a_disk_that_is_full_for_everybody_loses_nothing(
    isolated: Path, mounted: Callable[..., Path], free: int
) -> None:
    """So many KiB are free: for the claim, for the place, or for the row that says why there is none, or for none of them."""
    disk = mounted(isolated / "disk", "6m")
    walk = Walk(initialized(disk / "project"))
    walk.project.commit("big", os.urandom(BIG))
    walk.plan()
    before = rows(walk)
    status = os.statvfs(disk)
    filler = disk / "filler"
    filler.write_bytes(bytes(status.f_bavail * status.f_frsize - free * 1024))
    done = walk.project.kitty("implement", "WP01", "--agent", "ada", "--json")
    assert done.exit_code == 1, done
    assert done.code in ("DISK_FULL", "WORKTREE_ALLOC_FAILED"), done
    assert rows(walk)[: len(before)] == before
    claimed = len(rows(walk)) > len(before)
    filler.unlink()
    walk.kitty("note", "WP01", "there is room again", "--agent", "bob")
    assert lane(walk) == ("blocked" if claimed else "planned"), "nobody is shown at work who has no place"
    walk.kitty("implement", "WP01", "--agent", "bob")
    assert lane(walk) == "in_progress"
    assert walk.project.kitty("ledger", "verify").exit_code == 0
    left = [path for path in walk.project.root.rglob("*") if path.name.startswith(TEMPORARY_PREFIX)]
    assert left == []
    assert not (walk.project.root / ".git/kitty/claims").exists()


@pytest.mark.slow
@pytest.mark.usefixtures("unmeasured")
def test_a_failure_that_has_no_room_on_record_is_recorded_by_the_next_command(walk: Walk) -> None:
    """The ledger may grow by the claim and not by the row that says why there is no place."""
    walk.plan()
    [mission] = find_missions(Repo.find(walk.project.root))
    lock = walk.project.write(f".git/refs/heads/{mission.branch}-lane-a.lock", "")
    size = mission.ledger.live.stat().st_size
    command = [sys.executable, "-m", "kitty_host", "implement", "WP01", "--agent", "ada"]
    for more in range(100, 4000, 150):
        limit = (size + more, size + more)
        subprocess.run(
            command,
            cwd=walk.project.root,
            capture_output=True,
            preexec_fn=functools.partial(resource.setrlimit, resource.RLIMIT_FSIZE, limit),
        )
        if lane(walk) != "planned":
            break
        assert not (walk.project.root / ".git/kitty/claims").exists(), "nothing was claimed"
    assert lane(walk) == "in_progress"
    walk.kitty("note", "WP02", "there is room again", "--agent", "bob")
    assert lane(walk) == "blocked"
    lock.unlink()
    walk.implement("WP01")
    assert lane(walk) == "for_review"
