"""Where work packages are worked on: a branch and a worktree per lane, on a base that contains what they depend on.

Allocating is idempotent and safe under many at once; planning artefacts have no worktree.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from kitty_host.api import KittyError
from kitty_host.claims import Claim, held
from kitty_host.files import atomic_write, lock, remove
from kitty_host.git import Git
from kitty_host.lanes import PLANNING, plan_ref, require_lanes
from kitty_host.ledger.event import LANDED, UNDONE
from kitty_host.ledger.machine import CLAIMED, IN_PROGRESS
from kitty_host.mission import Mission
from kitty_host.packages import Package
from kitty_host.records import Lane, Lanes, Workspace
from kitty_host.state import State

ENV_FILE = ".kitty-lane.env"
DATABASE = "SPEC_KITTY_TEST_DB_NAME"
_LONGEST_NAME = 63
ACTIVE = (CLAIMED, IN_PROGRESS)
"""Where somebody is at work, so that a merge into the lane is seen and tested."""
# As kitty makes them: in lower case, but for the first characters of the id at their end.
_PLAIN_SLUG = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*(-[0-9A-HJKMNP-TV-Z]{8})?")


def allocate(package: Package, mission: Mission) -> Workspace:
    """The workspace of a work package, made where it is missing. Errors: `WORKTREE_ALLOC_FAILED`, `LANES_MISSING`."""
    lanes = require_lanes(mission)
    lane = _lane(lanes, package)
    state = State.load(mission)
    needed = needed_commits(state, package)
    repo = mission.repo
    if lane.lane_id == PLANNING:
        base = base_for(mission, lanes, package, needed)
        return _planning(package, lane, base, repo.git.commit_of(f"refs/heads/{lane.branch}") or base)
    # `kitty next` asks this module where a workspace is, all day; what only making one needs is loaded where it is needed.
    from kitty_host.worktrees import remove_half_made

    path = worktree_path(mission, lane.lane_id)
    claim = held(mission, package.wp_id)
    env = environment(mission, lane.lane_id)
    # The user's hooks run in these, and they are processes of the lane.
    git = _git_of(mission, package).with_environment(**env)
    there = Git(path).keeping(claim.descriptor if claim else None).with_environment(**env)
    with lock(repo.state / "worktrees.lock", wait_seconds=60, purpose="the worktrees", sign=True):
        head = git.commit_of(f"refs/heads/{lane.branch}")
        base = base_for(mission, lanes, package, needed)
        start = head or _submitted_head(state, lane) or base
        if claim is not None and claim.since is not None:
            from kitty_merge.ref_locks import release_claim

            release_claim(repo, claim, lane.branch, start, path)
        remove_half_made(repo, path)
        if head is None:
            _add_worktree(package, git, path, start, new=lane.branch)
        elif not (path / ".git").exists():
            _add_worktree(package, git, path, lane.branch)
        elif claim is not None and claim.said:
            from kitty_merge.half_merged import give_up

            give_up(mission, claim, path, there)
        if not is_on_branch(path, lane.branch):
            raise _failed(package, f"{path} is not on {lane.branch}", f"run there: git switch {lane.branch}")
        _bring_in(there, package, needed, claim)
        _catch_up(there, package, state, lane, claim)
        _write_environment(repo.common, path, env)
    return Workspace(package.wp_id, lane.lane_id, lane.branch, path, base, there.out("rev-parse", "HEAD"), env)


def find(package: Package, mission: Mission) -> Workspace | None:
    """The workspace as it is, or None where there is none yet."""
    lanes = require_lanes(mission)
    lane = _lane(lanes, package)
    head = mission.repo.git.commit_of(f"refs/heads/{lane.branch}")
    if lane.lane_id == PLANNING:
        return _planning(package, lane, "", head or "")
    if head is None:
        return None
    path = worktree_path(mission, lane.lane_id)
    env = environment(mission, lane.lane_id)
    there = path if _is_made(mission, path) else None
    return Workspace(package.wp_id, lane.lane_id, lane.branch, there, "", head, env)


def _is_made(mission: Mission, path: Path) -> bool:
    """Whether there is a worktree that Git has finished; what it locks while it makes one it does not unlock when it is killed."""
    try:
        locked = (mission.repo.common / "worktrees" / path.name / "locked").read_text(encoding="utf-8")
    except OSError:
        locked = ""
    return (path / ".git").exists() and locked.strip() != "initializing"


class Stale(NamedTuple):
    """A lane that lacks what was approved since for something it depends on."""

    lane: Lane
    wp_id: str
    """The work package that is at work there."""
    missing: tuple[str, ...]
    """Commits."""


def stale_lanes(mission: Mission) -> list[Stale]:
    """Lanes with open work whose dependencies have moved since: reopened, corrected, and approved again."""
    git, state = mission.repo.git, State.load(mission)
    found: list[Stale] = []
    for lane in require_lanes(mission).lanes:
        head = git.commit_of(f"refs/heads/{lane.branch}")
        if head is None or lane.lane_id == PLANNING:
            continue
        for package in mission.packages:
            if package.wp_id in lane.wp_ids and state.lane(package.wp_id) in ACTIVE:
                missing = tuple(one for one in needed_commits(state, package) if not git.is_ancestor(one, head))
                if missing:
                    found.append(Stale(lane, package.wp_id, missing))
                    break
    return found


def refresh(mission: Mission, stale: Stale) -> str:
    """Merge what a stale lane lacks into it, in its worktree; returns the new head. Errors: `WORKTREE_ALLOC_FAILED`."""
    return allocate(mission.package(stale.wp_id), mission).head


def needed_commits(state: State, package: Package) -> list[str]:
    """The commits approved for what a work package depends on; one that was approved without a change needs none."""
    found = [state.approved_commit(wp_id) for wp_id in package.dependencies]
    return list(dict.fromkeys(commit for commit in found if commit))


def base_for(mission: Mission, lanes: Lanes, package: Package, needed: list[str]) -> str:
    """The commit that work starts from: the planning base, the one dependency's commit, or the merge of several.

    Errors: `WORKTREE_ALLOC_FAILED` where dependencies do not merge.
    """
    git = _git_of(mission, package)
    tops = [one for one in needed if not any(one != other and git.is_ancestor(one, other) for other in needed)]
    if not tops:
        return planning_base(mission, lanes)
    ref = f"refs/kitty/{mission.mission_id}/base/{package.wp_id}"
    known = git.commit_of(ref) if len(tops) > 1 else None
    if known and _merged_in(git, known, len(tops)) == tops:
        return known
    base = tops[0]
    for commit in tops[1:]:
        from kitty_merge import trees

        tree, conflicts = trees.merge(trees.beside(mission.repo, base), base, commit)
        if conflicts:
            raise _failed(
                package, f"its dependencies conflict in {', '.join(conflicts)}", "settle that in one of their lanes"
            )
        base = git.commit_tree(tree, [base, commit], f"Base of {package.wp_id}: its approved dependencies\n")
    if len(tops) > 1:
        if (claim := held(mission, package.wp_id)) is not None and claim.since is not None:
            # Nobody writes it who has not got the claim's record, and Git inherits that: this is a dead one's.
            remove(mission.repo.common / f"{ref}.lock")
        git.run("update-ref", ref, base)
    return base


def _merged_in(git: Git, commit: str, number: int) -> list[str]:
    """What a base was made of, if it is one of so many."""
    chain = git.lines("rev-list", "--first-parent", "--parents", f"--max-count={number}", commit)
    return [
        line.split()[0 if place == 0 else 2]
        for place, line in enumerate(reversed(chain))
        if place == 0 or line.count(" ") == 2
    ]


def _git_of(mission: Mission, package: Package) -> Git:
    """One that holds the record of the claim, should it outlive kitty."""
    claim = held(mission, package.wp_id)
    return mission.repo.git.keeping(claim.descriptor if claim else None)


def planning_base(mission: Mission, lanes: Lanes) -> str:
    """The target's tip where it contains the plan, else the commit that does. Errors: `WORKTREE_ALLOC_FAILED`."""
    git = mission.repo.git
    tip = git.commit_of(f"refs/heads/{mission.target}")
    planned = git.commit_of(plan_ref(mission)) or lanes.planning_commit
    if planned and (tip is None or not git.is_ancestor(planned, tip)):
        return planned
    if tip is None:
        raise KittyError(
            "WORKTREE_ALLOC_FAILED",
            f"the target branch {mission.target} has no commit",
            f"make one: git commit --allow-empty -m first, on {mission.target}",
        )
    return tip


