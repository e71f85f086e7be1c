"""The state machine: which ways there are, and what each asks for."""

from __future__ import annotations

from typing import Any

import pytest

from kitty_host.api import KittyError
from kitty_host.ledger.machine import (
    ALL_LANES,
    CLOSED,
    EDGES,
    GENESIS,
    LANES,
    SETTLED,
    UNINITIALIZED,
    check,
    lane_named,
)

# The table of the released spec-kitty, written out once more so that a slip in the other copy is seen.
TABLE = """
genesis      planned canceled
planned      claimed blocked canceled
claimed      in_progress blocked canceled
in_progress  for_review approved planned blocked canceled
for_review   in_review blocked canceled
in_review    approved done in_progress planned blocked canceled
approved     done in_progress planned blocked canceled
blocked      in_progress canceled
done
canceled
uninitialized
"""
WAYS = {line.split()[0]: line.split()[1:] for line in TABLE.strip().splitlines()}
ALLOWED = [(source, target) for source, targets in WAYS.items() for target in targets]
EVERY = [(source, target) for source in WAYS for target in WAYS]
REVIEW = {"reviewer": "rita", "verdict": "approved", "reference": "commit-1"}
REJECTION = {**REVIEW, "verdict": "changes_requested"}


def row(source: str, target: str, **changes: Any) -> dict[str, Any]:
    """A transition with everything that any guard can ask for."""
    approving = target in ("approved", "done")
    return {
        "wp_id": "WP01",
        "from_lane": source,
        "to_lane": target,
        "actor": "agent",
        "force": False,
        "reason": "because",
        "review_ref": "commit-1",
        "evidence": {"review": REVIEW} if approving else None,
        "review_result": (REVIEW if approving else REJECTION) if source == "in_review" else None,
        **changes,
    }


def messages(
    source: str, target: str, *, subtasks_open: tuple[str, ...] = (), has_evidence: bool = True, **changes: Any
) -> list[str]:
    findings = check(row(source, target, **changes), subtasks_open=subtasks_open, has_evidence=has_evidence)
    assert all(one.code == "TRANSITION_REFUSED" and one.severity == "block" and one.hint for one in findings)
    return [one.message for one in findings]


@pytest.mark.parametrize(("source", "target"), ALLOWED)
def test_every_way_of_the_table_is_open(source: str, target: str) -> None:
    assert messages(source, target) == []


@pytest.mark.parametrize(("source", "target"), [pair for pair in EVERY if pair not in ALLOWED])
def test_every_other_way_is_closed_and_the_open_ones_are_named(source: str, target: str) -> None:
    [message] = messages(source, target)
    assert message == f"WP01: there is no way from {source} to {target}"
    [finding] = check(row(source, target))
    assert all(lane in finding.hint for lane in WAYS[source])
    if not WAYS[source]:
        assert "--force" in finding.hint


def test_the_machine_has_no_lane_that_the_table_lacks() -> None:
    assert set(EDGES) | {UNINITIALIZED} == set(WAYS)
    assert set(LANES) == set(WAYS) - {GENESIS, UNINITIALIZED}
    assert set(WAYS) == ALL_LANES


def test_what_is_done_or_canceled_is_closed_and_what_is_approved_is_settled_too() -> None:
    assert set(CLOSED) == {"done", "canceled"}
    assert set(SETTLED) == {"approved", "done", "canceled"}


# Guards: each is met in `row` and fails when its condition is taken away.


@pytest.mark.parametrize(("source", "target"), ALLOWED)
@pytest.mark.parametrize("actor", ["", "  ", None, {}])
def test_somebody_must_be_named_as_the_actor(source: str, target: str, actor: Any) -> None:
    assert "WP01: nobody is named as the actor" in messages(source, target, actor=actor)


def test_an_actor_can_be_a_mapping() -> None:
    assert messages("planned", "claimed", actor={"role": "r", "profile": None, "tool": "t", "model": None}) == []


def test_open_subtasks_keep_work_from_review() -> None:
    [message] = messages("in_progress", "for_review", subtasks_open=("T001", "T002"))
    assert "T001, T002" in message
    assert messages("in_progress", "blocked", subtasks_open=("T001",)) == []


