"""Ledger rows by the hundred thousand: decoded in C, and added run by run where each row leaves the lane that the one before entered.

A shorter way to what `event.decode` and `Snapshot.extend` make of rows as every writer writes them. With anything else in a block the
whole block goes the long way; so what a row means and what is refused, in which words, is decided in one place.
"""

from __future__ import annotations

from collections import defaultdict
from itertools import islice
from operator import attrgetter, lt
from pathlib import Path
from typing import Any, BinaryIO, Literal, NamedTuple

import msgspec

from kitty_host.ledger.event import KEPT, STEP_ANSWERED, STEP_ISSUED, SUBTASK, Annotation, Other, decode, parse
from kitty_host.ledger.lines import Block, decode_block
from kitty_host.ledger.machine import APPROVED
from kitty_host.ledger.reduce import Snapshot
from kitty_host.ledger.wp import WpState

_Lane = Literal[
    "planned",
    "claimed",
    "in_progress",
    "for_review",
    "in_review",
    "approved",
    "done",
    "blocked",
    "canceled",
    "genesis",
    "uninitialized",
]
_SPECIAL = frozenset(("tracker_refs", "tracker_refs_replace", "review", "release_runtime_claim"))
"""Parts of an annotation that are more than a value to be replaced."""


class _Told(msgspec.Struct, gc=False):
    """A nested object of which only some keys are read."""

    def get(self, name: str) -> Any:
        return getattr(self, name)


class _Policy(_Told, gc=False):
    agent: Any = None
    shell_pid: Any = None
    shell_pid_created_at: Any = None

    def told(self) -> tuple[str, bool, bool]:
        """What distinguishes two of them for a state."""
        return (str(self.agent or ""), self.shell_pid is None, self.shell_pid_created_at is None)


class _Result(_Told, gc=False):
    reviewer: Any
    verdict: Any
    reference: Any
    feedback_path: Any = None


class _Reviewed(msgspec.Struct, gc=False):
    reviewer: msgspec.Raw
    verdict: msgspec.Raw
    reference: msgspec.Raw


class _Repo(msgspec.Struct, gc=False):
    repo: msgspec.Raw
    branch: msgspec.Raw
    commit: msgspec.Raw


class _Evidence(msgspec.Struct, gc=False):
    """Only looked at: it has what `event.decode` asks for."""

    review: _Reviewed
    repos: list[_Repo] | None = None
    verification: tuple[()] | None = None


class _Row(msgspec.Struct, gc=False, eq=False, rename={"policy": "policy_metadata", "result": "review_result"}):
    """Any row. The last transition into a lane stands in for a `Transition` until `settle`."""

    event_id: str
    wp_id: str = ""
    at: str = ""
    from_lane: _Lane | None = None
    to_lane: _Lane | None = None
    actor: str | None = None
    force: bool | None = None
    execution_mode: Literal["worktree", "direct_repo"] | None = None
    kind: Literal["annotation"] | None = None
    event_type: str | msgspec.UnsetType | None = msgspec.UNSET
    timestamp: str = ""
    policy: _Policy | None = None
    result: _Result | None = None
    evidence: _Evidence | None = None
    review_ref: str | None = None
    delta: dict[str, Any] | None = None
    type: None = None
    event_name: None = None


_decode = msgspec.json.Decoder(_Row).decode_lines
_columns = attrgetter("from_lane", "to_lane", "at", "actor", "force", "execution_mode")


