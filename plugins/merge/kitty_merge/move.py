"""One move of a target with everything that follows it: the refs in one transaction, the live ledger, the checkouts.

A landing moves forward and an undo back; both write a journal first, and recovery ends what either began.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from kitty_host import files
from kitty_host.api import KittyError
from kitty_host.git import GitError
from kitty_host.mission import Mission
from kitty_host.repo import Repo
from kitty_host.report import note
from kitty_merge import journal as journals
from kitty_merge import ref_locks, trees
from kitty_merge.checkout import Checkout, Rescued, checkouts_of
from kitty_merge.hooks import Hooks
from kitty_merge.journal import Entries, Journal, WayBack
from kitty_merge.scratch import remove_scratches

PATIENCE = 30
"""Seconds to wait for the ledger: nobody can commit in a checkout meanwhile."""


@contextmanager
def locked_checkouts(mission: Mission, target: str) -> Iterator[list[Checkout]]:
    """The checkouts of a target, in each of which nobody else can commit. Errors: `LOCK_HELD`; then none is locked.

    Whatever ends it before the target has moved gives every lock back.
    """
    repo = mission.repo
    checkouts = checkouts_of(repo, target, journals.tokens(repo, mission.mission_id))
    try:
        for checkout in checkouts:
            checkout.take_lock()
        yield checkouts
    finally:
        # Once the target has moved, only recovery may let go: the journal says what is left to do.
        if not any(one.mission_id == mission.mission_id and one.has_moved(repo.git) for one in journals.begun(repo)):
            forget(repo, mission.mission_id, checkouts)


def refs(repo: Repo, journal: Journal, message: str, *, again: str) -> None:
    """Move the refs, all or none; `again` is the way on where one has moved meanwhile. Errors: `LOCK_HELD`, `MERGE_TARGET_MOVED`."""
    commands = ["start", *(f"update {ref} {new} {old}" for ref, new, old in journal.updates)]
    commands += [f"verify {ref} {commit}" for ref, commit in journal.verified]
    commands += ["prepare", "commit"]
    try:
        with journals.merge_lock(repo) as held:
            git = repo.git.keeping(held)
            git.run("update-ref", "-m", message, "--stdin", stdin="\n".join(commands).encode() + b"\n")
    except GitError as error:
        if error.status < 0:
            # Somebody killed that Git alone: its locks are looked at here, since what did not move leaves no journal.
            ref_locks.release(repo, journal)
        ref_locks.refuse_if_held(repo, error)
        if "aborted by" in error.stderr:
            raise KittyError(
                "COMMIT_REFUSED",
                "the hook reference-transaction refuses; nothing has moved",
                "mend what it says and run it again",
                hook="reference-transaction",
            ) from error
        if "but expected" not in error.stderr:
            raise
        raise KittyError("MERGE_TARGET_MOVED", f"the refs did not move: {error.message}", again) from error


def complete_refs(repo: Repo, journal: Journal) -> None:
    """The other refs of a transaction that was killed: Git renames one lock after the other, and the target's is the first."""
    git = repo.git
    for ref, new, old in journal.updates[1:]:
        if (git.commit_of(ref) or git.null_id) == old != new:
            git.run("update-ref", ref, new, old)


def follow(mission: Mission, journal: Journal, lines: Sequence[bytes], checkouts: Sequence[Checkout]) -> list[Rescued]:
    """Under the status lock, right after the refs moved: the live ledger, then the checkouts. Returns what was moved aside."""
    rescued: list[Rescued] = []
    repo = mission.repo
    mission.ledger.take_in(lines)
    _take_the_ledger_out_of_the_way(repo, mission, journal)
    for checkout in checkouts:
        rescued += checkout.rescue_all(journal.rescue.get(str(checkout.path), []), journal.new)
        kept = journal.kept.get(str(checkout.path), {})
        if journal.kind == "landing":
            # Its kept entries are the new commit's own, and in the index already; only an undo goes to a commit that has others.
            checkout.finish(journal.old, journal.new, {})
        else:
            after = entries_after(repo, journal, checkout, journal.new)
            checkout.finish(journal.old, shown_tree(repo, journal.new, kept), after)
    return rescued


