"""SC-006: kitty's own six distributions become releases once a plugin of somebody else was tested with exactly their files."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

from kitty_charter.release_artifact import hash_of
from kitty_charter.release_record import PLACE, REF, SCHEMA, _digest, moment_of, opened
from kitty_host.repo import Repo
from kitty_host.testing import Project, Result, initialized, isolate

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
SIX = {"kitty-host": ROOT, **{f"kitty-{path.name}": path for path in sorted((ROOT / "plugins").iterdir())}}

CONSUMER = {
    "pyproject.toml": """
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"
[project]
name = "kitty-hello"
version = "1.0"
dependencies = ["kitty-host>=0.1,<1"]
[project.entry-points.kitty]
hello = "kitty_hello"
[tool.hatch.build.targets.wheel]
only-include = ["kitty_hello.py"]
""",
    "kitty_hello.py": """
from kitty_host.api import Command, hookimpl

@hookimpl
def kitty_commands():
    return [Command("hello", "kitty_hello:hello", "Say hello.")]

def __getattr__(name):
    from kitty_host.command import command
    return command("hello")(lambda call: call.show({"schema": "hello/1"}, "hello"))
""",
    "tests/test_hello.py": """
def test_it_says_hello(project):
    assert project.process("hello").stdout == "hello\\n"

def test_everybody_is_there_and_well(project):
    listed = project.process("plugins", "list", "--json").json
    names = {one["name"] for one in listed["plugins"]}
    assert names >= {"charter", "hello", "host", "intake", "merge", "runtime", "sync"}
    assert listed["faults"] == []
""",
    "requirements.txt": ".\npytest\n",
}


class Release:
    """The six as wheels in a project that releases them."""

    def __init__(self, root: Path) -> None:
        self.project = Project(root)
        self.index = root.parent / f"{root.name}-index"
        dist = sorted((root / "dist").glob("*.whl"))
        self.wheels = {path.name.partition("-")[0].replace("_", "-"): path for path in dist}

    def kitty(self, *arguments: str) -> Result:
        return self.project.process("release", *arguments, "--json")

    def verify(self, name: str, consumer: Path) -> dict[str, Any]:
        others = [part for one, path in self.wheels.items() if one != name for part in ("--with", str(path))]
        command = ["--command", "python -m pytest --junitxml={report}", "--minimum-tests", "2"]
        where = ["--consumer", str(consumer), "--install", "-r requirements.txt"]
        told = self.kitty("verify", str(self.wheels[name]), *where, *command, *others)
        assert told.exit_code == 0, told
        assert "running python -m pytest" in told.stderr
        row: dict[str, Any] = told.json["verification"]
        return row

    def promote(self, name: str, version: str = "0.1.0") -> Result:
        return self.kitty("promote", name, version, "--to", str(self.index))

    @property
    def record(self) -> Path:
        return self.project.root / PLACE

    def change(self, change: Callable[[list[dict[str, Any]]], object]) -> None:
        """Change the rows by hand, and the chain with them."""
        rows = json.loads(self.record.read_bytes())["rows"]
        change(rows)
        for number, row in enumerate(rows):
            row["previous"] = _digest(rows[number - 1]) if number else "0" * 64
        self.record.write_text(json.dumps({"schema": SCHEMA, "rows": rows}))


@pytest.fixture
def verified(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Release]:
    """Six candidates, each verified by the consumer."""
    place = tmp_path_factory.mktemp("release")
    with pytest.MonkeyPatch.context() as patch:
        isolate(place, patch)
        patch.setenv("PIP_CACHE_DIR", str(place / "cache"))
        root = initialized(place / "project").root
        for source in SIX.values():
            build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(root / "dist")]
            subprocess.run([*build, str(source)], check=True, capture_output=True)
        consumer = Project(place / "hello")
        consumer.root.mkdir()
        consumer.git("init", "--quiet")
        for name, content in CONSUMER.items():
            consumer.commit(name, content)
        made = Release(root)
        assert set(made.wheels) == set(SIX)
        for name, path in made.wheels.items():
            assert made.kitty("candidate", str(path)).exit_code == 0
            assert made.promote(name).code == "RELEASE_NOT_VERIFIED"
        for name, path in made.wheels.items():
            row = made.verify(name, consumer.root)
            assert (row["ok"], row["tests"], row["failed"], row["skipped"]) == (True, 2, 0, 0)
            assert (row["sha256"], len(row["beside"])) == (hash_of(path), 5)
        yield made


def one_byte(release: Release) -> None:
    path = release.wheels["kitty-merge"]
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def long_ago(release: Release) -> None:
    """The same candidate and the same verification as rows of last month, written by kitty's own code."""
    kept = [row for row in rows_of(release) if row.distribution == "kitty-merge"]
    release.record.unlink()
    release.project.git("update-ref", "-d", REF)
    with opened(Repo.find(release.project.root)) as record:
        for row in kept:
            at = moment_of(row.at) - timedelta(days=30)
            record.append(evolve(row, at=at.isoformat()))


