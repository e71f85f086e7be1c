"""What the rows of a ledger add up to. Pure: no file, no clock, and the same result for any order of lines.

The rules are those of `spec_kitty_events.diary` 11.0.0, against which they are tested: rows are sorted by time and id; a row
that does not leave the lane in force is stale and dropped unless it is forced; a rejection beats a simultaneous approval; a
departure from `approved` never sorts before its approval, whatever the clocks said; rows of migrations ("seeds", actor
``migration:…``) restate history and yield to rows of those who were there.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from kitty_host.ledger.event import Annotation, Event, Transition, actor_name
from kitty_host.ledger.machine import (
    APPROVED,
    CLAIMED,
    FOR_REVIEW,
    IN_PROGRESS,
    IN_REVIEW,
    LANES,
    PLANNED,
    UNINITIALIZED,
)

_REWORK = frozenset((PLANNED, CLAIMED, IN_PROGRESS))
_CLAIM = ("shell_pid", "shell_pid_created_at", "agent")
_REPLACED = (*_CLAIM, "assignee", "role", "agent_profile", "agent_profile_version", "model", "provider")
_VERDICT = "review_result"
_KEYS = (
    *("event_id", "wp_id", "from_lane", "to_lane", "at", "force", "execution_mode"),
    *("reason", "review_ref", "policy_metadata"),
)


class WpState:
    """One work package as its rows left it."""

    __slots__ = ("_by_seed", "_setter", "_settled", "actor", "at", "event_id", "force_count", "lane", "slots")

    def __init__(self, lane: str, actor: str) -> None:
        self.lane = lane
        self.actor = actor
        self.at: str | None = None
        self.event_id: str | None = None
        """The transition that put it there."""
        self.force_count = 0
        self.slots: dict[str, Any] = {}
        """What claims and annotations said: `agent`, `subtasks`, `notes`, `review_result`, …; a slot never written is absent."""
        self._setter: Transition | None = None
        # Whose word a slot is: a seed never overwrites what somebody who was there wrote.
        self._settled: set[str] = set()
        self._by_seed: set[str] = set()

    @property
    def agent(self) -> str:
        """Who works on it or worked on it last."""
        return str(self.slots.get("agent") or self.actor)

    def to_dict(self) -> dict[str, Any]:
        """As in `status.json`."""
        return {
            "lane": self.lane,
            "actor": self.actor,
            "last_transition_at": self.at,
            "last_event_id": self.event_id,
            "force_count": self.force_count,
            **self.slots,
        }


class Snapshot:
    """A mission's state. `packages` maps work-package ids to their state, in order of id."""

    __slots__ = ("event_count", "last_at", "last_event_id", "mission_slug", "packages", "summary")

    def __init__(self, packages: dict[str, WpState], transitions: list[Transition]) -> None:
        self.packages = dict(sorted(packages.items()))
        self.event_count = len(transitions)
        """Transitions only, each id once."""
        self.last_event_id = transitions[-1].event_id if transitions else None
        self.last_at = transitions[-1].at if transitions else ""
        self.mission_slug = _safe_slug(transitions[0].row) if transitions else ""
        self.summary = dict.fromkeys(LANES, 0)
        for package in packages.values():
            if package.lane in self.summary:
                self.summary[package.lane] += 1

    def to_dict(self) -> dict[str, Any]:
        """As in `status.json`, without what that file takes from elsewhere."""
        return {
            "mission_slug": self.mission_slug,
            "materialized_at": self.last_at,
            "event_count": self.event_count,
            "last_event_id": self.last_event_id,
            "work_packages": {wp_id: package.to_dict() for wp_id, package in self.packages.items()},
            "summary": self.summary,
        }


def reduce(events: Iterable[Event]) -> Snapshot:
    """The state that a ledger's rows add up to, whatever their order."""
    transitions: list[Transition] = []
    annotations: list[Annotation] = []
    for event in events:
        if isinstance(event, Transition):
            transitions.append(event)
        elif isinstance(event, Annotation):
            annotations.append(event)
    ordered = _ordered(_once_each(transitions))
    history: dict[str, list[Transition]] = defaultdict(list)
    for transition in ordered:
        history[transition.wp_id].append(transition)
    packages = {wp_id: _fold(rows) for wp_id, rows in history.items()}
    for annotation in sorted(annotations, key=lambda one: (one.at, one.event_id)):
        package = packages.get(annotation.wp_id)
        if package is None:
            package = packages[annotation.wp_id] = WpState(UNINITIALIZED, actor_name(annotation.actor))
        _annotate(package.slots, annotation.delta)
    return Snapshot(packages, ordered)


