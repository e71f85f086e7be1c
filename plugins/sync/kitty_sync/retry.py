"""How often, and after how long, something is asked once more: one policy for deliveries and for trackers, and its history.

The loop is tenacity's. What may be asked again is the caller's business; nothing here knows what is sent.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import NamedTuple, Protocol, TypeVar

from attrs import field, frozen
from tenacity import RetryCallState, Retrying, retry_if_exception_type

TRANSIENT = frozenset((408, 425, 429, 500, 502, 503, 504))
"""HTTP statuses that may be others in a while."""

Result = TypeVar("Result")


class Clock(Protocol):
    """What tells the time and lets it pass: the module `time`, or a clock of a test."""

    def monotonic(self) -> float:
        """Seconds."""
        ...

    def time(self) -> float:
        """Seconds since 1970."""
        ...

    def sleep(self, seconds: float, /) -> None:
        """Wait."""
        ...


class Attempt(NamedTuple):
    """One request that failed."""

    at: str
    """UTC, ISO 8601."""
    status: int | None
    """The HTTP status; None where no answer came."""
    reason: str
    waited: float
    """Seconds until the next one; 0 for the last."""


class Again(Exception):
    """Raised by what is tried: it failed in a way that may pass. `retry_after` is what the server asked for, in seconds."""

    def __init__(
        self, reason: str, *, status: int | None = None, retry_after: float | None = None, body: bytes = b""
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.status = status
        self.retry_after = retry_after
        self.body = body


class GaveUp(Exception):
    """It failed each time, or the time was over. `history` is oldest first; `last` is the last failure."""

    def __init__(self, last: Again, history: tuple[Attempt, ...]) -> None:
        super().__init__(last.reason)
        self.last = last
        self.history = history


@frozen
class Policy:
    """At most `retries` more requests, after waits with full jitter that grow to `backoff` seconds, within `total` seconds.

    A wait that the server asks for is kept to; where it would end after `total`, nothing more is asked.
    """

    retries: int = 5
    backoff: float = 30.0
    total: float = 300.0
    clock: Clock = field(default=time)  # a module is one
    chance: Callable[[float, float], float] = random.uniform

    def call(self, function: Callable[[], Result], *, told: Callable[[Attempt], None] | None = None) -> Result:
        """What the function returns, asked again whenever it raises `Again`. Errors: `GaveUp`; others pass at once.

        `told` hears of a failure before each wait, however short; of the last one `GaveUp` tells.
        """
        began = self.clock.monotonic()
        history: list[Attempt] = []

        def wait(state: RetryCallState) -> float:
            if (asked := _failure(state).retry_after) is not None:
                return asked
            return self.chance(0.0, min(self.backoff, 2.0 ** (state.attempt_number - 1)))

        def stop(state: RetryCallState) -> bool:
            return state.attempt_number > self.retries or self._left(began) < state.upcoming_sleep

        def note(state: RetryCallState, waited: float) -> None:
            history.append(self._attempt(_failure(state), waited))

        def again(state: RetryCallState) -> None:
            note(state, state.upcoming_sleep)
            if told is not None:
                told(history[-1])

        def give_up(state: RetryCallState) -> Result:
            note(state, 0.0)
            raise GaveUp(_failure(state), tuple(history)) from _failure(state)

        return Retrying(
            retry=retry_if_exception_type(Again),
            wait=wait,
            stop=stop,
            sleep=self.clock.sleep,
            before_sleep=again,
            retry_error_callback=give_up,
        )(function)

    def _left(self, began: float) -> float:
        return self.total - (self.clock.monotonic() - began)

    def _attempt(self, failure: Again, waited: float) -> Attempt:
        at = datetime.fromtimestamp(self.clock.time(), UTC).isoformat(timespec="seconds")
        return Attempt(at, failure.status, failure.reason, round(waited, 3))


def retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Seconds that a server asks to wait, said in seconds or as a date; None where it says nothing that is either.

    `headers` are by their names in lower case; `now` is in seconds since 1970.
    """
    text = headers.get("retry-after", "").strip()
    if not text:
        return None
    if text.isdecimal() and text.isascii():
        return float(text[:9])
    try:
        moment = parsedate_to_datetime(text)
        return max(0.0, (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() - now)
    except (ValueError, OverflowError):
        return None


def _failure(state: RetryCallState) -> Again:
    failure = state.outcome and state.outcome.exception()
    assert isinstance(failure, Again)
    return failure
