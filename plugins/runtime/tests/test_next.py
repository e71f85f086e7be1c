"""Decisions: a question changes nothing, an answer moves on only when the step is done, and "unknown" is never said."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from kitty_host.ledger.emit import emit
from kitty_host.ledger.event import ACCEPTED, envelope
from kitty_host.plugins import Plugins

if TYPE_CHECKING:
    from conftest import Road

KEYS = {
    "schema", "kind", "agent", "mission_slug", "mission", "mission_state", "action", "wp_id", "workspace_path", "prompt_file", "reason",
    "guard_failures", "progress", "run_id", "step_id", "decision_id", "question", "options", "notes", "is_query", "preview_step",
}  # fmt: skip


def ask(road: Road, agent: str = "ada") -> dict[str, Any]:
    return road("next", "--agent", agent)


def answer(road: Road, result: str, agent: str = "ada", *, exit_code: int = 0) -> dict[str, Any]:
    done = road.project.kitty("next", "--agent", agent, "--result", result, "--json")
    assert done.exit_code == exit_code, done
    return done.json


def test_SC_012_a_question_about_a_fresh_mission_neither_advances_nor_says_unknown(road: Road) -> None:
    road("mission", "create", "demo")
    before = road.project.snapshot()
    for _ in range(6):
        said = ask(road)
        assert set(said) == KEYS
        assert (said["kind"], said["is_query"], said["mission_state"], said["preview_step"]) == (
            "query",
            True,
            "not_started",
            "specify",
        )
        assert said["prompt_file"] is None
    assert road.project.snapshot() == before
    assert "unknown" not in str(said)


def test_the_first_answer_only_issues_a_step(road: Road) -> None:
    road("mission", "create", "demo")
    said = answer(road, "success")
    assert (said["kind"], said["mission_state"], said["action"]) == ("step", "specify", "specify")
    assert said["run_id"] == said["step_id"]
    assert Path(said["prompt_file"]).is_file()
    assert Path(said["prompt_file"]).is_relative_to(road.root / ".git/kitty/prompts")
    assert ask(road)["prompt_file"] == said["prompt_file"]


def test_success_is_believed_only_when_the_step_is_done(road: Road) -> None:
    road("mission", "create", "demo")
    answer(road, "success")
    before = road.mission.ledger.lines()
    said = answer(road, "success", exit_code=1)
    assert (said["kind"], said["mission_state"]) == ("blocked", "specify")
    assert said["guard_failures"] == ["spec.md does not exist"]
    assert road.mission.ledger.lines() == before
    road.write("spec.md", "# S\n\n## Goal\n\ng\n\n## Requirements\n\nr\n\n## Done when\n\nd\n")
    said = answer(road, "success")
    assert (said["kind"], said["mission_state"]) == ("step", "plan")
    assert said["run_id"] != said["step_id"]


def test_a_failure_opens_a_way_back(road: Road) -> None:
    road("mission", "create", "demo")
    first = answer(road, "success")
    again = answer(road, "failed")
    assert (again["kind"], again["mission_state"]) == ("step", "specify")
    assert again["step_id"] != first["step_id"]
    assert "failed before" in again["notes"]


def test_a_reported_obstacle_is_a_blocked_decision_and_the_next_answer_goes_on(road: Road) -> None:
    road("mission", "create", "demo")
    answer(road, "success")
    said = answer(road, "blocked", exit_code=1)
    assert said["kind"] == "blocked"
    assert said["reason"]
    assert said["guard_failures"]
    assert answer(road, "success")["kind"] == "step"


def test_the_whole_road_step_by_step(road: Road) -> None:
    road.planned(("WP01",), ("WP02", "WP01"))
    said = answer(road, "success")
    assert (said["mission_state"], said["wp_id"]) == ("implement", "WP01")
    assert "kitty implement WP01 --agent ada" in Path(said["prompt_file"]).read_text()
    road.submitted("WP01")
    said = answer(road, "success", exit_code=1)
    assert said["kind"] == "blocked"
    assert any("WP01 is for_review with ada" in failure for failure in said["guard_failures"])
    said = answer(road, "success", "grace")
    assert (said["mission_state"], said["wp_id"]) == ("review", "WP01")
    road("review", "WP01", "--claim", "--agent", "grace")
    assert answer(road, "success", "grace", exit_code=1)["guard_failures"]
    road("review", "WP01", "--approve", "--agent", "grace")
    said = answer(road, "success", "grace")
    assert (said["mission_state"], said["wp_id"]) == ("implement", "WP02")
    road.approved("WP02")
    assert ask(road)["preview_step"] == "merge"


def test_where_a_plugin_has_gates_an_acceptance_comes_before_the_merge_and_again_after_a_failed_one(
    road: Road, install_plugin: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KITTY_PLUGINS", "runtime,lanes,gate")
    install_plugin(
        "gate", "from kitty_host.api import hookimpl\n\n@hookimpl\ndef kitty_gates(candidate):\n    return []\n"
    )
    road.planned()
    road.approved("WP01")
    assert ask(road)["preview_step"] == "accept"
    accepted = envelope(ACCEPTED, {"key": "x"}, aggregate_id=road.mission.mission_id)
    emit(Plugins([]), road.mission, lambda _: [accepted])
    assert answer(road, "success")["mission_state"] == "merge"
    assert answer(road, "failed")["mission_state"] == "accept"


def test_agents_are_given_different_packages(road: Road) -> None:
    road.planned(("WP01",), ("WP02",), ("WP03",))
    given = [answer(road, "success", agent)["wp_id"] for agent in ("x", "y", "z", "w")]
    assert given == ["WP01", "WP02", "WP03", "WP01"]


def test_commands_are_printed_as_they_can_be_typed(road: Road) -> None:
    road.planned()
    text = road.project.kitty("next", "--agent", "Ada L", "--mission", road.mission.slug).stdout
    assert f"kitty implement WP01 --agent 'Ada L' --mission {road.mission.slug}" in text


def test_own_work_comes_first_and_a_review_before_new_work(road: Road) -> None:
    road.planned(("WP01",), ("WP02",), ("WP03",))
    road("implement", "WP02", "--agent", "ada")
    assert ask(road)["wp_id"] == "WP02"
    road.commit("WP02")
    road("submit", "WP02", "--agent", "ada")
    assert (ask(road)["preview_step"], ask(road)["wp_id"]) == ("implement", "WP01")
    assert (ask(road, "grace")["preview_step"], ask(road, "grace")["wp_id"]) == ("review", "WP02")


def test_a_planning_artefact_is_worked_on_in_the_canonical_checkout(road: Road) -> None:
    road("mission", "create", "demo")
    road.write("spec.md", "# S\n\n## Goal\n\ng\n\n## Requirements\n\nr\n\n## Done when\n\nd\n")
    road.write("plan.md", "# P\n\n## Approach\n\na\n\n## Work packages\n\nw\n")
    road.write("tasks.md", "# T\n\n## Work packages\n\nw\n")
    road.package("WP01", mode="planning_artifact")
    road("finalize")
    said = ask(road)
    assert (said["kind"], said["workspace_path"]) == ("query", None)
    assert str(road.root) in said["notes"]


def test_nothing_to_do_says_why(road: Road) -> None:
    road.planned(("WP01",), ("WP02", "WP01"))
    road("implement", "WP01", "--agent", "ada")
    said = ask(road, "bob")
    assert said["kind"] == "blocked"
    assert said["guard_failures"] == ["WP01 is in_progress with ada", "WP02 depends on WP01, which is in_progress"]


@pytest.mark.parametrize("corruption", ["spec", "tasks", "lanes", "config"])
def test_a_corrupt_mission_is_never_unknown(road: Road, corruption: str) -> None:
    road.planned()
    place = {
        "spec": road.mission.directory / "spec.md",
        "tasks": road.mission.directory / "tasks/WP01-x.md",
        "lanes": road.mission.directory / "lanes.json",
        "config": road.root / ".kittify/config.yaml",
    }[corruption]
    place.write_bytes(b"\xff\x00{[")
    before = road.project.snapshot()
    done = road.project.kitty("next", "--json", "--agent", "ada")
    assert done.exit_code in (0, 1), done
    assert "unknown" not in done.stdout
    assert "[QUERY" not in done.stdout
    assert done.json.get("kind") in ("query", "blocked") or done.code
    assert road.project.snapshot() == before


RULES = """
from kitty_host.api import hookimpl

