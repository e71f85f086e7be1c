"""A stored brief is verified by one plugin and understood by any."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from kitty_host.api import KittyError
from kitty_host.briefs import stored_brief
from kitty_host.plugins import Plugins
from kitty_host.repo import Repo
from kitty_host.testing import Project

STORE = """
from kitty_host.api import hookimpl

@hookimpl
def kitty_brief(repo):
    from kitty_host.records import Brief
    return Brief("plan.x", "PLAN a,b", "sha", 8, "stored", extra={"ingested_at": "then"})
"""
FORMAT = """
from kitty_host.api import KittyError, hookimpl

@hookimpl
def kitty_intake(source):
    from kitty_host.records import Brief, PlannedPackage
    if not source.content.startswith(b"PLAN "):
        return None
    ids = source.content.decode().removeprefix("PLAN ").split(",")
    return Brief(source.name, "other", "other", 0, "read", format="x", packages=tuple(PlannedPackage(one, one) for one in ids))
"""

With = Callable[..., Plugins]


def test_what_is_stored_stays_and_what_it_means_is_read_anew(project: Project, plugins_with: With) -> None:
    brief = stored_brief(plugins_with(store=STORE, format=FORMAT), Repo.find(project.root))
    assert brief is not None
    assert (brief.text, brief.sha256, brief.size_bytes, brief.extra) == ("PLAN a,b", "sha", 8, {"ingested_at": "then"})
    assert (brief.title, brief.format) == ("read", "x")
    assert [one.source_id for one in brief.packages] == ["a", "b"]


def test_what_nobody_understands_is_as_it_was_stored(project: Project, plugins_with: With) -> None:
    brief = stored_brief(plugins_with(store=STORE), Repo.find(project.root))
    assert brief is not None
    assert (brief.title, brief.packages) == ("stored", ())


def test_without_a_brief_there_is_none(project: Project, plugins_with: With) -> None:
    assert stored_brief(plugins_with(format=FORMAT), Repo.find(project.root)) is None


def test_a_refusal_of_the_store_passes(project: Project, plugins_with: With) -> None:
    refuses = STORE.replace(
        "    return Brief",
        "    from kitty_host.api import KittyError\n    raise KittyError('X', 'x')\n    return Brief",
    )
    with pytest.raises(KittyError):
        stored_brief(plugins_with(store=refuses), Repo.find(project.root))
