"""Moving to kitty: what the page says is typed, and it leaves the files of spec-kitty as the page says."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from kitty_host.testing import Project

from .pages import DOCS, bash, blocks

PARTS = blocks("migrating")
SHOWN = blocks("migrating", "")
FROM_SPEC_KITTY, FROM_OTHER_TOOLS = "From spec-kitty", "From other tools"


def typed(part: str, directory: Path) -> Project:
    """What a part says is typed and printed; returns the repository that it made."""
    done = bash(PARTS[part], directory, {"KITTY_AGENT": "ada"})
    assert done.returncode == 0, done
    printed = iter(done.stdout.splitlines())
    for line in SHOWN[part].splitlines():
        assert line in printed, (line, done.stdout)  # and in this order: what was passed over is used up
    (root,) = directory.iterdir()
    return Project(root)


def test_every_block_is_run_and_what_it_prints_is_shown() -> None:
    text = (DOCS / "migrating.md").read_text(encoding="utf-8")
    assert list(PARTS) == list(SHOWN) == [FROM_SPEC_KITTY, FROM_OTHER_TOOLS]
    assert text.count("```sh\n") == 6
    assert set(re.findall(r"^```(\w+)$", text, re.MULTILINE)) == {"sh"}


@pytest.mark.slow
def test_a_repository_of_spec_kitty_is_adopted_in_place(isolated: Path) -> None:
    from spec_kitty_events.diary import reduce

    project = typed(FROM_SPEC_KITTY, isolated / "fresh")
    directory = "kitty-specs/greetings-01KQABCD"
    first = project.git("rev-list", "--max-parents=0", "main")
    theirs = json.loads(project.git("show", f"{first}:{directory}/meta.json"))
    assert theirs | {"mission_number": 1} == json.loads((project.root / directory / "meta.json").read_text())
    untouched = [
        ".kittify/config.yaml",
        *(f"{directory}/{name}" for name in ("spec.md", "plan.md", "tasks.md", "tasks")),
    ]
    assert project.git("diff", "--name-only", first, "main", "--", *untouched) == ""
    rows = (project.root / directory / "status.events.jsonl").read_text().splitlines()
    before = project.git("show", f"{first}:{directory}/status.events.jsonl").splitlines()
    assert rows[: len(before)] == before
    told = reduce([json.loads(line) for line in rows]).to_dict()["work_packages"]
    assert {wp_id: one["lane"] for wp_id, one in told.items()} == {"WP01": "done", "WP02": "done"}
    assert project.git("for-each-ref", "refs/kitty") == ""
    assert not (project.root / ".git/kitty/ledger").exists()


def test_a_plan_of_another_tool_goes_as_far_as_its_lanes(isolated: Path) -> None:
    project = typed(FROM_OTHER_TOOLS, isolated / "fresh")
    (shown,) = project.kitty("status", "--json").json["missions"]
    assert [(one["wp_id"], one["title"], one["lane_id"]) for one in shown["packages"]] == [
        ("WP01", "Greet by name", "lane-a"),
        ("WP02", "Greet in German", "lane-b"),
    ]


def test_every_command_of_the_table_is_one(project: Project) -> None:
    text = (DOCS / "migrating.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| .*`/?spec-kitty.* \| (.*) \|$", text, re.MULTILINE)
    commands = [one for row in rows for one in re.findall(r"`kitty ([^`]+)`", row)]
    assert len(rows) > 20
    for one in commands:
        words = re.findall(r"(?<!\S)[a-z][a-z-]+(?!\S)", one.partition(" -")[0])
        named = words[: 2 if words[0] in ("auth", "charter", "ledger", "mission", "sync") else 1]
        told = project.kitty(*named, "--help")
        assert told.exit_code == 0, one
        for option in re.findall(r"--[a-z-]+", one):
            assert f"{option} " in told.stdout, (one, option)


@pytest.mark.parametrize("part", [FROM_SPEC_KITTY, FROM_OTHER_TOOLS])
def test_a_block_that_fails_is_seen(isolated: Path, part: str) -> None:
    beginning = PARTS[part].partition("git init")[0]
    assert bash(f"{beginning}false\ntrue\n", isolated / "fresh").returncode == 1
