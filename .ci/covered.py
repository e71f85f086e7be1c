"""How much of kitty the tests run, subprocesses included, of what `.ci/subsets.py` left: a table by package, and red below the goals.

Usage: python .ci/covered.py DIRECTORY. Run in the repository's root. DIRECTORY/missing.txt names each line and branch that is left.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path

from coverage import Coverage

LINES, BRANCHES = 95.0, 90.0
"""In percent, over the six packages together."""


def shares(found: Counter[str]) -> tuple[float, float]:
    """Lines and branches, in percent."""
    lines = 100 * found["covered_lines"] / found["num_statements"]
    return lines, 100 * found["covered_branches"] / (found["num_branches"] or 1)


def main(directory: Path) -> None:
    """Combine, print, compare."""
    measured = Coverage(config_file="pyproject.toml", data_file=str(directory / "of"))
    measured.combine([str(directory)], strict=True)
    measured.save()
    with (directory / "missing.txt").open("w") as missing:
        measured.report(show_missing=True, skip_covered=True, file=missing)
    measured.json_report(outfile=str(directory / "found.json"))
    packages: dict[str, Counter[str]] = {}
    for path, found in json.loads((directory / "found.json").read_bytes())["files"].items():
        name = next(part for part in Path(path).parts if part.startswith("kitty_"))
        numbers = {key: value for key, value in found["summary"].items() if isinstance(value, int)}
        packages.setdefault(name, Counter()).update(numbers)
    total = sum(packages.values(), Counter())
    print(f"{'package':16} {'lines':>7} {'branches':>9}")
    for name, numbers in {**packages, "together": total}.items():
        lines, branches = shares(numbers)
        print(f"{name:16} {lines:6.1f}% {branches:8.1f}%")
    lines, branches = shares(total)
    if lines < LINES or branches < BRANCHES:
        sys.exit(f"below {LINES} % of lines or {BRANCHES} % of branches; what is missing: {directory / 'missing.txt'}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
