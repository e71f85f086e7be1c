"""Which plugins are installed, and which ought to be: entry points on `sys.path`, and the extras of the host's own metadata.

Entry points are read from the `entry_points.txt` files: `importlib.metadata` costs as much as a whole command.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from typing import NamedTuple

GROUP = "kitty"
HOST = "kitty-host"


class Entry(NamedTuple):
    """One entry point of the group `kitty`."""

    name: str
    target: str
    distribution: str
    version: str


def find_entries() -> list[Entry]:
    """The entry points of the group `kitty` on `sys.path`, sorted by name; the first of two copies of a distribution counts."""
    entries: dict[str, list[Entry]] = {}
    for place in sys.path:
        for distribution, version, text in _metadata(place or "."):
            if distribution not in entries:
                entries[distribution] = [
                    Entry(name, target, distribution, version) for name, target in _entry_points(text)
                ]
    return sorted(entry for found in entries.values() for entry in found)


def roles() -> dict[str, str]:
    """The distributions that the extras of the host's own metadata name, by extra; one of several, such as `all`, is no role."""
    from importlib.metadata import PackageNotFoundError, requires

    try:
        lines = requires(HOST) or []
    except PackageNotFoundError:
        lines = []
    found: dict[str, list[str]] = {}
    for line in lines:
        extra = re.search(r"""extra == ['"]([^'"]+)""", line)
        name = re.split(r"[^a-z0-9-]", line, maxsplit=1)[0]
        if extra and name != HOST:
            found.setdefault(extra[1], []).append(name)
    return {extra: names[0] for extra, names in found.items() if len(names) == 1}


def own_distributions() -> frozenset[str]:
    """The host, and whatever fills one of its roles."""
    return frozenset({HOST, *roles().values()})


def _metadata(place: str) -> Iterator[tuple[str, str, str]]:
    """Name, version and `entry_points.txt` of the distributions in one place of `sys.path`."""
    try:
        with os.scandir(place) as listing:
            names = [item.name for item in listing if item.name.endswith((".dist-info", ".egg-info"))]
    except NotADirectoryError:
        yield from _zipped_metadata(place)
        return
    except OSError:
        return
    for name in names:
        stem, _, kind = name.rpartition(".")
        if kind not in ("dist-info", "egg-info"):
            continue
        try:
            with open(  # noqa: PTH123 - measured
                os.path.join(place, name, "entry_points.txt"),  # noqa: PTH118
                encoding="utf-8",
                errors="replace",
            ) as stream:
                text = stream.read()
        except OSError:
            continue
        if f"[{GROUP}]" in text:
            yield (*_name_and_version(stem), text)


def _zipped_metadata(place: str) -> Iterator[tuple[str, str, str]]:
    import zipfile

    try:
        with zipfile.ZipFile(place) as archive:
            for name in archive.namelist():
                if name.endswith(".dist-info/entry_points.txt"):
                    yield (
                        *_name_and_version(name.partition(".dist-info")[0]),
                        archive.read(name).decode(errors="replace"),
                    )
    except (OSError, zipfile.BadZipFile):
        return


def _name_and_version(stem: str) -> tuple[str, str]:
    name, _, version = stem.partition("-")
    return re.sub(r"[-_.]+", "-", name).lower(), version.partition("-")[0]


def _entry_points(text: str) -> Iterator[tuple[str, str]]:
    section = ""
    for line in text.splitlines():
        line = line.strip()
        if line.startswith("["):
            section = line.strip("[]")
        elif section == GROUP and "=" in line and not line.startswith("#"):
            name, _, target = line.partition("=")
            yield name.strip(), target.partition("[")[0].strip()
