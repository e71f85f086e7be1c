"""What follows the move of the refs, and the recovery of a landing that was interrupted: the same steps, repeatable.

A landing whose target has moved is rolled forward; any other is forgotten, and gives its locks back.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from kitty_host.api import KittyError
from kitty_host.mission import META, Mission, read_mission
from kitty_host.repo import Repo
from kitty_merge import journal as journals
from kitty_merge.checkout import Checkout, checkouts_of
from kitty_merge.journal import Journal, merge_lock


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
        directory = Path(journal.directory)
        known = (directory / META).exists()
        mission = (
            read_mission(repo, directory) if known else Mission(repo, directory, {"mission_id": journal.mission_id})
        )
        found.rescued.extend(_recover(repo, mission, journal))
        found.missions.append(journal.mission_id)
    _release_locks_without_a_journal(repo)
    return found


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
    now = git.commit_of(journal.target)
    checkouts = _journalled_checkouts(repo, journal)
    landed = now is not None and git.is_ancestor(journal.new, now)
    if not landed:
        forget(repo, mission, checkouts)
        return rescued
    if now != journal.new and any(checkout.holds_lock() for checkout in checkouts):
        raise KittyError(
            "MERGE_INCOMPLETE",
            f"{journal.target} moved on from an unfinished landing",
            f"look at both: git log {journal.new[:10]}..{journal.target}; then remove {journals.directory(repo)}",
            new=journal.new,
        )
    with mission.ledger.locked():
        _append_missing(mission, mission.ledger.lines_at(git, journal.ledger_commit))
        for checkout in checkouts if now == journal.new else []:
            if checkout.holds_lock() or _is_behind(checkout, journal):
                checkout.take_lock()
                own = journal.own_entries() if checkout.holds_the_live_ledger else {}
                rescued += checkout.roll_forward(journal.old, journal.new, own)
    wind_up(repo, mission)
    return rescued


def _is_behind(checkout: Checkout, journal: Journal) -> bool:
    """Whether the index is still OLD's although the lock is gone: somebody removed it by hand."""
    differs = checkout.git.records("diff-index", "--cached", "-z", "--name-only", journal.new)
    return bool(differs) and not checkout.git.records("diff-index", "--cached", "-z", "--name-only", journal.old)


def forget(repo: Repo, mission: Mission, checkouts: Sequence[Checkout]) -> None:
    """Leave nothing of a landing that did not move its target."""
    for checkout in checkouts:
        checkout.give_lock_back()
    journals.drop(repo, mission.mission_id)


def complete(repo: Repo, mission: Mission, journal: Journal, lines: Sequence[bytes]) -> list[Path]:
    """Under the status lock, after the ref moved: the live ledger, then the checkouts. Returns where ignored files were moved."""
    rescued: list[Path] = []
    _append_missing(mission, lines)
    for checkout in _journalled_checkouts(repo, journal):
        rescued += [checkout.rescue(path) for path in journal.rescue.get(str(checkout.path), [])]
        checkout.finish(journal.old, journal.new)
    return rescued


def _journalled_checkouts(repo: Repo, journal: Journal) -> list[Checkout]:
    found = checkouts_of(repo, journal.target, journals.tokens(repo, journal.mission_id))
    return [checkout for checkout in found if str(checkout.path) in journal.checkouts]


def _append_missing(mission: Mission, lines: Sequence[bytes]) -> None:
    live = mission.ledger.lines()
    missing = mission.ledger.union(live, lines)[len(live) :]
    if missing:
        mission.ledger.settle(mission.ledger.write_lines(missing), [json.loads(line) for line in missing])


def wind_up(repo: Repo, mission: Mission) -> None:
    """After everything else: the user's `post-merge` hook, and the journal goes."""
    repo.git.run("hook", "run", "--ignore-missing", "post-merge", "--", "0", ok=range(256))
    journals.drop(repo, mission.mission_id)
