"""Owned paths: whether a pattern covers a path, and whether two patterns can mean the same file.

Patterns are relative to the repository, with `/`: exact paths, `dir/` and `dir/**`, and wildcards (`*`, `?`, `[…]`, `**`)
anywhere. They are compared segment by segment, never as string prefixes.
"""

from __future__ import annotations

import re
from functools import lru_cache


def overlap(one: str, other: str) -> bool:
    """Whether some path is covered by both patterns. A bracket expression counts as any one character."""
    return one == other or _overlap(_segments(one), _segments(other))


def covers(pattern: str, path: str) -> bool:
    """Whether a pattern covers a path. The path is taken literally, brackets and stars included."""
    return pattern == path or _covers(_segments(pattern), tuple(path.split("/")))


def owns(patterns: tuple[str, ...], path: str) -> bool:
    """Whether any pattern covers the path."""
    return any(covers(pattern, path) for pattern in patterns)


def _segments(pattern: str) -> tuple[str, ...]:
    if pattern.endswith("/"):
        pattern += "**"
    return tuple(segment for segment in pattern.split("/") if segment not in ("", "."))


@lru_cache(maxsize=4096)
def _overlap(one: tuple[str, ...], other: tuple[str, ...]) -> bool:
    if not one and not other:
        return True
    for these, those in ((one, other), (other, one)):
        if these and these[0] == "**":
            return _overlap(these[1:], those) or (bool(those) and _overlap(these, those[1:]))
    return bool(one and other) and _alike(one[0], other[0]) and _overlap(one[1:], other[1:])


@lru_cache(maxsize=4096)
def _covers(pattern: tuple[str, ...], path: tuple[str, ...]) -> bool:
    if not pattern:
        return not path
    if pattern[0] == "**":
        return _covers(pattern[1:], path) or (bool(path) and _covers(pattern, path[1:]))
    return bool(path) and _expression(pattern[0]).fullmatch(path[0]) is not None and _covers(pattern[1:], path[1:])


@lru_cache(maxsize=4096)
def _expression(segment: str) -> re.Pattern[str]:
    import fnmatch

    return re.compile(fnmatch.translate(segment), re.DOTALL)


def _alike(one: str, other: str) -> bool:
    """Whether some name matches both segments."""
    return one == other or _meet(re.sub(r"\[.[^]]*\]", "?", one), re.sub(r"\[.[^]]*\]", "?", other))


@lru_cache(maxsize=4096)
def _meet(one: str, other: str) -> bool:
    if not one and not other:
        return True
    for these, those in ((one, other), (other, one)):
        if these.startswith("*"):
            return _meet(these[1:], those) or (bool(those) and _meet(these, those[1:]))
    return bool(one and other) and (one[0] == other[0] or "?" in (one[0], other[0])) and _meet(one[1:], other[1:])
