"""The websocket: a pass for it, a snapshot, pings, events one by one, and what the others store, as they store it.

A socket lasts as long as the session that it was opened in. What is sent over it is not handed back over it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from attrs import define, field
from sqlalchemy import Connection
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from kitty_sync.hub import bodies, ingest, read
from kitty_sync.hub.accounts import Member
from kitty_sync.hub.answer import JsonAnswer
from kitty_sync.hub.error import HubError, no_token
from kitty_sync.hub.live import LOOKS
from kitty_sync.hub.released import aside, envelope, sessions
from kitty_sync.hub.released.answers import answering, may_write, refused, spoken
from kitty_sync.hub.released.person import private_team

if TYPE_CHECKING:
    from kitty_sync.hub.app import Hub

_PATH = "/api/v1/ws"
_RECENT = 500
"""How many of the last events a snapshot is made of."""
_REMEMBERED = 10_000
"""How many events that came over a socket it does not hand back."""
_GOING_AWAY, _UNUSABLE, _OVER = 1001, 1003, 4401
_COMMIT = ("git_hash", "build_id", "project_uuid", "admission_generation", "binding_audience")
_NO_SECRET = {"Cache-Control": "no-store"}


def routes(hub: Hub) -> list[BaseRoute]:
    """These calls, of one hub."""
    few = asyncio.Semaphore(LOOKS)  # hundreds hear of one event, and each looks

    @answering
    async def let_in(request: Request) -> Response:
        """A pass for a websocket."""
        who = await hub.member(request)
        said = bodies.parsed(await bodies.sent(request, bodies.LARGEST_FORM))
        if said.get("team_id") not in (private_team(who), who.team_slug, who.team_id):
            error = HubError("TENANT_CLAIMED", 403, "team_id is not the team of the token", "log in to that team")
            return refused(error, error="not_a_team_member")
        session_id = await hub.read(sessions.session_of, bodies.bearer(request), hub.clock())
        if session_id is None:
            raise no_token("the token is over")
        shown = await hub.write(sessions.let_in, session_id)
        place = "ws" + hub.address.removeprefix("http") + _PATH
        rest = {"ws_url": place, "expires_in": sessions.PASS_SECONDS, "session_id": session_id}
        return JsonAnswer({"ws_token": shown, **rest}, headers=_NO_SECRET)

    async def connected(socket: WebSocket) -> None:
        """One websocket, until either side ends it."""
        try:
            hub.limits.login(socket)
            spoken(socket.headers)
            shown = bodies.bearer(socket)
            session_id = await hub.read(sessions.known, shown, hub.clock()) and await hub.write(sessions.redeem, shown)
            if not session_id:
                raise no_token("the pass is over, or none of this hub")
            who: Member | None = await hub.read(sessions.holder, session_id)
            if who is None:
                raise no_token("the session is over")
            hub.may_listen(who)
        except HubError as error:
            hub.metrics.refused(error.code)
            await socket.send_denial_response(refused(error))
            return
        socket.state.who = who
        await socket.accept()
        with contextlib.suppress(WebSocketDisconnect, RuntimeError):  # the other side may go at any moment
            await _Conversation(hub, socket, session_id, who, few).hold()

    return [Route("/api/v1/ws-token", let_in, methods=["POST"]), WebSocketRoute(_PATH, connected)]


@define
class _Conversation:
    """One websocket of one session."""

    hub: Hub
    socket: WebSocket
    session_id: str
    who: Member
    few: asyncio.Semaphore
    own: dict[tuple[str, str], None] = field(factory=dict)
    """What came over this socket, the latest last."""

    async def hold(self) -> None:
        """Until it ends."""
        after, moved = await self.hub.read(_snapshot, self.who.team_id)
        await self._tell({"type": "snapshot", "work_packages": moved, "cursor": read.cursor_of(after)})
        handing = asyncio.create_task(self._hand_on(after))
        listening = asyncio.create_task(self._listen())
        try:
            done, _ = await asyncio.wait((handing, listening), return_when=asyncio.FIRST_COMPLETED)
            for one in done:
                one.result()
        finally:
            for one in (handing, listening):
                one.cancel()
            await asyncio.gather(handing, listening, return_exceptions=True)

    async def _hand_on(self, after: int) -> None:
        """What others store. It ends with the session, or with the hub."""
        async for record in self._stored(after):
            if record is None:
                await self._tell({"type": "ping", "timestamp": datetime.now(UTC).isoformat()})
                continue
            event = record.pop("event")
            if (event["project_uuid"], event["event_id"]) not in self.own:
                await self._tell({**event, **record, "type": "event"})
        alive = await self.hub.read(sessions.holder, self.session_id)
        await self.socket.close(_GOING_AWAY if alive else _OVER)

    async def _stored(self, after: int) -> AsyncIterator[dict[str, Any] | None]:
        """Records as they are stored; None where there was nothing for a while."""

        def page(database: Connection, position: int) -> read.Page | None:
            now = sessions.holder(database, self.session_id)
            return read.page(database, now.team_id, position) if now else None

        async def look(position: int) -> read.Page | None:
            async with self.few:
                found: read.Page | None = await self.hub.read(page, position)
            return found

        async for told in self.hub.listen(self.who, self.hub.live.stream(self.who.team_id, after, look)):
            for part in told.decode().split("\n\n"):
                if part.startswith(":"):
                    yield None
                elif "\nevent: event\n" in part:
                    yield json.loads(part.partition("\ndata: ")[2])

    async def _listen(self) -> None:
        """What the client says."""
        while True:
            message = await self.socket.receive()
            if message["type"] == "websocket.disconnect":
                return
            text = message.get("text")
            try:
                found = envelope.loaded(text.encode()) if text is not None else None
            except HubError:
                found = None
            said: dict[str, Any] = found if isinstance(found, dict) else {}
            kind = said.get("type")
            if kind == "event":
                await self._tell(await self._added(said))
            elif kind == "ping":
                await self._tell({"type": "pong", "timestamp": said.get("timestamp")})
            elif kind == "LocalCommit":
                await self._tell(await self._noted(said))
            elif kind != "pong":
                await self.socket.close(_UNUSABLE)
                return

    async def _added(self, said: dict[str, Any]) -> dict[str, Any]:
        """Keep one event, and what is said of it."""
        named = {"event_id": said.get("event_id")}
        try:
            who: Member | None = await self.hub.read(sessions.holder, self.session_id)
            if who is None:
                raise no_token("the session is over")
            may_write(who, "events")
            self.hub.limits.batch(self.session_id)
            judged = await run_in_threadpool(envelope.judge, [said], who)
            for one in judged:
                if isinstance(one, ingest.Candidate):
                    self.own[one.project, one.event_id] = None
                    if len(self.own) > _REMEMBERED:
                        del self.own[next(iter(self.own))]
            (kept,) = await envelope.keep(self.hub, who.team_id, judged)
        except HubError as error:
            category = {"error_category": error.code.lower(), "error_message": error.message}
            return {"type": "error", **named, "status": "rejected", **category, "retryable": True}
        verdict = kept.shown()
        if verdict["status"] == "rejected":
            return {"type": "error", **verdict, "retryable": False}
        return {"type": "ack", **verdict, "status": "duplicate" if verdict["status"] == "duplicate" else "accepted"}

    async def _noted(self, said: dict[str, Any]) -> dict[str, Any]:
        """Keep a commit that the client made, and its acknowledgement."""
        try:
            who: Member | None = await self.hub.read(sessions.holder, self.session_id)
            if who is None:
                raise no_token("the session is over")
            may_write(who, "commits")
            self.hub.limits.batch(self.session_id)
            one = None if envelope.fault(said) else aside.commit(said)
            if one is None:
                raise HubError(
                    "BODY_INVALID", 400, "it is no commit", "see the released client in docs/hub.md of kitty"
                )
            (new,) = await self.hub.write(aside.keep, who.team_id, [one])
        except HubError as error:
            return {
                "type": "error",
                "status": "rejected",
                "error_category": error.code.lower(),
                "error_message": error.message,
            }
        named = {name: said.get(name) for name in _COMMIT}
        received_at = datetime.fromtimestamp(self.hub.clock(), UTC).isoformat()
        return {
            "type": "LocalCommitAck",
            **named,
            "status": "accepted" if new else "duplicate",
            "received_at": received_at,
        }

    async def _tell(self, frame: dict[str, Any]) -> None:
        await self.socket.send_text(json.dumps(frame, separators=(",", ":")))


def _snapshot(database: Connection, team_id: str) -> tuple[int, list[dict[str, Any]]]:
    """Where the events of a team end, and the lanes of the work packages that the last of them moved."""
    last = ingest.last_position(database, team_id)
    lanes: dict[tuple[str, str, str], dict[str, Any]] = {}
    for text in read.latest(database, team_id, _RECENT):
        record = json.loads(text)
        event = record["event"]
        if event["event_type"] == "WPStatusChanged":
            key = event["project_uuid"], record["mission_slug"], event["payload"]["wp_id"]
            names = zip(("project_uuid", "mission_slug", "wp_id"), key, strict=True)
            # What was moved last is seen first.
            lanes.setdefault(key, {**dict(names), "lane": event["payload"]["to_lane"], "at": event["timestamp"]})
    return last, [*reversed(lanes.values())]