class Hurry:
    """Adds blocks to a state. Nothing may look at the state before `settle` was called."""

    def __init__(self, state: Snapshot, path: Path) -> None:
        self._state = state
        self._path = path
        self._blocks: dict[tuple[str, str], int] = {}
        """The block of each row, by its name, of which more is wanted than a `_Row` has."""

    def extend(self, block: Block) -> bool:
        """As `Snapshot.extend`, for a whole block. Errors: `LEDGER_DAMAGED` with line and byte."""
        try:
            rows = _decode(block.content)
        except msgspec.MsgspecError:
            return self._extend_slowly(block)
        runs: dict[str, list[_Row]] = defaultdict(list)
        notes: dict[str, list[_Row]] = defaultdict(list)
        others: dict[str, list[_Row]] = defaultdict(list)
        ids = [self._state.top]
        for row in rows:
            if row.from_lane is not None and row.kind is None and row.event_type is msgspec.UNSET:
                runs[row.wp_id].append(row)
                ids.append(row.event_id)
            elif row.kind is not None:
                notes[row.wp_id].append(row)
            else:
                others[str(row.event_type or "")].append(row)
        packages = self._state.packages
        chains = {wp_id: _chain(packages.get(wp_id), run) for wp_id, run in runs.items()}
        if not (
            all(map(lt, ids, islice(ids, 1, None)))
            and all(chains.values())
            and all(_is_plain(packages.get(wp_id), run) for wp_id, run in notes.items())
            and not others.keys() & {"", STEP_ISSUED, STEP_ANSWERED, *KEPT}
        ):
            return self._extend_slowly(block)
        for wp_id, chain in chains.items():
            if chain:
                self._follow(packages[wp_id], chain, block)
        for wp_id, run in notes.items():
            _annotate(packages[wp_id], run)
        for kind, run in others.items():
            self._other(kind, run, block)
        self._state.rows += len(rows)
        self._state.last_row_id = rows[-1].event_id
        return True

    def settle(self, stream: BinaryIO) -> None:
        """Put whole rows in the places of those that stand in for them."""
        standing_in = [row for package in self._state.packages.values() for row in package.entered.values()]
        names = self._blocks.keys() & map(_name, [*standing_in, *self._state.others.values()])
        rows: dict[tuple[str, str], Any] = {}
        for offset in {self._blocks[name] for name in names}:
            stream.seek(offset)
            wanted = {name for name in names if self._blocks[name] == offset}
            ids = {event_id for event_id, _ in wanted}
            while wanted:
                line = stream.readline()
                row = parse(line) if line.strip() else {}
                if row.get("event_id") in ids and (name := _name(event := decode(row))) in wanted:
                    wanted.discard(name)
                    rows[name] = event
        for package in self._state.packages.values():
            package.entered = {lane: rows.get(_name(row), row) for lane, row in package.entered.items()}
        self._state.others = {kind: rows.get(_name(row), row) for kind, row in self._state.others.items()}

    def _extend_slowly(self, block: Block) -> bool:
        return self._state.extend(decode_block(block, self._path))

    def _follow(self, package: WpState, chain: _Chain, block: Block) -> None:
        """As `see` and `apply` for every row of a chain, of which only the last of each kind leaves a trace."""
        telling = {
            *dict(zip(zip(chain.sources, chain.targets, strict=True), chain.rows, strict=True)).values(),
            *{(row.from_lane, row.to_lane, row.policy.told()): row for row in chain.rows if row.policy}.values(),
            *[row for row in chain.rows if row.result is not None][-1:],
        }
        force_count = package.force_count + chain.forces.count(True)
        approvals = package.approvals + chain.targets.count(APPROVED) - chain.sources.count(APPROVED)
        # Between the rows that are looked at there were others: what is counted is counted here.
        package.approvals = len(chain.rows)
        for row in sorted(telling, key=lambda row: row.at):
            package.see(row)
            package.apply(row)
            self._blocks[_name(row)] = block.offset
        package.force_count, package.approvals = force_count, approvals
        state, last = self._state, chain.rows[-1]
        state.event_count += len(chain.rows)
        state.top = max(state.top, last.event_id)
        place = (last.at, False, 0, last.event_id)
        if state.last is None or place > state.last[0]:
            state.last = (place, last.at)

    def _other(self, kind: str, run: list[_Row], block: Block) -> None:
        row = max(run, key=lambda one: (one.timestamp or one.at, one.event_id))
        known = self._state.others.get(kind)
        at = row.timestamp or row.at
        if known is None or (at, row.event_id) > (known.at, known.event_id):
            self._state.others[kind] = Other(row.event_id, at, kind, {})
            self._blocks[row.event_id, kind] = block.offset


def _name(row: Any) -> tuple[str, str]:
    """What a row is found again by: rows of other kinds may have used the id of a transition."""
    kind = row.kind if isinstance(row, Other) else ""
    return row.event_id, "an annotation" if isinstance(row, Annotation) else kind


class _Chain(NamedTuple):
    """Transitions of one work package, and some of their columns."""

    rows: list[Any]
    sources: tuple[str, ...]
    targets: tuple[str | None, ...]
    forces: tuple[bool | None, ...]


def _chain(package: WpState | None, rows: list[_Row]) -> _Chain | None:
    """The rows, if each comes later than the one before, leaves the lane that it entered, and is written as rows are."""
    if package is None or package.event_id is None or package.tangled:
        return None
    if package.lane == APPROVED and not package.approvals:
        return None
    sources, targets, times, actors, forces, modes = zip(*map(_columns, rows), strict=True)
    usual = (
        sources[0] == package.lane
        and sources[1:] == targets[:-1]
        and None not in targets
        and package.seen_at < times[0]
        and all(map(lt, times, islice(times, 1, None)))
        and None not in forces
        and None not in modes
        and not any(actor is None or actor.startswith("migration:") for actor in set(actors))
    )
    return _Chain(rows, sources, targets, forces) if usual else None


def _is_plain(package: WpState | None, run: list[_Row]) -> bool:
    """Whether each annotation comes later than the one before and says nothing but values that replace older ones, subtasks and notes."""
    if package is None:
        return False
    times = [package.said_at[0], *(row.at for row in run)]
    if not all(map(lt, times, islice(times, 1, None))):
        return False
    for row in run:
        delta = row.delta
        if delta is None or row.actor is None or not _SPECIAL.isdisjoint(delta):
            return False
        if None in delta.values() or "" in delta.values():
            return False
        subtasks = delta.get("subtasks")
        if subtasks is not None and not (isinstance(subtasks, dict) and SUBTASK.issuperset(subtasks.values())):
            return False
        if not isinstance(delta.get("shell_pid", 0), int):
            return False
    return True


def _annotate(package: WpState, run: list[_Row]) -> None:
    """As `WpState.annotate` for each of them."""
    merged: dict[str, Any] = {}
    subtasks: dict[str, Any] = {}
    for row in run:
        delta: dict[str, Any] = row.delta or {}
        merged.update(delta)
        if "subtasks" in delta:
            subtasks.update(delta["subtasks"])
    notes = [row.delta["note"] for row in run if row.delta and "note" in row.delta]
    if subtasks:
        merged["subtasks"] = subtasks
    if notes:
        package.said.setdefault("notes", []).extend(notes[:-1])
    last = run[-1]
    package.annotate(Annotation(last.event_id, last.wp_id, last.at, last.actor or "", merged))
