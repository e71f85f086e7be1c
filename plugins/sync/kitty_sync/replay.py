"""Recorded events, judged one by one against where they shall go: judging is a pure function, what follows from it one transaction.

The tenant is looked at before the project, and the project before the content. Nothing is ever overwritten, and nothing is written for
what does not match.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple

from kitty_host.api import KittyError
from kitty_host.inert import inert
from kitty_sync.events import Entry, digest_of, id_of, normal_id
from kitty_sync.overflow import read_overflow
from kitty_sync.queue import DRAINED, Queue, Refusal

Known = Callable[[str, str], tuple[str, str] | None]
"""The digest and the place of an event of a project; None where it has none."""


class TenantMismatch(KittyError):
    """It was recorded for another team: `TENANT_MISMATCH`."""


class ProjectMismatch(KittyError):
    """It was recorded for another project: `PROJECT_MISMATCH`."""


class EventIdConflict(KittyError):
    """Its id is known with another content: `EVENT_ID_CONFLICT`."""


class SchemaRejected(KittyError):
    """It is no recorded event: `SCHEMA_REJECTED`."""


class Apply(NamedTuple):
    """It has no place yet, or is only in a file: it shall wait to be sent."""

    entry: Entry


class Duplicate(NamedTuple):
    """It has a place already."""

    event_id: str


class Mismatch(NamedTuple):
    """It is not for here."""

    error: type[KittyError]
    code: str
    project: str
    """The one that was meant."""
    event_id: str
    expected: str
    actual: str


Verdict = Apply | Duplicate | Mismatch
_HINTS: Final = {
    "TENANT_MISMATCH": "log in to the team it was drained for: kitty auth status",
    "PROJECT_MISMATCH": "replay it in a checkout of that project",
    "EVENT_ID_CONFLICT": "what was queued first is kept; compare: kitty sync status --json",
    "SCHEMA_REJECTED": "take the line from where it was made; kitty sync backfill takes what is missing from the ledgers",
}


def judge(line: bytes, tenant: str, project: str, known: Known) -> Verdict:
    """What a recorded event is to a target. `known` is asked for what has a place already."""
    record = _record(line)
    if isinstance(record, str):
        wanted = "an event as kitty sync drain writes it"
        return Mismatch(
            SchemaRejected, code="SCHEMA_REJECTED", project=project, event_id="", expected=wanted, actual=record
        )
    event_id, theirs = normal_id(record["event_id"]), record["tenant"]
    told = partial(Mismatch, project=project, event_id=event_id)
    if theirs != tenant:
        return told(TenantMismatch, code="TENANT_MISMATCH", expected=tenant, actual=theirs)
    if normal_id(record["project"]) != project:
        return told(ProjectMismatch, code="PROJECT_MISMATCH", expected=project, actual=record["project"])
    digest = digest_of(record["event"])
    made = id_of(record["event"], digest)
    if event_id != made:
        return told(SchemaRejected, code="SCHEMA_REJECTED", expected=event_id, actual=made)
    if digest != record["digest"]:
        return told(SchemaRejected, code="SCHEMA_REJECTED", expected=record["digest"], actual=digest)
    there = known(project, event_id)
    if there is None or there == (digest, DRAINED):
        at = str(record["event"].get("timestamp") or record["event"].get("at") or "")
        return Apply(Entry(project, event_id, digest, at, line.decode()))
    if there[0] == digest:
        return Duplicate(event_id)
    return told(EventIdConflict, code="EVENT_ID_CONFLICT", expected=there[0], actual=digest)


class Replay(NamedTuple):
    """What became of the recorded events."""

    applied: int
    duplicates: int
    mismatches: tuple[tuple[Mismatch, Refusal], ...]
    overflowed: int

    def complain(self) -> None:
        """Raise the first mismatch, with all of them in its details."""
        for mismatch, refusal in self.mismatches:
            raise mismatch.error(
                mismatch.code,
                f"{refusal.source}: {mismatch.event_id or 'the line'}: expected {inert(mismatch.expected)}, found {inert(mismatch.actual)}",
                _HINTS[mismatch.code],
                mismatches=[one._asdict() for _, one in self.mismatches],
            )


def replay(queue: Queue, project: str, files: Sequence[Path], cap: int) -> Replay:
    """Let the events of drained files wait again, as far as there is room. Errors: `OVERFLOW_DAMAGED`, before anything is changed."""
    lines = [(line, f"{file}:{number}") for file in files for number, line in enumerate(read_overflow(file), 2)]
    with queue.locked():
        return _apply(queue, project, lines, cap)


def _apply(queue: Queue, project: str, lines: Iterable[tuple[bytes, str]], cap: int) -> Replay:
    applied = duplicates = overflowed = 0
    mismatches: list[tuple[Mismatch, Refusal]] = []
    with queue.changing() as change:
        depth = change.depth()
        for line, source in lines:
            verdict = judge(line, queue.target.tenant, project, change.known)
            if isinstance(verdict, Duplicate):
                duplicates += 1
            elif isinstance(verdict, Mismatch):
                text = line.decode(errors="backslashreplace")
                mismatches.append((verdict, Refusal(*verdict[1:], source, text)))
            elif depth >= cap:
                overflowed += 1
            else:
                if change.known(project, verdict.entry.event_id) is None:
                    change.add(verdict.entry)
                else:
                    change.requeue(verdict.entry)
                depth, applied = depth + 1, applied + 1
        change.refuse(refusal for _, refusal in mismatches)
    return Replay(applied, duplicates, tuple(mismatches), overflowed)


def _record(line: bytes) -> Mapping[str, Any] | str:
    """A line as a record, or what is wrong with it."""
    try:
        record = json.loads(line.decode())
    except (ValueError, RecursionError) as error:
        return f"no JSON: {type(error).__name__}"
    if not isinstance(record, dict):
        return f"{type(record).__name__}"
    for key in ("event_id", "digest", "tenant", "project", "mission_id", "mission_slug"):
        if not isinstance(record.get(key), str):
            return f"without {key}"
    row = record.get("event")
    if not isinstance(row, dict):
        return "without event"
    if not normal_id(record["event_id"]):
        return "with an event_id that is none"
    return record
