"""A hub in a process of its own, for tests: started, killed, started again; and what it keeps, read straight from its database."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

import psycopg

PROJECT = "6f1d6c0e-1f2e-4d0c-9a55-3a8f3f1c2b7d"


def record(number: int, *, project: str = PROJECT, mission: str = "01J0000000000000000000MMMM", **event: Any) -> Any:
    """A record that a hub takes, with an id made of a number; keys of the event can be others."""
    event_id = f"01J{number:023d}"
    payload = {
        "mission_slug": "demo",
        "wp_id": "WP01",
        "from_lane": "planned",
        "to_lane": "claimed",
        "actor": "ada",
        "force": False,
        "execution_mode": "worktree",
    }
    made = {
        "event_id": event_id,
        "event_type": "WPStatusChanged",
        "aggregate_id": "WP01",
        "payload": payload,
        "timestamp": "2026-01-01T00:00:00+00:00",
        "build_id": "build",
        "node_id": "node",
        "lamport_clock": number,
        "project_uuid": project,
        "correlation_id": event_id,
        "schema_version": "3.0.0",
        **event,
    }
    return {"mission_id": mission, "mission_slug": "demo", "aggregate_type": "WorkPackage", "event": made}


def peak(pid: int) -> int:
    """The most memory that a process has had, in KiB."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found
    return int(found[1])


class HubProcess:
    """A hub on loopback, with a file below its directory or a PostgreSQL. It serves as soon as it is made; `stop` it in the end."""

    def __init__(self, directory: Path, *options: str, database: str = "") -> None:
        self.directory = directory
        self.options = options
        self.database: Any = database or directory / "hub.db"
        directory.mkdir(parents=True, exist_ok=True)
        self._port = 0
        self._process: subprocess.Popen[str] | None = None
        self.address = ""
        self._start()

    @property
    def pid(self) -> int:
        """Which process it is."""
        assert self._process is not None
        return self._process.pid

    def _start(self) -> None:
        words = ["hub", "serve", "--database", str(self.database), "--port", str(self._port), *self.options, "--json"]
        log = (self.directory / "hub.log").open("a")
        with log:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "kitty_host", *words],
                cwd=self.directory,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=self._environment(),
            )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        said = json.loads(line) if line else {}
        assert said.get("schema") == "kitty.hub/1", (line, (self.directory / "hub.log").read_text())
        self.address = str(said["address"])
        self._port = int(self.address.rpartition(":")[2])

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        """End it as a user would, and return its exit code."""
        return self._end(how)

    def kill(self) -> None:
        """End it as a power cut would."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """Serve again, on the same port and database."""
        if self._process is not None:
            self.stop()
        self._start()

    def _end(self, how: signal.Signals) -> int:
        if self._process is None:
            return 0
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(how)
        code = self._process.wait(30)
        assert self._process.stdout is not None
        self._process.stdout.close()
        self._process = None
        return code

    def told(self) -> list[str]:
        """The lines of its log, but for the one that depends on what else is installed."""
        text = (self.directory / "hub.log").read_text()
        return [line for line in text.splitlines() if "draws a board" not in line]

    def run(self, *words: str) -> dict[str, Any]:
        """Run a `kitty hub` command that succeeds, on the same database, and return its JSON."""
        from kitty_host.cli import run

        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = run(["hub", *words, "--database", str(self.database), "--json"])
        assert code == 0, (out.getvalue(), err.getvalue())
        said: dict[str, Any] = json.loads(out.getvalue())
        return said

    def add_user(self, email: str, team: str = "team", role: str = "writer") -> dict[str, Any]:
        """Put somebody into a team; `user`, `team` and `role` as `/v1/me` tells them."""
        return self.run("user", "add", email, "--team", team, "--role", role)

    def approve(self, email: str, code: str, *more: str) -> None:
        """Let the device in that shows this code."""
        self.run("user", "approve", email, code, *more)

    def login(self, email: str, *more: str) -> dict[str, Any]:
        """The whole device flow; `access_token`, `refresh_token` and the rest."""
        said = self.form("/oauth/device", client_id="cli_native", scope="offline_access")
        self.approve(email, said["user_code"], *more)
        grant = "urn:ietf:params:oauth:grant-type:device_code"
        return self.form("/oauth/token", grant_type=grant, device_code=said["device_code"], client_id="cli_native")

    def form(self, path: str, **fields: str) -> dict[str, Any]:
        """Send a form that is taken, and return the answer."""
        body = urllib.parse.urlencode(fields).encode()
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(self.address + path, body, timeout=30) as answer:
            said: dict[str, Any] = json.load(answer)
        return said

    def events(self, team: str | None = None) -> dict[str, str]:
        """The digest of every stored event by its id, of one team or of all, in the order of their commits.

        Read straight from the database; an id that stands there twice fails.
        """
        query = "SELECT event_id, digest FROM events JOIN teams ON teams.id = team_id"
        query += " WHERE slug = ?" if team else ""
        rows = self.execute(f"{query} ORDER BY team_id, seq", *([team] if team else []))
        found = dict(rows)
        assert len(found) == len(rows), "an event is stored twice"
        return found

    def execute(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        """Do something straight to the database, with `?` for each value, and return its rows."""
        if not isinstance(self.database, Path):
            with psycopg.connect(self.database, autocommit=True) as connection:
                cursor = connection.execute(statement.replace("?", "%s").encode(), values or None)
                return cursor.fetchall() if cursor.description else []
        with contextlib.closing(sqlite3.connect(self.database, timeout=30)) as database, database:
            return database.execute(statement, values).fetchall()

    @staticmethod
    def _environment() -> dict[str, str]:
        """Without the switch of sync, which the hub does not ask for."""
        return {name: value for name, value in os.environ.items() if name != "SPEC_KITTY_ENABLE_SAAS_SYNC"}
