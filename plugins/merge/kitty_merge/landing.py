"""The landing: one move of the target from OLD to NEW, in the order of steps of ADR 0003.

Killed anywhere, the target is OLD or NEW; the next `kitty merge` finishes or forgets what was begun.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from attrs import evolve

from kitty_host.api import KittyError
from kitty_host.records import Candidate, Landing
from kitty_merge import move
from kitty_merge.account import account
from kitty_merge.checkout import Checkout
from kitty_merge.final import Final, build_final
from kitty_merge.intent import Intent
from kitty_merge.journal import Journal, merge_lock, undo_ref
from kitty_merge.objections import objections, refs_of
from kitty_merge.recovery import recover


def land(candidate: Candidate) -> Landing:
    """Land a candidate whose checks have passed.

    Errors: `LOCK_HELD`, `MERGE_TARGET_MOVED`, `MERGE_HEAD_MOVED`, `MERGE_INCOMPLETE`, `MERGE_NOT_APPROVED`, `MERGE_DIRTY`,
    `MERGE_IN_THE_WAY`, `COMMIT_REFUSED`; after any of them nothing has moved.
    """
    return _land(candidate, move_it=True)


def rehearse(candidate: Candidate) -> None:
    """Everything up to the move, and back. Errors: as `land`."""
    _land(candidate, move_it=False)


def _land(candidate: Candidate, *, move_it: bool) -> Landing:
    mission = candidate.mission
    repo = mission.repo
    with merge_lock(repo):
        recover(repo)
        accounts = account(candidate)
        with move.locked_checkouts(mission, candidate.target) as checkouts:
            with mission.ledger.locked(wait_seconds=move.PATIENCE):
                refs = refs_of(candidate)
                _require_unmoved(candidate, refs)
                _require_approved(candidate, refs)
                final = build_final(candidate, accounts)
                journal = _journal(candidate, final, checkouts)
                if not move_it:
                    return final.landing
                journal.write(repo)
                move.refs(repo, journal, f"kitty merge: {mission.slug}", again=_again(candidate))
                rescued = move.follow(mission, journal, final.ledger_lines, checkouts)
            move.wind_up(repo, journal, rescued)
    return evolve(final.landing, new=final.new, rescued=tuple(str(one.place) for one in rescued))


def _require_unmoved(candidate: Candidate, now: Mapping[str, str]) -> None:
    branches = {
        f"refs/heads/{candidate.mission.branch}-{lane_id}": (lane_id, head) for lane_id, head in candidate.heads
    }
    if now.get(candidate.target) != candidate.old:
        raise KittyError("MERGE_TARGET_MOVED", f"{candidate.target} moved meanwhile", _again(candidate))
    for branch, (lane_id, head) in branches.items():
        if now.get(branch) != head:
            raise KittyError(
                "MERGE_HEAD_MOVED",
                f"{lane_id} moved meanwhile",
                _again(candidate),
                lane=lane_id,
            )


def _again(candidate: Candidate) -> str:
    slug = candidate.mission.slug
    accept = f"kitty accept --mission {slug} && " if candidate.gates else ""
    return f"run it again: {accept}kitty merge --mission {slug}"


def _require_approved(candidate: Candidate, refs: Mapping[str, str]) -> None:
    """Once more under the status lock: nobody may take an approval back between the check and the move."""
    for finding in objections(candidate, refs):
        if finding.severity == "block":
            raise KittyError(finding.code, finding.message, finding.hint)


def _journal(candidate: Candidate, final: Final, checkouts: Sequence[Checkout]) -> Journal:
    mission = candidate.mission
    git = mission.repo.git
    rescue = Intent.read(mission).rescue
    kept = {str(one.path): final.own if one.holds_the_live_ledger else {} for one in checkouts}
    prepared = {
        str(one.path): one.prepare(candidate.old, final.new, kept[str(one.path)], rescue=rescue) for one in checkouts
    }
    ledger, undo = mission.ledger.ref, undo_ref(mission.mission_id)
    refs = git.refs(ledger, undo)
    previous = refs.get(ledger)
    ledger_commit = mission.ledger.commit(
        git, final.ledger_lines, f"Landing of {mission.slug}\n", [previous] if previous else []
    )
    updates = [(candidate.target, final.new, candidate.old)]
    if previous != ledger_commit:
        updates.append((ledger, ledger_commit, previous or git.null_id))
    updates.append((undo, candidate.old, refs.get(undo) or git.null_id))
    return Journal(
        "landing",
        mission.mission_id,
        str(mission.directory),
        candidate.target,
        candidate.old,
        final.new,
        updates,
        [(f"refs/heads/{mission.branch}-{lane_id}", head) for lane_id, head in candidate.heads],
        ledger_commit,
        list(kept),
        kept,
        {},
        {checkout: found.aside for checkout, found in prepared.items()},
        {checkout: found.before for checkout, found in prepared.items()},
    )
