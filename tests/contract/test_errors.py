"""What scripts rely on when something goes wrong. A change here breaks them."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path

import pytest

from kitty_host import report
from kitty_host.testing import Project

pytestmark = pytest.mark.usefixtures("alone")


def test_the_exit_codes_are_these() -> None:
    assert (report.REFUSED, report.USAGE, report.FAULT, report.INTERRUPTED) == (1, 2, 3, 130)


REFUSALS = {
    "no repository": ("SPEC_KITTY_REPO_NOT_INITIALIZED", "..", ["ledger", "show"]),
    "no mission": ("MISSION_REQUIRED", ".", ["ledger", "show"]),
    "unknown mission": ("MISSION_NOT_FOUND", ".", ["ledger", "show", "--mission", "nothing"]),
    "unknown directory": ("WORKSPACE_ROOT_NOT_FOUND", ".", ["-C", "nowhere", "doctor"]),
    "two missions": ("MISSION_AMBIGUOUS_SELECTOR", ".", ["ledger", "show", "--mission", "a", "--feature", "b"]),
    "unknown option": ("USAGE", ".", ["doctor", "--nothing"]),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_an_error_under_json_is_this_object_on_standard_output(project: Project, case: str) -> None:
    code, place, arguments = REFUSALS[case]
    result = project.process(*arguments, "--json", where=(project.root / place).resolve())
    assert result.stdout.count("\n") == 1
    assert result.stderr == ""
    told = json.loads(result.stdout)
    assert list(told) == ["schema", "code", "message", "hint", "details"]
    assert told["schema"] == "kitty.error/1"
    assert told["code"] == code
    assert re.fullmatch(r"[A-Z][A-Z_]*", told["code"])
    for key in ("message", "hint"):
        assert told[key]
        assert "\n" not in told[key]
    assert isinstance(told["details"], dict)
    assert result.exit_code == (2 if code == "USAGE" else 1)


@pytest.mark.parametrize("case", REFUSALS)
def test_an_error_for_people_is_two_lines_on_standard_error(project: Project, case: str) -> None:
    code, place, arguments = REFUSALS[case]
    result = project.process(*arguments, where=(project.root / place).resolve())
    assert result.stdout == ""
    first, second = result.stderr.splitlines()
    assert first.startswith(f"{code}: ")
    assert second.startswith("  ")


def test_not_being_in_a_repository_has_a_reason_of_its_own(project: Project, isolated: Path) -> None:
    outside = project.process("doctor", "--json", where=isolated).json
    assert outside["details"] == {"directory": str(isolated), "reason": "not_a_git_repository"}
    (project.root / ".kittify" / "config.yaml").unlink()
    inside = project.process("doctor", "--json").json
    assert inside["code"] == outside["code"] == "SPEC_KITTY_REPO_NOT_INITIALIZED"
    assert inside["details"] == {"directory": str(project.root), "reason": "no_config"}


ROOT = Path(__file__).parents[2]
# What comes from elsewhere than a call with the code in it: click's, the hosts' own last door, and those of a third party's.
SAID_OTHERWISE = {"USAGE", "FAULT", "FAILED", "INTERRUPTED", "GIT_FAILED", "QUEUE_DAMAGED"}


def codes_of(source: str) -> set[str]:
    """The codes that a module raises or finds."""
    calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    named = [
        node
        for node in calls
        if getattr(node.func, "id", getattr(node.func, "attr", "")) in ("KittyError", "Finding", "_open", "_failed")
    ]
    first = [node.args[0] for node in named if node.args]
    return {
        one.value for one in first if isinstance(one, ast.Constant) and re.fullmatch("[A-Z][A-Z_]+", str(one.value))
    }


def test_every_code_is_documented_and_every_documented_code_exists() -> None:
    sources = [*ROOT.glob("kitty_host/**/*.py"), *ROOT.glob("plugins/*/kitty_*/**/*.py")]
    raised = set().union(*(codes_of(path.read_text()) for path in sources))
    everything = "\n".join(path.read_text() for path in sources)
    rows = re.findall(r"^\| `([A-Z][A-Z_]+)` \|", (ROOT / "docs/errors.md").read_text(), re.MULTILINE)
    assert raised - set(rows) == set()
    assert {code for code in rows if f'"{code}"' not in everything} - SAID_OTHERWISE == set()
    assert len(set(rows)) == len(rows)


def test_that_a_code_is_seen_where_it_is_raised() -> None:
    assert codes_of('raise KittyError("NEW_CODE", "what", "way")\nyield Finding("OTHER", "x", "y")') == {
        "NEW_CODE",
        "OTHER",
    }
