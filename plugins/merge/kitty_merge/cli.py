"""`kitty merge`: land the mission, or look at what a landing would do."""

from __future__ import annotations

from typing import Any, Literal

import click
from attrs import evolve, frozen

from kitty_host.api import KittyError
from kitty_host.command import Invocation, command
from kitty_host.git import Git
from kitty_host.lanes import PLANNING, require_lanes
from kitty_host.ledger.emit import announce
from kitty_host.ledger.event import ACCEPTED, LANDED
from kitty_host.records import Candidate, Landing, Lane
from kitty_host.report import counted, note
from kitty_host.state import State
from kitty_merge.candidate import SQUASH, conflicts_between, squashed
from kitty_merge.journal import unfinished
from kitty_merge.landing import rehearse
from kitty_merge.receipt import receipt
from kitty_merge.recovery import recover
from kitty_merge.workspace import ENV_FILE, finish_removals, is_on_branch, remove_worktree, worktree_path

FOREIGN_STATE = (".kittify/merge-state.json", ".kittify/runtime/merge/*/state.json")


@frozen
class Settings:
    """The section `merge` of the configuration."""

    strategy: Literal["merge", "squash", "rebase"] = "merge"


@command("merge", mission=True, agent=True)
@click.option("--strategy", type=click.Choice(["merge", "squash"]), help="How the lanes become history on the target.")
@click.option("--preview", is_flag=True, help="Show which lanes conflict, and where. Changes nothing.")
@click.option("--dry-run", is_flag=True, help="Build and check everything, and move nothing.")
@click.option("--resume", is_flag=True, help="Finish a landing that was interrupted; plain `kitty merge` does so too.")
@click.option("--status", "show_status", is_flag=True, help="Say whether a landing is unfinished. Changes nothing.")
@click.option("--receipt", "show_receipt", is_flag=True, help="Print the receipt of the last landing. Changes nothing.")
@click.option("--keep-worktrees", is_flag=True, help="Leave the lanes' worktrees where they are.")
def merge(
    call: Invocation,
    strategy: str | None,
    preview: bool,
    dry_run: bool,
    resume: bool,
    show_status: bool,
    show_receipt: bool,
    keep_worktrees: bool,
) -> None:
    """Land the mission on its target: one move, nothing lost."""
    if preview + dry_run + resume + show_status + show_receipt > 1:
        raise click.UsageError("say only one of --preview, --dry-run, --resume, --status, --receipt")
    if preview:
        _preview(call)
    elif show_status:
        _status(call)
    elif show_receipt:
        _print_receipt(call, _required_receipt(call))
    else:
        _merge(call, strategy or _configured_strategy(call), dry_run, keep_worktrees)


def _merge(call: Invocation, strategy: str, dry_run: bool, keep_worktrees: bool) -> None:
    _refuse_foreign_state(call)
    if not dry_run:
        recovery = recover(call.repo)
        if recovery.missions:
            if len(recovery.missions) == 1 and not (call.selector or call.feature):
                call.selector = recovery.missions[0]
            note("Finished what an interrupted landing had begun.")
    mission = call.mission = call.mission.refresh()
    before = call.state()
    if not before.is_open and before.last_other(LANDED):
        _already_landed(call, before, keep_worktrees, dry_run)
        return
    note("Building the merged result aside …")
    candidate: Candidate = call.plugins.required("kitty_candidate", mission=mission)
    candidate = _accepted(call, before, candidate)
    if strategy == SQUASH:
        candidate = squashed(candidate)
    for finding in call.plugins.findings("kitty_merge_check", candidate=candidate):
        if finding.severity == "block":
            raise KittyError(finding.code, finding.message, finding.hint)
        note(f"{finding.code}: {finding.message}")
    if dry_run:
        rehearse(candidate)
        payload = {
            "schema": "kitty.merge/1",
            "dry_run": True,
            "target": candidate.target,
            "old": candidate.old,
            "new": None,
        }
        call.show(
            {**payload, "lanes": [_lane(*head) for head in candidate.heads]},
            f"{mission.slug} would land on {mission.target}.",
        )
        return
    note(f"Landing {counted(len(candidate.heads), 'lane')} on {mission.target} …")
    landing: Landing = call.plugins.required("kitty_merge", candidate=candidate)
    call.mission = mission.refresh()
    announce(call.plugins, call.mission, call.mission.ledger.rows()[before.snapshot.rows :])
    call.plugins.observe("kitty_merged", landing=landing)
    if not keep_worktrees:
        _remove_worktrees(call)
    _print_receipt(call, _required_receipt(call))


