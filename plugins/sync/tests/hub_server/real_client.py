"""The released client, from the package index, in an environment and with a home of its own; and what its own store says."""

from __future__ import annotations

import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

from ..hub import HubProcess

RELEASE = "spec-kitty-cli==3.2.7"
# What the client's own classes hear over its own websocket: that it is there, then one event of somebody else.
LISTEN = """
import asyncio, json
from pathlib import Path
from specify_cli.identity.project import resolve_identity
from specify_cli.sync.client import WebSocketClient

async def main():
    root = Path.cwd()
    client = WebSocketClient(project_identity=resolve_identity(root), repo_root=root)
    heard = asyncio.Queue()
    client.set_message_handler(heard.put)
    await client.connect()
    print(client.get_status(), flush=True)
    print(json.dumps(await asyncio.wait_for(heard.get(), 60)), flush=True)
    await client.disconnect()
    print(client.get_status(), flush=True)

asyncio.run(main())
"""


def installed(place: Path) -> Path:
    """The directory of the commands of a new environment with that release."""
    uv = shutil.which("uv")
    python = place / "bin" / "python"
    made = [uv, "venv", "--quiet", "--python", sys.executable] if uv else [sys.executable, "-m", "venv"]
    into = (
        [uv, "pip", "install", "--quiet", "--python", str(python)]
        if uv
        else [str(python), "-m", "pip", "install", "-q"]
    )
    for command in ([*made, str(place)], [*into, RELEASE]):
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    return python.parent


class RealClient:
    """Somebody who uses that release in one project, with one hub."""

    def __init__(self, commands: Path, directory: Path, hub: HubProcess) -> None:
        self.hub = hub
        self._commands = commands
        self._state = directory / "state"
        self.project = directory / "project"
        self.project.mkdir(parents=True)
        (directory / "home").mkdir()
        kept = ("LANG", "LC_ALL", "TMPDIR", "GIT_CONFIG_GLOBAL", "GIT_CONFIG_NOSYSTEM")
        self._environment = {name: os.environ[name] for name in kept if name in os.environ} | {
            "PATH": f"{commands}{os.pathsep}{os.environ['PATH']}",
            "HOME": str(directory / "home"),
            "SPEC_KITTY_HOME": str(self._state),
            "SPEC_KITTY_ENABLE_SAAS_SYNC": "1",
            "SPEC_KITTY_SAAS_URL": hub.address,
            "SPEC_KITTY_NON_INTERACTIVE": "1",
            "SPEC_KITTY_NO_UPGRADE_CHECK": "1",
            "COLUMNS": "250",
            "PYTHONUNBUFFERED": "1",
        }

    def run(self, *words: str, code: int = 0) -> str:
        """What a command says that ends with this code."""
        done = self._run("spec-kitty", *words)
        assert done.returncode == code, (words, done.stdout, done.stderr)
        return done.stdout

    def git(self, *words: str) -> None:
        """A command of Git that succeeds."""
        done = self._run("git", *words)
        assert done.returncode == 0, done.stderr

    def _run(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            words,
            cwd=self.project,
            env=self._environment,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=180,
        )

    def start(self, *words: str) -> subprocess.Popen[str]:
        """A command, or a program, that is still running."""
        return subprocess.Popen(
            words,
            cwd=self.project,
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
        )

    def log_in(self, email: str) -> str:
        """Log in without a browser, let in by the command of the hub; what was said."""
        running = self.start("spec-kitty", "auth", "login", "--headless")
        assert running.stdout is not None
        said = ""
        while not (code := re.search(r"Code:\s*([A-Z]{4}-[A-Z]{4})", said)):
            line = running.stdout.readline()
            assert line, said
            said += line
        self.hub.approve(email, code[1])
        said += running.communicate(timeout=60)[0]
        assert running.returncode == 0, said
        return said

    def listen(self) -> subprocess.Popen[str]:
        """The client's own websocket."""
        return self.start(str(self._commands / "python"), "-c", LISTEN)

    def sync_now(self, code: int = 0) -> dict[str, Any]:
        """Deliver; its report. The command ends with 1 where there is nothing to deliver."""
        report = self._state / "report.json"
        self.run("sync", "now", "--report", str(report), code=code)
        said: dict[str, Any] = json.loads(report.read_text())
        return said

    def delivered(self, kind: str = "event") -> set[str]:
        """The id of everything of a kind that its own store holds to be delivered."""
        query = "SELECT payload_reference FROM delivery_attempts JOIN delivery_results USING (attempt_id)"
        said = self._ask(f"{query} WHERE outcome IN ('delivered', 'duplicate')")
        found = [json.loads(reference) for (reference,) in said]
        return {one["native_identity"] for one in found if one["write_kind"] == kind}

    def uploaded(self) -> set[str]:
        """The hash of every body that its own store holds to be uploaded."""
        return {one for (one,) in self._ask("SELECT content_hash FROM body_upload_tasks WHERE state = 'uploaded'")}

    def _ask(self, query: str) -> list[Any]:
        (path,) = self._state.glob("projects/*/sync/sync.db")
        database = sqlite3.connect(path)
        try:
            return database.execute(query).fetchall()
        finally:
            database.close()
