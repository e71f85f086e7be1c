"""What is read out of a foreign plan, within bounds: lines, texts that any file can hold, JSON, the paths that a text names."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

BOM = "\ufeff"
MOST = 10_000
"""Tasks or requirements of a plan: one that has more is taken for a text."""
_VALUES = 200_000
"""Values in a JSON text: a few megabytes can hold millions, each of which takes ten times its size in memory."""
_LONGEST = 200
_MOST_PATHS = 200
# At most twenty levels and bounded names: a line of a megabyte without a path costs no more than reading it.
_PATH = re.compile(
    r"(?<![\w@./:~-])(?P<directory>(?:[\w@.-]{1,100}/){1,20})(?P<file>[\w@.-]{0,100}\.\w{1,10}(?![\w/-]))?(?![\w/*<{[(])"
)
_NOBODYS = frozenset(("..", ".git", ".kittify", "kitty-specs"))


def lines(content: str) -> Iterator[str]:
    """The lines of a text without their ends, one after the other: all of them at once can take twenty times the text."""
    at = 0
    while at < len(content):
        end = content.find("\n", at)
        end = len(content) if end < 0 else end
        yield content[at:end].removesuffix("\r")
        at = end + 1


def text(value: object) -> str:
    """A text or a number such as ids are, as text without what no file can hold; empty for anything else."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value) if abs(value) < 1 << 63 else ""
    if not isinstance(value, str):
        return ""
    return value.encode(errors="replace").decode().replace("\0", "\ufffd")


def label(value: object) -> str:
    """What a task is called by; empty for what is too long to be said again and again."""
    found = text(value)
    return found if len(found) <= _LONGEST else ""


def texts(value: object) -> tuple[str, ...]:
    """The texts of a list, or the only one."""
    found = (text(one) for one in (value if isinstance(value, list) else [value]))
    return tuple(one for one in found if one)


def parse_json(content: str) -> Any:
    """The value of a JSON text. Errors: `ValueError`, also for a key that is said twice and for what is too much or too deep."""
    if sum(map(content.count, "[{,")) > _VALUES:
        raise ValueError("too many values")
    try:
        return json.loads(content.removeprefix(BOM), object_pairs_hook=_unique)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def paths_in(lines: Iterable[str]) -> tuple[str, ...]:
    """The files and directories that texts name, as owned paths; none outside the repository or among its records."""
    found: dict[str, None] = {}
    for line in lines:
        for match in _PATH.finditer(line):
            path = match[0].removeprefix("./")
            path += "**" if path.endswith("/") else ""
            if path and path not in found and _NOBODYS.isdisjoint(path.split("/")):
                found[path] = None
            if len(found) == _MOST_PATHS:
                return tuple(found)
    return tuple(found)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key is said twice")
    return found
