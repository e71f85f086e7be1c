"""`kitty board`: the missions of this repository as a live page. What is on it is `page`'s, how it is served `serve`'s."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import webbrowser
from pathlib import Path

import click
from starlette.datastructures import QueryParams

from kitty_host.api import KittyError
from kitty_host.command import Invocation, command
from kitty_host.inert import inert
from kitty_host.ledger.reduce import Snapshot
from kitty_host.loopback import LOCAL, listen
from kitty_host.mission import Mission, mission_directories, read_mission
from kitty_host.records import Forecast, Page
from kitty_host.state import State
from kitty_host.system import BROWSER_NEEDS
from kitty_runtime.overview import foresee
from kitty_runtime.serve import new_token, serve
from kitty_runtime.stamp import stamp
from kitty_runtime.workspaces import missing_workspaces


@command("board")
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="Where to listen; a free port unless given.")
@click.option("--no-open", is_flag=True, help="Only print the address.")
def board(call: Invocation, port: int, no_open: bool) -> None:
    """Show missions in a browser, live, until Ctrl-C."""
    repo = call.repo
    token = new_token()
    # Ctrl-C is how it ends, at whatever moment.
    with listen(port) as listener, contextlib.suppress(KeyboardInterrupt):
        port = listener.getsockname()[1]
        url = f"http://{LOCAL}:{port}/{token}/"
        call.show(
            {"schema": "kitty.board/1", "url": url, "port": port},
            f"{url}\nWhoever has this address can see the board. Ctrl-C ends it.",
        )
        sys.stdout.flush()
        if not no_open and _has_browser():
            # Some browsers come back when they are closed.
            threading.Thread(target=webbrowser.open, args=[url], daemon=True).start()
        serve(listener, token, lambda query: _page(call, query), lambda: stamp(repo))


def _has_browser() -> bool:
    """One without a display takes the terminal, on systems where there is such a thing."""
    return not BROWSER_NEEDS or any(os.environ.get(name) for name in BROWSER_NEEDS)


def _page(call: Invocation, query: QueryParams) -> Page:
    wanted = query.get("mission")
    states = [_state(call, place) for place in mission_directories(call.repo)]
    if wanted is not None:
        states = [state for state in states if wanted in (state.mission.slug, state.mission.mission_id)]
        if not states:
            raise KittyError("MISSION_NOT_FOUND", f"there is no mission {inert(wanted)} here", "see ?all")
    elif "all" not in query:
        states = [state for state in states if state.is_open or state.fault]
    for state in states:
        _complete(call, state)
    page: Page = call.plugins.required("kitty_board_page", states=tuple(states), links=())
    return page


def _state(call: Invocation, directory: Path) -> State:
    """A mission as it stands now; one that cannot be read is there too, with its fault."""
    mission = Mission(call.repo, directory, {})
    try:
        mission = read_mission(call.repo, directory)
        return State.load(mission)
    except KittyError as error:
        state = State(mission, Snapshot())
        state.fault = error
        return state


def _complete(call: Invocation, state: State) -> None:
    """What a page shows besides: what is ahead, and what happened lately."""
    if state.fault is not None:
        return
    try:
        if failed := foresee(call.plugins, state):
            state.forecast = Forecast(None, reason=failed)
        state.noticed = tuple(missing_workspaces(call.plugins, state))
        state.recent = state.mission.ledger.recent()
    except KittyError as error:
        state.fault = error
