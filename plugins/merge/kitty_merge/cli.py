"""`kitty merge`: land the mission, take a landing back, or look at what one would do."""

from __future__ import annotations

import shlex
from typing import Any, Literal

import click
from attrs import evolve, frozen

from kitty_host.api import KittyError
from kitty_host.command import Invocation, command
from kitty_host.inert import visible
from kitty_host.lanes import require_lanes
from kitty_host.ledger.emit import announce
from kitty_host.ledger.event import LANDED, UNDONE
from kitty_host.ledger.machine import SETTLED
from kitty_host.mission import Mission
from kitty_host.records import Acceptance, Candidate, Lane
from kitty_host.report import counted, note, warn
from kitty_host.state import State
from kitty_merge import settlement
from kitty_merge.candidate import SQUASH, squashed
from kitty_merge.cleanup import remove_worktrees
from kitty_merge.exchange import default_remote, exchange, push_landing
from kitty_merge.intent import Conflict, Intent
from kitty_merge.journal import merge_lock, unfinished
from kitty_merge.landing import rehearse
from kitty_merge.receipt import landing_of, receipt, verify
from kitty_merge.recovery import look_first, recover_for

FOREIGN_STATE = (".kittify/merge-state.json", ".kittify/runtime/merge/*/state.json")


@frozen
class Settings:
    """The section `merge` of the configuration."""

    strategy: Literal["merge", "squash", "rebase"] = "merge"


@command("merge", mission=True, agent=True)
@click.option("--strategy", type=click.Choice(["merge", "squash"]), help="How the lanes become history on the target.")
@click.option("--preview", is_flag=True, help="Show which lanes conflict, where and why. Changes nothing.")
@click.option("--dry-run", is_flag=True, help="Build and check everything, and move nothing.")
@click.option(
    "--resume", is_flag=True, help="Go on with what was interrupted or conflicted; plain `kitty merge` does so too."
)
@click.option("--abort", is_flag=True, help="Give up what was begun: everything as before.")
@click.option("--undo", "take_back", is_flag=True, help="Take the last landing back, unless others have built on it.")
@click.option("--status", "show_status", is_flag=True, help="Say whether a landing is unfinished. Changes nothing.")
@click.option(
    "--receipt", "show_receipt", is_flag=True, help="Prove and print the last landing's receipt. Changes nothing."
)
@click.option("--rescue", is_flag=True, help="Move untracked files that are in the way aside, and go on.")
@click.option("--keep-worktrees", is_flag=True, help="Leave the lanes' worktrees where they are.")
@click.option("--push", is_flag=True, help="Push the target and the ledger after landing.")
def merge(
    call: Invocation,
    strategy: str | None,
    preview: bool,
    dry_run: bool,
    resume: bool,
    abort: bool,
    take_back: bool,
    show_status: bool,
    show_receipt: bool,
    rescue: bool,
    keep_worktrees: bool,
    push: bool,
) -> None:
    """Land the mission on its target: one move, nothing lost."""
    if preview + resume + abort + take_back + show_status + show_receipt > 1:
        raise click.UsageError("say only one of --preview, --resume, --abort, --undo, --status, --receipt")
    if dry_run and (preview or resume or show_status or show_receipt):
        raise click.UsageError("--dry-run goes with a landing, --abort or --undo")
    # What one of these needs takes as long to load as a small landing takes in all.
    if preview:
        from kitty_merge.preview_cli import show_preview

        show_preview(call)
    elif show_status:
        _status(call)
    elif show_receipt:
        found = _required_receipt(call)
        verify(call.mission, found)
        _print_receipt(call, found, proved=True)
    elif abort:
        from kitty_merge.undo_cli import abort_landing

        abort_landing(call, dry_run=dry_run)
    elif take_back:
        from kitty_merge.undo_cli import take_back_landing

        take_back_landing(call, dry_run=dry_run)
    else:
        _merge(call, Intent("landing", strategy or "", rescue, keep_worktrees, push), dry_run)


def _merge(call: Invocation, asked: Intent, dry_run: bool) -> None:
    _refuse_foreign_state(call)
    look_first(call)
    with merge_lock(call.repo):
        if not dry_run:
            _finish_what_was_begun(call)
            if Intent.read(call.mission).what in ("undo", "abort"):
                from kitty_merge.undo_cli import went_back

                if went_back(call):
                    return
        mission = call.mission = call.mission.refresh()
        asked = _joined(call, asked, Intent.read(mission))
        if asked.conflict and not dry_run:
            settlement.take(mission, asked.conflict)
            asked = asked._replace(conflict=None)
        before = call.state()
        if not before.is_open and before.last_other(LANDED):
            _already_landed(call, asked, dry_run)
            return
        if dry_run:
            candidate = _checked(call, asked)
            rehearse(candidate)
            _print_rehearsal(call, candidate)
            return
        asked = asked._replace(rows=before.snapshot.rows)
        asked.write(mission)
        try:
            _land(call, asked, before)
        except KittyError as error:
            # What a person has to go on with, or has settled already, is not over.
            kept = error.code == "PUSH_FAILED" or Intent.read(mission).conflict or settlement.has_settled(mission)
            if not kept:
                Intent.drop(mission)
            raise


