"""Server-sent events: what a team stores, as it is stored, from any cursor on.

Whoever waits took the bell before the last look, so that nothing that is committed after that look is missed. The database is asked
again after every bell, once for all who are at the same place; a bell that nobody rang costs time and no event.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, NamedTuple

from sqlalchemy import Connection

from kitty_sync.hub import read, tokens
from kitty_sync.hub.news import News
from kitty_sync.hub.read import Page, cursor_of
from kitty_sync.hub.store import Store

HEARTBEAT = 15.0
"""Seconds of silence after which a stream says that it is still there, and looks."""
LOOKS = 4
"""How many may look at once; who looks needs a thread and a connection."""


class Live:
    """Who waits for news of which team. It belongs to the thread of the event loop."""

    def __init__(self) -> None:
        self._bells: dict[str, asyncio.Event] = defaultdict(asyncio.Event)
        self._news: News | None = None
        self._over = False

    def begin(self, store: Store) -> None:
        """Hear what other processes have stored, where there are others."""
        if store.postgresql is not None:
            self._news = News(store, store.postgresql, self)

    def ring(self, team_id: str) -> None:
        """There is something new, here; the other processes are told."""
        self.wake(team_id)
        if self._news is not None:
            self._news.tell(team_id)

    def wake(self, team_id: str) -> None:
        """There is something new, and everybody here who waits for it looks."""
        bell = self._bells.pop(team_id, None)
        if bell is not None:
            bell.set()

    def awaited(self) -> list[str]:
        """The teams of which somebody waits for news."""
        return list(self._bells)

    def end(self) -> None:
        """Every stream ends."""
        self._over = True
        for team_id in self.awaited():
            self.wake(team_id)

    def close(self) -> None:
        """Nobody is told any more."""
        if self._news is not None:
            self._news.close()

    async def due(self, team_id: str) -> AsyncIterator[bool]:
        """When to look: now, whenever there is something new, and, as False, after a silence; until the hub ends."""
        rung = True
        while not self._over:
            bell = self._bells[team_id]
            yield rung
            try:
                async with asyncio.timeout(HEARTBEAT):
                    rung = await bell.wait()
            except TimeoutError:
                rung = False

    async def stream(
        self, team_id: str, after: int, look: Callable[[int], Awaitable[Page | None]]
    ) -> AsyncIterator[bytes]:
        """Events from a position on, until the hub ends or `look` gives None: then who listens may do so no longer."""
        yield f"id: {cursor_of(after)}\nevent: here\ndata: {{}}\n\n".encode()  # who is cut off before anything came knows where to go on
        while not self._over:
            bell = self._bells[team_id]
            page = await look(after)
            if page is None:
                return
            if page.records:
                yield page.told
            after = page.position
            if page.more:
                continue
            try:
                async with asyncio.timeout(HEARTBEAT):
                    await bell.wait()
            except TimeoutError:
                yield b": still here\n\n"


class Place(NamedTuple):
    """Where in what somebody is."""

    team_id: str
    project: str
    after: int


class Looks:
    """Who is at the same place looks once for all: hundreds hear of one event."""

    def __init__(self, ask: Callable[..., Awaitable[Any]], clock: Callable[[], float]) -> None:
        self._ask = ask
        self._clock = clock
        self._few = asyncio.Semaphore(LOOKS)
        self._waiting: dict[Place, list[tuple[str, asyncio.Future[Page | None]]]] = {}
        self._running: set[asyncio.Task[None]] = set()

    async def look(self, place: Place, token: str) -> Page | None:
        """What comes after a place; None for whose token is over, or of another team."""
        told: asyncio.Future[Page | None] = asyncio.get_running_loop().create_future()
        if place not in self._waiting:
            self._waiting[place] = []
            task = asyncio.create_task(self._look(place))
            self._running.add(task)
            task.add_done_callback(self._running.discard)
        self._waiting[place].append((tokens.digest_of(token), told))
        return await told

    async def _look(self, place: Place) -> None:
        async with self._few:
            asked = self._waiting.pop(place)  # who comes from here on needs a later look
            page: Page | None = None
            held: set[str] = set()
            wrong: Exception | None = None
            try:
                page, held = await self._ask(_seen, place, {digest for digest, _ in asked}, self._clock())
            except Exception as error:  # noqa: BLE001 told to each who asked
                wrong = error
        for digest, told in asked:
            if told.done():  # whoever asked has gone
                continue
            if wrong is not None:
                told.set_exception(wrong)
            else:
                told.set_result(page if digest in held else None)


def _seen(database: Connection, place: Place, digests: set[str], now: float) -> tuple[Page, set[str]]:
    held = tokens.held(database, place.team_id, digests, now)
    return read.page(database, place.team_id, place.after, project=place.project), held
