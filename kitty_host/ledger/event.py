"""The rows of a ledger as plain records.

Three kinds matter for the state of a work package: transitions and annotations, and everything else, which is kept in place and never
interpreted here (lifecycle envelopes, decision points, retrospectives, kitty's own rows: all of those carry an `event_type`).
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import re
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple

from kitty_host.ledger.machine import ALL_LANES, GENESIS, LANES

# kitty's own rows about a mission. spec-kitty skips them in place, because they have an `event_type`.
LANDED: Final = "MissionLanded"
UNDONE: Final = "MissionLandingUndone"
ACCEPTED: Final = "CandidateAccepted"
CONCLUDED: Final = "MissionConcluded"
EXCEPTED: Final = "GateExceptionGranted"
SPENT: Final = "EffortSpent"
STEP_ISSUED: Final = "StepIssued"
STEP_ANSWERED: Final = "StepAnswered"
SEALED: Final = "LedgerSealed"

Actor = str | dict[str, str | None]
Row = dict[str, Any]

_ACTOR_KEYS = {"role", "profile", "tool", "model"}
KEPT: Final = frozenset((EXCEPTED, SPENT))
"""Rows of which every one counts, and not only the latest of its type."""
OTHER_TYPES: Final = frozenset(("RetrospectiveCaptured", "RetrospectiveCaptureFailed", "RetrospectiveSkipped"))
SUBTASK: Final = frozenset((*LANES, GENESIS, "skipped", "not_applicable"))
_encoder = json.JSONEncoder(sort_keys=True)
_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_ULID = re.compile(f"[0-7][{_CROCKFORD}]{{25}}")


class Transition(NamedTuple):
    """A work package went from one lane to another."""

    event_id: str
    wp_id: str
    from_lane: str
    to_lane: str
    at: str
    actor: Actor
    force: bool
    row: Row
    """The decoded line, for the fields that only few readers need."""

    @property
    def policy(self) -> Row | None:
        """What the writer told about itself: who claims, with what evidence."""
        told = self.row.get("policy_metadata")
        return told if isinstance(told, dict) else None

    @property
    def result(self) -> Row | None:
        """The review's result."""
        result = self.row.get("review_result")
        return result if isinstance(result, dict) else None

    @property
    def review_ref(self) -> Any:
        """What a rejection refers to."""
        return self.row.get("review_ref")

    @property
    def slug(self) -> str:
        """The mission's slug, by its present or its old name."""
        return str(self.row.get("mission_slug") or self.row.get("feature_slug") or "")


class Annotation(NamedTuple):
    """Something was noted about a work package; its lane did not change."""

    event_id: str
    wp_id: str
    at: str
    actor: Actor
    delta: Row


class Other(NamedTuple):
    """A row that says nothing about lanes."""

    event_id: str
    at: str
    kind: str
    row: Row

    @property
    def topic(self) -> str:
        """What only the latest row says anything about: the type, but for types whose rows all count, and steps that were done."""
        if self.kind in KEPT:
            return f"{self.kind} {self.event_id}"
        payload = self.row.get("payload") if self.kind == STEP_ANSWERED else None
        if isinstance(payload, dict) and payload.get("result") == "success" and isinstance(payload.get("step"), str):
            return f"{self.kind} {payload['step']}"
        return self.kind


Event = Transition | Annotation | Other


class BadRow(ValueError):
    """A row that no reader may guess about; the text says what is wrong with it."""


