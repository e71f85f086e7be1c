"""A mission that is ready to land beside a user's own work, landed again and again from the same beginning, and what has to hold then.

`Ground` builds it once; the worktrees know where they are, so that each point starts with a fresh copy at the same place.
"""

from __future__ import annotations

import functools
import os
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from library import Call, Crash, Done, copy, points

from kitty_host.lanes import write_lanes
from kitty_host.mission import Mission, find_missions
from kitty_host.repo import Repo
from kitty_host.testing import Project, Result, initialized
from kitty_merge.planner import plan
from kitty_merge.submission import submission
from kitty_merge.workspace import allocate

# Two clocks, in seconds after the mission was made: what is killed and what runs again differ in every commit they make, so that nothing
# fits by chance; what is killed and what is not, in none.
_FIRST, _AGAIN = 1000, 9000
# What the user has in the checkout, by path, and what plain Git says of it before and after. The last two lie where something lands.
MINE = {
    "staged.txt": ("mine, staged\n", "M "),
    "unstaged.txt": ("mine, not staged\n", " M"),
    "un tracked.txt": ("mine, with a space\n", "??"),
    "un\ntracked.txt": ("mine, with a newline\n", "??"),
    "unverfolgt-ä.txt": ("mine, beyond ASCII\n", "??"),
    "lane3/twin.txt": ("the same in both\n", ""),
}
IGNORED = "lane4/settings.local"
# What is below the Git directory and may differ: caches, locks that are never removed, and what the ledger sets aside of a torn row.
_MAY_DIFFER = ("objects/", "logs/", "spec-kitty-locks", "kitty/cache", "kitty/torn/")


class Point(NamedTuple):
    """Where a run is killed."""

    at: int
    torn: bool


class Whole(NamedTuple):
    """What an uninterrupted landing is and leaves."""

    calls: list[Call]
    new: str
    tree: str
    files: set[str]
    refs: set[str]


