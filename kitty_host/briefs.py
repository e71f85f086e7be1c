"""The stored brief as commands work with it: verified by whoever stored it, understood by whoever knows its format.

What a plan says of requirements and tasks is nowhere stored: it is read from the stored text each time, so that there is one owner.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import evolve

from kitty_host.records import Brief, Source

if TYPE_CHECKING:
    from kitty_host.plugins import Plugins
    from kitty_host.repo import Repo


def stored_brief(plugins: Plugins, repo: Repo) -> Brief | None:
    """The stored brief, with what the plugins find in its text; None where there is none. Errors: those of the two hooks."""
    stored: Brief | None = plugins.first("kitty_brief", repo=repo)
    if stored is None:
        return None
    read: Brief | None = plugins.first("kitty_intake", source=Source(stored.name, stored.text.encode()))
    if read is None:
        return stored
    found = {name: getattr(read, name) for name in ("title", "format", "requirements", "packages")}
    return evolve(stored, **found)
