"""`kitty implement`: claim a work package, then allocate a place to work on it.

The claim is recorded before anything is allocated, so that whatever happens next is visible: an allocation that fails blocks
the work package with the cause, and running the command again retries.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from kitty_host.api import KittyError
from kitty_host.claims import FAILED, Claim, pending
from kitty_host.command import Invocation, command
from kitty_host.governance import given, told
from kitty_host.inert import inert
from kitty_host.ledger.emit import emit, foreseen
from kitty_host.ledger.event import Row, annotation
from kitty_host.ledger.machine import BLOCKED, CLAIMED, GENESIS, IN_PROGRESS, PLANNED
from kitty_host.packages import Package
from kitty_host.records import Rules, Workspace
from kitty_host.state import State, dependencies_missing
from kitty_runtime import branches
from kitty_runtime.packages import implementer, occupied, refuse, row, same, way_on
from kitty_runtime.prompts import hand_out
from kitty_runtime.rules import rules_given
from kitty_runtime.types import IMPLEMENT


@command("implement", mission=True, agent=True)
@click.argument("wp")
@branches.option
def implement(call: Invocation, wp: str, branch_strategy: str | None) -> None:
    """Claim a work package and get a place to work on it."""
    package = call.mission.package(wp)
    actor = call.actor()
    branches.require_acknowledged(call, branch_strategy)
    rules = given(call.plugins, call.repo, "implement")
    # What is refused now leaves no trace; whoever was faster meanwhile is met again under the lock.
    claim(foreseen(call.mission), package, actor, {})
    with pending(call.mission, package.wp_id) as record:
        rows = _claimed(call, package, actor, rules, record)
        governed, named = rules_given(call, package, rules, rows, CLAIMED, IN_PROGRESS)
        workspace = _place(call, package, actor, record)
    where = str(workspace.path) if workspace.path else None
    prompt = hand_out(call, package, IMPLEMENT, workspace, rules)
    payload = {
        "schema": "kitty.implement/1",
        "wp_id": package.wp_id,
        "lane": IN_PROGRESS,
        "lane_id": workspace.lane_id,
        "workspace_path": where,
        "branch": workspace.branch,
        "base": workspace.base,
        "env": dict(workspace.env),
        "notes": list(workspace.notes),
        "rules": governed,
        "prompt_file": str(prompt),
    }
    lines = [
        f"{package.wp_id} is yours: {inert(package.title, prose=True)}",
        f"  work in   {where or call.repo.root}",
        f"  on        {workspace.branch}{named}",
        f"  prompt    {prompt}",
        *(f"  {note}" for note in workspace.notes),
        f"Then: {'commit, and ' if where else ''}kitty submit {package.wp_id}{call.which}",
    ]
    call.show(payload, "\n".join(lines))


def _claimed(call: Invocation, package: Package, actor: str, rules: Rules | None, record: Claim) -> list[Row]:
    try:
        return emit(call.plugins, call.mission, lambda state: claim(state, package, actor, told(rules)))
    except KittyError:
        record.refused()
        raise


def _place(call: Invocation, package: Package, actor: str, record: Claim) -> Workspace:
    """Where to work, or the reason in the ledger why there is no such place."""
    try:
        workspace: Workspace = call.plugins.required("kitty_workspace", package=package, mission=call.mission)
    except Exception as error:
        cause = (
            f"{error.code}: {error.message}" if isinstance(error, KittyError) else f"{type(error).__name__}: {error}"
        )
        emit(
            call.plugins,
            call.mission,
            lambda state: [_blocked(state, package, actor, cause)] if _is_mine(state, package, actor) else [],
        )
        record.over(made=False)
        raise
    record.over(made=True)
    return workspace


def _blocked(state: State, package: Package, actor: str, cause: str) -> Row:
    return row(state, package, BLOCKED, actor, reason=FAILED, policy_metadata={"evidence": cause})


def _is_mine(state: State, package: Package, actor: str) -> bool:
    """Whether the claim still stands: another process of the same agent may have been luckier, and further on by now."""
    return state.lane(package.wp_id) == IN_PROGRESS and same(implementer(state, package.wp_id), actor)


def claim(state: State, package: Package, actor: str, rules: Mapping[str, Any]) -> list[Row]:
    """The rows that make a work package the actor's, with the rules that go with it; none where it is already.

    Errors: `TRANSITION_REFUSED`.
    """
    lane = state.lane(package.wp_id)
    known = state.package_state(package.wp_id)
    if lane in (CLAIMED, IN_PROGRESS) and known is not None:
        if not same(known.agent, actor):
            raise refuse(
                f"{package.wp_id} is {inert(known.agent, prose=True)}'s",
                f"take another one, or: kitty move {package.wp_id} planned --reason R",
            )
        # Claimed with another command, and only now handed out.
        return (
            [row(state, package, IN_PROGRESS, actor, policy_metadata={"agent": actor, **rules})]
            if lane == CLAIMED
            else []
        )
    if lane not in (PLANNED, BLOCKED):
        raise refuse(
            f"{package.wp_id} has no lane yet" if lane == GENESIS else f"{package.wp_id} is {lane}",
            f"run: {way_on(lane, package.wp_id)}",
        )
    for finding in dependencies_missing(state, package):
        raise refuse(finding.message, finding.hint)
    busy = occupied(state, package)
    if busy:
        raise refuse(f"{busy} is being worked on in the same lane", f"wait until {busy} is approved", busy=busy)
    if lane == BLOCKED:
        again = row(state, package, IN_PROGRESS, actor, reason="retry", policy_metadata={"agent": actor, **rules})
        return [again, annotation(package.wp_id, {"agent": actor}, actor=actor)]
    return [
        row(state, package, CLAIMED, actor, policy_metadata={"agent": actor, **rules}),
        row(state, package, IN_PROGRESS, actor, source=CLAIMED),
    ]
