"""Asks a tracker: as often as the policy allows, with every failure kept."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from attrs import frozen

from kitty_host.report import note
from kitty_sync.retry import Attempt, GaveUp, Policy
from kitty_sync.tracker.connectors import Issue, Refused, Tracker
from kitty_sync.tracker.failure import TrackerSyncFailed
from kitty_sync.tracker.links import Failure, Links, now

Result = TypeVar("Result")


@frozen
class Asking:
    """One tracker, how often it is asked, and where it is kept that it failed."""

    tracker: Tracker
    links: Links
    retry: Policy

    def ask(self, wp_id: str, function: Callable[[], Result]) -> Result:
        """What it answers; `wp_id` is empty where no work package in particular is meant. Errors: `Gone`, `TRACKER_SYNC_FAILED`."""
        tried: list[Attempt] = []

        def told(attempt: Attempt) -> None:
            tried.append(attempt)
            note(f"{wp_id or self.tracker.workspace}: {attempt.reason}; asked again in {attempt.waited:.0f} s")

        try:
            return self.retry.call(function, told=told)
        except GaveUp as gave_up:
            last = gave_up.last
            failure = self.failed(wp_id, last.reason, last.status, last.body, gave_up.history, transient=True)
            raise failure from gave_up
        except Refused as refusal:
            tried.append(Attempt(now(), refusal.status, refusal.reason, 0.0))
            raise self.failed(wp_id, refusal.reason, refusal.status, refusal.body, tuple(tried)) from refusal

    def failed(
        self,
        wp_id: str,
        reason: str,
        status: int | None,
        body: bytes = b"",
        history: tuple[Attempt, ...] = (),
        *,
        transient: bool = False,
    ) -> TrackerSyncFailed:
        """A failure for ever; it is kept."""
        history = history or (Attempt(now(), status, reason, 0.0),)
        provider, workspace = self.tracker.provider, self.tracker.workspace
        failure = TrackerSyncFailed(
            provider, workspace, wp_id, reason, status=status, body=body, history=history, transient=transient
        )
        self.links.failed(Failure(wp_id, now(), status, failure.reason, failure.body, history))
        return failure

    def every_issue(self) -> list[Issue]:
        """All issues of the workspace, each page asked for as often as it takes. Errors: `Gone`, `TRACKER_SYNC_FAILED`."""
        return self._listed(lambda page: self.ask("", page))

    def every_issue_at_once(self) -> list[Issue]:
        """The same, asked for once: by something that is asked again itself."""
        return self._listed(lambda page: page())

    def _listed(
        self, ask: Callable[[Callable[[], tuple[list[Issue], str | None]]], tuple[list[Issue], str | None]]
    ) -> list[Issue]:
        found: list[Issue] = []
        cursor: str | None = None
        while True:
            some, cursor = ask(partial(self.tracker.page, cursor))
            found += some
            if cursor is None:
                return found
            note(f"{len(found)} issues of {self.tracker.workspace} read")


def key_of(*parts: object) -> str:
    """What a request is known by: 32 hexadecimal digits of a hash over what it is about, its base and its content."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]
