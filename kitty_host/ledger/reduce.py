"""What the rows of a ledger add up to. Pure: no file, no clock, and the same result for any order of lines.

The rules are those of `spec_kitty_events.diary` 11.0.0, against which they are tested: rows are sorted by time and id; a row
that does not leave the lane in force is stale and dropped unless it is forced; a rejection beats a simultaneous approval; a
departure from `approved` never sorts before its approval, whatever the clocks said; rows of migrations ("seeds", actor
``migration:…``) restate history and yield to rows of those who were there.

A row that comes after all that is known can be added to a finished state (`Snapshot.extend`). That is a shorter way to the same
result, and refuses where it would not be.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from kitty_host.ledger.event import STEP_ANSWERED, STEP_ISSUED, Annotation, Event, Other, Transition
from kitty_host.ledger.machine import APPROVED, LANES
from kitty_host.ledger.order import Place, in_order, once_each
from kitty_host.ledger.wp import VERDICT, WpState, claim, is_rejection, is_seed, verdict


class Snapshot:
    """A mission's state.

    `packages` maps work-package ids to their state, in order of id.
    """

    __slots__ = (
        "answered",
        "event_count",
        "first",
        "issued",
        "last",
        "last_row_id",
        "others",
        "packages",
        "rows",
        "run",
        "top",
    )

    def __init__(self) -> None:
        self.packages: dict[str, WpState] = {}
        self.rows = 0
        """Rows of every kind."""
        self.event_count = 0
        """Transitions only, each id once."""
        self.last_row_id = ""
        """The id of the last line."""
        self.first: tuple[Place, str] | None = None
        """The place of the first transition, and the slug that it names."""
        self.last: tuple[Place, str] | None = None
        """The place of the last transition, and the time that its row gives."""
        self.top = ""
        """The greatest id of a transition."""
        self.others: dict[str, Other] = {}
        """The latest row on each topic that is not the lane of a work package, by topic: an event type, or one row that counts for ever."""
        self.issued: dict[str, Other] = {}
        """Steps that were handed out and not answered, by event id."""
        self.answered: set[str] = set()
        """Steps that were answered, whether or not a row has handed them out yet: lines may stand in any order, and twice."""
        self.run: Other | None = None
        """The first step that was ever handed out."""

    @property
    def last_event_id(self) -> str | None:
        """The last transition."""
        return self.last[0][3] if self.last else None

    @property
    def last_at(self) -> str:
        """The time of the last transition; empty where there is none."""
        return self.last[1] if self.last else ""

    @property
    def mission_slug(self) -> str:
        """The slug in the first transition, if it is a plain name: others join it to paths."""
        slug = self.first[1] if self.first else ""
        return slug if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", slug) and ".." not in slug else ""

    @property
    def summary(self) -> dict[str, int]:
        """How many work packages are in each of the nine lanes."""
        found = dict.fromkeys(LANES, 0)
        for package in self.packages.values():
            if package.lane in found:
                found[package.lane] += 1
        return found

    def latest(self, wp_id: str = "") -> str:
        """The time of the last row about a work package; of any row where none is named."""
        if wp_id:
            return self.packages[wp_id].latest if wp_id in self.packages else ""
        return max(
            [*(one.at for one in self.others.values()), *(one.latest for one in self.packages.values())], default=""
        )

    def to_dict(self) -> dict[str, Any]:
        """As in `status.json`, without what that file takes from elsewhere."""
        return {
            "mission_slug": self.mission_slug,
            "materialized_at": self.last_at,
            "event_count": self.event_count,
            "last_event_id": self.last_event_id,
            "work_packages": {wp_id: package.to_dict() for wp_id, package in self.packages.items()},
            "summary": self.summary,
        }

    def extend(self, events: Iterable[Event]) -> bool:
        """Add rows that come after all that is known of their work packages.

        False where one does not, or may change what earlier ones meant: then this state is spoilt, and all rows are to be reduced together.
        """
        packages = self.packages
        known = len(packages)
        event: Event | None = None
        for event in events:
            self.rows += 1
            if isinstance(event, Other):
                self._other(event)
                continue
            package = packages.get(event.wp_id)
            if package is None:
                package = packages[event.wp_id] = WpState()
            if isinstance(event, Annotation):
                if (event.at, event.event_id) < package.said_at:
                    return False
                package.annotate(event)
                continue
            # Ids of what kitty writes ascend. One that does not may have been there before.
            if event.event_id <= self.top or event.at <= package.seen_at or package.tangled or is_seed(event):
                return False
            first = package.event_id is None
            package.see(event)
            if first or event.force or event.from_lane == package.lane or is_rejection(event):
                package.apply(event)
            self._count((event.at, False, 0, event.event_id), event)
        if event is not None:
            self.last_row_id = event.event_id
        if len(packages) > known:
            self.packages = dict(sorted(packages.items()))
        return True

    def _count(self, place: Place, row: Transition) -> None:
        self.event_count += 1
        self.top = max(self.top, row.event_id)
        if self.first is None or place < self.first[0]:
            self.first = (place, row.slug)
        if self.last is None or place > self.last[0]:
            self.last = (place, row.at)

    def _other(self, row: Other) -> None:
        known = self.others.get(row.topic)
        if known is None or (row.at, row.event_id) > (known.at, known.event_id):
            self.others[row.topic] = row
        payload = row.row.get("payload")
        if row.kind == STEP_ISSUED and isinstance(payload, dict):
            if self.run is None or (row.at, row.event_id) < (self.run.at, self.run.event_id):
                self.run = row
            if row.event_id not in self.answered:
                self.issued[row.event_id] = row
        elif row.kind == STEP_ANSWERED and isinstance(payload, dict):
            answered = str(payload.get("step_id"))
            self.answered.add(answered)
            self.issued.pop(answered, None)


def reduce(events: Iterable[Event]) -> Snapshot:
    """The state that a ledger's rows add up to, whatever their order."""
    found = Snapshot()
    transitions: list[Transition] = []
    annotations: list[Annotation] = []
    for event in events:
        found.rows += 1
        found.last_row_id = event.event_id
        if isinstance(event, Transition):
            transitions.append(event)
        elif isinstance(event, Annotation):
            annotations.append(event)
        else:
            found._other(event)
    history: dict[str, list[Transition]] = defaultdict(list)
    for place, row in in_order(once_each(transitions)):
        history[row.wp_id].append(row)
        found._count(place, row)
    packages = {wp_id: _Fold(rows).package for wp_id, rows in history.items()}
    for note in sorted(annotations, key=lambda one: (one.at, one.event_id)):
        packages.setdefault(note.wp_id, WpState()).annotate(note)
    found.packages = dict(sorted(packages.items()))
    return found


