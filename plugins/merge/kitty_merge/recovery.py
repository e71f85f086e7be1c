"""The recovery of a landing, or of its undoing, that was interrupted: what moved is rolled forward, anything else is forgotten."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

from kitty_host.command import Invocation
from kitty_host.mission import META, Mission
from kitty_host.repo import Repo
from kitty_merge import journal as journals
from kitty_merge import move, ref_locks
from kitty_merge.checkout import Checkout
from kitty_merge.journal import Journal, merge_lock


class Recovered(NamedTuple):
    """What was begun and is over now."""

    mission_id: str
    moved: bool
    """Whether it had moved its target, and was finished; otherwise it was forgotten."""


def recover(repo: Repo) -> list[Recovered]:
    """Finish or forget everything that was begun. Errors: `LOCK_HELD`, `MERGE_INCOMPLETE`."""
    if not any(journals.directory(repo).glob("*")):
        return []
    with merge_lock(repo):
        found = [_recover(repo, journal) for journal in journals.begun(repo)]
        _release_locks_without_a_journal(repo)
        return found


def look_first(call: Invocation) -> None:
    """Look for the mission where nothing was begun, so that a name that is wrong takes no lock. Errors: as `Invocation.mission`."""
    if not any(journals.directory(call.repo).glob("*")):
        _ = call.mission


def recover_for(call: Invocation) -> list[str]:
    """Finish or forget what a killed command has begun, before the mission is looked for: its files may be half there.

    Returns the missions whose target had moved; where it is one, and none was named, it is the one that is meant.
    """
    moved = [one.mission_id for one in recover(call.repo) if one.moved]
    if len(moved) == 1 and not (call.selector or call.feature):
        call.selector = moved[0]
    return moved


def _recover(repo: Repo, journal: Journal) -> Recovered:
    # First of all, and before the journal can go: it alone knows which locks may be the dead one's.
    ref_locks.release(repo, journal)
    # Somebody may have built on it already, from another clone; then that is what the checkouts shall have.
    moved = journal.has_moved(repo.git)
    if moved:
        mission = _mission(repo, journal)
        with mission.ledger.locked():
            rescued = move.catch_up(repo, mission, journal)
        move.wind_up(repo, journal, rescued)
    else:
        move.forget(repo, journal.mission_id, move.journalled_checkouts(repo, journal))
    return Recovered(journal.mission_id, moved)


def _mission(repo: Repo, journal: Journal) -> Mission:
    """The mission as the new commit describes it: `meta.json` is one of the files that a landing writes, and may be gone or half there."""
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
