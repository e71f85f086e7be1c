"""There is one intake root and one brief, wherever an intake is started and however many are at once; nobody's brief is lost."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from kitty_host.testing import Project

PAIR = (".kittify/mission-brief.md", ".kittify/brief-source.yaml")
PLACES = ("", "docs/deep", ".worktrees/lane", ".worktrees/lane/docs", "../elsewhere", "../elsewhere/docs")


def place_of(project: Project, place: str) -> Path:
    """A directory in which one stands; where it is a worktree it is made."""
    where = project.root / place
    tree = where.parent if where.name == "docs" else where
    if tree.name in ("lane", "elsewhere"):
        project.git("worktree", "add", "--quiet", "--detach", str(tree))
    where.mkdir(parents=True, exist_ok=True)
    return where


def pairs(top: Path) -> set[str]:
    """The directories below that hold a part of a pair."""
    return {path.parent.relative_to(top).as_posix() for name in PAIR for path in top.rglob(name.rpartition("/")[2])}


@pytest.mark.parametrize("place", PLACES)
def test_a_source_is_taken_from_where_one_stands_and_the_pair_goes_to_the_canonical_checkout(
    project: Project, pair: Any, place: str
) -> None:
    where = place_of(project, place)
    project.write("plan.md", f"# Of {place}\n", where=where)
    outside = place.startswith("..")
    if outside:
        refused = project.kitty("intake", "plan.md", "--json", where=where)
        assert refused.code == "INTAKE_PATH_ESCAPE", refused
        assert pairs(project.root.parent) == set()
    done = project.kitty("intake", *(["--from-outside"] if outside else []), "plan.md", where=where)
    assert done.exit_code == 0, done
    assert pair.record["intake_root"] == str(project.root)
    assert pairs(project.root.parent) == {"project/.kittify"}
    for there in (where, project.root):
        assert project.kitty("brief", "--json", where=there).json["text"] == f"# Of {place}\n"


@pytest.mark.parametrize("place", PLACES)
def test_what_is_scanned_is_what_is_written_to(project: Project, pair: Any, place: str) -> None:
    where = place_of(project, place)
    project.write(".cursor/plans/mine.md", "# The root's\n")
    if where != project.root:
        project.write(".cursor/plans/other.md", "# Elsewhere\n", where=where)
    assert project.kitty("intake", "--auto", where=where).exit_code == 0
    assert pair.record["source_file"] == ".cursor/plans/mine.md"
    assert project.kitty("brief", "--json", where=where).json["text"] == "# The root's\n"


@pytest.fixture
def bare(project: Project, isolated: Path) -> Path:
    """A bare clone with two worktrees, `one` and `two`, beside it; the first is recorded as the canonical checkout."""
    project.git("add", "--force", ".kittify")
    project.git("commit", "--quiet", "--allow-empty", "-m", "configured")
    clone = isolated / "bare.git"
    project.git("clone", "--quiet", "--bare", str(project.root), str(clone))
    project.git("worktree", "add", "--quiet", "--detach", str(isolated / "one"), where=clone)
    return clone


def test_in_the_worktree_of_a_bare_clone_that_worktree_is_the_root(project: Project, bare: Path) -> None:
    tree = bare.parent / "one"
    for where in (tree, tree / "docs"):
        project.write("plan.md", f"# {where.name}\n", where=where)
        assert project.kitty("intake", "plan.md", "--force", where=where).exit_code == 0
        assert pairs(bare.parent) == {"one/.kittify"}
        assert project.kitty("brief", "--json", where=where).json["text"] == f"# {where.name}\n"


def test_of_two_worktrees_of_a_bare_clone_one_is_the_root_or_none(project: Project, bare: Path) -> None:
    """Two roots would be two briefs."""
    one, two = bare.parent / "one", bare.parent / "two"
    project.git("worktree", "add", "--quiet", "--detach", str(two), where=bare)
    for where in (one, two):
        project.write("plan.md", f"# {where.name}\n", where=where)
        refused = project.kitty("intake", "plan.md", "--json", where=where)
        assert (refused.exit_code, refused.code) == (1, "REPO_BARE"), refused
    assert pairs(bare.parent) == set()
    command = refused.json["hint"].partition("for example: ")[2]
    subprocess.run(command, shell=True, check=True)
    assert project.kitty("intake", "plan.md", where=one).exit_code == 0
    again = project.kitty("intake", "--from-outside", "plan.md", "--json", where=two)
    assert again.code == "INTAKE_BRIEF_EXISTS", again
    assert pairs(bare.parent) == {"one/.kittify"}
    assert project.kitty("brief", "--json", where=two).json["text"] == "# one\n"


def at_once(trees: list[Path], *options: str) -> list[dict[str, Any]]:
    """What real processes answer that take a plan in at the same moment, one from each worktree."""
    # They are started already, and wait for the end of their standard input.
    script = "import sys; from kitty_host.cli import run; sys.stdin.read(); sys.exit(run(sys.argv[1:]))"
    running = [
        subprocess.Popen(
            [sys.executable, "-c", script, "intake", "plan.md", "--json", *options],
            cwd=tree,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        for tree in trees
    ]
    for one in running:
        assert one.stdin
        one.stdin.close()
    answers = []
    for one in running:
        assert one.stdout
        answers.append(json.loads(one.stdout.read()))
        one.stdout.close()
        one.wait()
    return answers


@pytest.mark.parametrize("rounds", [1, pytest.param(4, marks=pytest.mark.slow)])
def test_of_worktrees_at_once_one_has_its_brief_and_the_others_are_told(
    project: Project, pair: Any, rounds: int
) -> None:
    trees = [project.root / f".worktrees/lane-{number}" for number in range(3)]
    for tree in trees:
        project.git("worktree", "add", "--quiet", "--detach", str(tree))
        project.write("plan.md", f"# Of {tree.name}\n" * 1000, where=tree)
    for _ in range(rounds):
        pair.brief.unlink(missing_ok=True)
        pair.sidecar.unlink(missing_ok=True)
        answers = at_once(trees)
        assert sorted(str(answer.get("code", "done")) for answer in answers) == [
            "INTAKE_BRIEF_EXISTS",
            "INTAKE_BRIEF_EXISTS",
            "done",
        ]
        winner = next(tree for tree, answer in zip(trees, answers, strict=True) if "code" not in answer)
        # It stays that one's, whoever comes later and from wherever.
        late = project.process("intake", "plan.md", "--json", where=trees[0])
        assert late.code == "INTAKE_BRIEF_EXISTS"
        shown = project.kitty("brief", "--json", where=trees[-1]).json
        assert shown["text"] == (winner / "plan.md").read_text()
        forced = at_once(trees, "--force")
        assert ["code" in answer for answer in forced] == [False] * 3
        assert project.kitty("brief", "--json").json["text"] in {(tree / "plan.md").read_text() for tree in trees}
        assert "previous" not in pair.record
        assert pairs(project.root) == {".kittify"}
    assert all((tree / "plan.md").read_text() == f"# Of {tree.name}\n" * 1000 for tree in trees)
