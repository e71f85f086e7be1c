"""When to look again: a stamp of everything that may change what is shown of missions."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from kitty_host.repo import Repo

INTERVAL = 0.5
"""Seconds from one look to the next."""

Stamp = frozenset[tuple[str, int, int, int]]


def stamp(repo: Repo) -> Stamp:
    """Size, time and inode of each ledger, `meta.json`, `lanes.json`, work-package file and ref. Nothing is opened."""
    found = []
    for path in _watched(repo):
        try:
            status = os.stat(path)  # noqa: PTH116 - hundreds, twice a second
        except OSError:
            continue
        found.append((os.fspath(path), status.st_size, status.st_mtime_ns, status.st_ino))
    return frozenset(found)


def _watched(repo: Repo) -> Iterator[str | Path]:
    for place in _entries(repo.missions_directory):
        yield from _entries(place)
        yield from _entries(os.path.join(place, "tasks"))  # noqa: PTH118
    yield from _entries(repo.state / "ledger")
    yield repo.common / "packed-refs"
    yield repo.common / "reftable" / "tables.list"
    for directory, _, names in os.walk(repo.common / "refs"):
        yield from (os.path.join(directory, name) for name in names)  # noqa: PTH118


def _entries(directory: str | Path) -> Iterator[str]:
    try:
        with os.scandir(directory) as entries:
            yield from [entry.path for entry in entries]
    except OSError:
        return
