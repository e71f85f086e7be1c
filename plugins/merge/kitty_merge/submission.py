"""What a work package has to show for review: the commits of its lane, or the commit that is made of a planning artefact's owned files."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from kitty_host.api import Finding, KittyError
from kitty_host.git import Git
from kitty_host.lanes import PLANNING, require_lanes
from kitty_host.ledger.machine import CLOSED
from kitty_host.mission import Mission, Package
from kitty_host.records import Lane, Lanes, Submission
from kitty_host.state import State
from kitty_merge import trees
from kitty_merge.own_records import is_record
from kitty_merge.paths import covers, owns
from kitty_merge.workspace import base_for, needed_commits, planning_base, worktree_path


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
    paths = sorted({path for commit in commits for path in _paths(git, commit)})
    return Submission(package.wp_id, head, commits, tuple(paths), tuple(_trespasses(state, lanes, lane, paths)))


def _lane_head(package: Package, mission: Mission, lane: Lane) -> str:
    head = mission.repo.git.commit_of(f"refs/heads/{lane.branch}")
    if head is None:
        raise KittyError(
            "WORKTREE_ALLOC_FAILED", f"{package.wp_id} has no lane yet", f"run: kitty implement {package.wp_id}"
        )
    path = worktree_path(mission, lane.lane_id)
    dirty = Git(path).records("status", "--porcelain", "-z") if path.is_dir() else []
    if dirty:
        raise KittyError(
            "SUBMIT_DIRTY",
            f"{path} has changes that are in no commit: {dirty[0][3:]}{' and more' if len(dirty) > 1 else ''}",
            f"commit or remove them: git -C {path} status",
            paths=[record[3:] for record in dirty],
        )
    return head


def _paths(git: Git, commit: str) -> list[str]:
    return git.records("diff-tree", "-r", "-z", "--root", "--no-commit-id", "--name-only", commit)


def _trespasses(state: State, lanes: Lanes, own: Lane, paths: list[str]) -> list[Finding]:
    """Paths that another live lane holds the lease of."""
    found: list[Finding] = []
    for lane in lanes.lanes:
        if lane.lane_id == own.lane_id or all(state.lane(wp_id) in CLOSED for wp_id in lane.wp_ids):
            continue
        for path in paths:
            if owns(lane.write_scope, path) and not owns(own.write_scope, path):
                found.append(
                    Finding(
                        "LEASE",
                        f"{path} belongs to {lane.lane_id}",
                        f"leave it to {', '.join(lane.wp_ids)}",
                        "warn",
                        path,
                    )
                )
    return found


# Planning artefacts: ADR 0004


def _snapshot(package: Package, mission: Mission, lanes: Lanes, lane: Lane, state: State) -> str:
    """Commit exactly the owned files as they are in the canonical checkout to the lane; the present head where nothing changed."""
    repo = mission.repo
    ref = f"refs/heads/{lane.branch}"
    old = repo.git.commit_of(ref)
    needed = needed_commits(state, package)
    parent = old or base_for(mission, lanes, package, needed)
    absent = [commit for commit in needed if not repo.git.is_ancestor(commit, parent)]
    for commit in absent:
        tree, conflicts = trees.merge(repo.git, parent, commit)
        if conflicts:
            raise KittyError(
                "WORKTREE_ALLOC_FAILED",
                f"a dependency conflicts in {', '.join(conflicts)}",
                "settle that in its lane first",
            )
        parent = trees.commit(
            repo.git, tree, [parent, commit], f"Bring a dependency of {package.wp_id} into its lane\n"
        )
    before = trees.entries(repo.git, parent)
    updates: dict[str, trees.Entry | None] = {
        path: None for path in before if owns(package.owned_files, path) and not is_record(mission, path)
    }
    updates.update(_on_disk(mission, package))
    tree = trees.with_entries(repo, parent, updates)
    if tree == repo.git.out("rev-parse", f"{parent}^{{tree}}"):
        return parent if absent == [] else _move(repo.git, ref, parent, old)
    message = f"{package.wp_id}: {package.title}\n\nSnapshot of its owned files in the canonical checkout.\n"
    return _move(repo.git, ref, trees.commit(repo.git, tree, [parent], message), old)


def _move(git: Git, ref: str, new: str, old: str | None) -> str:
    git.run("update-ref", "--create-reflog", ref, new, old or "0" * len(new))
    return new


def _on_disk(mission: Mission, package: Package) -> dict[str, trees.Entry | None]:
    """The owned files that exist, stored as blobs through the user's filters. Links are stored as links, never followed."""
    repo = mission.repo
    found: dict[str, trees.Entry | None] = {}
    for path in _owned_files(repo.root, package.owned_files):
        if is_record(mission, path):
            continue
        place = repo.root / path
        status = place.lstat()
        if stat.S_ISLNK(status.st_mode):
            found[path] = trees.Entry("120000", repo.git.write_blob(os.fsencode(place.readlink())))
        elif stat.S_ISREG(status.st_mode):
            mode = "100755" if status.st_mode & 0o100 else "100644"
            found[path] = trees.Entry(mode, repo.git.out("hash-object", "-w", "--path", path, "--", path))
    return found


def _owned_files(root: Path, patterns: tuple[str, ...]) -> list[str]:
    """The files that patterns cover, found below the fixed beginning of each, without following links."""
    found: set[str] = set()
    for pattern in patterns:
        if os.path.lexists(root / pattern) and not (root / pattern).is_dir():
            found.add(pattern)
            continue
        fixed = pattern.rstrip("/").split("/")
        wild = next((number for number, part in enumerate(fixed) if set(part) & set("*?[")), len(fixed))
        start = root.joinpath(*fixed[:wild])
        for directory, names, files in os.walk(start):
            names[:] = [name for name in names if name not in (".git", ".worktrees")]
            links = [name for name in names if (Path(directory) / name).is_symlink()]
            for name in (*files, *links):
                path = (Path(directory) / name).relative_to(root).as_posix()
                if covers(pattern, path):
                    found.add(path)
    return sorted(found)
