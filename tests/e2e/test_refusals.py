"""What stops a landing where every plugin is there: the printed commands are typed as they are, and the landing succeeds.

Another mission is open all the while, so that a command has to say which one it means.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from kitty_host.testing import Project

if TYPE_CHECKING:
    from conftest import Walk


@pytest.fixture
def approved(walk: Walk) -> Walk:
    """A mission whose packages are approved, beside one that is open."""
    walk.project.mission("other", [{"work_package_id": "WP01", "title": "x", "owned_files": ["other.txt"]}])
    walk.plan()
    for wp_id in ("WP01", "WP02"):
        walk.implement(wp_id)
        walk.review(wp_id)
    return walk


def refused(walk: Walk, code: str) -> dict[str, Any]:
    """The error of a landing that moved nothing."""
    git, ledger = walk.project.git, walk.directory / "status.events.jsonl"
    before = (git("for-each-ref"), git("status", "--porcelain"), ledger.read_bytes())
    done = walk.project.kitty("merge", "--mission", walk.mission, "--json")
    assert (done.exit_code, done.code) == (1, code), done
    assert (git("for-each-ref"), git("status", "--porcelain"), ledger.read_bytes()) == before
    return done.json


def typed(project: Project, hint: str) -> None:
    """The command of a hint, in a shell: what follows the last colon."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        hint.rpartition(": ")[2],
        shell=True,
        cwd=project.root,
        env={**os.environ, "PATH": path, "KITTY_AGENT": "ada"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, (hint, done)


def lands(walk: Walk) -> None:
    walk.kitty("merge")
    assert walk.project.git("show", "main:wp01.txt")
    assert walk.project.git("status", "--porcelain", "--untracked-files=no") == ""


def test_a_package_that_is_not_approved(approved: Walk) -> None:
    """The check comes before the question for an acceptance, which nobody could give."""
    approved.kitty("reopen", "WP02", "--reason", "not yet", "--agent", "grace")
    typed(approved.project, refused(approved, "MERGE_NOT_APPROVED")["hint"])
    typed(approved.project, refused(approved, "MERGE_NOT_ACCEPTED")["hint"])
    lands(approved)


def test_a_lane_that_is_not_at_the_approved_commit(approved: Walk) -> None:
    approved.kitty("accept", "--agent", "grace")
    (tree,) = (approved.project.root / ".worktrees").iterdir()
    late = approved.project.commit("wp01.txt", "late\n", where=tree)
    typed(approved.project, refused(approved, "MERGE_HEAD_MOVED")["hint"])
    approved.review("WP01")
    typed(approved.project, refused(approved, "MERGE_NOT_ACCEPTED")["hint"])
    lands(approved)
    approved.project.git("merge-base", "--is-ancestor", late, "main")


def test_a_target_that_moved_after_the_acceptance(approved: Walk) -> None:
    approved.kitty("accept", "--agent", "grace")
    theirs = approved.project.commit("theirs.txt")
    error = refused(approved, "MERGE_NOT_ACCEPTED")
    assert "moved since" in error["message"]
    typed(approved.project, error["hint"])
    lands(approved)
    approved.project.git("merge-base", "--is-ancestor", theirs, "main")


def test_a_target_that_moves_while_it_lands(approved: Walk) -> None:
    """Right before the refs move: what was accepted is not what would be there, so it is accepted again."""
    approved.kitty("accept", "--agent", "grace")
    root = approved.project.root
    git = f"git --git-dir={root / '.git'}"
    hook = approved.project.write(
        ".git/hooks/commit-msg",
        '#!/bin/sh\ngrep -q "^Land" "$1" || exit 0\n'
        f"{git} update-ref refs/heads/main $({git} commit-tree -p main -m theirs 'main^{{tree}}')\n",
    )
    hook.chmod(0o755)
    done = approved.project.process("merge", "--mission", approved.mission, "--json")
    assert (done.exit_code, done.code) == (1, "MERGE_TARGET_MOVED"), done
    hook.unlink()
    typed(approved.project, done.json["hint"])
    lands(approved)
    assert "theirs" in approved.project.git("log", "--format=%s", "main").splitlines()


def test_whoever_stands_in_a_worktree_that_goes_is_told_where_to_go(approved: Walk) -> None:
    approved.kitty("accept", "--agent", "grace")
    root = approved.project.root
    [lane, *_] = sorted((root / ".worktrees").iterdir())
    command = f"cd {lane} && kitty merge && ! kitty status"
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, env={**os.environ, "PATH": path})
    assert done.returncode == 0, done
    assert f"The worktree that you stood in is gone: cd {root}\n" in done.stderr
    assert f"WORKSPACE_ROOT_NOT_FOUND: the current directory no longer exists\n  run: cd {root}\n" in done.stderr
    again = approved.project.kitty("accept", "--mission", approved.mission, "--json")
    assert (again.exit_code, again.code) == (1, "ALREADY_LANDED")


def test_a_mission_that_has_to_be_named(approved: Walk) -> None:
    approved.kitty("accept", "--agent", "grace")
    done = approved.project.kitty("merge", "--json")
    assert (done.exit_code, done.code) == (1, "MISSION_REQUIRED")
    assert approved.mission in done.json["hint"].rpartition(": ")[2].split(", ")
    lands(approved)


def test_a_landing_that_would_stop_is_no_candidate_for_an_acceptance_and_its_way_on_can_be_typed(
    approved: Walk,
) -> None:
    (tree,) = (approved.project.root / ".worktrees").iterdir()
    approved.project.commit("wp01.txt", "late\n", where=tree)
    for json in (["--json"], []):
        done = approved.project.kitty("accept", "--agent", "grace", "--mission", approved.mission, *json)
        assert done.exit_code == 1, done
        hint = done.json["hint"] if json else done.stderr.splitlines()[-1]
        assert f" --mission {approved.mission}" in hint
    typed(approved.project, hint)
    approved.review("WP01")
    approved.kitty("accept", "--agent", "grace")
    lands(approved)