# One work package


def _fold(rows: list[Transition]) -> WpState:
    package: WpState | None = None
    for row in rows:
        if package is None:
            package = WpState(row.to_lane, "")
            _apply(package, row)
            continue
        verdict = _judge(package, row, rows)
        if verdict == "apply":
            _apply(package, row)
        elif verdict == "stale" and _is_seed(row):
            _fill_from_seed(package, row)
    assert package is not None
    return package


def _apply(package: WpState, row: Transition) -> None:
    package.lane = row.to_lane
    package.actor = actor_name(row.actor)
    package.at = row.at
    package.event_id = row.event_id
    package.force_count += bool(row.force)
    package._setter = row
    written = _claim(row)
    package.slots.update(written)
    if row.row.get(_VERDICT) or row.from_lane == IN_REVIEW:
        written[_VERDICT] = package.slots[_VERDICT] = _verdict(row)
    if _is_seed(row) and not _is_rejection(row):
        package._by_seed.update(written)
        return
    # A real process id is never paired with the start time that a seed made up.
    if "shell_pid" in written and "shell_pid_created_at" not in written and "shell_pid_created_at" in package._by_seed:
        package.slots.pop("shell_pid_created_at", None)
        package._by_seed.discard("shell_pid_created_at")
    package._settled.update(written)
    package._by_seed.difference_update(written)


def _fill_from_seed(package: WpState, seed: Transition) -> None:
    """A seed that lost the lane still tells who had claimed and what was said, where nobody else told."""
    told = _claim(seed)
    if seed.row.get(_VERDICT):
        told[_VERDICT] = _verdict(seed)
    for slot, value in told.items():
        if slot in package._settled or (slot == "shell_pid_created_at" and "shell_pid" in package._settled):
            continue
        package.slots[slot] = value
        package._by_seed.add(slot)


def _judge(package: WpState, row: Transition, history: list[Transition]) -> str:
    """``apply``, ``stale`` (does not leave the lane in force), or ``beaten`` (by a simultaneous rejection)."""
    setter = package._setter
    assert setter is not None
    if package.at == row.at:
        if _is_rejection(row) and not _is_rejection(setter):
            if not _is_seed(row) or _is_bare_sibling(setter, row, history):
                return "apply"
        elif _is_rejection(setter) and not _is_rejection(row) and not _yields(setter, row, history):
            return "beaten"
    if row.force or row.from_lane == package.lane or _may_jump(row, setter, history):
        return "apply"
    return "stale"


def _may_jump(row: Transition, setter: Transition, history: list[Transition]) -> bool:
    """Whether a row may leave another lane than the one in force."""
    if _is_rejection(row):
        return (
            not _is_seed(row) or (_is_seed(setter) and _is_rejection(setter)) or _is_bare_sibling(setter, row, history)
        )
    if _is_seed(row):
        return False
    return (_is_seed(setter) and not _is_rejection(setter)) or _yields(setter, row, history)


def _yields(setter: Transition, row: Transition, history: list[Transition]) -> bool:
    """A rejection that a migration restated holds against its own sibling approval only."""
    return (
        _is_seed(setter) and _is_rejection(setter) and not _is_seed(row) and not _is_bare_sibling(row, setter, history)
    )


def _is_bare_sibling(approval: Transition, seed: Transition, history: list[Transition]) -> bool:
    """An approval out of the same lane as the rejection, on which nobody has built since."""
    if approval.to_lane != APPROVED or approval.from_lane != seed.from_lane or _is_rejection(approval):
        return False
    mark = (approval.at, approval.event_id)
    return not any(row.from_lane == APPROVED and not _is_seed(row) and (row.at, row.event_id) > mark for row in history)


def _is_seed(row: Transition) -> bool:
    return actor_name(row.actor).startswith("migration:")


def _is_rejection(row: Transition) -> bool:
    if row.to_lane not in _REWORK:
        return False
    return row.from_lane == IN_REVIEW or (row.from_lane == FOR_REVIEW and row.row.get("review_ref") is not None)


def _claim(row: Transition) -> dict[str, Any]:
    """What a claim says about who claimed."""
    if row.from_lane != PLANNED or row.to_lane != CLAIMED:
        return {}
    told = row.row.get("policy_metadata") or {}
    return {slot: told[slot] for slot in _CLAIM if (told.get(slot) if slot == "agent" else told.get(slot) is not None)}


