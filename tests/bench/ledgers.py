"""A long ledger as a busy mission would write it: the mix of rows that real ledgers have, in order of time."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from kitty_host.ledger.event import Row, annotation, encode, envelope, transition, ulid
from kitty_host.mission import Mission

_NEXT = {
    "genesis": "planned",
    "planned": "claimed",
    "claimed": "in_progress",
    "in_progress": "for_review",
    "for_review": "in_review",
    "in_review": "approved",
    "approved": "planned",
}
_DELTAS: tuple[Row, ...] = (
    {"subtasks": {"T001": "done"}},
    {"role": "implementer", "agent_profile": "python", "agent_profile_version": "1", "model": "m", "provider": "p"},
    {"agent": "claude", "shell_pid": 4711},
    {"subtasks": {"T002": "done", "T003": "done"}},
)


def fill(mission: Mission, count: int, packages: int = 10) -> None:
    """Append that many rows to a mission's ledger, in place, so that both its names have them."""
    with mission.ledger.live.open("a", encoding="utf-8") as stream:
        for row in rows(mission, count, packages):
            stream.write(encode(row))


def rows(mission: Mission, count: int, packages: int) -> Iterator[Row]:
    """71 % transitions, 22 % annotations (one in twenty of them a note), 7 % of other kinds."""
    chance = random.Random(count)
    lanes = dict.fromkeys((f"WP{number:02}" for number in range(1, packages + 1)), "planned")
    # In the future, so that they come after what made the mission.
    begun = datetime.now(UTC) + timedelta(hours=1)
    for number in range(count):
        moment = begun + timedelta(milliseconds=10 * number)
        wp_id = f"WP{1 + number % packages:02}"
        made = _row(mission, number, wp_id, lanes)
        key = "timestamp" if "event_type" in made else "at"
        event_id = ulid(int(moment.timestamp() * 1000), chance.getrandbits(80))
        yield {**made, "event_id": event_id, key: moment.isoformat(timespec="microseconds")}


def _row(mission: Mission, number: int, wp_id: str, lanes: dict[str, str]) -> Row:
    kind = number % 100
    if kind >= 93:
        return envelope("WPCreated", {"wp_id": wp_id, "wp_title": "A title", "depends_on": []}, aggregate_id=wp_id)
    if kind >= 71:
        note = {"note": "A note of the length that people write when they are in a hurry."}
        return annotation(wp_id, note if kind == 80 else _DELTAS[kind % 4], actor="claude")
    source = lanes[wp_id]
    target = lanes[wp_id] = _NEXT[source]
    verdict = {"reviewer": "grace", "verdict": "approved", "reference": "0" * 40}
    claim = {"agent": "claude", "shell_pid": 4711, "shell_pid_created_at": "1783892074.19"}
    reviewed = source == "in_review"
    return transition(
        wp_id,
        source,
        target,
        actor="claude:opus:python:implementer",
        mission_id=mission.mission_id,
        mission_slug=mission.slug,
        policy_metadata=claim if target == "claimed" else None,
        review_result=verdict if reviewed else None,
        evidence={"review": verdict, "repos": [{"repo": "r", "branch": "b", "commit": "0" * 40}]} if reviewed else None,
        review_ref="x" if source == "approved" else None,
    )


def count_lines(path: Path) -> tuple[str, ...]:
    """The command that a cold read is compared with."""
    import sys

    return (sys.executable, "-c", "import sys; print(sum(1 for line in open(sys.argv[1], 'rb')))", str(path))
