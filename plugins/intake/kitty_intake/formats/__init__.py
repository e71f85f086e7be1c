"""The plan formats that people have, one module for each: who knows a source reads it, and what nobody knows is plain text.

A module has one function `read(source)`. It answers None unless it is certain: a plan that is taken for plain text loses its tasks, which
its user sees, but plain text that is taken for a plan would get tasks that nobody meant.
"""

from __future__ import annotations

from kitty_host.api import KittyError
from kitty_host.records import Brief, Source
from kitty_intake.formats import backlog, beads, openspec, spec_kit, task_master
from kitty_intake.text import plain_text

FORMATS = (spec_kit, openspec, backlog, task_master, beads)


def recognise(source: Source) -> Brief | None:
    """The source as a brief, or None if it is not even text."""
    try:
        plain = plain_text(source)
    except KittyError:
        return None
    return next((brief for one in FORMATS if (brief := one.read(source, plain))), plain)
