"""The plugins of the documentation work, and the page about them shows them as they are."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from kitty_host.testing import Project

from ..test_scaffold import place

DOCS = Path(__file__).parent.parent.parent / "docs"
EXAMPLES = sorted(path.parent for path in (DOCS / "examples").glob("*/pyproject.toml"))


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_its_tests_pass_and_the_doctor_is_content(
    example: Path, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a copy, beside what is installed."""
    root = project.root.parent / example.name
    for path in example.rglob("*"):
        if path.is_file() and "__pycache__" not in path.parts:
            copy = root / path.relative_to(example)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(path.read_bytes())
    place(root)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(root), os.environ.get("PYTHONPATH", "")])))
    tests = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"], cwd=root, capture_output=True, text=True
    )
    assert tests.returncode == 0, tests.stdout
    assert "skipped" not in tests.stdout
    said = project.process("plugins", "doctor", "--json").json
    assert example.name in {one["distribution"] for one in said["plugins"]}
    assert said["faults"] == []
    assert [one for one in said["findings"] if example.name in one["message"]] == []


def test_the_page_shows_them_as_they_are() -> None:
    text = (DOCS / "plugins-useful.md").read_text(encoding="utf-8")
    shown = dict(re.findall(r"^`(examples/[\w/.-]+)`\n\n```\w+\n(.*?)^```", text, re.DOTALL | re.MULTILINE))
    assert {name.split("/")[1] for name in shown} == {path.name for path in EXAMPLES} == {"kitty-audit", "kitty-tell"}
    assert {name: (DOCS / name).read_text(encoding="utf-8") for name in shown} == shown
