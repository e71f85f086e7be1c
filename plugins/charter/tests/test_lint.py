"""Mistakes in a charter that a reader would stumble over: each is a finding, and a charter without them is clean."""

from __future__ import annotations

import pytest

from kitty_host.testing import Project, Result

YAML = """\
directives:
  directives:
  - {id: DIR-001, title: Tests}
catalog:
  references:
  - {id: 'TACTIC:stopping-conditions', kind: tactic, summary: Stop.}
  - {id: 'directive:024-locality-of-change', summary: Stay close.}
"""
MARKDOWN = """\
# Charter

## Testing

DIR-1, DIRECTIVE_024 and tactic:stopping-conditions hold. styleguide:somewhere-else is not ours.

### Why

Because.

## Review

### Why

Because of that.
"""


def lint(project: Project, yaml: str = YAML, markdown: str = MARKDOWN, *arguments: str) -> Result:
    project.write(".kittify/charter/charter.yaml", yaml)
    project.write(".kittify/charter/charter.md", markdown)
    return project.kitty("charter", "lint", *arguments)


def test_a_charter_without_mistakes_is_clean(project: Project) -> None:
    answer = lint(project)
    assert (answer.exit_code, answer.stdout) == (0, "6 sections, nothing to object to.\n")
    told = lint(project, YAML, MARKDOWN, "--json")
    assert told.json == {"schema": "kitty.charter-lint/1", "findings": [], "sections": 6}


def test_no_charter_is_clean(project: Project) -> None:
    assert project.kitty("charter", "lint").exit_code == 0


BLOCKING = [
    ("CHARTER_ID_DANGLING", YAML, MARKDOWN + "\nDIR-2 as well.\n", "DIR-002 is in #why and defined nowhere"),
    ("CHARTER_ID_DANGLING", YAML, MARKDOWN + "\n025-boy-scouts\n", "DIRECTIVE_025 is in #why and defined nowhere"),
    ("CHARTER_ID_DANGLING", YAML, MARKDOWN + "\nTactics: stop-there\n", "stop-there is in #why and defined nowhere"),
    (
        "CHARTER_ID_TWICE",
        YAML.replace("catalog", "  - {id: dir-1, title: More tests}\ncatalog"),
        MARKDOWN,
        "DIR-001 is defined 2 times",
    ),
    (
        "CHARTER_ID_TWICE",
        YAML + "  - {id: DIRECTIVE_024, kind: directive}\n",
        MARKDOWN,
        "DIRECTIVE_024 is defined 2 times",
    ),
    ("CHARTER_SECTION_EMPTY", YAML, MARKDOWN + "\n## Merging\n\n---\n", "the section Merging says nothing"),
    ("CHARTER_SECTION_EMPTY", YAML, "# Charter\n\n## Plan\n\n## Merge\n\nm\n", "the section Plan says nothing"),
]


@pytest.mark.parametrize(("code", "yaml", "markdown", "said"), BLOCKING)
def test_a_mistake_refuses_and_is_named(project: Project, code: str, yaml: str, markdown: str, said: str) -> None:
    answer = lint(project, yaml, markdown, "--json")
    assert (answer.exit_code, answer.code) == (1, "CHARTER_INCONSISTENT")
    (finding,) = answer.json["details"]["findings"]
    assert (finding["code"], finding["severity"], finding["message"]) == (code, "block", said)
    assert answer.json["hint"] == finding["hint"]


@pytest.mark.parametrize(("code", "yaml", "markdown", "said"), BLOCKING)
def test_people_read_the_same(project: Project, code: str, yaml: str, markdown: str, said: str) -> None:
    answer = lint(project, yaml, markdown)
    assert (answer.exit_code, answer.stdout) == (1, "")
    assert f"block  {code}: {said}" in answer.stderr
    assert "CHARTER_INCONSISTENT: 1 finding in .kittify/charter" in answer.stderr


def test_two_sections_of_one_name_in_one_place_are_a_warning(project: Project) -> None:
    answer = lint(project, YAML, MARKDOWN + "\n### why\n\nAgain.\n", "--json")
    assert answer.exit_code == 0
    assert [(one["code"], one["severity"]) for one in answer.json["findings"]] == [("CHARTER_HEADING_TWICE", "warn")]
    people = project.kitty("charter", "lint")
    assert people.exit_code == 0
    assert "CHARTER_HEADING_TWICE: two sections in one place are called why" in people.stdout


def test_every_finding_is_listed(project: Project) -> None:
    answer = lint(project, YAML, MARKDOWN + "\nDIR-007, DIR-008.\n\n## Testing\n\n## End\n", "--json")
    codes = [one["code"] for one in answer.json["details"]["findings"]]
    assert codes == [*["CHARTER_ID_DANGLING"] * 2, "CHARTER_HEADING_TWICE", *["CHARTER_SECTION_EMPTY"] * 2]


def test_where_the_yaml_defines_none_of_a_kind_they_are_defined_elsewhere(project: Project) -> None:
    assert lint(project, "governance: {testing: {framework: pytest}}\n", "# C\n\nDIRECTIVE_001\n").exit_code == 0
    assert lint(project, "governance: {testing: {framework: pytest}}\n", "# C\n\nDIR-001\n").exit_code == 1


def test_in_prose_alone_a_rule_is_defined_by_being_there(project: Project) -> None:
    project.write(".kittify/charter/charter.md", "# Charter\n\nDIR-001: be kind.\n")
    assert project.kitty("charter", "lint").exit_code == 0


@pytest.mark.parametrize(
    "yaml",
    [
        "governance: [\n",
        "directives: {directives: [{id: 'DIR-001, DIR-002'}]}\n",
        "governance: {doctrine: {selected_tactics: ['two words']}}\n",
    ],
)
def test_what_cannot_be_understood_is_invalid(project: Project, yaml: str) -> None:
    answer = lint(project, yaml, MARKDOWN, "--json")
    assert (answer.exit_code, answer.code) == (1, "CHARTER_INVALID")


def test_a_charter_that_cannot_be_opened_is_invalid(project: Project) -> None:
    (project.root / ".kittify/charter/charter.md").mkdir(parents=True)
    answer = project.kitty("charter", "lint", "--json")
    assert (answer.exit_code, answer.code) == (1, "CHARTER_INVALID")
    assert "charter.md cannot be read" in answer.json["message"]


def test_it_writes_nothing(project: Project) -> None:
    lint(project)
    before = project.snapshot()
    project.kitty("charter", "lint")
    project.kitty("charter", "lint", "--json")
    assert project.snapshot() == before


def test_a_title_cannot_steer_what_is_printed(project: Project) -> None:
    answer = lint(project, YAML, "# C\n\n## \x1b[2J`x`\n", "--json")
    (finding,) = answer.json["details"]["findings"]
    assert "\x1b" not in finding["message"]
    assert "`" not in finding["message"]
