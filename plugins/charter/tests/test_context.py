"""What an agent is told: the same ids and anchors in both modes, whole the first time, never silently less."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kitty_host.testing import Project

LINES = "Every change of the storage layer is read by somebody who did not write it, and its failure was seen.\n"

MARKDOWN = """\
# House charter

Why this exists. DIRECTIVE_024 holds everywhere, and so does 031-context-aware-design.

## Testing

Tactics: `tdd-red-green-refactor`, premortem-risk-identification
See styleguide:testing-principles and docs/004-not-a-directive.md, feature/005-not-one-either.

```sh
# not a heading
```

## Review checklist

Read the diff twice. DIR-001 applies.

### Finer points

Ask before you assume.

## Testing

A second section of the same name; RECONCILE_CHANGE_SCOPE decides.

## Tactics

- boring-code-review
- `easy-to-change`

## Background

"""

YAML = """\
schema_version: 2.0.0
governance:
  testing: {min_coverage: 90, framework: pytest}
  quality: {linting: ''}
  doctrine:
    selected_directives: [DIRECTIVE_001, DIRECTIVE_024, USE_C4_MODELS]
    selected_tactics: [stopping-conditions]
    selected_styleguides: [plain-language]
directives:
  directives:
  - {id: DIR-001, title: Tests, description: Every change has a test. And more words.}
catalog:
  references:
  - {id: 'TACTIC:stopping-conditions', kind: tactic, title: Stop, summary: Know when to stop. Then stop.}
"""


@pytest.fixture
def chartered(project: Project) -> Project:
    """A project with a charter of the size that real ones have."""
    project.write(".kittify/charter/charter.md", MARKDOWN + LINES * 100)
    project.write(".kittify/charter/charter.yaml", YAML)
    return project


def ask(project: Project, mode: str = "auto", action: str = "review") -> dict[str, Any]:
    """What the command prints as JSON."""
    answer = project.kitty("charter", "context", "--action", action, "--mode", mode, "--json")
    assert answer.exit_code == 0, answer
    return answer.json


def named(text: str, kind: str) -> list[str]:
    """The ids or anchors that a text itself lists."""
    listed = re.search(rf"^{kind.capitalize()}: (.*)$", text, re.MULTILINE)
    assert listed
    return [] if listed[1] == "none" else listed[1].split(", ")


def test_compact_names_what_bootstrap_names_at_under_half_its_size(chartered: Project) -> None:
    long, short = ask(chartered, "bootstrap"), ask(chartered, "compact")
    for kind in ("directives", "tactics", "styleguides", "sections"):
        assert long[kind] == short[kind] == named(long["text"], kind) == named(short["text"], kind)
        assert long[kind]
    assert long["receipt"] == short["receipt"]
    assert len(short["text"].encode()) * 2 < len(long["text"].encode())


def test_ids_and_anchors_come_in_the_order_of_the_charter(chartered: Project) -> None:
    found = ask(chartered, "bootstrap")
    assert found["directives"] == [
        "DIR-001",
        "DIRECTIVE_001",
        "DIRECTIVE_024",
        "USE_C4_MODELS",
        "DIRECTIVE_031",
        "RECONCILE_CHANGE_SCOPE",
    ]
    assert found["tactics"] == [
        "stopping-conditions",
        "tdd-red-green-refactor",
        "premortem-risk-identification",
        "boring-code-review",
        "easy-to-change",
    ]
    assert found["styleguides"] == ["plain-language", "testing-principles"]
    assert found["sections"] == [
        "charter-governance",
        "charter-directives",
        "charter-doctrine",
        "house-charter",
        "testing",
        "review-checklist",
        "finer-points",
        "testing-1",
        "tactics",
        "background",
        "kitty-always",
        "kitty-review",
    ]


def test_every_section_of_bootstrap_has_the_hash_of_its_own_text(chartered: Project) -> None:
    found = ask(chartered, "bootstrap")
    for one in found["receipt"]:
        place = found["text"].index(f"(#{one['anchor']})")
        start = found["text"].rindex("\n## ", 0, place) + 1
        after = re.search(r"\n\n(?:## .* \(#[\w-]+\)\n|Receipt: )", found["text"][start:])
        assert after
        section = found["text"][start : start + after.start()]
        assert hashlib.sha256(section.encode()).hexdigest() == one["sha256"], one["anchor"]


def test_a_section_that_names_the_action_and_kittys_own_rules_stay_whole_in_compact(chartered: Project) -> None:
    text = ask(chartered, "compact")["text"]
    assert "Read the diff twice." in text
    assert "Ask before you assume." in text
    assert "kitty review WP --claim" in text
    assert "min_coverage 90" in text
    assert "A second section of the same name" not in text
    assert "--action review --mode bootstrap" in text


def test_no_heading_can_make_compact_long(project: Project) -> None:
    project.write(".kittify/charter/charter.md", "# Notes\n\n" + LINES * 9 + "## Review everything\n\n" + LINES * 100)
    long, short = ask(project, "bootstrap"), ask(project, "compact")
    assert len(short["text"]) * 2 < len(long["text"])


def test_auto_says_everything_once_for_each_action_and_again_when_the_rules_change(chartered: Project) -> None:
    modes = [ask(chartered, action=action)["mode"] for action in ("review", "review", "plan", "review")]
    assert modes == ["bootstrap", "compact", "bootstrap", "compact"]
    chartered.write(".kittify/charter/charter.md", "# New rules\n")
    assert [ask(chartered)["mode"], ask(chartered)["mode"]] == ["bootstrap", "compact"]


def test_a_spoilt_memory_is_an_empty_one(chartered: Project) -> None:
    ask(chartered)
    chartered.write(".git/kitty/cache/charter-context.json", "no json")
    assert ask(chartered)["mode"] == "bootstrap"


def test_it_writes_nothing_but_its_cache(chartered: Project) -> None:
    before = chartered.snapshot()
    ask(chartered)
    ask(chartered)
    after = chartered.snapshot()
    assert {name for name in after.keys() ^ before.keys() if name != "project/.git/kitty"} == set()
    assert all(after[name] == content for name, content in before.items())


def test_without_a_charter_kittys_own_rules_are_there_for_every_action(project: Project) -> None:
    for action in ("specify", "plan", "tasks", "implement", "review", "accept", "merge"):
        assert ask(project, action=action)["sections"] == ["kitty-always", f"kitty-{action}"]
    assert ask(project, action="discovery")["sections"] == ["kitty-always"]


def test_people_read_the_same_text(chartered: Project) -> None:
    printed = chartered.kitty("charter", "context", "--action", "plan", "--mode", "compact")
    assert printed.stdout.rstrip("\n") == ask(chartered, "compact", "plan")["text"]


@pytest.mark.parametrize(
    ("yaml", "said"),
    [
        ("governance: [\n", "line 2"),
        ("- a list\n", "the file is no mapping"),
        ("governance: {doctrine: {selected_tactics: stopping}}\n", "governance.doctrine.selected_tactics is no list"),
        ("governance: {charter: {selected_directives: [1]}}\n", "governance.charter.selected_directives is no list"),
        ("directives: {directives: [{title: no id}]}\n", "directives is no list of entries with an id"),
        ("catalog: everything\n", "catalog is no mapping"),
    ],
)
def test_a_broken_charter_refuses_and_names_the_place(project: Project, yaml: str, said: str) -> None:
    project.write(".kittify/charter/charter.yaml", yaml)
    answer = project.kitty("charter", "context", "--action", "plan", "--json")
    assert answer.exit_code == 1
    assert answer.code == "CHARTER_INVALID"
    assert said in answer.json["message"]


def test_a_charter_that_is_no_text_refuses(project: Project) -> None:
    project.write(".kittify/charter/charter.md", b"# \xff\n")
    assert project.kitty("charter", "context", "--action", "plan", "--json").code == "CHARTER_INVALID"


STRANGER = """
from kitty_host.api import hookimpl

