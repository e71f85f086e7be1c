"""The forecast of a landing: which lanes fit each other, the target, and all that land before them; where not, on which paths and why.

What was found out about two commits is kept below the cache for as long as both are where a lane or the target is.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from kitty_host.api import KittyError
from kitty_host.files import stamp_of, write_cache
from kitty_host.mission import Mission
from kitty_host.records import Forecast, Lane
from kitty_host.repo import Repo
from kitty_host.state import State
from kitty_merge.heads import Heads, live_lanes, require_target
from kitty_merge.ways import settle

if TYPE_CHECKING:
    from kitty_merge.trial import Merge, Trial

# What Git calls a conflict for programs, and our word. Where several are about one path, the one that stands first here is told.
KINDS = {
    "submodule": "submodule",
    "submodule with possible resolution": "submodule",
    "submodule not initialized": "submodule",
    "submodule history not available": "submodule",
    "submodule may have rewinds": "submodule",
    "submodule lacks merge base": "submodule",
    "binary": "binary",
    "file/directory": "file/directory",
    "distinct modes": "distinct types",
    "rename/delete": "rename/delete",
    "rename/rename": "rename/rename",
    "rename involved in collision": "rename collision",
    "modify/delete": "modify/delete",
    "directory rename suggested": "directory rename",
    "file in way of directory rename": "directory rename",
    "directory rename collision": "directory rename",
    "directory rename unclear split": "directory rename",
    "contents": "contents",
}
ADDED = "add/add"
"""What Git counts among the contents: both sides have a path that the base has not."""
OTHER = "other"
"""A kind that a later Git may know."""
_CONTENTS, _IN_THE_WAY = "contents", "file/directory"
_ORDER = (*dict.fromkeys(KINDS.values()), ADDED, OTHER)
_VERSION = 1
"""Of the cache; grows whenever the same commits are told of in other words."""

Kinds = Mapping[str, str]
"""Each path in conflict, and the kind of its conflict."""


class Pair(NamedTuple):
    """Two lanes, or a lane and the target."""

    a: str
    b: str
    """Lane ids; the name of the target."""
    kinds: Kinds | None
    """None where they merge."""


class Preview(NamedTuple):
    """What a landing of all lanes as they are now would meet."""

    lanes: tuple[Lane, ...]
    """In landing order."""
    pairs: tuple[Pair, ...]
    lane: Lane | None
    """The first lane that does not fit what lands before it. None where all do, which clean pairs do not promise."""
    kinds: Kinds
    """Where it does not."""


class _Known(NamedTuple):
    """What the cache holds."""

    pairs: dict[str, Kinds | None]
    order: list[str]
    """The commits of the chain: the target's, and those of the lanes."""
    at: int
    """Which lane of the chain is the first that does not fit; -1 where all do."""
    kinds: Kinds


def preview(state: State, heads: Heads) -> Preview:
    """Every pair of live lanes, each with the target, and all in landing order. Runs nobody's hooks; writes a cache and nothing else.

    Errors: `GIT_TOO_OLD`, `MERGE_INCOMPLETE` where the target does not exist, `GIT_FAILED` where commits cannot be merged at all.
    """
    mission = state.mission
    target = require_target(mission, heads)
    live = live_lanes(state, heads)
    if not live:
        return Preview((), (), None, {})
    lanes = tuple(lane for lane, _ in live)
    known = _known(mission, [target, *(head for _, head in live)])
    pairs: list[Pair] = []
    for number, (lane, head) in enumerate(live):
        pairs += [Pair(lane.lane_id, other.lane_id, known.pairs[_key(head, its)]) for other, its in live[number + 1 :]]
        pairs.append(Pair(lane.lane_id, mission.target, known.pairs[_key(target, head)]))
    return Preview(lanes, tuple(pairs), lanes[known.at] if known.at >= 0 else None, known.kinds)


def conflicts(state: State, told: Preview) -> Iterator[dict[str, Any]]:
    """What stands in the way of a landing, each as a `Forecast` holds it; nothing where all lanes land."""
    if told.lane is None:
        return
    lanes = {lane.lane_id: lane for lane in told.lanes}
    explained = False
    for a, b, kinds in told.pairs:
        if kinds is not None:
            # The lane that comes later settles it.
            late, others = (lanes[b], [lanes[a]]) if b in lanes else (lanes[a], [])
            explained = explained or late == told.lane
            yield _conflict(state, late, others, kinds)
    if not explained:
        # It fits each of them, and not all of them together.
        yield _conflict(state, told.lane, told.lanes[: told.lanes.index(told.lane)], told.kinds)


def _conflict(state: State, lane: Lane, others: Sequence[Lane], kinds: Kinds) -> dict[str, Any]:
    return {
        "lane": lane.lane_id,
        "others": [other.lane_id for other in others] or [state.mission.target],
        "paths": list(kinds),
        "kinds": dict(kinds),
        "hint": settle(state, lane, others),
    }


