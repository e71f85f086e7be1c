"""Nothing lands that was not accepted as it is: gates on real lanes, and acceptances that somebody has made up."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kitty_host.ledger.event import ACCEPTED, new_id, now
from kitty_host.mission import Mission, select_mission
from kitty_host.repo import Repo
from kitty_host.testing import Project, Result

from .conftest import Walk

PYTEST = f"{sys.executable} -m pytest -p no:cacheprovider -p no:randomly --junitxml={{report}} proof"


@pytest.fixture
def approved(walk: Walk) -> Walk:
    """A mission with two approved packages, and a suite that its acceptance asks for."""
    walk.project.commit(
        "proof/test_it.py", "from pathlib import Path\n\ndef test_it():\n    assert Path('wp01.txt').exists()\n"
    )
    configure(walk.project)
    walk.plan()
    for wp_id in ("WP01", "WP02"):
        walk.implement(wp_id)
        walk.review(wp_id)
    return walk


def configure(project: Project, command: str = PYTEST, **settings: Any) -> None:
    """The gate of these tests; `settings` are more of the section `accept`."""
    path = project.root / ".kittify" / "config.yaml"
    told = {"gates": [{"name": "suite", "command": command}], **settings}
    path.write_text(f"{path.read_text().partition('accept: ')[0]}accept: {json.dumps(told)}\n")


def mission_of(walk: Walk) -> Mission:
    return select_mission(Repo.find(walk.project.root), walk.mission, lambda mission: True)


def land(walk: Walk) -> Result:
    return walk.project.kitty("merge", "--mission", walk.mission, "--json")


def not_accepted(walk: Walk) -> str:
    """Try to land, expect a refusal that moves nothing, and return what it says."""
    before = walk.project.git("rev-parse", "main")
    refused = land(walk)
    assert (refused.exit_code, refused.code) == (1, "MERGE_NOT_ACCEPTED"), refused
    assert walk.project.git("rev-parse", "main") == before
    return str(refused.json["message"])


def last_acceptance(walk: Walk) -> dict[str, Any]:
    rows = [row for row in mission_of(walk).ledger.rows() if row.get("event_type") == ACCEPTED]
    return dict(rows[-1])


def append(walk: Walk, payload: dict[str, Any]) -> None:
    """A row as anybody can write one: by hand, in a well-formed line at the end of the ledger."""
    mission = mission_of(walk)
    row = {**last_acceptance(walk), "payload": payload}
    row |= {"event_id": new_id(mission.ledger.snapshot().last_row_id), "timestamp": now(row["timestamp"])}
    with mission.ledger.live.open("a") as stream:
        stream.write(json.dumps(row, sort_keys=True) + "\n")


def test_what_was_accepted_lands(approved: Walk) -> None:
    said = approved.kitty("accept").json
    assert [(gate["name"], gate["tests"]) for gate in said["gates"]] == [
        ("packages-approved", None),
        ("landable", None),
        ("suite", 1),
    ]
    approved.kitty("merge")
    assert approved.project.git("show", "main:wp01.txt") == "content"


def test_nothing_lands_without_an_acceptance(approved: Walk) -> None:
    assert "it was not accepted yet" in not_accepted(approved)


@pytest.mark.parametrize("what", ["target", "lane"])
def test_what_moved_since_is_another_result(approved: Walk, what: str) -> None:
    approved.kitty("accept")
    if what == "target":
        approved.project.commit("else.txt")
    else:
        place = approved.project.kitty("lanes", "show", "--mission", approved.mission, "--json").json["lanes"][0]
        approved.kitty("reopen", "WP01", "--reason", "more", "--agent", "grace")
        where = Path(approved.kitty("implement", "WP01", "--agent", "ada").json["workspace_path"])
        approved.project.commit("wp01.txt", "more\n", where=where)
        approved.kitty("submit", "WP01", "--agent", "ada")
        approved.review("WP01")
        assert place
    assert "it is not what was accepted: target, lanes or content moved since" in not_accepted(approved)
    approved.kitty("accept")
    approved.kitty("merge")


@pytest.mark.parametrize(("path", "lands"), [("else.txt", True), ("wp01.txt", False)])
def test_a_target_that_moved_elsewhere_may_be_tolerated(approved: Walk, path: str, lands: bool) -> None:
    configure(approved.project, tolerate_target_moves=True)
    approved.kitty("accept")
    approved.project.commit(path, "content\n" if path == "wp01.txt" else "else\n")
    if lands:
        approved.kitty("merge")
        assert approved.project.git("show", "main:wp01.txt") == "content"
    else:
        assert "moved since" in not_accepted(approved)


def test_a_row_that_was_written_by_hand_accepts_nothing(approved: Walk) -> None:
    """The key is no secret: the refusal names it."""
    approved.kitty("accept")
    approved.project.commit("else.txt")
    key = land(approved).json["details"]["key"]
    append(approved, {**last_acceptance(approved)["payload"], "key": key})
    assert "kitty accept did not write its acceptance" in not_accepted(approved)


def without(name: str) -> Callable[[dict[str, Any]], None]:
    def change(payload: dict[str, Any]) -> None:
        payload["gates"] = [gate for gate in payload["gates"] if gate["name"] != name]

    return change


def suite(**fields: Any) -> Callable[[dict[str, Any]], None]:
    def change(payload: dict[str, Any]) -> None:
        next(gate for gate in payload["gates"] if gate["name"] == "suite").update(fields)

    return change


def top(**fields: Any) -> Callable[[dict[str, Any]], None]:
    return lambda payload: payload.update(fields)


FORGED: dict[str, tuple[Callable[[dict[str, Any]], None], str]] = {
    "a gate is left out": (without("suite"), "gate suite did not run"),
    "a built-in gate is left out": (without("packages-approved"), "gate packages-approved did not run"),
    "no gate": (top(gates=[]), "gate suite did not run"),
    "a gate of another command": (suite(command="true"), "gate suite is another command now"),
    "a gate that failed": (suite(ok=False), "gate suite is not ok"),
    "a gate that is ok and failed": (suite(exit_code=1), "gate suite is not ok"),
    "a gate without a test": (suite(tests=0), "gate suite counts 0 tests"),
    "a gate with a skipped test": (suite(skipped=1), "1 skipped"),
    "a gate with a failed test": (suite(failed=1), "1 failed"),
    "a gate of another commit": (suite(commit="a" * 40), "gate suite ran on aaaaaaaaaa"),
    "an exception that nobody granted": (
        suite(failed=1, exit_code=1, exceptions=["proof/test_it.py::test_it"]),
        "stands on an exception that does not hold",
    ),
    "another content": (top(tree="b" * 40), "it was accepted with another content"),
    "a text for a number": (suite(tests="many"), "not one that kitty accept wrote"),
    "an unknown field": (suite(magic=1), "not one that kitty accept wrote"),
    "no key": (lambda payload: payload.pop("key") and None, "not one that kitty accept wrote"),
    "gates that are none": (top(gates="fine"), "not one that kitty accept wrote"),
    "a plugin that was not asked": (top(asked=[]), "was accepted without the gates of"),
}


def test_an_acceptance_that_cannot_have_come_of_gates_accepts_nothing(approved: Walk) -> None:
    """Each is right but for one thing, and in a checkpoint."""
    approved.kitty("accept")
    honest = json.dumps(last_acceptance(approved)["payload"])
    mission = mission_of(approved)
    for name, (change, said) in FORGED.items():
        payload = json.loads(honest)
        change(payload)
        append(approved, payload)
        mission.ledger.checkpoint(mission.repo.git, "as if kitty had")
        assert said in not_accepted(approved), name
    approved.kitty("accept")
    approved.kitty("merge")


def test_the_acceptance_of_a_plugin_that_was_not_installed_then_does_not_count(
    approved: Walk, install_plugin: Callable[..., Path]
) -> None:
    approved.kitty("accept")
    install_plugin(
        "late", "from kitty_host.api import hookimpl\n@hookimpl\ndef kitty_gates(candidate):\n    return []\n"
    )
    assert "accepted without the gates of late" in not_accepted(approved)


def test_an_exception_is_shown_for_ever(approved: Walk) -> None:
    project = approved.project
    project.commit("proof/test_it.py", "def test_it():\n    assert 0, 'the mine is closed'\n")
    told = {"gate": "suite", "scenario": "proof/test_it.py::test_it", "assertion": "the mine is closed"}
    told |= {"environmental": "no network", "reproduce": "pytest proof", "follow_up": "#12", "operator": "olga"}
    (project.root / "why.yaml").write_text(json.dumps({**told, "expires": now()[:10]}))
    approved.kitty("accept", "--exception", str(project.root / "why.yaml"), "--agent", "olga")
    approved.kitty("merge")
    said = approved.kitty("status").json["missions"][0]["exceptions"]
    assert said == [
        {
            "gate": "suite",
            "scenario": "proof/test_it.py::test_it",
            "operator": "olga",
            "granted": now()[:10],
            "expires": now()[:10],
            "environmental": "no network",
            "follow_up": "#12",
        }
    ]
    assert "exception from suite" in project.kitty("status", "--mission", approved.mission).stdout
