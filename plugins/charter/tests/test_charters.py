"""Charters such as people have them: a library's page, a service's YAML and Markdown, an institute's eighty directives.

What each of them says is listed here by hand, and what came out is read off the printed text, so that nothing can be lost on the way
without being missed.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from markdown_it import MarkdownIt

from kitty_host.testing import Project

CHARTERS = Path(__file__).parent / "charters"
ACTIONS = ("implement", "review", "plan", "merge")
KINDS = ("directives", "tactics", "styleguides")


class Said(NamedTuple):
    """What a charter names, in order."""

    directives: str
    tactics: str
    styleguides: str
    yaml_sections: str = ""


SAID = {
    "library": Said(
        "DIRECTIVE_024 DIRECTIVE_030 DIRECTIVE_034 DIR-001",
        "easy-to-change worked-example-first second-pair-of-eyes",
        "plain-english units-in-names",
    ),
    "service": Said(
        "DIR-001 DIR-002 DIR-003 DIRECTIVE_007 DIRECTIVE_024 DIRECTIVE_001 DIRECTIVE_031 RECONCILE_CHANGE_SCOPE DIRECTIVE_036",
        "stopping-conditions contract-test-first replay-a-day dark-launch",
        "http-apis money-and-currencies runbooks",
        "charter-governance charter-directives charter-doctrine",
    ),
    "institute": Said(
        "DIRECTIVE_003 DIRECTIVE_001 DIRECTIVE_002 DIRECTIVE_004 "
        "DIRECTIVE_005 DIRECTIVE_006 DIRECTIVE_007 DIRECTIVE_008 DIRECTIVE_009 "
        "DIRECTIVE_010 DIRECTIVE_011 DIRECTIVE_012 DIRECTIVE_013 DIRECTIVE_014 "
        "DIRECTIVE_015 DIR-001 "
        "DIRECTIVE_016 DIRECTIVE_017 DIRECTIVE_018 DIRECTIVE_024 DIRECTIVE_019 DIRECTIVE_020 "
        "DIRECTIVE_021 DIRECTIVE_022 DIRECTIVE_023 DIRECTIVE_025 DIR-002 DIR-003 "
        "DIRECTIVE_026 DIRECTIVE_027 DIRECTIVE_028 DIR-004 "
        "DIRECTIVE_029 DIRECTIVE_030 RECONCILE_PLAN_LENGTH "
        "DIRECTIVE_031 DIRECTIVE_032 DIRECTIVE_033 DIRECTIVE_034 RECONCILE_SCOPE_AND_DEADLINE "
        "DIRECTIVE_035 DIRECTIVE_036 DIR-005 DIRECTIVE_037 DIRECTIVE_038 DIRECTIVE_039 DIRECTIVE_041 DIRECTIVE_040 "
        "DIRECTIVE_042 DIRECTIVE_043 RECONCILE_REVIEWER_ABSENT DIRECTIVE_044 DIRECTIVE_045 DIR-006 DIR-007 DIR-008 "
        "DIRECTIVE_046 DIRECTIVE_047 DIRECTIVE_048 RECONCILE_TWO_GREEN_BRANCHES DIR-009 "
        "DIRECTIVE_049 DIRECTIVE_050 DIRECTIVE_051 RECONCILE_FUNDER_AND_LICENCE DIR-010 DIR-011 "
        "DIRECTIVE_052 DIRECTIVE_053 RECONCILE_RETRACTION_OF_SHARED_WORK "
        "DIRECTIVE_054 DIRECTIVE_055 DIRECTIVE_056 DIRECTIVE_057 DIR-012 "
        "DIRECTIVE_058 DIRECTIVE_059 DIRECTIVE_060 RECONCILE_CHARTER_AND_LAW RECONCILE_CHARTER_AND_CODE",
        "small-batches worked-example-first property-based-tests compare-two-implementations stopping-conditions "
        "red-green-refactor rubber-duck-first second-pair-of-eyes runbook-first degrade-visibly call-for-help",
        "units-in-names glossary plain-english colour-blind-safe captions",
    ),
}


def put(project: Project, name: str) -> Project:
    """Give a project one of the charters."""
    shutil.copytree(CHARTERS / name, project.root / ".kittify" / "charter")
    return project


@pytest.fixture(params=SAID)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def chartered(project: Project, name: str) -> Project:
    return put(project, name)


def ask(project: Project, action: str, mode: str = "auto") -> dict[str, Any]:
    """What the command prints as JSON."""
    answer = project.kitty("charter", "context", "--action", action, "--mode", mode, "--json")
    assert answer.exit_code == 0, answer
    return answer.json


def listed(text: str) -> dict[str, list[str]]:
    """The lists at the top of a text, by their names."""
    top = text.split("\n\n")[1]
    pairs = [line.split(": ", 1) for line in top.split("\n")]
    return {name.lower(): [] if names == "none" else names.split(", ") for name, names in pairs}


def blocks(text: str) -> dict[str, str]:
    """The title of every section that stands in a text, by its anchor."""
    return {anchor: title for title, anchor in re.findall(r"^## (.+) \(#(\S+)\)$", text, re.MULTILINE)}


def titles(name: str) -> list[str]:
    """The headings of a charter, as a Markdown parser reads them."""
    tokens = MarkdownIt("commonmark").parse((CHARTERS / name / "charter.md").read_text(encoding="utf-8"))
    return [after.content for token, after in pairwise(tokens) if token.type == "heading_open" and token.level == 0]


@pytest.mark.parametrize("action", ACTIONS)
def test_compact_lists_what_bootstrap_lists_at_under_half_its_size(chartered: Project, name: str, action: str) -> None:
    long, short = ask(chartered, action, "bootstrap"), ask(chartered, action, "compact")
    assert listed(long["text"]) == listed(short["text"])
    for kind in (*KINDS, "sections"):
        assert listed(long["text"])[kind] == long[kind] == short[kind]
    assert list(blocks(long["text"])) == long["sections"]
    assert len(short["text"].encode()) * 2 < len(long["text"].encode())
    assert long["receipt"] == short["receipt"]
    assert [one["anchor"] for one in long["receipt"]] == long["sections"]


@pytest.mark.parametrize("action", ACTIONS)
def test_every_id_of_the_charter_is_there_once_in_its_one_form(chartered: Project, name: str, action: str) -> None:
    for mode in ("bootstrap", "compact"):
        found = listed(ask(chartered, action, mode)["text"])
        assert {kind: found[kind] for kind in KINDS} == {kind: getattr(SAID[name], kind).split() for kind in KINDS}


def test_the_institute_has_eighty_directives_and_the_line_ends_of_another_system() -> None:
    assert len(set(SAID["institute"].directives.split())) == 80
    content = (CHARTERS / "institute" / "charter.md").read_bytes()
    assert content.count(b"\r\n") == content.count(b"\n") > 150


def test_sections_are_the_headings_that_a_markdown_parser_sees(chartered: Project, name: str) -> None:
    found = ask(chartered, "implement", "bootstrap")
    own = [*SAID[name].yaml_sections.split()]
    assert found["sections"][: len(own)] == own
    assert list(blocks(found["text"]).values())[len(own) : -2] == titles(name)
    assert found["sections"][-2:] == ["kitty-always", "kitty-implement"]


def test_sections_of_one_name_are_told_apart(project: Project) -> None:
    found = ask(put(project, "service"), "plan", "compact")
    assert [one for one in found["sections"] if one.startswith("examples")] == ["examples", "examples-1"]
    assert "The plan for the third Baltic carrier" in found["text"], "it is below the planning"
    assert "A price list is loaded" not in found["text"], "the other one is not"


# Drops a name, everywhere or only where the rendered text lists it.
FORGETFUL = """
import os
import re

