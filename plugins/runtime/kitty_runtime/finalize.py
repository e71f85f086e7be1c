"""`kitty finalize`: check the work packages, give them lanes, open them for work. Running it again changes only what changed."""

from __future__ import annotations

from itertools import takewhile

import click

from kitty_host.api import Finding, KittyError
from kitty_host.command import Invocation, command
from kitty_host.inert import inert
from kitty_host.lanes import FILE, lane_ids, plan_ref, write_lanes
from kitty_host.ledger.emit import emit
from kitty_host.ledger.event import Row, envelope, transition
from kitty_host.ledger.machine import CANCELED, GENESIS, PLANNED
from kitty_host.mission import META, Mission
from kitty_host.packages import Package
from kitty_host.records import Lanes
from kitty_host.report import counted, warn
from kitty_host.state import State
from kitty_runtime.branches import contract, told
from kitty_runtime.commits import commit_files
from kitty_runtime.completeness import coverage, missing
from kitty_runtime.discovery import mission_type
from kitty_runtime.packages import outside
from kitty_runtime.types import TASKS, WRITE, command_of

ACTOR = "finalize-tasks"


@command("finalize", mission=True, agent=True)
@click.option("--check", is_flag=True, help="Check only; change nothing.")
def finalize(call: Invocation, check: bool) -> None:
    """Give work packages their lanes and open them for work."""
    mission = call.mission
    findings = _findings(call)
    for finding in findings:
        if finding.severity == "block":
            raise KittyError(finding.code, finding.message, finding.hint, findings=[one._asdict() for one in findings])
    lanes: Lanes = call.plugins.required("kitty_lanes", packages=mission.packages, mission=mission)
    _refuse_to_move_what_has_begun(call, lanes)
    findings += _rides_along(mission)
    if not check:
        _write(call, mission, lanes)
    for finding in findings:
        warn(finding.code, finding.message, finding.hint)
    rows = [{"lane_id": lane.lane_id, "wp_ids": lane.wp_ids, "depends_on": lane.depends_on} for lane in lanes.lanes]
    branches = contract(mission)
    text = [f"{lane.lane_id:14} {', '.join(lane.wp_ids)}{_after(lane.depends_on)}" for lane in lanes.lanes]
    text += [f"{one['wp_a']} and {one['wp_b']} share a lane: {one['evidence']}" for one in lanes.collapses]
    call.show(
        {
            "schema": "kitty.finalize/1",
            "packages": [package.wp_id for package in mission.packages],
            "lanes": rows,
            "collapses": lanes.collapses,
            "findings": [finding._asdict() for finding in findings],
            **branches,
        },
        "\n".join(
            [
                *text,
                *filter(None, [told(branches)]),
                "Checked; nothing was changed." if check else f"Next: kitty next{call.which}",
            ]
        ),
    )


def _refuse_to_move_what_has_begun(call: Invocation, lanes: Lanes) -> None:
    """Work that somebody is at, or that is approved, stays in its lane. Errors: `LANES_BEGUN`."""
    state, before = call.state(), lane_ids(call.mission)
    after = {wp_id: lane.lane_id for lane in lanes.lanes for wp_id in lane.wp_ids}
    for wp_id, lane_id in before.items():
        if state.lane(wp_id) not in (GENESIS, PLANNED, CANCELED) and after.get(wp_id) != lane_id:
            where = f"move to {after[wp_id]}" if wp_id in after else "be in no lane"
            raise KittyError(
                "LANES_BEGUN",
                f"{wp_id} has begun in {lane_id} and would {where}",
                "leave its file, its dependencies and the paths that it shares with others as they were",
                wp_id=wp_id,
            )


def _rides_along(mission: Mission) -> list[Finding]:
    """Commits of the branch that holds the plan, which the target lacks and which would land with the lanes."""
    git = mission.repo.git
    own = mission.repo.relative(mission.directory)
    if git.commit_of(f"refs/heads/{mission.target}") is None:
        return []
    commits = git.lines("rev-list", "HEAD", "--not", f"refs/heads/{mission.target}")
    others = [
        one for one, paths in git.paths_of(commits).items() if any(not path.startswith(f"{own}/") for path in paths)
    ]
    if not others:
        return []
    subject = inert(git.out("log", "-1", "--format=%s", others[0]), prose=True)
    return [
        Finding(
            "PLAN_ELSEWHERE",
            f"{counted(len(others), 'commit')} that {mission.target} lacks will land with the lanes, such as: {subject}",
            f"land them first, or plan on {mission.target}",
            "warn",
        )
    ]


