"""Markdown task lists: boxes in order, below the headings of second level that group them."""

from __future__ import annotations

import re
from typing import NamedTuple

from kitty_intake.formats.foreign import BOM, MOST, lines

_LINE = re.compile(
    r"[ \t]{0,3}(?P<fence>`{3,}|~{3,})|##?[ \t]+(?P<heading>\S.*)"
    r"|[ \t]*[-*+][ \t]+\[(?P<mark>[ xX])\][ \t]+(?P<item>\S.*)"
)
_MOST_LINES = 20 * MOST


class Item(NamedTuple):
    """One box."""

    lines: tuple[str, ...]
    """Its text, and the indented lines that follow it."""
    done: bool


class Group(NamedTuple):
    """What stands below one heading; the heading is empty for what comes before the first."""

    heading: str
    body: str
    items: tuple[Item, ...]


def groups(markdown: str) -> tuple[Group, ...]:
    """The groups that have boxes, outside of code, in order; none where there is more than a plan has."""
    if markdown.count("\n") > _MOST_LINES:
        return ()
    found: list[tuple[str, list[str], list[tuple[list[str], bool]]]] = [("", [], [])]
    fence, boxes = "", 0
    for line in lines(markdown.removeprefix(BOM)):
        mark = _LINE.match(line)
        if mark and mark["fence"]:
            fence = "" if fence and mark["fence"].startswith(fence) else fence or mark["fence"]
        elif mark and mark["heading"] and not fence:
            found.append((mark["heading"].strip(), [], []))
            continue
        _, body, items = found[-1]
        body.append(line)
        if mark and mark["item"] and not fence:
            items.append(([mark["item"].strip()], mark["mark"] != " "))
            boxes += 1
            if boxes > MOST:
                return ()
        elif items and line[:1] in (" ", "\t"):
            items[-1][0].append(line.strip())
    return tuple(
        Group(heading, "\n".join(body).strip("\n"), tuple(Item(tuple(told), done) for told, done in items))
        for heading, body, items in found
        if items
    )
