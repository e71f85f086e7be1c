"""The landing: one move of the target from OLD to NEW, in the order of steps of ADR 0003.

Killed anywhere, the target is OLD or NEW; the next `kitty merge` finishes or forgets what was begun.
"""

from __future__ import annotations

from collections.abc import Sequence

from attrs import evolve

from kitty_host.api import KittyError
from kitty_host.git import GitError
from kitty_host.records import Candidate, Landing
from kitty_host.repo import Repo
from kitty_merge import ref_locks
from kitty_merge.candidate import account, objections
from kitty_merge.checkout import Checkout, checkouts_of
from kitty_merge.final import Final, build_final
from kitty_merge.journal import Journal, merge_lock, tokens
from kitty_merge.recovery import complete, forget, recover_all, wind_up


def land(candidate: Candidate) -> Landing:
    """Land a candidate whose checks have passed.

    Errors: `LOCK_HELD`, `MERGE_TARGET_MOVED`, `MERGE_HEAD_MOVED`, `MERGE_INCOMPLETE`, `MERGE_NOT_APPROVED`, `MERGE_DIRTY`,
    `MERGE_IN_THE_WAY`, `COMMIT_REFUSED`; after any of them nothing has moved.
    """
    return _land(candidate, move=True)


def rehearse(candidate: Candidate) -> None:
    """Everything up to the move, and back. Errors: as `land`."""
    _land(candidate, move=False)


def _land(candidate: Candidate, *, move: bool) -> Landing:
    mission = candidate.mission
    repo = mission.repo
    with merge_lock(repo):
        recover_all(repo)
        _require_unmoved(candidate)
        accounts = account(candidate)
        checkouts = checkouts_of(repo, candidate.target, tokens(repo, mission.mission_id))
        final: Final | None = None
        try:
            for checkout in checkouts:
                checkout.take_lock()
            with mission.ledger.locked():
                _require_approved(candidate)
                final = build_final(candidate, accounts)
                journal = _journal(candidate, final, checkouts)
                if not move:
                    return final.landing
                journal.write(repo)
                _move_refs(repo, candidate, journal)
                rescued = complete(repo, mission, journal, final.ledger_lines)
        finally:
            # Once the target has moved, only recovery may let go: the journal says what is left to do.
            if final is None or not repo.git.is_ancestor(final.new, candidate.target):
                forget(repo, mission, checkouts)
        wind_up(repo, mission, rescued)
    return evolve(final.landing, new=final.new, rescued=tuple(map(str, rescued)))


def _require_unmoved(candidate: Candidate) -> None:
    git = candidate.mission.repo.git
    if git.commit_of(candidate.target) != candidate.old:
        raise KittyError(
            "MERGE_TARGET_MOVED", f"{candidate.target} moved meanwhile", "run it again: kitty accept && kitty merge"
        )
    for lane_id, head in candidate.heads:
        if git.commit_of(f"refs/heads/{candidate.mission.branch}-{lane_id}") != head:
            raise KittyError(
                "MERGE_HEAD_MOVED",
                f"{lane_id} moved meanwhile",
                "run it again: kitty accept && kitty merge",
                lane=lane_id,
            )


def _require_approved(candidate: Candidate) -> None:
    """Once more under the status lock: nobody may take an approval back between the check and the move."""
    for finding in objections(candidate):
        if finding.severity == "block":
            raise KittyError(finding.code, finding.message, finding.hint)


def _journal(candidate: Candidate, final: Final, checkouts: Sequence[Checkout]) -> Journal:
    mission = candidate.mission
    git = mission.repo.git
    rescue: dict[str, list[str]] = {}
    for checkout in checkouts:
        own = final.own if checkout.holds_the_live_ledger else {}
        rescue[str(checkout.path)] = checkout.prepare(candidate.old, final.new, own)
    previous = git.commit_of(mission.ledger.ref)
    ledger_commit = mission.ledger.commit(
        git, final.ledger_lines, f"Landing of {mission.slug}\n", [previous] if previous else []
    )
    return Journal(
        mission.mission_id,
        str(mission.directory),
        candidate.target,
        candidate.old,
        final.new,
        mission.ledger.ref,
        ledger_commit,
        {path: list(entry) for path, entry in final.own.items()},
        [str(checkout.path) for checkout in checkouts],
        rescue,
        tuple(f"refs/heads/{mission.branch}-{lane_id}" for lane_id, _ in candidate.heads),
    )


def _move_refs(repo: Repo, candidate: Candidate, journal: Journal) -> None:
    """One transaction: the target, the ledger's ref, the way back, and the promise that no lane moved."""
    previous = repo.git.commit_of(journal.ledger_ref) or repo.git.null_id
    commands = ["start", f"update {journal.target} {journal.new} {journal.old}"]
    if previous != journal.ledger_commit:
        commands.append(f"update {journal.ledger_ref} {journal.ledger_commit} {previous}")
    led_back = repo.git.commit_of(journal.undo_ref) or repo.git.null_id
    commands.append(f"update {journal.undo_ref} {journal.old} {led_back}")
    commands += [f"verify {ref} {head}" for ref, (_, head) in zip(journal.verified, candidate.heads, strict=True)]
    commands += ["prepare", "commit"]
    try:
        repo.git.run(
            "update-ref",
            "-m",
            f"kitty merge: {candidate.mission.slug}",
            "--stdin",
            stdin="\n".join(commands).encode() + b"\n",
        )
    except GitError as error:
        if error.status < 0:
            # Somebody killed that Git alone: its locks are looked at here, since what did not move leaves no journal.
            ref_locks.release(repo, journal)
        ref_locks.refuse_if_held(error)
        raise KittyError(
            "MERGE_TARGET_MOVED", f"the refs did not move: {error.message}", "run it again: kitty merge"
        ) from error
