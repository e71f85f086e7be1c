"""Rows of ledgers as events that leave: which of them do, as what, and how they are written down on the way.

An event is made of its row, its mission and its project, and of nothing else, so that two clones that send one row send the same.
Whether the package of the peer takes it is asked when it is sent (`schemas`).
"""

from __future__ import annotations

import hashlib
import json
import re
import uuid
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

from kitty_host.ledger.event import Event, Other, Transition, actor_name, event_id_of, is_ulid, ulid
from kitty_host.mission import Mission

CHANGED = "WPStatusChanged"
"""What a transition is called outside."""
TYPES = frozenset(
    (
        CHANGED, "BuildHeartbeat", "BuildRegistered", "CommentPosted", "ConcurrentDriverWarning", "ConnectorDegraded",
        "ConnectorHealthChecked", "ConnectorProvisioned", "ConnectorReconnected", "ConnectorRevoked", "DecisionCaptured",
        "DecisionInputAnswered", "DecisionInputRequested", "DecisionPointDiscussing", "DecisionPointOpened", "DecisionPointOverridden",
        "DecisionPointResolved", "DecisionPointWidened", "DependencyResolved", "DiffSummaryRecorded", "DriveIntentSet", "ErrorLogged",
        "FocusChanged", "FollowUpRecorded", "GateFailed", "GatePassed", "GenerationBlockedBySemanticConflict",
        "GlossaryClarificationRequested", "GlossaryClarificationResolved", "GlossaryScopeActivated", "GlossarySenseUpdated",
        "GlossaryStrictnessSet", "HarnessObservation", "HistoryAdded", "MissionAuditCompleted", "MissionAuditDecisionRequested",
        "MissionAuditFailed", "MissionAuditRequested", "MissionAuditStarted", "MissionCancelled", "MissionClosed", "MissionCompleted",
        "MissionCreated", "MissionDossierArtifactIndexed", "MissionDossierArtifactMissing", "MissionDossierParityDriftDetected",
        "MissionDossierSnapshotComputed", "MissionOriginBound", "MissionReopened", "MissionRunCompleted", "MissionRunStarted",
        "MissionStarted", "NextStepAutoCompleted", "NextStepIssued", "ParticipantInvited", "ParticipantJoined", "ParticipantLeft",
        "PhaseEntered", "PlanCompleted", "PlanStarted", "PotentialStepCollisionDetected", "PresenceHeartbeat",
        "ProfileInvocationStarted", "ProjectInitialized", "PromptStepExecutionCompleted", "PromptStepExecutionStarted",
        "RetrospectiveCompleted", "RetrospectiveSkipped", "ReviewRollback", "ReviewerSelfApproval", "SemanticCheckEvaluated",
        "SessionLinked", "SpecifyCompleted", "SpecifyStarted", "StepCheckpointed", "TasksCompleted", "TasksStarted",
        "TermCandidateObserved", "TokenUsageRecorded", "WPAssigned", "WPCreated", "WarningAcknowledged", "WorkObservation",
        "retrospective.completed", "retrospective.failed", "retrospective.proposal.applied", "retrospective.proposal.generated",
        "retrospective.proposal.rejected", "retrospective.requested", "retrospective.skipped", "retrospective.started",
    )
)  # fmt: skip
"""Every event that `spec_kitty_events` has a model for. It takes too long to load to be asked by every command; a test compares."""
SCHEMA_VERSION = "3.0.0"
_UUID = re.compile(r"[0-9a-f]{32}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_PAYLOAD = (
    "mission_slug", "wp_id", "from_lane", "to_lane", "actor", "force", "reason", "execution_mode", "review_ref", "evidence",
)  # fmt: skip
"""What a `WPStatusChanged` takes of a transition in both generations of the package."""

Record = dict[str, Any]


class Entry(NamedTuple):
    """One event on its way out."""

    project: str
    event_id: str
    """As the package takes it."""
    digest: str
    """SHA-256 of the row's canonical JSON: what "the same event" means."""
    at: str
    line: str
    """The row and whose it is, as one line of JSON; what a drained file holds."""


