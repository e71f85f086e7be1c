"""The attrs records that cross hooks; authors import them from `kitty_host.records`, which loads this module when one is asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from functools import cached_property
from typing import Any, Protocol

from attrs import field, frozen

from kitty_host.bundle import unbundle
from kitty_host.mission import Mission

SHUT = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
"""The policy of a page that is text and nothing else."""


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
    chain: str
    """The merge of the last lane; `tip` itself but for `squash`, whose commit has the same tree."""
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
    """`landed`: as the lane has it, or already was; else who else changed it: `superseded by lane-b`, `merged with lane-b`, or with a
    commit, `reverted by <commit>`, `moved to PATH`."""


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
    done: tuple[str, ...] = ()
    """The work packages that went from approved to done."""
    rescued: tuple[str, ...] = ()
    """Where ignored files were moved that were in the way; not stored."""


@frozen
class Source:
    """Something that may be a foreign plan: where it came from, and its bytes."""

    name: str
    """As the user spelt it; show it through `inert`."""
    content: bytes
    """What is stored and hashed; of a directory a bundle of its files (see `kitty_host.bundle`)."""

    @cached_property
    def files(self) -> Mapping[str, bytes]:
        """The files of a directory, by their path below it with `/`, in order; empty for a single file."""
        return unbundle(self.content)


@frozen
class PlannedStep:
    """A part of a task that is ticked off and not worked on alone. Foreign text, all of it."""

    source_id: str
    title: str
    done: bool = False


@frozen
class PlannedPackage:
    """A task of a foreign plan: what becomes a work package. Foreign text, all of it."""

    source_id: str
    """What the plan calls it."""
    title: str
    body: str = ""
    dependencies: tuple[str, ...] = ()
    """Ids of the plan; it may lack the tasks that they name."""
    owned_files: tuple[str, ...] = ()
    """Paths and globs, where the plan names any."""
    steps: tuple[PlannedStep, ...] = ()
    settled: str = ""
    """Why there is nothing left to do, such as `done` or `cancelled`; empty for a task that is open."""


@frozen
class Brief:
    """A foreign plan that was taken in. Everything but the numbers is untrusted."""

    name: str
    text: str
    sha256: str
    size_bytes: int
    title: str = ""
    extra: Mapping[str, Any] = field(factory=dict)
    """What else the sidecar shall keep."""
    format: str = ""
    """Whose plan it is, such as `spec-kit`; a name, not a sentence."""
    requirements: tuple[str, ...] = ()
    packages: tuple[PlannedPackage, ...] = ()
    """In the order of the plan."""


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
    """What a check of a candidate said."""

    name: str
    ok: bool
    reason: str = ""
    command: str = ""
    exit_code: int | None = None
    tests: int | None = None
    """How many were collected; None for a gate that is no suite of tests."""
    commit: str = ""
    failed: int | None = None
    skipped: int | None = None
    seconds: float | None = None
    exceptions: tuple[str, ...] = ()
    """Names of the tests but for whose exceptions it would not be ok."""


@frozen
class Suite:
    """A command that shall run on the merged result, as a plugin or the configuration declares it: a gate yet to be run."""

    name: str
    command: str
    """Split as by a shell, run without one; `{report}` is where it shall write what came of its tests, as JUnit XML."""
    timeout_seconds: float = 1800.0
    minimum_tests: int = 1
    """How many tests are expected at least; 0 where the exit code alone counts and no report is read."""


@frozen
class Acceptance:
    """That a candidate passed its gates."""

    key: str
    gates: tuple[Gate, ...]
    actor: str
    asked: tuple[str, ...]
    """The plugins that were asked for gates."""


@frozen
class Rules:
    """What governs one action, as it was given to somebody."""

    action: str
    text: str
    receipt: str
    """One hash over the sections."""
    sections: tuple[tuple[str, str], ...]
    """Anchors and SHA-256, in order."""


@frozen
class Page:
    """A rendered board, whole: it needs nothing but itself, so that its policy can forbid everything else."""

    html: str
    policy: str = SHUT
    """The Content-Security-Policy that it shall be served with; unless it says otherwise, nothing runs and nothing is fetched."""


@frozen
class Answer:
    """What a server said."""

    status: int
    """The HTTP status."""
    headers: Mapping[str, str]
    """By their names in lower case."""
    body: bytes = b""
    """Decoded, where it came compressed."""


class Transport(Protocol):
    """An authenticated connection to one issuer.

    Neither of its calls says anything to a person, and both wait for a bounded time. Errors: `AUTH_REQUIRED`, `AUTH_REFRESH_FAILED`, and
    `SERVER_UNREACHABLE` where no answer came, although the request may have been received.
    """

    def request(self, method: str, path: str, *, body: bytes = b"", headers: Mapping[str, str] | None = None) -> Answer:
        """Send one request; whatever the server answers, but for a login that is over, is an answer. The path begins with a slash."""
        ...

    def stream(self, path: str, *, headers: Mapping[str, str] | None = None) -> AbstractContextManager[Iterator[str]]:
        """The lines of an answer that goes on, such as server-sent events. Errors besides: `SERVER_REFUSED` for any status but 200."""
        ...
