"""A mission that is ready to land beside a user's own work, landed again and again from the same beginning, and what has to hold then.

A `Ground` builds one scene of `scenes.py` once; the worktrees know where they are, so that each point starts with a fresh copy at the
same place.
"""

from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from library import Call, Crash, Done, copy, points
from scenes import CONFLICT, IGNORED, MINE, SETTLED, Scene, ready

from kitty_host.mission import Mission, find_missions
from kitty_host.repo import Repo
from kitty_host.state import State
from kitty_host.testing import Result, initialized

# Two clocks, in seconds after the mission was made: what is killed and what runs again differ in every commit they make, so that nothing
# fits by chance; what is killed and what is not, in none.
_FIRST, _AGAIN = 1000, 9000
# What is below the Git directory and may differ: caches, locks that are never removed, what the ledger sets aside of a torn row, and
# the rescue folder, which is looked at by itself.
_MAY_DIFFER = ("objects/", "logs/", "spec-kitty-locks", "kitty/cache", "kitty/torn/", "kitty/rescue/")


class Point(NamedTuple):
    """Where a run is killed."""

    at: int
    torn: bool


class Whole(NamedTuple):
    """What an uninterrupted run is and leaves."""

    calls: list[Call]
    target: str
    """The commit, and `tree`: its tree."""
    tree: str
    files: set[str]
    refs: set[str]


