"""What the configuration said last is kept, and is never the answer where the file says something else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from kitty_host.config import Config
from kitty_host.testing import Project


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text("merge:\n  strategy: squash\n")
    return path


def test_it_is_read_from_there_until_the_file_changes(file: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache" / "config.json"
    assert Config.load(file, cache).data == {"merge": {"strategy": "squash"}}
    told = json.loads(cache.read_bytes())
    cache.write_text(json.dumps({**told, "data": {"from": "the cache"}}))
    assert Config.load(file, cache).data == {"from": "the cache"}
    file.write_text("merge:\n  strategy: merge\n")
    assert Config.load(file, cache).data == {"merge": {"strategy": "merge"}}
    os.utime(file, (1, 1))
    cache.write_text(json.dumps({**told, "data": {"from": "the cache"}}))
    assert Config.load(file, cache).data == {"merge": {"strategy": "merge"}}
    file.unlink()
    assert Config.load(file, cache).data == {}


@pytest.mark.parametrize(
    "garbage", [b"", b"{", b"[]", b"null", b'{"stamp": 1}', b"\xff", b'{"stamp": null, "data": 1}']
)
def test_garbage_is_no_cache(file: Path, tmp_path: Path, garbage: bytes) -> None:
    cache = tmp_path / "config.json"
    cache.write_bytes(garbage)
    assert Config.load(file, cache).data == {"merge": {"strategy": "squash"}}


@pytest.mark.parametrize(
    "text", ["day: 2026-11-26\n", "1: one\n", "big: .inf\n", "none: .nan\n", "when: 2026-11-26T10:00:00Z\n"]
)
def test_what_json_cannot_say_is_not_kept(file: Path, tmp_path: Path, text: str) -> None:
    cache = tmp_path / "config.json"
    file.write_text(text)
    first = Config.load(file, cache).data
    assert not cache.exists()
    assert repr(Config.load(file, cache).data) == repr(first) == repr(Config.load(file).data)


def test_a_cache_that_cannot_be_written_costs_nothing_else(file: Path, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("in the way")
    assert Config.load(file, tmp_path / "cache" / "config.json").data == {"merge": {"strategy": "squash"}}


def test_with_it_a_command_loads_neither_yaml_nor_cattrs(project: Project) -> None:
    project.write(".kittify/config.yaml", "plugins:\n  timeout_seconds: 7\n")
    script = (
        "import sys\nfrom pathlib import Path\nfrom kitty_host.settings import PluginSettings\nfrom kitty_host.repo import Repo\n"
        f"repo = Repo.find(Path({str(project.root)!r}))\n"
        "print(repo.config.section('plugins', PluginSettings).timeout_seconds, *sys.modules)\n"
    )
    told = [
        subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
        for _ in range(2)
    ]
    assert [one[0] for one in told] == ["7", "7"]
    assert "ruamel.yaml" in told[0]
    assert {"ruamel.yaml", "cattrs"}.isdisjoint(told[1])
