"""`kitty help` explains what is asked for; a shell is offered what there is; a slip of the finger is understood."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from kitty_host.builtin import help as topics
from kitty_host.testing import Project

pytestmark = pytest.mark.usefixtures("alone")


@pytest.mark.parametrize("words", [("ledger",), ("plugins", "new"), ("ledger", "show")])
def test_a_command_is_explained_as_it_explains_itself(project: Project, words: tuple[str, ...]) -> None:
    told = project.kitty("help", *words, "--json").json["text"]
    told, _, page = told.partition("\n\nThere is a page about it: kitty help ")
    assert told.strip() == project.kitty(*words, "--help").stdout.strip()
    if words == ("ledger",):  # the command goes before the page of the same name
        assert page == "ledger.md"
        assert project.kitty("help", page).stdout.startswith("# The ledger")


def test_words_may_come_as_one(project: Project) -> None:
    assert project.kitty("help", "ledger show").stdout == project.kitty("help", "ledger", "show").stdout


def test_a_page_is_shown_as_it_is_written(project: Project) -> None:
    page = Path(__file__).parent.parent / "docs" / "landing.md"
    assert project.kitty("help", "landing").stdout.strip() == page.read_text(encoding="utf-8").strip()
    assert project.kitty("help", "sync", "auth", "--json").json["text"].startswith("# Logging in")


def test_a_code_is_explained(project: Project) -> None:
    told = project.kitty("help", "wp_not_found").stdout
    assert told.startswith("WP_NOT_FOUND\n")
    assert "how to mend it: " in told


def test_every_code_can_be_asked_for() -> None:
    from .test_docs import documented

    assert len(documented()) > 100
    assert set(documented()) - set(topics._codes()) == set()


def test_without_a_topic_all_are_listed(project: Project) -> None:
    told = project.kitty("help").stdout
    for word in ("  doctor ", "  landing ", "  hub-running "):
        assert word in told


@pytest.mark.parametrize(
    ("said", "meant"), [("ledgr", "ledger"), ("landin", "landing"), ("WP_NOT_FOND", "WP_NOT_FOUND")]
)
def test_what_is_unknown_is_refused_with_what_it_may_have_been(project: Project, said: str, meant: str) -> None:
    done = project.kitty("help", said, "--json")
    assert (done.exit_code, done.code) == (1, "TOPIC_UNKNOWN")
    assert meant in done.json["hint"]


def test_a_slip_of_the_finger_is_understood(project: Project) -> None:
    done = project.kitty("docter", "--json")
    assert (done.exit_code, done.code) == (2, "USAGE")
    assert "Did you mean 'doctor'?" in done.json["message"]
    for other in ("qqqq", "intake"):
        assert "Did you mean" not in project.kitty(other, "--json").json["message"]


# Shells


def offered(project: Project, *words: str, where: Path | None = None) -> list[str]:
    """What bash is offered for the last of these words."""
    environment = {
        "COMP_WORDS": " ".join(["kitty", *words]),
        "COMP_CWORD": str(len(words)),
        "_KITTY_COMPLETE": "bash_complete",
    }
    done = project.process(where=where, environment=environment)
    assert (done.exit_code, done.stderr) == (0, "")
    return [line.partition(",")[2] for line in done.stdout.splitlines() if line]


ASKS = """
from kitty_host.api import Command, hookimpl

@hookimpl
def kitty_commands():
    return [Command("look", "look_cli:look", "Look.")]
"""
CLI = """
import click
from kitty_host.command import command

@command("look", mission=True)
@click.argument("wp")
def look(call, wp):
    "Look."
"""


@pytest.fixture
def shell(install: Callable[..., Path], project: Project) -> Project:
    """A repository with two missions, and a command of somebody else's that takes a work package."""
    (install("look", ASKS) / "look_cli.py").write_text(CLI)
    for slug in ("one", "two"):
        mission = project.mission(slug, [{"work_package_id": name, "title": f"Do {name}"} for name in ("WP01", "WP02")])
        project.record(mission, "WP01", "planned", "claimed")
    return project


def test_missions_and_work_packages_are_offered_to_every_command_that_takes_them(shell: Project) -> None:
    one, two = sorted(path.name for path in (shell.root / "kitty-specs").iterdir())
    assert offered(shell, "look", "--mission", "") == [one, two]
    assert offered(shell, "ledger", "show", "--mission", two[:5]) == [two]
    assert offered(shell, "look", "--mission", one, "") == ["WP01", "WP02"]
    assert offered(shell, "look", "--mission", one, "wp02") == ["WP02"]
    assert offered(shell, "look", "") == [f"{name}/{wp}" for name in (one, two) for wp in ("WP01", "WP02")]
    assert offered(shell, "-C", str(shell.root), "look", "--mission", one, "", where=shell.root.parent) == [
        "WP01",
        "WP02",
    ]
    assert "look" in offered(shell, "lo")


def test_where_there_is_nothing_nothing_is_offered_and_nothing_said(shell: Project) -> None:
    assert offered(shell, "look", "", where=shell.root.parent) == []
    for ledger in shell.root.glob("kitty-specs/*/meta.json"):
        ledger.write_text("{")
    assert offered(shell, "look", "") == []


def test_what_a_shell_would_read_as_more_than_a_word_is_not_offered(shell: Project) -> None:
    directory = shell.root / "kitty-specs" / "a$(touch x)"
    shutil.copytree(next((shell.root / "kitty-specs").iterdir()), directory)
    assert [word for word in offered(shell, "look", "--mission", "") if "$" in word] == []
    assert len(offered(shell, "look", "--mission", "")) == 2, "the others are offered all the same"


@pytest.mark.parametrize("name", ["bash", "zsh", "fish"])
def test_the_lines_for_a_shell_are_printed(shell: Project, name: str) -> None:
    text = shell.process("completion", name).stdout
    assert f"_KITTY_COMPLETE={name}_complete" in text
    program = shutil.which(name)
    if name == "bash":
        assert program
        one = sorted(path.name for path in (shell.root / "kitty-specs").iterdir())[0]
        words = f'{text}\nkitty() {{ "{sys.executable}" -m kitty_host "$@"; }}\nexport -f kitty\n'
        words += f'COMP_WORDS=(kitty look --mission {one[:3]}); COMP_CWORD=3; _kitty_completion kitty; echo "${{COMPREPLY[@]}}"\n'
        bin_ = shell.root.parent / "bin"
        bin_.mkdir()
        (bin_ / "kitty").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m kitty_host "$@"\n')
        (bin_ / "kitty").chmod(0o755)
        done = subprocess.run(
            [program, "-c", f"PATH={bin_}:$PATH\n{words}"], cwd=shell.root, capture_output=True, text=True
        )
        assert done.stdout.split() == [one], done
