"""A clock that waits for nobody."""

from __future__ import annotations


class Clock:
    """Time passes only by sleeping, and by what is asked to take some."""

    def __init__(self, began: float = 1_800_000_000.0) -> None:
        self.began = self.now = began
        self.slept: list[float] = []

    def monotonic(self) -> float:
        """Seconds."""
        return self.now

    def time(self) -> float:
        """Seconds since 1970."""
        return self.now

    def sleep(self, seconds: float, /) -> None:
        """Let so many seconds pass."""
        self.slept.append(seconds)
        self.now += seconds
