"""What `kitty plugins` finds out beside faults: roles that nothing fills, slow manifests, and plugins for another interface.

The interface's version is the bound that a plugin's metadata puts on the host; a breaking major moves the group of entry points.
"""

from __future__ import annotations

import importlib.metadata
import re
from collections.abc import Iterator

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from kitty_host import __version__
from kitty_host.api import Finding
from kitty_host.discovery import GROUP, HOST, find_entries, roles
from kitty_host.plugins import ALLOW_LIST, Loading, Plugins

SLOW = 0.050
"""Seconds. A manifest is imported at every start; those that ship with kitty take less than one millisecond each."""
HEAVY = frozenset(
    {
        *("asyncio", "attr", "attrs", "cattr", "cattrs", "filelock", "httpx", "importlib.metadata", "json", "logging"),
        *("requests", "rich", "ruamel.yaml", "subprocess", "urllib.request", "yaml"),
    }
)
OTHER_GROUP = re.compile(rf"{GROUP}[._-]?v?[0-9]+")


def look(plugins: Plugins) -> Iterator[Finding]:
    """Everything."""
    yield from unfilled()
    for name, loading in plugins.loadings.items():
        if name in plugins.entries:
            yield from _slowness(plugins.entries[name].distribution, loading)
    distributions = {entry.distribution for entry in [*plugins.entries.values(), *plugins.failed]} - {HOST}
    for distribution in sorted(distributions):
        yield from _interface(distribution)
    yield from _other_groups()


def unfilled() -> list[Finding]:
    """The extras of the host's metadata whose distribution is not installed."""
    there = {entry.distribution for entry in find_entries()}
    return [
        Finding("PLUGIN_UNFILLED", f"nothing fills the role {role}", f"run: pip install {distribution}", "info")
        for role, distribution in roles().items()
        if distribution not in there
    ]


def _slowness(distribution: str, loading: Loading) -> Iterator[Finding]:
    heavy = sorted(HEAVY & set(loading.modules))
    if heavy or loading.seconds > SLOW:
        cause = f" and brings in {', '.join(heavy)}" if heavy else ""
        yield Finding(
            "PLUGIN_SLOW",
            f"{distribution}: importing the manifest takes {loading.seconds * 1000:.0f} ms{cause}, at every start",
            "import inside the hooks what they need; the manifest imports kitty_host.api only",
            "warn",
        )


def _interface(distribution: str) -> Iterator[Finding]:
    bounds = [one.specifier for one in _requirements(distribution) if canonicalize_name(one.name) == HOST]
    for bound in bounds:
        if not bound.contains(__version__, prereleases=True):
            yield Finding(
                "PLUGIN_INTERFACE",
                f"{distribution} was written for {HOST}{bound}, and this is {__version__}",
                f"install a release of it that fits, or leave it out with {ALLOW_LIST}",
            )
    if not any(str(bound) for bound in bounds):
        yield Finding(
            "PLUGIN_UNBOUND",
            f"{distribution} does not say which versions of {HOST} it fits",
            f"its packaging should require {HOST} with a bound, such as >=0.1,<1",
            "warn",
        )


def _requirements(distribution: str) -> Iterator[Requirement]:
    """What a distribution needs in this environment; a line that cannot be read says nothing."""
    try:
        lines = importlib.metadata.requires(distribution) or []
    except (importlib.metadata.PackageNotFoundError, UnicodeDecodeError):
        return
    for line in lines:
        try:
            requirement = Requirement(line)
        except InvalidRequirement:
            continue
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            yield requirement


def _other_groups() -> Iterator[Finding]:
    points = importlib.metadata.entry_points()
    current = {point.dist.name for point in points.select(group=GROUP) if point.dist is not None}
    for group in sorted(filter(OTHER_GROUP.fullmatch, points.groups)):
        named = {point.dist.name for point in points.select(group=group) if point.dist is not None}
        for distribution in sorted(named - current):
            yield Finding(
                "PLUGIN_INTERFACE",
                f"{distribution} was written for another interface: its entry points are in the group {group}, "
                f"and {HOST} {__version__} reads the group {GROUP}",
                f"install a release of it that fits, or take it out: pip uninstall {distribution}",
            )
