"""Broken plugins beside those that ship with kitty: what is to be seen of them from outside, and that the rest goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from kitty_host.testing import Project, Result

if TYPE_CHECKING:
    from conftest import Walk


HOOK = "from kitty_host.api import Command, Finding, hookimpl\n@hookimpl\n"
HANGS = "    import time\n    time.sleep(3600)\n"

BROKEN = {
    "import-error": "import no_such_module\n",
    "exit": "raise SystemExit(0)\n",
    "misspelt": HOOK + "def kitty_comands():\n    return []\n",
    "argument": HOOK + "def kitty_doctor(repository):\n    return []\n",
    "lost": HOOK + "def kitty_commands():\n    return [Command('lost', 'no_such_module:lost', 'Lost.')]\n",
    "thief": HOOK + "def kitty_commands():\n    return [Command('status', 'no_such_module:status', 'Mine.')]\n",
}

Install = Callable[..., Path]


@pytest.fixture
def ready(project: Project) -> Project:
    """A mission with one planned work package, and little time for plugins."""
    place = project.root / ".kittify" / "config.yaml"
    place.write_text(f"{place.read_text()}plugins:\n  timeout_seconds: 0.3\n")
    mission = project.mission("search", packages=[{"work_package_id": "WP01"}])
    project.record(mission, "WP01", "planned")
    return project


def rows(project: Project) -> int:
    [ledger] = project.root.glob("kitty-specs/*/status.events.jsonl")
    return len(ledger.read_bytes().splitlines())


def one_object(result: Result) -> Result:
    """Standard output is one JSON object and nothing else."""
    assert result.stdout.count("\n") == 1, result
    assert result.json["schema"]
    return result


def test_six_broken_plugins_stop_nobody_and_are_named_each(ready: Project, install_plugin: Install) -> None:
    for name, source in BROKEN.items():
        install_plugin(name, source)
    status = one_object(ready.process("status", "--json"))
    assert status.exit_code == 0
    assert [mission["title"] for mission in status.json["missions"]] == ["search"]
    doctor = one_object(ready.process("plugins", "doctor", "--json"))
    assert doctor.exit_code == 1
    assert {fault["distribution"] for fault in doctor.json["faults"]} == {f"kitty-{name}" for name in BROKEN}
    told = ready.process("plugins", "doctor")
    assert told.exit_code == 1
    assert all(f"fault: kitty-{name}: " in told.stdout for name in BROKEN)
    assert ready.process("plugins", "list").exit_code == 0
    assert ready.process("--help").exit_code == 0


def test_without_them_the_doctor_is_content(ready: Project) -> None:
    doctor = ready.process("plugins", "doctor", "--json")
    assert (doctor.exit_code, doctor.json["faults"]) == (0, [])
    assert [finding for finding in doctor.json["findings"] if finding["code"] == "PLUGIN_INTERFACE"] == []


def test_a_manifest_that_hangs_is_a_fault_after_the_limit(ready: Project, install_plugin: Install) -> None:
    install_plugin("hanging", "import time\ntime.sleep(3600)\n")
    limit = {"KITTY_PLUGIN_TIMEOUT": "2"}
    assert one_object(ready.process("status", "--json", environment=limit)).exit_code == 0
    [fault] = ready.process("plugins", "doctor", "--json", environment=limit).json["faults"]
    assert "import of plugin_kitty_hanging failed: TooLong" in fault["message"]


def test_commands_that_hang_are_missing_and_the_others_live(ready: Project, install_plugin: Install) -> None:
    install_plugin("hanging", HOOK + "def kitty_commands():\n" + HANGS)
    limit = {"KITTY_PLUGIN_TIMEOUT": "2"}
    assert one_object(ready.process("status", "--json", environment=limit)).exit_code == 0
    [fault] = ready.process("plugins", "doctor", "--json", environment=limit).json["faults"]
    assert "kitty_commands failed: TooLong" in fault["message"]


def test_a_limit_of_the_environment_that_is_none_is_a_refusal(ready: Project) -> None:
    result = one_object(ready.process("status", "--json", environment={"KITTY_PLUGIN_TIMEOUT": "soon"}))
    assert (result.exit_code, result.code) == (1, "CONFIG_INVALID")


def test_a_check_that_hangs_refuses_the_transition(ready: Project, install_plugin: Install) -> None:
    install_plugin("guard", HOOK + "def kitty_emit_check(transition, state):\n" + HANGS)
    before = rows(ready)
    result = one_object(ready.kitty("move", "WP01", "blocked", "--reason", "x", "--agent", "ada", "--json"))
    assert (result.exit_code, result.code) == (1, "PLUGIN_CHECK_FAILED")
    assert "plugin guard failed: TooLong: no answer within 0.3 s" in result.json["message"]
    assert rows(ready) == before


@pytest.mark.parametrize("body", [HANGS, "    raise SystemExit(7)\n", "    print('x' * 1_000_000)\n"])
def test_an_observer_that_fails_changes_nothing_and_is_noted(
    ready: Project, install_plugin: Install, body: str
) -> None:
    install_plugin("watcher", HOOK + "def kitty_emitted(event, mission):\n" + body)
    before = rows(ready)
    result = one_object(ready.kitty("note", "WP01", "remember", "--json"))
    assert result.exit_code == 0, result
    assert rows(ready) == before + 1
    assert "plugin watcher: kitty_emitted failed: " in result.stderr


def test_a_limit_of_the_repository_that_is_none_does_not_hide_what_was_recorded(
    ready: Project, install_plugin: Install
) -> None:
    ready.write(".kittify/config.yaml", "plugins:\n  timeout_seconds: soon\n")
    install_plugin("watcher", HOOK + "def kitty_emitted(event, mission):\n    pass\n")
    before = rows(ready)
    result = one_object(ready.kitty("note", "WP01", "remember", "--json"))
    assert (result.exit_code, rows(ready)) == (0, before + 1)
    assert "CONFIG_INVALID: " in result.stderr
    assert ready.kitty("status").exit_code == 0


def test_mission_types_that_hang_are_named_and_the_others_load(ready: Project, install_plugin: Install) -> None:
    install_plugin("spikes", HOOK + "def kitty_mission_types():\n" + HANGS)
    types = one_object(ready.kitty("mission", "types", "--json"))
    assert [one["key"] for one in types.json["types"]] == ["documentation", "plan", "research", "software-dev"]
    assert "plugin spikes: kitty_mission_types failed: TooLong: no answer within 0.3 s" in types.stderr
    refused = one_object(ready.kitty("mission", "create", "x", "--type", "spike", "--target", "main", "--json"))
    assert refused.code == "MISSION_TYPE_NOT_FOUND"
    assert "plugin spikes: kitty_mission_types failed: TooLong" in refused.stderr


def test_outside_of_repositories_plugins_are_asked_too(isolated: Path, project: Project) -> None:
    assert one_object(project.process("mission", "types", "--json", where=isolated)).exit_code == 0


def test_rules_that_hang_leave_a_note_where_they_would_stand(ready: Project, install_plugin: Install) -> None:
    install_plugin("rules", HOOK + "def kitty_charter_sections(action):\n" + HANGS)
    result = one_object(ready.kitty("charter", "context", "--action", "implement", "--json"))
    assert result.exit_code == 0
    assert "The rules of plugin rules are missing here: TooLong" in result.json["text"]


def test_a_brief_whose_check_hangs_is_not_taken_in(ready: Project, install_plugin: Install) -> None:
    install_plugin("reader", HOOK + "def kitty_intake_check(brief):\n" + HANGS)
    plan = ready.write("plan.md", "# Plan\n\nDo it.\n")
    result = one_object(ready.kitty("intake", str(plan), "--json"))
    assert (result.exit_code, result.code) == (1, "PLUGIN_CHECK_FAILED")
    assert not (ready.root / ".kittify" / "mission-brief.md").exists()


def test_a_gate_that_hangs_is_red_and_an_observer_of_the_landing_is_only_noted(
    walk: Walk, install_plugin: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    walk.plan()
    for wp_id in ("WP01", "WP02"):
        walk.implement(wp_id)
        walk.review(wp_id)
    monkeypatch.setenv("KITTY_PLUGIN_TIMEOUT", "2")
    install_plugin("gatekeeper", HOOK + "def kitty_gates(candidate):\n" + HANGS)
    refused = one_object(walk.project.kitty("accept", "--mission", walk.mission, "--json"))
    assert (refused.exit_code, refused.code) == (1, "GATE_FAILED")
    assert "plugin gatekeeper failed: TooLong" in refused.stdout
    monkeypatch.setenv("KITTY_PLUGINS", "merge,runtime,charter,watcher")
    walk.kitty("accept")
    install_plugin("watcher", HOOK + "def kitty_merged(landing):\n" + HANGS)
    landed = one_object(walk.kitty("merge"))
    assert "plugin watcher: kitty_merged failed: TooLong" in landed.stderr
    assert walk.project.git("show", "main:wp01.txt") == "content"


def test_a_look_round_that_hangs_is_noted_beside_what_others_found(ready: Project, install_plugin: Install) -> None:
    install_plugin("looker", HOOK + "def kitty_doctor(repo):\n" + HANGS)
    install_plugin("finder", HOOK + "def kitty_doctor(repo):\n    return [Finding('FOUND', 'x', 'y')]\n")
    ready.write(".kittify/config.yaml", "plugins:\n  timeout_seconds: 3\n")
    result = one_object(ready.kitty("doctor", "--json"))
    assert result.exit_code == 0
    found = {finding["code"]: finding["message"] for finding in result.json["findings"]}
    assert "kitty-looker: kitty_doctor failed: TooLong" in found["PLUGIN_FAULT"]
    assert "FOUND" in found


def test_what_a_hook_and_its_children_print_is_not_on_standard_output(ready: Project, install_plugin: Install) -> None:
    body = "    import os\n    print('printed')\n    os.system('echo echoed')\n    return []\n"
    install_plugin("talker", "print('imported')\n" + HOOK + "def kitty_mission_types():\n" + body)
    result = one_object(ready.process("mission", "types", "--json", environment={"KITTY_PLUGIN_TIMEOUT": "60"}))
    assert result.exit_code == 0
    assert sorted(result.stderr.splitlines()) == ["echoed", "imported", "printed"]


def test_the_one_answer_prints_aside_and_not_without_end(ready: Project, install_plugin: Install) -> None:
    install_plugin("lister", HOOK + "def kitty_next(state):\n    print('thinking')\n")
    result = one_object(ready.kitty("next", "--agent", "ada", "--json"))
    assert (result.exit_code, result.stderr.splitlines()[0]) == (0, "thinking")
    install_plugin("flood", HOOK + "def kitty_next(state):\n    print('x' * 1_000_000)\n")
    result = one_object(ready.kitty("next", "--agent", "ada", "--json"))
    assert (result.exit_code, result.json["details"]["plugin"]) == (3, "flood")


def test_the_one_answer_that_hangs_is_left_by_an_interruption(ready: Project, install_plugin: Install) -> None:
    install_plugin("thinker", HOOK + "def kitty_next(state):\n    print('thinking', flush=True)\n" + HANGS)
    process = subprocess.Popen(
        [sys.executable, "-m", "kitty_host", "next", "--agent", "ada"],
        cwd=ready.root,
        env=os.environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        # Whoever runs these tests in the background has interrupts ignored, and children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    with process:
        assert process.stderr is not None
        assert process.stderr.readline() == b"thinking\n"
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=30)
    assert process.returncode == 130
    assert b"INTERRUPTED: " in told