def worktree_path(mission: Mission, lane_id: str) -> Path:
    """Where a lane's worktree is."""
    return mission.repo.root / ".worktrees" / f"{mission.human}-{mission.mid8}-{lane_id}"


def is_on_branch(path: Path, branch: str) -> bool:
    """Whether a worktree has a branch checked out."""
    done = Git(path).run("symbolic-ref", "--quiet", "HEAD", ok=(0, 1))
    return done.stdout.decode(errors="surrogateescape").strip() == f"refs/heads/{branch}"


def environment(mission: Mission, lane_id: str) -> dict[str, str]:
    """What the processes of a lane get to see: a test database of their own, legal in PostgreSQL and MySQL."""
    return {DATABASE: database_name(mission.slug, lane_id)}


def database_name(slug: str, lane_id: str) -> str:
    """`test_<slug>_<lane>`, at most 63 bytes; with a hash wherever shortening or spelling could make two lanes share a name."""
    name = re.sub(r"[^a-z0-9_]", "_", f"test_{slug}_{lane_id}".lower())
    if len(name) > _LONGEST_NAME or not _PLAIN_SLUG.fullmatch(slug):
        import hashlib

        digest = hashlib.sha256(f"{slug}/{lane_id}".encode()).hexdigest()[:16]
        name = f"{name[: _LONGEST_NAME - 17]}_{digest}"
    return name