def _already_landed(call: Invocation, state: State, keep_worktrees: bool, dry_run: bool) -> None:
    """Done before: exit 0 and write nothing, unless a lane has got commits since."""
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
    if not keep_worktrees and not dry_run:
        _remove_worktrees(call)
    _print_receipt(call, stored)


def _late(call: Invocation, lane: Lane, landed: str | None) -> bool:
    """Whether a lane has commits that are neither landed nor on the target."""
    git = call.repo.git
    head = git.commit_of(f"refs/heads/{lane.branch}")
    return bool(
        head and landed and git.lines("rev-list", "-1", head, "--not", landed, f"refs/heads/{call.mission.target}")
    )


def _accepted(call: Invocation, state: State, candidate: Candidate) -> Candidate:
    """The candidate with the gates it passed. Errors: `MERGE_NOT_ACCEPTED` where any plugin provides gates and they did not pass for it."""
    if not call.plugins.implements("kitty_gates"):
        note("No gate is installed: approvals suffice.")
        return candidate
    row = state.last_other(ACCEPTED)
    payload: dict[str, Any] = row.row.get("payload") or {} if row else {}
    gates = payload.get("gates") or []
    if payload.get("key") != candidate.key or not gates or not all(gate.get("ok") is True for gate in gates):
        moved = (
            "was not accepted yet" if not payload else "is not what was accepted: target, lanes or content moved since"
        )
        raise KittyError(
            "MERGE_NOT_ACCEPTED",
            f"this result {moved}",
            "run: kitty accept",
            key=candidate.key,
            accepted=payload.get("key"),
        )
    return evolve(candidate, gates=tuple(str(gate["name"]) for gate in gates))


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


def _remove_worktrees(call: Invocation) -> None:
    """Clean up after a landing; one with work that is in no commit, or in no lane, stays and is named."""
    finish_removals(call.repo)
    for lane in require_lanes(call.mission).lanes:
        path = worktree_path(call.mission, lane.lane_id)
        if lane.lane_id == PLANNING or not path.is_dir():
            continue
        there = Git(path)
        if there.records("status", "--porcelain", "-z"):
            note(f"{path} has changes that are in no commit; it stays.")
        elif not is_on_branch(path, lane.branch) and there.lines("rev-list", "-1", "HEAD", "--not", "--branches"):
            note(f"{path} is at commits that are in no branch; it stays.")
        else:
            ignored = [
                name for name in there.records("ls-files", "-z", "-o", "-i", "--exclude-standard") if name != ENV_FILE
            ]
            try:
                remove_worktree(call.repo, path)
            except KittyError as error:
                note(f"{path} stays: {error.message}")
                continue
            if ignored:
                note(
                    f"Removed {path} with {counted(len(ignored), 'ignored file')}, such as {ignored[0]} (--keep-worktrees keeps them)."
                )
    parent = call.repo.root / ".worktrees"
    if parent.is_dir() and not any(parent.iterdir()):
        parent.rmdir()


def _preview(call: Invocation) -> None:
    pairs = conflicts_between(call.mission)
    lines = [f"{pair['a']:14} {pair['b']:14} {'clean' if pair['clean'] else _conflict(pair)}" for pair in pairs]
    call.show({"schema": "kitty.preview/1", "pairs": pairs}, "\n".join(lines) or "No lane has a branch yet.")


def _conflict(pair: dict[str, Any]) -> str:
    return f"conflict in {', '.join(pair['paths'])}"


def _status(call: Invocation) -> None:
    begun = unfinished(call.repo)
    landed = call.state().last_other(LANDED) is not None
    text = "An unfinished landing: run kitty merge." if begun else "Landed." if landed else "Not landed."
    call.show({"schema": "kitty.merge-status/1", "unfinished": begun, "landed": landed}, text)


def _required_receipt(call: Invocation) -> dict[str, Any]:
    found = receipt(call.mission, call.state())
    if found is None:
        raise KittyError("MERGE_INCOMPLETE", f"{call.mission.slug} has not landed", "land it: kitty merge")
    return found


def _print_receipt(call: Invocation, receipt: dict[str, Any]) -> None:
    lines = [
        f"{call.mission.slug} is on {call.mission.target}: {receipt['old'][:10]} -> {receipt['new'][:10]} ({receipt['strategy']})"
    ]
    for lane in receipt["lanes"]:
        counts = f"{counted(len(lane['commits']), 'commit')}, {counted(len(lane['paths']), 'path')}"
        lines.append(f"  {lane['lane_id']:14} {', '.join(lane['wp_ids']):22} {counts}")
    lines.append(f"  gates: {', '.join(receipt['gates']) or 'none ran'}")
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
