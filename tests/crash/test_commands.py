"""A whole command is killed with its Git children at calls that change files: nothing acknowledged is lost, and it works again.

At half of them in the slow tier, and at every one in the sweep.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from library import Crash, Done, copy, points, share_of, snapshot

from kitty_host.files import TEMPORARY_PREFIX
from kitty_host.ledger.log import Ledger
from kitty_host.mission import Mission, read_mission
from kitty_host.repo import Repo
from kitty_host.testing import Project


class Command(NamedTuple):
    """One row of the table: a command in a state."""

    name: str
    prepare: Callable[[Project, Mission], None]
    arguments: tuple[str, ...]
    fewest: int
    """Points that there are at least: a command that changes less than it did has to be looked at."""


def no_ledger(project: Project, mission: Mission) -> None:
    """A mission in which nothing happened."""


def some_rows(project: Project, mission: Mission) -> None:
    project.record(mission, "WP01", "planned")
    assert project.kitty("note", "WP01", "before").exit_code == 0


def live_missing(project: Project, mission: Mission) -> None:
    some_rows(project, mission)
    mission.ledger.live.unlink()


def set_back(project: Project, mission: Mission) -> None:
    some_rows(project, mission)
    first = mission.ledger.lines()[0]
    mission.ledger.live.unlink()
    mission.ledger.live.write_bytes(first + b"\n")


def torn(project: Project, mission: Mission) -> None:
    some_rows(project, mission)
    with mission.ledger.live.open("ab") as stream:
        stream.write(b'{"actor": "agent", "at": ')


def in_review(project: Project, mission: Mission) -> None:
    project.record(mission, "WP01", "planned", "claimed", "in_progress", "for_review")
    project.record(mission, "WP01", "in_review", actor="grace")
    mission.ledger.checkpoint(mission.repo.git, "before\n")


COMMANDS = (
    Command("note", some_rows, ("note", "WP01", "text"), 5),
    Command("the first note", no_ledger, ("note", "WP01", "text"), 15),
    Command("note with the live name missing", live_missing, ("note", "WP01", "text"), 10),
    Command("note after an older file was put in place", set_back, ("note", "WP01", "text"), 10),
    Command("note behind a torn tail", torn, ("note", "WP01", "text"), 10),
    Command("repair of a torn tail", torn, ("ledger", "repair"), 5),
    # This one commits a checkpoint, with Git.
    Command("approve", in_review, ("review", "WP01", "--approve", "--agent", "grace"), 20),
)


@pytest.fixture
def mission(project: Project) -> Mission:
    made: Mission = project.mission(packages=[{"work_package_id": "WP01", "title": "one", "owned_files": ["one.txt"]}])
    return made


def lines_of(root: Path, mission: Mission) -> tuple[Ledger, list[bytes]]:
    ledger = read_mission(Repo.find(root), root / "kitty-specs" / mission.slug).ledger
    return ledger, ledger.lines()


@pytest.mark.parametrize("part", [pytest.param(2, marks=pytest.mark.slow), pytest.param(1, marks=pytest.mark.sweep)])
@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_nothing_acknowledged_is_lost_and_the_next_command_works(
    project: Project, mission: Mission, crash: Crash, tmp_path: Path, command: Command, part: int
) -> None:
    command.prepare(project, mission)
    kept = mission.ledger.lines()

    def run(root: Path, at: int = 0, torn: bool = False) -> Done:
        return crash.run(
            [sys.executable, "-m", "kitty_host", *command.arguments, "--json"], at=at, torn=torn, where=root
        )

    copy(project.root, tmp_path / "whole")
    whole = run(tmp_path / "whole")
    assert whole.exit_code == 0, whole.stdout
    added = len(lines_of(tmp_path / "whole", mission)[1]) - len(kept)
    places = points(whole.calls)
    assert len(places) >= command.fewest
    broken: list[str] = []
    for at, half in share_of(places, part):
        root = tmp_path / f"killed-{at}-{half}"
        copy(project.root, root)
        done = run(root, at, half)
        # An object may or may not have to make its directory, by its name, so that a run may be a call or two shorter than the counted one.
        problems = [] if done.killed or len(done.calls) < at else ["it was not killed"]
        problems += after_the_kill(Project(root), mission, kept, added if done.stdout else 0)
        broken += [
            f"{'inside' if half else 'before'} call {at} ({whole.calls[at - 1].name}): {one}" for one in problems
        ]
        shutil.rmtree(root)
    sys.stdout.write(f"{command.name}: {len(places)} points\n")
    assert broken == []
    assert crash.lint() == []


def after_the_kill(project: Project, mission: Mission, kept: list[bytes], acknowledged: int) -> list[str]:
    """What does not hold after a kill: in a query, and then in the next writing command."""
    before = snapshot(project.root)
    verified = project.kitty("ledger", "verify", "--json")
    problems = ["the query wrote something"] if snapshot(project.root) != before else []
    ledger, found = lines_of(project.root, mission)
    codes = {finding.code for finding in ledger.findings()}
    if verified.exit_code or {finding["code"] for finding in verified.json["findings"]} != codes:
        problems.append(f"verify says {verified}, wrong is {codes}")
    again = project.kitty("note", "WP01", "again", "--json")
    if again.exit_code:
        problems.append(f"the next command: {again}")
    ledger, healed = lines_of(project.root, mission)
    for state in (found, healed):
        problems += [f"lost or doubled: {line!r}" for line in kept if state.count(line) != 1]
    new = len(healed) - len(kept) - 1
    if new < acknowledged:
        problems.append(f"{acknowledged} rows were acknowledged, {new} are there")
    if not set(found) <= set(healed):
        problems.append("a line that a query had shown is gone")
    if ledger.findings() or not ledger.live.samefile(ledger.twin):
        problems.append(f"not healed: {ledger.findings()}")
    if json.loads(healed[-1])["delta"] != {"note": "again"}:
        problems.append("the row of the next command is not the last one")
    if list(project.root.rglob(f"{TEMPORARY_PREFIX}*")):
        problems.append("a temporary file was left behind")
    return problems


def test_every_object_of_a_checkpoint_is_synced(project: Project, mission: Mission, crash: Crash) -> None:
    in_review(project, mission)
    arguments = ("review", "WP01", "--approve", "--agent", "grace")
    assert crash.run([sys.executable, "-m", "kitty_host", *arguments], where=project.root).exit_code == 0
    assert [told for told in crash.lint(git=True) if "objects/" in told] == []


@pytest.mark.slow
def test_bringing_rows_back_can_be_killed_anywhere_and_done_again(
    project: Project, mission: Mission, crash: Crash, tmp_path: Path
) -> None:
    some_rows(project, mission)
    mission.ledger.checkpoint(mission.repo.git, "before\n")
    assert project.kitty("note", "WP01", "after the checkpoint").exit_code == 0
    wanted = sorted(mission.ledger.lines())
    _gone, *left = mission.ledger.lines()
    mission.ledger.live.write_bytes(b"".join(line + b"\n" for line in (*left, b"{damaged")))
    arguments = [sys.executable, "-m", "kitty_host", "ledger", "repair", "--from-checkpoint", "--json"]
    copy(project.root, tmp_path / "whole")
    places = points(crash.run(arguments, where=tmp_path / "whole").calls)
    assert len(places) >= 8
    for at, half in places:
        root = tmp_path / f"killed-{at}-{half}"
        copy(project.root, root)
        assert crash.run(arguments, at=at, torn=half, where=root).killed
        ledger = read_mission(Repo.find(root), root / "kitty-specs" / mission.slug).ledger
        assert set(left) <= set(ledger.live.read_bytes().split(b"\n")), "the file is the old one or the new one"
        assert Project(root).kitty("ledger", "repair", "--from-checkpoint").exit_code == 0
        assert sorted(ledger.lines()) == wanted
        assert Project(root).kitty("ledger", "verify").exit_code == 0
        shutil.rmtree(root)
    assert crash.lint() == []
