"""`kitty hub`: anywhere, without a repository or a switch; on loopback alone; one hub for a database, and that for one user."""

from __future__ import annotations

import ast
import json
import os
import signal
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

import kitty_sync

from ..hub import HubProcess

PACKAGE = Path(kitty_sync.__file__).parent


def kitty(where: Path, *words: str, expected: int = 1, path: str = "") -> dict[str, Any]:
    command = [sys.executable, "-P", "-m", "kitty_host", *words, "--json"]
    environment = {**os.environ, **({"PYTHONPATH": path} if path else {})}
    done = subprocess.run(command, cwd=where, capture_output=True, text=True, env=environment, timeout=60)
    assert done.returncode == expected, done
    said: dict[str, Any] = json.loads(done.stdout)
    return said


def test_everything_it_keeps_is_for_its_user_alone(isolated: Path) -> None:
    before = os.umask(0)
    try:
        hub = HubProcess(isolated / "hub")
    finally:
        os.umask(before)
    hub.add_user("ada@example.org")
    kept = [path for path in hub.directory.iterdir() if path.name.startswith("hub.db") and path.suffix != ".lock"]
    assert {path.name for path in kept} == {"hub.db", "hub.db-wal", "hub.db-shm"}
    assert {stat.S_IMODE(path.stat().st_mode) for path in kept} == {0o600}
    hub.stop()


def test_it_is_durable_with_every_commit(hub: HubProcess) -> None:
    from kitty_sync.hub.store import Store

    store = Store(hub.database)
    with store.reading() as database:
        found = [database.exec_driver_sql(f"PRAGMA {name}").scalar() for name in ("journal_mode", "synchronous")]
    store.close()
    assert found == ["wal", 2]


def test_without_a_file_being_named_it_is_in_the_users_state(isolated: Path) -> None:
    kitty(isolated, "hub", "user", "add", "ada@example.org", "--team", "one", expected=0)
    assert sorted(path.name for path in (isolated / "home/.local/state/kitty").iterdir()) == ["hub.db"]


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org", ""])
def test_without_tls_it_listens_on_loopback_alone(isolated: Path, host: str) -> None:
    said = kitty(isolated, "hub", "serve", "--host", host, "--port", "0", "--database", "hub.db")
    assert said["code"] == "HUB_NOT_LOOPBACK"
    assert "TLS" in said["hint"]
    assert not (isolated / "hub.db").exists()


def test_a_port_that_somebody_has_is_refused(hub: HubProcess, isolated: Path) -> None:
    port = hub.address.rpartition(":")[2]
    assert kitty(isolated, "hub", "serve", "--port", port, "--database", "other.db")["code"] == "PORT_UNUSABLE"


def test_a_database_has_one_hub(hub: HubProcess, isolated: Path) -> None:
    said = kitty(isolated, "hub", "serve", "--port", "0", "--database", str(hub.database))
    assert said["code"] == "LOCK_HELD"
    assert said["details"]["pid"] == hub.pid


def test_what_is_no_database_is_left_as_it_is(isolated: Path) -> None:
    path = isolated / "hub.db"
    path.write_text("something else, and not to be lost" * 100)
    before = path.read_bytes()
    said = kitty(isolated, "hub", "serve", "--port", "0", "--database", "hub.db")
    assert said["code"] == "HUB_DATABASE"
    assert path.read_bytes() == before


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_when_it_is_told_to(hub: HubProcess, how: signal.Signals) -> None:
    assert hub.stop(how) == 0
    assert hub.told() == []
    hub.restart()
    assert httpx.get(f"{hub.address}/readyz", trust_env=False).json() == {"status": "ok"}


def test_somebody_gets_another_role_or_another_team(hub: HubProcess) -> None:
    first = hub.add_user("ada@example.org", "one", "reader")
    again = hub.add_user("ADA@example.org", "one", "owner")
    assert again == first | {"role": "owner"}
    other = hub.add_user("ada@example.org", "two")
    assert (other["user"], other["role"]) == (first["user"], "writer")
    assert other["team"]["id"] != first["team"]["id"]


