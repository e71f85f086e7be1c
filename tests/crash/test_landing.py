"""A whole `kitty merge` is killed with its Git children at every call that changes files: the target is old or new, and one more run
finishes it as if nothing had happened, beside all that the user has in the checkout."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from landing_sweep import ByHand, Counts, Ground, Point, Whole, all_points, counts, described, journalled, sample
from library import Crash
from scenes import SCENES

from kitty_host.ledger.log import Ledger
from kitty_host.repo import Repo
from kitty_host.testing import isolate
from kitty_merge import cleanup, cli, move, recovery, ref_locks
from kitty_merge.checkout import Checkout, Rescued

# CI's points: of each scene about so many, which xdist spreads over so many tests.
COUNTS = {"merge": (100, 4), "squash": (30, 1), "undo": (40, 2)}
OTHERS = (18, 1)
SWEEP_PARTS = 12
# Every so manyth point is looked at closely too: queries before the re-run, and a second one after it.
CLOSELY = 8

Grounds = Callable[[str], Ground]


@pytest.fixture(scope="module")
def grounds(library: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Grounds]:
    """Each scene, made once for all tests of this module: a point starts with a copy. Its environment ends with the module."""
    with pytest.MonkeyPatch.context() as patch:
        root = tmp_path_factory.mktemp("landing")
        isolate(root, patch)
        # The runtime's queries are asked too; gates would need an acceptance, which is swept with the commands.
        patch.setenv("KITTY_PLUGINS", "merge,runtime")

        @functools.cache
        def ground(name: str) -> Ground:
            directory = root / name.replace(" ", "-")
            (directory / "crash").mkdir(parents=True)
            return Ground(directory, Crash(library, directory / "crash"), name, SCENES[name])

        yield ground


def broken(ground: Ground, chosen: Iterable[Point], tell: Callable[[str, object], None] | None = None) -> list[str]:
    """What does not hold, with its point; `tell` takes the counts for the table at the end."""
    points = list(chosen)
    problems = [ground.problems(point, closely=number % CLOSELY == 0) for number, point in enumerate(points)]
    if tell is not None:
        tell("killed", (f"kitty {' '.join(ground.scene.command)}: {ground.name}", *counts(problems)))
    return [
        f"{described(ground.whole, point)}: {said}"
        for point, found in zip(points, problems, strict=True)
        for said in found
    ]


# Points by what happens there


def nth(whole: Whole, program: str, name: str, number: int, torn: bool = False, after: int = 0) -> Point:
    """A call of a program; a negative number counts from the end."""
    places = [
        at
        for at, call in enumerate(whole.calls, 1)
        if at > after and call.program == program and call.name.startswith(name) and (not torn or call.size > 1)
    ]
    return Point(places[number], torn)


def python(whole: Whole) -> str:
    """How the library calls kitty's own process: it is the first that counts after Git's."""
    return whole.calls[journalled(whole) - 1].program


MARKS: dict[str, Callable[[Whole], Point]] = {
    "the candidate is being built": lambda whole: nth(whole, "git unpack-objects", "link", 0),
    "the journal is half there": lambda whole: nth(
        whole, python(whole), "write", 0, torn=True, after=journalled(whole) - 1
    ),
    "all refs are locked": lambda whole: nth(whole, "git update-ref", "rename", 0),
    "the target alone has moved": lambda whole: nth(whole, "git update-ref", "rename", 1),
    "all refs have moved": lambda whole: Point(nth(whole, "git update-ref", "unlink", -1).at + 1, False),
    "a file is half written": lambda whole: nth(
        whole, "git read-tree", "write", -3, torn=True, after=journalled(whole)
    ),
    "the index is about to be put in place": lambda whole: nth(
        # After it come the notes for an undo, and that observers were told.
        whole,
        python(whole),
        "rename",
        -3,
        after=journalled(whole),
    ),
    "a worktree is half removed": lambda whole: nth(whole, "git worktree", "unlink", 12),
}
MINE = {"merge": list(MARKS)[::2], "squash": list(MARKS)[1::2]}


@pytest.mark.parametrize("scene", MINE)
def test_a_landing_killed_here_and_there_is_finished_by_one_more_run(grounds: Grounds, scene: str) -> None:
    ground = grounds(scene)
    assert broken(ground, [MARKS[name](ground.whole) for name in MINE[scene]]) == []


@pytest.mark.slow
def test_worktrees_whose_files_are_gone_while_git_still_knows_them_are_finished_with(grounds: Grounds) -> None:
    """One of six thousand points of the whole sweep: what a scratch worktree had left was looked for by its files."""
    ground = grounds("hooks")
    calls = ground.whole.calls
    chosen = [
        Point(at, False)
        for at in range(2, len(calls) + 1)
        if calls[at - 1].program == calls[at - 2].program == "git worktree"
        and (calls[at - 2].name, calls[at - 1].name) == ("rmdir", "unlink")
    ]
    # The first one that goes is the scratch one; those of the lanes follow.
    assert broken(ground, [at for at in chosen if at.at < chosen[0].at + 60]) == []


PARTS = [(scene, part) for scene in SCENES for part in range(COUNTS.get(scene, OTHERS)[1])]


@pytest.mark.slow
@pytest.mark.parametrize(("scene", "part"), PARTS)
def test_what_is_killed_at_each_kind_of_call_is_finished_by_one_more_run(
    grounds: Grounds, scene: str, part: int, record_property: Callable[[str, object], None]
) -> None:
    ground, (count, parts) = grounds(scene), COUNTS.get(scene, OTHERS)
    chosen = sample(ground.whole, count)
    assert len(chosen) == count
    assert broken(ground, chosen[part::parts], record_property) == []


@pytest.mark.sweep
@pytest.mark.parametrize("part", range(SWEEP_PARTS))
@pytest.mark.parametrize("scene", SCENES)
def test_what_is_killed_at_every_call_is_finished_by_one_more_run(
    grounds: Grounds, scene: str, part: int, record_property: Callable[[str, object], None]
) -> None:
    ground = grounds(scene)
    assert broken(ground, all_points(ground.whole)[part::SWEEP_PARTS], record_property) == []


def test_the_points_of_ci_are_three_hundred_and_more() -> None:
    assert sum(COUNTS.get(scene, OTHERS)[0] for scene in SCENES) >= 300


# What it is compared with


def lane_by_lane(grounds: Grounds, every: int, tell: Callable[[str, object], None]) -> Counts:
    by_hand = ByHand(grounds("merge"))
    found = counts([by_hand.problems(point) for point in all_points(by_hand.whole)[::every]])
    tell("killed", ("git merge --no-ff, lane by lane", *found))
    return found


@pytest.mark.slow
def test_merging_lane_by_lane_leaves_targets_half_merged(
    grounds: Grounds, record_property: Callable[[str, object], None]
) -> None:
    found = lane_by_lane(grounds, 9, record_property)
    assert found.half > 0
    assert found.failed > 0


@pytest.mark.sweep
def test_merging_lane_by_lane_leaves_targets_half_merged_at_many_points(
    grounds: Grounds, record_property: Callable[[str, object], None]
) -> None:
    assert lane_by_lane(grounds, 1, record_property).half > 0


def broken_after_two(ground: Ground, mark: str, every: int) -> list[str]:
    """As `broken`, where the re-run is killed too, at every so manyth of its calls."""
    point, found, second = MARKS[mark](ground.whole), [], 1
    while (problems := ground.problems_after_two(point, Point(second, second % 2 == 0))) is not None:
        found += [f"{mark}, the re-run at call {second}: {problem}" for problem in problems]
        second += every
    sys.stdout.write(f"{second // every} points\n")
    assert second > 100
    return found


AGAIN = ["all refs are locked", "the target alone has moved", "a file is half written", "a worktree is half removed"]


@pytest.mark.slow
@pytest.mark.parametrize("mark", AGAIN[:3])
def test_so_is_one_whose_recovery_is_killed_too(grounds: Grounds, mark: str) -> None:
    assert broken_after_two(grounds("merge"), mark, every=33) == []


@pytest.mark.sweep
@pytest.mark.parametrize("mark", AGAIN)
def test_so_is_one_whose_recovery_is_killed_at_every_other_call(grounds: Grounds, mark: str) -> None:
    assert broken_after_two(grounds("merge"), mark, every=2) == []


# The sweep's own eyes: each of these switches off, for the re-run, what makes the point above it hold.


def nothing(*_: object, **__: object) -> Any:
    return []


def writing(repo: Repo) -> list[str]:
    """A query that leaves a file."""
    (repo.state / "asked").touch()
    return []


def dropped(repo: Any, journal: Any) -> recovery.Recovered:
    """A recovery that takes every landing for one that did not move its target."""
    move.forget(repo, journal.mission_id, move.journalled_checkouts(repo, journal))
    return recovery.Recovered(journal.mission_id, False)


def lost(checkout: Checkout, path: str) -> Rescued:
    """A rescue that rescues nothing."""
    (checkout.path / path).unlink()
    return Rescued(checkout.path, path, checkout.path)


BLIND: list[tuple[str, str, object, str, object]] = [
    ("the journal is half there", "a query wrote", cli, "unfinished", writing),
    ("all refs are locked", "the re-run", ref_locks, "release", nothing),
    ("the target alone has moved", "ref:", move, "complete_refs", nothing),
    ("a file is half written", "status:", recovery, "_recover", dropped),
    ("all refs have moved", "has not landed", Ledger, "take_in", nothing),
    ("the index is about to be put in place", "not named", Checkout, "rescued_before", nothing),
    ("the index is about to be put in place", "the re-run", Checkout, "give_lock_back", nothing),
    ("all refs have moved", "rescued is []", Checkout, "rescue", lost),
    ("a worktree is half removed", "left behind", cleanup, "finish_removals", nothing),
]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mark", "said", "owner", "name", "instead"), BLIND, ids=lambda value: value if isinstance(value, str) else ""
)
def test_the_sweep_sees_a_recovery_that_leaves_a_step_out(
    grounds: Grounds,
    monkeypatch: pytest.MonkeyPatch,
    mark: str,
    said: str,
    owner: object,
    name: str,
    instead: object,
) -> None:
    ground = grounds("merge")
    point = MARKS[mark](ground.whole)
    monkeypatch.setattr(owner, name, instead)
    found = ground.problems(point, closely=said.startswith("a query"))
    assert said in "\n".join(found)