def decode(row: Any) -> Event:
    """One decoded line as a record. Raises `BadRow` for what cannot be folded, and for most of what spec-kitty refuses to read."""
    if not isinstance(row, dict):
        raise BadRow(f"a JSON object was expected, not {type(row).__name__}")
    kind = row.get("kind")
    try:
        if kind is not None:
            if kind != "annotation":
                raise BadRow(f"unknown kind {_shown(kind)}")
            delta = row["delta"]
            _must_be_texts(row)
            _must_be_foldable(delta)
            return Annotation(row["event_id"], row["wp_id"], row["at"], _actor(row["actor"]), delta)
        if (
            "event_type" in row
            or (isinstance(row.get("type"), str) and row["type"] in OTHER_TYPES)
            or str(row.get("event_name", "")).startswith("retrospective.")
        ):
            name = row.get("event_type") or row.get("type") or row.get("event_name")
            return Other(str(row.get("event_id", "")), str(row.get("timestamp") or row.get("at") or ""), str(name), row)
        source, target = row["from_lane"], row["to_lane"]
        for lane in (source, target):
            if not isinstance(lane, str) or lane not in ALL_LANES:
                raise BadRow(f"unknown lane {_shown(lane)}")
        row["execution_mode"]
        _must_be_texts(row)
        _must_be_whole(row)
        return Transition(
            row["event_id"], row["wp_id"], source, target, row["at"], _actor(row["actor"]), row["force"], row
        )
    except KeyError as error:
        raise BadRow(f"the key {_shown(error.args[0])} is missing") from error


def _must_be_texts(row: Row) -> None:
    if not (isinstance(row["event_id"], str) and isinstance(row["wp_id"], str) and isinstance(row["at"], str)):
        raise BadRow("event_id, wp_id and at must be texts")


def _must_be_whole(row: Row) -> None:
    """The parts of a transition that spec-kitty decodes in full."""
    if evidence := row.get("evidence"):
        _must_have(evidence, "evidence", "review")
        _must_have(evidence["review"], "evidence.review", "reviewer", "verdict", "reference")
        for repo in _listed(evidence, "repos"):
            _must_have(repo, "evidence.repos", "repo", "branch", "commit")
        for verification in _listed(evidence, "verification"):
            _must_have(verification, "evidence.verification", "command", "result", "summary")
    if result := row.get("review_result"):
        _must_have(result, "review_result", "reviewer", "verdict", "reference")
    if told := row.get("policy_metadata"):
        _must_have(told, "policy_metadata")


def _must_be_foldable(delta: Any) -> None:
    """The parts of an annotation that are more than a value to be replaced."""
    _must_have(delta, "delta")
    if (subtasks := delta.get("subtasks")) is not None:
        _must_have(subtasks, "subtasks")
        if not all(isinstance(status, str) and status in SUBTASK for status in subtasks.values()):
            raise BadRow("a subtask has a status that is none")
    if (review := delta.get("review")) is not None:
        _must_have(review, "review", "at", "actor", "wp_id", "reason")
    for slot in ("tracker_refs", "tracker_refs_replace"):
        references = delta.get(slot)
        if references is not None and not (
            isinstance(references, list) and all(isinstance(one, str) for one in references)
        ):
            raise BadRow(f"{slot} must be a list of texts")
    pid = delta.get("shell_pid")
    try:
        int(0 if pid is None or pid == "" else pid)
    except (TypeError, ValueError, OverflowError) as error:
        raise BadRow("shell_pid must be a number") from error


def _listed(evidence: Row, name: str) -> list[Any]:
    found = evidence.get(name) or []
    if not isinstance(found, list):
        raise BadRow(f"evidence.{name} must be a list")
    return found


def _shown(value: Any) -> str:
    from kitty_host.inert import inert  # a row that cannot be read is rare

    return inert(repr(value), prose=True)


def _must_have(value: Any, name: str, *keys: str) -> None:
    if not isinstance(value, dict) or not value.keys() >= set(keys):
        raise BadRow(f"{name} must be an object{' with ' + ', '.join(keys) if keys else ''}")


def parse(line: bytes) -> Any:
    """The JSON value of a line. Raises `ValueError`, or `RecursionError` for thousands of brackets."""
    # Decoded here, strictly: `json` guesses at encodings and lets halves of surrogate pairs pass.
    return json.loads(str(line, "utf-8"))


def encode(row: Mapping[str, Any]) -> str:
    """One row as a line: sorted keys, ASCII, with its newline."""
    return _encoder.encode(row) + "\n"


def event_id_of(row: Mapping[str, Any]) -> str:
    """The id of a decoded row; empty for a foreign row without one."""
    return str(row.get("event_id") or "")


def actor_name(actor: Actor) -> str:
    """Who acted, as one string: a structured actor is known by its tool, else its role."""
    return str(actor.get("tool") or actor.get("role") or "") if isinstance(actor, dict) else actor


