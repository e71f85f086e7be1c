"""How long commands take that only read: to start, to ask, with much to read."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from figure import Figure, at_most, figure
from ledgers import count_lines, fill
from measure import IMPORT_CLICK, KITTY, Bench, NotThere, in_turn, process
from scenes import repository

from kitty_host.mission import find_missions
from kitty_host.repo import Repo


def start(bench: Bench) -> Iterator[Figure]:
    """`--version` and `--help` against the import of click."""
    for argument, goal in (("--version", 1.15), ("--help", 1.35)):
        ratio = in_turn(process(KITTY, argument), process(*IMPORT_CLICK), runs=bench.runs)
        yield at_most(f"kitty {argument}", "python -c 'import click'", goal, ratio)


def many(bench: Bench) -> Iterator[Figure]:
    """`--help` with 25 plugins among 115 distributions against the same without them."""
    site = bench.scratch / "site"
    site.mkdir()
    for number in range(115):
        metadata = site / f"other_{number}-1.0.dist-info"
        metadata.mkdir()
        text = f"[console_scripts]\nx{number} = x:x\n"
        if number < 25:
            (site / f"kitty_many_{number}.py").write_text(
                "from kitty_host.api import Command, hookimpl\n\n@hookimpl\ndef kitty_commands():\n"
                f"    return [Command('many-{number}', 'x:y', 'One of many.')]\n"
            )
            text += f"[kitty]\nmany{number} = kitty_many_{number}\n"
        (metadata / "entry_points.txt").write_text(text)
    with_many = process(KITTY, "--help", environment={"PYTHONPATH": str(site)})
    click_cpu = in_turn(process(*IMPORT_CLICK), process(*IMPORT_CLICK), runs=bench.runs).one.cpu
    ratio = in_turn(with_many, process(KITTY, "--help"), runs=bench.runs)
    more = (ratio.one.cpu - ratio.other.cpu) / click_cpu
    yield figure(
        "--help, 25 plugins and 115 distributions more", "python -c 'import click', on top", "≤ 0.4", more, more <= 0.4
    )


def queries(bench: Bench) -> Iterator[Figure]:
    """`status` and `next` on ten work packages against the import of click."""
    root = repository(bench.scratch / "ten", packages=10)
    for command in ("status", "next"):
        # As an agent asks: in the repository, and with its name in the environment.
        asked = process(KITTY, command, "--json", where=root, environment={"KITTY_AGENT": "bench"})
        ratio = in_turn(asked, process(*IMPORT_CLICK), runs=bench.runs)
        yield at_most(f"kitty {command} --json, 10 work packages, warm", "python -c 'import click'", 2.0, ratio)


def million(bench: Bench) -> Iterator[Figure]:
    """`status` on a ledger of a million rows: with its cache against a short ledger, without it against counting the lines."""
    short = repository(bench.scratch / "short", packages=10)
    root = repository(bench.scratch / "long", packages=10)
    (mission,) = find_missions(Repo.find(root))
    fill(mission, 1_000_000)
    long = process(KITTY, "status", "--json", where=root)

    def forget() -> None:
        shutil.rmtree(mission.repo.cache, ignore_errors=True)

    # Read once through, so that neither has to wait for the disk.
    cold = in_turn(long, process(*count_lines(mission.ledger.live)), runs=min(bench.runs, 5), before=forget)
    warm = in_turn(long, process(KITTY, "status", "--json", where=short), runs=bench.runs)
    yield at_most("kitty status, a million events, warm", "the same, a few rows", 2, warm)
    yield at_most("kitty status, a million events, cold", "counting the lines", 5, cold)


def corpus(bench: Bench) -> Iterator[Figure]:
    """`status --all` on real missions: with caches against an empty mission, without them against parsing the same front matters."""
    if bench.corpus is None:
        raise NotThere("a directory with kitty-specs/ of real missions: --corpus")
    short = repository(bench.scratch / "empty", packages=0)
    root = repository(bench.scratch / "corpus", packages=0)
    shutil.rmtree(root / "kitty-specs")
    shutil.copytree(bench.corpus / "kitty-specs", root / "kitty-specs")
    everything = process(KITTY, "status", "--all", "--json", where=root)
    cache = Repo.find(root).cache

    def forget() -> None:
        shutil.rmtree(cache, ignore_errors=True)

    warm = in_turn(everything, process(KITTY, "status", "--all", "--json", where=short), runs=bench.runs)
    yield at_most("kitty status --all, real missions, warm", "the same, an empty mission", 3, warm)
    parsing = process(sys.executable, "-c", _PARSE, root)
    cold = in_turn(everything, parsing, runs=min(bench.runs, 5), before=forget)
    yield at_most("kitty status --all, real missions, cold", "parsing the same front matters", 1.5, cold)
    sevenfold = repository(bench.scratch / "sevenfold", packages=0)
    shutil.rmtree(sevenfold / "kitty-specs")
    for number in range(_COPIES):
        for mission in (bench.corpus / "kitty-specs").iterdir():
            _copy_of(mission, sevenfold / "kitty-specs", number)
    grown = in_turn(process(KITTY, "status", "--all", "--json", where=sevenfold), everything, runs=bench.runs)
    yield at_most("kitty status --all, real missions seven times over, warm", "the same, once", _COPIES, grown)


_COPIES = 7


def _copy_of(mission: Path, place: Path, number: int) -> None:
    """A real mission under another id and another name."""
    meta = json.loads((mission / "meta.json").read_bytes())
    ids = f"{meta['mission_id'][:6]}{number}{meta['mission_id'][7:]}"
    copy = place / f"{mission.name.removesuffix(meta['mission_id'][:8])}{ids[:8]}"
    shutil.copytree(mission, copy)
    (copy / "meta.json").write_text(
        json.dumps({**meta, "mission_id": ids, "slug": copy.name, "mission_slug": copy.name})
    )


_PARSE = """
import re, sys
from pathlib import Path
from ruamel.yaml import YAML
for path in sorted(Path(sys.argv[1]).glob("kitty-specs/*/tasks/WP*.md")):
    YAML(typ="safe").load(re.match(rb"---\\s*\\n(.*?)^---", path.read_bytes(), re.S | re.M)[1])
"""
