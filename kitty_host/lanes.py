"""`lanes.json`: the file in which a mission's lanes are kept, in the format that spec-kitty reads.

What the lanes of a mission should be is the planner's business, a plugin's; the file is a record of what it answered.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from kitty_host.api import KittyError
from kitty_host.files import atomic_write
from kitty_host.mission import Mission

if TYPE_CHECKING:
    from kitty_host.records import Lanes

FILE = "lanes.json"
PLANNING = "lane-planning"


def lane_ids(mission: Mission) -> dict[str, str]:
    """The lane of each work package by id; empty before `finalize`. Plain, for commands that run all day."""
    data = _read(mission)
    return {wp_id: lane["lane_id"] for lane in data["lanes"] for wp_id in lane["wp_ids"]} if data else {}


def read_lanes(mission: Mission) -> Lanes | None:
    """The lanes, or None before `finalize`. Errors: `LANES_INVALID`."""
    from kitty_host.records import Lane, Lanes

    data = _read(mission)
    if data is None:
        return None
    return Lanes(
        tuple(
            Lane(
                lane["lane_id"],
                tuple(lane["wp_ids"]),
                tuple(lane.get("write_scope") or ()),
                tuple(lane.get("depends_on_lanes") or ()),
                int(lane.get("parallel_group") or 0),
                branch_of(mission, lane["lane_id"]),
            )
            for lane in data["lanes"]
        ),
        tuple(data.get("planning_artifact_wps") or ()),
        tuple((data.get("collapse_report") or {}).get("events") or ()),
        data.get("planning_commit_sha") or "",
    )


def require_lanes(mission: Mission) -> Lanes:
    """The lanes. Errors: `LANES_MISSING` before `finalize`."""
    lanes = read_lanes(mission)
    if lanes is None:
        raise KittyError("LANES_MISSING", f"{mission.slug} has no {FILE} yet", "run: kitty finalize")
    return lanes


def branch_of(mission: Mission, lane_id: str) -> str:
    """The branch of a lane, without `refs/heads/`."""
    return f"{mission.branch}-{lane_id}"


def plan_ref(mission: Mission) -> str:
    """The ref that keeps the commit of the whole plan, `lanes.json` included, which that file cannot name itself."""
    return f"refs/kitty/{mission.mission_id}/plan"


def encode_lanes(mission: Mission, lanes: Lanes) -> bytes:
    """`lanes.json` as bytes."""
    by_rule: dict[str, int] = {}
    for collapse in lanes.collapses:
        by_rule[collapse["rule"]] = by_rule.get(collapse["rule"], 0) + 1
    data = {
        "version": 1,
        "mission_slug": mission.slug,
        "mission_id": mission.mission_id,
        "mission_branch": mission.branch,
        "target_branch": mission.target,
        "lanes": [
            {
                "lane_id": lane.lane_id,
                "wp_ids": lane.wp_ids,
                "write_scope": lane.write_scope,
                "predicted_surfaces": ["planning"] if lane.lane_id == PLANNING else [],
                "depends_on_lanes": lane.depends_on,
                "parallel_group": lane.group,
            }
            for lane in lanes.lanes
        ],
        "computed_at": datetime.now(UTC).isoformat(timespec="microseconds"),
        "computed_from": "dependency_graph+ownership",
        "planning_artifact_wps": lanes.planning,
        "planning_commit_sha": lanes.planning_commit or None,
        "collapse_report": {
            "events": lanes.collapses,
            "total_merges": len(lanes.collapses),
            "independent_wps_collapsed": len(lanes.collapses) - by_rule.get("dependency", 0),
            "by_rule": by_rule,
        },
    }
    return (json.dumps(data, indent=2) + "\n").encode()


def write_lanes(mission: Mission, lanes: Lanes) -> None:
    """Write the file; one that already says the same is left alone, whatever its time."""
    present, content = _read(mission), encode_lanes(mission, lanes)
    if present is None or _timeless(present) != _timeless(json.loads(content)):
        atomic_write(mission.directory / FILE, content)


def _timeless(data: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in data.items() if key not in ("computed_at", "planning_commit_sha")}


def _read(mission: Mission) -> dict[str, Any] | None:
    if not mission.has_files:
        return None
    path = mission.directory / FILE
    try:
        data = json.loads(path.read_bytes())
        valid = all(isinstance(lane["lane_id"], str) and isinstance(lane["wp_ids"], list) for lane in data["lanes"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise KittyError(
            "LANES_INVALID", f"{path}: {error!r}", "make it again: kitty finalize", path=str(path)
        ) from error
    if not valid:
        raise KittyError(
            "LANES_INVALID", f"{path}: a lane has no id or no work packages", "make it again: kitty finalize"
        )
    return dict(data)
