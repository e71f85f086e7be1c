"""One work package as its rows left it, and what one more row does to it.

What transitions say and what annotations say is kept apart: annotations count after all transitions, whenever they were written.
"""

from __future__ import annotations

from typing import Any

from kitty_host.ledger.event import Actor, Annotation, Transition, actor_name
from kitty_host.ledger.machine import APPROVED, CLAIMED, FOR_REVIEW, IN_PROGRESS, IN_REVIEW, PLANNED, UNINITIALIZED

_REWORK = frozenset((PLANNED, CLAIMED, IN_PROGRESS))
_TAKEN = frozenset((CLAIMED, IN_PROGRESS))
_CLAIM = ("shell_pid", "shell_pid_created_at", "agent")
_REPLACED = (*_CLAIM, "assignee", "role", "agent_profile", "agent_profile_version", "model", "provider")
VERDICT = "review_result"


class WpState:
    """One work package as its rows left it."""

    __slots__ = (
        *("actor", "approvals", "at", "claims", "entered", "event_id", "force_count", "lane"),
        *("said", "said_at", "seen_at", "seen_id", "takers", "tangled"),
    )

    def __init__(self, lane: str = UNINITIALIZED, actor: str = "") -> None:
        self.lane = lane
        self.actor = actor
        self.at: str | None = None
        self.event_id: str | None = None
        """The transition that put it there."""
        self.force_count = 0
        self.claims: dict[str, Any] = {}
        """The slots that transitions wrote: who claimed, and the review's result."""
        self.said: dict[str, Any] = {}
        """The slots that annotations wrote."""
        self.seen_at = ""
        """The time of its last transition, whether that counted or not; empty where there is none."""
        self.seen_id = ""
        self.said_at = ("", "")
        """Time and id of its last annotation."""
        self.entered: dict[str, Transition] = {}
        """The last transition into each lane."""
        self.takers: list[str] = []
        """Everybody who ever took it on, the last one last. Only a claim names an agent: whoever rejects or reopens it acts, no more."""
        self.approvals = 0
        """Approvals that it has not departed from."""
        self.tangled = False
        """Whether a later row may change what earlier ones meant, so that all have to be read again."""

    @property
    def slots(self) -> dict[str, Any]:
        """What claims and annotations said: `agent`, `subtasks`, `notes`, `review_result`, …; a slot never written is absent."""
        return {**self.claims, **self.said}

    @property
    def agent(self) -> str:
        """Who works on it or worked on it last."""
        return str(self.said.get("agent", self.claims.get("agent")) or self.actor)

    @property
    def latest(self) -> str:
        """The time of its last row, of whatever kind."""
        return max(self.seen_at, self.said_at[0])

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

    def see(self, row: Transition) -> None:
        """Remember a transition that comes after all others of this work package, whether it counts or not."""
        target = row.to_lane
        self.seen_at, self.seen_id = row.at, row.event_id
        self.entered[target] = row
        if target == APPROVED:
            self.approvals += row.from_lane != APPROVED
        elif row.from_lane == APPROVED:
            # A departure without an approval before it waits for one that is still to come.
            self.tangled = self.tangled or self.approvals == 0
            self.approvals -= self.approvals > 0
        if target in _TAKEN and (told := row.policy) is not None and (name := str(told.get("agent") or "")):
            if name in self.takers:
                self.takers.remove(name)
            self.takers.append(name)

    def apply(self, row: Transition) -> dict[str, Any]:
        """A transition that counts; returns the slots that it wrote."""
        self.lane = row.to_lane
        self.actor = actor_name(row.actor)
        self.at = row.at
        self.event_id = row.event_id
        self.force_count += bool(row.force)
        if row.result or row.from_lane == IN_REVIEW:
            written = {**claim(row), VERDICT: verdict(row)}
        elif row.from_lane == PLANNED:
            written = claim(row)
        else:
            return {}
        self.claims.update(written)
        return written

    def annotate(self, row: Annotation) -> None:
        """An annotation that comes after all others of this work package."""
        if self.event_id is None and self.said_at == ("", ""):
            self.actor = actor_name(row.actor)
        self.said_at = (row.at, row.event_id)
        _annotate(self.said, row.delta)


def is_seed(row: Transition) -> bool:
    """Whether a migration restated history with this row."""
    return _is_migration(row.actor)


def _is_migration(actor: Actor) -> bool:
    return actor_name(actor).startswith("migration:")


def is_rejection(row: Transition) -> bool:
    """Whether a reviewer sent the work back."""
    if row.to_lane not in _REWORK:
        return False
    return row.from_lane == IN_REVIEW or (row.from_lane == FOR_REVIEW and row.review_ref is not None)


def claim(row: Transition) -> dict[str, Any]:
    """What a claim says about who claimed."""
    if row.from_lane != PLANNED or row.to_lane != CLAIMED:
        return {}
    told = row.policy or {}
    return {
        slot: told.get(slot) for slot in _CLAIM if (told.get(slot) if slot == "agent" else told.get(slot) is not None)
    }


def verdict(row: Transition) -> dict[str, Any] | None:
    """The review's result as `status.json` has it."""
    result = row.result
    if not result:
        return None
    keys = ("reviewer", "verdict", "reference")
    said = {key: result.get(key) for key in keys}
    return said if result.get("feedback_path") is None else {**said, "feedback_path": result.get("feedback_path")}


def _annotate(slots: dict[str, Any], delta: dict[str, Any]) -> None:
    if delta.get("release_runtime_claim"):
        slots.update(dict.fromkeys(_CLAIM))
    for slot in delta.keys() & _REPLACED:
        value = delta[slot]
        if value is not None and value != "":
            slots[slot] = int(value) if slot == "shell_pid" else value
    if delta.get("subtasks") is not None:
        told = slots.setdefault("subtasks", {})
        for one, status in delta["subtasks"].items():
            told[str(one)] = "skipped" if status == "not_applicable" else str(status)
    if delta.get("note") is not None:
        slots.setdefault("notes", []).append(delta["note"])
    if delta.get("tracker_refs_replace") is not None:
        slots["tracker_refs"] = list(dict.fromkeys(delta["tracker_refs_replace"]))
    elif delta.get("tracker_refs") is not None:
        slots["tracker_refs"] = list(dict.fromkeys([*(slots.get("tracker_refs") or []), *delta["tracker_refs"]]))
    review = delta.get("review")
    if review is not None:
        override = {key: str(review[key]) for key in ("at", "actor", "wp_id", "reason")}
        slots["review"] = override if any(override.values()) else None
