"""The merge of one field, whatever happened to it: nothing is lost that the policy keeps, and one exchange settles it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as some

from kitty_sync.tracker.merge import Base, Move, Policy, Value, Verdict, judge

values = some.sampled_from(["", "a", "b", "c"]) | some.sampled_from([(), ("a",), ("a", "b")])
bases = some.none() | some.builds(Base, values, values)
policies = some.sampled_from(["local", "remote", "newer", "ask"])


def exchanged(verdict: Verdict, base: Base | None, local: Value, remote: Value) -> tuple[Base | None, Value, Value]:
    """Both sides and the base after an exchange that a tracker takes as it is."""
    if verdict.move is Move.TO_LOCAL:
        local = remote
    if verdict.move is Move.TO_REMOTE:
        remote = local
    return (base if verdict.move in (Move.NOTHING, Move.ASK) else Base(local, remote)), local, remote


@given(bases, values, values, policies, some.booleans())
def test_one_exchange_settles_it_unless_somebody_is_asked(
    base: Base | None, local: Value, remote: Value, policy: Policy, newer: bool
) -> None:
    first = judge(base, local, remote, policy, local_is_newer=newer)
    base, local, remote = exchanged(first, base, local, remote)
    again = judge(base, local, remote, policy, local_is_newer=newer)
    assert again.move is (Move.ASK if first.move is Move.ASK else Move.NOTHING)
    assert policy == "ask" or first.move is not Move.ASK


@given(bases, values, values, policies, some.booleans())
def test_nothing_is_lost_that_the_policy_keeps(
    base: Base | None, local: Value, remote: Value, policy: Policy, newer: bool
) -> None:
    verdict = judge(base, local, remote, policy, local_is_newer=newer)
    _, here, there = exchanged(verdict, base, local, remote)
    assert here in (local, remote)
    assert there in (local, remote)
    lost = ([local] if here != local else []) + ([remote] if there != remote else [])
    old = [] if base is None else [base.local if here != local else base.remote]
    # What is written over is what both knew already, or it is told.
    assert not lost or verdict.overrules or lost == old
    assert policy != "ask" or not verdict.overrules


@given(bases, values, values)
def test_a_policy_of_one_side_goes_in_one_direction(base: Base | None, local: Value, remote: Value) -> None:
    assert judge(base, local, remote, "local").move is not Move.TO_LOCAL
    assert judge(base, local, remote, "remote").move is not Move.TO_REMOTE


@given(values, values, policies)
def test_what_a_tracker_made_of_a_value_is_no_change(local: Value, remote: Value, policy: Policy) -> None:
    move = judge(Base(local, remote), local, remote, policy).move
    assert move is Move.NOTHING


@pytest.mark.parametrize(
    ("policy", "newer", "verdict"),
    [
        ("local", False, Verdict(Move.TO_REMOTE, True)),
        ("remote", True, Verdict(Move.TO_LOCAL, True)),
        ("newer", True, Verdict(Move.TO_REMOTE, True)),
        ("newer", False, Verdict(Move.TO_LOCAL, True)),
        ("ask", True, Verdict(Move.ASK)),
    ],
)
def test_where_both_sides_changed(policy: Policy, newer: bool, verdict: Verdict) -> None:
    assert judge(Base("old", "old"), "mine", "theirs", policy, local_is_newer=newer) == verdict