def _after(lanes: tuple[str, ...]) -> str:
    return f"   after {', '.join(lanes)}" if lanes else ""


def _findings(call: Invocation) -> list[Finding]:
    mission = call.mission
    findings = list(mission.package_findings)
    if not mission.packages:
        findings.append(Finding("WP_NOT_FOUND", f"{mission.slug} has no work packages", "write them: kitty tasks"))
    for package in mission.packages:
        if not package.owned_files:
            findings.append(
                Finding(
                    "OWNED_FILES_MISSING",
                    f"{package.wp_id} owns no files",
                    f"list them in {package.path} under owned_files",
                )
            )
        elif bad := outside(package):
            findings.append(
                Finding(
                    "OWNED_FILES_OUTSIDE", f"{package.wp_id} owns {inert(bad[0])}", "name paths inside the repository"
                )
            )
    everything = [one.wp_id for one in mission.packages if "**" in one.owned_files and not one.planning]
    if everything and len(mission.packages) > 1:
        shown = ", ".join(everything[:9]) + ", …" * (len(everything) > 9)
        findings.append(
            Finding(
                "OWNED_FILES_EVERYTHING",
                f"{shown} may change any file (**), so all packages are in one lane and are worked on one after the other",
                "to work side by side name the files of each under owned_files, and run: kitty finalize",
                "warn",
            )
        )
    findings += _unfinished(call)
    findings += coverage(mission)
    return findings


def _unfinished(call: Invocation) -> list[Finding]:
    """What the steps before this one still lack; work may begin all the same."""
    mission = call.mission
    try:
        found = mission_type(call.plugins, call.repo, mission.type)
    except KittyError as error:
        return [Finding(error.code, error.message, error.hint, "warn")]
    before = takewhile(lambda step: step.action != TASKS, found.steps)
    return [
        Finding("ARTEFACT_INCOMPLETE", line, f"run: kitty {command_of(step)}", "warn", step.artifact)
        for step in before
        if step.action == WRITE
        for line in missing(mission, step)
    ]


def _write(call: Invocation, mission: Mission, lanes: Lanes) -> None:
    repo = call.repo
    files = [repo.relative(mission.directory / package.path) for package in mission.packages]
    commit_files(repo, [repo.relative(mission.directory / META), *files], f"Work packages of {mission.slug}")
    planned = lanes.planning_commit or repo.git.out("rev-parse", "HEAD")
    write_lanes(mission, lanes._replace(planning_commit=planned))
    commit_files(repo, [repo.relative(mission.directory / FILE)], f"Lanes of {mission.slug}")
    repo.git.run("update-ref", plan_ref(mission), "HEAD")
    emit(call.plugins, mission, lambda state: [row for package in mission.packages for row in _seed(state, package)])
    mission.ledger.checkpoint(repo.git, f"Finalize {mission.slug}\n")


def _seed(state: State, package: Package) -> list[Row]:
    """The first rows of a work package that the ledger does not know."""
    if state.lane(package.wp_id) != GENESIS:
        return []
    mission = state.mission
    payload = {
        "actor": ACTOR,
        "created_at": None,
        "depends_on": list(package.dependencies),
        "mission_number": None,
        "mission_slug": mission.slug,
        "wp_id": package.wp_id,
        "wp_path": f"{mission.repo.relative(mission.directory)}/{package.path}",
        "wp_title": package.title,
    }
    return [
        envelope("WPCreated", payload, aggregate_id=package.wp_id, aggregate_type="WorkPackage"),
        transition(
            package.wp_id,
            GENESIS,
            PLANNED,
            actor=ACTOR,
            mission_id=mission.mission_id,
            mission_slug=mission.slug,
            direct=package.planning,
        ),
    ]
