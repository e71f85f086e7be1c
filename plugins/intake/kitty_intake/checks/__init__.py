"""What is remarkable about a plan that agents will read: each check is a function from a text to places in it.

A check sees what people write, not what somebody hides well: it is a look-out, and the wall is that the plan stays untrusted text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from kitty_host.api import Finding
from kitty_host.inert import inert
from kitty_host.records import Brief, Source
from kitty_host.report import counted
from kitty_intake.checks import hidden, instructions, links, secrets

_SHOWN, _COUNTED = 5, 1000
"""Lines that are named for one code, and places that are looked at in one text."""


class Check(NamedTuple):
    """A kind of finding."""

    code: str
    find: Callable[[str], Iterator[tuple[int, str]]]
    """Offsets into a text, in order, and what is there, as the rest of a sentence that begins with the line."""
    hint: str


CHECKS = (
    Check(
        code="INTAKE_INSTRUCTION",
        find=instructions.find,
        hint="read that line; where it is no part of the plan, take it out and take the plan in again",
    ),
    Check(
        code="INTAKE_HIDDEN_COMMENT",
        find=hidden.comments,
        hint="readers do not see it and agents do: take it out, or write it as text",
    ),
    Check(
        code="INTAKE_HIDDEN_CHARACTER",
        find=hidden.characters,
        hint="type that line again; what cannot be seen does not belong in a plan",
    ),
    Check(code="INTAKE_HIDDEN_STYLE", find=hidden.styles, hint="take the style out, or the text that it hides"),
    Check(
        code="INTAKE_HIDDEN_ALT", find=hidden.alternatives, hint="say it in the text, and shorten the alternative text"
    ),
    Check(
        code="INTAKE_SECRET",
        find=secrets.find,
        hint="revoke it where it was issued, take it out, and take the plan in again",
    ),
    Check(
        code="INTAKE_LOCAL_LINK",
        find=links.find,
        hint="say in the plan what the file says, or name it by its path in the repository",
    ),
)


def findings(brief: Brief) -> list[Finding]:
    """Everything that is remarkable, as warnings: what refuses is for the configuration to say."""
    texts = list(_texts(brief))
    return [finding for check in CHECKS for finding in _findings(check, texts)]


def _findings(check: Check, texts: list[tuple[str, str]]) -> Iterator[Finding]:
    count, counted_all = 0, True
    for place, text in texts:
        last, line, at = 0, 1, 0
        for number, (offset, told) in enumerate(check.find(text), 1):
            if number > _COUNTED:
                counted_all = False
                break
            line += text.count("\n", at, offset)
            at = offset
            if line != last:
                last = line
                count += 1
                if count <= _SHOWN:
                    yield Finding(check.code, f"{place}line {line} {told}", check.hint, "warn")
    if count > _SHOWN:
        more = count - _SHOWN
        many = counted(more, "more line")
        yield Finding(check.code, f"the same on {'' if counted_all else 'at least '}{many}", check.hint, "warn")


def _texts(brief: Brief) -> Iterator[tuple[str, str]]:
    """Each text of a brief with what to say before a line of it."""
    files = Source(brief.name, brief.text.encode()).files
    yield from ((f"{inert(path)}, ", content.decode()) for path, content in files.items())
    if not files:
        yield "", brief.text
    # JSON can spell a character so that it is only seen in what was read out of it.
    if "\\u" in brief.text:
        for one in brief.packages:
            told = "\n".join((one.title, one.body, *(step.title for step in one.steps)))
            yield f"{inert(one.source_id)}, ", told
        yield "requirements, ", "\n".join(brief.requirements)