def _lane(lanes: Lanes, package: Package) -> Lane:
    lane = lanes.of(package.wp_id)
    if lane is None:
        raise KittyError("LANES_MISSING", f"{package.wp_id} is in no lane", "run: kitty finalize", wp_id=package.wp_id)
    return lane


def approved_head(state: State, lane: Lane) -> str | None:
    """The approved commit of a lane that contains the others."""
    return _top(state.mission.repo.git, [state.approved_commit(wp_id) for wp_id in lane.wp_ids])


def _submitted_head(state: State, lane: Lane) -> str | None:
    """Where a lane was whose branch is gone, as far as the ledger knows: what was submitted last, rejected or not, else approved."""
    told = [(state.submission(wp_id) or {}).get("head") for wp_id in lane.wp_ids]
    approved = [state.approved_commit(wp_id) for wp_id in lane.wp_ids]
    return _top(state.mission.repo.git, [*told, *approved]) or approved_head(state, lane)


def _top(git: Git, named: Sequence[str | None]) -> str | None:
    commits = [commit for commit in named if commit and git.commit_of(commit)]
    return next((one for one in commits if all(git.is_ancestor(other, one) for other in commits)), None)


def _planning(package: Package, lane: Lane, base: str, head: str) -> Workspace:
    note = f"edit its owned files in the canonical checkout: {', '.join(package.owned_files)}"
    return Workspace(package.wp_id, lane.lane_id, lane.branch, None, base, head, notes=(note,))


def _add_worktree(package: Package, git: Git, path: Path, start: str, *, new: str | None = None) -> None:
    """A worktree at `path` of the branch `start`, or of a branch `new` that begins there."""
    git.run("worktree", "prune")
    try:
        git.run("worktree", "add", "--quiet", *(("--no-track", "-b", new) if new else ()), str(path), start)
    except KittyError as error:
        raise _failed(package, error.message, f"mend that and run: kitty implement {package.wp_id}") from error


def _bring_in(there: Git, package: Package, needed: list[str], claim: Claim | None) -> None:
    """Merge approved dependencies that the lane does not contain yet."""
    absent = [commit for commit in needed if not there.is_ancestor(commit, "HEAD")]
    if not absent:
        return
    if there.records("status", "--porcelain", "-z", "--untracked-files=no"):
        raise _failed(package, "its worktree has uncommitted changes and lacks a dependency", "commit them first")
    for commit in absent:
        if claim is not None:
            claim.say(f"merge {commit}")
        try:
            there.run(
                "merge", "--quiet", "--no-edit", "-m", f"Bring a dependency of {package.wp_id} into its lane", commit
            )
        except KittyError as error:
            there.run("merge", "--abort", ok=range(256))
            raise _failed(
                package, f"a dependency does not merge into its lane: {error.message}", "merge it by hand there"
            ) from error


def _catch_up(there: Git, package: Package, state: State, lane: Lane, claim: Claim | None) -> None:
    """Put a lane that landed as part of one squashed commit on top of it.

    It shares no history with that commit, so that every correction would conflict with what it corrects. Its work is in there, so the merge
    of both is that commit's tree.
    """
    landing = state.last_other(LANDED, UNDONE)
    if landing is None or landing.kind == UNDONE:
        return
    from kitty_merge.receipt import receipt

    head = there.out("rev-parse", "HEAD")
    landed = {one["lane_id"]: one["head"] for one in landing.row["payload"]["lanes"]}
    stored = receipt(state.mission, state) if landed.get(lane.lane_id) == head else None
    if stored is None or there.is_ancestor(head, stored["new"]):
        return
    message = f"Bring the landing of {package.wp_id} into its lane\n"
    commit = there.commit_tree(f"{stored['new']}^{{tree}}", [head, stored["new"]], message)
    if claim is not None:
        claim.say(f"merge {commit}")
    # Where somebody has begun to change what that would write, it is left to the merge.
    there.run("merge", "--quiet", "--ff-only", commit, ok=range(256))


def _write_environment(common: Path, worktree: Path, env: dict[str, str]) -> None:
    exclude = common / "info" / "exclude"
    rules = exclude.read_text(encoding="utf-8", errors="surrogateescape") if exclude.exists() else ""
    if f"/{ENV_FILE}" not in rules.splitlines():
        ending = "" if not rules or rules.endswith("\n") else "\n"
        atomic_write(exclude, f"{rules}{ending}/{ENV_FILE}\n".encode(errors="surrogateescape"))
    content = "".join(f"{name}={value}\n" for name, value in env.items()).encode()
    path = worktree / ENV_FILE
    if not path.exists() or path.read_bytes() != content:
        atomic_write(path, content)


def _failed(package: Package, message: str, hint: str) -> KittyError:
    return KittyError("WORKTREE_ALLOC_FAILED", f"{package.wp_id}: {message}", hint, wp_id=package.wp_id)