def _joined(call: Invocation, asked: Intent, begun: Intent) -> Intent:
    """What is asked for now, and what was asked for when it was begun."""
    return Intent(
        "landing",
        asked.strategy or begun.strategy or _configured_strategy(call),
        asked.rescue or begun.rescue,
        asked.keep_worktrees or begun.keep_worktrees,
        asked.push or begun.push,
        begun.rows,
        begun.conflict,
    )


def _land(call: Invocation, asked: Intent, before: State) -> None:
    _ask_the_remote(call, before)
    mission = call.mission
    try:
        candidate = _checked(call, asked)
    except KittyError as error:
        if error.code != "MERGE_CONFLICT" or "tip" not in error.details:
            raise
        raise _to_be_settled(mission, asked, error) from error
    note(f"Landing {counted(len(candidate.heads), 'lane')} on {mission.target} …")
    landing = call.plugins.required("kitty_merge", candidate=candidate)
    call.mission = mission.refresh()
    found = _conclude(call, call.mission, landing.new) or _required_receipt(call)
    _afterwards(call, asked)
    _print_receipt(call, found)


def _checked(call: Invocation, asked: Intent) -> Candidate:
    """The merged result, accepted, as the strategy wants it, and with nothing against it."""
    note("Building the merged result aside …")
    candidate: Candidate = call.plugins.required("kitty_candidate", mission=call.mission)
    for finding in call.plugins.findings("kitty_merge_check", candidate=candidate):
        if finding.severity == "block":
            raise KittyError(finding.code, finding.message, finding.hint)
        warn(finding.code, finding.message, finding.hint)
    # Only now: what a check objects to no gate would accept.
    candidate = _accepted(call, candidate)
    return squashed(candidate) if asked.strategy == SQUASH else candidate


def _to_be_settled(mission: Mission, asked: Intent, error: KittyError) -> KittyError:
    """Nothing has moved; a worktree in the middle of the merge that conflicts is laid out."""
    details = error.details
    conflict = Conflict(details["lane"], details["tip"], details["head"], tuple(details["paths"]))
    asked._replace(conflict=conflict).write(mission)
    path = settlement.lay_out(mission, conflict)
    return KittyError(
        "MERGE_CONFLICT",
        error.message,
        f"settle it in {path}: edit, git add, git commit; then: kitty merge --resume (or give it up: kitty merge --abort)",
        **details,
        worktree=str(path),
    )


def _finish_what_was_begun(call: Invocation) -> None:
    """End what a killed `kitty merge` of any mission has left, and tell observers what they have not heard."""
    recovered = recover_for(call)
    if not recovered:
        return
    note("Finished what an interrupted landing had begun.")
    for mission in call.missions:
        if mission.mission_id in recovered:
            _conclude(call, mission.refresh())


def _conclude(call: Invocation, mission: Mission, new: str | None = None) -> dict[str, Any] | None:
    """Tell observers about the rows that came since, and of the landing; its receipt, if there was something to tell.

    One that is killed here is told again: never not at all.
    """
    begun = Intent.read(mission)
    found = receipt(mission, State.load(mission), new) if begun.rows is not None else None
    if found is None:
        return None
    announce(call.plugins, mission, mission.ledger.rows()[begun.rows :])
    call.plugins.observe("kitty_merged", landing=landing_of(found))
    begun._replace(rows=None).write(mission)
    return found


def _afterwards(call: Invocation, asked: Intent) -> None:
    """What follows a landing and is repeated until it is done."""
    mission = call.mission
    settlement.forget_settlements(mission)
    if not asked.keep_worktrees:
        remove_worktrees(mission)
        if not call.repo.here.is_dir():
            note(f"The worktree that you stood in is gone: cd {shlex.quote(str(mission.repo.root))}")
    if asked.push:
        push_landing(mission)
    Intent.drop(mission)


def _ask_the_remote(call: Invocation, state: State) -> None:
    """Where something is missing here, look whether a teammate has it: approvals and lanes may be on the remote alone."""
    mission = call.mission
    remote = default_remote(call.repo)
    if remote is None:
        return
    missing = [wp_id for wp_id in state.wp_ids() if state.lane(wp_id) not in SETTLED]
    branches = call.repo.git.refs(f"refs/heads/{mission.branch}-lane-*")
    for lane in require_lanes(mission).lanes:
        if f"refs/heads/{lane.branch}" not in branches and any(state.approved_commit(wp_id) for wp_id in lane.wp_ids):
            missing += lane.wp_ids
    if not missing:
        return
    note(f"{', '.join(missing)}: asking {remote} …")
    try:
        exchange(mission, remote, push=False)
    except KittyError as error:
        note(f"{remote} does not answer: {error.message}")
    call.mission = mission.refresh()


