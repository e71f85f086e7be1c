"""The records that cross hooks: the one door to all of them. Import them inside hook bodies.

What a query needs is plain and lies here; the rest needs attrs, which takes as long as a small command, and is loaded when it is
asked for (ADR 0006).
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from kitty_host.mission import Mission as Mission
from kitty_host.packages import Package as Package
from kitty_host.state import Progress as Progress
from kitty_host.state import State as State

if TYPE_CHECKING:
    from kitty_host.frozen import Acceptance as Acceptance
    from kitty_host.frozen import Answer as Answer
    from kitty_host.frozen import Brief as Brief
    from kitty_host.frozen import Candidate as Candidate
    from kitty_host.frozen import Charter as Charter
    from kitty_host.frozen import Gate as Gate
    from kitty_host.frozen import Landing as Landing
    from kitty_host.frozen import LaneAccount as LaneAccount
    from kitty_host.frozen import Page as Page
    from kitty_host.frozen import PathChange as PathChange
    from kitty_host.frozen import PlannedPackage as PlannedPackage
    from kitty_host.frozen import PlannedStep as PlannedStep
    from kitty_host.frozen import Rules as Rules
    from kitty_host.frozen import Section as Section
    from kitty_host.frozen import Source as Source
    from kitty_host.frozen import Submission as Submission
    from kitty_host.frozen import Suite as Suite
    from kitty_host.frozen import Transport as Transport


def __getattr__(name: str) -> Any:
    if name.startswith("_"):
        raise AttributeError(name)
    return getattr(importlib.import_module("kitty_host.frozen"), name)


class Lane(NamedTuple):
    """Work packages that share a branch and a worktree, in the order in which they are worked on."""

    lane_id: str
    """`lane-a` …, or `lane-planning`."""
    wp_ids: tuple[str, ...]
    write_scope: tuple[str, ...]
    """The paths its work packages own."""
    depends_on: tuple[str, ...] = ()
    """Lanes whose approved commits its base contains."""
    group: int = 0
    """Its depth among the lanes: those of one group can run at once."""
    branch: str = ""


class Lanes(NamedTuple):
    """The lanes of a mission, as `lanes.json` keeps them."""

    lanes: tuple[Lane, ...]
    planning: tuple[str, ...] = ()
    """Work packages that are planning artefacts; they form `lane-planning`."""
    collapses: tuple[Mapping[str, str], ...] = ()
    """Why work packages share a lane: `wp_a`, `wp_b`, `rule`, `evidence`."""
    planning_commit: str = ""
    """The commit that holds the plan; lanes without dependencies start there or later."""

    def of(self, wp_id: str) -> Lane | None:
        """The lane of a work package."""
        return next((lane for lane in self.lanes if wp_id in lane.wp_ids), None)


class Workspace(NamedTuple):
    """Where a work package is worked on."""

    wp_id: str
    lane_id: str
    branch: str
    path: Path | None
    """The worktree; None for planning artefacts, which are worked on in the canonical checkout."""
    base: str
    """The commit that the work starts from."""
    head: str
    """The commit that the lane is at."""
    env: Mapping[str, str] = MappingProxyType({})
    """What every process of the lane gets to see."""
    notes: tuple[str, ...] = ()


class Forecast(NamedTuple):
    """Whether the lanes would land as they are now."""

    clean: bool | None
    """None where nobody can say, for `reason`."""
    conflicts: tuple[Mapping[str, Any], ...] = ()
    """What stands in the way, each with `lane`, `others` (lanes, or the target), `paths`, `kinds` by path, and a `hint`."""
    reason: str = ""


class Part(NamedTuple):
    """A section that an artefact has to have."""

    heading: str
    hint: str = ""
    """What belongs there: one line, for whoever writes it."""


class Step(NamedTuple):
    """One step of a mission type."""

    id: str
    title: str
    prompt: str = ""
    """What whoever takes the step is told, in Markdown."""
    artifact: str = ""
    """The file, below the mission, that the step is there to make."""
    action: str = ""
    """What kitty does with it: `write` (the artefact), `tasks` (work packages get their lanes), `implement` and `review` (once for each
    package), `accept`, `merge`, or `answer` (done when it is reported as done). Empty: by its id where that is one of these, else `write`
    with an artefact and `answer` without."""
    parts: tuple[Part, ...] = ()
    """The sections of the artefact, in order."""


class MissionType(NamedTuple):
    """A way to run a mission."""

    key: str
    name: str
    version: str
    steps: tuple[Step, ...]
    source: str = ""
    """The file or distribution it comes from."""
    description: str = ""

    def step(self, action: str) -> Step | None:
        """The first step with this action."""
        return next((step for step in self.steps if step.action == action), None)

    def named(self, step_id: str) -> Step | None:
        """The step with this id."""
        return next((step for step in self.steps if step.id == step_id), None)


class Decision(NamedTuple):
    """What an agent should do next, as `kitty next --json` prints it."""

    kind: str
    """`step`, `decision_required`, `blocked`, `terminal` or `query`."""
    agent: str
    mission_slug: str
    mission: str
    """The mission type."""
    mission_state: str
    """A step id of the mission type, `not_started` or `done`."""
    action: str | None = None
    wp_id: str | None = None
    workspace_path: str | None = None
    prompt_file: str | None = None
    reason: str | None = None
    guard_failures: tuple[str, ...] = ()
    progress: Mapping[str, Any] = MappingProxyType({})
    run_id: str | None = None
    step_id: str | None = None
    decision_id: str | None = None
    question: str | None = None
    options: tuple[str, ...] = ()
    notes: str | None = None
    is_query: bool = False
    preview_step: str | None = None