def test_there_must_be_something_to_review() -> None:
    [message] = messages("in_progress", "for_review", has_evidence=False)
    assert "nothing to review" in message
    assert messages("in_progress", "blocked", has_evidence=False) == []
    assert check(row("in_progress", "for_review")) == []  # whoever does not say is not in its way


@pytest.mark.parametrize(
    "evidence",
    [
        None,
        {},
        {"review": None},
        {"review": {**REVIEW, "reviewer": ""}},
        {"review": {**REVIEW, "reference": " "}},
        {"review": REJECTION},
        {"review": {"verdict": "approved"}},
    ],
)
@pytest.mark.parametrize(("source", "target"), [("in_progress", "approved"), ("approved", "done")])
def test_an_approval_outside_a_review_needs_its_evidence(source: str, target: str, evidence: Any) -> None:
    assert len(messages(source, target, evidence=evidence)) == 1


def test_giving_work_back_needs_a_reason() -> None:
    assert len(messages("in_progress", "planned", reason=None)) == 1
    assert len(messages("in_progress", "planned", reason=" ")) == 1


@pytest.mark.parametrize("target", ["in_progress", "planned"])
def test_taking_an_approval_back_needs_a_reference(target: str) -> None:
    assert len(messages("approved", target, review_ref=None)) == 1
    assert len(messages("approved", target, review_ref="")) == 1


@pytest.mark.parametrize("target", WAYS["in_review"])
@pytest.mark.parametrize(
    "result", [None, {}, "approved", {**REVIEW, "reviewer": ""}, {**REVIEW, "verdict": None}, {"verdict": "approved"}]
)
def test_leaving_a_review_needs_its_whole_result(target: str, result: Any) -> None:
    [message] = messages("in_review", target, review_result=result)
    assert "leaving a review needs its result" in message


@pytest.mark.parametrize("target", ["approved", "done"])
def test_only_an_approving_verdict_approves(target: str) -> None:
    [message] = messages("in_review", target, review_result=REJECTION, evidence=None)
    assert "approves nothing" in message
    assert messages("in_review", target, evidence=None) == []


@pytest.mark.parametrize("target", ["approved", "done"])
@pytest.mark.parametrize("evidence", [{}, {"review": {**REVIEW, "reviewer": "somebody else"}}, {"review": REJECTION}])
def test_evidence_and_result_of_a_review_agree(target: str, evidence: Any) -> None:
    [message] = messages("in_review", target, evidence=evidence)
    assert "differ" in message


@pytest.mark.parametrize("target", WAYS["in_review"])
def test_a_reference_beside_the_result_is_the_same_one(target: str) -> None:
    [message] = messages("in_review", target, review_ref="another")
    assert "review_ref" in message
    assert messages("in_review", target, review_ref=None) == []


# Force


@pytest.mark.parametrize(("source", "target"), [pair for pair in EVERY if pair[1] not in (GENESIS, UNINITIALIZED)])
def test_force_with_actor_and_reason_opens_every_way(source: str, target: str) -> None:
    bare = {"evidence": None, "review_result": None, "review_ref": None}
    assert messages(source, target, force=True, **bare, subtasks_open=("T001",), has_evidence=False) == []


@pytest.mark.parametrize(("missing", "said"), [("reason", "needs a reason"), ("actor", "nobody is named")])
@pytest.mark.parametrize("empty", [None, "", " "])
def test_force_needs_actor_and_reason(missing: str, said: str, empty: Any) -> None:
    [message] = messages("done", "planned", force=True, **{missing: empty})
    assert said in message


@pytest.mark.parametrize("target", [GENESIS, UNINITIALIZED])
def test_not_even_force_leads_to_a_lane_that_is_not_shown(target: str) -> None:
    assert len(messages("planned", target, force=True)) == 1


# Names


@pytest.mark.parametrize("lane", LANES)
def test_a_lane_is_known_by_its_name_however_it_is_typed(lane: str) -> None:
    assert lane_named(f" {lane.upper()} ") == lane


def test_doing_is_an_old_name_of_in_progress() -> None:
    assert lane_named("Doing") == "in_progress"


@pytest.mark.parametrize("text", ["genesis", "uninitialized", "", "finished", "in review"])
def test_no_other_name_is_a_lane(text: str) -> None:
    with pytest.raises(KittyError) as refused:
        lane_named(text)
    assert refused.value.code == "TRANSITION_REFUSED"
    assert all(lane in refused.value.hint for lane in LANES)