class Ground:
    """One scene, its place, and what an uninterrupted run makes of it."""

    def __init__(self, directory: Path, crash: Crash, name: str, scene: Scene) -> None:
        self.crash = crash
        self.name = name
        self.scene = scene
        self.made = int(time.time())
        self.project = initialized(directory / "project")
        self.pristine = directory / "pristine"
        self.heads = ready(self.project, scene)
        self.mission: Mission = find_missions(Repo.find(self.project.root))[0]
        self.planned = self.project.git("rev-parse", "main")
        scene.before(self.project, self.kitty)
        self.old = self.project.git("rev-parse", "main")
        self.rows = self.mission.ledger.lines()
        shutil.move(self.project.root, self.pristine)

    def reset(self) -> None:
        """A fresh copy in place."""
        shutil.rmtree(self.project.root, ignore_errors=True)
        copy(self.pristine, self.project.root)

    def kill(self, at: int = 0, torn: bool = False) -> Done:
        """The scene's command, killed at a call; 0 is none."""
        return self.crash.run(
            [sys.executable, "-m", "kitty_host", *self.scene.command, "--json"],
            at=at,
            torn=torn,
            where=self.project.root,
            environment=self._clock(_FIRST),
        )

    def kitty(self, *arguments: str) -> Result:
        """A command at the second clock."""
        before = dict(os.environ)
        os.environ.update(self._clock(_AGAIN))
        try:
            return self.project.kitty(*arguments, "--json")
        finally:
            os.environ.clear()
            os.environ.update(before)

    def _clock(self, seconds: int) -> dict[str, str]:
        return dict.fromkeys(("GIT_AUTHOR_DATE", "GIT_COMMITTER_DATE"), f"{self.made + seconds} +0000")

    @functools.cached_property
    def whole(self) -> Whole:
        """An uninterrupted run."""
        self.reset()
        done = self.kill()
        assert self._said(done.exit_code, done.stdout) == self.scene.says, done.stderr + done.stdout
        git = self.project.git
        found = Whole(
            done.calls, git("rev-parse", "main"), git("rev-parse", "main^{tree}"), self._files(), self._refs()
        )
        assert (problems := list(self._ended(found, done.stderr))) == [], problems
        return found

    @staticmethod
    def _said(exit_code: int, stdout: str) -> str:
        """The code of an error; nothing where all went well."""
        return str(json.loads(stdout)["code"]) if exit_code else ""

    # What has to hold

    def problems(self, point: Point, *, closely: bool) -> list[str]:
        """What does not hold after a kill there, and after the re-run; `closely` asks the queries and runs it once more."""
        whole = self.whole
        self.reset()
        killed = self.kill(point.at, point.torn)
        found = [*self._between(whole), *(self._queried() if closely else ())]
        again = self.kitty(*self.scene.command)
        if self._said(again.exit_code, again.stdout) not in (self.scene.says, self.scene.over or self.scene.says):
            return [*found, f"the re-run: {again.stdout.strip()} {again.stderr.strip()[-300:]}"]
        found += self._ended(whole, killed.stderr + again.stderr)
        if closely and self.scene.repeats:
            before = self.project.snapshot()
            third = self.kitty(*self.scene.command)
            if self._said(third.exit_code, third.stdout) != self.scene.says:
                found.append(f"the second re-run: {third}")
            found += [f"the second re-run wrote: {name}" for name in _differing(before, self.project.snapshot())]
        return found

    def problems_after_two(self, point: Point, second: Point) -> list[str] | None:
        """What does not hold where the re-run is killed too; None where it makes fewer calls than that."""
        whole = self.whole
        self.reset()
        said = self.kill(point.at, point.torn).stderr
        killed = self.kill(second.at, second.torn)
        if not killed.killed:
            return None
        found = list(self._between(whole))
        again = self.kitty(*self.scene.command)
        if self._said(again.exit_code, again.stdout) not in (self.scene.says, self.scene.over or self.scene.says):
            return [*found, f"the re-run: {again.stdout.strip()} {again.stderr.strip()[-300:]}"]
        return [*found, *self._ended(whole, said + killed.stderr + again.stderr)]

    def _between(self, whole: Whole) -> Iterator[str]:
        """After the kill."""
        now = self.project.git("rev-parse", "main", check=False)
        if now not in (self.old, whole.target):
            yield f"the target is {now}, neither old nor new"
        yield from self._sound(half_made=True)

    def _queried(self) -> Iterator[str]:
        before = self.project.snapshot()
        for arguments in (("status",), ("merge", "--status"), ("doctor",)):
            done = self.kitty(*arguments)
            if done.exit_code not in (0, 1) or "Traceback" in done.stderr or not done.stdout.startswith("{"):
                yield f"{arguments} between: {done}"
        yield from (f"a query wrote: {name}" for name in _differing(before, self.project.snapshot()))

    def _sound(self, *, half_made: bool = False) -> Iterator[str]:
        """What holds always; a worktree that Git was killed in making may be `half_made`."""
        done = subprocess.run(
            ["git", "fsck", "--strict", "--no-dangling", "--no-progress"],
            cwd=self.project.root,
            capture_output=True,
            text=True,
        )
        lines = (done.stdout + done.stderr).splitlines()
        yield from (f"fsck: {line}" for line in lines if not (half_made and "worktrees/" in line))
        rows = self.mission.ledger.lines()
        yield from (
            f"a row is {rows.count(row)} times there: {row[:80]!r}" for row in self.rows if rows.count(row) != 1
        )

    def _ended(self, whole: Whole, said: str) -> Iterator[str]:
        """After a run that came to its end, however many attempts it took."""
        git = self.project.git
        if git("rev-parse", "main^{tree}") != whole.tree:
            yield f"another tree: {git('diff', '--stat', whole.tree, 'main', check=False)}"
        yield from self._sound()
        yield from {
            "landed": self._landed,
            "undone": self._undone,
            "stopped": self._stopped,
            "given up": self._given_up,
        }[self.scene.ends]()
        yield from self._is_mine(said)
        yield from (f"left behind: {name}" for name in sorted(self._files() - whole.files))
        yield from (f"gone: {name}" for name in sorted(whole.files - self._files()))
        yield from (f"ref: {name}" for name in sorted(self._refs() ^ whole.refs))

    def _landed(self) -> Iterator[str]:
        git = self.project.git
        is_squash = "squash" in self.scene.command
        if not is_squash and git("merge-base", "--independent", "main", *self.heads) != git("rev-parse", "main"):
            yield "an approved commit is not reachable"
        if git("rev-parse", f"refs/kitty/{self.mission.mission_id}/undo", check=False) != self.old:
            yield "the way back does not lead to the old target"
        landed = git("show", f"main:kitty-specs/{self.mission.slug}/status.events.jsonl").encode().splitlines()
        lost = set(landed) - set(self.mission.ledger.lines())
        if lost:
            yield f"{len(lost)} landed rows are not in the live ledger"
        if (self.scene.signed) and git("log", "-1", "--format=%G?", "main") != "G":
            yield "the landing is not signed"

    def _undone(self) -> Iterator[str]:
        if self.project.git("rev-parse", "main") != self.planned:
            yield "the target is not what it was before the landing"
        state = State.load(self.mission.refresh())
        others = [wp_id for wp_id in state.wp_ids() if state.lane(wp_id) != "approved"]
        yield from (f"{wp_id} is {state.lane(wp_id)} after the undo" for wp_id in others)

    def _stopped(self) -> Iterator[str]:
        """A conflict is laid out to be settled."""
        place = self._conflict()
        if not place.is_dir() or self.project.git("status", "--porcelain", CONFLICT, where=place)[:2] not in (
            "UU",
            "AA",
        ):
            yield "the conflict is not laid out"
        elif "<<<<<<<" not in (place / CONFLICT).read_text():
            yield "the file has no conflict markers"
        if self.project.git("rev-parse", "main") != self.planned:
            yield "the target has moved"

    def _given_up(self) -> Iterator[str]:
        if self.project.git("rev-parse", "main") != self.planned:
            yield "the target has moved"
        if self._conflict().exists():
            yield "the worktree of the conflict is still there"

    def _conflict(self) -> Path:
        return self.project.root / ".worktrees" / f"{self.mission.human}-{self.mission.mid8}-conflict"

    def _is_mine(self, said: str) -> Iterator[str]:
        """The user's own files and their state."""
        root = self.project.root
        done = self.project.git("status", "--porcelain", "-z", "--untracked-files=all", "--no-renames")
        status = done.rstrip("\0").split("\0")
        landed = self.scene.ends == "landed"
        wanted = {path: code if code or landed else "??" for path, (_, code) in MINE.items()} | self.scene.shows
        if not landed:
            ledger = f"kitty-specs/{self.mission.slug}/status.events.jsonl"
            wanted |= dict.fromkeys((ledger, "docs/words.md"), "??")
        # The helper strips the output; the first record may lack the space that stands for "not staged".
        if sorted(line if line[2] == " " else f" {line}" for line in status) != sorted(
            f"{code} {path}" for path, code in wanted.items() if code
        ):
            yield f"status: {status}"
        for path, (content, _) in MINE.items():
            if not (root / path).is_file() or (root / path).read_text() != content:
                yield f"the user's {path!r} is lost"
        rescued = [path for path in sorted((root / ".git/kitty/rescue").rglob("*")) if path.is_file()]
        mine = {"landed": {"mine, ignored\n"}, "given up": {SETTLED}}.get(self.scene.ends, set())
        if {path.read_text() for path in rescued} != mine:
            yield f"rescued is {rescued}"
        if not landed and (root / IGNORED).read_text() != "mine, ignored\n":
            yield "the user's ignored file is not back"
        named = {path.read_text() for path in rescued if str(path) in said}
        yield from (f"rescued and not named: {path}" for path in rescued if path.read_text() not in named)
        if landed and len(rescued) != 1:
            yield f"rescued more than once: {rescued}"

    def _refs(self) -> set[str]:
        """The names; what was settled is known by the commit that was settled, which another clock makes another."""
        return set(self.project.git("for-each-ref", "--format=%(refname)").splitlines())

    def _files(self) -> set[str]:
        """The names of all files, and of the places that shall be gone."""
        root = self.project.root
        found = {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_symlink() or path.is_file()}
        found |= {
            path.relative_to(root).as_posix()
            for path in (root / ".git/worktrees", root / ".worktrees")
            if path.exists()
        }
        return {name for name in found if not name.startswith(tuple(f".git/{name}" for name in _MAY_DIFFER))}


