"""`kitty review`: claim a review, then approve or reject. The reviewer is not the implementer, and what is approved is a commit."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import click
from attrs import frozen

from kitty_host.api import KittyError
from kitty_host.command import Invocation, command
from kitty_host.governance import given, told
from kitty_host.inert import inert
from kitty_host.lanes import branch_of, lane_ids
from kitty_host.ledger.emit import emit
from kitty_host.ledger.event import Row, actor_name, envelope, now
from kitty_host.ledger.machine import APPROVED, FOR_REVIEW, IN_PROGRESS, IN_REVIEW
from kitty_host.packages import Package
from kitty_host.records import Rules, Workspace
from kitty_host.state import State
from kitty_runtime.packages import (
    checkpoint,
    implementer,
    implementers,
    last_transition,
    refuse,
    row,
    same,
)
from kitty_runtime.prompts import hand_out
from kitty_runtime.rules import rules_given
from kitty_runtime.types import REVIEW


@frozen
class Settings:
    """The section `review` of the configuration."""

    allow_self: bool = False


@command("review", mission=True, agent=True)
@click.argument("wp")
@click.option("--claim", is_flag=True, help="Take the review.")
@click.option("--approve", is_flag=True, help="Approve the submitted commit.")
@click.option("--reject", is_flag=True, help="Send it back; needs --reason.")
@click.option("--reason", metavar="TEXT", help="Why it is rejected or taken over.")
@click.option("--force", is_flag=True, help="With --claim: take over a review that somebody has open.")
def review(
    call: Invocation, wp: str, claim: bool, approve: bool, reject: bool, reason: str | None, force: bool
) -> None:
    """Claim, approve or reject a review."""
    if claim + approve + reject != 1:
        raise click.UsageError("say one of --claim, --approve, --reject")
    if (reject or (claim and force)) and not (reason or "").strip():
        raise click.UsageError(f"--{'reject' if reject else 'force'} needs --reason")
    step = "claim" if claim else "approve" if approve else "reject"
    package = call.mission.package(wp)
    actor = call.actor()
    commit = _commit_to_approve(call, package) if step == "approve" else None
    rules = given(call.plugins, call.repo, "review") if claim else None
    plans = {
        "claim": lambda state: _claim(call, state, package, actor, reason if force else None, told(rules)),
        "approve": lambda state: _approve(call, state, package, actor, commit),
        "reject": lambda state: _reject(state, package, actor, str(reason)),
    }
    rows = emit(call.plugins, call.mission, plans[step], sealed=step == "approve")
    if step == "approve":
        checkpoint(call, f"Approve {package.wp_id}")
    governed, named = rules_given(call, package, rules, rows, IN_REVIEW) if claim else (None, "")
    prompt = str(_hand_out(call, package, rules)) if claim else None
    lane = {"claim": IN_REVIEW, "approve": APPROVED, "reject": IN_PROGRESS}[step]
    who = inert(actor, prose=True)
    answers = f"kitty review {package.wp_id} --approve{_named(call)}, or --reject --reason R"
    said = {
        "claim": f"{package.wp_id} is in review by {who}.{named}\n  prompt    {prompt}\nThen: {answers}",
        "approve": f"{package.wp_id} is approved{f' at {commit[:10]}' if commit else ' without changes'}.",
        "reject": f"{package.wp_id} goes back to {inert(implementer(call.state(), package.wp_id), prose=True)}.",
    }
    payload = {"schema": "kitty.review/1", "wp_id": package.wp_id, "lane": lane, "approved_commit": commit}
    call.show({**payload, "rules": governed, "prompt_file": prompt}, said[step])


def _named(call: Invocation) -> str:
    """What the caller had to say, so that the printed command means the same person and mission."""
    who = f" --agent {shlex.quote(call.agent)}" if call.agent else ""
    return who + call.which


def _hand_out(call: Invocation, package: Package, rules: Rules | None) -> Path:
    workspace: Workspace | None = call.plugins.first("kitty_find_workspace", package=package, mission=call.mission)
    return hand_out(call, package, REVIEW, workspace, rules)


def _claim(
    call: Invocation, state: State, package: Package, actor: str, taking_over: str | None, rules: Row
) -> list[Row]:
    lane = state.lane(package.wp_id)
    if lane == IN_REVIEW:
        reviewer = _reviewer(state, package)
        if same(reviewer, actor):
            return []
        if not taking_over:
            raise refuse(
                f"{inert(reviewer, prose=True)} has the review of {package.wp_id} open",
                f"take it over with: kitty review {package.wp_id} --claim --force --reason R",
            )
        rows = [row(state, package, IN_REVIEW, actor, force=True, reason=taking_over, policy_metadata=rules or None)]
    elif lane == FOR_REVIEW:
        rows = [row(state, package, IN_REVIEW, actor, policy_metadata=rules or None)]
    else:
        raise refuse(
            f"{package.wp_id} is {lane}, not for_review", f"let it be submitted first: kitty submit {package.wp_id}"
        )
    if _is_own_work(call, state, package, actor):
        rows.append(_self_approval(state, package, actor))
    return rows


def _is_own_work(call: Invocation, state: State, package: Package, actor: str) -> bool:
    """Whether the reviewer worked on it. Errors: `TRANSITION_REFUSED` unless the configuration allows that."""
    own = any(same(one, actor) for one in implementers(state, package.wp_id))
    if own and not call.repo.config.section("review", Settings).allow_self:
        raise refuse(
            f"{inert(actor, prose=True)} implemented {package.wp_id}",
            "let another agent review it (--agent NAME), or set review.allow_self: true in .kittify/config.yaml",
        )
    return own


def _approve(call: Invocation, state: State, package: Package, actor: str, commit: str | None) -> list[Row]:
    _require_own_review(state, package, actor)
    _is_own_work(call, state, package, actor)
    reference = commit or f"no-changes:{last_transition(state, package)}"
    verdict = {"reviewer": actor, "verdict": "approved", "reference": reference}
    evidence: dict[str, Any] = {"review": verdict}
    if commit:
        lane = lane_ids(state.mission).get(package.wp_id)
        branch = branch_of(state.mission, lane) if lane else state.mission.branch
        evidence["repos"] = [{"repo": state.mission.repo.root.name, "branch": branch, "commit": commit}]
    return [row(state, package, APPROVED, actor, evidence=evidence, review_result=verdict)]


def _reject(state: State, package: Package, actor: str, reason: str) -> list[Row]:
    _require_own_review(state, package, actor)
    reference = f"feedback:{last_transition(state, package)}"
    verdict = {"reviewer": actor, "verdict": "changes_requested", "reference": reference}
    return [row(state, package, IN_PROGRESS, actor, reason=reason, review_ref=reference, review_result=verdict)]


def _require_own_review(state: State, package: Package, actor: str) -> None:
    lane = state.lane(package.wp_id)
    if lane != IN_REVIEW:
        raise refuse(
            f"{package.wp_id} is {lane}, not in_review", f"claim the review first: kitty review {package.wp_id} --claim"
        )
    if not same(_reviewer(state, package), actor):
        raise refuse(
            f"{inert(_reviewer(state, package), prose=True)} has the review of {package.wp_id} open",
            "let them answer, or take it over with --claim --force --reason R",
        )


def _reviewer(state: State, package: Package) -> str:
    known = state.package_state(package.wp_id)
    claim = known.entered.get(IN_REVIEW) if known else None
    return actor_name(claim.actor) if claim else ""


def _commit_to_approve(call: Invocation, package: Package) -> str | None:
    """The submitted commit, None where it was submitted without changes. Errors: `MERGE_HEAD_MOVED` where the lane has moved since."""
    state = call.state()
    told = state.submission(package.wp_id)
    if state.lane(package.wp_id) != IN_REVIEW or told is None or told.get("no_changes"):
        return None
    head = str(told["head"])
    workspace: Workspace | None = call.plugins.first("kitty_find_workspace", package=package, mission=call.mission)
    if workspace is not None and workspace.head != head:
        raise KittyError(
            "MERGE_HEAD_MOVED",
            f"{package.wp_id} was submitted at {head[:10]} and its lane is at {workspace.head[:10]}",
            f"reject it, and let it be submitted again: kitty review {package.wp_id} --reject --reason R",
            submitted=head,
            head=workspace.head,
        )
    return head


def _self_approval(state: State, package: Package, actor: str) -> Row:
    payload = {
        "failure_reason": "review.allow_self",
        "fallback_approved": True,
        "implementing_actor": actor,
        "intended_reviewer": actor,
        "mission_slug": state.mission.slug,
        "timestamp": now(),
        "wp_id": package.wp_id,
    }
    return envelope("ReviewerSelfApproval", payload, aggregate_id=package.wp_id, aggregate_type="WorkPackage")