def _actor(value: Any) -> Actor:
    if isinstance(value, dict):
        if set(value) != _ACTOR_KEYS or not all(part is None or isinstance(part, str) for part in value.values()):
            raise BadRow("a structured actor has exactly the keys role, profile, tool and model")
        return value
    return str(value)


def new_id(after: str = "") -> str:
    """A ULID: 48 bits of milliseconds, 80 of chance, in Crockford's base 32; greater than `after`, where any ULID is.

    So the ids of one ledger ascend although many write at once and clocks differ, and a new one needs no comparison with all the others.
    """
    made = ulid(time.time_ns() // 1_000_000, chance(80))
    if made > after or not is_ulid(after):
        return made
    number = functools.reduce(lambda sum_, digit: sum_ << 5 | _CROCKFORD.index(digit), after, 0)
    # A step of chance, so that two clones that go on from one row do not mint the same ids.
    return ulid(*divmod(number + 1 + chance(64), 1 << 80))


def is_ulid(text: str) -> bool:
    """Whether an id is one that sorts by its time."""
    return _ULID.fullmatch(text) is not None


def chance(bits: int) -> int:
    """That many random bits; `secrets` would import all of `random` and `hashlib` for them."""
    return int.from_bytes(os.urandom(bits // 8))


def ulid(milliseconds: int, rest: int) -> str:
    """The 26 characters of a ULID: 48 bits of time, 80 of something else."""
    number = (milliseconds & (1 << 48) - 1) << 80 | rest & (1 << 80) - 1
    return "".join(_CROCKFORD[number >> shift & 31] for shift in range(125, -5, -5))


def now(after: str = "") -> str:
    """The time, UTC, ISO 8601 with microseconds.

    Later than `after`, as a moment and as a text: readers sort by time, and they compare texts.
    """
    moment = datetime.now(UTC)
    if after:
        with contextlib.suppress(ValueError, OverflowError):  # a foreign row with a time that is none sets no floor
            floor = datetime.fromisoformat(after)
            floor = floor if floor.tzinfo else floor.replace(tzinfo=UTC)
            moment = max(moment, floor.astimezone(UTC) + timedelta(microseconds=1))
            if moment.isoformat(timespec="microseconds") <= after:
                # "12:00:00Z" sorts behind "12:00:00.5+00:00", and the hour of another zone counts as it is written.
                moment = max(moment, floor.replace(microsecond=0, tzinfo=UTC) + timedelta(seconds=1))
    return moment.isoformat(timespec="microseconds")


def transition(
    wp_id: str,
    source: str,
    target: str,
    *,
    actor: Actor,
    mission_id: str,
    mission_slug: str,
    direct: bool = False,
    force: bool = False,
    reason: str | None = None,
    review_ref: str | None = None,
    evidence: Row | None = None,
    review_result: Row | None = None,
    policy_metadata: Row | None = None,
) -> Row:
    """A transition row without its time and id, which `emit` gives it. `direct` means worked on in the canonical checkout."""
    return {
        "wp_id": wp_id,
        "from_lane": source,
        "to_lane": target,
        "actor": actor,
        "force": force,
        "execution_mode": "direct_repo" if direct else "worktree",
        "mission_id": mission_id,
        "mission_slug": mission_slug,
        "reason": reason,
        "review_ref": review_ref,
        "evidence": evidence,
        "review_result": review_result,
        "policy_metadata": policy_metadata,
    }


def annotation(wp_id: str, delta: Row, *, actor: Actor) -> Row:
    """An annotation row without its time and id."""
    return {"kind": "annotation", "wp_id": wp_id, "actor": actor, "delta": delta}


def envelope(event_type: str, payload: Row, *, aggregate_id: str, aggregate_type: str = "Mission") -> Row:
    """A lifecycle row without its time and id. Readers of lanes skip it in place because it has an `event_type`."""
    return {
        "event_type": event_type,
        "aggregate_id": aggregate_id,
        "aggregate_type": aggregate_type,
        "payload": payload,
        "project_slug": None,
        "project_uuid": None,
        "schema_version": "5.0.0",
    }
