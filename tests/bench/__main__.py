"""Prints kitty's figures: ratios of two things measured in turn in one run. `python tests/bench [ROW …]`.

Goals are not asserted: a figure that misses its goal is printed with a mark. Times of a busy machine say nothing; ratios say a little.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import bounds
import commands
import landings
import peers
import serving
import writes
from figure import Figure, keep
from measure import Bench, NotThere

ROWS: dict[str, Callable[[Bench], Iterator[Figure]]] = {
    "start": commands.start,
    "many": commands.many,
    "queries": commands.queries,
    "million": commands.million,
    "corpus": commands.corpus,
    "appends": writes.appends,
    "queue": writes.queue,
    "sync": writes.sync,
    "ingest": serving.ingest,
    "live": serving.live,
    "landing": landings.landing,
    "engine": landings.engine,
    "resume": landings.resume,
    "preview": landings.preview,
    "bounds": bounds.bounds,
    "peer": peers.peers,
    "suites": bounds.suites,
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python tests/bench", description=__doc__)
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"one of: {', '.join(ROWS)}")
    parser.add_argument("--runs", type=int, default=15)
    parser.add_argument("--corpus", type=Path, metavar="DIR", help="a directory with kitty-specs/ of real missions")
    parser.add_argument("--peer", type=Path, metavar="COMMAND", help="spec-kitty, in an environment of its own")
    parser.add_argument("--page", type=Path, metavar="FILE", help="put the figures on this page as well")
    asked = parser.parse_args()
    print(_machine())
    for name in asked.rows or ROWS:
        with tempfile.TemporaryDirectory(prefix="kitty-bench-") as scratch:
            bench = Bench(Path(scratch), asked.runs, asked.corpus, asked.peer)
            when = f"{datetime.date.today()}: {_machine()}"
            figures: list[Figure] = []
            try:
                for figure in ROWS[name](bench):
                    print(figure, flush=True)
                    figures.append(figure)
            except NotThere as missing:
                print(f"{name}: not measured, for want of {missing}", flush=True)
                continue
        if asked.page:
            keep(asked.page, name, str(ROWS[name].__doc__), when, figures)


def _machine() -> str:
    versions = [
        f"{name} {importlib.metadata.version(name)}"
        for name in ("click", "pluggy", "attrs", "cattrs", "msgspec", "ruamel.yaml")
    ]
    git = subprocess.run(["git", "version"], capture_output=True, text=True, check=True).stdout.strip()
    load = os.getloadavg()[0]
    python, system = (
        f"Python {platform.python_version()}",
        f"{platform.system()} {platform.release().partition('-')[0]}",
    )
    return f"{os.cpu_count()} cores, load {load:.2f}, {system}, {python}, {git}, {', '.join(versions)}"


if __name__ == "__main__":
    main()
