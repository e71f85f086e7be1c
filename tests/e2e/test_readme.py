"""The first mission of the README: what it says is typed, and both work packages land."""

from __future__ import annotations

from pathlib import Path

from kitty_host.testing import Project

from .pages import bash, blocks


def test_the_first_mission_of_the_readme_lands(isolated: Path) -> None:
    mission = blocks("../README")["Your first mission"]
    assert mission.count("\nkitty implement ") == 2, "all of its blocks are here"
    done = bash(f"set -e\n{mission}", isolated / "fresh")
    assert done.returncode == 0, done
    hello = Project(isolated / "fresh" / "hello")
    assert "2 of 2 done" in done.stdout
    assert "proved: each commit and each path" in done.stdout
    assert hello.git("show", "main:hello.py") == 'print("hello", input("who are you? "))'
    assert hello.git("status", "--porcelain") == ""
    undone = hello.process("merge", "--undo", "--mission", "greet")
    assert undone.exit_code == 0, undone
    assert hello.git("show", "main:hello.py") == 'print("hello")'
