"""Prints kitty's figures: ratios of two things measured in turn in one run. `python tests/bench [ROW …]`.

Goals are not asserted: a ratio that misses its goal is printed with a mark. Times of a busy machine say nothing; ratios say a little.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from rows import ROWS, Bench


def main() -> None:
    parser = argparse.ArgumentParser(prog="python tests/bench", description=__doc__)
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"one of: {', '.join(ROWS)}")
    parser.add_argument("--runs", type=int, default=15)
    parser.add_argument("--corpus", type=Path, metavar="DIR", help="a directory with kitty-specs/ of real missions")
    asked = parser.parse_args()
    print(_machine())
    with tempfile.TemporaryDirectory(prefix="kitty-bench-") as scratch:
        bench = Bench(Path(scratch), asked.runs, asked.corpus)
        for name in asked.rows or ROWS:
            for line in ROWS[name](bench):
                print(line, flush=True)


def _machine() -> str:
    versions = [
        f"{name} {importlib.metadata.version(name)}"
        for name in ("click", "pluggy", "attrs", "cattrs", "msgspec", "ruamel.yaml")
    ]
    git = subprocess.run(["git", "version"], capture_output=True, text=True, check=True).stdout.strip()
    load = os.getloadavg()[0]
    python = f"Python {platform.python_version()}"
    return f"{os.cpu_count()} cores, load {load:.2f}, {platform.system()} {platform.release()}, {python}, {git}, {', '.join(versions)}"


if __name__ == "__main__":
    main()
