"""`kitty move`, `cancel`, `reopen`, `mark-status` and `note`: whatever the road's own commands do not do."""

from __future__ import annotations

import click

from kitty_host.command import Invocation, command
from kitty_host.inert import inert
from kitty_host.ledger.emit import emit
from kitty_host.ledger.event import Row, annotation
from kitty_host.ledger.machine import APPROVED, CANCELED, CLAIMED, FOR_REVIEW, IN_PROGRESS, IN_REVIEW, lane_named
from kitty_host.packages import Package, package_id
from kitty_host.state import State
from kitty_runtime.packages import last_transition, not_blank, refuse, row
from kitty_runtime.packages import move as record

_OWN_COMMANDS = {
    CLAIMED: "kitty implement",
    IN_PROGRESS: "kitty implement",
    FOR_REVIEW: "kitty submit",
    IN_REVIEW: "kitty review --claim",
    APPROVED: "kitty review --approve",
}


@command("move", mission=True, agent=True)
@click.argument("wp")
@click.argument("lane")
@click.option("--reason", metavar="TEXT", help="Why.")
@click.option("--force", is_flag=True, help="Go where there is no way; needs --reason.")
def move(call: Invocation, wp: str, lane: str, reason: str | None, force: bool) -> None:
    """Make any other transition."""
    package = call.mission.package(wp)
    target = lane_named(lane)
    if target in _OWN_COMMANDS and not force:
        raise refuse(
            f"{target} is reached by a command of its own, which checks more",
            f"run: {_OWN_COMMANDS[target]} {package.wp_id}",
        )
    record(call, package, target, call.actor(), reason=reason, force=force)
    _show(call, package, target)


@command("cancel", mission=True, agent=True)
@click.argument("wp")
@click.option("--reason", metavar="TEXT", required=True, callback=not_blank, help="Why.")
def cancel(call: Invocation, wp: str, reason: str) -> None:
    """Cancel a work package."""
    package = call.mission.package(wp)
    record(call, package, CANCELED, call.actor(), reason=reason)
    _show(call, package, CANCELED)


@command("reopen", mission=True, agent=True)
@click.argument("wp")
@click.option("--reason", metavar="TEXT", required=True, callback=not_blank, help="Why.")
def reopen(call: Invocation, wp: str, reason: str) -> None:
    """Take an approved, finished or cancelled work package up again."""
    package = call.mission.package(wp)
    actor = call.actor()

    def plan(state: State) -> list[Row]:
        lane = state.lane(package.wp_id)
        if lane not in (APPROVED, "done", CANCELED):
            raise refuse(f"{package.wp_id} is {lane}", "only approved, done or canceled ones can be reopened")
        reference = last_transition(state, package)
        # By force from everywhere: a landing of another clone, or one that was killed, may have made it done without a row here.
        return [row(state, package, IN_PROGRESS, actor, reason=reason, review_ref=reference, force=True)]

    emit(call.plugins, call.mission, plan)
    _show(call, package, IN_PROGRESS)


@command("mark-status", mission=True, agent=True)
@click.argument("ids", nargs=-1, required=True)
@click.option("--status", type=click.Choice(["done", "planned", "skipped"]), required=True)
def mark_status(call: Invocation, ids: tuple[str, ...], status: str) -> None:
    """Say which subtasks are done: T001, WP01/T001, or WP01 for all of its subtasks."""
    actor = call.actor()
    wanted: dict[str, dict[str, str]] = {}
    for text in ids:
        package, subtasks = _subtasks(call, text)
        wanted.setdefault(package.wp_id, {}).update(dict.fromkeys(subtasks, status))
    emit(
        call.plugins,
        call.mission,
        lambda _: [annotation(wp_id, {"subtasks": told}, actor=actor) for wp_id, told in wanted.items()],
    )
    lines = [f"{wp_id}: {', '.join(map(inert, told))} {status}" for wp_id, told in wanted.items()]
    call.show({"schema": "kitty.mark-status/1", "subtasks": wanted}, "\n".join(lines))


def _subtasks(call: Invocation, text: str) -> tuple[Package, list[str]]:
    owner, _, name = text.rpartition("/")
    # `demo/T001` names no package, and `WP07/T001` one that has to be there.
    ids = {call.mission.package(owner).wp_id} if package_id(owner.rpartition("/")[2]).startswith("WP") else set()
    by_subtask = {one.upper() for package in call.mission.packages for one in package.subtasks}
    found = [
        (package, one)
        for package in call.mission.packages
        for one in package.subtasks
        if one.upper() == name.upper() and (not ids or package.wp_id in ids)
    ]
    if len(found) > 1:
        ways = " or ".join(f"{package.wp_id}/{inert(one)}" for package, one in found)
        raise refuse(f"{len(found)} work packages have a subtask {inert(name)}", f"say which is meant: {ways}")
    if found:
        return found[0][0], [found[0][1]]
    if not package_id(name).startswith("WP"):
        raise refuse(
            f"there is no subtask {inert(name)}",
            f"there are: {', '.join(map(inert, sorted(by_subtask))) or 'none'}",
            ids=sorted(by_subtask),
        )
    package = call.mission.package(text)
    if not package.subtasks:
        raise refuse(f"{package.wp_id} has no subtasks", f"list them in {package.path} under subtasks")
    return package, list(package.subtasks)


@command("note", mission=True, agent=True)
@click.argument("wp")
@click.argument("text", callback=not_blank)
def note(call: Invocation, wp: str, text: str) -> None:
    """Note something about a work package."""
    package = call.mission.package(wp)
    actor = call.actor()
    emit(call.plugins, call.mission, lambda _: [annotation(package.wp_id, {"note": text}, actor=actor)])
    call.show({"schema": "kitty.note/1", "wp_id": package.wp_id}, f"Noted for {package.wp_id}.")


def _show(call: Invocation, package: Package, lane: str) -> None:
    call.show({"schema": "kitty.move/1", "wp_id": package.wp_id, "lane": lane}, f"{package.wp_id} is {lane}.")