def _verdict(row: Transition) -> dict[str, Any] | None:
    result = row.row.get(_VERDICT)
    if not result:
        return None
    keys = (
        "reviewer",
        "verdict",
        "reference",
        *(("feedback_path",) if result.get("feedback_path") is not None else ()),
    )
    return {key: result[key] for key in keys}


def _annotate(slots: dict[str, Any], delta: dict[str, Any]) -> None:
    if delta.get("release_runtime_claim"):
        slots.update(dict.fromkeys(_CLAIM))
    for slot in _REPLACED:
        value = delta.get(slot)
        if value is not None and value != "":
            slots[slot] = int(value) if slot == "shell_pid" else value
    if delta.get("subtasks") is not None:
        told = {
            str(one): "skipped" if status == "not_applicable" else str(status)
            for one, status in delta["subtasks"].items()
        }
        slots["subtasks"] = {**(slots.get("subtasks") or {}), **told}
    if delta.get("note") is not None:
        slots["notes"] = [*(slots.get("notes") or []), delta["note"]]
    if delta.get("tracker_refs_replace") is not None:
        slots["tracker_refs"] = list(dict.fromkeys(delta["tracker_refs_replace"]))
    elif delta.get("tracker_refs") is not None:
        slots["tracker_refs"] = list(dict.fromkeys([*(slots.get("tracker_refs") or []), *delta["tracker_refs"]]))
    review = delta.get("review")
    if review is not None:
        override = {key: str(review[key]) for key in ("at", "actor", "wp_id", "reason")}
        slots["review"] = override if any(override.values()) else None


# The order of rows


def _once_each(transitions: list[Transition]) -> list[Transition]:
    by_id: dict[str, list[Transition]] = {}
    for row in transitions:
        by_id.setdefault(row.event_id, []).append(row)
    # Ids of seeds are made without their content, so two migrations can use one: then the smaller text counts, not the first line.
    return [
        min(rows, key=_text) if len(rows) > 1 and all(_is_seed(row) for row in rows) else rows[0]
        for rows in by_id.values()
    ]


def _text(row: Transition) -> str:
    """A row as a text that does not depend on how it was written down."""
    told = row.row
    known = {key: told.get(key) for key in _KEYS} | {"actor": row.actor, "mission_slug": _slug(told)}
    known |= {"evidence": told.get("evidence") or None}
    optional = {"mission_id": told.get("mission_id"), _VERDICT: _verdict(row)}
    known |= {key: value for key, value in optional.items() if value is not None}
    return json.dumps(known, sort_keys=True)


def _ordered(rows: list[Transition]) -> list[Transition]:
    """By time and id, but a departure from `approved` comes after its approval, and what followed the departure stays behind it."""
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
    return sorted(
        rows,
        key=lambda row: (
            effective.get(row.event_id, row.at),
            row.event_id in sequence
            or (row.from_lane == APPROVED and (row.wp_id, row.at) in approvals and not _is_seed(row)),
            sequence.get(row.event_id, 0),
            row.event_id,
        ),
    )


def _lifted(rows: list[Transition]) -> dict[str, str]:
    """The time that a departure from `approved` sorts at, where its approval carries a later one. `rows` are in order of time."""
    approvals: dict[str, list[Transition]] = defaultdict(list)
    departures: dict[str, list[Transition]] = defaultdict(list)
    for row in rows:
        if _is_approval(row):
            approvals[row.wp_id].append(row)
        elif row.from_lane == APPROVED and row.to_lane != APPROVED and not _is_seed(row):
            departures[row.wp_id].append(row)
    lifted: dict[str, str] = {}
    for wp_id, leaving in departures.items():
        free = approvals[wp_id]
        early: list[Transition] = []
        for row in leaving:
            before = [approval for approval in free if approval.at <= row.at]
            if before:
                free.remove(before[-1])
            else:
                early.append(row)
        for row in early:
            after = [approval for approval in free if approval.at > row.at]
            if after:
                free.remove(after[0])
                lifted[row.event_id] = after[0].at
    return lifted


def _is_approval(row: Transition) -> bool:
    return row.to_lane == APPROVED and row.from_lane != APPROVED and not _is_seed(row)


def _slug(row: dict[str, Any]) -> str:
    return str(row.get("mission_slug") or row.get("feature_slug") or "")


def _safe_slug(row: dict[str, Any]) -> str:
    """The slug if it is a plain name, since others join it to paths."""
    slug = _slug(row)
    return slug if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", slug) and ".." not in slug else ""
