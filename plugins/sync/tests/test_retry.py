"""The policy, with a clock of the test's own: how often, how long, what the server asked for, and what is remembered."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kitty_sync.retry import Again, Attempt, GaveUp, Policy, retry_after

from .clock import Clock


def failing(times: int, **fields: object) -> tuple[list[int], object]:
    asked: list[int] = []

    def ask() -> str:
        asked.append(1)
        if len(asked) <= times:
            raise Again("no", **fields)  # type: ignore[arg-type]
        return "yes"

    return asked, ask


def test_three_failures_and_then_success() -> None:
    asked, ask = failing(3, status=503)
    clock = Clock()
    assert Policy(clock=clock).call(ask) == "yes"  # type: ignore[arg-type]
    assert len(asked) == 4
    assert len(clock.slept) == 3


def test_failure_for_ever_is_bounded_and_has_a_history() -> None:
    asked, ask = failing(1000, status=500)
    clock = Clock()
    with pytest.raises(GaveUp) as gave_up:
        Policy(clock=clock, chance=lambda low, high: high).call(ask)  # type: ignore[arg-type]
    assert len(asked) == 6
    assert clock.slept == [1, 2, 4, 8, 16]
    assert [one.waited for one in gave_up.value.history] == [1, 2, 4, 8, 16, 0]
    assert {one.status for one in gave_up.value.history} == {500}
    assert gave_up.value.history[0].at == "2027-01-15T08:00:00+00:00"


@given(st.integers(0, 12), st.floats(0, 60), st.floats(0, 400), st.floats(0, 50))
def test_never_more_requests_nor_more_time_than_allowed(
    retries: int, backoff: float, total: float, takes: float
) -> None:
    clock = Clock()
    began, asked = clock.now, 0

    def ask() -> None:
        nonlocal asked
        asked += 1
        clock.now += takes
        raise Again("no")

    with pytest.raises(GaveUp):
        Policy(retries, backoff, total, clock).call(ask)
    assert asked <= retries + 1
    assert all(0 <= slept <= backoff for slept in clock.slept)
    assert clock.now - began <= total + takes + 1e-6


def test_what_the_server_asks_for_is_kept_to_and_not_shortened() -> None:
    _, ask = failing(2, status=429, retry_after=120.0)
    clock = Clock()
    Policy(clock=clock).call(ask)  # type: ignore[arg-type]
    assert clock.slept == [120, 120]


def test_a_wait_that_ends_too_late_is_not_begun() -> None:
    asked, ask = failing(9, status=429, retry_after=301.0)
    clock = Clock()
    with pytest.raises(GaveUp):
        Policy(clock=clock).call(ask)  # type: ignore[arg-type]
    assert (len(asked), clock.slept) == (1, [])


@pytest.mark.parametrize("wait", [0.0, 0.0001, 1.0])
def test_each_wait_is_told_of_however_short(wait: float) -> None:
    told: list[Attempt] = []
    _, ask = failing(9)
    with pytest.raises(GaveUp):
        Policy(2, clock=Clock(), chance=lambda low, high: wait).call(ask, told=told.append)  # type: ignore[arg-type]
    assert len(told) == 2


def test_other_errors_pass_at_once() -> None:
    def ask() -> None:
        raise KeyError("x")

    with pytest.raises(KeyError):
        Policy().call(ask)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("7", 7.0),
        (" 0 ", 0.0),
        ("Fri, 15 Jan 2027 08:00:30 GMT", 30.0),
        ("Fri, 15 Jan 2027 07:00:00 GMT", 0.0),
        ("soon", None),
        ("-3", None),
        ("", None),
        ("9" * 5000, 999_999_999.0),
    ],
)
def test_retry_after_is_read_as_seconds_and_as_a_date(text: str, seconds: float | None) -> None:
    assert retry_after({"retry-after": text}, 1_800_000_000.0) == seconds


def test_no_such_header() -> None:
    assert retry_after({}, 0.0) is None