def test_who_is_in_several_teams_says_in_which_a_device_is(hub: HubProcess, isolated: Path) -> None:
    for team in ("one", "two"):
        hub.add_user("ada@example.org", team)
    code = hub.form("/oauth/device", client_id="cli_native")["user_code"]
    said = kitty(isolated, "hub", "user", "approve", "ada@example.org", code, "--database", str(hub.database))
    assert (said["code"], said["details"]) == ("TEAM_REQUIRED", {"teams": ["one", "two"]})
    token = hub.login("ada@example.org", "--team", "two")["access_token"]
    headers = {"Authorization": f"Bearer {token}"}
    assert httpx.get(f"{hub.address}/v1/me", headers=headers, trust_env=False).json()["team"]["slug"] == "two"


REFUSED = {
    "no address": (["add", "ada", "--team", "one"], "ACCOUNT_INVALID"),
    "a line": (["add", "ada\n@example.org", "--team", "one"], "ACCOUNT_INVALID"),
    "no slug": (["add", "ada@example.org", "--team", "One Team"], "ACCOUNT_INVALID"),
    "a stranger": (["approve", "eve@example.org", "BBBB-BBBB"], "USER_UNKNOWN"),
    "in no such team": (["approve", "ada@example.org", "BBBB-BBBB", "--team", "two"], "USER_UNKNOWN"),
    "no such code": (["approve", "ada@example.org", "BBBB-BBBB"], "USER_CODE_UNKNOWN"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_done_is_refused_and_changes_nothing(hub: HubProcess, isolated: Path, case: str) -> None:
    hub.add_user("ada@example.org", "one")
    words, code = REFUSED[case]
    assert kitty(isolated, "hub", "user", *words, "--database", str(hub.database))["code"] == code
    database = sqlite3.connect(hub.database)
    assert database.execute("SELECT count(*) FROM members").fetchone() == (1,)
    database.close()


@pytest.mark.parametrize("package", ["jinja2", "limits", "prometheus_client", "sqlalchemy", "starlette", "uvicorn"])
def test_without_its_packages_it_names_the_extra(isolated: Path, package: str) -> None:
    site = isolated / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(
        "import sys\n"
        "class Barred:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name == {package!r}:\n"
        "            raise ModuleNotFoundError(name)\n"
        "import importlib.util\n"
        "found = importlib.util.find_spec\n"
        f"importlib.util.find_spec = lambda name, package=None: None if name == {package!r} else found(name, package)\n"
        "sys.meta_path.insert(0, Barred())\n"
    )
    for words in (["serve", "--port", "0"], ["user", "add", "ada@example.org", "--team", "one"]):
        said = kitty(isolated, "hub", *words, path=str(site))
        assert said["code"] == "EXTRA_MISSING"
        assert "kitty-sync[hub]" in said["hint"]
    assert (
        "serve"
        in subprocess.run(
            [sys.executable, "-P", "-m", "kitty_host", "hub", "--help"],
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONPATH": str(site)},
            cwd=isolated,
        ).stdout
    )


def imported(path: Path) -> set[str]:
    """The modules of this plugin that a module imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {one.name for one in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{one.name}" for one in node.names)}
    return {name for name in found if name.startswith("kitty_sync.")}


def test_hub_and_client_do_not_import_each_other() -> None:
    hub = sorted((PACKAGE / "hub").rglob("*.py"))
    client = [path for path in PACKAGE.rglob("*.py") if path not in hub]
    assert len(hub) > 8
    assert len(client) > 8
    for path in hub:
        strange = {name for name in imported(path) if not name.startswith(("kitty_sync.hub", "kitty_sync.schemas"))}
        assert strange == set(), path
    for path in client:
        assert {name for name in imported(path) if name.startswith("kitty_sync.hub")} == set(), path