from kitty_host.api import hookimpl


@hookimpl
def kitty_charter_render(charter, mode):
    from kitty_charter.render import render

    name = os.environ["KITTY_TEST_DROPS"]
    times = int(os.environ["KITTY_TEST_TIMES"])
    return re.sub(rf"(?<![\\w-]){name}(?![\\w-])(, )?", "", render(charter, mode), count=times)
"""


@pytest.mark.parametrize("times", [0, 1], ids=["everywhere", "in the list"])
@pytest.mark.parametrize("mode", ["bootstrap", "compact"])
@pytest.mark.parametrize(
    ("charter", "kind", "dropped"),
    [
        ("library", "directives", "DIRECTIVE_034"),
        ("library", "anchors", "tests"),
        ("service", "directives", "DIR-002"),
        ("service", "styleguides", "http-apis"),
        ("service", "anchors", "rules"),
        ("institute", "directives", "RECONCILE_CHARTER_AND_CODE"),
        ("institute", "tactics", "small-batches"),
        ("institute", "anchors", "8-running"),
    ],
)
def test_a_renderer_that_drops_one_name_is_refused(
    project: Project,
    install_plugin: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    charter: str,
    kind: str,
    dropped: str,
    mode: str,
    times: int,
) -> None:
    install_plugin("stranger", FORGETFUL)
    put(project, charter)
    monkeypatch.setenv("KITTY_TEST_TIMES", str(times))
    monkeypatch.setenv("KITTY_TEST_DROPS", "nothing-of-this-name")
    ask(project, "implement", mode)
    monkeypatch.setenv("KITTY_TEST_DROPS", dropped)
    answer = project.kitty("charter", "context", "--action", "implement", "--mode", mode, "--json")
    assert (answer.exit_code, answer.code) == (1, "CHARTER_INCOMPLETE")
    assert answer.json["details"] == {"kind": kind, "name": dropped}


@pytest.mark.parametrize(
    ("charter", "file", "old", "new", "anchor"),
    [
        ("library", "charter.md", "nearly always no", "nearly always so", "dependencies"),
        ("library", "charter.md", "# 412 ports", "# 413 ports", "arithmetic"),
        ("service", "charter.yaml", "min_coverage: 85", "min_coverage: 86", "charter-governance"),
        ("service", "charter.yaml", "pytest, ruff, k6", "pytest, ruff, k7", "charter-governance"),
        ("service", "charter.yaml", "Ids are.", "Ids art.", "charter-directives"),
        ("service", "charter.yaml", "severity: warning", "severity: warming", "charter-directives"),
        ("service", "charter.yaml", "Know when to stop", "Know when to step", "charter-doctrine"),
        ("service", "charter.md", "third Baltic", "thirt Baltic", "examples-1"),
        ("institute", "charter.md", "is an anecdote", "is an anecdose", "1-principles"),
        ("institute", "charter.md", "until spring", "until spting", "9-this-charter"),
    ],
)
def test_a_letter_changes_the_receipt_of_its_section_alone(
    project: Project, charter: str, file: str, old: str, new: str, anchor: str
) -> None:
    put(project, charter)
    before = {one["anchor"]: one["sha256"] for one in ask(project, "review", "compact")["receipt"]}
    path = project.root / ".kittify" / "charter" / file
    content = path.read_bytes()
    assert content.count(old.encode()) == 1
    path.write_bytes(content.replace(old.encode(), new.encode()))
    after = {one["anchor"]: one["sha256"] for one in ask(project, "review", "bootstrap")["receipt"]}
    assert list(before) == list(after)
    assert [one for one in before if before[one] != after[one]] == [anchor]


@pytest.mark.parametrize(
    "content",
    [
        b'{"schema_version": "1.0.0", "actions": {"implement": "2026-03-01T10:00:00+00:00"}}\n',
        b'{"schema_version": "1.0.0", "actions": {"impl',
        b"\xff\xfe",
    ],
    ids=["with content", "cut off", "no text"],
)
def test_what_another_tool_remembers_is_neither_believed_nor_changed(project: Project, content: bytes) -> None:
    put(project, "service")
    memory = project.write(".kittify/charter/context-state.json", content)
    modes = [ask(project, action)["mode"] for action in ("implement", "implement", "merge", "implement")]
    assert modes == ["bootstrap", "compact", "bootstrap", "compact"]
    assert memory.read_bytes() == content


def test_an_action_is_the_same_in_capitals(project: Project) -> None:
    put(project, "library")
    assert ask(project, "Review", "compact") == ask(project, "review", "compact")


def test_a_charter_is_clean(chartered: Project) -> None:
    answer = chartered.kitty("charter", "lint", "--json")
    assert (answer.exit_code, answer.json["findings"]) == (0, [])
