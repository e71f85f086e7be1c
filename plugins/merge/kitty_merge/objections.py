"""What forbids a landing: work that is not approved, heads that moved since, dependencies left out, branches that no lane owns."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Mapping

from kitty_host.api import Finding
from kitty_host.lanes import plan_ref, require_lanes
from kitty_host.ledger.machine import APPROVED, CANCELED, SETTLED
from kitty_host.records import Candidate, Lane
from kitty_host.state import State
from kitty_merge.exchange import remotes
from kitty_merge.graph import Graph
from kitty_merge.heads import is_closed
from kitty_merge.workspace import worktree_path


def objections(candidate: Candidate, refs: Mapping[str, str]) -> Iterator[Finding]:
    """Everything that forbids to land it, as the state is now and these refs are."""
    return _Judge(candidate, refs).findings()


def refs_of(candidate: Candidate) -> dict[str, str]:
    """The refs that count, as they are now: the target, the lanes, owned or not, their bases and the plan."""
    mission = candidate.mission
    lanes = f"refs/heads/{mission.branch}-lane-*"
    return mission.repo.git.refs(candidate.target, lanes, f"refs/kitty/{mission.mission_id}/base", plan_ref(mission))


class _Judge:
    """One look at the ledger, the refs and the commits, and what follows from it."""

    def __init__(self, candidate: Candidate, refs: Mapping[str, str]) -> None:
        mission = candidate.mission
        git = mission.repo.git
        self.candidate = candidate
        self.which = f"--mission {mission.slug}"
        self.state = state = State.load(mission)
        self.lanes = require_lanes(mission)
        self.approved = {wp_id: commit for wp_id in state.wp_ids() if (commit := state.approved_commit(wp_id))}
        self.refs = {ref: commit for ref, commit in refs.items() if ref != candidate.target}
        heads = [candidate.chain, *(head for _, head in candidate.heads)]
        tips = [*heads, *self.approved.values(), *self.refs.values(), self.lanes.planning_commit]
        self.graph = Graph.read(git, filter(None, tips), candidate.old)

    def findings(self) -> Iterator[Finding]:
        """All of them."""
        state = self.state
        heads = dict(self.candidate.heads)
        for wp_id in state.wp_ids():
            lane = state.lane(wp_id)
            if lane not in SETTLED:
                yield Finding("MERGE_NOT_APPROVED", f"{wp_id} is {lane}", self._way_on(wp_id))
        for one in self.lanes.lanes:
            if not is_closed(state, one):
                head = heads.get(one.lane_id)
                yield from self._of_lane(one, head) if head else self._of_lost(one)
        yield from self._left_out()
        for package in state.packages:
            for needed in package.dependencies:
                commit = self.approved.get(needed)
                is_in = not commit or self.graph.contains(commit, self.candidate.chain)
                if state.lane(package.wp_id) == APPROVED and not is_in:
                    yield Finding(
                        "MERGE_INCOMPLETE",
                        f"{package.wp_id} depends on {needed}, which is left out",
                        "run: kitty lanes show",
                    )
        yield from self._unowned()

    def _way_on(self, wp_id: str) -> str:
        known = remotes(self.candidate.mission.repo)
        elsewhere = f"where somebody else did: kitty lanes sync {self.which}; " if known else ""
        return f"finish it; {elsewhere}or do without it: kitty cancel {wp_id} --reason R {self.which}"

    def _approved_in(self, lane: Lane) -> dict[str, str]:
        return {
            wp_id: self.approved[wp_id]
            for wp_id in lane.wp_ids
            if wp_id in self.approved and self.state.lane(wp_id) != CANCELED
        }

    def _of_lost(self, lane: Lane) -> Iterator[Finding]:
        for wp_id, commit in self._approved_in(lane).items():
            yield Finding(
                "MERGE_INCOMPLETE",
                f"{wp_id} is approved and its branch {lane.branch} is gone",
                f"bring it back: git branch {lane.branch} {commit}"
                if self.candidate.mission.repo.git.commit_of(commit)
                else f"bring it here: kitty lanes sync {self.which}",
            )

    def _of_lane(self, lane: Lane, head: str) -> Iterator[Finding]:
        settled = all(self.state.lane(wp_id) in SETTLED for wp_id in lane.wp_ids)
        if settled and self._has_more(head, self._reviewed()):
            last = lane.wp_ids[-1]
            yield Finding(
                "MERGE_HEAD_MOVED",
                f"{lane.lane_id} is at {head[:10]}, which nobody approved",
                f"let it be reviewed: kitty reopen {last} --reason R {self.which} && kitty submit {last} {self.which}",
            )
        place = worktree_path(self.candidate.mission, lane.lane_id)
        for wp_id, commit in self._approved_in(lane).items():
            if not self.graph.contains(commit, head):
                yield Finding(
                    "MERGE_HEAD_MOVED",
                    f"{lane.lane_id} does not contain {commit[:10]}, approved for {wp_id}",
                    f"bring it back: git -C {shlex.quote(str(place))} merge {commit[:10]}"
                    if place.is_dir()
                    else f"bring it back: git branch --force {lane.branch} {commit[:10]}",
                )

    def _reviewed(self) -> list[str]:
        """What a lane may be at besides the target: the plan, what was approved, and bases made of that."""
        others = [commit for ref, commit in self.refs.items() if ref.startswith("refs/kitty/")]
        return [*self.approved.values(), *others, self.lanes.planning_commit]

    def _has_more(self, head: str, than: Iterable[str]) -> bool:
        """Whether a head contains commits that neither the target nor any of these does."""
        left = self.graph.reach(head).difference(*map(self.graph.reach, than))
        git = self.candidate.mission.repo.git
        # Where a clock was behind, Git lists commits that the target has.
        return any(not git.is_ancestor(commit, self.candidate.old) for commit in left)

    def _left_out(self) -> Iterator[Finding]:
        """Approved work that no lane of the plan holds, such as that of a work package whose file was removed."""
        heads = [head for _, head in self.candidate.heads]
        for wp_id, commit in self.approved.items():
            lost = self.lanes.of(wp_id) is None and self.state.lane(wp_id) == APPROVED
            if lost and not any(self.graph.contains(commit, head) for head in heads):
                yield Finding(
                    "MERGE_INCOMPLETE",
                    f"{commit[:10]}, approved for {wp_id}, is in no lane that lands",
                    f"bring its lane back, or: kitty cancel {wp_id} --reason R",
                )

    def _unowned(self) -> Iterator[Finding]:
        owned = {f"refs/heads/{one.branch}" for one in self.lanes.lanes}
        heads = [head for _, head in self.candidate.heads]
        for ref, commit in self.refs.items():
            if ref.startswith("refs/heads/") and ref not in owned and self._has_more(commit, heads):
                branch = ref.removeprefix("refs/heads/")
                approved = [wp_id for wp_id, its in self.approved.items() if its == commit]
                way = f"it is {', '.join(approved)}: put that back into lanes.json"
                yield Finding(
                    "MERGE_INCOMPLETE",
                    f"the branch {branch} has commits that no lane owns",
                    way if approved else f"look: git log {branch}",
                )
