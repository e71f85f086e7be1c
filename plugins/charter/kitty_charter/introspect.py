"""Asks the project's own interpreter what a distribution offers. What is asked runs in a process of its own: `surface.py`.

A module may print, hang or exit while it is imported: each of these is a problem to be told, and the process ends with its limit.
"""

from __future__ import annotations

import json
import secrets
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any

import attrs

from kitty_host.api import KittyError
from kitty_host.repo import Repo
from kitty_host.system import end_session

PYTHONS = (".venv/bin/python", ".venv/Scripts/python.exe")
SCRIPT = Path(__file__).with_name("surface.py")


@attrs.frozen
class Surface:
    """What is installed."""

    version: str | None
    """None where nothing is."""
    modules: dict[str, Any]
    """By module and name: what `surface.py` says."""
    problems: tuple[str, ...]
    """One line each: what kept a module from being seen whole."""


def python_of(repo: Repo, named: str = "") -> Path:
    """The project's interpreter: `named`, relative to a checkout, else of its `.venv`, where one stands before the main one.

    Where it has none, the one that runs kitty.
    """
    places = [root / name for root in (repo.here, repo.root) for name in ((named,) if named else PYTHONS)]
    found = [place for place in places if place.is_file()]
    return found[0] if found else places[0] if named else Path(sys.executable)


def surface(python: Path, directory: Path, distribution: str, modules: Iterable[str], seconds: float) -> Surface:
    """Ask `python`, started in `directory`, for at most `seconds`. Errors: `CONTRACT_PYTHON`."""
    mark = f"\n{secrets.token_hex(16)} "
    question = json.dumps({"distribution": distribution, "modules": list(modules), "mark": mark})
    # Not a pipe: whatever a module starts would keep that open.
    with tempfile.TemporaryFile() as output:
        ended = _run([str(python), "-B", str(SCRIPT), question], directory, output, seconds)
        output.seek(0)
        return _read(output.read().decode(errors="replace").split(mark), ended)


def _run(command: list[str], directory: Path, output: IO[bytes], seconds: float) -> str:
    """How it ended. With `-B` no cache of bytecode is written: a check writes nothing."""
    try:
        process = subprocess.Popen(
            command,
            cwd=directory,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    except OSError as error:
        raise KittyError(
            "CONTRACT_PYTHON",
            f"{command[0]} cannot be started: {error.strerror}",
            "set contract.python in .kittify/config.yaml, or name the project's interpreter with --python",
        ) from error
    try:
        return f"ends Python with exit code {process.wait(seconds)}"
    except subprocess.TimeoutExpired:
        return f"takes more than {seconds:g} seconds"
    finally:
        end_session(process)


def _read(parts: list[str], ended: str) -> Surface:
    """The script's own lines; what follows one of them was printed by the module that it was importing."""
    told: dict[str, Any] = {}
    problems = []
    importing = "Python itself"
    for part in parts[1:]:
        line, _, rest = part.partition("\n")
        said = json.loads(line)
        told |= said
        importing = f"importing {said['importing']}" if "importing" in said else importing
        if "failed" in said:
            problems.append(f"{importing} raises {said['failed']}")
        if rest:
            problems.append(f"{importing} prints {rest.strip()[:60]!r}")
    finished = "modules" in told or told.get("version", "") is None
    return Surface(
        told.get("version"), told.get("modules", {}), (*problems, *([] if finished else [f"{importing} {ended}"]))
    )
