"""What is shown of a mission: the one object that the terminal, `--json` and the page take their numbers and texts from.

Titles and whatever else people wrote are inert in it; ids and paths are as they were written. How it all looks is decided elsewhere.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from kitty_host.api import KittyError
from kitty_host.inert import inert
from kitty_host.lanes import lane_ids
from kitty_host.ledger.machine import APPROVED, BLOCKED, CANCELED, DONE, IN_REVIEW, SETTLED
from kitty_host.plugins import PluginFault, Plugins
from kitty_host.state import State

if TYPE_CHECKING:
    from kitty_host.effort import Effort
    from kitty_host.ledger.event import Other
    from kitty_host.ledger.wp import WpState
    from kitty_host.packages import Package

_EXCEPTION = ("gate", "scenario", "operator", "granted", "expires", "environmental", "follow_up")


def overview(state: State) -> dict[str, Any]:
    """One mission as `kitty status --json` has it. Errors: `LANES_INVALID`."""
    mission = state.mission
    progress = state.progress()
    efforts = state.efforts()
    return {
        "mission_id": mission.mission_id,
        "slug": mission.slug,
        "title": mission.title,
        "open": state.is_open,
        "lanes": progress.lanes,
        "packages": _packages(state, efforts),
        "progress": {
            "done": progress.done,
            "approved": progress.approved,
            "total": progress.total,
            "percent": progress.percent,
        },
        "effort": told_effort(efforts[""]) if efforts else None,
        "findings": [finding._asdict() for finding in [*mission.findings(), *state.noticed]],
        "exceptions": [_exception(row) for row in state.exceptions()],
        "forecast": _forecast(state),
    }


def overview_or_fault(state: State) -> dict[str, Any]:
    """As `overview`; of a mission that cannot be read its names and, under `fault`, why: `code`, `message`, `hint`."""
    try:
        if state.fault is None:
            return {**overview(state), "fault": None}
        error = state.fault
    except KittyError as found:
        error = found
    mission = state.mission
    return {
        "mission_id": inert(mission.mission_id),
        "slug": inert(mission.slug),
        "title": mission.title,
        "fault": {"code": error.code, "message": error.message, "hint": error.hint},
    }


def foresee(plugins: Plugins, state: State) -> str:
    """Ask whether the lanes would land as they are, if the mission is open and has lanes. Returns what failed; empty where nothing did."""
    if not state.is_open or not lane_ids(state.mission):
        return ""
    try:
        state.forecast = plugins.first("kitty_forecast", mission=state.mission)
    except (KittyError, PluginFault) as error:
        return str(error)
    return ""


def told_effort(effort: Effort) -> dict[str, Any]:
    """An effort as it is printed: `seconds`, `tokens`, and `cost` as a text; what nobody told is null."""
    return {**effort._asdict(), "cost": None if effort.cost is None else f"{effort.cost:f}"}


def spent(effort: dict[str, Any]) -> str:
    """A printed effort as people say it: `1 h 05 min, 12,000 tokens, cost 0.42`."""
    seconds, tokens, cost = effort["seconds"], effort["tokens"], effort["cost"]
    told = [] if seconds is None else [_duration(seconds)]
    told += [] if tokens is None else [f"{tokens:,} tokens"]
    told += [] if cost is None else [f"cost {cost}"]
    return ", ".join(told)


def counted(row: dict[str, Any]) -> str:
    """How far a mission is, in words: `2 of 5 done, 1 approved`."""
    progress = row["progress"]
    waiting = progress["approved"] - progress["done"]
    return f"{progress['done']} of {progress['total']} done{f', {waiting} approved' if waiting else ''}"


def _packages(state: State, efforts: dict[str, Effort]) -> list[dict[str, Any]]:
    lanes = lane_ids(state.mission)
    packages = {package.wp_id: package for package in state.packages}
    rows = []
    for wp_id in state.wp_ids():
        package, known, lane = packages.get(wp_id), state.package_state(wp_id), state.shown_lane(wp_id)
        rows.append(
            {
                "wp_id": wp_id,
                "title": inert(package.title, prose=True) if package else "",
                "lane": lane,
                "agent": inert(known.agent, prose=True) if known and known.slots.get("agent") else None,
                "reviewer": inert(known.actor, prose=True) if known and lane == IN_REVIEW else None,
                "lane_id": lanes.get(wp_id),
                "depends_on": list(package.dependencies) if package else [],
                "reason": _reason(known),
                "waits_for": _waits_for(state, package) if package and lane not in SETTLED else [],
                "subtasks": _subtasks(state, package) if package and package.subtasks else None,
                "effort": told_effort(efforts[wp_id]) if wp_id in efforts else None,
                "last_event_id": known.event_id if known else None,
            }
        )
    return rows


def _reason(known: WpState | None) -> str | None:
    """Why it is blocked or cancelled, where somebody said so."""
    row = known.entered.get(known.lane) if known and known.lane in (BLOCKED, CANCELED) else None
    said = row.row.get("reason") if row else None
    return inert(str(said), prose=True) if said else None


def _waits_for(state: State, package: Package) -> list[str]:
    return [wp_id for wp_id in package.dependencies if state.lane(wp_id) not in (APPROVED, DONE)]


def _subtasks(state: State, package: Package) -> dict[str, int]:
    total = len(package.subtasks)
    return {"done": total - len(state.open_subtasks(package)), "total": total}


def _exception(row: Other) -> dict[str, str]:
    """What was let pass, by whom and until when; it is shown for ever, also when it holds no more."""
    payload = row.row.get("payload")
    told = payload if isinstance(payload, dict) else {}
    return {name: _shown(str(told.get(name) or "")) for name in _EXCEPTION}


def _shown(text: str) -> str:
    """An issue's number and an address are harmless as they are."""
    return text if re.fullmatch(r"[\w./:#-]{1,200}", text, re.ASCII) else inert(text, prose=True)


def _forecast(state: State) -> dict[str, Any] | None:
    found = state.forecast
    return {**found._asdict(), "conflicts": [dict(one) for one in found.conflicts]} if found else None


def _duration(seconds: int) -> str:
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours:,} h {minutes:02} min"
    return f"{minutes} min" if minutes and not rest else f"{minutes} min {rest:02} s" if minutes else f"{rest} s"
