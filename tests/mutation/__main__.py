"""Changes one thing at a time in a copy of the repository, and sees whether a test fails. `python tests/mutation [ROOM …]`.

Needs the dependency group `mutation`. docs/mutation.md tells what is changed, what came of it, and why the rest survives.
"""

from __future__ import annotations

import argparse
import difflib
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).parent))

from changes import changes_something
from cosmic_ray.commands import init
from cosmic_ray.mutating import use_mutation
from cosmic_ray.plugins import get_operator
from cosmic_ray.work_db import WorkDB
from cosmic_ray.work_item import MutationSpec
from rooms import ROOMS, Room
from trial import Trial

_ROOT = Path(__file__).resolve().parent.parent.parent


class Result(NamedTuple):
    """How many changes a room has, how many of them there was time for, and how many of those a test noticed."""

    mutants: int
    run: int = 0
    killed: int = 0


def main() -> None:
    parser = argparse.ArgumentParser(prog="python tests/mutation", description=__doc__)
    parser.add_argument("rooms", nargs="*", metavar="ROOM", help=f"any of: {', '.join(ROOMS)}")
    parser.add_argument(
        "--minutes", type=float, default=60, help="the most that a room may take; a random part is run then"
    )
    parser.add_argument("--only", metavar="TEXT", help="changes of lines only that contain this")
    asked = parser.parse_args()
    if unknown := set(asked.rooms) - ROOMS.keys():
        parser.error(f"there is no room {', '.join(sorted(unknown))}")
    rows = []
    with tempfile.TemporaryDirectory(prefix="kitty-mutation-") as scratch:
        _enter_copy(Path(scratch))
        for name in asked.rooms or ROOMS:
            print(f"\n{name}\n", flush=True)
            rows.append(_row(name, _try(ROOMS[name], Path(scratch), asked.minutes * 60, asked.only or "")))
    print(f"\ncosmic-ray {version('cosmic-ray')}, {time.strftime('%Y-%m-%d')}\n")
    print("| room | mutants | run | killed | score |\n|---|---|---|---|---|", *rows, sep="\n")


def _enter_copy(scratch: Path) -> None:
    """Make a copy of the files that Git knows or would take, and have every Python that is started from here import them."""
    copy = scratch / "kitty"
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=_ROOT,
        capture_output=True,
        check=True,
    )
    for name in filter(None, listed.stdout.decode().split("\0")):
        if (_ROOT / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(_ROOT / name, copy / name)
    os.chdir(copy)
    places = [copy, *sorted((copy / "plugins").iterdir())]
    sys.path[:0] = map(str, places)
    sys.dont_write_bytecode = True
    os.environ |= {"PYTHONPATH": os.pathsep.join(map(str, places)), "PYTHONDONTWRITEBYTECODE": "1"}
    found = subprocess.run(
        [sys.executable, "-c", "import kitty_host; print(kitty_host.__file__)"],
        capture_output=True,
        text=True,
        check=True,
    )
    if not Path(found.stdout.strip()).is_relative_to(copy):
        sys.exit(f"the tests would run {found.stdout.strip()}, and not the copy")


def _try(room: Room, scratch: Path, seconds: float, only: str) -> Result:
    mutants = _mutants(room, scratch, only)
    trial = Trial(room.tests, scratch)
    until = time.monotonic() + seconds
    result = Result(len(mutants))
    for change in mutants:
        if time.monotonic() > until:
            break
        operator = get_operator(change.operator_name)(**change.operator_args)
        with use_mutation(change.module_path, operator, change.occurrence) as (before, after):
            survives = trial.passes()
        if survives:
            print(_shown(change, before, after), flush=True)
        result = result._replace(run=result.run + 1, killed=result.killed + (not survives))
    return result


def _shown(change: MutationSpec, before: str, after: str) -> str:
    title = f"{change.module_path}:{change.start_pos[0]} {change.operator_name.partition('/')[2]}"
    lines = list(difflib.unified_diff(before.splitlines(), after.splitlines(), n=0, lineterm=""))
    return "\n".join([title, *(one for one in lines[2:] if not one.startswith("@@"))])


def _mutants(room: Room, scratch: Path, only: str) -> list[MutationSpec]:
    """All of them, in an order of which the beginning is a fair part."""
    known = WorkDB(scratch / "mutants.sqlite", WorkDB.Mode.create)
    init([Path(file) for file in room.files], known, {})
    found = [change for item in known.work_items for change in item.mutations if changes_something(change)]
    known.close()
    if room.definitions:
        found = [one for one in found if f"{one.module_path.stem}.{one.definition_name}" in room.definitions]
    if only:
        found = [one for one in found if only in Path(one.module_path).read_text().splitlines()[one.start_pos[0] - 1]]
    found.sort(key=lambda one: (str(one.module_path), one.operator_name, one.occurrence))
    random.Random(0).shuffle(found)
    return found


def _row(name: str, result: Result) -> str:
    score = f"{100 * result.killed / result.run:.1f} %" if result.run else "–"
    return f"| {name} | {result.mutants} | {result.run} | {result.killed} | {score} |"


if __name__ == "__main__":
    main()
