"""`kitty plugins new` writes a plugin that works at once, whole or not at all; the tutorial shows the same."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from kitty_host.builtin import scaffold
from kitty_host.testing import Project

from .test_docs import files_of_the_tutorial

WORKFLOWS = sorted(Path(__file__).parent.parent.glob("**/workflows/*.yml"))


def place(root: Path) -> None:
    """What an installer would have written beside a plugin."""
    packaging = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    metadata = root / f"{packaging['name'].replace('-', '_')}-{packaging['version']}.dist-info"
    metadata.mkdir()
    needs = "".join(f"Requires-Dist: {one}\n" for one in packaging["dependencies"])
    (metadata / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {packaging['name']}\nVersion: {packaging['version']}\n{needs}"
    )
    points = "".join(f"{name} = {target}\n" for name, target in packaging["entry-points"]["kitty"].items())
    (metadata / "entry_points.txt").write_text(f"[kitty]\n{points}")


@pytest.fixture
def tool(alone: Path, project: Project) -> Project:
    """A repository beside which plugins are written."""
    return project


def test_the_tutorial_shows_what_is_written() -> None:
    shown, written = files_of_the_tutorial(), scaffold.files("hello")
    assert len(shown) >= 4
    assert {name: written.get(name) for name in shown} == shown


def test_a_new_plugin_works_and_its_tests_pass(tool: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    done = tool.kitty("plugins", "new", "my-notes", "--directory", "../notes", "--json")
    root = tool.root.parent / "notes"
    assert (done.exit_code, done.json["distribution"], done.json["path"]) == (
        0,
        "kitty-my-notes",
        str(tool.root / "../notes"),
    )
    written = {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}
    assert written == set(done.json["files"])
    assert {".gitignore", ".github/workflows/ci.yml", "kitty_my_notes/plugin.py", "tests/test_my_notes.py"} < written
    assert [path for path in root.rglob("*") if path.is_file() and "hello" in path.read_text()] == []
    place(root)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(root), os.environ.get("PYTHONPATH", "")])))
    monkeypatch.setenv("KITTY_PLUGINS", "my-notes")
    tests = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"], cwd=root, capture_output=True, text=True
    )
    assert tests.returncode == 0, tests.stdout
    assert "3 passed" in tests.stdout
    doctor = tool.process("plugins", "doctor", "--json").json
    assert (doctor["ok"], doctor["faults"]) == (True, [])
    assert [one for one in doctor["findings"] if "notes" in one["message"]] == []
    tool.mission("search")
    assert tool.process("my-notes").stdout == "Hello, search: 0 of 0 done.\n"


@pytest.mark.parametrize(
    "name", ["", "Hello", "my_notes", "-x", "x-", "x--y", "9x", "a/b", "..", "é", "x" * 41, "class"]
)
def test_a_name_that_is_none_is_refused(tool: Project, name: str) -> None:
    before = tool.snapshot()
    done = tool.kitty("plugins", "new", "--json", "--", name)
    assert (done.exit_code, done.code) == (1, "PLUGIN_NAME_INVALID")
    assert tool.snapshot() == before


@pytest.mark.parametrize("name", ["host", "doctor", "merge", "charter"])
def test_a_name_that_something_has_is_refused(tool: Project, name: str) -> None:
    """Also where the plugin that ships with kitty under this name is not installed."""
    done = tool.kitty("plugins", "new", name, "--json")
    assert (done.exit_code, done.code) == (1, "PLUGIN_NAME_INVALID")
    assert f"there is a {name} already" in done.json["message"]


@pytest.mark.parametrize("kind", ["file", "directory", "dead link"])
def test_nothing_is_written_over(tool: Project, kind: str) -> None:
    taken = tool.root / "kitty-notes"
    if kind == "directory":
        taken.mkdir()
    elif kind == "file":
        taken.touch()
    else:
        taken.symlink_to("nowhere")
    before = tool.snapshot()
    done = tool.kitty("plugins", "new", "notes", "--json")
    assert (done.exit_code, done.code) == (1, "FILE_EXISTS")
    assert tool.snapshot() == before


def test_a_full_disk_leaves_nothing_behind(tool: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[Path] = []

    def write(path: Path, content: bytes, mode: int = 0o600) -> None:
        if len(written) == 3:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        path.write_bytes(content)
        written.append(path)

    before = tool.snapshot()
    monkeypatch.setattr(scaffold, "write_new", write)
    done = tool.kitty("plugins", "new", "notes", "--json")
    assert (done.exit_code, done.code) == (1, "DISK_FULL")
    assert len(written) == 3
    assert tool.snapshot() == before


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.parts[-4] + "/" + path.name)
def test_workflows_are_what_the_service_takes_and_nothing_in_them_is_unsafe(path: Path) -> None:
    for tool in (
        ["check-jsonschema", "--builtin-schema", "vendor.github-workflows"],
        ["zizmor", "--offline", "--quiet"],
    ):
        program = Path(sys.executable).with_name(tool[0])
        done = subprocess.run([program, *tool[1:], path], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (("runs-on:", "runs_on:"), "runs_on"),
        (("    steps:", "    needs: 5\n    steps:"), "5"),
        (("@11bd71901bbe5b1630ceea73d27597364c9af683", "@v4"), "unpinned-uses"),
        (("- run: python -m pytest", "- run: echo ${{ github.head_ref }}"), "template-injection"),
    ],
)
def test_what_is_wrong_in_a_workflow_would_be_seen(tmp_path: Path, change: tuple[str, str], told: str) -> None:
    text = scaffold.files("hello")[".github/workflows/ci.yml"]
    assert change[0] in text
    path = tmp_path / ".github" / "workflows" / "ci.yml"
    path.parent.mkdir(parents=True)
    path.write_text(text.replace(*change))
    with pytest.raises(AssertionError, match=told):
        test_workflows_are_what_the_service_takes_and_nothing_in_them_is_unsafe(path)
