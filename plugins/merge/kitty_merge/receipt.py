"""The receipt of a landing: the account that landed, as it is printed, and its proof against Git."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

from kitty_host.api import KittyError
from kitty_host.ledger.event import LANDED, UNDONE
from kitty_host.mission import Mission
from kitty_host.records import Landing, LaneAccount, PathChange
from kitty_host.state import State
from kitty_merge import trees
from kitty_merge.account import LANDED as AS_IT_IS
from kitty_merge.own_records import is_record, record_path


def receipt(mission: Mission, state: State, new: str | None = None) -> dict[str, Any] | None:
    """The last landing as it is printed, with `new` filled in: the commit that introduced its account, which who landed it knows.

    None before a landing.
    """
    row = state.last_other(LANDED, UNDONE)
    if row is None or row.kind == UNDONE:
        return None
    payload: Mapping[str, Any] = row.row["payload"]
    git = mission.repo.git
    path = record_path(mission, payload["account"])
    content = git.read_blob(new or payload["target"], path)
    if content is None:
        raise KittyError(
            "MERGE_INCOMPLETE", f"{path} is not on {payload['target']}", "look with: git log --all -- " + path
        )
    if hashlib.sha256(content).hexdigest() != payload["account_sha256"]:
        raise KittyError(
            "LEDGER_DAMAGED", f"{path} is not what was landed", f"restore it: git log -- {path}", path=path
        )
    new = new or git.out("log", "-1", "--first-parent", "--diff-filter=A", "--format=%H", payload["target"], "--", path)
    return {**json.loads(content), "new": new}


def landing_of(receipt: Mapping[str, Any]) -> Landing:
    """The landing that a receipt tells of."""
    lanes = tuple(
        LaneAccount(
            lane["lane_id"],
            lane["head"],
            tuple(lane["wp_ids"]),
            tuple(lane["commits"]),
            tuple(PathChange(**path) for path in lane["paths"]),
        )
        for lane in receipt["lanes"]
    )
    told = {key: receipt[key] for key in ("mission_id", "target", "old", "new", "strategy", "event_id")}
    return Landing(**told, lanes=lanes, gates=tuple(receipt["gates"]), done=tuple(receipt["done"]))


def verify(mission: Mission, receipt: Mapping[str, Any]) -> None:
    """Compare every claim with Git's objects. Errors: `MERGE_INCOMPLETE` with the claims that do not hold."""
    wrong = list(_wrong(mission, receipt))
    if wrong:
        raise KittyError(
            "MERGE_INCOMPLETE",
            f"the receipt does not hold: {wrong[0]}{f' and {len(wrong) - 1} more' if wrong[1:] else ''}",
            f"look with: git show --stat {receipt['new'][:10]}",
            wrong=wrong,
        )


def _wrong(mission: Mission, receipt: Mapping[str, Any]) -> Iterator[str]:
    git, old, new = mission.repo.git, receipt["old"], receipt["new"]
    if not git.is_ancestor(old, new):
        yield f"{old[:10]} is not a base of {new[:10]}"
    result = trees.entries(git, new)
    for lane in receipt["lanes"]:
        lane_id, head = lane["lane_id"], lane["head"]
        if git.commit_of(head) is None:
            yield f"{lane_id}: its head {head[:10]} is not here any more"
            continue
        if receipt["strategy"] != "squash" and not git.is_ancestor(head, new):
            yield f"{lane_id}: {head[:10]} is not in {new[:10]}"
        if set(lane["commits"]) != set(git.lines("rev-list", head, "--not", old)):
            yield f"{lane_id}: its commits are others"
        told = {path["path"]: path for path in lane["paths"]}
        changed = {
            change.path: change
            for change in trees.changes(git, git.out("merge-base", old, head), head)
            if not is_record(mission, change.path)
        }
        yield from (f"{lane_id}: {path} is told of by one side only" for path in sorted(told.keys() ^ changed.keys()))
        for path in sorted(told.keys() & changed.keys()):
            landed = result.get(path)
            if told[path]["new"] != (landed.blob if landed else ""):
                yield f"{lane_id}: {path} has landed as {landed.blob[:10] if landed else 'nothing'}"
            if told[path]["how"] == AS_IT_IS and landed != changed[path].new:
                yield f"{lane_id}: {path} is not as the lane has it"