def rows_of(release: Release) -> list[Any]:
    with opened(Repo.find(release.project.root)) as record:
        return record.rows


PLANTED: dict[str, tuple[Callable[[Release], object], str]] = {
    "one byte is another": (one_byte, "RELEASE_TAMPERED"),
    "verified last month": (long_ago, "RELEASE_NOT_VERIFIED"),
    "a row is gone from the middle": (lambda one: one.change(lambda rows: rows.pop(7)), "RELEASE_RECORD_CHANGED"),
    "the last row is gone": (lambda one: one.change(lambda rows: rows.pop()), "RELEASE_RECORD_CHANGED"),
    "a verification is made up": (
        lambda one: one.change(lambda rows: rows.append({**rows[-1], "consumer": "nobody"})),
        "RELEASE_RECORD_CHANGED",
    ),
}


def test_SC_006_no_promotion_without_a_consumer(verified: Release, tmp_path: Path) -> None:
    """SC-006. One test, because the environments in which the consumer verifies the six take more than a minute to make."""
    for number, (lie, (plant, code)) in enumerate(PLANTED.items()):
        release = copied(verified, tmp_path / str(number))
        plant(release)
        told = release.promote("kitty-merge")
        assert (told.exit_code, told.code) == (1, code), (lie, told)
        assert not release.index.exists(), lie
    release = copied(verified, tmp_path / "last")
    assert release.promote("kitty-merge", "0.2.0").code == "RELEASE_NO_CANDIDATE"
    assert len(release.wheels) == 6
    for name, path in release.wheels.items():
        told = release.promote(name)
        assert told.exit_code == 0, told
        assert (release.index / path.name).read_bytes() == path.read_bytes()
        assert release.promote(name).code == "RELEASE_PROMOTED"
    assert len(list(release.index.iterdir())) == 6


def test_the_script_of_the_workflow_promotes_the_verified_file_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a copy of this repository, with its own record: `.ci/promote` builds anew, and what it builds has to be what was verified."""
    isolate(tmp_path, monkeypatch)
    monkeypatch.setenv("PATH", os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    for name in (
        "UV_PROJECT_ENVIRONMENT",
        "VIRTUAL_ENV",
    ):  # the copy has an environment of its own, and not that of these tests
        monkeypatch.delenv(name, raising=False)
    kitty = Project(tmp_path / "kitty")
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, tracked.split("\0")):
        (kitty.root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, kitty.root / name)
    kitty.git("init", "--quiet", "--initial-branch=main")
    kitty.git("add", ".")
    kitty.git("commit", "--quiet", "-m", "Everything")
    consumer = Project(tmp_path / "user")
    consumer.root.mkdir()
    consumer.git("init", "--quiet")
    consumer.commit("test_it.py", "import kitty_merge\n\n\ndef test_it_is_there():\n    assert kitty_merge\n")

    def build(name: str) -> Path:
        subprocess.run(["uv", "build", "--quiet", "--package", name, "--wheel"], cwd=kitty.root, check=True)
        return next((kitty.root / "dist").glob(f"{name.replace('-', '_')}-*.whl"))

    def promote(tag: str) -> subprocess.CompletedProcess[str]:
        command = ["bash", ".ci/promote", tag, str(tmp_path / "out")]
        return subprocess.run(command, cwd=kitty.root, capture_output=True, text=True)

    merge, host = build("kitty-merge"), build("kitty-host")
    assert {kitty.process("release", "candidate", str(wheel)).exit_code for wheel in (merge, host)} == {0}
    early = promote("kitty-merge-v0.1.0")
    assert early.returncode != 0
    assert "RELEASE_NOT_VERIFIED" in early.stderr
    command = ["--command", "python -m pytest --junitxml={report}", "--install", "pytest", "--with", str(host)]
    verified = kitty.process("release", "verify", str(merge), "--consumer", str(consumer.root), *command)
    assert verified.exit_code == 0, verified
    assert promote("kitty-charter-v0.1.0").returncode != 0
    assert list((tmp_path / "out").iterdir()) == []
    source = kitty.root / "plugins/merge/kitty_merge/graph.py"
    content = source.read_bytes()
    source.write_bytes(content + b"\n# another\n")
    assert promote("kitty-merge-v0.1.0").returncode != 0, "another build is another candidate"
    assert list((tmp_path / "out").iterdir()) == []
    source.write_bytes(content)
    done = promote("kitty-merge-v0.1.0")
    assert done.returncode == 0, done.stderr
    assert [path.read_bytes() for path in (tmp_path / "out").iterdir()] == [merge.read_bytes()]


def copied(verified: Release, root: Path) -> Release:
    """A copy, to do with as one likes."""
    shutil.copytree(verified.project.root, root)
    return Release(root)
