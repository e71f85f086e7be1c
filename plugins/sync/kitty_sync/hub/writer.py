"""Who writes for a process: one thread that commits for many at once, on SQLite; a few threads, on PostgreSQL."""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import Any, NamedTuple, TypeVar

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from kitty_sync.hub.error import busy

T = TypeVar("T")
Transaction = Callable[[], AbstractContextManager[Connection]]

TOGETHER = 0.05
"""Seconds after which a group takes nobody more in."""
MOST = 1000
"""Who may wait at once."""
THREADS = 6
"""Of a process, on PostgreSQL; fewer than it has connections, so that readers have some."""


class _Change(NamedTuple):
    """What somebody wants to have written."""

    change: Callable[[Connection], Any]
    told: Future[Any]


class Group:
    """Takes what waits, runs each in a savepoint, and commits once: what fails is undone alone, and each is told after the commit."""

    def __init__(self, writing: Transaction, explained: Callable[[], AbstractContextManager[None]]) -> None:
        self._writing = writing
        self._explained = explained
        self._waiting: queue.Queue[_Change | None] = queue.Queue(MOST)
        self._thread: threading.Thread | None = None
        self._start = threading.Lock()

    def put(self, change: Callable[[Connection], T], _adds: bool, _team: str) -> Future[T]:
        """Have it done in the next group. Errors: `HUB_BUSY`; what `change` raises is in the future."""
        told: Future[T] = Future()
        try:
            self._waiting.put_nowait(_Change(change, told))
        except queue.Full:
            raise busy("too many wait to write") from None
        with self._start:
            if self._thread is None:  # a command writes by itself, and needs no thread
                self._thread = threading.Thread(target=self._run, name="kitty-hub-writer", daemon=True)
                self._thread.start()
        return told

    def close(self) -> None:
        """Do what waits, and end."""
        if self._thread is not None:
            self._waiting.put(None)
            self._thread.join()

    def _run(self) -> None:
        while (first := self._waiting.get()) is not None:
            if self._waiting.empty():
                self._alone(first)
            else:
                self._together(first)

    def _alone(self, one: _Change) -> None:
        """Without a savepoint, which makes SQLite keep every page twice."""
        if not one.told.set_running_or_notify_cancel():
            return
        try:
            with self._writing() as database:
                value = one.change(database)
        except Exception as error:  # noqa: BLE001 told to who asked for it
            one.told.set_exception(error)
        else:
            one.told.set_result(value)

    def _together(self, first: _Change) -> None:
        outcomes: list[tuple[Future[Any], Any, Exception | None]] = []
        group = [first]
        try:
            with self._writing() as database:
                group = []
                for one in self._group(first):
                    group.append(one)
                    if one.told.set_running_or_notify_cancel():
                        outcomes.append((one.told, *self._tried(database, one.change)))
        except Exception as error:  # noqa: BLE001 nothing of the group is kept, and each is told why
            outcomes = [(one.told, None, error) for one in (*group, *self._group()) if _may_be_told(one.told)]
        for told, value, wrong in outcomes:
            if wrong is None:
                told.set_result(value)
            else:
                told.set_exception(wrong)

    def _tried(self, database: Connection, change: Callable[[Connection], Any]) -> tuple[Any, Exception | None]:
        savepoint = database.begin_nested()
        try:
            with self._explained():
                value = change(database)
        except Exception as error:  # noqa: BLE001 told to who asked for it
            try:
                savepoint.rollback()
            except DBAPIError:  # a full disk undoes the whole transaction
                raise error from None
            return None, error
        savepoint.commit()
        return value, None

    def _group(self, *first: _Change) -> Iterator[_Change]:
        """Those that wait, and those that come while they are served, until it has taken long enough for the first."""
        yield from first
        until = time.monotonic() + TOGETHER
        while time.monotonic() < until:
            try:
                one = self._waiting.get_nowait()
            except queue.Empty:
                return
            if one is None:
                self._waiting.put(None)  # the end is for `_run`
                return
            yield one


def _may_be_told(told: Future[Any]) -> bool:
    return told.running() or (not told.cancelled() and told.set_running_or_notify_cancel())


class Crew:
    """A few threads, each with a transaction of its own."""

    def __init__(self, writing: Transaction, adding: Transaction) -> None:
        self._writing = writing
        self._adding = adding
        self._threads = ThreadPoolExecutor(THREADS, "kitty-hub-writer")
        self._turns = threading.Condition()
        self._all = 0
        self._lines: dict[str, deque[Callable[[], None]]] = {}
        """What waits for each team, the first of which has a thread: a team whose row is held elsewhere holds up nobody else."""

    def put(self, change: Callable[[Connection], T], adds: bool, team: str) -> Future[T]:
        """Have it done when a thread is free and what was put before for the team is done. What it raises is told. Errors: `HUB_BUSY`."""
        told: Future[T] = Future()

        def work() -> None:
            try:
                if told.set_running_or_notify_cancel():
                    told.set_result(self._written(change, self._adding if adds else self._writing))
            except BaseException as error:  # noqa: BLE001 told to who asked for it
                told.set_exception(error)
            finally:
                self._done(team)

        with self._turns:
            if self._all >= MOST:
                raise busy("too many wait to write")
            self._all += 1
            line = self._lines.setdefault(team, deque()) if team else deque()
            line.append(work)
            if len(line) == 1:
                self._threads.submit(work)
        return told

    def _done(self, team: str) -> None:
        with self._turns:
            self._all -= 1
            self._turns.notify_all()
            if team:
                self._lines[team].popleft()
                if self._lines[team]:
                    self._threads.submit(self._lines[team][0])
                else:
                    del self._lines[team]

    def close(self) -> None:
        """Do what waits, and end."""
        with self._turns:  # what stands in a line has no thread yet
            self._turns.wait_for(lambda: not self._all)
        self._threads.shutdown()

    def _written(self, change: Callable[[Connection], T], transaction: Transaction) -> T:
        with transaction() as database:
            return change(database)
