"""`kitty merge --preview`: the forecast of a landing, as it is printed."""

from __future__ import annotations

from typing import Any

from kitty_host.command import Invocation
from kitty_host.inert import inert
from kitty_host.lanes import require_lanes
from kitty_merge.heads import read_heads
from kitty_merge.leases import Trespass, all_trespasses
from kitty_merge.preview import Kinds, Preview, conflicts, preview


def show_preview(call: Invocation) -> None:
    """Print which lanes conflict, where and why, and who changes what is not theirs. Errors: as `preview`."""
    state, heads = call.state(), read_heads(call.mission)
    told = preview(state, heads)
    leases = all_trespasses(state, require_lanes(call.mission), heads) if told.lanes else []
    payload = {
        "schema": "kitty.preview/1",
        "pairs": [{"a": pair.a, "b": pair.b, **_outcome(pair.kinds)} for pair in told.pairs],
        "chain": {**_outcome(told.kinds if told.lane else None), "lane": told.lane.lane_id if told.lane else None},
        "leases": [_lease(one) for one in leases],
    }
    lines = [*_matrix(told)]
    for one in conflicts(state, told):
        lines += [f"{one['lane']} with {' and '.join(one['others'])}:", f"  {one['hint']}"]
    for lease in leases:
        finding = lease.finding()
        lines += [f"{finding.code}: {lease.lane.lane_id}: {finding.message}", f"  {finding.hint}"]
    call.show(payload, "\n".join(lines) or "No lane has a branch yet.")


def _outcome(kinds: Kinds | None) -> dict[str, Any]:
    return {"clean": kinds is None, "paths": list(kinds or {}), "kinds": dict(kinds or {})}


def _lease(one: Trespass) -> dict[str, Any]:
    return {
        "lane": one.lane.lane_id,
        "path": one.path,
        "owner": one.owner.lane_id,
        "wp_ids": list(one.owner.wp_ids),
        "hint": one.hint,
    }


def _matrix(told: Preview) -> list[str]:
    if not told.lanes:
        return []
    lines = [f"{pair.a:14} {pair.b:14} {_told(pair.kinds)}" for pair in told.pairs]
    first = f"{told.lane.lane_id}: {_told(told.kinds)}" if told.lane else "clean"
    return [*lines, f"{'all of them':29} {first}"]


def _told(kinds: Kinds | None) -> str:
    if kinds is None:
        return "clean"
    return f"conflict in {', '.join(f'{inert(path, prose=True)} ({kind})' for path, kind in kinds.items())}"