class _Fold:
    """The transitions of one work package, in the order in which they count, folded into `package`."""

    def __init__(self, rows: list[Transition]) -> None:
        self.package = WpState()
        self._history = rows
        # Whose word a slot is: a seed never overwrites what somebody who was there wrote.
        self._settled: set[str] = set()
        self._by_seed: set[str] = set()
        self._apply(rows[0])
        for row in rows[1:]:
            verdict_ = self._judge(row)
            if verdict_ == "apply":
                self._apply(row)
            elif verdict_ == "stale" and is_seed(row):
                self._fill_from_seed(row)
        for row in sorted(rows, key=lambda one: (one.at, one.event_id)):
            self.package.see(row)
        self.package.tangled |= any(is_seed(row) for row in rows)

    def _apply(self, row: Transition) -> None:
        self._setter = row
        written = self.package.apply(row)
        if is_seed(row) and not is_rejection(row):
            self._by_seed.update(written)
            return
        # A real process id is never paired with the start time that a seed made up.
        if "shell_pid" in written and "shell_pid_created_at" not in written and "shell_pid_created_at" in self._by_seed:
            self.package.claims.pop("shell_pid_created_at", None)
            self._by_seed.discard("shell_pid_created_at")
        self._settled.update(written)
        self._by_seed.difference_update(written)

    def _fill_from_seed(self, seed: Transition) -> None:
        """A seed that lost the lane still tells who had claimed and what was said, where nobody else told."""
        told = claim(seed)
        if seed.result:
            told[VERDICT] = verdict(seed)
        for slot, value in told.items():
            if slot in self._settled or (slot == "shell_pid_created_at" and "shell_pid" in self._settled):
                continue
            self.package.claims[slot] = value
            self._by_seed.add(slot)

    def _judge(self, row: Transition) -> str:
        """``apply``, ``stale`` (does not leave the lane in force), or ``beaten`` (by a simultaneous rejection)."""
        setter = self._setter
        if setter.at == row.at and is_rejection(setter) and not is_rejection(row) and not self._yields(setter, row):
            return "beaten"
        if row.force or row.from_lane == self.package.lane or self._may_jump(row, setter):
            return "apply"
        return "stale"

    def _may_jump(self, row: Transition, setter: Transition) -> bool:
        """Whether a row may leave another lane than the one in force."""
        if is_rejection(row):
            return not is_seed(row) or (is_seed(setter) and is_rejection(setter)) or self._is_bare_sibling(setter, row)
        if is_seed(row):
            return False
        return (is_seed(setter) and not is_rejection(setter)) or self._yields(setter, row)

    def _yields(self, setter: Transition, row: Transition) -> bool:
        """A rejection that a migration restated holds against its own sibling approval only."""
        return is_seed(setter) and is_rejection(setter) and not is_seed(row) and not self._is_bare_sibling(row, setter)

    def _is_bare_sibling(self, approval: Transition, seed: Transition) -> bool:
        """An approval out of the same lane as the rejection, on which nobody has built since."""
        if approval.to_lane != APPROVED or approval.from_lane != seed.from_lane:
            return False
        mark = (approval.at, approval.event_id)
        return not any(
            row.from_lane == APPROVED and not is_seed(row) and (row.at, row.event_id) > mark for row in self._history
        )
