"""On which branch a mission is planned and lands, and who said that it may start there."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from typing import Any

import click

from kitty_host.api import KittyError
from kitty_host.command import Invocation
from kitty_host.inert import inert
from kitty_host.mission import Mission

CONFIRMED = "already-confirmed"
option = click.option(
    "--branch-strategy",
    type=click.Choice([CONFIRMED]),
    help="Say that starting a PR-bound mission on its target is meant.",
)


def contract(mission: Mission) -> dict[str, Any]:
    """The branches as every command of the ceremony reports them; `current_branch` is null where HEAD is detached."""
    current = mission.repo.current_branch()
    return {
        "current_branch": current,
        "planning_base_branch": str(mission.meta.get("planning_base_branch") or mission.target),
        "merge_target_branch": mission.target,
        "branch_matches_target": current == mission.target,
    }


def told(contract: dict[str, Any]) -> str:
    """The same for people: empty where there is nothing to wonder about."""
    if contract["branch_matches_target"]:
        return ""
    current = contract["current_branch"]
    where = f"on {inert(current)}" if current else "on no branch"
    return f"You are {where}; the mission lands on {inert(contract['merge_target_branch'])}."


def acknowledged(call: Invocation, target: str, given: str | None) -> dict[str, str]:
    """Who said when that a PR-bound mission may start where it does. Errors: `BRANCH_STRATEGY_REQUIRED`."""
    current = call.repo.current_branch()
    answer = given or ("on-own-branch" if current not in (None, target) else "")
    branch = current
    if not answer and sys.stdin.isatty() and not call.json:
        where = f"you are on its target, {target}" if current else "HEAD is detached"
        click.echo(f"This mission will be a pull request, and {where}.", err=True)
        answer = click.prompt(
            "stay here, switch to another branch, or stop", type=click.Choice(["stay", "switch", "stop"]), err=True
        )
        if answer == "switch":
            branch = click.prompt("name of the branch", err=True)
            call.repo.git.run("switch", "--quiet", "--create", branch)
    if answer in ("", "stop"):
        raise KittyError(
            "BRANCH_STRATEGY_REQUIRED",
            f"a PR-bound mission would start on its target {target}"
            if current
            else f"a PR-bound mission for {target} would start on a detached HEAD",
            f"run: git switch -c BRANCH, or add: --branch-strategy {CONFIRMED}",
        )
    at = datetime.now(UTC).isoformat(timespec="seconds")
    return {"answer": answer, "branch": branch or "", "actor": call.actor(), "at": at}


def unanswered(mission: Mission) -> bool:
    """Whether a mission that will be a pull request would start on its target, or on no branch, with nobody having said so."""
    if not mission.meta.get("pr_bound") or mission.meta.get("branch_strategy"):
        return False
    return mission.repo.current_branch() in (None, mission.target)


def require_acknowledged(call: Invocation, given: str | None) -> None:
    """Before the first worktree: `pr_bound` can be set after a mission was created. Errors: `BRANCH_STRATEGY_REQUIRED`."""
    mission = call.mission
    if mission.meta.get("pr_bound") and not mission.meta.get("branch_strategy"):
        mission.meta["branch_strategy"] = acknowledged(call, mission.target, given)
        mission.save()
