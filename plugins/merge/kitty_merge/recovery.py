"""What follows the move of the refs, and the recovery of a landing that was interrupted: the same steps, repeatable.

A landing whose target has moved is rolled forward; any other is forgotten, and gives its locks back.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from kitty_host.mission import META, Mission
from kitty_host.repo import Repo
from kitty_host.report import note
from kitty_merge import journal as journals
from kitty_merge import ref_locks, trees
from kitty_merge.checkout import Checkout, checkouts_of
from kitty_merge.journal import Journal, merge_lock
from kitty_merge.scratch import remove_scratches


class Recovery(NamedTuple):
    """What was left of landings that were begun."""

    missions: list[str]
    rescued: list[Path]
    """Where files of the user's were moved."""


def recover(repo: Repo) -> Recovery:
    """Finish or forget every landing that was begun.

    Errors: `LOCK_HELD`, `MERGE_INCOMPLETE`.
    """
    if not any(journals.directory(repo).glob("*")):
        return Recovery([], [])
    with merge_lock(repo):
        return recover_all(repo)


def recover_all(repo: Repo) -> Recovery:
    """As `recover`, under the merge lock."""
    found = Recovery([], [])
    for journal in journals.begun(repo):
        found.rescued.extend(_recover(repo, _mission(repo, journal), journal))
        found.missions.append(journal.mission_id)
    _release_locks_without_a_journal(repo)
    return found


def _mission(repo: Repo, journal: Journal) -> Mission:
    """The mission as NEW describes it: `meta.json` is one of the files that a landing writes, and may be gone or half there."""
    directory = Path(journal.directory)
    described = repo.git.read_blob(journal.new, repo.relative(directory / META))
    return Mission(repo, directory, json.loads(described) if described else {"mission_id": journal.mission_id})


def _release_locks_without_a_journal(repo: Repo) -> None:
    for tokens in journals.directory(repo).glob("*.tokens"):
        for token in tokens.glob("token-*"):
            for path, _ in repo.worktrees():
                if path.is_dir():
                    Checkout(repo, path, token).give_lock_back()
        tokens.rmdir()


def _recover(repo: Repo, mission: Mission, journal: Journal) -> list[Path]:
    rescued: list[Path] = []
    git = repo.git
    # First of all, and before the journal can go: it alone knows which locks may be the dead landing's.
    ref_locks.release(repo, journal)
    now = git.commit_of(journal.target)
    checkouts = _journalled_checkouts(repo, journal)
    # Somebody may have built on it already, from another clone; then that is what the checkouts shall have.
    if now is None or not git.is_ancestor(journal.new, now):
        forget(repo, mission, checkouts)
        return rescued
    with mission.ledger.locked():
        _complete_refs(repo, journal)
        mission.ledger.take_in(mission.ledger.lines_at(git, journal.ledger_commit))
        for checkout in checkouts:
            rescued += checkout.rescued_before(journal.rescue.get(str(checkout.path), []))
            if checkout.holds_lock() or checkout.is_behind(journal.old, now):
                checkout.take_lock()
                rescued += checkout.rescue_all(journal.rescue.get(str(checkout.path), []), now, again=True)
                own = trees.entries(git, now, *journal.own) if checkout.holds_the_live_ledger else {}
                rescued += checkout.roll_forward(journal.old, now, own)
    wind_up(repo, mission, rescued)
    return rescued


def _complete_refs(repo: Repo, journal: Journal) -> None:
    """The other refs of the transaction: Git renames one lock after the other, and the target's is the first."""
    git = repo.git
    now = git.commit_of(journal.ledger_ref)
    if now is None or (now != journal.ledger_commit and git.is_ancestor(now, journal.ledger_commit)):
        git.run("update-ref", journal.ledger_ref, journal.ledger_commit, now or git.null_id)
    if git.commit_of(journal.undo_ref) != journal.old:
        git.run("update-ref", journal.undo_ref, journal.old)


def forget(repo: Repo, mission: Mission, checkouts: Sequence[Checkout]) -> None:
    """Leave nothing of a landing that did not move its target."""
    for checkout in checkouts:
        checkout.give_lock_back()
    journals.drop(repo, mission.mission_id)


def complete(repo: Repo, mission: Mission, journal: Journal, lines: Sequence[bytes]) -> list[Path]:
    """Under the status lock, after the ref moved: the live ledger, then the checkouts. Returns where ignored files were moved."""
    rescued: list[Path] = []
    mission.ledger.take_in(lines)
    _take_the_ledger_out_of_the_way(repo, mission, journal)
    for checkout in _journalled_checkouts(repo, journal):
        rescued += checkout.rescue_all(journal.rescue.get(str(checkout.path), []), journal.new)
        checkout.finish(journal.old, journal.new)
    return rescued


def _take_the_ledger_out_of_the_way(repo: Repo, mission: Mission, journal: Journal) -> None:
    """Where the canonical checkout is on another branch, an untracked ledger would stop the switch to the target, which has it now.

    Its second name keeps the bytes.
    """
    path = mission.ledger.live
    elsewhere = str(repo.root) not in journal.checkouts
    if elsewhere and path.exists() and not repo.git.records("ls-files", "-z", "--", repo.relative(path)):
        mission.ledger.leave_the_checkout()


def _journalled_checkouts(repo: Repo, journal: Journal) -> list[Checkout]:
    found = checkouts_of(repo, journal.target, journals.tokens(repo, journal.mission_id))
    return [checkout for checkout in found if str(checkout.path) in journal.checkouts]


def wind_up(repo: Repo, mission: Mission, rescued: Sequence[Path]) -> None:
    """After everything else: what was moved aside is named, the user's `post-merge` hook runs, and the journal goes."""
    for place in rescued:
        note(f"A file of yours was in the way and is now {place}")
    repo.git.run("hook", "run", "--ignore-missing", "post-merge", "--", "0", ok=range(256))
    remove_scratches(repo)
    journals.drop(repo, mission.mission_id)
