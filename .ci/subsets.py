"""Every subset of kitty that makes sense, from built wheels, each in a fresh environment: what it says of itself, and its own tests.

Usage: python .ci/subsets.py WORK [SUBSET ...]. Needs `uv` on the path. Run in the repository's root. The lines that the tests run, in any
process, are left in WORK/coverage, for `.ci/covered.py`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

PLUGINS = ("merge", "intake", "runtime", "charter", "sync")
SUBSETS = {"host": (), **{one: (one,) for one in PLUGINS}, "runtime+merge": ("merge", "runtime"), "all": PLUGINS}
EXTRAS = {"runtime": ("mcp",), "sync": ("hub", "tracker")}
"""What a plugin can do besides, if more is installed."""
TESTS = {
    "host": ["tests", "--ignore=tests/e2e", "--ignore=tests/crash", "--ignore=tests/contract", "--ignore=tests/architectural"],
    **{one: [f"plugins/{one}/tests"] for one in PLUGINS},
    "runtime+merge": ["tests/crash/test_landing.py"],
    "all": ["tests/e2e"],
}  # fmt: skip
IMPORT_ALL = """
import importlib, pkgutil, sys
for name in sys.argv[1:]:
    package = importlib.import_module(name)
    for found in pkgutil.walk_packages(package.__path__, f"{name}."):
        # What pytest, python -m, alembic and strangers import in their own way.
        if not found.name.endswith(("kitty_host.testing", ".__main__", ".migrations.env")) and ".template" not in found.name:
            importlib.import_module(found.name)
"""


def run(*command: str | Path, environment: dict[str, str] | None = None) -> str:
    """Run something that succeeds, and return what it prints."""
    done = subprocess.run(
        [str(part) for part in command], stdout=subprocess.PIPE, text=True, env={**os.environ, **(environment or {})}
    )
    if done.returncode:
        print(done.stdout)
        sys.exit(f"exit code {done.returncode}: {' '.join(map(str, command))[:200]}")
    return done.stdout


def install(place: Path, wheels: Path, plugins: tuple[str, ...], *more: str, extras: bool = False) -> None:
    """From the wheels, and what they need from an index."""
    names = ["kitty-host", *(f"kitty-{one}[{','.join(EXTRAS.get(one, ()) if extras else ())}]" for one in plugins)]
    ours = [
        word for one in ("host", *PLUGINS) for word in ("--refresh-package", f"kitty-{one}")
    ]  # the version stays, the wheel does not
    run("uv", "pip", "install", "--quiet", "--python", place, "--find-links", wheels, *ours, *names, *more)


def covered(work: Path) -> dict[str, str]:
    """An environment in which every process notes the lines that it runs."""
    (work / "coverage").mkdir(exist_ok=True)
    return {
        "COVERAGE_PROCESS_START": str(Path("pyproject.toml").resolve()),
        "COVERAGE_FILE": str(work / "coverage" / "of"),
    }


def look(place: Path, plugins: tuple[str, ...], *others: str) -> None:
    """What is not there is named with the distribution that brings it, and nothing is at fault."""
    kitty = place / "bin" / "kitty"
    said = json.loads(run(kitty, "plugins", "doctor", "--json"))
    named = sorted(one["hint"] for one in said["findings"] if one["code"] == "PLUGIN_UNFILLED")
    absent = sorted(f"run: pip install kitty-{one}" for one in PLUGINS if one not in plugins)
    if not said["ok"] or named != absent or len(said["findings"]) != len(absent):
        sys.exit(f"kitty plugins doctor says {said['findings']}")
    listed = {one["name"] for one in said["plugins"]}
    if not {"host", *plugins, *others} <= listed or (not others and len(listed) > len(plugins) + 1):
        sys.exit(f"kitty plugins doctor lists {sorted(listed)}")


def main(work: Path, *names: str) -> None:
    """Each of the subsets that are named, or all."""
    wheels = work / "wheels"
    run("uv", "build", "--quiet", "--all-packages", "--wheel", "--out-dir", wheels)
    for name in names or SUBSETS:
        plugins, place = SUBSETS[name], work / f"subset-{name}"
        print(f"-- {name}", flush=True)
        run("uv", "venv", "--quiet", place)
        install(place, wheels, plugins)
        look(place, plugins)
        install(place, wheels, plugins, extras=True)
        packages = ["kitty_host", *(f"kitty_{one}" for one in plugins)]
        run(place / "bin" / "python", "-P", "-c", IMPORT_ALL, *packages)
        if name in TESTS:
            install(place, wheels, plugins, "--group", "dev", extras=True)
            print(
                run(place / "bin" / "pytest", "-p", "no:cacheprovider", *TESTS[name], environment=covered(work)),
                flush=True,
            )
        if name == "all":
            run(place / "bin" / "kitty", "demo", environment={"TMPDIR": str(work)})
            for example in sorted(Path("docs/examples").iterdir()):
                install(place, wheels, plugins, str(example), "pytest")
                print(run(place / "bin" / "pytest", "-p", "no:cacheprovider", "-o", "addopts=", example), flush=True)
                look(place, plugins, example.name.removeprefix("kitty-"))


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve(), *sys.argv[2:])
