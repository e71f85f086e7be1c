"""A mission of spec-kitty's coordination topology: both ledgers are read as one, and `kitty mission adopt` makes them one."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from kitty_host.ledger.event import annotation, encode, new_id, now, transition
from kitty_host.ledger.log import FILE
from kitty_host.mission import Mission, read_mission
from kitty_host.repo import Repo
from kitty_host.state import State
from kitty_host.testing import Project

BRANCH = "kitty/mission-coordinated"


def line(made: dict[str, Any]) -> bytes:
    return encode({"event_id": new_id(), "at": now(), **made}).encode()


class Coordinated:
    """A mission whose canonical ledger lags behind the one on its coordination branch."""

    def __init__(self, project: Project, *, worktree: bool) -> None:
        self.project = project
        made: Mission = project.mission(
            packages=[{"work_package_id": "WP01"}], topology="coord", coordination_branch=BRANCH
        )
        self.directory = made.directory
        self.place = project.root / ".worktrees" / f"{made.slug}-coord"
        project.git("worktree", "add", "--quiet", "-b", BRANCH, str(self.place))
        self.there = self.place / "kitty-specs" / made.slug
        first = line(self.move(made, "genesis", "planned"))
        (self.directory / FILE).write_bytes(first)
        (self.there / FILE).write_bytes(first + line(self.move(made, "planned", "claimed")))
        (self.there / "research.md").write_text("found out\n")
        (self.there / "tasks" / "WP01-task.md").write_text("---\nwork_package_id: WP01\ntitle: other\n---\n")
        project.git("add", ".", where=self.place)
        project.git("commit", "--quiet", "-m", "coordinate", where=self.place)
        if not worktree:
            project.git("worktree", "remove", str(self.place))

    @property
    def mission(self) -> Mission:
        return read_mission(Repo.find(self.project.root), self.directory)

    def move(self, mission: Mission, source: str, target: str) -> dict[str, Any]:
        return transition(
            "WP01", source, target, actor="peer", mission_id=mission.mission_id, mission_slug=mission.slug
        )

    def lane(self) -> str:
        return State.load(self.mission).lane("WP01")


@pytest.fixture(params=[True, False], ids=["worktree", "branch"])
def coordinated(project: Project, request: pytest.FixtureRequest) -> Coordinated:
    return Coordinated(project, worktree=request.param)


def test_both_copies_are_read_as_one_and_the_first_write_refuses(coordinated: Coordinated) -> None:
    assert coordinated.lane() == "claimed", "the canonical copy lags behind"
    before = coordinated.project.snapshot()
    refused = coordinated.project.kitty("note", "WP01", "hello", "--json")
    assert (refused.exit_code, refused.code) == (1, "MISSION_NOT_ADOPTED")
    assert f"kitty mission adopt {coordinated.mission.slug}" in refused.json["hint"]
    assert coordinated.project.snapshot() == before
    (finding,) = coordinated.mission.ledger.findings()[-1:]
    assert finding.code == "LEDGER_ELSEWHERE"


def test_what_was_written_to_the_worktree_a_moment_ago_counts(project: Project) -> None:
    coordinated = Coordinated(project, worktree=True)
    with (coordinated.there / FILE).open("ab") as ledger:
        ledger.write(line(coordinated.move(coordinated.mission, "claimed", "in_progress")))
    assert coordinated.lane() == "in_progress", "nobody has committed it yet"


def test_adopting_folds_the_ledgers_and_brings_what_is_missing(coordinated: Coordinated) -> None:
    slug = coordinated.mission.slug
    done = coordinated.project.kitty("mission", "adopt", slug, "--json", "--agent", "ada")
    assert (done.exit_code, done.json["adopted"], done.json["rows"]) == (0, True, 1)
    assert (done.json["files"], done.json["different"]) == (["research.md"], ["tasks/WP01-task.md"])
    assert (coordinated.directory / "research.md").read_text() == "found out\n"
    mission = coordinated.mission
    assert (mission.meta["topology"], mission.meta["coordination_branch"]) == ("single_branch", None)
    assert coordinated.lane() == "claimed"
    assert mission.ledger.rows()[-1]["payload"]["branch"] == f"refs/heads/{BRANCH}"
    assert mission.ledger.findings() == []
    assert coordinated.project.kitty("note", "WP01", "hello").exit_code == 0
    again = coordinated.project.kitty("mission", "adopt", slug, "--json")
    assert (again.exit_code, again.json["adopted"]) == (0, False)


def test_adopting_again_goes_on_where_a_crash_left_it(coordinated: Coordinated) -> None:
    """The ledger is folded, and `meta.json` is not written yet."""
    from kitty_host.ledger.log import Ledger

    mission = coordinated.mission
    copy = mission.coordination
    assert copy is not None
    Ledger(mission.directory, mission.repo.common, mission.mission_id).extend((copy.read(FILE) or b"").splitlines())
    done = coordinated.project.kitty("mission", "adopt", mission.slug, "--json", "--agent", "ada")
    assert (done.exit_code, done.json["adopted"], done.json["rows"]) == (0, True, 0)


def test_ledgers_that_contradict_each_other_are_not_folded(project: Project) -> None:
    coordinated = Coordinated(project, worktree=True)
    mine, theirs = ({**annotation("WP01", {"note": text}, actor="x"), "event_id": "0" * 26} for text in ("a", "b"))
    for directory, row in ((coordinated.directory, mine), (coordinated.there, theirs)):
        with (directory / FILE).open("ab") as ledger:
            ledger.write(line(row))
    before = coordinated.project.snapshot()
    refused = coordinated.project.kitty("mission", "adopt", coordinated.mission.slug, "--json", "--agent", "ada")
    assert (refused.exit_code, refused.code) == (1, "EVENT_ID_CONFLICT")
    after = coordinated.project.snapshot()
    assert {name for name in before if after.get(name) != before[name]} == set(), "a lock may be new, and nothing else"


def test_a_branch_that_is_gone_leaves_the_canonical_copy_alone(project: Project) -> None:
    coordinated = Coordinated(project, worktree=False)
    project.git("branch", "-D", BRANCH)
    assert coordinated.lane() == "planned"
    assert project.kitty("note", "WP01", "hello").exit_code == 0


def test_a_worktree_that_somebody_removed_hides_nothing_that_was_committed(project: Project) -> None:
    coordinated = Coordinated(project, worktree=True)
    shutil.rmtree(coordinated.place)
    assert coordinated.lane() == "claimed"
    done = project.kitty("mission", "adopt", coordinated.mission.slug, "--json", "--agent", "ada")
    assert (done.exit_code, done.json["rows"]) == (0, 1)


def test_a_copy_that_cannot_be_read_is_not_taken_for_an_empty_one(project: Project) -> None:
    coordinated = Coordinated(project, worktree=True)
    (coordinated.there / FILE).unlink()
    (coordinated.there / FILE).mkdir()
    refused = project.kitty("mission", "adopt", coordinated.mission.slug, "--json", "--agent", "ada")
    assert (refused.exit_code, refused.code) == (1, "LEDGER_DAMAGED")
    assert coordinated.mission.meta["topology"] == "coord"


def test_a_link_in_the_way_leads_nothing_out_of_the_mission(coordinated: Coordinated, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (coordinated.directory / "research.md").symlink_to(outside / "stolen.md")
    refused = coordinated.project.kitty("mission", "adopt", coordinated.mission.slug, "--json", "--agent", "ada")
    assert (refused.exit_code, refused.code) == (1, "MISSION_DAMAGED")
    shutil.rmtree(outside)
