"""What other tools lost on the whole road, by public reports: each test is named after one of them. `SK` is spec-kitty's tracker."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from kitty_host.mission import find_missions
from kitty_host.repo import Repo
from kitty_host.state import State
from kitty_host.testing import Project


def run(project: Project, *arguments: str) -> dict[str, Any]:
    """A command that must succeed."""
    done = project.kitty(*arguments, "--json")
    assert done.exit_code == 0, (arguments, done)
    return done.json


def plan(project: Project, *names: str, **meta: Any) -> None:
    """A mission of independent work packages, finalized."""
    project.mission(
        packages=[
            {"work_package_id": name, "title": name, "dependencies": [], "owned_files": [f"{name.lower()}.txt"]}
            for name in names
        ],
        **meta,
    )
    run(project, "finalize")


def work(project: Project, name: str, content: str = "work\n") -> str:
    """To the submission; returns the commit."""
    where = run(project, "implement", name, "--agent", "ada")["workspace_path"]
    commit = project.commit(f"{name.lower()}.txt", content, where=Path(where))
    assert run(project, "submit", name, "--agent", "ada")["head"] == commit
    return commit


def finish(project: Project, name: str, content: str = "work\n") -> str:
    """To the approval; returns the commit."""
    commit = work(project, name, content)
    approve(project, name)
    return commit


def approve(project: Project, name: str) -> None:
    run(project, "review", name, "--claim", "--agent", "grace")
    run(project, "review", name, "--approve", "--agent", "grace")


def land(project: Project, *arguments: str) -> None:
    run(project, "accept", "--agent", "grace")
    run(project, "merge", *arguments)
    assert project.git("status", "--porcelain") == ""


def lanes(project: Project) -> dict[str, str]:
    (mission,) = find_missions(Repo.find(project.root))
    state = State.load(mission)
    return {name: state.lane(name) for name in state.wp_ids()}


@pytest.mark.parametrize("strategy", ["merge", "squash"])
def test_merging_again_after_a_reopen_reaches_done(project: Project, strategy: str) -> None:
    """SK #4967. A squash shares no history with the lane, which has to correct the very lines that have landed."""
    plan(project, "WP01", "WP02")
    finish(project, "WP01")
    finish(project, "WP02")
    land(project, "--strategy", strategy)
    run(project, "reopen", "WP01", "--reason", "wrong", "--agent", "grace")
    finish(project, "WP01", "corrected\n")
    land(project, "--strategy", strategy)
    assert lanes(project) == {"WP01": "done", "WP02": "done"}
    assert project.git("show", "main:wp01.txt") == "corrected"
    assert project.git("show", "main:wp02.txt") == "work"
    assert run(project, "merge")["new"] == project.git("rev-parse", "main"), "nothing is left to do"


@pytest.mark.parametrize("worked", [False, True], ids=["reopened", "and worked on"])
def test_a_reopening_after_a_killed_landing_is_not_erased_by_the_run_that_finishes_it(
    project: Project, worked: bool
) -> None:
    """SK #4973."""
    plan(project, "WP01", "WP02")
    finish(project, "WP01")
    finish(project, "WP02")
    run(project, "accept", "--agent", "grace")
    project.killed("merge", at="committed")
    run(project, "reopen", "WP01", "--reason", "wrong", "--agent", "grace")
    if worked:
        work(project, "WP01", "corrected\n")
    again = project.kitty("merge", "--json")
    assert (again.exit_code, again.code) == (1, "MERGE_NOT_APPROVED"), "finished, but for what came after it"
    assert lanes(project) == {"WP01": "for_review" if worked else "in_progress", "WP02": "done"}
    if not worked:
        work(project, "WP01", "corrected\n")
    approve(project, "WP01")
    land(project)
    assert lanes(project) == {"WP01": "done", "WP02": "done"}
    assert project.git("show", "main:wp01.txt") == "corrected"


def test_a_teammates_approved_package_that_is_only_on_the_remote_lands(project: Project) -> None:
    """SK #4969."""
    remote = project.root.parent / "remote.git"
    project.git("init", "--quiet", "--bare", str(remote))
    project.git("remote", "add", "origin", str(remote))
    plan(project, "WP01", "WP02")
    project.git("push", "--quiet", "origin", "main")
    run(project, "lanes", "sync", "--push")
    second = Project(project.root.parent / "second")
    project.git("clone", "--quiet", str(remote), str(second.root))
    run(second, "lanes", "sync")
    theirs = finish(second, "WP02")
    run(second, "lanes", "sync", "--push")
    finish(project, "WP01")
    asked = project.kitty("merge", "--json")
    assert (asked.exit_code, asked.code) == (1, "MERGE_NOT_ACCEPTED"), "it has fetched what it lacked"
    assert "WP02: asking origin" in asked.stderr
    land(project)
    project.git("merge-base", "--is-ancestor", theirs, "main")


@pytest.mark.parametrize("verdict", ["waiting", "rejected"])
def test_a_deleted_lane_is_cut_again_with_what_was_submitted(project: Project, verdict: str) -> None:
    """SK #4889. Only the ledger still names the commit."""
    plan(project, "WP01")
    submitted = work(project, "WP01")
    run(project, "review", "WP01", "--claim", "--agent", "grace")
    if verdict == "rejected":
        run(project, "review", "WP01", "--reject", "--reason", "nearly", "--agent", "grace")
    else:
        run(project, "move", "WP01", "in_progress", "--force", "--reason", "the lane is gone", "--agent", "ada")
    (tree,) = (project.root / ".worktrees").iterdir()
    branch = project.git("symbolic-ref", "--short", "HEAD", where=tree)
    project.git("worktree", "remove", "--force", str(tree))
    project.git("branch", "--quiet", "-D", branch)
    run(project, "implement", "WP01", "--agent", "ada")
    assert project.git("rev-parse", branch) == submitted


def test_a_mission_begun_on_another_branch_lands_there_and_deletes_nothing_of_it(project: Project) -> None:
    """get-shit-done #1957 and #1510: lanes were cut from `main`, and 2,800 lines of the branch went with the merge."""
    before = project.git("rev-parse", "main")
    project.git("switch", "--quiet", "-c", "develop")
    project.commit("develop.txt", "line\n" * 2800)
    made = run(project, "mission", "create", "demo")
    directory = project.root / made["dir"]
    for name, text in TEXTS.items():
        (directory / name).parent.mkdir(exist_ok=True)
        (directory / name).write_text(text)
    for phase in ("specify", "plan", "tasks", "finalize"):
        run(project, phase)
    finish(project, "WP01")
    land(project)
    assert project.git("show", "develop:develop.txt").count("line") == 2800
    assert project.git("show", "develop:wp01.txt") == "work"
    assert project.git("rev-parse", "main") == before
    assert json.loads((directory / "meta.json").read_text())["target_branch"] == "develop"


TEXTS = {
    "spec.md": "# S\n\n## Goal\n\ng\n\n## Requirements\n\nr\n\n## Done when\n\nd\n",
    "plan.md": "# P\n\n## Approach\n\na\n\n## Work packages\n\nw\n",
    "tasks.md": "# T\n\n## Work packages\n\nw\n",
    "tasks/WP01-x.md": '---\nwork_package_id: WP01\ntitle: x\nowned_files: ["wp01.txt"]\n---\n\n# x\n',
}
