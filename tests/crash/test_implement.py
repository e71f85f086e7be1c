"""A claim is killed with its Git children at calls that change files: it is seen, it is mended, and its place can be had again.

At some of them in the slow tier, and at every one in the sweep.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
from library import Crash, Done, copy, points, share_of, snapshot

from kitty_host.files import TEMPORARY_PREFIX
from kitty_host.lanes import lane_ids
from kitty_host.mission import Mission, find_missions
from kitty_host.repo import Repo
from kitty_host.state import State
from kitty_host.testing import Project

WP = "WP03"


class Scene(NamedTuple):
    """What the place of the third package is made of."""

    name: str
    needs: tuple[str, ...]
    fewest: int
    """Points that there are at least."""


SCENES = (
    Scene("a fresh lane", (), 20),
    Scene("a lane on a base of two", ("WP01", "WP02"), 30),
    Scene("a lane that takes in a dependency", ("WP01", "WP02"), 30),
)


def prepare(project: Project, scene: Scene) -> Mission:
    """Two approved packages; the third is planned, and in the last scene in the lane of the first one."""
    owned = {"WP01": "one.txt", "WP02": "two.txt", "WP03": "one.txt" if scene is SCENES[2] else "three.txt"}
    packages = [
        {"work_package_id": name, "owned_files": [path], "dependencies": list(scene.needs) if name == WP else []}
        for name, path in owned.items()
    ]
    project.mission(packages=packages)
    assert project.kitty("finalize").exit_code == 0
    for name in ("WP01", "WP02"):
        done = project.kitty("implement", name, "--agent", "ada", "--json")
        project.commit(owned[name], where=Path(done.json["workspace_path"]))
        for step in ("submit --agent ada", "review --claim --agent grace", "review --approve --agent grace"):
            command, *options = step.split()
            assert project.kitty(command, name, *options).exit_code == 0
    [mission] = find_missions(Repo.find(project.root))
    return mission


@pytest.mark.parametrize("part", [pytest.param(12, marks=pytest.mark.slow), pytest.param(1, marks=pytest.mark.sweep)])
@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.name)
def test_a_claim_that_was_killed_anywhere_is_mended(
    project: Project, crash: Crash, tmp_path: Path, scene: Scene, part: int
) -> None:
    prepare(project, scene)
    base = project.root.with_name("base")
    project.root.rename(base)

    def run(at: int = 0, torn: bool = False) -> Done:
        # Worktrees know each other by absolute paths, so that all of this happens in one place.
        shutil.rmtree(project.root, ignore_errors=True)
        copy(base, project.root)
        command = [sys.executable, "-m", "kitty_host", "implement", WP, "--agent", "ada", "--json"]
        return crash.run(command, at=at, torn=torn, where=project.root)

    whole = run()
    assert whole.exit_code == 0, whole.stdout
    places = points(whole.calls)
    assert len(places) >= scene.fewest
    broken: list[str] = []
    for at, half in share_of(places, part):
        for by_whom in (the_same_agent, somebody_else):
            done = run(at, half)
            problems = [] if done.killed or len(done.calls) < at else ["it was not killed"]
            problems += what_a_query_says(project, acknowledged=bool(done.stdout))
            problems += by_whom(project, acknowledged=bool(done.stdout))
            problems += what_is_left(project)
            where = f"{'inside' if half else 'before'} call {at} ({whole.calls[at - 1].name}, {whole.calls[at - 1].program})"
            broken += [f"{where}, {by_whom.__name__}: {one}" for one in problems]
    sys.stdout.write(f"{scene.name}: {len(places)} points\n")
    assert broken == []


def state_of(project: Project) -> State:
    [mission] = find_missions(Repo.find(project.root))
    return State.load(mission)


def what_a_query_says(project: Project, *, acknowledged: bool) -> list[str]:
    before = without_cache(project)
    told = project.kitty("status", "--json")
    after = without_cache(project)
    problems = [f"the query wrote {name}" for name in before.keys() | after if before.get(name) != after.get(name)]
    if told.exit_code:
        return [*problems, f"the query: {told}"]
    named = "WORKSPACE_MISSING" in {finding["code"] for finding in told.json["missions"][0]["findings"]}
    state = state_of(project)
    lane_id = lane_ids(state.mission)[WP]
    there = (project.root / ".worktrees" / f"{state.mission.human}-{state.mission.mid8}-{lane_id}").exists()
    if state.lane(WP) == "in_progress" and not there and not named:
        problems.append("no question names the claim without a place")
    if acknowledged and named:
        problems.append("a place is missed that is there")
    return problems


def without_cache(project: Project) -> dict[str, bytes]:
    """Content alone: Git marks an object as young that a forecast makes once more."""
    return {name: told[-1] for name, told in snapshot(project.root).items() if "kitty/cache" not in name}


def the_same_agent(project: Project, *, acknowledged: bool) -> list[str]:
    """It says `implement` once more."""
    return handed_out(project, "ada")


def somebody_else(project: Project, *, acknowledged: bool) -> list[str]:
    """Somebody notes something, and then a third one takes the package on, which the first one had never been told is theirs."""
    claimed = state_of(project).lane(WP) in ("claimed", "in_progress")
    noted = project.kitty("note", "WP01", "a note", "--agent", "bob", "--json")
    problems = [] if noted.exit_code == 0 else [f"the note: {noted}"]
    if acknowledged:
        return problems
    lane = state_of(project).lane(WP)
    # The record goes last: then the place is there, and nothing was left.
    if claimed and lane not in ("blocked", "in_progress"):
        problems.append(f"after a note it is {lane}")
    return problems + handed_out(project, "bob" if lane in ("planned", "blocked") else "ada")


def handed_out(project: Project, agent: str) -> list[str]:
    done = project.kitty("implement", WP, "--agent", agent, "--json")
    if done.exit_code:
        return [f"implement again: {done}"]
    place = Path(done.json["workspace_path"])
    problems = []
    if changed := project.git("status", "--porcelain", where=place):
        problems.append(f"the place is not clean: {changed}")
    state = state_of(project)
    [package] = [one for one in state.packages if one.wp_id == WP]
    for name in package.dependencies:
        commit = state.approved_commit(name)
        if commit and project.git("merge-base", commit, "HEAD", where=place) != commit:
            problems.append(f"{name} is not in it")
    if project.git("symbolic-ref", "HEAD", where=place) != f"refs/heads/{done.json['branch']}":
        problems.append("it is on another branch")
    if state.lane(WP) != "in_progress":
        problems.append(f"it is {state.lane(WP)}")
    return problems


def what_is_left(project: Project) -> list[str]:
    common = project.root / ".git"
    locks = [
        path for path in common.rglob("*.lock") if path.parent not in (common / "kitty", common / "spec-kitty-locks")
    ]
    claims = list((common / "kitty").glob("claims/**/*"))
    temporary = list(project.root.rglob(f"{TEMPORARY_PREFIX}*"))
    problems = [f"left: {path}" for path in (*locks, *claims, *temporary)]
    if done := project.git("fsck", "--no-dangling", check=False):
        problems.append(done)
    return problems
