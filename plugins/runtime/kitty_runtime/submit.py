"""`kitty submit`: hand a work package to review, with the commits as evidence."""

from __future__ import annotations

import click

from kitty_host.command import Invocation, command
from kitty_host.inert import inert
from kitty_host.ledger.machine import FOR_REVIEW, IN_PROGRESS
from kitty_host.records import Submission
from kitty_host.report import counted, warn
from kitty_runtime.packages import checkpoint, implementer, move, refuse, same, way_on


@command("submit", mission=True, agent=True)
@click.argument("wp")
@click.option("--no-changes", metavar="REASON", help="Say why there is nothing to commit.")
def submit(call: Invocation, wp: str, no_changes: str | None) -> None:
    """Hand a work package to review."""
    package = call.mission.package(wp)
    state = call.state()
    lane, owner = state.lane(package.wp_id), implementer(state, package.wp_id)
    if lane != IN_PROGRESS:
        raise refuse(f"{package.wp_id} is {lane}, not in_progress", f"run: {way_on(lane, package.wp_id)}")
    # The claimer submits, without having to say so.
    actor = call.named_agent() or owner or call.actor()
    if owner and not same(actor, owner):
        raise refuse(
            f"{package.wp_id} is {inert(owner, prose=True)}'s", "let them submit it, or name them with --agent"
        )
    still_open = state.open_subtasks(package)
    if still_open:
        raise refuse(
            f"{package.wp_id}: subtasks are open: {', '.join(still_open)}",
            f"run: kitty mark-status {' '.join(still_open)} --status done",
        )
    shown: Submission = call.plugins.required("kitty_submission", package=package, mission=call.mission)
    if not shown.commits and not no_changes:
        raise refuse(f"{package.wp_id} has no commits to review", "commit the work, or give --no-changes REASON")
    for finding in shown.findings:
        warn(finding.code, finding.message, finding.hint)
    evidence = {"head": shown.head, "commits": len(shown.commits)}
    if not shown.commits:
        evidence["no_changes"] = no_changes
    move(call, package, FOR_REVIEW, actor, reason=no_changes, policy_metadata={"agent": actor, "evidence": evidence})
    checkpoint(call, f"Submit {package.wp_id}")
    counts = f"{counted(len(shown.commits), 'commit')}, {counted(len(shown.paths), 'path')}"
    call.show(
        {
            "schema": "kitty.submit/1",
            "wp_id": package.wp_id,
            "lane": FOR_REVIEW,
            "head": shown.head,
            "commits": list(shown.commits),
            "paths": list(shown.paths),
            "findings": [finding._asdict() for finding in shown.findings],
        },
        f"{package.wp_id} waits for review: {counts}.\nThen somebody else: kitty review {package.wp_id} --claim{call.which}",
    )
