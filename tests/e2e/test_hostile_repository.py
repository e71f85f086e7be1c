"""A repository that somebody made to be cloned: whatever is written in its records, what kitty prints of it does nothing."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import html5lib
import pytest
from markdown_it import MarkdownIt

from kitty_host.ledger.emit import emit
from kitty_host.ledger.event import annotation
from kitty_host.mission import Mission
from kitty_host.plugins import Plugins
from kitty_host.testing import Project

EVIL = "x --><b>BOLD</b>--!>\n# HEADING\r\n- `\x1b]0;TITLE\x07\x9b2J\u202eREVERSED\u2028NEXT\u200b[a](b)"
HEADINGS = ("Goal", "Requirements", "Done when", "Approach", "Work packages")
WITHOUT_A_SHAPE = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}


@pytest.fixture
def mission(project: Project) -> Mission:
    """A mission in which everything that is free text is hostile, and so is what should be no free text."""
    packages = [
        {
            "work_package_id": "WP01",
            "title": EVIL,
            "dependencies": [],
            "owned_files": [f"src/{EVIL}/**"],
            "subtasks": [EVIL],
        },
        {"work_package_id": "WP02", "title": EVIL, "owned_files": ["a/**", f"b{EVIL}"], "execution_mode": EVIL},
        {"work_package_id": "WP03", "title": EVIL, "owned_files": ["kitty-specs/x"], "execution_mode": "planning_artifact"},
    ]  # fmt: skip
    made: Mission = project.mission(packages=packages, friendly_name=EVIL, mission_type=EVIL)
    project.record(made, "WP02", "planned", "claimed", "in_progress", actor=EVIL)
    emit(Plugins([]), made.refresh(), lambda _: [annotation("WP02", {"note": EVIL}, actor=EVIL)])
    return made.refresh()


def harmless(text: str) -> None:
    """No line of it came from outside, no character has no shape, and no parser finds an element in it."""
    assert [one for one in text if one != "\n" and unicodedata.category(one) in WITHOUT_A_SHAPE] == []
    assert not any(
        line.lstrip().startswith(("# HEADING", "HEADING", "NEXT", "- `%1B", "- `\\u")) for line in text.split("\n")
    ), text
    for page in (text, MarkdownIt("commonmark").render(text)):
        tree = html5lib.parse(page, namespaceHTMLElements=False)
        assert not [
            one for one in tree.iter() if one.tag == "b" or (one.tag == "h1" and (one.text or "").startswith("HEADING"))
        ]


COMMANDS = (
    ["mission", "list"],
    ["mission", "show"],
    ["status"],
    ["status", "--all"],
    ["next"],
    ["finalize", "--check"],
    ["finalize"],
    ["tasks"],
    ["implement", "WP01", "--agent", EVIL],
    ["implement", "WP02", "--agent", "ada"],
    ["implement", EVIL, "--agent", "ada"],
    ["submit", "WP02", "--agent", "ada"],
    ["review", "WP02", "--claim", "--agent", EVIL],
    ["note", "WP02", EVIL],
    ["mark-status", EVIL, "--status", "done"],
    ["effort", "WP02", "--seconds", "1", "--agent", EVIL],
    ["effort", EVIL, "--seconds", "1"],
    ["effort", "WP02", "--cost", EVIL],
    ["ledger", "show"],
    ["ledger", "verify"],
    ["accept"],
    ["merge", "--preview"],
    ["merge"],
    ["lanes", "status"],
    ["doctor"],
    ["charter", "context", "--action", EVIL],
    ["status", "--mission", EVIL],
    ["mission", "create", EVIL],
    ["mission", "create", "x", "--target", EVIL],
    ["mission", "create", "x", "--type", EVIL],
    ["intake", EVIL],
    ["intake", "--from-outside", EVIL],
)


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: " ".join(command).replace(EVIL, "EVIL"))
def test_what_is_printed_of_a_hostile_repository_does_nothing(
    project: Project, mission: Mission, command: list[str]
) -> None:
    done = project.kitty(*command)
    assert done.exit_code in (0, 1, 2), done
    assert done.stdout + done.stderr
    harmless(done.stdout)
    harmless(done.stderr)


LEDGER = (
    ["status"], ["next"], ["next", "--result", "blocked", "--agent", EVIL], ["next", "--agent", EVIL], ["ledger", "show"],
    ["ledger", "verify"], ["ledger", "repair"], ["doctor"], ["accept"], ["finalize"], ["tasks"], ["mission", "list"], ["status", "--all"],
)  # fmt: skip
ODD = ("wp_id", "event_id", "at", "to_lane", "from_lane", "event_type", "actor", "evidence", "mission_slug", EVIL)


@pytest.mark.parametrize(
    "key",
    [*ODD[:2], *(pytest.param(key, marks=pytest.mark.slow) for key in ODD[2:])],
    ids=lambda key: key.replace(EVIL, "EVIL"),
)
def test_rows_that_somebody_wrote_into_a_ledger_do_nothing(project: Project, key: str) -> None:
    package = {"work_package_id": "WP01", "title": "x", "owned_files": ["x"]}
    made: Mission = project.mission(packages=[package])
    project.record(made, "WP01", "planned")
    live = made.ledger.live
    row = json.loads(live.read_bytes().splitlines()[-1])
    with live.open("ab") as stream:
        stream.write(json.dumps({**row, "event_id": row["event_id"][:-1] + "0", key: EVIL}).encode() + b"\n")
        stream.write(
            json.dumps({"event_type": EVIL, "event_id": EVIL, "at": row["at"], "payload": {EVIL: EVIL}}).encode()
            + b"\n"
        )
    for command in LEDGER:
        done = project.kitty(*command)
        assert done.exit_code in (0, 1), done
        harmless(done.stdout)
        harmless(done.stderr)


def test_a_prompt_for_an_agent_does_nothing_either(project: Project, mission: Mission) -> None:
    for wp_id, mode in (("WP01", "code_change"), ("WP03", "planning_artifact")):
        owned = [f"src/{EVIL}/**"]
        one = project.mission(
            wp_id.lower(),
            packages=[{"work_package_id": wp_id, "title": EVIL, "owned_files": owned, "execution_mode": mode}],
        )
        for artefact in ("spec.md", "plan.md", "tasks.md"):
            (one.directory / artefact).write_text("# A\n\n" + "".join(f"## {one}\n\na\n\n" for one in HEADINGS))
        for phase in ("specify", "plan", "tasks", "finalize"):
            done = project.kitty(phase, "--mission", one.slug, "--agent", "ada")
            assert done.exit_code == 0, done
        done = project.kitty("next", "--result", "success", "--agent", "ada", "--mission", one.slug, "--json")
        prompt = Path(done.json["prompt_file"]).read_text()
        assert "It may change: `src/x --%3E%3Cb%3EBOLD%3C/b%3E" in prompt
        harmless(prompt)
        harmless(str(done.json["notes"]))


def renamed(mission: Mission) -> None:
    mission.directory.rename(mission.directory.with_name("a;touch HERE;"))


def given_an_id_that_is_a_path(mission: Mission) -> None:
    mission.meta["mission_id"] = "/../../../HERE/x"
    mission.save()


def given_a_target_that_is_a_command(mission: Mission) -> None:
    mission.meta["target_branch"] = "main;touch${IFS}HERE"
    mission.save()


def given_a_target_of_two_lines(mission: Mission) -> None:
    mission.meta["target_branch"] = EVIL
    mission.save()


HARMS = [renamed, given_an_id_that_is_a_path, given_a_target_that_is_a_command, given_a_target_of_two_lines]


@pytest.mark.parametrize("harm", HARMS, ids=lambda one: one.__name__)
def test_what_a_mission_is_called_by_is_no_command_and_no_path(project: Project, harm: Callable[[Any], None]) -> None:
    packages = [{"work_package_id": "WP01", "title": "x", "owned_files": ["x"]}]
    harm(project.mission(packages=packages))
    before = project.snapshot()
    for command in (["status"], ["note", "WP01", "x"], ["finalize"]):
        done = project.kitty(*command, "--json")
        assert (done.exit_code, done.code) == (1, "MISSION_DAMAGED"), done
    listed = project.kitty("mission", "list", "--json")
    assert (listed.exit_code, listed.json["missions"]) == (0, [])
    assert [one["code"] for one in listed.json["damaged"]] == ["MISSION_DAMAGED"]
    said = project.kitty("next", "--json").json
    assert (said["kind"], said["reason"].partition(":")[0]) == ("blocked", "MISSION_DAMAGED")
    assert "HERE" not in "".join(path.name for path in project.root.parent.rglob("*") if path.name != "a;touch HERE;")
    assert project.snapshot() == before


@pytest.mark.parametrize("wp_id", ["a;touch HERE", "WP01\n# HEADING", "../../x", "-"])
@pytest.mark.parametrize("key", ["work_package_id", "dependencies"])
def test_an_id_of_a_work_package_is_a_word(project: Project, wp_id: str, key: str) -> None:
    made = project.mission(packages=[{"work_package_id": "WP01", "title": "x", "owned_files": ["x"]}])
    front = {"work_package_id": "WP01", "title": "x", "owned_files": ["x"], "dependencies": []}
    front[key] = [wp_id] if key == "dependencies" else wp_id
    path = made.directory / "tasks/WP01-task.md"
    path.write_text("---\n" + "".join(f"{name}: {json.dumps(value)}\n" for name, value in front.items()) + "---\n")
    done = project.kitty("finalize", "--json")
    assert (done.exit_code, done.code) == (1, "WP_INVALID")
    harmless(done.json["message"])
    harmless(project.kitty("status").stdout)