class ByHand:
    """The same lanes merged by `git merge --no-ff`, one after the other, where nobody has any work of his own: to compare with."""

    def __init__(self, ground: Ground) -> None:
        self.ground = ground
        branches = [
            f"{ground.mission.branch}-{lane}" for lane in ("lane-a", "lane-b", "lane-c", "lane-d", "lane-planning")
        ]
        self.script = " && ".join(f"git merge --quiet --no-ff --no-edit {branch}" for branch in branches)

    def kill(self, at: int = 0, torn: bool = False) -> Done:
        """As `Ground.kill`."""
        return self.ground.crash.run(["sh", "-c", self.script], at=at, torn=torn, where=self.ground.project.root)

    def reset(self) -> None:
        """A fresh copy in place, without the user's work."""
        self.ground.reset()
        self.ground.project.git("reset", "--quiet", "--hard")
        self.ground.project.git("clean", "--quiet", "-fd", "-e", ".worktrees")

    @functools.cached_property
    def whole(self) -> Whole:
        """An uninterrupted run."""
        self.reset()
        done, git = self.kill(), self.ground.project.git
        assert done.exit_code == 0, done
        return Whole(done.calls, git("rev-parse", "main"), git("rev-parse", "main^{tree}"), set(), set())

    def problems(self, point: Point) -> list[str]:
        """What does not hold after a kill there, and after the same command once more; in the words of `Ground.problems`."""
        whole, git = self.whole, self.ground.project.git
        self.reset()
        self.kill(point.at, point.torn)
        found = []
        now = git("rev-parse", "main", check=False)
        if now != self.ground.old and git("rev-parse", "main^{tree}", check=False) != whole.tree:
            found.append(f"the target is {now}, neither old nor new")
        again = subprocess.run(["sh", "-c", self.script], cwd=self.ground.project.root, capture_output=True, text=True)
        if again.returncode:
            found.append(f"the re-run: {again.stderr[-300:]}")
        elif git("status", "--porcelain"):
            found.append("status")
        return found


