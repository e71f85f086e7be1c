"""`kitty status`: how far missions have come, over all nine lanes."""

from __future__ import annotations

import sys
from typing import Any

import click

from kitty_host.command import Invocation, command
from kitty_host.mission import Mission, find_missions
from kitty_host.report import note
from kitty_host.state import State
from kitty_runtime.overview import foresee, overview


@command("status", mission=True)
@click.option("--all", "everything", is_flag=True, help="Every mission, open or not.")
@click.option("--watch", is_flag=True, help="Redraw it whenever something changes, until Ctrl-C.")
def status(call: Invocation, everything: bool, watch: bool) -> None:
    """Show how far missions have come."""
    if watch and (call.json or not sys.stdout.isatty()):
        raise click.UsageError("--watch is for people: it needs a terminal", click.get_current_context())
    # Nothing there yet is an answer, unless a branch switch took the missions away.
    empty = not call.missions and not any((call.repo.state / "ledger").glob("*.jsonl"))
    everything = everything or (empty and not (call.selector or call.feature))
    rows = _rows(call, call.missions if everything else [call.mission], with_forecast=not everything)
    if call.json:
        call.show({"schema": "kitty.status/1", "missions": rows})
        return
    from kitty_runtime import terminal

    if watch:
        # Missions remember what they have read.
        terminal.watch(
            call.repo,
            lambda: _rows(
                call, find_missions(call.repo) if everything else [call.mission.refresh()], with_forecast=not everything
            ),
        )
    else:
        terminal.show(rows)


def _rows(call: Invocation, missions: list[Mission], *, with_forecast: bool) -> list[dict[str, Any]]:
    rows = []
    for mission in missions:
        state = State.load(mission)
        if with_forecast and (failed := foresee(call.plugins, state)):
            note(f"No forecast: {failed}")
        rows.append(overview(state))
    return rows
