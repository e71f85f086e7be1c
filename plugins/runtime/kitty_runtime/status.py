"""`kitty status`: how far missions have come, over all nine lanes."""

from __future__ import annotations

from typing import Any

import click

from kitty_host.command import Invocation, command
from kitty_host.inert import inert
from kitty_host.lanes import lane_ids
from kitty_host.state import State


@command("status", mission=True)
@click.option("--all", "everything", is_flag=True, help="Every mission, open or not.")
def status(call: Invocation, everything: bool) -> None:
    """Show how far missions have come."""
    # Nothing there yet is an answer, unless a branch switch took the missions away.
    empty = not call.missions and not any((call.repo.state / "ledger").glob("*.jsonl"))
    everything = everything or (empty and not (call.selector or call.feature))
    states = [State.load(mission) for mission in call.missions] if everything else [call.state()]
    rows = [_row(state) for state in states]
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
    }


def _told(row: dict[str, Any]) -> str:
    progress = row["progress"]
    bar = "#" * (progress["percent"] // 5)
    waiting = progress["approved"] - progress["done"]
    counts = f"{progress['done']} of {progress['total']} done{f', {waiting} approved' if waiting else ''}"
    lines = [f"{row['slug']}: {row['title']}", f"  [{bar:.<20}] {progress['percent']} %  {counts}"]
    for package in row["packages"]:
        after = f"  after {', '.join(package['depends_on'])}" if package["depends_on"] else ""
        who = f"  {package['agent']}" if package["agent"] else ""
        lines.append(
            f"  {package['wp_id']}  {package['lane']:12} {package['lane_id'] or '-':14} {package['title']}{who}{after}"
        )
    lines += [f"  {finding['code']}: {finding['message']}" for finding in row["findings"]]
    return "\n".join(lines)
