"""The merged result, built aside: the chain of lanes on the target, and its key.

The key is explained in ADR 0005.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence

from attrs import evolve

from kitty_host.api import KittyError
from kitty_host.ledger.log import FILE as LEDGER
from kitty_host.mission import Mission
from kitty_host.records import Candidate, Lane
from kitty_host.state import State
from kitty_merge import trees
from kitty_merge.engine import Engine, engine_for
from kitty_merge.graph import Graph
from kitty_merge.heads import joined, live_lanes, read_heads, require_target
from kitty_merge.meeting import Step, steps
from kitty_merge.own_records import is_record, record_path
from kitty_merge.ways import settle

MERGE, SQUASH = "merge", "squash"


def build(mission: Mission) -> Candidate:
    """The candidate of a mission as its lanes and its target are now, with the user's hooks. Moves no ref.

    Errors: `MERGE_CONFLICT` with lane and paths, `LANES_MISSING`, `MERGE_INCOMPLETE` where the target does not exist, `COMMIT_REFUSED`.
    """
    git = mission.repo.git
    found = read_heads(mission)
    old = require_target(mission, found)
    lanes = live_lanes(State.load(mission), found)
    graph = Graph.read(git, [head for _, head in lanes], old)
    tip = old
    with engine_for(mission.repo) as engine:
        for number, step in enumerate(steps(git, graph, old, [head for _, head in lanes])):
            if step is not None:
                tip = _chain(mission, engine, tip, lanes[number], lanes[:number], found.settled, step)
    git.objects.flush()
    tree = _judged_tree(mission, tip)
    named = tuple((lane.lane_id, head) for lane, head in lanes)
    key = hashlib.sha256(json.dumps([old, named, tree]).encode()).hexdigest()
    return Candidate(mission, key, f"refs/heads/{mission.target}", old, tip, tip, tree, named)


def squashed(candidate: Candidate) -> Candidate:
    """The same result as one commit on the target, with a trailer for the head of each lane. Errors: `COMMIT_REFUSED`."""
    if candidate.tip == candidate.old:
        return evolve(candidate, strategy=SQUASH)
    git = candidate.mission.repo.git
    trailers = "".join(f"Kitty-Lane: {lane_id} {head}\n" for lane_id, head in candidate.heads)
    message = f"{candidate.mission.title}\n\n{trailers}"
    tree = trees.tree_of(candidate.mission.repo, candidate.tip).id
    with engine_for(candidate.mission.repo) as engine:
        tip = engine.commit(tree, candidate.old, message, source="squash")
    git.objects.flush()
    return evolve(candidate, tip=tip, strategy=SQUASH)


def _chain(
    mission: Mission,
    engine: Engine,
    tip: str,
    joining: tuple[Lane, str],
    before: Sequence[tuple[Lane, str]],
    settled: Mapping[str, str],
    step: Step,
) -> str:
    git = mission.repo.git
    lane, head = joining
    titles = {package.wp_id: package.title for package in mission.packages}
    listed = "".join(f"{wp_id} {titles.get(wp_id, '')}\n" for wp_id in lane.wp_ids)
    message = f"Merge {lane.lane_id} of {mission.slug}\n\n{listed}"
    if settled and (known := settled.get(joined(trees.tree_of(mission.repo, tip).id, head))):
        message += f"\nConflicts were settled by {git.out('log', '-1', '--format=%an <%ae>', known)}.\n"
        return engine.join(git.out("rev-parse", f"{known}^{{tree}}"), tip, head, message)
    commit, conflicts = engine.merge(tip, head, message, step)
    if conflicts and all(is_record(mission, path) for path in conflicts):
        return engine.join(_with_records_of(mission, tip, head), tip, head, message)
    if conflicts:
        git.objects.flush()
        others = [other for other, its_head in before if engine.conflicts(its_head, head)]
        causes = others[:1]
        if not others and not engine.conflicts(f"refs/heads/{mission.target}", head):
            # It fits each of them, and not all of them together.
            others = causes = [other for other, _ in before]
        named = " and ".join(f"{one.lane_id} ({', '.join(one.wp_ids)})" for one in causes) or mission.target
        raise KittyError(
            "MERGE_CONFLICT",
            f"{lane.lane_id} ({', '.join(lane.wp_ids)}) conflicts with {named} in {', '.join(conflicts[:5])}",
            f"settle it where it lands: kitty merge; or in its lane: {settle(State.load(mission), lane, causes)}",
            lane=lane.lane_id,
            wp_ids=list(lane.wp_ids),
            paths=list(conflicts),
            others=[other.lane_id for other in others],
            tip=tip,
            head=head,
        )
    return commit


def _with_records_of(mission: Mission, tip: str, head: str) -> str:
    """The merged tree where nothing but this mission's own records conflicts: they are the chain's, and the ledger has the lane's rows too.

    Conflict markers would enter history otherwise, or rows that only an old copy has would leave it.
    """
    repo = mission.repo
    tree, conflicts = trees.merge(trees.beside(repo, tip), tip, head)
    mine = trees.entries(repo.git, tip, *conflicts)
    updates: dict[str, trees.Entry | None] = {path: mine.get(path) for path in conflicts}
    ledger = record_path(mission, LEDGER)
    if ledger in updates:
        copies = [(repo.git.read_blob(commit, ledger) or b"").split(b"\n") for commit in (tip, head)]
        lines = mission.ledger.union(*([line for line in copy if line.strip()] for copy in copies))
        updates[ledger] = trees.Entry("100644", repo.git.write_blob(b"".join(line + b"\n" for line in lines)))
    return trees.with_entries(repo, tree, updates)


def _judged_tree(mission: Mission, commit: str) -> str:
    """The tree without this mission's own records."""
    directory = mission.repo.relative(mission.directory)
    found = trees.listed(mission.repo, commit, directory)
    records = [path for name in found if is_record(mission, path := f"{directory}/{name}")]
    return trees.id_with_entries(mission.repo, commit, dict.fromkeys(records))