class Ground:
    """The mission, its place, and one landing of it for each strategy."""

    def __init__(self, directory: Path, crash: Crash) -> None:
        self.crash = crash
        self.made = int(time.time())
        self.project = initialized(directory / "project")
        self.pristine = directory / "pristine"
        self.heads = _ready_to_land(self.project)
        self.mission: Mission = find_missions(Repo.find(self.project.root))[0]
        self.old = self.project.git("rev-parse", "main")
        self.rows = self.mission.ledger.lines()
        shutil.move(self.project.root, self.pristine)
        self.wholes = functools.cache(self._whole)

    def reset(self) -> None:
        """A fresh copy in place."""
        shutil.rmtree(self.project.root, ignore_errors=True)
        copy(self.pristine, self.project.root)

    def kill(self, strategy: str, at: int = 0, torn: bool = False) -> Done:
        """Land, killed at a call; 0 is none."""
        arguments = ("merge", "--json", "--strategy", strategy)
        return self.crash.run(
            [sys.executable, "-m", "kitty_host", *arguments],
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

    def _whole(self, strategy: str) -> Whole:
        self.reset()
        done = self.kill(strategy)
        assert done.exit_code == 0, done.stderr + done.stdout
        git = self.project.git
        found = Whole(
            done.calls, git("rev-parse", "main"), git("rev-parse", "main^{tree}"), self._files(), self._refs()
        )
        assert list(self._landed(strategy, found, done.stderr)) == []
        return found

    # What has to hold

    def problems(self, strategy: str, point: Point, *, closely: bool) -> list[str]:
        """What does not hold after a kill there, and after the re-run; `closely` asks the queries and runs it once more."""
        whole = self.wholes(strategy)
        self.reset()
        killed = self.kill(strategy, point.at, point.torn)
        found = [*self._between(whole), *(self._queried() if closely else ())]
        again = self.kitty("merge", "--strategy", strategy)
        if again.exit_code:
            return [*found, f"the re-run: {again.stdout.strip()} {again.stderr.strip()[-300:]}"]
        found += self._landed(strategy, whole, killed.stderr + again.stderr)
        if closely:
            before = self.project.snapshot()
            third = self.kitty("merge", "--strategy", strategy)
            found += [f"the second re-run: {third}"] if third.exit_code else []
            found += [f"the second re-run wrote: {name}" for name in _differing(before, self.project.snapshot())]
        return found

    def problems_after_two(self, strategy: str, point: Point, second: Point) -> list[str] | None:
        """What does not hold where the re-run is killed too; None where it makes fewer calls than that."""
        whole = self.wholes(strategy)
        self.reset()
        said = self.kill(strategy, point.at, point.torn).stderr
        killed = self.kill(strategy, second.at, second.torn)
        if not killed.killed:
            return None
        found = list(self._between(whole))
        again = self.kitty("merge", "--strategy", strategy)
        if again.exit_code:
            return [*found, f"the re-run: {again.stdout.strip()} {again.stderr.strip()[-300:]}"]
        return [*found, *self._landed(strategy, whole, said + killed.stderr + again.stderr)]

    def _between(self, whole: Whole) -> Iterator[str]:
        """After the kill."""
        git = self.project.git
        now = git("rev-parse", "main", check=False)
        if now not in (self.old, whole.new):
            yield f"the target is {now}, neither old nor new"
        yield from self._sound()

    def _queried(self) -> Iterator[str]:
        before = self.project.snapshot()
        for arguments in (("status",), ("merge", "--status"), ("doctor",)):
            done = self.kitty(*arguments)
            if done.exit_code not in (0, 1) or "Traceback" in done.stderr or not done.stdout.startswith("{"):
                yield f"{arguments} between: {done}"
        yield from (f"a query wrote: {name}" for name in _differing(before, self.project.snapshot()))

    def _sound(self) -> Iterator[str]:
        done = self.project.git("fsck", "--strict", "--no-dangling", "--no-progress")
        if done:
            yield f"fsck: {done}"
        rows = self.mission.ledger.lines()
        yield from (
            f"a row is {rows.count(row)} times there: {row[:80]!r}" for row in self.rows if rows.count(row) != 1
        )

    def _landed(self, strategy: str, whole: Whole, said: str) -> Iterator[str]:
        """After a landing that said it is done, however many attempts it took."""
        git, root = self.project.git, self.project.root
        if git("rev-parse", "main^{tree}") != whole.tree:
            yield f"another tree: {git('diff', '--stat', whole.tree, 'main', check=False)}"
        if strategy == "merge" and git("merge-base", "--independent", "main", *self.heads) != git("rev-parse", "main"):
            yield "an approved commit is not reachable"
        if git("rev-parse", f"refs/kitty/{self.mission.mission_id}/undo", check=False) != self.old:
            yield "the way back does not lead to the old target"
        yield from self._sound()
        landed = git("show", f"main:kitty-specs/{self.mission.slug}/status.events.jsonl").encode().splitlines()
        rows = self.mission.ledger.lines()
        if set(landed) - set(rows):
            yield f"{len(set(landed) - set(rows))} landed rows are not in the live ledger"
        status = git("status", "--porcelain", "-z", "--untracked-files=all").rstrip("\0").split("\0")
        wanted = sorted(f"{code} {path}" for path, (_, code) in MINE.items() if code)
        # The helper strips the output; the first record may lack the space that stands for "not staged".
        if sorted(line if line[2] == " " else f" {line}" for line in status) != wanted:
            yield f"status: {status}"
        for path, (content, _) in MINE.items():
            if not (root / path).is_file() or (root / path).read_text() != content:
                yield f"the user's {path!r} is lost"
        rescued = [path for path in (root / ".git/kitty/rescue").rglob("*") if path.is_file()]
        if [path.read_text() for path in rescued] != ["mine, ignored\n"]:
            yield f"rescued is {rescued}"
        yield from (f"rescued and not named: {path}" for path in rescued if str(path) not in said)
        yield from (f"left behind: {name}" for name in sorted(self._files() - whole.files))
        yield from (f"gone: {name}" for name in sorted(whole.files - self._files()))
        yield from (f"ref: {name}" for name in sorted(self._refs() ^ whole.refs))

    def _refs(self) -> set[str]:
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


def _differing(one: dict[str, bytes], other: dict[str, bytes]) -> list[str]:
    return sorted(name for name in {*one, *other} if one.get(name) != other.get(name))


def _ready_to_land(project: Project) -> list[str]:
    """Four lanes and a planning artefact, all approved, and the user's own work; returns what was approved."""
    for number in (1, 2, 3, 4):
        for name in ("changed", "removed", "mode"):
            project.write(f"lane{number}/{name}.txt", f"{name} {number}\n" * 40)
    project.write("staged.txt")
    project.write("unstaged.txt")
    with (project.root / ".gitignore").open("a") as stream:
        stream.write("*.local\n")
    project.git("add", ".")
    project.git("commit", "--quiet", "-m", "files")
    packages: list[dict[str, Any]] = [
        {"work_package_id": f"WP0{number}", "title": f"Package {number}", "owned_files": [f"lane{number}/**"]}
        for number in (1, 2, 3, 4)
    ]
    planning = {"title": "Words", "owned_files": ["docs/**"], "execution_mode": "planning_artifact"}
    packages.append({"work_package_id": "WP05", **planning})
    mission: Mission = project.mission("demo", packages)
    write_lanes(mission, plan(mission.packages, mission)._replace(planning_commit=project.git("rev-parse", "HEAD")))
    project.git("add", "--", "kitty-specs/*/lanes.json")
    project.git("commit", "--quiet", "-m", "lanes")
    mission = mission.refresh()
    heads = []
    for package in mission.packages:
        project.record(mission, package.wp_id, "planned", "claimed", "in_progress")
        workspace = allocate(package, mission)
        if workspace.path:
            _work(project, workspace.path, int(package.wp_id[-1]))
        else:
            project.write("docs/words.md", "# Words\n")
        head = submission(mission.package(package.wp_id), mission).head
        verdict = {"reviewer": "grace", "verdict": "approved", "reference": head}
        evidence = {"review": verdict, "repos": [{"repo": "project", "branch": "lane", "commit": head}]}
        project.record(mission, package.wp_id, "for_review", "in_review")
        project.record(mission, package.wp_id, "approved", evidence=evidence, review_result=verdict)
        heads.append(head)
    for path, (content, code) in MINE.items():
        project.write(path, content)
        if code == "M ":
            project.git("add", "--", path)
    project.write(IGNORED, "mine, ignored\n")
    return heads


def _work(project: Project, tree: Path, number: int) -> None:
    """Two commits of several files in a lane."""
    folder = f"lane{number}"
    project.write(f"{folder}/new.txt", f"new {number}\n" * 40, where=tree)
    project.write(f"{folder}/deep/er/new.txt", f"deep {number}\n", where=tree)
    project.write(f"{folder}/changed.txt", f"changed by {number}\n" * 60, where=tree)
    project.git("add", ".", where=tree)
    project.git("commit", "--quiet", "-m", "first", where=tree)
    (tree / folder / "mode.txt").chmod(0o755)
    (tree / folder / "removed.txt").unlink()
    if number == 3:
        project.write(f"{folder}/twin.txt", MINE[f"{folder}/twin.txt"][0], where=tree)
    if number == 4:
        project.write(IGNORED, "the project's\n", where=tree)
    project.git("add", "--force", ".", where=tree)
    project.git("reset", "--quiet", "--", ".kitty-lane.env", where=tree)
    project.git("commit", "--quiet", "-m", "second", where=tree)


# Which points


def all_points(whole: Whole) -> list[Point]:
    """Every one."""
    return [Point(at, torn) for at, torn in points(whole.calls)]


def sample(whole: Whole, count: int, *, thorough: bool) -> list[Point]:
    """At least `count` points: each kind of call of each program, and the rest evenly.

    `thorough` takes all that follow the journal, but of the lanes' worktrees, which go one like the other, only the first to go.
    """
    everything = all_points(whole)
    kinds: dict[tuple[str, str, bool], Point] = {}
    for point in everything:
        call = whole.calls[point.at - 1]
        kinds.setdefault((call.name, call.program, point.torn), point)
    chosen = set(kinds.values())
    if thorough:
        removals = [at for at, call in enumerate(whole.calls, 1) if call.program == "git worktree"]
        end = removals[len(removals) // 4]
        chosen |= {point for point in everything if journalled(whole) <= point.at <= end}
    rest = [point for point in everything if point not in chosen]
    missing = min(max(count - len(chosen), 40), len(rest))
    chosen |= {rest[number * len(rest) // missing] for number in range(missing)}
    return sorted(chosen)


def journalled(whole: Whole) -> int:
    """The first call of the journal's writing: kitty's own calls right before the refs move."""
    at = next(number for number, call in enumerate(whole.calls, 1) if call.program == "git update-ref")
    while at > 1 and not whole.calls[at - 2].program.startswith("git"):
        at -= 1
    return at


def described(whole: Whole, point: Point) -> str:
    """For people."""
    call = whole.calls[point.at - 1]
    return (
        f"{'inside' if point.torn else 'before'} call {point.at} of {len(whole.calls)} ({call.name} by {call.program})"
    )
