"""What `.ci/run` holds against everybody is held: types are strict everywhere, and what no test runs is red."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
RUN = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]
PACKAGES = {"kitty_host", *(path.parent.name for path in (ROOT / "plugins").glob("*/kitty_*/__init__.py"))}


def test_types_are_strict_in_every_package() -> None:
    assert SETTINGS["mypy"]["strict"] is True
    assert set(SETTINGS["mypy"]["packages"]) == PACKAGES
    assert len(PACKAGES) == 6
    assert [one["module"] for one in SETTINGS["mypy"]["overrides"]] == ["kitty_host.builtin.template.*"]
    assert re.search(r"^uv run .* mypy ", RUN, re.MULTILINE)


@pytest.mark.parametrize(("line", "ok"), [("def f(x: int) -> int: return x\n", True), ("def f(x): return x\n", False)])
def test_a_function_without_types_is_red(tmp_path: Path, line: str, ok: bool) -> None:
    (tmp_path / "planted.py").write_text(line)
    command = [
        sys.executable,
        "-m",
        "mypy",
        "--config-file",
        str(ROOT / "pyproject.toml"),
        "--cache-dir",
        str(tmp_path),
    ]
    done = subprocess.run([*command, "planted.py"], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode == 0) is ok, done.stdout


CODE = "def f(x: int) -> int:\n    if x:\n        return 1\n    return 2\n\n\n"


@pytest.mark.usefixtures("unmeasured")
@pytest.mark.parametrize(
    ("calls", "said"),
    [
        (["f(0); f(1)"], ""),
        (["f(0)", "f(1)"], ""),
        (["f(1)"], "below 95.0 % of lines"),
        (["", "f(0)"], "below 95.0 % of lines"),
    ],
    ids=["everything", "by two processes", "one branch", "the other"],
)
def test_what_no_test_runs_is_red(tmp_path: Path, calls: list[str], said: str) -> None:
    package = tmp_path / "kitty_some"
    package.mkdir()
    (package / "__init__.py").write_text(CODE)
    settings = {**SETTINGS["coverage"]["run"], "source_pkgs": ["kitty_some"]}
    lines = [f"{key} = {str(value).lower() if isinstance(value, bool) else value}" for key, value in settings.items()]
    (tmp_path / "pyproject.toml").write_text("[tool.coverage.run]\n" + "\n".join(lines) + "\n")
    for call in calls:
        command = [sys.executable, "-m", "coverage", "run", "--data-file", str(tmp_path / "of"), "-m", "start"]
        (tmp_path / "start.py").write_text(f"from kitty_some import f\n{call}\n")
        subprocess.run(command, cwd=tmp_path, check=True)
    script = [sys.executable, str(ROOT / ".ci" / "covered.py"), str(tmp_path)]
    done = subprocess.run(script, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == (1 if said else 0), done.stderr
    assert said in done.stderr
    assert "kitty_some" in done.stdout
    assert re.search(r"^uv run .* \.ci/covered\.py ", RUN, re.MULTILINE)


def test_coverage_looks_at_every_package() -> None:
    assert set(SETTINGS["coverage"]["run"]["source_pkgs"]) == PACKAGES
    assert SETTINGS["coverage"]["run"]["branch"] is True
