"""Every command that changes a lane, from every lane there is: where it leads, and where it refuses and writes nothing."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from kitty_host.mission import Mission, find_missions
from kitty_host.repo import Repo
from kitty_host.state import State
from kitty_host.testing import Project

LANES = ("planned", "claimed", "in_progress", "for_review", "in_review", "approved", "done", "blocked", "canceled")
SOURCES = ("genesis", *LANES)
# What `kitty move` may do without force: no way that has a command of its own, or asks for what a review says.
MOVES = {
    "genesis": ("planned", "canceled"),
    "planned": ("blocked", "canceled"),
    "claimed": ("blocked", "canceled"),
    "in_progress": ("planned", "blocked", "canceled"),
    "for_review": ("blocked", "canceled"),
    "in_review": (),
    "approved": ("blocked", "canceled"),
    "done": (),
    "blocked": ("canceled",),
    "canceled": (),
}
# Where the road's own commands lead; from every other lane they refuse. The package is ada's, its review grace's.
COMMANDS: dict[tuple[str, ...], dict[str, str]] = {
    ("implement", "--agent", "ada"): dict.fromkeys(("planned", "claimed", "in_progress", "blocked"), "in_progress"),
    ("implement", "--agent", "bob"): dict.fromkeys(("planned", "blocked"), "in_progress"),
    ("submit", "--agent", "ada", "--no-changes", "R"): {"in_progress": "for_review"},
    ("submit", "--agent", "ada"): {},
    ("review", "--claim", "--agent", "grace"): dict.fromkeys(("for_review", "in_review"), "in_review"),
    ("review", "--claim", "--agent", "tony"): {"for_review": "in_review"},
    ("review", "--claim", "--agent", "ada"): {},
    ("review", "--claim", "--force", "--reason", "R", "--agent", "tony"): {
        "for_review": "in_review",
        "in_review": "in_review",
    },
    ("review", "--reject", "--reason", "R", "--agent", "grace"): {"in_review": "in_progress"},
    ("review", "--reject", "--reason", "R", "--agent", "tony"): {},
    ("review", "--approve", "--agent", "grace"): {"in_review": "approved"},
    ("review", "--approve", "--agent", "tony"): {},
    ("cancel", "--reason", "R"): dict.fromkeys(
        ("genesis", "planned", "claimed", "in_progress", "for_review", "approved", "blocked"), "canceled"
    ),
    ("reopen", "--reason", "R"): dict.fromkeys(("approved", "done", "canceled"), "in_progress"),
}
Try = Callable[..., str]


@pytest.fixture
def attempt(project: Project) -> Try:
    """Runs a command on a package in a lane, and gives the lane it is in then."""
    number = 60
    names = [f"WP{one:03}" for one in range(number)]
    project.mission(packages=[{"work_package_id": name, "owned_files": [f"{name}.txt"]} for name in names])
    assert project.kitty("finalize").exit_code == 0
    waiting = iter(names)

    def mission() -> Mission:
        [found] = find_missions(Repo.find(project.root))
        return found

    def run(source: str, command: str, *options: str) -> str:
        wp_id = next(waiting)
        bring(project, mission(), wp_id, source)
        before = mission().ledger.lines()
        done = project.kitty(command, wp_id, *options, "--json")
        lane = State.load(mission()).lane(wp_id)
        if done.exit_code:
            assert done.code == "TRANSITION_REFUSED", (source, command, options, done)
            assert done.json["hint"]
            assert mission().ledger.lines() == before, "a refusal writes nothing"
            assert lane == source
        else:
            assert done.json["lane"] == lane, (source, command, options)
        return lane if done.exit_code == 0 else "refused"

    return run


def bring(project: Project, mission: Mission, wp_id: str, lane: str) -> None:
    """Into a lane, as ada's, with grace as the reviewer. Finalizing has opened it already."""
    if lane == "genesis":
        mission.ledger.live.write_bytes(
            b"".join(line + b"\n" for line in mission.ledger.lines() if f'"wp_id": "{wp_id}"'.encode() not in line)
        )
        mission.ledger.twin.unlink(missing_ok=True)
        return
    if lane == "planned":
        return
    if lane == "in_progress":
        assert project.kitty("implement", wp_id, "--agent", "ada").exit_code == 0
        return
    if lane not in ("blocked", "canceled"):
        project.record(mission, wp_id, "claimed", actor="ada", policy_metadata={"agent": "ada"})
    if lane in ("in_review", "for_review", "approved", "done"):
        told = {"agent": "ada", "evidence": {"head": "", "commits": 0, "no_changes": "R"}}
        project.record(mission, wp_id, "for_review", actor="ada", policy_metadata=told)
    if lane not in ("claimed", "for_review"):
        project.record(mission, wp_id, lane, actor="grace" if lane == "in_review" else "ada")


@pytest.mark.parametrize("source", SOURCES)
def test_moving_leads_where_there_is_a_way_and_anywhere_by_force(source: str, attempt: Try) -> None:
    for target in LANES:
        way = target if target in MOVES[source] else "refused"
        assert attempt(source, "move", target, "--reason", "R", "--agent", "ada") == way, target
        assert attempt(source, "move", target, "--force", "--agent", "ada") == "refused", target
        assert attempt(source, "move", target, "--force", "--reason", "R", "--agent", "ada") == target
    assert attempt("in_progress", "move", "planned", "--agent", "ada") == "refused", "that needs a reason"


@pytest.mark.parametrize("source", SOURCES)
def test_a_command_of_the_road_leads_where_the_road_does(source: str, attempt: Try) -> None:
    for command, ways in COMMANDS.items():
        assert attempt(source, *command) == ways.get(source, "refused"), command


# What is printed can be typed where there are two missions


def test_with_two_open_missions_what_is_printed_names_the_one_and_status_shows_both(project: Project) -> None:
    first = project.kitty("mission", "create", "one", "--json").json["slug"]
    assert project.kitty("status", "--json").json["missions"][0]["slug"] == first
    said = project.kitty("mission", "create", "two").stdout
    [second] = [path.name for path in (project.root / "kitty-specs").iterdir() if path.name.startswith("two")]
    assert f"Next: kitty specify --mission {second}\n" in said
    assert f"kitty specify --mission {second}" in project.kitty("specify", "--mission", "two").stdout
    assert {row["slug"] for row in project.kitty("status", "--json").json["missions"]} == {first, second}
    shown = project.kitty("status").stdout
    assert first in shown
    assert second in shown
    assert project.kitty("next", "--json").code == "MISSION_REQUIRED", "only one can be worked on"
