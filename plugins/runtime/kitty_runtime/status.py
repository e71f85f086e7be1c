"""`kitty status`: how far missions have come, over all nine lanes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from kitty_host.api import KittyError
from kitty_host.command import Invocation, command
from kitty_host.inert import inert
from kitty_host.lanes import lane_ids
from kitty_host.plugins import PluginFault
from kitty_host.report import note
from kitty_host.state import State
from kitty_runtime.workspaces import missing_workspaces

if TYPE_CHECKING:
    from kitty_host.ledger.event import Other
    from kitty_host.records import Forecast

_EXCEPTION = ("gate", "scenario", "operator", "granted", "expires", "environmental", "follow_up")
_SHOWN = 3
"""How many paths of a conflict are named."""


@command("status", mission=True)
@click.option("--all", "everything", is_flag=True, help="Every mission, open or not.")
def status(call: Invocation, everything: bool) -> None:
    """Show how far missions have come."""
    # Nothing there yet is an answer, unless a branch switch took the missions away.
    empty = not call.missions and not any((call.repo.state / "ledger").glob("*.jsonl"))
    everything = everything or (empty and not (call.selector or call.feature))
    states = [State.load(mission) for mission in call.missions] if everything else [call.state()]
    rows = [_row(state) for state in states]
    for row, state in zip(rows, states, strict=True):
        row["findings"] += [finding._asdict() for finding in missing_workspaces(call.plugins, state)]
    if not everything and states[0].is_open and any(package["lane_id"] for package in rows[0]["packages"]):
        rows[0]["forecast"] = _forecast(call, states[0])
    call.show(
        {"schema": "kitty.status/1", "missions": rows}, "\n\n".join(_told(row) for row in rows) or "No missions yet."
    )


def _row(state: State) -> dict[str, Any]:
    mission = state.mission
    lanes = lane_ids(mission)
    packages = {package.wp_id: package for package in state.packages}
    progress = state.progress()
    rows = []
    for wp_id in state.wp_ids():
        package, known = packages.get(wp_id), state.package_state(wp_id)
        rows.append(
            {
                "wp_id": wp_id,
                "title": inert(package.title, prose=True) if package else "",
                "lane": state.shown_lane(wp_id),
                "agent": inert(known.agent, prose=True) if known and known.slots.get("agent") else None,
                "lane_id": lanes.get(wp_id),
                "depends_on": list(package.dependencies) if package else [],
                "last_event_id": known.event_id if known else None,
            }
        )
    return {
        "mission_id": mission.mission_id,
        "slug": mission.slug,
        "title": mission.title,
        "open": state.is_open,
        "lanes": progress.lanes,
        "packages": rows,
        "progress": {
            "done": progress.done,
            "approved": progress.approved,
            "total": progress.total,
            "percent": progress.percent,
        },
        "findings": [finding._asdict() for finding in [*mission.ledger.findings(), *mission.package_findings]],
        "exceptions": [_exception(row) for row in state.exceptions()],
        "forecast": None,
    }


def _exception(row: Other) -> dict[str, str]:
    """What was let pass, by whom and until when; it is shown for ever, also when it holds no more."""
    payload = row.row.get("payload")
    told = payload if isinstance(payload, dict) else {}
    return {name: _shown(str(told.get(name) or "")) for name in _EXCEPTION}


def _shown(text: str) -> str:
    """An issue's number and an address are harmless as they are."""
    return text if re.fullmatch(r"[\w./:#-]{1,200}", text, re.ASCII) else inert(text, prose=True)


def _forecast(call: Invocation, state: State) -> dict[str, Any] | None:
    """Whether the lanes would land as they are; None where there is nothing to say. A failure is said on standard error."""
    try:
        found: Forecast | None = call.plugins.first("kitty_forecast", mission=state.mission)
    except (KittyError, PluginFault) as error:
        note(f"No forecast: {error}")
        return None
    return {**found._asdict(), "conflicts": [dict(one) for one in found.conflicts]} if found else None


def _foretold(forecast: dict[str, Any]) -> Iterator[str]:
    """What will go wrong: the first conflict, and its way out."""
    conflicts = forecast["conflicts"]
    if forecast["clean"] is None:
        yield f"  no forecast: {forecast['reason']}"
    elif conflicts:
        one, more = conflicts[0], len(conflicts) - 1
        where = [f"{inert(path, prose=True)} ({one['kinds'][path]})" for path in one["paths"]]
        named = ", ".join(where[:_SHOWN]) + (f" and {len(where) - _SHOWN} more" if len(where) > _SHOWN else "")
        rest = f"; {more} more: kitty merge --preview" if more else ""
        yield f"  {one['lane']} will conflict with {' and '.join(one['others'])} in {named}{rest}"
        yield f"    {one['hint']}"


def _told(row: dict[str, Any]) -> str:
    progress = row["progress"]
    bar = "#" * (progress["percent"] // 5)
    waiting = progress["approved"] - progress["done"]
    counts = f"{progress['done']} of {progress['total']} done{f', {waiting} approved' if waiting else ''}"
    lines = [f"{row['slug']}: {row['title']}", f"  [{bar:.<20}] {progress['percent']} %  {counts}"]
    for package in row["packages"]:
        after = f"  after {', '.join(map(inert, package['depends_on']))}" if package["depends_on"] else ""
        who = f"  {package['agent']}" if package["agent"] else ""
        lines.append(
            f"  {inert(package['wp_id'])}  {package['lane']:12} {package['lane_id'] or '-':14} {package['title']}{who}{after}"
        )
    lines += [f"  {finding['code']}: {finding['message']}" for finding in row["findings"]]
    for one in row["exceptions"]:
        lines.append(f"  exception from {one['gate']}: {one['scenario']}, by {one['operator']}")
        lines.append(f"    {one['granted']} to {one['expires']}: {one['environmental']}; {one['follow_up']}")
    lines += _foretold(row["forecast"]) if row["forecast"] else []
    return "\n".join(lines)
