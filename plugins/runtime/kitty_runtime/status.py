"""`kitty status`: how far missions have come, over all nine lanes."""

from __future__ import annotations

import sys
from typing import Any

import click

from kitty_host.api import KittyError
from kitty_host.command import Invocation, command
from kitty_host.mission import Mission, read_missions
from kitty_host.report import note, shown
from kitty_host.state import State, mission_is_open
from kitty_runtime.overview import foresee, overview
from kitty_runtime.workspaces import missing_workspaces


@command("status", mission=True)
@click.option("--all", "everything", is_flag=True, help="Every mission, open or not.")
@click.option("--watch", is_flag=True, help="Redraw it whenever something changes, until Ctrl-C.")
def status(call: Invocation, everything: bool, watch: bool) -> None:
    """Show how far missions have come: the one that is meant, or all that are open."""
    if watch and (call.json or not sys.stdout.isatty()):
        raise click.UsageError("--watch is for people: it needs a terminal", click.get_current_context())
    # Nothing there yet is an answer, unless a branch switch took the missions away.
    if not (everything or call.selector or call.feature):
        everything = not call.missions and not call.damaged and not any((call.repo.state / "ledger").glob("*.jsonl"))
    if everything:
        rows, damaged = _every_row(call, call.missions, call.damaged)
    else:
        rows, damaged = _rows(call, _meant(call), with_forecast=True), []
    for error in damaged:
        note(f"{error}\n  {error.hint}")
    if call.json:
        call.show({"schema": "kitty.status/1", "missions": rows, "damaged": [shown(error) for error in damaged]})
        return
    from kitty_runtime import terminal

    if watch:
        # Missions remember what they have read.
        terminal.watch(
            call.repo,
            lambda: (
                _every_row(call, *read_missions(call.repo))[0]
                if everything
                else _rows(call, [mission.refresh() for mission in _meant(call)], with_forecast=True)
            ),
        )
    else:
        terminal.show(rows)


def _meant(call: Invocation) -> list[Mission]:
    """The mission that is named or stood in, or that is open; all that are open where they are several."""
    try:
        return [call.mission]
    except KittyError as error:
        several = [mission for mission in call.missions if mission_is_open(mission)]
        if error.code != "MISSION_REQUIRED" or not several:
            raise
        return several


def _every_row(
    call: Invocation, missions: list[Mission], damaged: list[KittyError]
) -> tuple[list[dict[str, Any]], list[KittyError]]:
    """All missions that can be read, and why the others cannot."""
    rows: list[dict[str, Any]] = []
    damaged = list(damaged)
    for mission in missions:
        try:
            rows += _rows(call, [mission], with_forecast=False)
        except KittyError as error:
            damaged.append(error)
    return rows, damaged


def _rows(call: Invocation, missions: list[Mission], *, with_forecast: bool) -> list[dict[str, Any]]:
    rows = []
    for mission in missions:
        state = State.load(mission)
        if with_forecast:
            state.noticed = tuple(missing_workspaces(call.plugins, state))
            if failed := foresee(call.plugins, state):
                note(f"No forecast: {failed}")
        rows.append(overview(state))
    return rows
