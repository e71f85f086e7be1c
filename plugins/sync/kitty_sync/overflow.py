"""Drained events as files: `.kittify/sync/overflow-<time>.jsonl`, a manifest line and one line for each event.

A file is written whole, synced, and given its name only then; no name is ever given twice.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from kitty_host.api import KittyError
from kitty_host.files import (
    disk_errors,
    link_exclusively,
    make_directory,
    remove,
    rename,
    sweep,
    temporary,
    write_new,
)
from kitty_sync.entry import HUB, TENANT, Entry, canonical

SCHEMA = "kitty.overflow/1"


def directory_of(root: Path) -> Path:
    """Where the files of a project are."""
    return root / ".kittify" / "sync"


def write_overflow(root: Path, project: str, entries: Sequence[Entry]) -> Path:
    """Write a new file and return its path when it is on disk under its name. Errors: `DISK_FULL`, `READ_ONLY`."""
    directory = directory_of(root)
    moment = datetime.now(UTC)
    body = "".join(f"{entry.line}\n" for entry in entries).encode()
    manifest = {
        "schema": SCHEMA,
        "hub": HUB,
        "tenant": TENANT,
        "project": project,
        "drained_at": moment.isoformat(timespec="seconds"),
        "count": len(entries),
        "sha256": hashlib.sha256(body).hexdigest(),
    }
    make_directory(directory)
    sweep(directory)  # what a drain that was killed left half written is still queued
    with disk_errors(directory):
        write_new(unnamed := temporary(directory), f"{canonical(manifest)}\n".encode() + body)
        while not _named(unnamed, target := directory / f"overflow-{moment:%Y%m%dT%H%M%SZ}.jsonl"):
            moment += timedelta(seconds=1)
        remove(unnamed)
    return target


def read_overflows(root: Path, project: str) -> dict[str, Entry]:
    """The entries of this project in all its files, by event id. Errors: `OVERFLOW_DAMAGED`."""
    found: dict[str, Entry] = {}
    for path in sorted(directory_of(root).glob("overflow-*.jsonl")):
        for line in _verified(path):
            record = json.loads(line)
            if (record["tenant"], record["project"]) == (TENANT, project):
                row = record["event"]
                at = str(row.get("timestamp") or row.get("at") or "")
                found[record["event_id"]] = Entry(record["event_id"], record["digest"], at, line.decode())
    return found


def _named(unnamed: Path, target: Path) -> bool:
    """Give a file its name; False if the name is taken."""
    try:
        return link_exclusively(unnamed, target)
    except OSError:
        # A file system without links. The queue's lock keeps other drains away meanwhile.
        if target.exists():
            return False
        rename(unnamed, target)
        return True


def _verified(path: Path) -> list[bytes]:
    """The event lines of a file whose manifest they agree with."""
    first, _, body = path.read_bytes().partition(b"\n")
    try:
        manifest: Any = json.loads(first)
    except ValueError:
        manifest = None
    lines = body.split(b"\n")[:-1]
    if not (
        isinstance(manifest, dict)
        and manifest.get("schema") == SCHEMA
        and manifest.get("count") == len(lines)
        and manifest.get("sha256") == hashlib.sha256(body).hexdigest()
    ):
        raise KittyError(
            "OVERFLOW_DAMAGED",
            f"{path} is not what its first line says",
            "move it out of the directory: kitty sync backfill then takes its events from the ledgers again",
            path=str(path),
        )
    return lines
