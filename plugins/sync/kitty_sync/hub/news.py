"""Tells the other processes of a PostgreSQL which teams have something new, and hears what they tell.

It only wakes: what is new is read from the database. So news is told at most once in 20 ms; what could not be told is told later; and when
the connection that listens was lost, everybody looks.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

import psycopg
from sqlalchemy import Connection

if TYPE_CHECKING:
    from kitty_sync.hub.live import Live
    from kitty_sync.hub.postgresql import Postgresql
    from kitty_sync.hub.store import Store

CHANNEL = "kitty_hub_news"
TOGETHER = 0.02
"""Seconds in which what is told is told together."""
AGAIN = 1.0
"""Seconds until what failed is tried again."""
_TEAMS = 200
"""Of one notification, which has less than 8,000 bytes; more of them are everybody."""
EVERYBODY = "*"


class News:
    """Of one process; `tell` belongs to the thread of the event loop, and listening has a thread of its own."""

    def __init__(self, store: Store, postgresql: Postgresql, live: Live) -> None:
        self._store = store
        self._postgresql = postgresql
        self._live = live
        self._loop = asyncio.get_running_loop()
        self._name = secrets.token_hex(8)
        self._untold: set[str] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._listen, name="kitty-hub-news", daemon=True)
        self._thread.start()

    def tell(self, team_id: str) -> None:
        """There is something new, and the others shall know."""
        self._untold.add(team_id)
        if self._timer is None:
            self._timer = self._loop.call_later(TOGETHER, self._send)

    def close(self) -> None:
        """Tell what is untold, and hear nothing more."""
        if self._timer is not None:
            self._timer.cancel()
            self._send()
        self._over.set()
        self._thread.join()

    def _send(self) -> None:
        self._timer = None
        teams, self._untold = self._untold, set()
        said = f"{self._name} {','.join(sorted(teams)) if len(teams) <= _TEAMS else EVERYBODY}"

        def notify(database: Connection) -> None:
            database.exec_driver_sql("SELECT pg_notify(%s, %s)", (CHANNEL, said))

        told = self._store.later(notify, adds=True)
        told.add_done_callback(lambda done: self._in_the_loop(self._untell, done, teams))

    def _untell(self, done: Future[None], teams: set[str]) -> None:
        if done.exception() is not None:
            self._untold |= teams
            if self._timer is None:
                self._timer = self._loop.call_later(AGAIN, self._send)

    def _listen(self) -> None:
        while not self._over.is_set():
            try:
                with self._postgresql.listener() as connection:
                    connection.execute(f"LISTEN {CHANNEL}")
                    self._in_the_loop(self._hear, EVERYBODY)  # whatever was told while nobody listened
                    self._hear_all(connection)
            except psycopg.Error:
                self._over.wait(AGAIN)

    def _hear_all(self, connection: psycopg.Connection[Any]) -> None:
        while not self._over.is_set():
            for told in connection.notifies(timeout=0.2):
                name, _, said = told.payload.partition(" ")
                if name != self._name:
                    self._in_the_loop(self._hear, said)

    def _hear(self, said: str) -> None:
        for team_id in self._live.awaited() if said == EVERYBODY else said.split(","):
            self._live.wake(team_id)

    def _in_the_loop(self, act: Any, *values: Any) -> None:
        with contextlib.suppress(RuntimeError):  # it is over
            self._loop.call_soon_threadsafe(act, *values)
