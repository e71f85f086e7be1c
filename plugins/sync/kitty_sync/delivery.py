"""Sends what waits to the hub, batch by batch, and settles each by what the hub answers for each event.

Nothing is deleted by it: an event that the answer does not mention, or that was not answered at all, waits on. One process sends at a time.
"""

from __future__ import annotations

import gzip
import json
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from attrs import define

from kitty_host.api import KittyError
from kitty_host.inert import inert
from kitty_host.records import Answer, Transport
from kitty_sync.events import canonical, wire
from kitty_sync.queue import Pending, Queue
from kitty_sync.retry import TRANSIENT, Again, Attempt, GaveUp, Policy, retry_after
from kitty_sync.schemas import refusal

LARGEST_BATCH = 1_000
"""Events."""
LARGEST_BODY = 1 << 20
"""Bytes, before they are compressed."""
PATH = "/v1/events"
_TAKEN = ("stored", "duplicate")


@define
class Delivery:
    """What a pass has done so far."""

    delivered: int = 0
    conflicts: int = 0
    """Of the parked ones."""
    parked: int = 0
    """What the hub, or the package of the peer, will never take."""

    @property
    def settled(self) -> int:
        """How many do not wait any more."""
        return self.delivered + self.parked

    def add(self, other: Delivery) -> None:
        """Both together."""
        self.delivered += other.delivered
        self.conflicts += other.conflicts
        self.parked += other.parked


class _Ready(NamedTuple):
    """An event as it is sent."""

    pending: Pending
    record: str


def deliver(
    queue: Queue,
    transport: Transport,
    policy: Policy,
    *,
    told: Callable[[Attempt], None],
    progress: Callable[[Delivery], None],
) -> Delivery:
    """Send everything that waits now, once. Call it under `delivering`.

    Errors: `SERVER_UNREACHABLE`, `SERVER_REFUSED` with the history of the attempts; `AUTH_REQUIRED`, `AUTH_REFRESH_FAILED`. What was sent
    before them is settled, and what was not waits on.
    """
    done = Delivery()
    after = 0
    largest = LARGEST_BATCH
    while batch := queue.pending(after=after, limit=largest):
        ready, refused = _ready(batch)
        if refused:
            _park(queue, refused, done)
        for part in _parts(ready):
            _send(queue, transport, policy, part, done, told)
            progress(done)
        after = batch[-1].seq
    return done


def _ready(batch: Sequence[Pending]) -> tuple[list[_Ready], list[tuple[Pending, str]]]:
    """What can be sent, and what the package of the peer objects to in the rest."""
    ready: list[_Ready] = []
    refused: list[tuple[Pending, str]] = []
    for pending in batch:
        record = wire(json.loads(pending.entry.line))
        text = canonical(record)
        why = refusal(record["event"])
        if why is None and len(text) > LARGEST_BODY - 200:
            why = f"it has {len(text)} bytes, and a hub takes {LARGEST_BODY}"
        if why is None:
            ready.append(_Ready(pending, text))
        else:
            refused.append((pending, f"SCHEMA_REJECTED: {inert(why)}"))
    return ready, refused


def _parts(ready: Sequence[_Ready]) -> Iterator[list[_Ready]]:
    """Bodies that are not too large."""
    part: list[_Ready] = []
    size = 0
    for one in ready:
        if part and size + len(one.record) + 1 > LARGEST_BODY - 200:
            yield part
            part, size = [], 0
        part.append(one)
        size += len(one.record) + 1
    if part:
        yield part


def _send(
    queue: Queue,
    transport: Transport,
    policy: Policy,
    part: list[_Ready],
    done: Delivery,
    told: Callable[[Attempt], None],
) -> None:
    """One batch, until it is answered; in halves where the server does not take it as a whole."""
    answer = _asked(transport, policy, _body(queue, part), told)
    if answer.status == 200:
        _settle(queue, part, _results(answer), done)
    elif not _is_about_the_body(answer):
        raise _refused(answer)
    elif len(part) > 1:
        middle = len(part) // 2
        _send(queue, transport, policy, part[:middle], done, told)
        _send(queue, transport, policy, part[middle:], done, told)
    else:
        _park(queue, [(part[0].pending, _said(answer))], done)


