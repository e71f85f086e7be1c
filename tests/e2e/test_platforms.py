"""The whole of kitty on other systems, by simulation: see `simulated` in the directory above."""

from __future__ import annotations

import json
import os
import re
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as some
from sqlalchemy import make_url

from kitty_host.records import Brief, PlannedPackage
from kitty_host.testing import Project
from kitty_runtime.from_brief import plan
from kitty_sync.hub.sqlite import Sqlite
from kitty_sync.queue import Queue
from kitty_sync.settings import Target
from kitty_sync.tracker.links import Links

SIMULATED = Path(__file__).parents[1] / "simulated.py"
OTHERS = (
    "alembic anyio httpx jinja2 jsonschema keyring limits mcp mcp_types prometheus_client psycopg sqlalchemy starlette uvicorn"
    " websockets"
)
EVERY_MODULE = """
import importlib, pkgutil
for name in ("kitty_host", "kitty_merge", "kitty_intake", "kitty_runtime", "kitty_charter", "kitty_sync"):
    for found in pkgutil.walk_packages(importlib.import_module(name).__path__, f"{name}."):
        if ".template" not in found.name and not found.name.endswith(
            (".testing", ".__main__", ".migrations.env", ".posix", ".windows", ".kitty_collecting")
        ):
            importlib.import_module(found.name)
"""


def on(system: str, *arguments: str, place: Path, **environment: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, SIMULATED, system, *arguments],
        cwd=place,
        env={**os.environ, **environment},
        capture_output=True,
        check=False,
    )


@pytest.mark.slow
@pytest.mark.parametrize("system", ["win32", "darwin"])
def test_every_module_of_every_plugin_can_be_imported(tmp_path: Path, system: str) -> None:
    done = on(system, "-c", EVERY_MODULE, place=tmp_path, SIMULATED_PRELOAD=OTHERS)
    assert done.returncode == 0, done.stderr.decode()


@pytest.mark.slow
@pytest.mark.parametrize("system", ["win32", "darwin"])
def test_a_mission_goes_all_the_way(isolated: Path, system: str) -> None:
    """From a foreign plan to commits on the target branch; here plain Git and kitty find nothing to object to."""
    place = isolated / "demo"
    done = on(system, "demo", str(place), "--json", place=isolated)
    assert done.returncode == 0, done.stderr.decode()
    landed = Project(place)
    assert landed.git("rev-parse", "main") == json.loads(done.stdout)["target_commit"]
    assert landed.git("status", "--porcelain") == ""
    for path in (*place.glob("kitty-specs/*/status.events.jsonl"), *place.glob(".git/kitty/ledger/*")):
        assert b"\r" not in path.read_bytes()
    assert json.loads(landed.process("ledger", "verify", "--json").stdout)["ok"]


def test_a_hub_is_refused_on_windows_before_anything_is_made(isolated: Path) -> None:
    done = on(
        *("win32", "hub", "serve", "--database", "sqlite:///hub.db", "--json"),
        place=isolated,
        SIMULATED_PRELOAD=OTHERS,
    )
    assert (done.returncode, json.loads(done.stdout)["code"]) == (1, "SYSTEM_UNSUPPORTED")
    assert not (isolated / "hub.db").exists()


# Names

RESERVED = re.compile(r"(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³])(\..*)?", re.IGNORECASE)
FORBIDDEN = re.compile(r'[<>:"\\|?*\x00-\x1f]|[. ]$')


def legal(path: str) -> bool:
    """Whether Windows and macOS can have a file of that name."""
    parts = path.split("/")
    return all(
        0 < len(part.encode("utf-16-le")) // 2 <= 255 and not RESERVED.fullmatch(part) and not FORBIDDEN.search(part)
        for part in parts
    )


@pytest.mark.parametrize("name", ["con", "NUL.md", "a:b", "a.", "a ", "a\\b", "x" * 256, "com1.txt", "a/aux/b"])
def test_what_windows_cannot_check_out_is_known_here(name: str) -> None:
    assert not legal(name)


@given(
    some.lists(some.text() | some.sampled_from(["CON", "aux.", "a:b", "nul", "Ä" * 300, "İ"]), min_size=1, max_size=4)
)
def test_files_that_kitty_names_after_a_plan_are_legal_everywhere_and_differ_in_more_than_case(
    titles: list[str],
) -> None:
    packages = tuple(PlannedPackage(str(number), title) for number, title in enumerate(titles))
    names = list(plan(Brief("plan.md", "body", "0" * 64, 4, packages=packages), "Plan").files)
    assert [name for name in names if not legal(name)] == []
    assert len({name.casefold() for name in names}) == len(names)


@pytest.mark.parametrize("slug", ["CON", "nul.", "a:b", "a b", "Ä", "a\\b", "a/b", "x" * 61])
def test_a_mission_that_could_not_be_checked_out_everywhere_is_refused(project: Project, slug: str) -> None:
    assert project.kitty("mission", "create", slug, "--agent", "ada", "--json").json["code"] == "MISSION_SLUG"
    assert list((project.root / "kitty-specs").glob("*")) == []


def test_the_longest_names_of_a_mission_are_legal(project: Project) -> None:
    for slug in ("con", "x" * 60):
        made = project.kitty("mission", "create", slug, "--agent", "ada", "--json").json
        assert legal(made["dir"])
        assert legal(f"{made['slug']}-lane-planning.status.lock")


@pytest.mark.parametrize("encoding", ["cp1252", "cp437"])
def test_a_title_that_a_terminal_cannot_show_is_no_fault(project: Project, encoding: str) -> None:
    project.mission(friendly_name="Menü Ж ☃")
    done = subprocess.run(
        [sys.executable, "-m", "kitty_host", "mission", "list"],
        cwd=project.root,
        env={**os.environ, "PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"},
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert r"Menü \u0416" in done.stdout.decode(encoding)


# Databases


def test_every_database_asks_for_a_full_sync_before_it_is_written(
    isolated: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only macOS makes a difference of it, where a commit may be lost otherwise."""
    connect, said = sqlite3.connect, dict[int, list[str]]()

    def connected(*arguments: object, **named: object) -> sqlite3.Connection:
        database = connect(*arguments, **named)  # type: ignore[call-overload]
        database.set_trace_callback(said.setdefault(len(said), []).append)
        return database

    monkeypatch.setattr(sqlite3, "connect", connected)
    monkeypatch.setattr(sqlite3.dbapi2, "connect", connected)
    queue = Queue(Target())
    with queue.locked(), queue.changing():
        pass
    Links(isolated, "github", "w", "m").forget("WP01")
    hub = Sqlite(make_url(f"sqlite:///{isolated / 'hub.db'}"))
    with hub.writer.begin():
        pass
    hub.close()
    assert len(said) == 3
    for statements in said.values():
        assert statements.index("PRAGMA fullfsync = ON") < statements.index("BEGIN IMMEDIATE")
