"""`kitty init` writes only what was asked for and commits nothing."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from kitty_host.testing import Project

if TYPE_CHECKING:
    from conftest import Road


@pytest.fixture
def fresh(isolated: Path) -> Project:
    project = Project(isolated / "fresh")
    project.root.mkdir()
    project.git("init", "--quiet")
    project.git("commit", "--quiet", "--allow-empty", "-m", "first")
    return project


def test_it_makes_four_files_and_prints_the_commit_line(fresh: Project) -> None:
    done = fresh.kitty("init")
    assert done.exit_code == 0, done
    assert fresh.git("status", "--porcelain", "--untracked-files=all").splitlines() == [
        "?? .gitattributes",
        "?? .gitignore",
        "?? .kittify/config.yaml",
        "?? kitty-specs/.gitkeep",
    ]
    line = done.stdout.splitlines()[-1].removeprefix("Commit it: ")
    subprocess.run(line, shell=True, cwd=fresh.root, check=True, capture_output=True)
    assert fresh.git("status", "--porcelain") == ""


def test_doing_it_again_changes_nothing(fresh: Project) -> None:
    fresh.kitty("init")
    before = fresh.snapshot()
    assert fresh.kitty("init", "--json").json["created"] == []
    assert fresh.snapshot() == before


def test_lines_that_are_there_stay(fresh: Project) -> None:
    fresh.write(".gitignore", "mine\n.worktrees/")
    fresh.kitty("init")
    assert (fresh.root / ".gitignore").read_text().splitlines()[:2] == ["mine", ".worktrees/"]
    assert (fresh.root / ".gitignore").read_text().count(".worktrees/") == 1


def test_lines_that_end_as_on_windows_stay_and_are_joined_by_such(fresh: Project) -> None:
    fresh.write(".gitignore", b"mine\r\n.worktrees/\r\n")
    fresh.write(".gitattributes", b"*.txt text")
    assert fresh.kitty("init").exit_code == 0
    content = (fresh.root / ".gitignore").read_bytes()
    assert content.startswith(b"mine\r\n.worktrees/\r\n.kittify/")
    assert content.count(b"\n") == content.count(b"\r\n")
    assert (fresh.root / ".gitattributes").read_bytes().count(b"\r") == 0


def test_what_is_no_utf8_stays(fresh: Project) -> None:
    fresh.write(".gitattributes", b"# caf\xe9\n")
    done = fresh.kitty("init")
    assert done.exit_code == 0, done
    assert (fresh.root / ".gitattributes").read_bytes().startswith(b"# caf\xe9\nkitty-specs/")


def test_an_agent_is_added_and_comments_stay(fresh: Project) -> None:
    fresh.kitty("init")
    config = fresh.root / ".kittify/config.yaml"
    config.write_text(config.read_text() + "# mine\n")
    fresh.kitty("init", "--agent", "claude", "--agent", "codex")
    fresh.kitty("init", "--agent", "claude")
    text = config.read_text()
    assert "# mine" in text
    assert "# or squash" in text
    assert text.count("claude") == 1


def test_from_a_sub_directory_it_goes_to_the_root(fresh: Project) -> None:
    below = fresh.root / "a/b"
    below.mkdir(parents=True)
    fresh.kitty("init", where=below)
    assert (fresh.root / ".kittify/config.yaml").is_file()
    assert not list(below.iterdir())


def test_outside_a_repository_it_refuses_and_writes_nothing(isolated: Path) -> None:
    place = Project(isolated / "nothing")
    place.root.mkdir()
    done = place.kitty("init", "--json")
    assert (done.exit_code, done.code) == (1, "SPEC_KITTY_REPO_NOT_INITIALIZED")
    assert done.json["details"]["reason"] == "not_a_git_repository"
    assert not list(place.root.iterdir())


@pytest.mark.parametrize(
    "command",
    [
        ["mission", "create", "x"],
        ["specify"],
        ["plan"],
        ["tasks"],
        ["finalize"],
        ["next", "--result", "success"],
        ["implement", "WP01"],
        ["submit", "WP01"],
        ["review", "WP01", "--claim"],
        ["move", "WP01", "blocked"],
        ["note", "WP01", "text"],
        ["status"],
    ],
    ids=" ".join,
)
def test_without_it_every_command_refuses_and_writes_nothing(road: Road, fresh: Project, command: list[str]) -> None:
    before = fresh.snapshot()
    done = fresh.kitty(*command, "--json")
    assert (done.exit_code, done.code) == (1, "SPEC_KITTY_REPO_NOT_INITIALIZED")
    assert str(fresh.root) in done.json["message"]
    assert "init" in done.json["hint"]
    assert fresh.snapshot() == before


def test_the_peers_merge_driver_stays_in_force(fresh: Project) -> None:
    fresh.write(".gitattributes", "kitty-specs/**/status.events.jsonl merge=spec-kitty-event-log\n")
    fresh.kitty("init")
    assert fresh.git("check-attr", "merge", "kitty-specs/m/status.events.jsonl").endswith("spec-kitty-event-log")