@hookimpl
def kitty_charter_sections(action):
    from kitty_host.records import Section
    if action == "plan":
        raise RuntimeError("no\\nplan")
    return [Section("house", "House rules", "Be kind.", directives=("DIR-900",)), "nonsense"]

@hookimpl
def kitty_charter_render(charter, mode):
    if charter.action == "merge":
        return "in other words: DIR-900, house, kitty-always, kitty-merge, missing-stranger"
    return "DIR-900 house missing-stranger kitty-always" if charter.action == "review" and mode == "compact" else None
"""


def test_a_plugin_adds_sections_and_may_render(project: Project, install_plugin: Callable[..., Path]) -> None:
    install_plugin("stranger", STRANGER)
    found = ask(project, action="review")
    assert found["sections"] == ["house", "missing-stranger", "kitty-always", "kitty-review"]
    assert found["directives"] == ["DIR-900"]
    answer = project.kitty("charter", "context", "--action", "merge", "--json")
    assert (answer.exit_code, answer.code) == (1, "CHARTER_INCOMPLETE")
    assert answer.json["message"] == "the rendered charter lacks missing-stranger in its list of anchors", (
        "they are in another order"
    )


def test_a_renderer_that_drops_something_is_refused(project: Project, install_plugin: Callable[..., Path]) -> None:
    install_plugin("stranger", STRANGER)
    answer = project.kitty("charter", "context", "--action", "review", "--mode", "compact", "--json")
    assert (answer.exit_code, answer.code) == (1, "CHARTER_INCOMPLETE")
    assert answer.json["details"] == {"kind": "anchors", "name": "kitty-review"}


def test_a_plugin_that_fails_leaves_a_visible_note(project: Project, install_plugin: Callable[..., Path]) -> None:
    install_plugin("stranger", STRANGER)
    for mode in ("bootstrap", "compact"):
        found = ask(project, mode, action="plan")
        assert found["sections"] == ["missing-stranger", "kitty-always", "kitty-plan"]
        assert "The rules of plugin stranger are missing here: RuntimeError: no plan." in found["text"]
