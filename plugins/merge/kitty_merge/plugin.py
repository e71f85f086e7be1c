"""The manifest of kitty-merge: lanes, worktrees, landing."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from kitty_host.api import Command, Finding, hookimpl

if TYPE_CHECKING:
    from kitty_host.records import Candidate, Forecast, Landing, Lanes, Mission, Package, Submission, Workspace
    from kitty_host.repo import Repo


@hookimpl(trylast=True)
def kitty_commands() -> list[Command]:
    """`merge` and `lanes`."""
    return [
        Command("merge", "kitty_merge.cli:merge", "Land the mission: one move of the target, nothing lost."),
        Command("lanes", "kitty_merge.lanes_cli:lanes", "Show lanes, their environment; exchange them with a remote."),
    ]


@hookimpl(trylast=True)
def kitty_lanes(packages: "tuple[Package, ...]", mission: "Mission") -> "Lanes":
    """Lanes by dependencies and owned paths."""
    from kitty_merge.planner import plan

    return plan(packages, mission)


@hookimpl(trylast=True)
def kitty_workspace(package: "Package", mission: "Mission") -> "Workspace":
    """A branch and a worktree for the work package's lane."""
    from kitty_merge.workspace import allocate

    return allocate(package, mission)


@hookimpl(trylast=True)
def kitty_find_workspace(package: "Package", mission: "Mission") -> "Workspace | None":
    """The worktree, if there is one."""
    from kitty_merge.workspace import find

    return find(package, mission)


@hookimpl(trylast=True)
def kitty_submission(package: "Package", mission: "Mission") -> "Submission":
    """The lane's commits; a commit of the owned files for a planning artefact."""
    from kitty_merge.submission import submission

    return submission(package, mission)


@hookimpl(trylast=True)
def kitty_forecast(mission: "Mission") -> "Forecast | None":
    """Whether the lanes fit together now."""
    from kitty_merge.heads import read_heads

    heads = read_heads(mission)
    if not heads.branches:
        # So it is in many missions for long, and a status is asked for often.
        return None
    from kitty_merge.preview import forecast

    return forecast(mission, heads)


@hookimpl(trylast=True)
def kitty_candidate(mission: "Mission") -> "Candidate":
    """The merged result, built aside."""
    from kitty_merge.candidate import build

    return build(mission)


@hookimpl(trylast=True)
def kitty_merge_check(candidate: "Candidate") -> Iterable[Finding]:
    """Approvals, heads, lanes that nobody owns."""
    from kitty_merge.objections import objections, refs_of

    return objections(candidate, refs_of(candidate))


@hookimpl(trylast=True)
def kitty_doctor(repo: "Repo") -> Iterable[Finding]:
    """Landings that were interrupted."""
    from kitty_merge.journal import unfinished

    return [
        Finding(
            "MERGE_UNFINISHED",
            f"a landing of {mission_id} was interrupted",
            f"finish it: kitty merge --mission {mission_id}",
            "warn",
        )
        for mission_id in unfinished(repo)
    ]


@hookimpl(trylast=True)
def kitty_merge(candidate: "Candidate") -> "Landing":
    """Move the target once."""
    from kitty_merge.landing import land

    return land(candidate)
