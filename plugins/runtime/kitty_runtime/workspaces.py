"""Claims without a place to work in this clone, for whoever asks how things stand."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from kitty_host.api import Finding, KittyError
from kitty_host.inert import inert
from kitty_host.ledger.machine import CLAIMED, IN_PROGRESS
from kitty_host.plugins import PluginFault, Plugins
from kitty_host.state import State

if TYPE_CHECKING:
    from kitty_host.packages import Package
    from kitty_host.records import Workspace


def missing_workspaces(plugins: Plugins, state: State) -> list[Finding]:
    """`WORKSPACE_MISSING` for each claim whose worktree is not here, with the command that makes it. Only looks."""
    findings: list[Finding] = []
    for package in state.packages:
        known = state.package_state(package.wp_id)
        if known is None or known.lane not in (CLAIMED, IN_PROGRESS) or not _is_missing(plugins, state, package):
            continue
        agent = inert(known.agent, prose=True)
        command = f"kitty implement {package.wp_id} --agent {shlex.quote(agent)}"
        findings.append(
            Finding(
                "WORKSPACE_MISSING",
                f"{package.wp_id} is {agent}'s and has no worktree here: {command}",
                f"make it: {command}; or give it back: kitty move {package.wp_id} planned --reason R",
                "warn",
            )
        )
    return findings


def _is_missing(plugins: Plugins, state: State, package: Package) -> bool:
    if package.planning:
        return False
    try:
        found: Workspace | None = plugins.first("kitty_find_workspace", package=package, mission=state.mission)
    except (KittyError, PluginFault):
        # Nobody knows without lanes, or with a plugin that fails, and that is said by others.
        return False
    return found is None or found.path is None
