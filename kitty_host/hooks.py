"""The hooks. Implement any of them in a manifest with `@hookimpl`; take only the arguments you need.

Each docstring says when the hook is called, who wins where several answer, and what a failure means, and ends with an
example that is run as a test. Records come from :mod:`kitty_host.records`, imported inside the body. Nothing is registered:
a hook returns values. What a hook prints goes to standard error; beyond 64 KiB in one call, or 10,000 answers, it has failed. A hook
with many answers or none has also failed when it takes longer than `plugins.timeout_seconds`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import pluggy

from kitty_host.api import Command, Finding

if TYPE_CHECKING:
    from pathlib import Path

    from kitty_host.records import (
        Acceptance,
        Brief,
        Candidate,
        Charter,
        Decision,
        Forecast,
        Gate,
        Landing,
        Lanes,
        Mission,
        MissionType,
        Package,
        Page,
        Section,
        Source,
        State,
        Submission,
        Suite,
        Transport,
        Workspace,
    )
    from kitty_host.repo import Repo

spec = pluggy.HookspecMarker("kitty")


@spec
def kitty_commands() -> Iterable[Command]:
    """Commands of the command line.

    When: at every start. Keep it a literal list; the commands themselves are imported when they are run.
    Wins: all are listed. Two strangers with one name: the bare name refuses, `plugin:name` reaches each.
    Failure: its commands are missing, the rest live, the fault is listed by `kitty plugins doctor`.

    >>> @hookimpl
    ... def kitty_commands():
    ...     return [Command("hello", "kitty_hello.cli:hello", "Say hello.")]
    """
    raise NotImplementedError


@spec
def kitty_emit_check(transition: dict[str, Any], state: State) -> Iterable[Finding]:
    """Objections to a transition that is about to be recorded.

    When: before the status lock is taken, and once more if the ledger moved meanwhile. `transition` is the row to be.
    Wins: all are heard; one blocking finding refuses.
    Failure: fails closed, as a blocking finding.

    >>> @hookimpl
    ... def kitty_emit_check(transition, state):
    ...     if transition["to_lane"] == "approved" and transition["actor"] == "intern":
    ...         return [Finding("NOT_YET", "interns do not approve", "ask somebody else to review")]
    ...     return []
    """
    raise NotImplementedError


@spec
def kitty_emitted(event: dict[str, Any], mission: Mission) -> None:
    """A row of a ledger that is on disk.

    When: after the sync, outside every lock, once for each row of kitty's own.
    Wins: all are told.
    Failure: the fault is noted; the exit code does not change.

    >>> @hookimpl
    ... def kitty_emitted(event, mission):
    ...     if event.get("to_lane") == "blocked":
    ...         print(f"{event['wp_id']} of {mission.slug} needs somebody")
    """
    raise NotImplementedError


@spec(firstresult=True)
def kitty_lanes(packages: tuple[Package, ...], mission: Mission) -> Lanes | None:
    """The lanes for a mission's work packages.

    When: `kitty finalize`, before anything is written.
    Wins: the first that answers.
    Failure: `finalize` refuses.

    >>> @hookimpl
    ... def kitty_lanes(packages, mission):
    ...     from kitty_host.records import Lane, Lanes
    ...     return Lanes((Lane("lane-a", tuple(one.wp_id for one in packages), ()),))
    """
    raise NotImplementedError


@spec(firstresult=True)
def kitty_workspace(package: Package, mission: Mission) -> Workspace | None:
    """Allocate, or find again, the place where a work package is worked on.

    When: `kitty implement`, after the claim was recorded. Called again for the same work package it answers the same.
    Wins: the first that answers.
    Failure: the work package is blocked, with the cause.

    >>> @hookimpl
    ... def kitty_workspace(package, mission):
    ...     from kitty_host.records import Workspace
    ...     head = mission.repo.git.out("rev-parse", "HEAD")
    ...     return Workspace(package.wp_id, "lane-a", "main", mission.repo.root, head, head)
    """
    raise NotImplementedError


@spec(firstresult=True)
def kitty_find_workspace(package: Package, mission: Mission) -> Workspace | None:
    """Look where a work package is worked on; allocate nothing.

    When: by queries.
    Wins: the first that answers.
    Failure: error.

    >>> @hookimpl
    ... def kitty_find_workspace(package, mission):
    ...     return None
    """
    raise NotImplementedError


@spec(firstresult=True)
def kitty_submission(package: Package, mission: Mission) -> Submission | None:
    """What a work package has to show for review; for a planning artefact this makes the commit that shows it.

    When: `kitty submit`, before the transition is recorded.
    Wins: the first that answers.
    Failure: `submit` refuses.

    >>> @hookimpl
    ... def kitty_submission(package, mission):
    ...     from kitty_host.records import Submission
    ...     head = mission.repo.git.out("rev-parse", "HEAD")
    ...     return Submission(package.wp_id, head, (head,), ())
    """
    raise NotImplementedError


@spec(firstresult=True)
def kitty_forecast(mission: Mission) -> Forecast | None:
    """Whether the lanes would land as they are now; None where there is nothing to say yet.

    When: `kitty status`, for the one mission that is shown, while it is open and has lanes. Agents ask all day: keep what you found out.
    Wins: the first that answers.
    Failure: status shows no forecast and says so.

    >>> @hookimpl
    ... def kitty_forecast(mission):
    ...     from kitty_host.records import Forecast
    ...     return Forecast(clean=True)
    """
    raise NotImplementedError


@spec(firstresult=True)
def kitty_candidate(mission: Mission) -> Candidate | None:
    """The merged result of all lanes on the target, built aside.

    When: `kitty accept` and `kitty merge`. Moves no ref and touches no checkout.
    Wins: the first that answers.
    Failure: error.

    >>> @hookimpl
    ... def kitty_candidate(mission):
    ...     return None
    """
    raise NotImplementedError


@spec
def kitty_merge_check(candidate: Candidate) -> Iterable[Finding]:
    """Objections to a landing.

    When: `kitty merge`, before anything moves.
    Wins: all are heard; one blocking finding refuses.
    Failure: fails closed, as a blocking finding.

    >>> @hookimpl
    ... def kitty_merge_check(candidate):
    ...     import datetime
    ...     if datetime.date.today().weekday() == 4:
    ...         return [Finding("FRIDAY", "nothing lands on a Friday", "come back on Monday", "warn")]
    ...     return []
    """
    raise NotImplementedError


@spec(firstresult=True)
def kitty_merge(candidate: Candidate) -> Landing | None:
    """Land a candidate: move the target once, from old to new.

    When: `kitty merge`, after all checks. Wrappers may surround it.
    Wins: the first that answers.
    Failure: error; nothing is tried elsewhere.

    >>> @hookimpl(wrapper=True)
    ... def kitty_merge(candidate):
    ...     landing = yield
    ...     print(f"landed {landing.new}")
    ...     return landing
    """
    raise NotImplementedError


@spec
def kitty_merged(landing: Landing) -> None:
    """A mission that has landed.

    When: after the target moved and the checkouts follow.
    Wins: all are told.
    Failure: the fault is noted.

    >>> @hookimpl
    ... def kitty_merged(landing):
    ...     print(f"{landing.mission_id} is on {landing.target}")
    """
    raise NotImplementedError


@spec(firstresult=True)
def kitty_intake(source: Source) -> Brief | None:
    """Recognise a foreign plan and read it.

    When: `kitty intake`, with bytes that are within the cap; and, with the text that was stored, whenever somebody asks what is in it
    (`kitty brief`, `kitty mission create --from-brief`). A directory has `source.files`. Answer None for what you do not know.
    Wins: the first that recognises the source.
    Failure: error.

    >>> @hookimpl
    ... def kitty_intake(source):
    ...     import hashlib
    ...     from kitty_host.records import Brief
    ...     if not source.content.startswith(b"PLAN "):
    ...         return None
    ...     return Brief(source.name, source.content.decode(), hashlib.sha256(source.content).hexdigest(), len(source.content))
    """
    raise NotImplementedError


@spec
def kitty_intake_check(brief: Brief) -> Iterable[Finding]:
    """Objections to a brief that is about to be stored.

    When: `kitty intake`, before anything is written.
    Wins: all are heard; one blocking finding refuses, and so does one whose code the configuration names in `intake.block`.
    Failure: fails closed, as a blocking finding.

    >>> @hookimpl
    ... def kitty_intake_check(brief):
    ...     return [Finding("NO_GOAL", "the plan names no goal", "add a heading `Goal`", "warn")] if "Goal" not in brief.text else []
    """
    raise NotImplementedError


@spec(firstresult=True)
def kitty_brief(repo: Repo) -> Brief | None:
    """The stored brief, with its hash verified; None where there is none.

    When: `kitty mission create --from-brief` and `kitty brief`; what is in the text is then asked of `kitty_intake`.
    Wins: the first that answers.
    Failure: error.

    >>> @hookimpl
    ... def kitty_brief(repo):
    ...     return None
    """
    raise NotImplementedError


@spec(firstresult=True)
def kitty_next(state: State) -> Decision | None:
    """What to do next, as a pure function of the state.

    When: `kitty next`; `state.result` is None for a question. Wrappers may surround it.
    Wins: the first that answers.
    Failure: error.

    >>> @hookimpl(tryfirst=True)
    ... def kitty_next(state):
    ...     from kitty_host.records import Decision
    ...     if state.mission.meta.get("paused"):
    ...         return Decision("blocked", state.agent, state.mission.slug, state.mission.type, "implement", reason="paused")
    ...     return None
    """
    raise NotImplementedError


@spec
def kitty_mission_types() -> Iterable[MissionType | Path]:
    """Ways to run a mission: records, or the paths of files that say the same in YAML.

    When: a mission is created, and whenever its next step is asked for.
    Wins: all are listed. Each is checked; one that is not valid is named, with its path and line, and the others stay. Two with one key
    are both refused.
    Failure: its types are missing and the fault is noted; the others load.

    >>> @hookimpl
    ... def kitty_mission_types():
    ...     from pathlib import Path
    ...     from kitty_host.records import MissionType, Step
    ...     yield Path(__file__).with_name("audit.yaml")
    ...     yield MissionType("spike", "Spike", "1.0.0", (Step("explore", "Explore"), Step("report", "Report", artifact="report.md")))
    """
    raise NotImplementedError


@spec(firstresult=True)
def kitty_transport(issuer: str) -> Transport | None:
    """The authenticated transport to an issuer.

    When: something is about to be sent. A token goes only to the issuer that gave it.
    Wins: the first that answers.
    Failure: error; never falls through to an unauthenticated one.

    >>> @hookimpl
    ... def kitty_transport(issuer):
    ...     return None
    """
    raise NotImplementedError


@spec
def kitty_charter_sections(action: str) -> Iterable[Section]:
    """Rules for one action, in the order in which they shall be read.

    When: `kitty charter context`, and whenever a prompt is written.
    Wins: all are included.
    Failure: a visible note stands in place of the section.

    >>> @hookimpl
    ... def kitty_charter_sections(action):
    ...     from kitty_host.records import Section
    ...     return [Section("house-rules", "House rules", "Tests first.", directives=("DIR-001",))] if action == "implement" else []
    """
    raise NotImplementedError


@spec(firstresult=True)
def kitty_charter(action: str, sections: tuple[Section, ...], repo: Repo) -> Charter | None:
    """Everything that governs one action: the rules of the project around those of plugins, which are `sections`.

    When: `kitty charter context`, and, to record with a claim what an agent was given, `kitty implement` and `kitty review --claim`.
    Wins: the first that answers. Without an answer the sections of plugins stand alone; where there are none, a claim has no receipt.
    Failure: error; nothing is claimed.

    >>> @hookimpl
    ... def kitty_charter(action, sections, repo):
    ...     from kitty_host.records import Charter
    ...     return Charter(action, sections)
    """
    raise NotImplementedError


@spec(firstresult=True)
def kitty_charter_render(charter: Charter, mode: str) -> str | None:
    """The text that an agent is given.

    It lists the ids of each kind, and the anchors, in their order with nothing between two of them but signs; what else it says is free.

    When: after the sections were collected; `mode` is `bootstrap` or `compact`.
    Wins: the first that answers.
    Failure: error; `CHARTER_INCOMPLETE` where a list lacks something.

    >>> @hookimpl
    ... def kitty_charter_render(charter, mode):
    ...     from kitty_host.governance import KINDS, anchors, ids
    ...     return "\\n".join(", ".join(names) for names in (anchors(charter), *(ids(charter, kind) for kind in KINDS)))
    """
    raise NotImplementedError


@spec(firstresult=True)
def kitty_board_page(states: tuple[State, ...], links: tuple[tuple[str, str], ...]) -> Page | None:
    """The board as a web page, the same for `kitty board` and the hub.

    It is served with the policy that it names, at an address below which `events` tells when there is a new one: links are relative. The
    states have their `forecast` and their `recent` rows, and a `fault` in place of what could not be read. `links` are words, which can be
    anybody's, and addresses: what else whoever serves the page has to show. A hub's missions have no files.

    When: a browser asks for it.
    Wins: the first that answers.
    Failure: error.

    >>> @hookimpl
    ... def kitty_board_page(states):
    ...     from kitty_host.records import Page
    ...     return Page(f"<p>{len(states)} missions</p>")
    """
    raise NotImplementedError


@spec
def kitty_gates(candidate: Candidate) -> Iterable[Gate | Suite]:
    """Gates for a candidate: the verdict of one that takes no time, or the command of one that does.

    When: `kitty accept`. Where any plugin implements this, a landing needs an acceptance. A `Suite` is run afterwards, in a worktree of
    the candidate, with its own time limit, and its tests are counted in the report that it writes.
    Wins: all are asked; one that is not ok refuses.
    Failure: fails closed, as a gate that is not ok. So does one that takes longer than `plugins.timeout_seconds`.

    >>> @hookimpl
    ... def kitty_gates(candidate):
    ...     from kitty_host.records import Gate, Suite
    ...     yield Gate("has-licence", ok=candidate.mission.repo.git.succeeds("cat-file", "-e", f"{candidate.tip}:LICENSE"))
    ...     yield Suite("unit", "pytest tests --junitxml={report}", timeout_seconds=600, minimum_tests=20)
    """
    raise NotImplementedError


@spec(firstresult=True)
def kitty_acceptance(candidate: Candidate) -> Acceptance | None:
    """The acceptance that was recorded for exactly this candidate, once it has been looked at as if somebody had forged it.

    When: `kitty merge`, where any plugin implements `kitty_gates`.
    Wins: the first that answers.
    Failure: error; raise `MERGE_NOT_ACCEPTED` where there is none.

    >>> @hookimpl
    ... def kitty_acceptance(candidate):
    ...     return None
    """
    raise NotImplementedError


@spec
def kitty_doctor(repo: Repo) -> Iterable[Finding]:
    """What is wrong with a repository or its surroundings.

    When: `kitty doctor`. Look only.
    Wins: all are listed.
    Failure: the fault is noted.

    >>> @hookimpl
    ... def kitty_doctor(repo):
    ...     return [] if (repo.root / "LICENSE").exists() else [Finding("NO_LICENCE", "there is no LICENSE", "add one", "info")]
    """
    raise NotImplementedError
