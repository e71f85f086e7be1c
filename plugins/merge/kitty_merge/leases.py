"""Leases: what a work package owns belongs to its lane for as long as the lane is live. A change that another lane makes there is told."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from kitty_host.api import Finding
from kitty_host.inert import inert
from kitty_host.records import Lane, Lanes
from kitty_host.state import State
from kitty_merge import trees
from kitty_merge.graph import Graph
from kitty_merge.heads import Heads, is_closed, live_lanes
from kitty_merge.paths import owns
from kitty_merge.ways import argument, back_to_work, pathspec
from kitty_merge.workspace import planning_base, worktree_path


class Trespass(NamedTuple):
    """A path that a lane changes and another live lane owns."""

    lane: Lane
    path: str
    owner: Lane
    hint: str

    def finding(self) -> Finding:
        """As a check tells it."""
        message = f"{inert(self.path, prose=True)} belongs to {self.owner.lane_id}"
        return Finding("LEASE", message, self.hint, "warn", self.path)


def trespasses(
    state: State, lanes: Lanes, lane: Lane, head: str, changed: Mapping[str, Iterable[str]]
) -> list[Trespass]:
    """What a lane leaves changed at `head` although another live lane owns it; `changed` has its own commits and their paths.

    What its owner has taken in, and what was put back, is none.
    """
    foreign = {path for paths in changed.values() for path in paths if not owns(lane.write_scope, path)}
    found: list[Trespass] = []
    for owner in lanes.lanes:
        if owner.lane_id != lane.lane_id and not is_closed(state, owner):
            suspects = {path for path in foreign if owns(owner.write_scope, path)}
            if suspects:
                found += _proved(state, lanes, lane, owner, head, changed, suspects)
    return found


def all_trespasses(state: State, lanes: Lanes, heads: Heads) -> list[Trespass]:
    """Those of every live lane, as its branch is now."""
    live = live_lanes(state, heads)
    if not live:
        return []
    git = state.mission.repo.git
    graph = Graph.read(git, [head for _, head in live], *filter(None, (heads.target, heads.plan)))
    changed = git.paths_of(graph.parents)
    found: list[Trespass] = []
    for lane, head in live:
        approved = [state.approved_commit(wp_id) for other in lanes.lanes if other != lane for wp_id in other.wp_ids]
        own = graph.reach(head).difference(*map(graph.reach, filter(None, approved)))
        found += trespasses(state, lanes, lane, head, {commit: changed[commit] for commit in own})
    return found


def _proved(
    state: State,
    lanes: Lanes,
    lane: Lane,
    owner: Lane,
    head: str,
    changed: Mapping[str, Iterable[str]],
    suspects: set[str],
) -> list[Trespass]:
    git = state.mission.repo.git
    base = _base(state, lanes, owner, head)
    # What the owner's branch contains, it has taken in.
    has_branch = git.commit_of(f"refs/heads/{owner.branch}") is not None
    left = set(git.lines("rev-list", head, "--not", f"refs/heads/{owner.branch}")) if has_branch else set(changed)
    mine = {path for commit, paths in changed.items() if commit in left for path in paths}
    return [
        Trespass(lane, change.path, owner, _way_out(state, lane, owner, base, change))
        for change in trees.changes(git, base, head)
        if change.path in suspects & mine
    ]


def _base(state: State, lanes: Lanes, owner: Lane, head: str) -> str:
    """Whose version of the owner's paths is right in a lane: what was approved of them there, else where the lane began."""
    git = state.mission.repo.git
    for wp_id in reversed(owner.wp_ids):
        commit = state.approved_commit(wp_id)
        if commit and git.is_ancestor(commit, head):
            return commit
    return git.out("merge-base", planning_base(state.mission, lanes), head)


def _way_out(state: State, lane: Lane, owner: Lane, base: str, change: trees.Change) -> str:
    wp_id, before = back_to_work(state, lane)
    place = worktree_path(state.mission, lane.lane_id)
    there = argument(str(place))
    made = "" if place.is_dir() else f"git worktree add {there} {lane.branch}; "
    back = f"checkout {base[:10]}" if change.old is not None else "rm --quiet"
    return (
        f"take it out: {before}{made}git -C {there} {back} -- {pathspec(change.path)}; commit; kitty submit {wp_id}; "
        f"or let owned_files of {wp_id} cover it, and those of {', '.join(owner.wp_ids)} no more, and run: kitty finalize"
    )