def forecast(mission: Mission, heads: Heads) -> Forecast | None:
    """Whether the lanes would land as they are now; None where none has anything to land. Errors: as `preview`, but for an old Git."""
    state = State.load(mission)
    try:
        told = preview(state, heads)
    except KittyError as error:
        if error.code != "GIT_TOO_OLD":
            raise
        return Forecast(None, reason=f"{error.message}: {error.hint}")
    # What somebody settled stands in nobody's way, unless the chain has moved since: then it is asked for again.
    settled = {joining.rpartition("-")[2] for joining in heads.settled}
    over = {lane.lane_id for lane in told.lanes if heads.branches[lane.branch] in settled}
    found = tuple(one for one in conflicts(state, told) if one["lane"] not in over)
    return Forecast(told.lane is None or not found, found) if told.lanes else None


# Finding out


def _known(mission: Mission, order: list[str]) -> _Known:
    """All about these commits, from the cache as far as it goes; what is stale leaves it."""
    repo = mission.repo
    cache, settings = repo.cache / f"preview-{mission.mission_id}.json", _settings(repo)
    before = _read(cache, settings)
    target, *heads = order
    wanted = [*combinations(heads, 2), *((target, head) for head in heads)]
    pairs = {key: before.pairs[key] for pair in wanted if (key := _key(*pair)) in before.pairs}
    missing = [pair for pair in wanted if _key(*pair) not in pairs]
    at, kinds = before.at, before.kinds
    if missing or before.order != order:
        from kitty_merge.trial import trial

        with trial(repo, order) as attempt:
            for (ours, theirs), merge in attempt.merge(missing).items():
                pairs[_key(ours, theirs)] = _kinds(ours, theirs, merge)
            if before.order != order:
                at, kinds = _chain(attempt, order)
    now = _Known(pairs, order, at, kinds)
    if now != before:
        # A cache that cannot be written costs time and nothing else.
        with contextlib.suppress(KittyError, OSError):
            write_cache(cache, _encoded(now, settings))
    return now


def _chain(attempt: Trial, order: list[str]) -> tuple[int, Kinds]:
    """The first lane that does not fit, or -1, and where."""
    tip, *heads = order
    for number, head in enumerate(heads):
        pair = (tip, head)
        merge = attempt.merge([pair])[pair]
        if not merge.clean:
            return number, _kinds(tip, head, merge) or {}
        if number < len(heads) - 1:
            tip = attempt.commit(merge, pair)
    return -1, {}


def _kinds(ours: str, theirs: str, merge: Merge) -> Kinds | None:
    """What Git says of a merge in words that stay; None where it is clean."""
    if merge.clean:
        return None
    # Where two things want one name, Git gives one of them another, made of the commit it comes from.
    moved = re.compile(rf"~(?:{ours}|{theirs})(?:_\d+)?$")
    stages: dict[str, set[int]] = {}
    for path, numbers in merge.stages.items():
        stages.setdefault(moved.sub("", path), set()).update(numbers)
    words: dict[str, set[str]] = {path: set() for path in stages}
    nowhere: dict[str, str] = {}
    for kind, paths in merge.messages:
        called = re.fullmatch(r"CONFLICT ?\((.*)\)", kind)
        if called is None:
            continue
        word, named = KINDS.get(called[1], OTHER), [moved.sub("", path) for path in paths]
        for path in named:
            if path in stages:
                words[path].add(ADDED if word == _CONTENTS and 1 not in stages[path] else word)
        if stages.keys().isdisjoint(named):
            nowhere |= dict.fromkeys(named[:1], word)
    told = {path: min(found, key=_ORDER.index, default=OTHER) for path, found in words.items()}
    # Directories that were renamed may leave nothing in the index. Of a file in the way Git speaks although it has found its place.
    return told | {path: word for path, word in nowhere.items() if word != _IN_THE_WAY or not stages}


# The cache


def _key(ours: str, theirs: str) -> str:
    return f"{ours} {theirs}"


def _settings(repo: Repo) -> list[list[int] | None]:
    """What else decides how commits merge, as far as the repository holds it; a user's own settings are not looked at."""
    return [stamp_of(repo.common / name) for name in ("config", "info/attributes")]


def _encoded(known: _Known, settings: list[list[int] | None]) -> bytes:
    return json.dumps({"version": _VERSION, "settings": settings, **known._asdict()}).encode()


def _read(cache: Path, settings: list[list[int] | None]) -> _Known:
    """What it holds; garbage in it is as good as no cache."""
    try:
        data = json.loads(cache.read_bytes())
        if (data.pop("version"), data.pop("settings")) == (_VERSION, settings):
            known = _Known(**data)
            if (
                all(kinds is None or _is_sound(kinds) for kinds in known.pairs.values())
                and _is_sound(known.kinds)
                and type(known.at) is int
                and -1 <= known.at < len(known.order) - 1
            ):
                return known
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        pass
    return _Known({}, [], -1, {})


def _is_sound(kinds: Kinds) -> bool:
    return all(isinstance(word, str) for word in kinds.values())
