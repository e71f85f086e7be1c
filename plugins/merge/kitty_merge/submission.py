"""What a work package has to show for review: the commits of its lane, or the commit that is made of a planning artefact's owned files."""

from __future__ import annotations

import os
import stat

from kitty_host.api import KittyError
from kitty_host.git import Git
from kitty_host.lanes import PLANNING, require_lanes
from kitty_host.mission import Mission
from kitty_host.packages import Package
from kitty_host.records import Lane, Lanes, Submission
from kitty_host.state import State
from kitty_merge import trees
from kitty_merge.leases import trespasses
from kitty_merge.own_records import is_record
from kitty_merge.paths import owns
from kitty_merge.workspace import approved_head, base_for, is_on_branch, needed_commits, planning_base, worktree_path

_SUBMODULE = "160000"


def submission(package: Package, mission: Mission) -> Submission:
    """The head to review and the commits that lead to it. Errors: `SUBMIT_DIRTY`, `WORKTREE_ALLOC_FAILED`, `LANES_MISSING`."""
    lanes = require_lanes(mission)
    lane = lanes.of(package.wp_id)
    if lane is None:
        raise KittyError("LANES_MISSING", f"{package.wp_id} is in no lane", "run: kitty finalize")
    state = State.load(mission)
    if lane.lane_id == PLANNING:
        head = _snapshot(package, mission, lanes, lane, state)
    else:
        head = _lane_head(package, mission, lane)
    git = mission.repo.git
    known = {planning_base(mission, lanes), *needed_commits(state, package)}
    known |= {commit for other in lane.wp_ids if other != package.wp_id and (commit := state.approved_commit(other))}
    commits = tuple(git.lines("rev-list", "--reverse", head, "--not", *sorted(known)))
    changed = git.paths_of(commits)
    paths = sorted({path for found in changed.values() for path in found})
    findings = [one.finding() for one in trespasses(state, lanes, lane, head, changed)]
    return Submission(package.wp_id, head, commits, tuple(paths), tuple(findings))


def _lane_head(package: Package, mission: Mission, lane: Lane) -> str:
    head = mission.repo.git.commit_of(f"refs/heads/{lane.branch}")
    if head is None:
        raise KittyError(
            "WORKTREE_ALLOC_FAILED", f"{package.wp_id} has no lane yet", f"run: kitty implement {package.wp_id}"
        )
    path = worktree_path(mission, lane.lane_id)
    if path.is_dir() and not is_on_branch(path, lane.branch):
        raise KittyError(
            "LANE_LEFT",
            f"{path} is not on {lane.branch}: commits made there are in no lane",
            f"bring them over: git -C {path} branch --force {lane.branch} HEAD && git -C {path} switch {lane.branch}",
            path=str(path),
        )
    dirty = Git(path).records("status", "--porcelain", "-z") if path.is_dir() else []
    if dirty:
        raise KittyError(
            "SUBMIT_DIRTY",
            f"{path} has changes that are in no commit: {dirty[0][3:]}{' and more' if len(dirty) > 1 else ''}",
            f"commit or remove them: git -C {path} status",
            paths=[record[3:] for record in dirty],
        )
    return head


# Planning artefacts: ADR 0004


def _snapshot(package: Package, mission: Mission, lanes: Lanes, lane: Lane, state: State) -> str:
    """Commit exactly the owned files as they are in the canonical checkout to the lane; the present head where nothing changed.

    The parent is what was approved last, never what is merely there: nothing unreviewed may ride along.
    """
    repo = mission.repo
    planned = planning_base(mission, lanes)
    if not repo.git.is_ancestor(lanes.planning_commit or planned, "HEAD"):
        raise KittyError(
            "PLAN_ELSEWHERE",
            f"{repo.root} is at a commit without the plan of {mission.slug}",
            f"go back to it: git -C {repo.root} switch {mission.target}",
        )
    ref = f"refs/heads/{lane.branch}"
    needed = needed_commits(state, package)
    parent = approved_head(state, lane) or base_for(mission, lanes, package, needed)
    for commit in [commit for commit in needed if not repo.git.is_ancestor(commit, parent)]:
        tree, conflicts = trees.merge(trees.beside(repo, parent), parent, commit)
        if conflicts:
            raise KittyError(
                "WORKTREE_ALLOC_FAILED",
                f"a dependency conflicts in {', '.join(conflicts)}",
                "settle that in its lane first",
            )
        parent = repo.git.commit_tree(tree, [parent, commit], f"Bring a dependency of {package.wp_id} into its lane\n")
    updates = _owned_changes(mission, package, parent)
    tree = trees.with_entries(repo, parent, updates)
    old = repo.git.commit_of(ref)
    if old is not None and (tree, parent) == _tree_and_parent(repo.git, old):
        return old
    if tree != repo.git.out("rev-parse", f"{parent}^{{tree}}"):
        message = f"{package.wp_id}: {package.title}\n\nSnapshot of its owned files in the canonical checkout.\n"
        parent = repo.git.commit_tree(tree, [parent], message)
    return _move(repo.git, ref, parent, old)


def _tree_and_parent(git: Git, commit: str) -> tuple[str, str]:
    tree, _, parents = git.out("log", "-1", "--format=%T %P", commit).partition(" ")
    return tree, parents


def _move(git: Git, ref: str, new: str, old: str | None) -> str:
    git.run("update-ref", "--create-reflog", ref, new, old or "0" * len(new))
    return new


def _owned_changes(mission: Mission, package: Package, parent: str) -> dict[str, trees.Entry | None]:
    """The owned files as they are on disk, stored through the user's filters, and None for those that are gone.

    Ignored files, other repositories and what a sparse checkout leaves out are not ours to take or to remove. Links are stored as links.
    """
    git = mission.repo.git
    tagged = git.records("ls-files", "-z", "-t", "--cached")
    sparse = {record[2:] for record in tagged if record.startswith("S ")}
    present = git.records("ls-files", "-z", "--cached", "--others", "--exclude-standard")
    before = trees.entries(git, parent)
    mine = [
        path
        for path in {*present, *before}
        if owns(package.owned_files, path) and not is_record(mission, path) and path not in sparse
    ]
    changes: dict[str, trees.Entry | None] = {}
    for path in mine:
        kept = before.get(path)
        if kept is None or kept.mode != _SUBMODULE:
            entry = _stored(mission, path)
            if entry is not None or (kept is not None and not os.path.lexists(mission.repo.root / path)):
                changes[path] = entry
    return changes


def _stored(mission: Mission, path: str) -> trees.Entry | None:
    repo = mission.repo
    try:
        status = (repo.root / path).lstat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    if stat.S_ISLNK(status.st_mode):
        return trees.Entry("120000", repo.git.write_blob(os.fsencode((repo.root / path).readlink())))
    if stat.S_ISREG(status.st_mode):
        mode = "100755" if status.st_mode & 0o100 else "100644"
        return trees.Entry(mode, repo.git.out("hash-object", "-w", "--path", path, "--", path))
    return None
