"""Exchanging lanes and ledgers with a remote: fetch aside, union, and publish. Nothing of one side replaces anything of the other."""

from __future__ import annotations

import re
from typing import NamedTuple

from kitty_host.api import KittyError
from kitty_host.git import Git, GitError
from kitty_host.ledger.log import Ledger
from kitty_host.mission import Mission
from kitty_host.repo import Repo
from kitty_host.report import note


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
    named = (re.fullmatch(r"remote\.(.+)\.\w+", name, re.DOTALL) for name in repo.git.settings)
    return sorted({found[1] for found in named if found})


def default_remote(repo: Repo) -> str | None:
    """`origin`, or the only one; None where there is none, or no telling which."""
    known = remotes(repo)
    return "origin" if "origin" in known else known[0] if len(known) == 1 else None


def push_landing(mission: Mission) -> None:
    """Push the target and the ledger to where the target is pushed. Errors: `PUSH_FAILED`; the landing stays, and a re-run only pushes."""
    git = mission.repo.git
    keys = (f"branch.{mission.target}.pushremote", "remote.pushdefault", f"branch.{mission.target}.remote")
    configured = (git.settings.get(key) for key in keys)
    remote = next((name for name in configured if name), None) or default_remote(mission.repo)
    if remote is None:
        raise KittyError(
            "PUSH_FAILED",
            "it has landed, and no remote is configured",
            "run: git remote add origin URL; then: kitty merge --push",
        )
    note(f"Pushing {mission.target} to {remote} …")
    refs = [f"refs/heads/{mission.target}", mission.ledger.ref]
    try:
        git.run("push", "--quiet", remote, *(f"{ref}:{ref}" for ref in refs))
    except GitError as error:
        raise KittyError(
            "PUSH_FAILED",
            f"it has landed, and {remote} did not take it: {error.message}",
            f"mend that (git fetch {remote} shows what is new there); then: kitty merge --push",
            remote=remote,
        ) from error


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
