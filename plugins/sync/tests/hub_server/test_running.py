"""The unit and the container file of the documentation start a hub that answers, is watched and ends as they say."""

from __future__ import annotations

import configparser
import json
import os
import shlex
import signal
import subprocess
import sys
import tomllib
from pathlib import Path

import httpx
import pytest

from kitty_sync.hub import serve

ROOT = Path(__file__).parents[4]
FILES = ROOT / "docs" / "hub"


def unit() -> dict[str, str]:
    """What the section of the service says; the last of two lines with one key, as systemd has it for these."""

    class Unit(configparser.ConfigParser):
        def optionxform(self, optionstr: str) -> str:
            return optionstr

    found = Unit(strict=False, interpolation=None)
    found.read_string((FILES / "kitty-hub.service").read_text(encoding="utf-8"))
    return dict(found["Service"])


def container() -> dict[str, list[str]]:
    """The lines of the container file by their instruction."""
    found: dict[str, list[str]] = {}
    for line in (FILES / "Containerfile").read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            key, _, rest = line.partition(" ")
            found.setdefault(key, []).append(rest)
    return found


def words_of(name: str) -> list[str]:
    """The command line, after the program."""
    if name == "systemd":
        return shlex.split(unit()["ExecStart"])[1:]
    said = container()
    return [*json.loads(said["ENTRYPOINT"][0])[1:], *json.loads(said["CMD"][0])]


@pytest.mark.parametrize("name", ["systemd", "container"])
def test_the_command_that_is_written_there_serves_and_ends_as_it_is_told(name: str, isolated: Path) -> None:
    """With another port and file, without Git, and with SIGTERM."""
    words = words_of(name)
    assert words[words.index("--port") + 1] == "8770", "where the proxy looks"
    words[words.index("--port") + 1] = "0"
    words[words.index("--drain") + 1] = "0.5"
    (isolated / "bin").mkdir()
    environment = {**os.environ, "KITTY_HUB_DATABASE": str(isolated / "hub.db"), "PATH": str(isolated / "bin")}
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "kitty_host", *words, "--json"],
        cwd=isolated,
        stdout=subprocess.PIPE,
        stderr=(isolated / "log").open("w"),
        text=True,
        env=environment,
    )
    assert process.stdout is not None
    try:
        said = json.loads(process.stdout.readline())
        assert said["database"] == str(isolated / "hub.db")
        answer = httpx.get(f"{said['address']}/readyz", trust_env=False)
        assert answer.json() == {"status": "ok"}
        assert answer.headers["strict-transport-security"], "it knows that it is behind TLS"
        if name == "container":
            check = json.loads(container()["HEALTHCHECK"][0].removeprefix("CMD "))
            assert "http://127.0.0.1:8770/readyz" in check[2]
            look = [sys.executable, *check[1:2], check[2].replace("http://127.0.0.1:8770", said["address"])]
            subprocess.run(look, check=True, timeout=30)
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    assert (isolated / "hub.db").stat().st_mode & 0o077 == 0


def test_it_may_write_where_its_database_is_and_has_the_time_that_it_takes_to_end() -> None:
    said = unit()
    assert f"/var/lib/{said['StateDirectory']}/hub.db" == said["Environment"].partition("=")[2]
    drain = float(words_of("systemd")[words_of("systemd").index("--drain") + 1])
    assert float(said["TimeoutStopSec"]) > drain + serve._PATIENCE
    assert int(said["LimitNOFILE"]) >= 2000 + serve._OTHER_FILES
    assert said["KillSignal"] == f"SIG{container()['STOPSIGNAL'][0].removeprefix('SIG')}" == "SIGTERM"


def test_the_container_is_built_from_what_is_in_the_repository() -> None:
    said = container()
    copied = [word for line in said["COPY"] for word in line.split()[:-1]]
    assert [one for one in copied if not (ROOT / one).exists()] == []
    assert "plugins/sync" in copied
    project = tomllib.loads((ROOT / "plugins/sync/pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert 'pip install --no-cache-dir /src "/src/plugins/sync[hub]"' in said["RUN"][0]
    assert "hub" in project["optional-dependencies"]
    assert said["VOLUME"][0] == str(Path(said["ENV"][0].partition("=")[2]).parent)
