"""The runbook: what it says an operator types is typed, by Bash, with the real kitty; and what it would say of a broken promise."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from .pages import DOCS, bash, blocks

BEGINNING, *SCENARIOS = blocks("runbook").items()


@pytest.mark.slow
@pytest.mark.parametrize(("heading", "script"), SCENARIOS, ids=[heading for heading, _ in SCENARIOS])
def test_the_promise_is_kept(isolated: Path, heading: str, script: str) -> None:
    done = bash(BEGINNING[1] + script, isolated / "fresh")
    assert done.returncode == 0, done
    assert done.stdout.splitlines()[-1] == f"kept: {heading}"
    assert "BROKEN" not in done.stderr


def test_there_are_eight_scenarios_and_no_block_is_left_out() -> None:
    assert BEGINNING[0] == "To begin with"
    assert [heading.partition(".")[0] for heading, _ in SCENARIOS] == [str(number) for number in range(1, 9)]
    text = (DOCS / "runbook.md").read_text(encoding="utf-8")
    assert re.findall(r"^## (\d)", text, re.MULTILINE) == [str(number) for number in range(1, 9)]
    assert text.count("```sh\n") == 9


def test_the_command_that_runs_all_of_it_runs_these_blocks(isolated: Path) -> None:
    text = (DOCS / "runbook.md").read_text(encoding="utf-8")
    [command] = re.findall(r"^\$ (kitty help .*)$", text, re.MULTILINE)
    done = bash(command.replace("bash runbook.sh", "cat runbook.sh"), isolated / "fresh")
    assert done.stdout == "".join([BEGINNING[1], *(script for _, script in SCENARIOS)])


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("test 1 = 2", "test 1 = 2"),
        ("clean", "git status"),
        ("repository one; echo >README.md; clean", 'test "$changes"'),
        ("refused USAGE kitty --version", 'test "$ended'),
        ("refused MISSION_REQUIRED kitty no-such-command", 'test "$ended'),
        ("refused USAGE kitty no-such-command", 'test "$ended'),
        ("work WP01 one.txt", ""),
        ('before=$(everything); echo >"$scratch/new"; test "$(everything)" = "$before"', 'test "$(everything)"'),
    ],
)
def test_a_promise_that_is_broken_is_not_passed_over(isolated: Path, line: str, said: str) -> None:
    done = bash(f"{BEGINNING[1]}{line}\necho 'kept: nothing'\n", isolated / "fresh")
    assert done.returncode != 0, done
    assert "kept" not in done.stdout
    assert f"BROKEN: {said}" in done.stderr
