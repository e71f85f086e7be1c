"""A landing that is killed at any point: the target is old or new, and one more `kitty merge` finishes it, as if nothing had happened."""

from __future__ import annotations

import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import Yard

# Counts the calls that change something and kills its own process at the n-th; prints how many there were when it survives.
DRIVER = """
import os, signal, sys
limit, seen = int(sys.argv[1]), 0

def point():
    global seen
    seen += 1
    if seen == limit:
        os.kill(os.getpid(), signal.SIGKILL)

def counted(real):
    def call(*arguments, **named):
        point()
        answer = real(*arguments, **named)
        point()
        return answer
    return call

for name in ("replace", "rename", "link", "unlink", "rmdir", "mkdir", "fsync", "fdatasync", "write", "ftruncate"):
    setattr(os, name, counted(getattr(os, name)))
from kitty_host.git import Git
Git.run = counted(Git.run)
from kitty_host.cli import run
code = run(sys.argv[2:])
sys.stderr.write(f"points {seen}")
sys.exit(code)
"""


class Sweep:
    """One approved mission, landed again and again from the same beginning."""

    def __init__(self, yard: Yard, strategy: str) -> None:
        self.yard = yard
        self.arguments = ["-C", str(yard.root), "merge", "--json", "--strategy", strategy]
        yard.project.commit("changed.txt", "before\n")
        yard.project.commit("removed.txt", "before\n")
        yard.project.commit("staged.txt", "before\n")
        yard.plan(
            yard.package("WP01", owns="**"),
            yard.package("WP02", owns="docs/**", execution_mode="planning_artifact"),
        )
        workspace = yard.start("WP01")
        yard.project.git("rm", "--quiet", "removed.txt", where=workspace.path)
        yard.project.git("commit", "--quiet", "-m", "remove", where=workspace.path)
        yard.work("WP01", "after\n", path="changed.txt")
        yard.finish("WP01", "new\n", path="deep/new.txt")
        yard.finish("WP02", path="docs/a.md")
        yard.project.write("staged.txt", "mine\n")
        yard.project.git("add", "staged.txt")
        yard.project.write("untracked.txt", "mine\n")
        self.old = yard.project.git("rev-parse", "main")
        self.pristine = yard.root.with_name("pristine")
        shutil.copytree(yard.root, self.pristine, symlinks=True)

    def reset(self) -> None:
        shutil.rmtree(self.yard.root)
        shutil.copytree(self.pristine, self.yard.root, symlinks=True)

    def kill_at(self, point: int) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", DRIVER, str(point), *self.arguments], capture_output=True, text=True, cwd="/"
        )

    def whole(self) -> tuple[int, str]:
        """How many points there are, and the tree that an uninterrupted landing gives."""
        done = self.kill_at(0)
        assert done.returncode == 0, done
        self.check()
        tree = self.yard.project.git("rev-parse", "main^{tree}")
        self.reset()
        return int(done.stderr.rpartition(" ")[2]), tree

    def check(self) -> None:
        """Everything that holds after a landing."""
        yard, git = self.yard, self.yard.project.git
        assert yard.status() == "M  staged.txt\n?? untracked.txt"
        assert yard.tree("staged.txt").read_text() == yard.tree("untracked.txt").read_text() == "mine\n"
        assert git("fsck", "--no-dangling") == ""
        leftovers = [
            str(path)
            for pattern in ("*.lock", "kitty-index*", ".kitty-tmp-*", "index-*", "*.tokens", "merge/*.json")
            for path in (yard.root / ".git").rglob(pattern)
            if path.name not in ("merge.lock", "worktrees.lock") and "spec-kitty-locks" not in str(path)
            if path.parent.name != "scratch"
        ]
        assert leftovers == []
        assert not list(yard.root.rglob("kitty-specs/**/.kitty-tmp-*"))
        assert "scratch" not in git("worktree", "list")

    def point(self, number: int, tree: str) -> None:
        """Kill there, look, finish, look."""
        killed = self.kill_at(number)
        git = self.yard.project.git
        now = git("rev-parse", "main")
        if killed.returncode == 0:
            self.check()
        elif now != self.old:
            assert git("rev-parse", "main^{tree}") == tree, f"point {number}"
        done = self.yard.project.kitty(
            "merge", "--json", "--strategy", self.arguments[-1], "--mission", self.yard.mission.slug
        )
        assert done.exit_code == 0, f"point {number}: {done}"
        self.check()
        assert git("rev-parse", "main^{tree}") == tree, f"point {number}"
        self.reset()


@pytest.fixture(params=["merge", *(pytest.param(name, marks=pytest.mark.slow) for name in ("squash", "with hooks"))])
def sweep(request: pytest.FixtureRequest, yard: Yard) -> Sweep:
    if request.param == "with hooks":
        yard.project.write(".git/hooks/commit-msg", "#!/bin/sh\necho 'Seen: yes' >>\"$1\"\n").chmod(0o755)
    return Sweep(yard, "squash" if request.param == "squash" else "merge")


def test_killed_here_and_there(sweep: Sweep) -> None:
    points, tree = sweep.whole()
    assert points > 100
    for number in range(7, points + 1, points // 10):
        sweep.point(number, tree)


@pytest.mark.slow
def test_killed_at_every_twenty_fifth_point(sweep: Sweep) -> None:
    points, tree = sweep.whole()
    for number in range(1, points + 1, 25):
        sweep.point(number, tree)


@pytest.mark.sweep
@pytest.mark.parametrize("part", range(8))
def test_killed_at_every_point(sweep: Sweep, part: int) -> None:
    points, tree = sweep.whole()
    for number in range(1 + part, points + 1, 8):
        sweep.point(number, tree)


def test_the_target_moved_on_after_the_kill(sweep: Sweep) -> None:
    """Somebody commits on the old target from another clone after a landing was killed before its move: nothing of it is left."""
    sweep.kill_at(60)
    git = sweep.yard.project.git
    assert git("rev-parse", "main") == sweep.old
    tree = git("rev-parse", "main^{tree}")
    theirs = git("commit-tree", "-p", "main", "-m", "theirs", tree)
    git("update-ref", "refs/heads/main", theirs)
    done = sweep.yard.project.kitty("merge", "--json")
    assert done.exit_code == 0, done
    git("merge-base", "--is-ancestor", theirs, "main")
    sweep.check()


def test_a_status_says_that_a_landing_is_unfinished(sweep: Sweep) -> None:
    points, _ = sweep.whole()
    for number in range(points - 60, points, 12):
        sweep.kill_at(number)
        said = sweep.yard.project.kitty("merge", "--status", "--json", "--mission", sweep.yard.mission.slug).json
        begun = {
            path.stem for path in (sweep.yard.root / ".git/kitty/merge").iterdir() if not path.name.startswith(".")
        }
        assert said["unfinished"] == sorted(begun)
        doctor = sweep.yard.project.kitty("doctor", "--json").json["findings"]
        assert ("MERGE_UNFINISHED" in {finding["code"] for finding in doctor}) == bool(begun)
        sweep.reset()
