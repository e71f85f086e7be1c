"""The state machine of a work package: nine lanes, the edges between them, and what each edge asks for.

Edges and guards are those of the released spec-kitty, so that what kitty writes is legal for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from kitty_host.api import Finding, KittyError

PLANNED: Final = "planned"
CLAIMED: Final = "claimed"
IN_PROGRESS: Final = "in_progress"
FOR_REVIEW: Final = "for_review"
IN_REVIEW: Final = "in_review"
APPROVED: Final = "approved"
DONE: Final = "done"
BLOCKED: Final = "blocked"
CANCELED: Final = "canceled"

LANES: Final = (PLANNED, CLAIMED, IN_PROGRESS, FOR_REVIEW, IN_REVIEW, APPROVED, DONE, BLOCKED, CANCELED)
"""The lanes that are shown and counted."""
GENESIS: Final = "genesis"
"""Created and not seeded yet: what the first transition of a work package leaves."""
UNINITIALIZED: Final = "uninitialized"
"""Known from annotations only."""
ALL_LANES: Final = frozenset((*LANES, GENESIS, UNINITIALIZED))
CLOSED: Final = frozenset((DONE, CANCELED))
SETTLED: Final = frozenset((APPROVED, DONE, CANCELED))
"""Nothing is left to do before a landing."""

EDGES: Final[Mapping[str, frozenset[str]]] = {
    GENESIS: frozenset((PLANNED, CANCELED)),
    PLANNED: frozenset((CLAIMED, BLOCKED, CANCELED)),
    CLAIMED: frozenset((IN_PROGRESS, BLOCKED, CANCELED)),
    IN_PROGRESS: frozenset((FOR_REVIEW, APPROVED, PLANNED, BLOCKED, CANCELED)),
    FOR_REVIEW: frozenset((IN_REVIEW, BLOCKED, CANCELED)),
    IN_REVIEW: frozenset((APPROVED, DONE, IN_PROGRESS, PLANNED, BLOCKED, CANCELED)),
    APPROVED: frozenset((DONE, IN_PROGRESS, PLANNED, BLOCKED, CANCELED)),
    BLOCKED: frozenset((IN_PROGRESS, CANCELED)),
    DONE: frozenset(),
    CANCELED: frozenset(),
}


def lane_named(text: str) -> str:
    """The lane that a person typed; `doing` is an old name of `in_progress`. Errors: `TRANSITION_REFUSED`."""
    lane = text.strip().lower()
    lane = IN_PROGRESS if lane == "doing" else lane
    if lane not in LANES:
        raise KittyError("TRANSITION_REFUSED", f"there is no lane {text!r}", f"the lanes are: {', '.join(LANES)}")
    return lane


def check(row: Mapping[str, Any], *, subtasks_open: tuple[str, ...] = (), has_evidence: bool = True) -> list[Finding]:
    """What forbids a transition row; empty where nothing does.

    `subtasks_open` are the subtasks of the work package that are not done, `has_evidence` whether there is anything to review.
    """
    source, target = row["from_lane"], row["to_lane"]
    findings: list[Finding] = []

    def refuse(message: str, hint: str) -> None:
        findings.append(Finding("TRANSITION_REFUSED", f"{row['wp_id']}: {message}", hint))

    if not _text(row.get("actor")):
        refuse("nobody is named as the actor", "name one with --agent")
    if row.get("force"):
        if not _text(row.get("reason")):
            refuse("a forced transition needs a reason", "give one with --reason")
        if target not in LANES:
            refuse(f"no work package goes to {target}", "choose one of the nine lanes")
        return findings
    if target not in EDGES.get(source, frozenset()):
        ways = (
            ", ".join(lane for lane in LANES if lane in EDGES.get(source, ())) or "none, but with --force and --reason"
        )
        refuse(f"there is no way from {source} to {target}", f"from {source} the ways are: {ways}")
        return findings
    if source == IN_PROGRESS and target == FOR_REVIEW:
        if subtasks_open:
            refuse(
                f"subtasks are open: {', '.join(subtasks_open)}",
                f"run: kitty mark-status {' '.join(subtasks_open)} --status done",
            )
        if not has_evidence:
            refuse("there is nothing to review", "commit the work on its lane, or submit with --no-changes REASON")
    if target == APPROVED and source == IN_PROGRESS and not _approves(_review(row)):
        refuse("an approval needs its evidence", "use: kitty review --approve")
    if source == APPROVED and target == DONE and not _approves(_review(row)):
        refuse("done needs the evidence of the approval", "use: kitty merge")
    if source == IN_PROGRESS and target == PLANNED and not _text(row.get("reason")):
        refuse("giving work back needs a reason", "give one with --reason")
    if source == APPROVED and target in (IN_PROGRESS, PLANNED) and not _text(row.get("review_ref")):
        refuse("taking an approval back needs a reference to the review", "use: kitty reopen")
    if source == IN_REVIEW:
        result: Any = row.get("review_result")
        if not _complete(result):
            refuse("leaving a review needs its result", "use: kitty review --approve or --reject")
        elif target in (APPROVED, DONE) and not _approves(result):
            refuse(f"the verdict {result['verdict']!r} approves nothing", "use: kitty review --approve")
        elif target in (APPROVED, DONE) and row.get("evidence") is not None and _review(row) != _three(result):
            refuse("evidence and review result differ", "use: kitty review --approve")
        elif _text(row.get("review_ref")) and row["review_ref"] != result["reference"]:
            refuse("review_ref is not the reference of the review", "leave review_ref out")
    return findings


def _text(value: Any) -> bool:
    return bool(value) if isinstance(value, dict) else isinstance(value, str) and bool(value.strip())


def _review(row: Mapping[str, Any]) -> Any:
    evidence = row.get("evidence")
    return (
        _three(evidence["review"]) if isinstance(evidence, dict) and isinstance(evidence.get("review"), dict) else None
    )


def _three(result: Mapping[str, Any]) -> dict[str, Any]:
    return {key: result.get(key) for key in ("reviewer", "verdict", "reference")}


def _complete(result: Any) -> bool:
    return isinstance(result, Mapping) and all(_text(result.get(key)) for key in ("reviewer", "verdict", "reference"))


def _approves(result: Any) -> bool:
    return _complete(result) and result["verdict"] == "approved"
