"""Landings: whole ones, their engine alone, those that go on after a kill, and looking ahead."""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

from figure import Figure, at_most, measured
from measure import IMPORT_CLICK, KITTY, Bench, Measured, in_turn, inside, process
from scenes import git, landable

from kitty_host.mission import find_missions
from kitty_host.repo import Repo

ALONE = {**os.environ, "KITTY_PLUGINS": "merge"}
MERGE = ("merge", "--json", "--keep-worktrees")


class _Landable(NamedTuple):
    """A repository whose lanes are all approved, and a copy of it to begin with again and again."""

    root: Path
    pristine: Path

    @classmethod
    def make(cls, place: Path, lanes: int) -> _Landable:
        root = landable(place, lanes=lanes, commits=10, files=5000)
        pristine = root.with_name(root.name + "-pristine")
        shutil.copytree(root, pristine, symlinks=True)
        return cls(root, pristine)

    def reset(self) -> None:
        shutil.rmtree(self.root)
        shutil.copytree(self.pristine, self.root, symlinks=True)
        # As it is where somebody works: the copied files are other ones, to Git's index and to kitty's caches.
        for command in (["git", "status"], [KITTY, "merge", "--dry-run"]):
            subprocess.run(command, cwd=self.root, check=True, capture_output=True, env=ALONE)
        os.sync()

    def kitty(self) -> Measured:
        return process(KITTY, "-C", self.root, *MERGE, environment=ALONE)


def landing(bench: Bench) -> Iterator[Figure]:
    """A whole `kitty merge` against lane-by-lane `git merge --no-ff`, ten lanes of ten commits, 5,000 files."""
    for lanes, goal in ((10, 0.6), (50, 0.45)):
        ready = _Landable.make(bench.scratch / f"landing-{lanes}", lanes)
        branches = git(ready.root, "for-each-ref", "--format=%(refname:short)", "refs/heads/kitty/").split()
        script = " && ".join(f"git merge --quiet --no-ff --no-edit {branch}" for branch in branches)
        ratio = in_turn(ready.kitty(), process("sh", "-c", script, where=ready.root), runs=5, before=ready.reset)
        yield at_most(
            f"kitty merge, {lanes} lanes x 10 commits, 5,000 files", "git merge --no-ff, lane by lane", goal, ratio
        )


def engine(bench: Bench) -> Iterator[Figure]:
    """Only the merge commits of a landing, made from objects, against the same merges in a worktree, one Git process each."""
    from kitty_merge.engine import Aside

    root = landable(bench.scratch / "engine", lanes=10, commits=10, files=5000)
    repo = Repo.find(root)
    heads = git(root, "for-each-ref", "--format=%(objectname)", "refs/heads/kitty/").split()
    start = git(root, "rev-parse", "work")

    def aside() -> None:
        # Anew each time: it remembers what it made.
        merging, tip = Aside(repo), start
        for head in heads:
            tip = merging.merge(tip, head, "x").commit
        repo.git.objects.flush()

    script = " && ".join(f"git merge --quiet --no-ff --no-edit {head}" for head in heads)
    native = process("sh", "-c", script, where=root)

    def before() -> None:
        git(root, "reset", "--quiet", "--hard", start)

    ratio = in_turn(inside(aside), native, runs=5, before=before)
    yield at_most("the merges alone, 10 lanes", "git merge --no-ff, lane by lane", 0.3, ratio)


def resume(bench: Bench) -> Iterator[Figure]:
    """The plain re-run after a kill against an uninterrupted landing, ten lanes: killed by hooks of Git's, kitty and its Gits together."""
    ready = _Landable.make(bench.scratch / "resume", 10)
    on_target = 'grep -q " refs/heads/work$" && kill -9 0'
    for when, name, body in (
        ("before the target moved", "reference-transaction", f'[ "$1" = prepared ] && {on_target}'),
        ("when it had moved", "reference-transaction", f'[ "$1" = committed ] && {on_target}'),
        ("when all files were written", "post-merge", "kill -9 0"),
    ):
        killed = itertools.cycle((True, False))

        def before(name: str = name, body: str = body, killed: Iterator[bool] = killed) -> None:
            ready.reset()
            if next(killed):
                hook = ready.root / ".git/hooks" / name
                hook.parent.mkdir(exist_ok=True)
                hook.write_text(f"#!/bin/sh\n{body}\nexit 0\n")
                hook.chmod(0o755)
                command = [KITTY, "-C", ready.root, *MERGE]
                done = subprocess.run(command, env=ALONE, capture_output=True, start_new_session=True)
                assert done.returncode < 0, done
                hook.unlink()

        ratio = in_turn(ready.kitty(), ready.kitty(), runs=5, before=before)
        yield at_most(f"kitty merge again, killed {when}", "an uninterrupted landing", 1.5, ratio)


def preview(bench: Bench) -> Iterator[Figure]:
    """Ten lanes, all pairs and the target: by few processes and from the cache, against a process for each pair; `status` with it."""
    from kitty_host.state import State
    from kitty_merge.heads import read_heads
    from kitty_merge.preview import preview as look_ahead
    from kitty_merge.trial import trial

    root = landable(bench.scratch / "preview", lanes=10, commits=10, files=500)
    (mission,) = find_missions(Repo.find(root))
    state, heads = State.load(mission), read_heads(mission)
    assert heads.target is not None
    lanes = list(heads.branches.values())
    pairs = list(combinations(lanes, 2))

    def engine() -> None:
        with trial(mission.repo, [heads.target, *lanes]) as attempt:
            attempt.merge([*pairs, *((heads.target, lane) for lane in lanes)])

    def forget() -> None:
        shutil.rmtree(mission.repo.cache, ignore_errors=True)

    script = "".join(f"git merge-tree --write-tree {one} {other} && " for one, other in pairs) + "true"
    one_by_one = process("sh", "-c", script, where=root)
    against = "45 pairs, one Git process each"
    ratio = in_turn(inside(engine), one_by_one, runs=bench.runs, before=forget)
    yield at_most("preview, 10 lanes, cold: pairs and target", against, 0.3, ratio)
    whole = inside(lambda: look_ahead(state, read_heads(mission)))
    ratio = in_turn(whole, one_by_one, runs=bench.runs, before=forget)
    yield measured("the same and the chain, whole function, cold", against, ratio)
    ratio = in_turn(whole, one_by_one, runs=bench.runs)
    yield measured("the same, whole function, warm", against, ratio)
    asked = process(KITTY, "status", "--json", where=root, environment={"KITTY_AGENT": "bench"})
    ratio = in_turn(asked, process(*IMPORT_CLICK), runs=bench.runs)
    yield at_most("kitty status --json, 10 lanes at work, warm", "python -c 'import click'", 2.0, ratio)
