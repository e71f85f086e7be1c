"""Where a mission's target and lanes are now: one look at the refs, and which of the lanes still have something to land."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

from kitty_host.api import KittyError
from kitty_host.lanes import plan_ref, require_lanes
from kitty_host.ledger.machine import CLOSED
from kitty_host.mission import Mission
from kitty_host.state import State

if TYPE_CHECKING:
    from kitty_host.records import Lane


class Heads(NamedTuple):
    """Commits; None where there is no such ref."""

    target: str | None
    plan: str | None
    """The commit that holds the plan."""
    branches: Mapping[str, str]
    """Every lane branch, owned or not, without `refs/heads/`."""
    settled: Mapping[str, str] = {}
    """What people made of conflicts, by what they joined (`settlement.py`)."""


def read_heads(mission: Mission) -> Heads:
    """By one process."""
    target, plan = f"refs/heads/{mission.target}", plan_ref(mission)
    lanes, settled = f"refs/heads/{mission.branch}-lane-", settled_refs(mission)
    refs = mission.repo.git.refs(target, plan, f"{lanes}*", settled)
    branches = {ref.removeprefix("refs/heads/"): commit for ref, commit in refs.items() if ref.startswith(lanes)}
    conflicts = {
        ref.removeprefix(f"{settled}/"): commit for ref, commit in refs.items() if ref.startswith(f"{settled}/")
    }
    return Heads(refs.get(target), refs.get(plan), branches, conflicts)


def settled_refs(mission: Mission) -> str:
    """Where the refs of settled conflicts are."""
    return f"refs/kitty/{mission.mission_id}/settled"


def joined(tree: str, head: str) -> str:
    """What a settlement is known by: the tree of the chain so far, and the lane that joins it."""
    return f"{tree}-{head}"


def require_target(mission: Mission, found: Heads) -> str:
    """The target's commit. Errors: `MERGE_INCOMPLETE` where it has none."""
    if found.target is None:
        raise KittyError(
            "MERGE_INCOMPLETE",
            f"the target branch {mission.target} has no commit",
            "create it, or correct target_branch in the mission's meta.json",
        )
    return found.target


def live_lanes(state: State, found: Heads) -> list[tuple[Lane, str]]:
    """The lanes that have a branch and work that is not closed, with their commits, each after the lanes it depends on."""
    lanes = sorted(require_lanes(state.mission).lanes, key=lambda lane: (lane.group, len(lane.lane_id), lane.lane_id))
    return [
        (lane, found.branches[lane.branch])
        for lane in lanes
        if lane.branch in found.branches and not is_closed(state, lane)
    ]


def is_closed(state: State, lane: Lane) -> bool:
    """Landed before, or cancelled: nothing of it may come again, or at all."""
    return all(state.lane(wp_id) in CLOSED for wp_id in lane.wp_ids)
