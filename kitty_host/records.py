"""The records that cross hooks. Import them inside hook bodies: they need attrs, which nothing on the start-up path may load.

The plain ones, which every command needs, come from `kitty_host.mission` and `kitty_host.state` and are listed here so that
an author finds all in one place.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from attrs import field, frozen

from kitty_host.mission import Mission as Mission
from kitty_host.packages import Package as Package
from kitty_host.state import Progress as Progress
from kitty_host.state import State as State


@frozen
class Lane:
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


@frozen
class Lanes:
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


@frozen
class Workspace:
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
    env: Mapping[str, str] = field(factory=dict)
    """What every process of the lane gets to see."""
    notes: tuple[str, ...] = ()


@frozen
class Submission:
    """What a work package has to show for review."""

    wp_id: str
    head: str
    commits: tuple[str, ...]
    """Oldest first; none where nothing changed."""
    paths: tuple[str, ...]
    findings: tuple[Any, ...] = ()
    """Such as paths that another live lane owns."""


@frozen
class Candidate:
    """The merged result, built aside from objects only."""

    mission: Mission
    key: str
    """What an acceptance names: a hash over target, heads and tree."""
    target: str
    """The full ref."""
    old: str
    tip: str
    """The commit of the merged result; `old` where there is nothing to land."""
    tree: str
    """Its tree without this mission's own records; part of the key."""
    heads: tuple[tuple[str, str], ...]
    """Lane ids and commits, in the order in which they are chained."""
    strategy: str = "merge"
    gates: tuple[str, ...] = ()
    """The gates that the acceptance of this candidate passed."""


@frozen
class PathChange:
    """How one path of a lane got into the landed tree. Blobs are object ids, empty for "none"."""

    path: str
    old: str
    new: str
    how: str
    """`lane`: as the lane has it; `merged`: both sides changed it; `already`: the target had it."""


@frozen
class LaneAccount:
    """Everything one lane contributes."""

    lane_id: str
    head: str
    wp_ids: tuple[str, ...]
    commits: tuple[str, ...]
    paths: tuple[PathChange, ...]


@frozen
class Landing:
    """A mission on its target. `new` is None in what is stored, because a file cannot name the commit that holds it."""

    mission_id: str
    target: str
    old: str
    new: str | None
    strategy: str
    lanes: tuple[LaneAccount, ...]
    gates: tuple[str, ...] = ()
    event_id: str = ""
    rescued: tuple[str, ...] = ()
    """Where ignored files were moved that were in the way; not stored."""


@frozen
class Forecast:
    """Whether the lanes fit together as they are now."""

    clean: bool
    conflicts: tuple[Mapping[str, Any], ...] = ()


@frozen
class Source:
    """Something that may be a foreign plan: where it came from, and its bytes."""

    name: str
    """As the user spelt it; show it through `inert`."""
    content: bytes


@frozen
class Brief:
    """A foreign plan that was taken in. `text` is untrusted."""

    name: str
    text: str
    sha256: str
    size_bytes: int
    title: str = ""
    extra: Mapping[str, Any] = field(factory=dict)


@frozen
class Step:
    """One step of a mission type. `per_package` steps are repeated for every work package."""

    id: str
    title: str
    prompt: str = ""
    artifact: str = ""
    """The file, below the mission, that the step is there to make."""
    per_package: bool = False


@frozen
class MissionType:
    """A way to run a mission."""

    key: str
    name: str
    version: str
    steps: tuple[Step, ...]
    source: str = ""
    """The file or distribution it comes from."""


@frozen
class Decision:
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
    progress: Mapping[str, Any] = field(factory=dict)
    run_id: str | None = None
    step_id: str | None = None
    decision_id: str | None = None
    question: str | None = None
    options: tuple[str, ...] = ()
    notes: str | None = None
    is_query: bool = False
    preview_step: str | None = None


@frozen
class Section:
    """A part of the governance that an agent is given for one action."""

    anchor: str
    title: str
    body: str
    directives: tuple[str, ...] = ()
    tactics: tuple[str, ...] = ()
    styleguides: tuple[str, ...] = ()
    critical: bool = False
    """Kept whole in compact mode."""


@frozen
class Charter:
    """Everything that governs one action, before it is rendered."""

    action: str
    sections: tuple[Section, ...]


@frozen
class Gate:
    """A check of a candidate that can fail."""

    name: str
    ok: bool
    reason: str = ""
    command: str = ""
    exit_code: int | None = None
    tests: int | None = None
    commit: str = ""


@frozen
class Acceptance:
    """That a candidate passed its gates: the payload of a `CandidateAccepted` row."""

    key: str
    gates: tuple[Gate, ...]
    actor: str


@frozen
class Page:
    """A rendered board."""

    html: str


class Transport(Protocol):
    """An authenticated connection to one issuer."""

    def request(
        self, method: str, path: str, *, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> tuple[int, bytes]:
        """Send one request; status and body."""
        ...