@hookimpl
def kitty_charter_sections(action):
    from kitty_host.records import Section
    if {broken}:
        raise RuntimeError("no rules today")
    return [Section("house", "House rules", "Tests first.")]
"""


@pytest.mark.parametrize("broken", [False, True])
def test_a_prompt_has_the_rules_or_says_that_they_are_missing(
    road: Road, install_plugin: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, broken: bool
) -> None:
    monkeypatch.setenv("KITTY_PLUGINS", "runtime,lanes,rules")
    install_plugin("rules", RULES.format(broken=broken))
    road("mission", "create", "demo")
    prompt = Path(answer(road, "success")["prompt_file"]).read_text()
    assert ("Tests first." in prompt) is not broken
    assert ("The rules of plugin rules are missing here" in prompt) is broken


def test_what_another_tool_planned_goes_on_where_it_is(road: Road) -> None:
    """Its artefacts have other headings; where work has begun, nobody is sent back to write them."""
    road.planned(("WP01",), ("WP02",))
    for name in ("spec.md", "plan.md", "tasks.md"):
        road.write(name, "# Feature Specification\n\n### User Scenarios\n\n- one\n")
    assert ask(road)["preview_step"] == "implement"
    assert answer(road, "success")["mission_state"] == "implement"
    road.package("WP03")
    assert ask(road, "bob")["preview_step"] == "tasks"
    road("implement", "WP01", "--agent", "ada")
    assert ask(road)["wp_id"] == "WP01", "what is in one's hands comes first"


def test_a_file_that_cannot_be_read_stops_nobody_who_has_other_work(road: Road) -> None:
    road.planned(("WP01",), ("WP02",))
    (road.mission.directory / "tasks/WP01-x.md").write_text("---\nowned_files: [\n")
    assert ask(road)["wp_id"] == "WP02"
    road("implement", "WP02", "--agent", "grace")
    said = ask(road)
    assert said["kind"] == "blocked"
    assert "tasks/WP01-x.md" in said["guard_failures"][0]
    assert said["guard_failures"][1:] == ["WP02 is in_progress with grace"]


def test_a_mission_without_packages_is_over_when_its_last_step_is_answered(road: Road) -> None:
    road("mission", "create", "demo", "--type", "plan")
    for name in ("spec.md", "research.md", "plan.md"):
        headings = ("Goal", "Requirements", "Done when", "Questions", "Findings", "Approach", "Work packages", "Risks")
        road.write(name, "".join(f"## {heading}\n\ntext\n\n" for heading in headings))
    assert ask(road)["preview_step"] == "review"
    assert answer(road, "success")["action"] == "answer"
    assert answer(road, "failed")["kind"] == "step", "a failure leaves it open"
    said = answer(road, "success")
    assert (said["kind"], said["reason"]) == ("terminal", "every step of the mission is done")
    assert not road.state.is_open
    assert ask(road)["kind"] == "terminal"


def test_a_mission_that_will_be_a_pull_request_asks_before_work_starts_on_its_target(road: Road) -> None:
    road.planned()
    meta = road.mission.directory / "meta.json"
    meta.write_text(meta.read_text().replace('"slug"', '"pr_bound": true, "slug"', 1))
    said = ask(road)
    assert (said["kind"], said["preview_step"]) == ("decision_required", None)
    assert "target, main" in said["question"]
    assert answer(road, "success")["kind"] == "decision_required"
    assert said["options"][0] in road.project.kitty("next", "--agent", "ada").stdout
    road.project.git("switch", "--quiet", "-c", "feature")
    assert ask(road)["kind"] == "query", "on a branch of its own nobody has to be asked"
    road.project.git("switch", "--quiet", "main")
    _, *typed = said["options"][0].split()
    road(*typed, "--agent", "ada")
    assert ask(road)["wp_id"] == "WP01"
    assert road.mission.meta["branch_strategy"]["actor"] == "ada"
