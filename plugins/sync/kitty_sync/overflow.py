"""Drained events as files: a manifest line and one line for each event. Those of a project are `.kittify/sync/overflow-<time>.jsonl`.

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
from kitty_sync.events import Entry, canonical
from kitty_sync.settings import Target

SCHEMA = "kitty.overflow/1"
LARGEST = 256 << 20
"""Bytes of a file that is read at all."""


def directory_of(root: Path) -> Path:
    """Where the files of a project are."""
    return root / ".kittify" / "sync"


def files_of(root: Path) -> list[Path]:
    """The files of a project, oldest first."""
    return sorted(directory_of(root).glob("overflow-*.jsonl"))


def free_name(root: Path) -> Path:
    """A name that no file has."""
    moment = datetime.now(UTC)
    while (path := directory_of(root) / f"overflow-{moment:%Y%m%dT%H%M%SZ}.jsonl").exists():
        moment += timedelta(seconds=1)
    return path


def write_overflow(path: Path, target: Target, entries: Sequence[Entry]) -> None:
    """Write a new file; on return it is on disk under its name. Errors: `DISK_FULL`, `READ_ONLY`, `FILE_EXISTS`."""
    body = "".join(f"{entry.line}\n" for entry in entries).encode()
    projects = sorted({entry.project for entry in entries})
    manifest = {
        "schema": SCHEMA,
        "hub": target.hub,
        "tenant": target.tenant,
        "project": projects[0] if len(projects) == 1 else None,
        "drained_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "count": len(entries),
        "sha256": hashlib.sha256(body).hexdigest(),
    }
    make_directory(path.parent)
    sweep(path.parent)  # what a drain that was killed left half written is still queued
    with disk_errors(path.parent):
        write_new(unnamed := temporary(path.parent), f"{canonical(manifest)}\n".encode() + body)
        named = _named(unnamed, path)
        if unnamed.exists():
            remove(unnamed)
    if not named:
        raise KittyError("FILE_EXISTS", f"{path} is there already", "name another file", path=str(path))


def read_overflow(path: Path) -> list[bytes]:
    """The lines of a file whose manifest they agree with, without it. Errors: `OVERFLOW_DAMAGED`."""
    try:
        with path.open("rb") as stream:
            content = stream.read(LARGEST + 1)
    except OSError as error:
        raise _damaged(path, error.strerror or "it cannot be read") from error
    if len(content) > LARGEST:
        raise _damaged(path, f"it is larger than {LARGEST} bytes")
    first, _, body = content.partition(b"\n")
    try:
        manifest: Any = json.loads(first)
    except (ValueError, RecursionError):
        manifest = None
    lines = body.split(b"\n")[:-1]
    if not (
        isinstance(manifest, dict)
        and manifest.get("schema") == SCHEMA
        and manifest.get("count") == len(lines)
        and manifest.get("sha256") == hashlib.sha256(body).hexdigest()
    ):
        raise _damaged(path, "it is not what its first line says")
    return lines


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


def _damaged(path: Path, why: str) -> KittyError:
    return KittyError(
        "OVERFLOW_DAMAGED",
        f"{path}: {why}",
        "move it out of the directory: kitty sync backfill then takes its events from the ledgers again",
        path=str(path),
    )