def catch_up(repo: Repo, mission: Mission, journal: Journal) -> list[Rescued]:
    """The same after a crash, under the status lock: towards what the target is now. Returns what was moved aside."""
    rescued: list[Rescued] = []
    git = repo.git
    now = git.commit_of(journal.target)
    assert now is not None, "it has moved"
    complete_refs(repo, journal)
    mission.ledger.take_in(mission.ledger.lines_at(git, journal.ledger_commit))
    for checkout in journalled_checkouts(repo, journal):
        aside = journal.rescue.get(str(checkout.path), [])
        rescued += checkout.rescued_before(aside)
        if checkout.holds_lock() or checkout.is_behind(journal.old, now):
            checkout.take_lock()
            rescued += checkout.rescue_all(aside, now, again=True)
            rescued += checkout.roll_forward(journal.old, now, entries_after(repo, journal, checkout, now))
    return rescued


def shown_tree(repo: Repo, commit: str, kept: Mapping[str, trees.Entry]) -> str:
    """What a checkout is brought to so that `kept` stays as it is: the commit with those entries."""
    return trees.with_entries(repo, commit, kept) if kept else commit


def entries_after(repo: Repo, journal: Journal, checkout: Checkout, now: str) -> Entries:
    """What the index entries of kept files become: the commit's, unless the journal knows better."""
    kept = journal.kept.get(str(checkout.path), {})
    if not kept:
        return {}
    has = trees.entries(repo.git, now, *kept)
    return {**{path: has.get(path) for path in kept}, **journal.after.get(str(checkout.path), {})}


def _take_the_ledger_out_of_the_way(repo: Repo, mission: Mission, journal: Journal) -> None:
    """Where the canonical checkout is on another branch, an untracked ledger would stop the switch to the target, which has it now.

    Its second name keeps the bytes.
    """
    path = mission.ledger.live
    elsewhere = journal.kind == "landing" and str(repo.root) not in journal.checkouts
    if elsewhere and path.exists() and not repo.git.records("ls-files", "-z", "--", repo.relative(path)):
        mission.ledger.leave_the_checkout()


def journalled_checkouts(repo: Repo, journal: Journal) -> list[Checkout]:
    """The checkouts that the journal speaks of and that still have the target."""
    found = checkouts_of(repo, journal.target, journals.tokens(repo, journal.mission_id))
    return [checkout for checkout in found if str(checkout.path) in journal.checkouts]


def forget(repo: Repo, mission_id: str, checkouts: Sequence[Checkout]) -> None:
    """Leave nothing of a move that was not made."""
    for checkout in checkouts:
        checkout.give_lock_back()
    journals.drop(repo, mission_id)


def wind_up(repo: Repo, journal: Journal, rescued: Sequence[Rescued]) -> None:
    """After everything else: what was moved aside is named, the user's hook runs, the way back is kept, and the journal goes."""
    for one in rescued:
        note(f"A file of yours was in the way and is now {one.place}")
    if journal.kind == "landing":
        if Hooks.of(repo, "post-merge").names:
            repo.git.hook("post-merge", "0")
        moved = [(str(one.checkout), one.path, str(one.place)) for one in rescued]
        WayBack(journal.new, journal.before, moved).write(repo, journal.mission_id)
    else:
        _bring_back(WayBack.read(repo, journal.mission_id, journal.old))
        WayBack.forget(repo, journal.mission_id)
    remove_scratches(repo)
    journals.drop(repo, journal.mission_id)


def _bring_back(way_back: WayBack) -> None:
    """Files that a landing had moved aside and that is undone now, where their places are free again."""
    for checkout, path, place in way_back.rescued:
        target = Path(checkout) / path
        if os.path.lexists(place) and not os.path.lexists(target) and Path(checkout).is_dir():
            files.move(Path(place), target)
            note(f"Your {path} is back in its place.")
