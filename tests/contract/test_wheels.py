"""FR-025, C-003: kitty runs from its own wheels where `spec_kitty_runtime` is not, and cannot be, installed."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kitty_host.testing import isolate

ROOT = Path(__file__).parents[2]
SIX = [ROOT, *sorted((ROOT / "plugins").iterdir())]

# Whoever imports it is stopped, however it is asked for.
BARRED = """
import sys

class Barred:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "spec_kitty_runtime":
            raise ImportError(f"{name} is barred here")

sys.meta_path.insert(0, Barred())
"""


@pytest.mark.parametrize("place", SIX, ids=lambda place: place.name if place != ROOT else "host")
def test_no_distribution_names_the_retired_runtime(place: Path) -> None:
    text = (place / "pyproject.toml").read_text(encoding="utf-8")
    assert tomllib.loads(text)["project"]["name"].startswith("kitty-")
    assert not re.search(r"spec[-_.]kitty[-_.]runtime", text, re.IGNORECASE)


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Host and runtime, and nothing else."""
    dist = tmp_path_factory.mktemp("dist")
    for place in (ROOT, ROOT / "plugins/runtime"):
        build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(dist), str(place)]
        subprocess.run(build, check=True, capture_output=True)
    return sorted(dist.glob("*.whl"))


@pytest.fixture(scope="module")
def environment(wheels: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh one with these two, in which the retired runtime cannot be imported."""
    place = tmp_path_factory.mktemp("fresh") / "environment"
    subprocess.run([sys.executable, "-m", "venv", str(place)], check=True, capture_output=True)
    pip = [str(place / "bin/python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, *map(str, wheels)], check=True, capture_output=True)
    [site] = place.glob("lib/*/site-packages")
    (site / "barred.py").write_text(BARRED, encoding="utf-8")
    (site / "barred.pth").write_text("import barred\n", encoding="utf-8")
    return place


@pytest.fixture
def kitty(environment: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Any]]:
    """Runs a command of that environment in a new repository; the object that it prints."""
    isolate(tmp_path, monkeypatch)
    repository = tmp_path / "repository"
    repository.mkdir()
    for arguments in (["init", "--quiet"], ["commit", "--quiet", "--allow-empty", "-m", "first"]):
        subprocess.run(["git", *arguments], cwd=repository, check=True)
    variables = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}

    def run(*arguments: str) -> dict[str, Any]:
        command = [str(environment / "bin/kitty"), *arguments, "--json"]
        done = subprocess.run(command, cwd=repository, env=variables, capture_output=True, text=True)
        assert done.returncode == 0, done
        told: dict[str, Any] = json.loads(done.stdout)
        return told

    return run


@pytest.mark.slow
def test_next_runs_without_the_retired_runtime(kitty: Callable[..., dict[str, Any]], environment: Path) -> None:
    python = str(environment / "bin/python")
    barred = subprocess.run([python, "-c", "import spec_kitty_runtime"], capture_output=True, text=True)
    assert "spec_kitty_runtime is barred here" in barred.stderr
    pip = subprocess.run([python, "-m", "pip", "list", "--format=freeze"], capture_output=True, text=True, check=True)
    assert "spec-kitty-runtime" not in pip.stdout
    plugins = kitty("plugins", "list")
    assert {one["name"] for one in plugins["plugins"]} == {"host", "runtime"}
    assert plugins["faults"] == []
    assert ".claude/skills/kitty/SKILL.md" in kitty("init", "--agent", "claude")["created"]
    made = kitty("mission", "create", "search", "--target", "main")
    told = kitty("next")
    assert (told["mission_slug"], told["is_query"]) == (made["slug"], True)
    assert told["preview_step"] == "specify"


@pytest.mark.slow
def test_the_board_is_drawn_by_what_is_in_the_wheel(environment: Path, tmp_path: Path) -> None:
    """The template, the style and the script are files beside the code."""
    script = "from kitty_runtime.page import page\nprint(page(()).html)"
    python = [str(environment / "bin/python"), "-I", "-c", script]
    done = subprocess.run(python, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "No mission is open." in done.stdout
    assert "EventSource" in done.stdout
    assert "prefers-color-scheme" in done.stdout


@pytest.mark.slow
def test_without_its_extra_the_server_for_agents_says_what_to_install(
    kitty: Callable[..., dict[str, Any]], environment: Path, tmp_path: Path
) -> None:
    kitty("init")
    command = [str(environment / "bin/kitty"), "-C", str(tmp_path / "repository"), "mcp"]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("EXTRA_MISSING: kitty mcp needs the package mcp")
    assert "pip install 'kitty-runtime[mcp]'" in done.stderr


@pytest.mark.slow
def test_no_wheel_has_a_word_of_it(wheels: list[Path]) -> None:
    assert len(wheels) == 2
    for wheel in wheels:
        with zipfile.ZipFile(wheel) as archive:
            for name in archive.namelist():
                assert b"spec_kitty_runtime" not in archive.read(name), name


@pytest.mark.slow
def test_the_wheels_bring_the_mission_types(kitty: Callable[..., dict[str, Any]]) -> None:
    """FR-021: what is read from the checkout of a developer is read from the wheel of a user."""
    kitty("init")
    found = kitty("mission", "types")
    assert found["invalid"] == []
    assert {one["key"] for one in found["types"]} == {"software-dev", "research", "documentation", "plan"}