def _is_about_the_body(answer: Answer) -> bool:
    """Whether less of it may be taken. Only a hub says so with 400: anything on the way to it may answer that to everything."""
    return answer.status == 413 or (answer.status == 400 and _said(answer) != "")


def _body(queue: Queue, part: Sequence[_Ready]) -> bytes:
    records = ",".join(one.record for one in part)
    text = f'{{"tenant":{json.dumps(queue.target.tenant)},"events":[{records}]}}'
    return gzip.compress(text.encode(), compresslevel=6, mtime=0)


def _asked(transport: Transport, policy: Policy, body: bytes, told: Callable[[Attempt], None]) -> Answer:
    """The answer to one batch; asked again while it may be another in a while, since what was stored is a duplicate then."""
    headers = {"content-type": "application/json", "content-encoding": "gzip"}

    def ask() -> Answer:
        try:
            answer = transport.request("POST", PATH, body=body, headers=headers)
        except KittyError as error:
            if error.code != "SERVER_UNREACHABLE":
                raise
            raise Again(error.message) from error
        if answer.status in TRANSIENT:
            raise Again(
                f"HTTP {answer.status}",
                status=answer.status,
                retry_after=retry_after(answer.headers, time.time()),
                body=answer.body,
            )
        return answer

    try:
        return policy.call(ask, told=told)
    except GaveUp as gave_up:
        history = [one._asdict() for one in gave_up.history]
        last = gave_up.last
        code = "SERVER_UNREACHABLE" if last.status is None else "SERVER_REFUSED"
        message = f"{last.reason}; given up after {len(history)} attempts"
        hint = "nothing is lost: what was not sent waits on; run it again later"
        raise KittyError(code, message, hint, status=last.status, history=history) from gave_up


def _refused(answer: Answer) -> KittyError:
    why = _said(answer) or inert(answer.body[:200].decode(errors="replace"), prose=True)
    return KittyError(
        "SERVER_REFUSED",
        f"the hub refused the batch: HTTP {answer.status}{f': {why}' if why else ''}",
        "nothing is lost: what was not sent waits on; see kitty auth status",
        status=answer.status,
    )


def _said(answer: Answer) -> str:
    """Why a hub refuses, on one line; empty where no hub speaks."""
    try:
        said = json.loads(answer.body)
        return f"{inert(said['code'])}: {inert(said['message'], prose=True)}"
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return "TOO_LARGE: the server does not take it" if answer.status == 413 else ""


def _results(answer: Answer) -> dict[str, dict[str, Any]]:
    """What the hub says about each event, by id. Errors: `SERVER_REFUSED` where the answer is none."""
    try:
        return {one["event_id"]: one for one in json.loads(answer.body)["results"]}
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise KittyError(
            "SERVER_REFUSED",
            "the hub's answer cannot be understood",
            "is it a hub? kitty auth status names the address; nothing is lost: what was not sent waits on",
            status=answer.status,
        ) from error


def _settle(queue: Queue, part: Sequence[_Ready], results: dict[str, dict[str, Any]], done: Delivery) -> None:
    taken, refused = [], []
    for one in part:
        entry = one.pending.entry
        result = results.get(entry.event_id, {})
        if result.get("status") in _TAKEN:
            taken.append(entry)
        elif result.get("status") in ("conflict", "rejected"):
            code = (
                "EVENT_ID_CONFLICT" if result["status"] == "conflict" else str(result.get("code") or "SCHEMA_REJECTED")
            )
            refused.append((one.pending, f"{inert(code)}: {inert(str(result.get('message') or ''), prose=True)}"))
            done.conflicts += result["status"] == "conflict"
    with queue.locked(), queue.changing() as change:
        change.delivered(taken)
        change.parked((pending.entry, why) for pending, why in refused)
    done.delivered += len(taken)
    done.parked += len(refused)


def _park(queue: Queue, refused: Sequence[tuple[Pending, str]], done: Delivery) -> None:
    with queue.locked(), queue.changing() as change:
        change.parked((pending.entry, why) for pending, why in refused)
    done.parked += len(refused)
