"""Cleaning up after a landing: the worktrees of its lanes."""

from __future__ import annotations

from pathlib import Path

from kitty_host.api import KittyError
from kitty_host.git import Git
from kitty_host.lanes import PLANNING, require_lanes
from kitty_host.mission import Mission
from kitty_host.records import Lane
from kitty_host.report import counted, note
from kitty_host.worktrees import finish_removals, remove_worktree
from kitty_merge.workspace import ENV_FILE, is_on_branch, worktree_path


def remove_worktrees(mission: Mission) -> None:
    """Remove those of a mission's lanes; one that cannot go stays and is named."""
    finish_removals(mission.repo)
    for lane in require_lanes(mission).lanes:
        path = worktree_path(mission, lane.lane_id)
        if lane.lane_id != PLANNING and path.is_dir():
            try:
                _remove(mission, lane, path)
            except KittyError as error:
                note(f"{path} stays: {error.message}")
    parent = mission.repo.root / ".worktrees"
    if parent.is_dir() and not any(parent.iterdir()):
        parent.rmdir()


def _remove(mission: Mission, lane: Lane, path: Path) -> None:
    """One with work that is in no commit, or in no lane, stays and is named."""
    there = Git(path)
    if there.records("status", "--porcelain", "-z"):
        note(f"{path} has changes that are in no commit; it stays.")
        return
    if not is_on_branch(path, lane.branch) and there.lines("rev-list", "-1", "HEAD", "--not", "--branches"):
        note(f"{path} is at commits that are in no branch; it stays.")
        return
    ignored = [name for name in there.records("ls-files", "-z", "-o", "-i", "--exclude-standard") if name != ENV_FILE]
    remove_worktree(mission.repo, path)
    if ignored:
        note(
            f"Removed {path} with {counted(len(ignored), 'ignored file')}, such as {ignored[0]} (--keep-worktrees keeps them)."
        )
