"""What SQLite minds, as the errors of kitty: for every file that this plugin keeps."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from kitty_host.api import KittyError

_TROUBLE = {
    "SQLITE_BUSY": ("LOCK_HELD", "wait for the other process to end and run it again"),
    "SQLITE_FULL": ("DISK_FULL", "free some space and run it again"),
    "SQLITE_READONLY": ("READ_ONLY", "make it writable for this user and run it again"),
    "SQLITE_CANTOPEN": ("READ_ONLY", "make it writable for this user and run it again"),
}


def trouble(error: sqlite3.Error, what: str, path: Path) -> KittyError | None:
    """The error that stands for what went wrong with a file; None where it is the file itself."""
    name = "_".join(str(getattr(error, "sqlite_errorname", "")).split("_")[:2])
    if name not in _TROUBLE:
        return None
    code, hint = _TROUBLE[name]
    return KittyError(code, f"{what} cannot be used: {error}", hint, path=str(path))
