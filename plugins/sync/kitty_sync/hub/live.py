"""Server-sent events: what a team stores, as it is stored, from any cursor on.

Whoever waits took the bell before the last look, so that nothing that is committed after that look is missed. The database is asked
again after every bell; a bell that nobody rang costs time and no event.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable

from kitty_sync.hub.read import Page, cursor_of

HEARTBEAT = 15.0
"""Seconds of silence after which a stream says that it is still there."""


class Live:
    """Who waits for news of which team. It belongs to the thread of the event loop."""

    def __init__(self) -> None:
        self._bells: dict[str, asyncio.Event] = defaultdict(asyncio.Event)
        self._over = False

    def ring(self, team_id: str) -> None:
        """There is something new."""
        bell = self._bells.pop(team_id, None)
        if bell is not None:
            bell.set()

    def end(self) -> None:
        """Every stream ends."""
        self._over = True
        for team_id in list(self._bells):
            self.ring(team_id)

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
    ) -> AsyncIterator[str]:
        """Events from a position on, until the hub ends or `look` gives None: then who listens may do so no longer."""
        yield f"id: {cursor_of(after)}\nevent: here\ndata: {{}}\n\n"  # who is cut off before anything came knows where to go on
        while not self._over:
            bell = self._bells[team_id]
            page = await look(after)
            if page is None:
                return
            for position, record in page.records:
                yield f"id: {cursor_of(position)}\nevent: event\ndata: {record}\n\n"
            after = page.position
            if page.more:
                continue
            try:
                await asyncio.wait_for(bell.wait(), HEARTBEAT)
            except TimeoutError:
                yield ": still here\n\n"
