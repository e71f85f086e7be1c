"""The mark that an issue carries, and what is left of foreign text: a body without marks and without what steers a terminal.

A mark is an HTML comment in the body. It says whose the issue is to a clone that has no link to it, and to a push whose answer was lost.
Whoever may edit an issue may write one; so a mark makes nobody's link void, and what claims to be two work packages, is neither.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from kitty_host.inert import visible

_NAME = r"\w[\w.-]*"
_MARK = re.compile(rf"<!-- kitty project=([0-9a-f-]{{36}}) mission=({_NAME}) wp=({_NAME}) key=([0-9a-f]{{32}}) -->")
_LOOKS_LIKE_ONE = re.compile(r"<(!--\s*kitty\b)", re.IGNORECASE)


class Owner(NamedTuple):
    """The work package that an issue belongs to."""

    project: str
    """A UUID."""
    mission_id: str
    wp_id: str


class Mark(NamedTuple):
    """Whose an issue is, and by which request it was made."""

    owner: Owner
    key: str
    """32 hexadecimal digits."""

    def __str__(self) -> str:
        project, mission_id, wp_id = self.owner
        return f"<!-- kitty project={project} mission={mission_id} wp={wp_id} key={self.key} -->"


def marks_in(body: str) -> list[Mark]:
    """Every mark of a body, in order."""
    return [Mark(Owner(*found[:3]), found[3]) for found in _MARK.findall(body)]


def marked(text: str, mark: Mark) -> str:
    """The body of an issue: a text that holds no mark, and its mark at the end."""
    return f"{text}\n\n{mark}" if text else str(mark)


def text_of(body: str, owner: Owner) -> str:
    """What a body says, without the marks of its owner."""
    for mark in marks_in(body):
        if mark.owner == owner:
            body = body.replace(str(mark), "")
    return plain(body)


def plain(text: str) -> str:
    """A text of several lines as either side has it: what has no shape by its number, and nothing that is taken for a mark."""
    return _defused(visible(text.replace("\r\n", "\n").replace("\r", "\n"))).strip()


def line(text: str) -> str:
    """A title, a label or a name: one line of it."""
    return _defused(" ".join(visible(text, lines=False).split()))


def lines(texts: Iterable[str]) -> tuple[str, ...]:
    """Labels or names as a set."""
    return tuple(sorted({line(text) for text in texts} - {""}))


def _defused(text: str) -> str:
    return _LOOKS_LIKE_ONE.sub(r"&lt;\1", text)
