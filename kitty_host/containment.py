"""Limits on one call into a plugin: how long it may take, where its output goes, how much it may say and answer.

This contains slips, not malice: a plugin runs in kitty's process and could undo any of it. What a failure means is decided in
:mod:`kitty_host.plugins`.
"""

from __future__ import annotations

import io
import itertools
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable
from types import FrameType
from typing import TYPE_CHECKING, Any, TypeVar

from kitty_host.api import KittyError

if TYPE_CHECKING:
    from kitty_host.repo import Repo

SECONDS = 10.0
SHORTEST, LONGEST = 0.01, 86_400.0
OUTPUT = 64 * 1024
ANSWERS = 10_000
VARIABLE = "KITTY_PLUGIN_TIMEOUT"
AGAIN = 0.1
"""Seconds from one shot of the timer to the next: a plugin that swallows one is shot at again."""

Answer = TypeVar("Answer")


class TooLong(TimeoutError):
    """A plugin did not come back in time."""


class TooMuch(Exception):
    """A plugin printed or answered without end."""


class TimeUp(BaseException):
    """Raised inside whatever runs when a limit is reached; no `Exception`, so that `except Exception` does not swallow it.

    Outside of `contained` it can only be the limit of somebody further out: let it pass.
    """

    def __init__(self, clock: _Clock) -> None:
        super().__init__()
        self.clock = clock


class _Flood(BaseException):
    """Raised inside whatever prints too much."""


def contained(function: Callable[[], Answer], seconds: float | None = None, *, descriptor: bool = True) -> Answer:
    """Call a function of a plugin, for `seconds` at most, and give what it gives.

    What it prints goes to standard error; with `descriptor` what its child processes print, too. Errors: its own, `TooLong`,
    `TooMuch`. Timer and streams belong to the whole process: in any thread but the main one nothing is limited, and without
    `setitimer` (Windows) the time is not. Calls may be nested: the outer clock goes on, and strikes when the inner call is over.
    """
    if threading.current_thread() is not threading.main_thread():
        return function()
    return _aside(lambda: _timed(function, seconds), descriptor)


def answers(given: Iterable[Any]) -> list[Any]:
    """What a plugin yields, as a list. Errors: `TooMuch` beyond 10,000 items."""
    taken = list(itertools.islice(given, ANSWERS + 1))
    if len(taken) > ANSWERS:
        raise TooMuch(f"it gave more than {ANSWERS:,} answers")
    return taken


def default_seconds() -> float:
    """The limit where no configuration is at hand: `KITTY_PLUGIN_TIMEOUT`, else 10 s. Errors: `CONFIG_INVALID`."""
    text = os.environ.get(VARIABLE)
    try:
        seconds = SECONDS if text is None else float(text)
    except ValueError:
        seconds = 0.0
    if not SHORTEST <= seconds <= LONGEST:
        raise KittyError(
            "CONFIG_INVALID",
            f"{VARIABLE} is {text!r}, which is no number of seconds from {SHORTEST:g} to {LONGEST:g}",
            "correct it, or unset it",
            key=VARIABLE,
        )
    return seconds


def configured_seconds(repo: Repo) -> float:
    """The limit in a repository: `KITTY_PLUGIN_TIMEOUT`, else `plugins.timeout_seconds`, else 10 s. Errors: `CONFIG_INVALID`."""
    from kitty_host.repo import CONFIG

    # An observer is told of every transition; where the file has no such section, it need not be parsed for that.
    try:
        content = (repo.root / CONFIG).read_bytes()
    except OSError:
        return default_seconds()
    if VARIABLE in os.environ or b"plugins" not in content:
        return default_seconds()
    from kitty_host.settings import PluginSettings

    return repo.config.section("plugins", PluginSettings).timeout_seconds


class _Clock:
    """One limit that runs."""

    def __init__(self) -> None:
        self.running = True
        self.struck = False

    def strike(self, number: int, frame: FrameType | None) -> None:
        """The handler of the signal."""
        if self.running:
            self.struck = True
            raise TimeUp(self)


def _timed(function: Callable[[], Answer], seconds: float | None) -> Answer:
    if seconds is None or not hasattr(signal, "setitimer"):
        return function()
    clock = _Clock()
    begun = time.monotonic()
    rest, interval = signal.setitimer(signal.ITIMER_REAL, 0)
    outer = signal.signal(signal.SIGALRM, clock.strike)
    try:
        try:
            signal.setitimer(signal.ITIMER_REAL, seconds, AGAIN)
            answer = function()
        finally:
            # The last shot may fall on this very line, so that only the handlers further down can rely on it.
            clock.running = False
    except TimeUp as up:
        if up.clock is not clock:
            raise
    finally:
        clock.running = False
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, outer)
        if rest:
            left = rest - (time.monotonic() - begun)
            signal.setitimer(signal.ITIMER_REAL, max(left, SHORTEST), interval)
    if clock.struck:
        raise TooLong(f"no answer within {seconds:g} s (plugins.timeout_seconds)")
    return answer


class _Spent:
    """What one call has printed."""

    def __init__(self) -> None:
        self.size = 0
        self.over = False

    def add(self, size: int) -> None:
        """Count. A logger may keep the stream when the call is over: then nothing is counted any more."""
        self.size += 0 if self.over else size
        if self.size > OUTPUT and not self.over:
            raise _Flood


class _Meter:
    """A stream whose writes are counted; anything else is the stream's own."""

    def __init__(self, stream: Any, spent: _Spent) -> None:
        self._stream = stream
        self._spent = spent

    def write(self, data: str | bytes) -> Any:
        """Count, and pass on."""
        self._spent.add(len(data))
        return self._stream.write(data)

    def writelines(self, lines: Iterable[str | bytes]) -> None:
        """As `write`, each."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._stream, name)
        return _Meter(found, self._spent) if name == "buffer" else found


def _aside(function: Callable[[], Answer], descriptor: bool) -> Answer:
    # Looked up now: who redirects them for a while, as tests do, is not to be gone round.
    out, err = sys.stdout, sys.stderr
    spent = _Spent()
    saved = _divert() if descriptor else None
    try:
        sys.stdout = sys.stderr = _Meter(err or io.StringIO(), spent)
        answer = function()
    except _Flood as flood:
        raise _flooded().with_traceback(flood.__traceback__) from None
    finally:
        spent.over = True
        sys.stdout, sys.stderr = out, err
        if saved is not None:
            os.dup2(saved, 1)
            os.close(saved)
    if spent.size > OUTPUT:
        raise _flooded()
    return answer


def _flooded() -> TooMuch:
    return TooMuch(f"it printed more than {OUTPUT // 1024} KiB")


def _divert() -> int | None:
    """Let descriptor 1 lead where 2 leads. Returns a copy of what it was; None where either was closed from the start."""
    if sys.__stdout__ is None or sys.__stderr__ is None:
        return None  # what is opened next takes the number of a closed one, so that 1 can be any file
    try:
        saved = os.dup(1)
        os.dup2(2, 1)
    except OSError:
        return None
    return saved