def _already_landed(call: Invocation, asked: Intent, dry_run: bool) -> None:
    """Done before: exit 0 and write nothing, unless something was left to do, or a lane has got commits since."""
    stored = _required_receipt(call)
    landed = {lane["lane_id"]: lane["head"] for lane in stored["lanes"]}
    late = [lane.lane_id for lane in require_lanes(call.mission).lanes if _late(call, lane, landed.get(lane.lane_id))]
    if late:
        raise KittyError(
            "MERGE_HEAD_MOVED",
            f"{call.mission.slug} has landed, and {', '.join(late)} has commits since",
            "plan them as a work package of another mission",
            lanes=late,
        )
    if not dry_run:
        _conclude(call, call.mission)
        _afterwards(call, asked)
    _print_receipt(call, stored)


def _print_rehearsal(call: Invocation, candidate: Candidate) -> None:
    call.show(
        {
            "schema": "kitty.merge/1",
            "dry_run": True,
            "target": candidate.target,
            "old": candidate.old,
            "new": None,
            "lanes": [_lane(*head) for head in candidate.heads],
        },
        f"{call.mission.slug} would land on {call.mission.target}.",
    )


def _late(call: Invocation, lane: Lane, landed: str | None) -> bool:
    """Whether a lane has commits that are neither landed nor on the target."""
    git = call.repo.git
    head = git.commit_of(f"refs/heads/{lane.branch}")
    return bool(
        head and landed and git.lines("rev-list", "-1", head, "--not", landed, f"refs/heads/{call.mission.target}")
    )


def _accepted(call: Invocation, candidate: Candidate) -> Candidate:
    """The candidate with the gates it passed. Errors: `MERGE_NOT_ACCEPTED` where any plugin provides gates and they did not pass for it."""
    if not call.plugins.implements("kitty_gates"):
        note("No gate is installed: approvals suffice.")
        return candidate
    found: Acceptance = call.plugins.required("kitty_acceptance", candidate=candidate)
    unasked = [name for name in call.plugins.implementers("kitty_gates") if name not in found.asked]
    if unasked:
        raise KittyError(
            "MERGE_NOT_ACCEPTED",
            f"this result was accepted without the gates of {', '.join(unasked)}",
            f"run: kitty accept --mission {call.mission.slug}",
            key=candidate.key,
            accepted=found.key,
        )
    return evolve(candidate, gates=tuple(gate.name for gate in found.gates))


def _configured_strategy(call: Invocation) -> str:
    strategy = call.repo.config.section("merge", Settings).strategy
    if strategy == "rebase":
        raise KittyError(
            "CONFIG_INVALID",
            "merge.strategy is rebase, which changes reviewed commits",
            "use one of: merge, squash",
            key="merge.strategy",
        )
    return strategy


def _refuse_foreign_state(call: Invocation) -> None:
    for pattern in FOREIGN_STATE:
        for path in call.repo.root.glob(pattern):
            raise KittyError(
                "MERGE_FOREIGN_STATE",
                f"{path} is the state of an unfinished merge of another tool",
                "finish or abort it with the tool that began it",
                path=str(path),
            )


def _status(call: Invocation) -> None:
    begun = unfinished(call.repo)
    last = call.state().last_other(LANDED, UNDONE)
    landed = last is not None and last.kind == LANDED
    conflict = Intent.read(call.mission).conflict
    place = str(settlement.worktree(call.mission)) if conflict else None
    text = "An unfinished landing: run kitty merge." if begun else "Landed." if landed else "Not landed."
    if conflict:
        text = f"{conflict.lane_id} conflicts in {', '.join(conflict.paths)}: settle it in {place}, then kitty merge --resume."
    call.show({"schema": "kitty.merge-status/1", "unfinished": begun, "landed": landed, "worktree": place}, text)


def _required_receipt(call: Invocation) -> dict[str, Any]:
    found = receipt(call.mission, call.state())
    if found is None:
        raise KittyError("MERGE_INCOMPLETE", f"{call.mission.slug} has not landed", "land it: kitty merge")
    return found


def _print_receipt(call: Invocation, receipt: dict[str, Any], *, proved: bool = False) -> None:
    """What landed; and path by path, where each was just compared with Git's objects."""
    lines = [
        f"{call.mission.slug} is on {call.mission.target}: {receipt['old'][:10]} -> {receipt['new'][:10]} ({receipt['strategy']})"
    ]
    for lane in receipt["lanes"]:
        counts = f"{counted(len(lane['commits']), 'commit')}, {counted(len(lane['paths']), 'path')}"
        lines.append(f"  {lane['lane_id']:14} {', '.join(lane['wp_ids']):22} {counts}")
        lines += [f"    {visible(path['path'])}: {path['how']}" for path in lane["paths"] if proved]
    lines.append(f"  gates: {', '.join(receipt['gates']) or 'none ran'}")
    lines += ["  proved: each commit and each path of it is in Git as it is told here"] if proved else []
    call.show(
        {
            "schema": "kitty.merge/1",
            "target": receipt["target"],
            "old": receipt["old"],
            "new": receipt["new"],
            "lanes": [_lane(lane["lane_id"], lane["head"]) for lane in receipt["lanes"]],
            "receipt": receipt,
        },
        "\n".join(lines),
    )


def _lane(lane_id: str, head: str) -> dict[str, str]:
    return {"lane_id": lane_id, "head": head}
