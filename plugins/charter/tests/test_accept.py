"""An acceptance is recorded for exactly one candidate, and only when every gate is green."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kitty_host.ledger.event import ACCEPTED
from kitty_host.state import State
from kitty_host.testing import Project, Result

PACKAGES = [{"work_package_id": "WP01", "title": "One"}, {"work_package_id": "WP02", "title": "Two"}]

# A candidate whose merged result is simply what `main` holds; its key moves with it.
STUB = """
from kitty_host.api import hookimpl

@hookimpl
def kitty_candidate(mission):
    from kitty_host.records import Candidate
    git = mission.repo.git
    tip = git.out("rev-parse", "refs/heads/main")
    tree = git.out("rev-parse", tip + "^{tree}")
    return Candidate(mission, "key-of-" + tip, "refs/heads/main", tip, tip, tip, tree, (("lane-a", tip),))
"""

GATE = """
from kitty_host.api import hookimpl

@hookimpl
def kitty_gates(candidate):
    from kitty_host.records import Gate
    {body}
"""


@pytest.fixture
def mission(project: Project, install_plugin: Callable[..., Path]) -> Any:
    """A mission whose two work packages are approved."""
    install_plugin("stub", STUB)
    made = project.mission(packages=PACKAGES)
    for wp_id in ("WP01", "WP02"):
        project.record(made, wp_id, "approved")
    return made


def acceptances(mission: Any) -> list[dict[str, Any]]:
    """The payloads of the acceptances in the ledger."""
    return [row["payload"] for row in mission.ledger.rows() if row.get("event_type") == ACCEPTED]


def gate(result: Result, name: str) -> dict[str, Any]:
    """One gate of an answer, green or red."""
    gates = result.json["gates"] if result.exit_code == 0 else result.json["details"]["gates"]
    return next(one for one in gates if one["name"] == name)


def refused(project: Project, name: str) -> str:
    """Accept, expect that one gate is red, and return its reason."""
    answer = project.kitty("accept", "--json")
    assert (answer.exit_code, answer.code) == (1, "GATE_FAILED"), answer
    assert not gate(answer, name)["ok"]
    return str(gate(answer, name)["reason"])


def test_green_gates_are_recorded_with_the_key_of_the_candidate(project: Project, mission: Any) -> None:
    tip = project.git("rev-parse", "main")
    answer = project.kitty("accept", "--agent", "renata", "--json")
    assert answer.exit_code == 0, answer
    assert answer.json["schema"] == "kitty.accept/1"
    assert answer.json["key"] == f"key-of-{tip}"
    assert answer.json["candidate"] == {
        "target": "refs/heads/main",
        "old": tip,
        "tip": tip,
        "heads": [{"lane_id": "lane-a", "head": tip}],
    }
    assert gate(answer, "packages-approved") == {
        "name": "packages-approved",
        "ok": True,
        "command": "",
        "exit_code": None,
        "tests": None,
        "commit": tip,
        "reason": "",
        "failed": None,
        "skipped": None,
        "seconds": None,
        "exceptions": [],
    }
    [payload] = acceptances(mission)
    assert payload == {
        "key": f"key-of-{tip}",
        "gates": answer.json["gates"],
        "asked": ["charter"],
        "actor": "renata",
        "old": tip,
        "tip": tip,
        "tree": project.git("rev-parse", "main^{tree}"),
        "heads": [["lane-a", tip]],
        "mission_slug": mission.slug,
    }
    [row] = [row for row in mission.ledger.rows() if row.get("event_type") == ACCEPTED]
    assert row["aggregate_id"] == mission.mission_id


def test_an_acceptance_is_in_the_checkpoint(project: Project, mission: Any) -> None:
    project.kitty("accept")
    checkpoint = project.git("cat-file", "blob", f"{mission.ledger.ref}:status.events.jsonl")
    assert checkpoint == mission.ledger.live.read_text().strip()


def test_a_second_acceptance_of_the_same_result_writes_nothing(project: Project, mission: Any) -> None:
    assert project.kitty("accept").exit_code == 0
    before = project.snapshot()
    again = project.kitty("accept")
    assert again.exit_code == 0
    assert "already" in again.stdout
    assert project.snapshot() == before


def test_a_run_that_died_before_its_checkpoint_is_finished_by_the_next(project: Project, mission: Any) -> None:
    project.kitty("accept")
    project.git("update-ref", "-d", mission.ledger.ref)
    assert not project.kitty("accept", "--json").json["recorded"]
    assert project.git("cat-file", "blob", f"{mission.ledger.ref}:status.events.jsonl")
    assert len(acceptances(mission)) == 1


def test_a_candidate_that_moved_needs_a_new_acceptance(project: Project, mission: Any) -> None:
    project.kitty("accept")
    project.commit("more.txt")
    project.kitty("accept")
    assert len({payload["key"] for payload in acceptances(mission)}) == len(acceptances(mission)) == 2


def test_people_see_a_line_for_each_gate_and_the_next_command(project: Project, mission: Any) -> None:
    printed = project.kitty("accept").stdout
    assert "ok   packages-approved" in printed
    assert f"next: kitty merge --mission {mission.slug}" in printed


@pytest.mark.parametrize("lane", ["planned", "in_progress", "for_review", "in_review", "blocked"])
def test_a_work_package_that_is_not_settled_is_a_red_gate(project: Project, mission: Any, lane: str) -> None:
    project.record(mission, "WP02", lane)
    before = project.snapshot()
    assert refused(project, "packages-approved") == f"WP02 is {lane}"
    assert project.snapshot() == before


def test_a_work_package_that_no_row_speaks_of_is_not_approved(project: Project, mission: Any) -> None:
    (mission.directory / "tasks" / "WP03-late.md").write_text("---\nwork_package_id: WP03\n---\n")
    assert refused(project, "packages-approved") == "WP03 is planned"


def test_done_and_canceled_count_as_settled(project: Project, mission: Any) -> None:
    project.record(mission, "WP01", "done")
    project.record(mission, "WP02", "canceled")
    assert project.kitty("accept", "--mission", mission.slug).exit_code == 0


def test_a_mission_without_work_packages_is_not_accepted(project: Project, install_plugin: Callable[..., Path]) -> None:
    install_plugin("stub", STUB)
    project.mission()
    assert refused(project, "packages-approved") == "the mission has no work package"


def test_red_gates_are_shown_to_people_too(project: Project, mission: Any) -> None:
    project.record(mission, "WP01", "in_progress")
    answer = project.kitty("accept")
    assert answer.exit_code == 1
    assert "RED  packages-approved: WP01 is in_progress" in answer.stderr
    assert "GATE_FAILED: 1 of 1 gates failed: packages-approved" in answer.stderr


@pytest.mark.parametrize(
    ("body", "name", "reason"),
    [
        ("raise RuntimeError('broken')", "gate", "plugin gate failed: RuntimeError: broken"),
        ("yield Gate('half', True); raise OSError('gone')", "gate", "plugin gate failed: OSError: gone"),
        ("return ['fine']", "gate", "plugin gate answered with a str, which is no gate"),
        ("return [Gate('suite', False, 'two failed')]", "suite", "two failed"),
        ("return [Gate('suite', False)]", "suite", "it failed and gave no reason"),
        ("return [Gate('suite', 'no')]", "suite", "it failed and gave no reason"),
        ("return [Gate('suite', True, tests=0)]", "suite", "no test was collected"),
        ("return [Gate('suite', True, exit_code=1, tests=9)]", "suite", "exit code 1"),
        ("return [Gate('suite', True, tests=9, skipped=1)]", "suite", "0 failed and 1 skipped of 9 tests"),
        ("return [Gate('suite', True, tests=9, failed=2)]", "suite", "2 failed and 0 skipped of 9 tests"),
        ("return [Gate('suite', True, commit='a' * 40)]", "suite", "it ran on aaaaaaaaaa"),
        ("return [Gate('suite', True, exceptions=('x',))]", "suite", "exceptions are granted by kitty accept alone"),
    ],
)
def test_a_strange_gate_fails_closed(
    project: Project, mission: Any, install_plugin: Callable[..., Path], body: str, name: str, reason: str
) -> None:
    install_plugin("gate", GATE.format(body=body))
    assert refused(project, name).startswith(reason)
    assert acceptances(mission) == []


def test_a_gate_that_leaves_the_process_is_red(
    project: Project, mission: Any, install_plugin: Callable[..., Path]
) -> None:
    install_plugin("gate", GATE.format(body="raise SystemExit(0)"))
    assert refused(project, "gate").startswith("plugin gate failed")


def test_a_green_gate_of_a_stranger_is_recorded_as_it_was_measured(
    project: Project, mission: Any, install_plugin: Callable[..., Path]
) -> None:
    install_plugin(
        "gate",
        GATE.format(body="return [Gate('suite', True, command='pytest', exit_code=0, tests=7, commit=candidate.tip)]"),
    )
    answer = project.kitty("accept", "--json")
    assert gate(answer, "suite") | {"ok": True} == gate(answer, "suite")
    assert [payload["gates"] for payload in acceptances(mission)] == [answer.json["gates"]]
    assert gate(answer, "suite")["tests"] == 7


def test_no_gate_at_all_accepts_nothing(
    project: Project, mission: Any, install_plugin: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    install_plugin(
        "stranger",
        "from kitty_host.api import Command, hookimpl\n"
        "@hookimpl\n"
        "def kitty_commands():\n"
        "    return [Command('accept', 'kitty_charter.accept:accept', 'Accept without the gates of charter.')]\n",
    )
    monkeypatch.setenv("KITTY_PLUGINS", "stub,stranger")
    answer = project.kitty("accept", "--json")
    assert (answer.exit_code, answer.code) == (1, "GATE_FAILED")
    assert acceptances(mission) == []


def test_without_a_plugin_that_builds_candidates_it_names_what_is_missing(project: Project) -> None:
    project.mission(packages=PACKAGES)
    assert project.kitty("accept", "--json").code == "PLUGIN_MISSING"


def test_the_mission_stays_open_when_it_is_accepted(project: Project, mission: Any) -> None:
    project.kitty("accept")
    assert State.load(mission).is_open


def test_what_would_stop_the_landing_is_a_red_gate(
    project: Project, mission: Any, install_plugin: Callable[..., Path]
) -> None:
    body = 'return [Finding("MERGE_HEAD_MOVED", "lane-a moved", "submit it again")]'
    install_plugin(
        "gate",
        f"from kitty_host.api import Finding, hookimpl\n\n@hookimpl\ndef kitty_merge_check(candidate):\n    {body}\n",
    )
    done = project.kitty("accept", "--json")
    assert done.code == "GATE_FAILED"
    assert gate(done, "landable")["reason"] == "MERGE_HEAD_MOVED: lane-a moved; submit it again"
    assert acceptances(mission) == []
