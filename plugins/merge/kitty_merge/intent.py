"""What a `kitty merge` was asked to do, kept until it is done: whoever runs it again after a kill need not say it again."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Literal, NamedTuple

from kitty_host.files import atomic_write, remove
from kitty_host.mission import Mission
from kitty_merge import journal


class Conflict(NamedTuple):
    """Where the chain of lanes stopped."""

    lane_id: str
    tip: str
    """The chain so far, and `head`, the lane that does not merge into it: commits."""
    head: str
    paths: tuple[str, ...]


class Intent(NamedTuple):
    """One landing, or its taking back, that was asked for."""

    what: Literal["", "landing", "undo", "abort"] = ""
    """Empty where nothing was begun."""
    strategy: str = ""
    rescue: bool = False
    keep_worktrees: bool = False
    push: bool = False
    rows: int | None = None
    """How many rows the ledger had, so that observers can be told of those that came since; None when they know."""
    conflict: Conflict | None = None
    landed: bool = False
    """Of an abort: what was begun had landed, and is undone."""

    @classmethod
    def read(cls, mission: Mission) -> Intent:
        """What was begun for a mission."""
        try:
            told = json.loads(_path(mission).read_bytes())
        except FileNotFoundError:
            return cls()
        found = told.pop("conflict")
        return cls(**told, conflict=Conflict(**{**found, "paths": tuple(found["paths"])}) if found else None)

    def write(self, mission: Mission) -> None:
        """Make it durable."""
        told = self._asdict()
        told["conflict"] = self.conflict._asdict() if self.conflict else None
        atomic_write(_path(mission), json.dumps(told).encode())

    @staticmethod
    def drop(mission: Mission) -> None:
        """It is done, or given up."""
        remove(_path(mission))

    @staticmethod
    def since(mission: Mission) -> float | None:
        """When it was written, or last began to change refs, in seconds; None where nothing was begun."""
        try:
            return _path(mission).stat().st_mtime
        except FileNotFoundError:
            return None

    @staticmethod
    def mark(mission: Mission) -> None:
        """Refs change from now on."""
        os.utime(_path(mission))


def _path(mission: Mission) -> Path:
    return journal.directory(mission.repo) / f"{mission.mission_id}.intent"
