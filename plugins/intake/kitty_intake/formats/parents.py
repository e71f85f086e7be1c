"""Tasks that only hold others together: an epic, a task with tasks of its own. They are no work of their own while those are open.

Who depends on such a task depends on what it holds, and what it depends on, that depends on.
"""

from __future__ import annotations

from collections.abc import Mapping

from attrs import evolve

from kitty_host.records import PlannedPackage

_MOST = 200_000
"""Steps and dependencies in all: a small file can make epics depend on epics until there are billions."""


def without_parents(
    packages: tuple[PlannedPackage, ...], parents: Mapping[str, str]
) -> tuple[PlannedPackage, ...] | None:
    """The packages without those that hold an open one; `parents` gives the id of a package's parent.

    None where there would be more dependencies than anybody can have meant.
    """
    open_ones = {one.source_id: one for one in packages if not one.settled}
    above: dict[str, tuple[str, ...]] = {}
    left = _MOST
    for source_id in open_ones:
        chain = _chain(source_id, parents)
        left -= len(chain)
        if left < 0:
            return None
        above[source_id] = tuple(holder for holder in chain if holder in open_ones)
    holders = {holder for chain in above.values() for holder in chain}
    held: dict[str, list[str]] = {holder: [] for holder in holders}
    for source_id in open_ones.keys() - holders:
        for holder in above[source_id]:
            held[holder].append(source_id)

    order = {one.source_id: number for number, one in enumerate(packages)}
    found: list[PlannedPackage] = []
    for package in packages:
        if package.source_id in holders:
            continue
        if not package.settled:
            around = above[package.source_id]
            expanded: dict[str, None] = {}
            for one in (package, *(open_ones[holder] for holder in around)):
                for need in one.dependencies:
                    meant = held.get(need, [need])
                    left -= len(meant) + len(above.get(need, ())) + 1
                    if left < 0:
                        return None
                    # What a holder says of its own parts is no order among them, nor what a part says of its holder.
                    if need not in around and one.source_id not in above.get(need, ()):
                        expanded |= dict.fromkeys(sorted(meant, key=lambda part: order.get(part, 0)))
            package = evolve(package, dependencies=tuple(expanded))
        found.append(package)
    return tuple(found)


def _chain(source_id: str, parents: Mapping[str, str]) -> tuple[str, ...]:
    """What holds a task, the nearest first; nothing for one that, in the end, would hold itself."""
    chain: dict[str, None] = {}
    holder = parents.get(source_id)
    while holder is not None and holder not in chain:
        chain[holder] = None
        holder = parents.get(holder)
    return () if source_id in chain else tuple(chain)