class Counts(NamedTuple):
    """What came of so many kills."""

    points: int
    half: int
    """The target was neither what it had been nor what it was to become."""
    failed: int
    """The same command once more did not end it."""
    other: int
    """Anything else: something lost, left behind, or not as after an uninterrupted run."""


def counts(problems: Sequence[Sequence[str]]) -> Counts:
    """Sorted by the worst that is said of each point."""
    half = [one for one in problems if any(said.startswith("the target is") for said in one)]
    failed = [one for one in problems if any(said.startswith("the re-run") for said in one)]
    return Counts(
        len(problems),
        len(half),
        len(failed),
        len([one for one in problems if one and one not in failed and one not in half]),
    )


def _differing(one: dict[str, bytes], other: dict[str, bytes]) -> list[str]:
    return sorted(name for name in {*one, *other} if one.get(name) != other.get(name))


# Which points


def all_points(whole: Whole) -> list[Point]:
    """Every one."""
    return [Point(at, torn) for at, torn in points(whole.calls)]


def sample(whole: Whole, count: int) -> list[Point]:
    """So many points: of each kind of call of each program the first, most of them after the journal was written, and the rest evenly."""
    everything = all_points(whole)
    kinds: dict[tuple[str, str, bool], Point] = {}
    for point in everything:
        call = whole.calls[point.at - 1]
        kinds.setdefault((call.name, call.program, point.torn), point)
    begun = journalled(whole)
    after = [point for point in kinds.values() if point.at >= begun]
    chosen = set(_evenly(after, count // 2))
    chosen |= set(_evenly([point for point in kinds.values() if point not in chosen], count // 4))
    return sorted(chosen | set(_evenly([point for point in everything if point not in chosen], count - len(chosen))))


def _evenly(points: Sequence[Point], count: int) -> list[Point]:
    count = min(count, len(points))
    return [points[number * len(points) // count] for number in range(count)]


def journalled(whole: Whole) -> int:
    """The first call of the journal's writing: kitty's own calls right before the refs move; the first of all where none move."""
    at = next((number for number, call in enumerate(whole.calls, 1) if call.program == "git update-ref"), 1)
    while at > 1 and not whole.calls[at - 2].program.startswith("git"):
        at -= 1
    return at


def described(whole: Whole, point: Point) -> str:
    """For people."""
    call = whole.calls[point.at - 1]
    return (
        f"{'inside' if point.torn else 'before'} call {point.at} of {len(whole.calls)} ({call.name} by {call.program})"
    )
