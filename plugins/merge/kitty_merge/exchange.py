"""Exchanging lanes and ledgers with a remote: fetch aside, union, and publish. Nothing of one side replaces anything of the other."""

from __future__ import annotations

from typing import NamedTuple

from kitty_host.git import Git
from kitty_host.ledger.log import Ledger
from kitty_host.mission import Mission
from kitty_host.repo import Repo


class Exchanged(NamedTuple):
    """What one mission got from a remote and gave to it."""

    remote: str
    rows: int
    """Rows of the ledger that were new here."""
    lanes: tuple[str, ...]
    """Branches that were new here, or moved forward."""
    pushed: tuple[str, ...]


def exchange(mission: Mission, remote: str, *, push: bool) -> Exchanged:
    """Take in a remote's lanes and ledger; with `push`, publish this side's. Errors: `GIT_FAILED` where the remote is out of reach."""
    repo, git = mission.repo, mission.repo.git
    fetched = f"refs/kitty-remote/{remote}"
    git.run(
        "fetch",
        "--quiet",
        "--no-tags",
        remote,
        f"+refs/heads/{mission.branch}-lane-*:{fetched}/heads/{mission.branch}-lane-*",
        f"+refs/kitty/{mission.mission_id}/*:{fetched}/{mission.mission_id}/*",
    )
    lanes = _forward_lanes(repo, mission, fetched)
    rows = _take_in(git, mission.ledger, f"{fetched}/{mission.mission_id}/ledger", remote)
    pushed: list[str] = []
    if push:
        pushed = git.lines(
            "for-each-ref", "--format=%(refname)", f"refs/heads/{mission.branch}-lane-*", mission.ledger.ref
        )
        if pushed:
            git.run("push", "--quiet", remote, *(f"{ref}:{ref}" for ref in pushed))
    return Exchanged(remote, rows, tuple(lanes), tuple(pushed))


def remotes(repo: Repo) -> list[str]:
    """The remotes that are configured."""
    return repo.git.lines("remote")


def _take_in(git: Git, ledger: Ledger, theirs: str, remote: str) -> int:
    """The union of both ledgers becomes the live one, and a checkpoint with both as parents."""
    commit = git.commit_of(theirs)
    added = ledger.extend(ledger.lines_at(git, commit)) if commit else 0
    if ledger.live.exists():
        ledger.checkpoint(git, f"Exchange with {remote}\n", others=[commit] if commit else [])
    return added


def _forward_lanes(repo: Repo, mission: Mission, fetched: str) -> list[str]:
    """Create branches that only the remote has, and move those forward that nobody has checked out."""
    git = repo.git
    prefix = f"{fetched}/heads/"
    checked_out = {ref for _, ref in repo.worktrees()}
    moved: list[str] = []
    for line in git.lines("for-each-ref", "--format=%(objectname) %(refname)", f"{prefix}{mission.branch}-lane-*"):
        theirs, _, ref = line.partition(" ")
        branch = f"refs/heads/{ref.removeprefix(prefix)}"
        mine = git.commit_of(branch)
        if mine != theirs and branch not in checked_out and (mine is None or git.is_ancestor(mine, theirs)):
            git.run("update-ref", branch, theirs, mine or git.null_id)
            moved.append(ref.removeprefix(prefix))
    return moved
