"""The order in which transitions count, whatever their order in the file and whatever the clocks said.

By time and id; but what leaves `approved` comes after its approval, and what followed it stays behind it. One id counts once.
"""

from __future__ import annotations

import json
from collections import defaultdict

from kitty_host.ledger.event import Transition
from kitty_host.ledger.machine import APPROVED
from kitty_host.ledger.wp import VERDICT, is_seed, verdict

_KEYS = (
    *("event_id", "wp_id", "from_lane", "to_lane", "at", "force", "execution_mode"),
    *("reason", "review_ref", "policy_metadata"),
)
Place = tuple[str, bool, int, str]
"""What transitions are sorted by: the time that counts, whether something else comes first at that time, the place among those, the id."""


def once_each(transitions: list[Transition]) -> list[Transition]:
    """The first row of each id."""
    by_id: dict[str, list[Transition]] = {}
    for row in transitions:
        by_id.setdefault(row.event_id, []).append(row)
    # Ids of seeds are made without their content, so two migrations can use one: then the smaller text counts, not the first line.
    return [
        min(rows, key=_text) if len(rows) > 1 and all(is_seed(row) for row in rows) else rows[0]
        for rows in by_id.values()
    ]


def _text(row: Transition) -> str:
    """A row as a text that does not depend on how it was written down."""
    told = row.row
    known = {key: told.get(key) for key in _KEYS} | {"actor": row.actor, "mission_slug": row.slug}
    known |= {"evidence": told.get("evidence") or None}
    optional = {"mission_id": told.get("mission_id"), VERDICT: verdict(row)}
    known |= {key: value for key, value in optional.items() if value is not None}
    return json.dumps(known, sort_keys=True)


def in_order(rows: list[Transition]) -> list[tuple[Place, Transition]]:
    """Every row with its place, in order."""
    rows = sorted(rows, key=lambda row: (row.at, row.event_id))
    lifted = _lifted(rows)
    effective: dict[str, str] = {}
    sequence: dict[str, int] = {}
    floors: dict[str, str] = {}
    if lifted:
        for position, row in enumerate(rows, 1):
            floor = floors.get(row.wp_id, "")
            if row.event_id in lifted:
                floor = floors[row.wp_id] = max(floor, lifted[row.event_id])
                effective[row.event_id] = lifted[row.event_id]
            elif row.at < floor:
                effective[row.event_id] = floor
            else:
                continue
            sequence[row.event_id] = position
    approvals = {(row.wp_id, row.at) for row in rows if _is_approval(row)}

    def place(row: Transition) -> Place:
        departs = row.from_lane == APPROVED and (row.wp_id, row.at) in approvals and not is_seed(row)
        return (
            effective.get(row.event_id, row.at),
            row.event_id in sequence or departs,
            sequence.get(row.event_id, 0),
            row.event_id,
        )

    return sorted(((place(row), row) for row in rows), key=lambda one: one[0])


def _lifted(rows: list[Transition]) -> dict[str, str]:
    """The time that a departure from `approved` sorts at, where its approval carries a later one. `rows` are in order of time."""
    approvals: dict[str, list[Transition]] = defaultdict(list)
    departures: dict[str, list[Transition]] = defaultdict(list)
    for row in rows:
        if _is_approval(row):
            approvals[row.wp_id].append(row)
        elif row.from_lane == APPROVED and row.to_lane != APPROVED and not is_seed(row):
            departures[row.wp_id].append(row)
    lifted: dict[str, str] = {}
    for wp_id, leaving in departures.items():
        coming = iter(approvals[wp_id])
        ahead = next(coming, None)
        free: list[Transition] = []
        early: list[Transition] = []
        for row in leaving:
            while ahead is not None and ahead.at <= row.at:
                free.append(ahead)
                ahead = next(coming, None)
            if free:
                free.pop()
            else:
                early.append(row)
        left = iter([*free, *([ahead] if ahead is not None else []), *coming])
        for row in early:
            after = next((approval for approval in left if approval.at > row.at), None)
            if after is not None:
                lifted[row.event_id] = after.at
    return lifted


def _is_approval(row: Transition) -> bool:
    return row.to_lane == APPROVED and row.from_lane != APPROVED and not is_seed(row)
