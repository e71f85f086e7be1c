"""The account of a landing: every commit and every changed path of every lane, deletions included, and how it got into the result."""

from __future__ import annotations

from collections.abc import Iterable

from attrs import field, frozen

from kitty_host.api import KittyError
from kitty_host.lanes import require_lanes
from kitty_host.records import Candidate, LaneAccount, PathChange
from kitty_merge import trees
from kitty_merge.graph import Graph
from kitty_merge.own_records import is_record

LANDED = "landed"
"""What of a lane's path is in the result is the lane's own; other ways name a lane or a commit."""


def account(candidate: Candidate) -> tuple[LaneAccount, ...]:
    """What each lane contributes. Errors: `MERGE_INCOMPLETE` for anything that is not in the result and that nobody else has changed."""
    git = candidate.mission.repo.git
    graph = Graph.read(git, [candidate.chain, *(head for _, head in candidate.heads)], candidate.old)
    _prove_nothing_missing(candidate, graph)
    _prove_nothing_more(candidate, graph)
    wp_ids = {lane.lane_id: lane.wp_ids for lane in require_lanes(candidate.mission).lanes}
    bases = {lane_id: graph.base_of(head, candidate.old) for lane_id, head in candidate.heads}
    results = list(dict.fromkeys(bases.values()))
    wanted = [(bases[lane_id], head) for lane_id, head in candidate.heads]
    found = trees.changes_between(git, [*wanted, *((base, candidate.tip) for base in results)])
    landed = {
        base: {change.path: change.new for change in changes}
        for base, changes in zip(results, found[len(wanted) :], strict=True)
    }
    accounts: list[LaneAccount] = []
    for (lane_id, head), changes in zip(candidate.heads, found, strict=False):
        ways = _Ways(candidate, graph, lane_id, head)
        mine = [change for change in changes if not is_record(candidate.mission, change.path)]
        results_here = {change.path: landed[bases[lane_id]].get(change.path, change.old) for change in mine}
        ways.look_up([change.path for change in mine if results_here[change.path] != change.new])
        paths = tuple(_path(change, results_here[change.path], ways) for change in mine)
        accounts.append(LaneAccount(lane_id, head, wp_ids[lane_id], tuple(graph.commits_of(head)), paths))
    return tuple(accounts)


def _path(change: trees.Change, result: trees.Entry | None, ways: _Ways) -> PathChange:
    how = LANDED if result == change.new else ways.of(change, result)
    return PathChange(change.path, change.old.blob if change.old else "", result.blob if result else "", how)


def _prove_nothing_missing(candidate: Candidate, graph: Graph) -> None:
    """By ancestry: the chain contains the target and every head. What lands is the chain, or for `squash` a commit of its tree.

    Errors: `MERGE_INCOMPLETE`.
    """
    reached = graph.reach(candidate.chain)
    below = {parent for commit in reached for parent in graph.parents[commit]} | {candidate.chain}
    heads = [head for _, head in candidate.heads]
    # What is not among the commits that the target lacks, the target has.
    missing = [head for head in heads if head in graph.parents and head not in reached]
    if candidate.old not in below:
        missing.append(candidate.old)
    if missing:
        raise KittyError("MERGE_INCOMPLETE", f"{missing[0][:10]} is not in the result", "run it again", commits=missing)
    if candidate.tip != candidate.chain:
        repo = candidate.mission.repo
        if trees.tree_of(repo, candidate.chain).id != trees.tree_of(repo, candidate.tip).id:
            raise KittyError("MERGE_INCOMPLETE", f"{candidate.tip[:10]} has not the tree of the lanes", "run it again")


def _prove_nothing_more(candidate: Candidate, graph: Graph) -> None:
    """Between target and result there are the lanes' commits and one merge for each lane. Errors: `MERGE_INCOMPLETE`."""
    heads = {head for _, head in candidate.heads}
    theirs = {commit for head in heads for commit in graph.reach(head)}
    for commit, parents in graph.parents.items():
        if commit not in theirs and not (len(parents) == 2 and parents[1] in heads):
            raise KittyError(
                "MERGE_INCOMPLETE",
                f"{commit[:10]} is in the result and in no lane",
                f"look: git show {commit[:10]}; then run it again",
                commit=commit,
            )


@frozen
class _Ways:
    """How paths of one lane got into the result that are not there as the lane has them."""

    candidate: Candidate
    graph: Graph
    lane_id: str
    head: str
    _touched: dict[str, str] = field(factory=dict, init=False)
    """By path, the last commit of others that changed it."""

    def look_up(self, paths: Iterable[str]) -> None:
        """Find who else changed these paths: one question for all of them."""
        listed = list(paths)
        if not listed:
            return
        git = self.candidate.mission.repo.git
        commit = ""
        # A merge counts where it is like none of its parents.
        fields = iter(
            git.records(
                "log", "-c", "--raw", "-z", "--no-renames", "--no-abbrev", "--full-history", "--topo-order", "--format=%H",
                f"{self.head}..{self.candidate.chain}", "--", *listed,
            )
        )  # fmt: skip
        for one in fields:
            told = one.strip("\n")
            if told.startswith(":"):
                path = next(fields)
                # The lane's own merge says no more than that there is somebody else.
                if self.head in self.graph.parents.get(self._touched.get(path, ""), (self.head,)):
                    self._touched[path] = commit
            elif told:
                commit = told

    def of(self, change: trees.Change, result: trees.Entry | None) -> str:
        """The way of one path. Errors: `MERGE_INCOMPLETE`."""
        commit = self._touched.get(change.path)
        if commit is None:
            moved = self._moved(change)
            if moved is None:
                raise KittyError(
                    "MERGE_INCOMPLETE",
                    f"the change of {self.lane_id} to {change.path} is not in the result",
                    "this is a fault of kitty: nothing was moved; report it",
                    lane=self.lane_id,
                    path=change.path,
                )
            return f"moved to {moved}"
        if result == change.old:
            return f"reverted by {commit}"
        for lane_id, head in self.candidate.heads:
            if lane_id != self.lane_id and commit in self.graph.reach(head):
                return f"{'superseded by' if self.head in self.graph.reach(head) else 'merged with'} {lane_id}"
            if lane_id != self.lane_id and head in self.graph.parents.get(commit, ()):
                return f"merged with {lane_id}"
        return f"merged with {commit}"

    def _moved(self, change: trees.Change) -> str | None:
        """Where Git has put a file of a directory that another lane renamed; without this setting of the user's, that is a conflict."""
        git = self.candidate.mission.repo.git
        # It may say `conflict`, too.
        if not git.is_set("merge.directoryrenames"):
            return None
        name = change.path.rpartition("/")[2]
        found = trees.changes(git, self.candidate.old, self.candidate.tip)
        same = (one.path for one in found if one.new == change.new and one.old is None)
        return next((path for path in same if path != change.path and path.rpartition("/")[2] == name), None)
