"""Which work packages share a lane: those whose owned paths overlap, and chains of which each link has one predecessor.

Deterministic: the same front matter gives the same lanes. A lane contains its work packages in an order in which they can be done; a lane
depends on the lanes of its work packages' dependencies; dependencies never form a cycle, among work packages or among lanes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import combinations

from kitty_host.api import KittyError
from kitty_host.lanes import PLANNING, branch_of, read_lanes
from kitty_host.mission import Mission
from kitty_host.packages import Package
from kitty_host.records import Lane, Lanes
from kitty_merge.paths import overlap


def plan(packages: tuple[Package, ...], mission: Mission) -> Lanes:
    """The lanes of a mission. Errors: `WP_UNKNOWN_DEPENDENCY`, `WP_CYCLE`."""
    order = in_order({package.wp_id: package.dependencies for package in packages})
    by_id = {package.wp_id: package for package in packages}
    code = [by_id[wp_id] for wp_id in order if not by_id[wp_id].planning]
    planning = [wp_id for wp_id in order if by_id[wp_id].planning]
    groups = _Groups(package.wp_id for package in code)
    _join_overlaps(groups, code)
    _join_chains(groups, code)
    _join_cycles(groups, code)
    members: dict[str, list[str]] = {}
    for package in code:
        members.setdefault(groups.leader(package.wp_id), []).append(package.wp_id)
    named: list[tuple[str, list[str]]] = [
        (lane_id(number), wp_ids) for number, wp_ids in enumerate(sorted(members.values(), key=min))
    ]
    if planning:
        named.append((PLANNING, planning))
    lane_of = {wp_id: name for name, wp_ids in named for wp_id in wp_ids}
    needs = {
        name: sorted({lane_of[need] for wp_id in wp_ids for need in by_id[wp_id].dependencies} - {name})
        for name, wp_ids in named
    }
    depth = _depths(needs)
    lanes = [
        Lane(
            name,
            tuple(wp_ids),
            tuple(sorted({path for wp_id in wp_ids for path in by_id[wp_id].owned_files})),
            tuple(needs[name]),
            depth[name],
            branch_of(mission, name),
        )
        for name, wp_ids in named
    ]
    known = read_lanes(mission)
    return Lanes(
        tuple(sorted(lanes, key=lambda lane: lane.group)),
        tuple(planning),
        tuple(groups.reasons),
        known.planning_commit if known else "",
    )


def lane_id(number: int) -> str:
    """`lane-a` to `lane-z`, then `lane-aa` and so on."""
    letters = ""
    number += 1
    while number:
        number, rest = divmod(number - 1, 26)
        letters = chr(ord("a") + rest) + letters
    return f"lane-{letters}"


def in_order(needs: Mapping[str, Iterable[str]]) -> list[str]:
    """Names so that each comes after what it needs, otherwise in their own order. Errors: `WP_UNKNOWN_DEPENDENCY`, `WP_CYCLE`."""
    for name, wanted in needs.items():
        for one in wanted:
            if one not in needs:
                raise KittyError(
                    "WP_UNKNOWN_DEPENDENCY",
                    f"{name} depends on {one}, which does not exist",
                    f"take {one} out of its dependencies, or write it",
                    wp_id=name,
                    dependency=one,
                )
    waiting = {name: set(wanted) for name, wanted in needs.items()}
    ordered: list[str] = []
    while waiting:
        ready = [name for name, wanted in waiting.items() if not wanted & waiting.keys()]
        if not ready:
            cycle = _cycle(waiting)
            raise KittyError(
                "WP_CYCLE",
                f"these depend on each other: {' -> '.join(cycle)}",
                "take one dependency out",
                cycle=cycle,
            )
        ordered.append(ready[0])
        del waiting[ready[0]]
    return ordered


def _cycle(waiting: Mapping[str, set[str]]) -> list[str]:
    trail = [next(iter(waiting))]
    while True:
        following = min(waiting[trail[-1]] & waiting.keys())
        if following in trail:
            return [*trail[trail.index(following) :], following]
        trail.append(following)


class _Groups:
    """Sets of work packages that grow together, and why."""

    def __init__(self, names: Iterable[str]) -> None:
        self._parent = {name: name for name in names}
        self.reasons: list[dict[str, str]] = []

    def leader(self, name: str) -> str:
        while self._parent[name] != name:
            name = self._parent[name]
        return name

    def join(self, one: str, other: str, rule: str, evidence: str) -> None:
        first, second = sorted((self.leader(one), self.leader(other)))
        if first != second:
            self._parent[second] = first
            self.reasons.append({"wp_a": one, "wp_b": other, "rule": rule, "evidence": evidence})


def _join_overlaps(groups: _Groups, code: list[Package]) -> None:
    for one, other in combinations(code, 2):
        shared = next(((a, b) for a in one.owned_files for b in other.owned_files if overlap(a, b)), None)
        if shared:
            groups.join(one.wp_id, other.wp_id, "write_scope_overlap", " and ".join(dict.fromkeys(shared)))


def _join_chains(groups: _Groups, code: list[Package]) -> None:
    """A work package with one dependency follows it in its lane; a second one that wants to follow fans out."""
    followed: set[str] = set()
    names = {package.wp_id for package in code}
    for package in code:
        match package.dependencies:
            case (need,) if need in names and need not in followed:
                followed.add(need)
                groups.join(need, package.wp_id, "dependency", f"{package.wp_id} follows {need}")


def _join_cycles(groups: _Groups, code: list[Package]) -> None:
    """Lanes that would have to wait for each other become one."""
    while True:
        edges: dict[str, set[str]] = {groups.leader(package.wp_id): set() for package in code}
        for package in code:
            own = groups.leader(package.wp_id)
            edges[own] |= {groups.leader(need) for need in package.dependencies if need in groups._parent}
        reach = {name: _reachable(name, edges) for name in edges}
        found = next(((a, b) for a in sorted(edges) for b in sorted(reach[a]) if a != b and a in reach[b]), None)
        if found is None:
            return
        groups.join(*found, "lane_cycle", "their lanes would wait for each other")


def _reachable(start: str, edges: Mapping[str, set[str]]) -> set[str]:
    seen: set[str] = set()
    waiting = [start]
    while waiting:
        for following in edges[waiting.pop()] - seen:
            seen.add(following)
            waiting.append(following)
    return seen


def _depths(needs: Mapping[str, list[str]]) -> dict[str, int]:
    depths: dict[str, int] = {}
    while len(depths) < len(needs):
        before = len(depths)
        for name, wanted in needs.items():
            if name not in depths and all(one in depths for one in wanted):
                depths[name] = max((depths[one] + 1 for one in wanted), default=0)
        if len(depths) == before:
            # Only lane-planning can still be part of a cycle: its work packages are in no worktree, so it may come at any depth.
            depths[PLANNING] = 0
    return depths
