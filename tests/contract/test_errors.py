"""What scripts rely on when something goes wrong. A change here breaks them."""

from __future__ import annotations

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
