"""The page of commands is what the commands say of themselves."""

from __future__ import annotations

from pathlib import Path

from kitty_host.testing import Project

PAGE = Path(__file__).parent.parent.parent / "docs" / "commands.md"


def test_the_page_says_what_every_command_says_of_itself(project: Project) -> None:
    told = project.process("help", "--all").stdout
    assert PAGE.read_text(encoding="utf-8") == told, "kitty help --all > docs/commands.md"
    for words in ("merge", "hub user add", "plugins new", "sync now"):
        assert f"## kitty {words}\n" in told


def test_it_is_the_same_page_in_a_narrow_terminal(project: Project) -> None:
    narrow = project.process("help", "--all", environment={"COLUMNS": "50"})
    assert narrow.stdout == PAGE.read_text(encoding="utf-8")


def test_all_and_a_topic_are_two_questions(project: Project) -> None:
    assert project.process("help", "--all", "merge").exit_code == 2
