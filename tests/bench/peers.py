"""The same work with spec-kitty, whose formats kitty shares: each on a repository of its own, made alike, in turn.

The peer is what `--peer` names: the command of an environment of its own. It is asked with an empty home and without its look for updates.
Its landing refuses `main`, which it protects, and wants a branch of the mission beside the lanes; so the target is called `work`.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from figure import Figure
from measure import KITTY, Bench, Measured, NotThere, in_turn, process
from scenes import git, landable, repository

LANES, COMMITS, FILES = 10, 10, 5000
PLAN = "# Search\n\n" + "".join(f"- [ ] Step {number}: what is done there, and why\n" for number in range(100))


class Peer(NamedTuple):
    """The command, and where it may write what it writes outside of repositories."""

    command: Path
    home: Path

    @property
    def environment(self) -> dict[str, str]:
        quiet = ("SPEC_KITTY_NO_UPGRADE_CHECK", "SPEC_KITTY_NON_INTERACTIVE")
        return {"HOME": str(self.home), "KITTY_AGENT": "bench", **dict.fromkeys(quiet, "1")}

    def version(self) -> str:
        """What it says of itself."""
        return subprocess.run([self.command, "--version"], capture_output=True, text=True, check=True).stdout.split()[
            -1
        ]


def peers(bench: Bench) -> Iterator[Figure]:
    """Whole commands by the wall clock, on repositories that were made alike: spec-kitty as a multiple of kitty."""
    if bench.peer is None:
        raise NotThere("the command of spec-kitty, in an environment of its own: --peer")
    peer = Peer(bench.peer, bench.scratch / "home")
    peer.home.mkdir()
    name = f"spec-kitty {peer.version()}"
    for what, other, kitty in _questions(bench, peer):
        ratio = in_turn(kitty, other, runs=min(bench.runs, 5))
        yield _times(what, name, ratio.other.wall, ratio.one.wall)
    ours, theirs = (_Landing.make(bench.scratch / who, who) for who in ("kitty", "peer"))
    landing = in_turn(ours.measured(peer), theirs.measured(peer), runs=2, before=lambda: (ours.reset(), theirs.reset()))
    what = f"a landing of {LANES} lanes of {COMMITS} commits, {FILES:,} files, kitty's acceptance included"
    yield _times(what, name, landing.other.wall, landing.one.wall)
    for moved, ref in (("the first ref", ""), ("the target", "refs/heads/work")):
        for who, one in (("kitty", ours), (name, theirs)):
            one.reset()
            one.kill(peer, ref)
            yield Figure(f"killed when {moved} moved, and run once more", who, *one.again(peer))


def _times(what: str, against: str, theirs: float, ours: float) -> Figure:
    return Figure(what, against, f"{theirs / ours:.0f} ×", note=f"{theirs:.2f} / {ours:.3f} s")


def _questions(bench: Bench, peer: Peer) -> Iterator[tuple[str, Measured, Measured]]:
    """What it is, the peer's command, and kitty's."""

    def pair(ours: list[str | Path], theirs: list[str | Path], *places: Path) -> tuple[Measured, Measured]:
        where, there = places or (bench.scratch, bench.scratch)
        return (
            process(peer.command, *theirs, where=there, environment=peer.environment),
            process(KITTY, *ours, where=where, environment=peer.environment),
        )

    yield "--version", *pair(["--version"], ["--version"])
    yield "--help", *pair(["--help"], ["--help"])
    here, there = (repository(bench.scratch / f"asked-{who}", packages=10) for who in ("kitty", "peer"))
    mission = ["--mission", _mission(there)]
    next_step = ["next", "--agent", "bench", *mission, "--json"]
    yield "what to do next, 10 work packages", *pair(["next", "--json"], next_step, here, there)
    status = ["agent", "tasks", "status", *mission, "--json"]
    yield "how far, 10 work packages", *pair(["status", "--json"], status, here, there)
    for place in (here, there):
        (place / "PLAN.md").write_text(PLAN)
    intake: list[str | Path] = ["intake", "PLAN.md", "--force"]
    yield "a plan of a hundred lines is taken in", *pair(intake, intake, here, there)


def _mission(root: Path) -> str:
    (found,) = (path.name for path in (root / "kitty-specs").iterdir() if path.is_dir())
    return found


class _Landing(NamedTuple):
    """A repository of which all lanes are approved, to be landed by one of the two, and a copy to begin with."""

    who: str
    root: Path
    pristine: Path

    @classmethod
    def make(cls, place: Path, who: str) -> _Landing:
        root = landable(place, lanes=LANES, commits=COMMITS, files=FILES)
        git(root, "add", "--all")
        git(root, "commit", "--quiet", "-m", "approved")
        git(root, "branch", f"kitty/mission-{_mission(root)}")
        pristine = place.with_name(f"{place.name}-pristine")
        shutil.copytree(root, pristine, symlinks=True)
        return cls(who, root, pristine)

    def reset(self) -> None:
        shutil.rmtree(self.root)
        shutil.copytree(self.pristine, self.root, symlinks=True)
        git(self.root, "status")

    def command(self, peer: Peer, *, again: bool = False) -> list[str]:
        # Its gates belong to it: nothing lands that was not accepted.
        ours: list[str | Path] = [KITTY, "merge"] if again else ["sh", "-c", f"{KITTY} accept && {KITTY} merge"]
        theirs: list[str | Path] = [peer.command, "merge", "--mission", _mission(self.root), "--yes"]
        if again:
            said = " ".join(map(str, theirs))
            theirs = ["sh", "-c", f"{said} || {said} --resume"]
        return [str(part) for part in (ours if self.who == "kitty" else theirs)]

    def measured(self, peer: Peer) -> Measured:
        return process(*self.command(peer), where=self.root, environment=peer.environment)

    def run(self, peer: Peer, *, again: bool = False) -> int:
        quiet = subprocess.DEVNULL
        command = self.command(peer, again=again)
        environment = {"PATH": "/usr/bin:/bin", **peer.environment}
        return subprocess.run(
            command, cwd=self.root, env=environment, stdout=quiet, stderr=quiet, start_new_session=True
        ).returncode

    def kill(self, peer: Peer, ref: str) -> None:
        """With all its Gits, as soon as a ref of that name has moved."""
        hook = self.root / ".git/hooks/reference-transaction"
        hook.parent.mkdir(exist_ok=True)
        hook.write_text(f'#!/bin/sh\n[ "$1" = committed ] && grep -q " {ref or "refs/heads/"}" && kill -9 0\nexit 0\n')
        hook.chmod(0o755)
        assert self.run(peer) < 0, "it was not killed"
        hook.unlink()

    def again(self, peer: Peer) -> tuple[str, str, bool, str]:
        """Run once more: whether it ends well, everything is on the target, and the checkout is clean."""
        code = self.run(peer, again=True)
        files = git(self.root, "ls-tree", "-r", "--name-only", "work").splitlines()
        landed = sum(name.startswith("lane") for name in files)
        changed = len(git(self.root, "status", "--porcelain", "--untracked-files=no").splitlines())
        done = code == 0 and landed == LANES * COMMITS and not changed
        note = f"exit code {code}, {landed} of {LANES * COMMITS} files landed, {changed} changed in the checkout"
        return "finished" if done else "not finished", "", True, note