def entry_of(row: Mapping[str, Any], mission: Mission, project: str, tenant: str) -> Entry:
    """A row of a ledger that `leaves`."""
    digest = digest_of(row)
    event_id = id_of(row, digest)
    line = {
        "event_id": event_id,
        "digest": digest,
        "tenant": tenant,
        "project": project,
        "mission_id": mission.mission_id,
        "mission_slug": mission.slug,
        "event": row,
    }
    return Entry(project, event_id, digest, _time(row), canonical(line))


def entries_of(mission: Mission, project: str, tenant: str) -> Iterator[Entry]:
    """Every row of a ledger that leaves, in its order. Errors: `LEDGER_DAMAGED`."""
    for event in mission.ledger.events():
        if leaves(event):
            yield entry_of(event.row, mission, project, tenant)  # type: ignore[union-attr]  # only rows with one leave


def leaves(event: Event) -> bool:
    """Whether a row has a model outside; all others are kitty's own and stay where they are."""
    return isinstance(event, Transition) or (isinstance(event, Other) and event.row.get("event_type") in TYPES)


def wire(record: Record) -> Record:
    """A record as a hub is given it (ADR 0020)."""
    row, project = record["event"], record["project"]
    mission_id = str(record["mission_id"])
    kind = row.get("event_type") or CHANGED
    event = {
        "event_id": record["event_id"],
        "event_type": kind,
        "aggregate_id": str(row.get("aggregate_id") or row.get("wp_id") or mission_id),
        "payload": row.get("payload", {}) if "event_type" in row else _changed(row),
        "timestamp": _time(row),
        "build_id": str(row.get("build_id") or project),
        "node_id": str(row.get("node_id") or "kitty"),
        "lamport_clock": row.get("lamport_clock") or 0,
        "causation_id": row.get("causation_id"),
        "project_uuid": project,
        "project_slug": row.get("project_slug"),
        "correlation_id": row.get("correlation_id")
        or normal_id(mission_id)
        or str(uuid.uuid5(uuid.UUID(project), mission_id)),
        "schema_version": SCHEMA_VERSION,
    }
    return {
        "mission_id": mission_id,
        "mission_slug": str(record["mission_slug"]),
        "aggregate_type": str(row.get("aggregate_type") or "WorkPackage"),
        "event": event,
    }


def normal_id(text: str) -> str:
    """An id in the one spelling in which ids are compared: a ULID in capitals, a UUID with dashes; empty where it is neither."""
    if is_ulid(text.upper()):
        return text.upper()
    return str(uuid.UUID(text)) if _UUID.fullmatch(text.lower()) else ""


def id_of(row: Mapping[str, Any], digest: str) -> str:
    """The id of a row; of a foreign one without an id that can be sent, a ULID of its time and its digest."""
    found = normal_id(event_id_of(row))
    return found or ulid(_milliseconds(_time(row)), int(digest[:20], 16))


def digest_of(row: Mapping[str, Any]) -> str:
    """SHA-256 of the row's canonical JSON, in hexadecimal."""
    return hashlib.sha256(canonical(row).encode()).hexdigest()


def canonical(value: Any) -> str:
    """JSON with one spelling: sorted keys, no spaces, ASCII."""
    return _encoder.encode(value)


_encoder = json.JSONEncoder(sort_keys=True, separators=(",", ":"))


def _changed(row: Record) -> Record:
    payload = {key: row[key] for key in _PAYLOAD if key in row}
    payload["actor"] = actor_name(payload["actor"])  # the package knows actors by name only
    payload.setdefault("mission_slug", row.get("feature_slug"))
    return payload


def _time(row: Mapping[str, Any]) -> str:
    return str(row.get("timestamp") or row.get("at") or "")


def _milliseconds(text: str) -> int:
    try:
        moment = datetime.fromisoformat(text)
        return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)
    except (ValueError, OverflowError):
        return 0
