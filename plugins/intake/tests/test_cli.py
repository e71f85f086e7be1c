"""The two commands, and what other plugins have to say in them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kitty_host.testing import Project

PLAN = "# A plan\n\nDo it.\n"

CHECK = """
from kitty_host.api import Finding, hookimpl

@hookimpl
def kitty_intake_check(brief):
    return [Finding("NO_GOAL", "the plan names no goal", "add one", {severity!r})] if "Goal" not in brief.text else []
"""

READER = """
from kitty_host.api import hookimpl

@hookimpl
def kitty_intake(source):
    from kitty_host.records import Brief
    if source.content.startswith(b"\\0PLAN"):
        return Brief(source.name, {text!r}, "", 0, extra={{"format": "binary"}})
"""


def test_intake_and_brief_print_what_scripts_rely_on(project: Project) -> None:
    project.write("docs/plan.md", PLAN)
    taken = project.kitty("intake", "docs/plan.md", "--json").json
    outline = {
        "brief": ".kittify/mission-brief.md",
        "sidecar": ".kittify/brief-source.yaml",
        "source": "docs/plan.md",
        "title": "A plan",
        "sha256": hashlib.sha256(PLAN.encode()).hexdigest(),
        "size_bytes": len(PLAN),
        "format": "text",
        "requirements": 0,
        "packages": 0,
    }
    assert taken == {"schema": "kitty.intake/1", **outline, "findings": []}
    assert project.kitty("brief", "--json").json == {"schema": "kitty.brief/1", **outline, "text": PLAN}


def test_standard_input_is_a_source(project: Project, pair: Any) -> None:
    assert project.process("intake", "-", stdin=PLAN.encode()).exit_code == 0
    assert pair.record["source_file"] == "stdin"


@pytest.mark.parametrize("arguments", [[], ["plan.md", "--auto"], ["-", "--from-outside", "plan.md"]])
def test_anything_but_one_source_is_a_usage_error(project: Project, arguments: list[str]) -> None:
    project.write("plan.md", PLAN)
    assert project.kitty("intake", *arguments).exit_code == 2


def test_without_a_brief_brief_says_how_to_make_one(project: Project) -> None:
    result = project.kitty("brief", "--json")
    assert (result.exit_code, result.code) == (1, "INTAKE_FILE_MISSING")
    assert "kitty intake" in result.json["hint"]


def test_what_is_printed_cannot_steer_a_terminal(project: Project) -> None:
    plan = "# A\x1b]0;evil\x07 plan\r\nred \x1b[31m \x9b bidi \u202e café\r\n"
    project.write("plan\x9b\u202e.md", plan)
    taken, shown = project.kitty("intake", "plan\x9b\u202e.md"), project.kitty("brief")
    for text in (taken.stdout, shown.stdout):
        assert text.replace("\n", "").isprintable()
    assert "red \\u{1b}[31m \\u{9b} bidi \\u{202e} café\n" in shown.stdout
    assert "is untrusted" in shown.stdout
    assert project.kitty("brief", "--json").json["text"] == plan


def test_a_blocking_objection_of_a_plugin_refuses(project: Project, install_plugin: Callable[..., Path]) -> None:
    install_plugin("stranger", CHECK.format(severity="block"))
    project.write("plan.md", PLAN)
    before = project.snapshot()
    result = project.kitty("intake", "plan.md", "--json")
    assert (result.exit_code, result.code) == (1, "NO_GOAL")
    assert project.snapshot() == before
    assert project.kitty("intake", "-", stdin=b"# Goal").exit_code == 0


def test_a_warning_of_a_plugin_is_printed(project: Project, install_plugin: Callable[..., Path]) -> None:
    install_plugin("stranger", CHECK.format(severity="warn"))
    project.write("plan.md", PLAN)
    result = project.kitty("intake", "plan.md", "--json")
    assert "NO_GOAL: the plan names no goal" in result.stderr
    assert result.json["findings"][0]["code"] == "NO_GOAL"


def test_a_check_that_fails_refuses(project: Project, install_plugin: Callable[..., Path]) -> None:
    install_plugin("stranger", CHECK.replace("return", "raise RuntimeError").format(severity="warn"))
    project.write("plan.md", PLAN)
    assert project.kitty("intake", "plan.md", "--json").code == "PLUGIN_CHECK_FAILED"


def test_a_plugin_can_read_what_is_not_text(project: Project, pair: Any, install_plugin: Callable[..., Path]) -> None:
    install_plugin("stranger", READER.format(text=PLAN))
    source = project.write("plan.bin", b"\0PLAN 1")
    assert project.kitty("intake", "plan.bin").exit_code == 0
    shown = project.kitty("brief", "--json").json
    assert (shown["text"], shown["size_bytes"]) == (PLAN, 7)
    assert shown["sha256"] == hashlib.sha256(source.read_bytes()).hexdigest()
    assert pair.record["brief_hash"] == hashlib.sha256(PLAN.encode()).hexdigest()
    assert pair.record["format"] == "binary"


@pytest.mark.parametrize(
    ("text", "code"), [("a\0b", "INTAKE_FILE_UNDECODABLE"), ("x" * 200, "INTAKE_TOO_LARGE"), (" ", "INTAKE_EMPTY")]
)
def test_what_a_plugin_reads_has_to_be_a_text_within_the_cap(
    project: Project, install_plugin: Callable[..., Path], configure: Callable[[str], None], text: str, code: str
) -> None:
    install_plugin("stranger", READER.format(text=text))
    configure("max_brief_bytes: 100")
    project.write("plan.bin", b"\0PLAN 1")
    before = project.snapshot()
    assert project.kitty("intake", "plan.bin", "--json").code == code
    assert project.snapshot() == before
