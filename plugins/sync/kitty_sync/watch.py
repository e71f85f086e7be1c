"""`kitty sync watch`: what happens in the team's projects, as the hub tells it.

Nothing is stored; where a connection broke, the next one goes on by its cursor.
"""

from __future__ import annotations

import contextlib
import json
import shlex
import sys
import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlencode

from kitty_host.api import KittyError
from kitty_host.inert import inert
from kitty_host.report import note
from kitty_sync.retry import TRANSIENT, Again, Attempt, GaveUp, Policy, retry_after

if TYPE_CHECKING:
    from kitty_host.command import Invocation
    from kitty_host.records import Transport

START = "start"
_PAUSE = 1.0
"""Seconds before an answer that ended by itself is asked for again."""
_LONGEST = 4 * 1024 * 1024
"""Characters of one message; the rest of a longer one is left out, which makes it no event."""


class Message(NamedTuple):
    """One message of server-sent events."""

    cursor: str
    kind: str
    data: str


def watch(
    call: Invocation, transport: Transport, *, project: str | None, since: str | None, policy: Policy | None = None
) -> None:
    """Show events until Ctrl-C: those after the cursor `since`, else those from now on, of the project with this UUID or of all.

    `START` in place of a cursor is the beginning.

    With `--json` each is one object on a line, with its `cursor`. Errors: as `Transport.stream`, when asking again did not help.
    """
    reader, policy = _Reader(call, transport, project, since or ""), policy or Policy()
    with contextlib.suppress(KeyboardInterrupt):
        while True:
            _followed(reader, policy)
            policy.clock.sleep(_PAUSE)
    if reader.cursor:
        note(f"go on later with: {reader.again}")


def _followed(reader: _Reader, policy: Policy) -> None:
    try:
        policy.call(reader.follow, told=_tell)
    except GaveUp as gave_up:
        history = [attempt._asdict() for attempt in gave_up.history]
        raise KittyError("SERVER_UNREACHABLE", gave_up.last.reason, reader.again, history=history) from None


def messages(lines: Iterable[str]) -> Iterator[Message | None]:
    """The messages of a stream; None for a comment, which only says that the server is there."""
    cursor, kind, data, size = "", "", list[str](), 0
    for line in lines:
        if not line:
            if data:
                yield Message(cursor, kind or "message", "\n".join(data))
            kind, data, size = "", [], 0
            continue
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "":
            yield None
        elif name == "id" and "\0" not in value:
            cursor = value
        elif name == "event":
            kind = value
        elif name == "data" and size < _LONGEST:
            data.append(value)
            size += len(value) + 1


class _Reader:
    """Reads one connection after the other, each from where the last one ended."""

    def __init__(self, call: Invocation, transport: Transport, project: str | None, since: str) -> None:
        self.cursor = since
        self._call = call
        self._transport = transport
        self._project = project

    def follow(self) -> None:
        """Until the connection ends. Raises `Again` if it broke before anything came; then asking again at once may not help."""
        heard = False
        try:
            with self._transport.stream(self._path()) as lines:
                for message in messages(lines):
                    heard = True
                    if message is not None:
                        self._show(message)
        except KittyError as error:
            if not _may_pass(error):
                raise
            if not heard:
                raise Again(
                    error.message,
                    status=error.details.get("status"),
                    retry_after=retry_after({"retry-after": str(error.details.get("retry_after", ""))}, time.time()),
                ) from error
            note(f"{error.message}; going on from there")

    @property
    def again(self) -> str:
        """The command that goes on from here."""
        return f"kitty sync watch --since {shlex.quote(inert(self.cursor))}" if self.cursor else "kitty sync watch"

    def _path(self) -> str:
        after = "" if self.cursor == START else self.cursor or "latest"
        asked = {"after": after, "project": self._project}
        query = urlencode({name: value for name, value in asked.items() if value})
        return f"/v1/events/stream{f'?{query}' if query else ''}"

    def _show(self, message: Message) -> None:
        if message.kind == "event":
            try:
                record = json.loads(message.data)
                text = _line(record)
            except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
                note(f"what came at {inert(message.cursor)} is no event")
            else:
                payload = {"schema": "kitty.watched/1", "cursor": message.cursor, "record": record}
                self._call.show(payload, text)
                sys.stdout.flush()
        self.cursor = message.cursor or self.cursor


def _line(record: dict[str, Any]) -> str:
    """Time, mission, what happened and by whom. All of it is foreign."""
    event = record["event"]
    payload = event.get("payload")
    payload = payload if isinstance(payload, dict) else {}
    what = str(event["event_type"])
    if payload.get("to_lane"):
        what = f"{payload.get('wp_id', '')} {payload.get('from_lane') or 'new'} → {payload['to_lane']}"
    elif payload.get("wp_id"):
        what = f"{payload['wp_id']} {what}"
    actor = payload.get("actor") or event.get("node_id") or ""
    actor = actor if isinstance(actor, str) else json.dumps(actor)
    said = [
        str(event["timestamp"])[:40],
        str(record.get("mission_slug") or record.get("mission_id") or ""),
        what,
        actor,
    ]
    return "  ".join(inert(one, prose=True) for one in said if one)


def _may_pass(error: KittyError) -> bool:
    return error.code == "SERVER_UNREACHABLE" or (
        error.code == "SERVER_REFUSED" and error.details.get("status") in TRANSIENT
    )


def _tell(attempt: Attempt) -> None:
    note(f"{attempt.reason}; once more in {attempt.waited:.0f} s")
