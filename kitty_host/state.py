"""A mission as it stands now: its files and its reduced ledger, and how far it has come.

Progress is computed here and nowhere else, so that terminal, JSON and web show the same numbers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from kitty_host.api import Finding
from kitty_host.ledger.event import CONCLUDED, EXCEPTED, LANDED, SPENT, STEP_ANSWERED, UNDONE, Event, Other
from kitty_host.ledger.machine import (
    APPROVED,
    CANCELED,
    CLOSED,
    DONE,
    FOR_REVIEW,
    GENESIS,
    LANES,
    PLANNED,
    UNINITIALIZED,
)
from kitty_host.ledger.reduce import Snapshot
from kitty_host.ledger.wp import WpState
from kitty_host.mission import Mission
from kitty_host.packages import Package

if TYPE_CHECKING:
    from kitty_host.api import KittyError
    from kitty_host.effort import Effort
    from kitty_host.records import Forecast, MissionType

# How much of the way a work package has behind it, in per cent.
_WEIGHTS = {
    "planned": 0,
    "claimed": 5,
    "in_progress": 30,
    "blocked": 30,
    "for_review": 60,
    "in_review": 70,
    APPROVED: 90,
    DONE: 100,
}


class Progress(NamedTuple):
    """Cancelled work packages count nowhere but in `lanes`."""

    done: int
    approved: int
    """Approved or done."""
    total: int
    percent: int
    """100 only when everything is done."""
    lanes: dict[str, int]
    """A number for each of the nine lanes."""


class State:
    """What is known about one mission. Also what `kitty_next` and guards are given."""

    __slots__ = ("agent", "fault", "forecast", "gated", "mission", "noticed", "recent", "result", "snapshot", "type")

    def __init__(self, mission: Mission, snapshot: Snapshot, *, agent: str = "", result: str | None = None) -> None:
        self.mission = mission
        self.snapshot = snapshot
        """What the ledger's rows add up to."""
        self.agent = agent
        """Who asks; empty where nobody in particular does."""
        self.result = result
        """What is reported about the step that was issued: `success`, `failed`, `blocked`, or None for a mere question."""
        self.gated = True
        """Whether anybody provides gates, so that a landing needs an acceptance."""
        self.type: MissionType | None = None
        """The mission's type, where whoever loaded the state looked it up."""
        self.forecast: Forecast | None = None
        """Whether the lanes would land as they are. Nobody has asked unless whoever loads the state sets it."""
        self.noticed: tuple[Finding, ...] = ()
        """What whoever loads the state found out besides what its files say, such as claims without a worktree."""
        self.recent: tuple[Event, ...] = ()
        """The last rows, for who shows what happened lately. None unless whoever loads the state sets them."""
        self.fault: KittyError | None = None
        """Why there is nothing in this state although there may be something in the mission: it could not be read."""

    @classmethod
    def load(cls, mission: Mission, *, agent: str = "", result: str | None = None) -> State:
        """Read the ledger. Errors: `LEDGER_DAMAGED`."""
        return cls(mission, mission.ledger.snapshot(), agent=agent, result=result)

    @property
    def packages(self) -> tuple[Package, ...]:
        """Work packages by their files."""
        return self.mission.packages

    def lane(self, wp_id: str) -> str:
        """The lane by the ledger; `genesis` for one that no row speaks of."""
        found = self.snapshot.packages.get(wp_id)
        return GENESIS if found is None or found.lane == UNINITIALIZED else found.lane

    def package_state(self, wp_id: str) -> WpState | None:
        """What the ledger knows of a work package."""
        return self.snapshot.packages.get(wp_id)

    def open_subtasks(self, package: Package) -> tuple[str, ...]:
        """Its subtasks that are neither done nor skipped."""
        found = self.snapshot.packages.get(package.wp_id)
        told = (found.slots.get("subtasks") or {}) if found else {}
        return tuple(one for one in package.subtasks if told.get(one) not in ("done", "skipped"))

    def last_other(self, *kinds: str) -> Other | None:
        """The latest row of one of these event types."""
        rows = [row for kind in kinds if (row := self.snapshot.others.get(kind)) is not None]
        return max(rows, key=lambda row: (row.at, row.event_id), default=None)

    def exceptions(self) -> list[Other]:
        """Every exception from a gate that was ever granted, expired ones too, in the order of their rows."""
        return self._every(EXCEPTED)

    def efforts(self) -> dict[str, Effort]:
        """What was said to be spent, by work package, and in all under the empty id; nothing where nobody told."""
        rows = self._every(SPENT)
        if not rows:
            return {}
        from kitty_host.effort import add_up

        return add_up(rows)

    def _every(self, kind: str) -> list[Other]:
        """All rows of a type of which every one counts."""
        found = [row for row in self.snapshot.others.values() if row.kind == kind]
        return sorted(found, key=lambda row: (row.at, row.event_id))

    def answered(self, step: str) -> bool:
        """Whether a step of the mission's type was ever reported as done, and that was believed."""
        return f"{STEP_ANSWERED} {step}" in self.snapshot.others

    def submission(self, wp_id: str) -> dict[str, Any] | None:
        """What was last submitted for review: `head`, `commits`, `no_changes`; None where nothing was."""
        found = self.snapshot.packages.get(wp_id)
        row = found.entered.get(FOR_REVIEW) if found else None
        evidence = (row.policy or {}).get("evidence") if row else None
        return evidence if isinstance(evidence, dict) else None

    def approved_commit(self, wp_id: str) -> str | None:
        """The commit of the last approval; None where there is none, or where it was approved without a change."""
        found = self.snapshot.packages.get(wp_id)
        row = found.entered.get(APPROVED) if found else None
        repos = ((row.row.get("evidence") or {}).get("repos") or []) if row else []
        return repos[0]["commit"] if repos else None

    @property
    def is_open(self) -> bool:
        """From creation until all its work packages are done or cancelled, as a landing leaves them; undo opens it again.

        A mission whose type has no packages is open until its last step was answered.

        Work that is open keeps it open whatever the times of rows say: clocks may be wrong.
        """
        lanes = [package.lane for package in self.snapshot.packages.values() if package.lane in LANES]
        if any(lane not in CLOSED for lane in lanes):
            return True
        landing = self.last_other(LANDED, UNDONE, CONCLUDED)
        return landing.kind == UNDONE if landing is not None else not lanes

    @property
    def last_event_id(self) -> str:
        """The number of rows and the id of the last one, whatever it is; what a second look compares with."""
        return f"{self.snapshot.rows}:{self.snapshot.last_row_id}"

    def wp_ids(self) -> list[str]:
        """Every work package that a file or a row names, in order."""
        ids = [package.wp_id for package in self.packages]
        return ids + [
            wp_id for wp_id, found in self.snapshot.packages.items() if wp_id not in ids and found.lane in LANES
        ]

    def shown_lane(self, wp_id: str) -> str:
        """The lane as it is counted: one of the nine; what is not seeded yet is planned."""
        lane = self.lane(wp_id)
        return lane if lane in LANES else PLANNED

    def progress(self) -> Progress:
        """How far the mission has come."""
        lanes = dict.fromkeys(LANES, 0)
        for wp_id in self.wp_ids():
            lanes[self.shown_lane(wp_id)] += 1
        counted = {lane: number for lane, number in lanes.items() if lane != CANCELED}
        total = sum(counted.values())
        percent = sum(_WEIGHTS[lane] * number for lane, number in counted.items()) // total if total else 0
        return Progress(lanes[DONE], lanes[DONE] + lanes[APPROVED], total, percent, lanes)


def mission_is_open(mission: Mission) -> bool:
    """Whether a mission may be meant when none is named; an unreadable ledger leaves it open, so that its damage is seen."""
    from kitty_host.api import KittyError

    try:
        return State.load(mission).is_open
    except KittyError:
        return True


def dependencies_missing(state: State, package: Package) -> list[Finding]:
    """The dependencies of a work package that are neither approved nor done."""
    findings: list[Finding] = []
    for wp_id in package.dependencies:
        lane = state.lane(wp_id)
        if lane not in (APPROVED, DONE):
            findings.append(
                Finding(
                    "TRANSITION_REFUSED",
                    f"{package.wp_id} depends on {wp_id}, which is {lane}",
                    f"finish and approve {wp_id} first",
                )
            )
    return findings
