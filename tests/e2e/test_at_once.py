"""Several processes that want one thing: one has it, the others are told who and what to do; the ledger shows turns."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import pytest

from kitty_host.ledger.event import Transition
from kitty_host.mission import find_missions
from kitty_host.repo import Repo
from kitty_host.state import State
from kitty_host.testing import Project

from .conftest import Walk

ROUNDS = [pytest.param(3, id="few"), pytest.param(50, id="many", marks=pytest.mark.slow)]
LONG_ROUNDS = [pytest.param(3, id="few"), pytest.param(20, id="many", marks=pytest.mark.slow)]
"""Of seven processes each."""


class Said(dict[str, Any]):
    """The JSON of one process, and its exit code."""

    code = 0


def at_once(project: Project, commands: Sequence[Sequence[str]]) -> list[Said]:
    """Start them all, and then read what each has said."""
    running = [
        subprocess.Popen([sys.executable, "-m", "kitty_host", *one, "--json"], cwd=project.root, stdout=subprocess.PIPE)
        for one in commands
    ]
    found = []
    for process in running:
        out, _ = process.communicate(timeout=180)
        said = Said(json.loads(out))
        said.code = process.returncode
        found.append(said)
    return found


def state_of(project: Project) -> State:
    [mission] = find_missions(Repo.find(project.root))
    return State.load(mission)


def many_packages(project: Project, number: int) -> list[str]:
    """Finalized packages, each with a lane of its own."""
    names = [f"WP{one:02}" for one in range(1, number + 1)]
    project.mission(packages=[{"work_package_id": name, "owned_files": [f"{name}.txt"]} for name in names])
    assert project.kitty("finalize").exit_code == 0
    return names


def in_review(project: Project, names: Sequence[str], lane: str) -> None:
    [mission] = find_missions(Repo.find(project.root))
    for name in names:
        project.record(mission, name, "claimed", "in_progress", actor="ada", policy_metadata={"agent": "ada"})
        project.record(mission, name, "for_review", *([lane] if lane != "for_review" else []), actor="ada")


def unforced(state: State, wp_id: str, lane: str) -> int:
    rows = [row for row in state.mission.ledger.events() if isinstance(row, Transition) and row.wp_id == wp_id]
    return sum(row.to_lane == lane and not row.force for row in rows)


@pytest.mark.parametrize("rounds", ROUNDS)
def test_of_two_agents_who_claim_one_package_one_has_it(project: Project, rounds: int) -> None:
    for name in many_packages(project, rounds):
        said = at_once(project, [["implement", name, "--agent", agent] for agent in ("ada", "bob")])
        assert sorted(one.code for one in said) == [0, 1], said
        [winner] = [agent for agent, one in zip(("ada", "bob"), said, strict=True) if one.code == 0]
        [loser] = [one for one in said if one.code]
        assert loser["code"] == "TRANSITION_REFUSED"
        assert f"{winner}'s" in loser["message"]
        assert "take another one" in loser["hint"]
        state = state_of(project)
        known = state.package_state(name)
        assert known is not None
        assert (known.lane, known.agent) == ("in_progress", winner)
        assert (unforced(state, name, "claimed"), unforced(state, name, "in_progress")) == (1, 1)


@pytest.mark.parametrize("rounds", ROUNDS)
def test_of_two_reviewers_who_claim_one_review_one_has_it(project: Project, rounds: int) -> None:
    names = many_packages(project, rounds)
    in_review(project, names, "for_review")
    for name in names:
        said = at_once(project, [["review", name, "--claim", "--agent", agent] for agent in ("grace", "edsger")])
        assert sorted(one.code for one in said) == [0, 1], said
        [winner] = [agent for agent, one in zip(("grace", "edsger"), said, strict=True) if one.code == 0]
        [loser] = [one for one in said if one.code]
        assert loser["code"] == "TRANSITION_REFUSED"
        assert f"{winner} has the review" in loser["message"]
        assert "--claim --force --reason R" in loser["hint"]
        state = state_of(project)
        known = state.package_state(name)
        assert known is not None
        assert (known.lane, known.actor) == ("in_review", winner)
        assert unforced(state, name, "in_review") == 1


@pytest.mark.parametrize("rounds", LONG_ROUNDS)
def test_reviews_taken_over_at_once_are_whole_and_only_the_last_one_answers(project: Project, rounds: int) -> None:
    names = many_packages(project, rounds)
    in_review(project, names, "for_review")
    agents = ("grace", "edsger", "barbara")
    for name in names:
        assert project.kitty("review", name, "--claim", "--agent", "tony").exit_code == 0
        force = ["review", name, "--claim", "--force", "--reason", "tony is away", "--agent"]
        said = at_once(project, [[*force, agent] for agent in agents])
        assert [one.code for one in said] == [0, 0, 0], said
        state = state_of(project)
        known = state.package_state(name)
        assert known is not None
        last = known.actor
        assert last in agents
        taken = [
            row.actor for row in state.mission.ledger.events() if isinstance(row, Transition) and row.wp_id == name
        ]
        assert sorted(map(str, taken[-3:])) == sorted(agents)
        assert taken[-1] == last
        answers = at_once(project, [["review", name, "--reject", "--reason", "no", "--agent", one] for one in agents])
        assert [one.code == 0 for one in answers] == [one == last for one in agents], answers


def test_of_an_approval_and_a_takeover_at_once_either_is_first_and_the_other_is_refused(walk: Walk) -> None:
    walk.plan()
    walk.implement("WP01")
    walk.kitty("review", "WP01", "--claim", "--agent", "grace")
    approve = ["review", "WP01", "--approve", "--agent", "grace"]
    take = ["review", "WP01", "--claim", "--force", "--reason", "she is away", "--agent", "edsger"]
    said = at_once(walk.project, [approve, take])
    assert sorted(one.code for one in said) == [0, 1], said
    assert [one["code"] for one in said if one.code] == ["TRANSITION_REFUSED"]
    lane = state_of(walk.project).lane("WP01")
    assert lane == ("approved" if said[0].code == 0 else "in_review")
