"""Ledger rows as they are queued and drained, and the settings of a project that sync needs."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Mapping
from typing import Any, NamedTuple

from attrs import frozen

from kitty_host.api import KittyError
from kitty_host.ledger.event import event_id_of
from kitty_host.mission import Mission, find_missions
from kitty_host.repo import Repo

HUB = TENANT = "none"
"""Until one logs in somewhere."""


class Entry(NamedTuple):
    """One ledger row on its way out."""

    event_id: str
    digest: str
    """SHA-256 of the row's canonical JSON: what "the same event" means."""
    at: str
    line: str
    """The row and whose it is, as one line of JSON; what a drained file holds."""


@frozen
class _Project:
    uuid: str = ""


@frozen
class _Sync:
    queue_max_events: int = 10_000


def project_of(repo: Repo) -> str:
    """The project's UUID, which is the same in every clone. Errors: `CONFIG_INVALID`."""
    text = repo.config.section("project", _Project).uuid
    try:
        return str(uuid.UUID(text))
    except ValueError:
        raise KittyError(
            "CONFIG_INVALID",
            f"{repo.config.path}: project.uuid is {'missing' if not text else 'no UUID'}",
            f"write one there, such as: {uuid.uuid4()}",
            key="project.uuid",
        ) from None


def cap_of(repo: Repo) -> int:
    """How many events the queue may hold. Errors: `CONFIG_INVALID`."""
    cap = repo.config.section("sync", _Sync).queue_max_events
    if cap < 1:
        raise KittyError(
            "CONFIG_INVALID",
            f"{repo.config.path}: sync.queue_max_events is {cap}",
            "give a number of events of 1 or more, or leave it out",
            key="sync.queue_max_events",
        )
    return cap


def entry_of(row: Mapping[str, Any], mission: Mission, project: str) -> Entry:
    """A ledger row as an entry. A foreign row without an id is known by its digest."""
    digest = hashlib.sha256(canonical(row).encode()).hexdigest()
    event_id = event_id_of(row) or f"sha256:{digest}"
    line = {
        "event_id": event_id,
        "digest": digest,
        "tenant": TENANT,
        "project": project,
        "mission_id": mission.mission_id,
        "mission_slug": mission.slug,
        "event": row,
    }
    return Entry(event_id, digest, str(row.get("timestamp") or row.get("at") or ""), canonical(line))


def ledger_entries(repo: Repo, project: str) -> list[Entry]:
    """Every row of every ledger of the project, oldest first. Errors: `LEDGER_DAMAGED`."""
    entries: list[Entry] = []
    for mission in find_missions(repo):
        mission.ledger.events()
        entries += [entry_of(row, mission, project) for row in mission.ledger.rows()]
    return sorted(entries, key=lambda entry: (entry.at, entry.event_id))


def canonical(value: Any) -> str:
    """JSON with one spelling: sorted keys, no spaces, ASCII."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"))
