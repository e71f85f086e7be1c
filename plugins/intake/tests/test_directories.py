"""A directory as a source: what is read of it, and that nothing outside of it ever is."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from plan_sources import PLANS

from kitty_host.api import KittyError
from kitty_host.bundle import MAX_FILES
from kitty_host.repo import Repo
from kitty_host.testing import Project, Result
from kitty_intake.source import intake_root, read_directory

SPEC = "# Feature Specification: A feature\n\n- **FR-001**: It MUST be there.\n"


def refused(project: Project, code: str, *arguments: str) -> Result:
    """Run `kitty intake`, which refuses with this code and writes nothing anywhere."""
    before = project.snapshot()
    result = project.kitty("intake", *arguments, "--json")
    assert (result.exit_code, result.code) == (1, code), result
    assert project.snapshot() == before
    return result


@pytest.fixture
def feature(project: Project) -> Path:
    project.write("specs/001-x/contracts/a.yaml", "a: 1\n")
    project.write("specs/001-x/plan.md", "# Plan\n")
    return project.write("specs/001-x/spec.md", SPEC).parent


@pytest.mark.parametrize(
    "spelling", ["specs/001-x", "specs/001-x/", "./specs/../specs/001-x", "{root}/specs/001-x", "link"]
)
def test_a_directory_is_taken_in_however_it_is_spelt(project: Project, feature: Path, pair: Any, spelling: str) -> None:
    (project.root / "link").symlink_to("specs/001-x")
    name = spelling.format(root=project.root)
    taken = project.kitty("intake", name, "--json").json
    assert (taken["format"], taken["title"], taken["requirements"]) == ("spec-kit", "A feature", 1)
    assert pair.record["source_file"] == name
    assert project.kitty("brief", "--json").json["text"] == (
        f"=== contracts/a.yaml, 5 bytes ===\na: 1\n\n=== plan.md, 7 bytes ===\n# Plan\n\n=== spec.md, {len(SPEC)} bytes ===\n{SPEC}\n"
    )


def test_hidden_names_and_what_is_no_text_are_left_out(project: Project, feature: Path) -> None:
    project.write("specs/001-x/.env", "SECRET=1\n")
    project.write("specs/001-x/.git/config.md", "no")
    project.write("specs/001-x/picture.png", b"\x89PNG\xff")
    os.mkfifo(feature / "pipe")
    project.write("specs/001-x/NOTES.MD", "# Notes\n")
    text = project.kitty("intake", "specs/001-x", "--json").json
    assert text["size_bytes"] == len(project.kitty("brief", "--json").json["text"].encode())
    names = [line for line in project.kitty("brief", "--json").json["text"].split("\n") if line.startswith("=== ")]
    assert [line.split(",")[0] for line in names] == [
        "=== NOTES.MD",
        "=== contracts/a.yaml",
        "=== plan.md",
        "=== spec.md",
    ]


def test_a_directory_elsewhere_is_refused_and_the_hint_takes_it_in(project: Project, feature: Path, pair: Any) -> None:
    feature.rename(project.root.parent / "elsewhere")
    hint = refused(project, "INTAKE_PATH_ESCAPE", "../elsewhere").json["hint"]
    assert hint.endswith("run: kitty intake --from-outside ../elsewhere")
    assert project.kitty("intake", "--from-outside", "../elsewhere").exit_code == 0
    assert pair.record["source_file"] == "../elsewhere"


@pytest.mark.parametrize("inside", [True, False])
@pytest.mark.parametrize("name", ["link.md", "sub", "sub/deep/link.txt", "odd"])
def test_a_link_anywhere_in_it_is_refused(project: Project, feature: Path, name: str, inside: bool) -> None:
    secret = project.write("secret/a.md", "secret", where=project.root.parent)
    place = feature / name
    place.parent.mkdir(parents=True, exist_ok=True)
    place.symlink_to(secret.parent if name == "sub" else secret)
    told = refused(project, "INTAKE_PATH_ESCAPE", *([] if inside else ["--from-outside"]), "specs/001-x").json
    assert "specs/001-x has a link in it: " in told["message"]
    assert told["message"].endswith(name)
    place.unlink()
    assert told["hint"].endswith("take it out of the directory")
    assert project.kitty("intake", "specs/001-x").exit_code == 0


@pytest.mark.parametrize("arguments", [["specs/001-x"], ["--from-outside", "specs/001-x"]])
def test_a_hard_link_in_it_is_refused(project: Project, feature: Path, arguments: list[str]) -> None:
    secret = project.write("secret.md", "secret", where=project.root.parent)
    (feature / "a.md").hardlink_to(secret)
    assert "hard link" in refused(project, "INTAKE_PATH_ESCAPE", *arguments).json["message"]


def test_a_pipe_that_is_called_like_a_text_is_refused(project: Project, feature: Path) -> None:
    os.mkfifo(feature / "a.md")
    refused(project, "INTAKE_FILE_UNREADABLE", "specs/001-x")


def test_a_file_that_is_no_text_is_named(project: Project, feature: Path) -> None:
    project.write("specs/001-x/bad.md", b"# Bad\n\xff")
    message = refused(project, "INTAKE_FILE_UNDECODABLE", "specs/001-x").json["message"]
    assert "specs/001-x/bad.md is not UTF-8 text: invalid start byte at byte 6" in message


def test_a_directory_without_a_text_is_empty(project: Project) -> None:
    project.write("plans/picture.png", b"x")
    refused(project, "INTAKE_EMPTY", "plans")


def test_the_cap_is_on_the_sum(project: Project, configure: Callable[[str], None]) -> None:
    project.write("plans/a.md", "a" * 400)
    project.write("plans/b.md", "b" * 400)
    size = sum(400 + len(f"=== {name}.md, 400 bytes ===\n\n") for name in "ab")
    configure(f"max_brief_bytes: {size}")
    assert project.kitty("intake", "plans").exit_code == 0
    project.write("plans/b.md", "b" * 401)
    assert f"the cap of {size} bytes" in refused(project, "INTAKE_TOO_LARGE", "plans", "--force").json["message"]
    repo = Repo.find(project.root)
    with pytest.raises(KittyError, match="INTAKE_TOO_LARGE"):
        read_directory(repo, intake_root(repo), project.root, "plans")


MEASURED = """
import sys
from kitty_host.cli import run

