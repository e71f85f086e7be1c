"""`kitty lanes`: what the lanes are, what their processes get to see, and their exchange with a remote."""

from __future__ import annotations

import shlex
from typing import Any

import click

from kitty_host.api import KittyError
from kitty_host.command import Invocation, command, group
from kitty_host.lanes import PLANNING, require_lanes
from kitty_host.mission import lane_of_worktree
from kitty_host.report import counted, note
from kitty_merge.exchange import default_remote, exchange, remotes
from kitty_merge.workspace import environment, refresh, stale_lanes, worktree_path

lanes = group("lanes", help="Show lanes, their environment; exchange them with a remote.")


@command("show", mission=True, group=lanes)
def show(call: Invocation) -> None:
    """List the lanes with their work packages, branches and heads."""
    rows: list[dict[str, Any]] = []
    lines: list[str] = []
    stale = {one.lane.lane_id: one for one in stale_lanes(call.mission)}
    for lane in require_lanes(call.mission).lanes:
        path = worktree_path(call.mission, lane.lane_id)
        head = call.repo.git.commit_of(f"refs/heads/{lane.branch}")
        rows.append(
            {
                "lane_id": lane.lane_id,
                "wp_ids": lane.wp_ids,
                "depends_on": lane.depends_on,
                "branch": lane.branch,
                "head": head,
                "workspace_path": str(path) if path.is_dir() else None,
                "stale": stale[lane.lane_id].missing if lane.lane_id in stale else (),
            }
        )
        lines.append(f"{lane.lane_id:14} {', '.join(lane.wp_ids):22} {(head or 'no branch')[:10]:11} {lane.branch}")
        if lane.lane_id in stale:
            lines.append(f"{'':14} lacks what was approved since for a dependency: kitty lanes sync")
    call.show({"schema": "kitty.lanes/1", "lanes": rows}, "\n".join(lines))


@command("env", mission=True, group=lanes)
@click.argument("lane_id", metavar="LANE", required=False)
def env(call: Invocation, lane_id: str | None) -> None:
    """Print a lane's environment for a shell: eval "$(kitty lanes env lane-a)"."""
    known = [lane.lane_id for lane in require_lanes(call.mission).lanes if lane.lane_id != PLANNING]
    lane_id = lane_id or lane_of_worktree(call.repo, call.mission)
    if lane_id not in known:
        raise KittyError(
            "LANE_NOT_FOUND",
            f"there is no lane {lane_id}" if lane_id else "no lane is named",
            f"name one: {', '.join(known)}",
        )
    variables = environment(call.mission, lane_id)
    text = "\n".join(f"export {name}={shlex.quote(value)}" for name, value in variables.items())
    call.show({"schema": "kitty.lanes/1", "lanes": [{"lane_id": lane_id, "env": variables}]}, text)


@command("sync", mission=True, group=lanes)
@click.option("--push", is_flag=True, help="Publish this side's lanes and ledger too.")
@click.option("--remote", help="The remote; needed where there are several.")
def sync(call: Invocation, push: bool, remote: str | None) -> None:
    """Take in a remote's lanes and ledger, publish this side's with --push, and bring lanes up to date with what they depend on."""
    known = remotes(call.repo)
    if not known and not push and remote is None:
        refreshed = _refresh(call)
        call.show(
            {"schema": "kitty.lanes/1", "remote": None, "refreshed": refreshed},
            f"Brought up to date: {counted(len(refreshed), 'lane')}. No remote is configured.",
        )
        return
    chosen = remote or default_remote(call.repo)
    if chosen is None or chosen not in known:
        raise KittyError(
            "REMOTE_REQUIRED",
            f"there is no remote {chosen}" if chosen else "no remote is configured",
            f"run: git remote add {chosen or 'origin'} URL",
        )
    note(f"Exchanging with {chosen} …")
    done = exchange(call.mission, chosen, push=push)
    refreshed = _refresh(call)
    call.show(
        {"schema": "kitty.lanes/1", **done._asdict(), "refreshed": refreshed},
        f"New here: {counted(done.rows, 'row')}, {counted(len(done.lanes), 'lane')}; published: {counted(len(done.pushed), 'ref')}; "
        f"brought up to date: {counted(len(refreshed), 'lane')}.",
    )


def _refresh(call: Invocation) -> list[str]:
    mission = call.mission.refresh()
    refreshed: list[str] = []
    for stale in stale_lanes(mission):
        note(f"Bringing {counted(len(stale.missing), 'commit')} into {stale.lane.lane_id} …")
        refresh(mission, stale)
        refreshed.append(stale.lane.lane_id)
    return refreshed