def largest():
    return int(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM"))) * 1024

assert run(["intake", "small"]) == 0
before = largest()
assert run(["intake", "large", "--force"]) == 1
print(largest() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the largest resident size is read from /proc")
def test_a_directory_that_is_too_large_does_not_fill_the_memory(project: Project) -> None:
    project.write("small/a.md", "x" * 100)
    for number in range(20):
        with project.write(f"large/{number}.md", "").open("r+b") as sparse:
            sparse.truncate(5_000_000)
    with project.write("large/more.md", "").open("r+b") as sparse:
        sparse.truncate(5_000_000_000)
    done = subprocess.run([sys.executable, "-c", MEASURED], cwd=project.root, capture_output=True, text=True)
    assert "INTAKE_TOO_LARGE: " in done.stderr
    assert int(done.stdout.splitlines()[-1]) < 2 * 5_242_880


def test_a_directory_of_too_many_texts_is_refused(project: Project) -> None:
    for number in range(MAX_FILES):
        project.write(f"plans/{number}.md", "x")
    assert project.kitty("intake", "plans").exit_code == 0
    project.write("plans/more.md", "x")
    refused(project, "INTAKE_TOO_LARGE", "plans", "--force")


def test_a_directory_of_very_many_files_is_refused(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kitty_intake.source._LOOKED_AT", 10)
    for number in range(10):
        project.write(f"plans/{number}.png", b"x")
    refused(project, "INTAKE_EMPTY", "plans")
    project.write("plans/more.png", b"x")
    refused(project, "INTAKE_TOO_LARGE", "plans")


def test_a_pair_of_a_directory_is_verified_like_any_other(project: Project, feature: Path, pair: Any) -> None:
    assert project.kitty("intake", "specs/001-x").exit_code == 0
    pair.brief.write_bytes(pair.brief.read_bytes().replace(b"It MUST", b"It MAY!"))
    assert project.kitty("brief", "--json").code == "INTAKE_BRIEF_TAMPERED"


@pytest.mark.parametrize(
    ("plan", "place", "found"),
    [
        ("spec_kit/001-photo-albums", "specs/001-photo-albums", "specs/001-photo-albums"),
        ("spec_kit/020-suche", ".specify/specs/020-suche", ".specify/specs/020-suche"),
        ("openspec/remove-old-login", "openspec/changes/remove-old-login", "openspec/changes/remove-old-login"),
        ("backlog/types", "backlog/tasks", "backlog/tasks"),
        ("backlog/types", ".backlog/tasks", ".backlog/tasks"),
        ("task_master/two_tags", ".taskmaster", ".taskmaster/tasks/tasks.json"),
        ("beads/reader", ".beads", ".beads/issues.jsonl"),
    ],
)
def test_auto_finds_the_plans_of_tools(project: Project, pair: Any, plan: str, place: str, found: str) -> None:
    for path in (PLANS / plan).rglob("*"):
        if path.is_file():
            project.write(f"{place}/{path.relative_to(PLANS / plan)}", path.read_bytes())
    project.write("openspec/changes/archive/2026-01-01-old/proposal.md", "## Why\n\n## What Changes\n")
    taken = project.kitty("intake", "--auto", "--json").json
    assert taken["format"] not in ("", "text")
    assert pair.record["source_file"] == found
    assert "source_agent" not in pair.record


def test_auto_names_plans_of_several_tools(project: Project) -> None:
    project.write("specs/001-x/spec.md", SPEC)
    project.write(".cursor/plans/one.md", "# One\n")
    details = refused(project, "INTAKE_SOURCE_AMBIGUOUS", "--auto").json["details"]
    assert details["candidates"] == [".cursor/plans/one.md", "specs/001-x"]
