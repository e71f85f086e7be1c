"""`kitty mission`: create, list and show missions."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import click

from kitty_host.api import KittyError
from kitty_host.briefs import stored_brief
from kitty_host.command import Invocation, command, group
from kitty_host.files import atomic_write
from kitty_host.inert import inert
from kitty_host.ledger.emit import emit
from kitty_host.ledger.event import envelope
from kitty_host.mission import META, Mission, encode_meta, read_mission, reserve
from kitty_host.plugins import missing
from kitty_host.records import Brief
from kitty_host.report import counted, shown
from kitty_host.state import mission_is_open
from kitty_runtime import branches
from kitty_runtime.discovery import mission_type, mission_types
from kitty_runtime.from_brief import Planned, plan
from kitty_runtime.types import command_of

mission = group("mission", help="Create, adopt, list and show missions.")


@command("create", agent=True, group=mission)
@click.argument("slug")
@click.option("--type", "type_", default="software-dev", show_default=True, help="The mission type.")
@click.option("--title", help="The name for people; default: from the brief, else the slug.")
@click.option("--target", metavar="BRANCH", help="The branch it lands on; default: the current one.")
@click.option("--from-brief", is_flag=True, help="Make spec and work packages from the stored brief.")
@click.option("--pr-bound", is_flag=True, help="It will be a pull request, so it must not start on its target.")
@branches.option
def create(
    call: Invocation,
    slug: str,
    type_: str,
    title: str | None,
    target: str | None,
    from_brief: bool,
    pr_bound: bool,
    branch_strategy: str | None,
) -> None:
    """Create a mission: a directory under kitty-specs/ with its identity and an empty ledger."""
    repo = call.repo
    if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", slug) or len(slug) > 60:
        raise KittyError(
            "MISSION_SLUG",
            f"{inert(slug, prose=True)} is no slug",
            "use lower-case letters, digits and single dashes, at most 60",
        )
    if repo.git.commit_of("HEAD") is None:
        raise KittyError(
            "REPO_EMPTY", f"{repo.root} has no commit to build on", "make one: git commit --allow-empty -m first"
        )
    chosen = mission_type(call.plugins, repo, type_)
    target = target or repo.current_branch()
    if target is None or repo.git.commit_of(f"refs/heads/{target}") is None:
        what = f"there is no branch {inert(target)}" if target else "HEAD is detached, so no branch to land on is known"
        raise KittyError(
            "BRANCH_STRATEGY_REQUIRED", what, "name an existing one with --target, or run: git switch BRANCH"
        )
    acknowledged = branches.acknowledged(call, target, branch_strategy) if pr_bound else None
    brief = _brief(call) if from_brief else None
    title = title or (inert(brief.title, prose=True) if brief else "") or slug.replace("-", " ").capitalize()
    planned = plan(brief, title) if brief else None
    mission_id, directory = reserve(repo, slug)
    name = directory.name
    now = datetime.now(UTC).isoformat(timespec="microseconds")
    meta: dict[str, Any] = {
        "mission_id": mission_id,
        "mission_slug": name,
        "slug": name,
        "friendly_name": title,
        "mission_type": chosen.key,
        "mission_number": None,
        "target_branch": target,
        "planning_base_branch": repo.current_branch() or target,
        "topology": "lanes",
        "flattened": False,
        "vcs": "git",
        "status_phase": "1",
        "created_at": now,
    }
    if brief:
        meta["source_description"] = f"brief {brief.sha256}"
    if pr_bound:
        meta["pr_bound"] = True
        meta["branch_strategy"] = acknowledged
    for path, content in planned.files.items() if planned else ():
        atomic_write(directory / path, content)
    # A directory is a mission by this file: after a crash there is a whole one or none.
    atomic_write(directory / META, encode_meta(meta))
    made = read_mission(repo, directory)
    count = len(planned.wp_ids) if planned else 0
    emit(call.plugins, made, lambda state: [] if state.snapshot.rows else [_created(made, now, count)])
    payload: dict[str, Any] = {
        "schema": "kitty.mission/1",
        "mission_id": mission_id,
        "slug": name,
        "dir": repo.relative(directory),
        "type": chosen.key,
        **branches.contract(made),
    }
    told = [f"Mission {name} will land on {target}."]
    if planned:
        told += _told(planned)
        payload |= {"packages": list(planned.wp_ids.values()), "settled": planned.settled}
        payload |= {"unknown": planned.unknown, "everything": planned.shared}
    others = any(mission_is_open(mission) for mission in call.missions if mission.slug != name)
    which = f" --mission {name}" if others else ""
    call.show(payload, "\n".join([*told, f"Next: kitty {command_of(chosen.steps[0])}{which}"]))


def _told(planned: Planned) -> list[str]:
    """What became of the tasks of a plan, for people."""
    told = []
    if planned.wp_ids:
        told.append(f"The plan has {counted(len(planned.wp_ids), 'open task')}, each of them a work package now.")
    if planned.settled:
        told.append(f"Not planned, because it is over: {_some(planned.settled)}.")
    if planned.unknown:
        told.append(f"Waited for, but not in the plan: {_some(planned.unknown)}.")
    if len(planned.wp_ids) > 1 and planned.shared:
        told.append(
            f"The plan names no files for {_some(planned.shared)}: what owns everything shares a lane with all others, "
            "so narrow owned_files before kitty finalize."
        )
    return told


def _some(names: Iterable[str]) -> str:
    shown = [inert(one) for one in names]
    return ", ".join(shown[:9]) + ", …" * (len(shown) > 9)


def _brief(call: Invocation) -> Brief:
    """The stored brief. Errors: `INTAKE_FILE_MISSING`, and `PLUGIN_MISSING` where nothing could store one."""
    if not call.plugins.implements("kitty_brief"):
        raise missing("nothing installed takes briefs in")
    brief = stored_brief(call.plugins, call.repo)
    if brief is None:
        raise KittyError("INTAKE_FILE_MISSING", "no brief is stored", "take one in first: kitty intake SOURCE")
    return brief


def _created(made: Mission, now: str, packages: int) -> dict[str, Any]:
    payload = {
        "created_at": now,
        "friendly_name": made.meta["friendly_name"],
        "mission_id": made.mission_id,
        "mission_number": None,
        "mission_slug": made.slug,
        "mission_type": made.type,
        # Nobody is asked what a mission is for, and the peer's model wants a text: its title is what is known.
        "purpose_context": made.meta["friendly_name"],
        "purpose_tldr": made.meta["friendly_name"],
        "target_branch": made.target,
        "wp_count": packages,
    }
    return envelope("MissionCreated", payload, aggregate_id=made.mission_id)


@command("adopt", agent=True, group=mission)
@click.argument("slug")
def adopt(call: Invocation, slug: str) -> None:
    """Fold the copy on spec-kitty's coordination branch into this checkout; from then on kitty writes here."""
    from kitty_runtime.adopt import adopt as fold

    call.selector = slug
    fold(call)


@command("list", group=mission)
def list_missions(call: Invocation) -> None:
    """List missions and whether they are open."""
    rows = [
        {
            "mission_id": one.mission_id,
            "slug": one.slug,
            "title": one.title,
            "target": one.target,
            "open": mission_is_open(one),
        }
        for one in call.missions
    ]
    text = [f"{'open  ' if row['open'] else 'closed'}  {row['slug']}  {row['title']}" for row in rows]
    text += [f"{error}\n  {error.hint}" for error in call.damaged]
    damaged = [shown(error) for error in call.damaged]
    call.show(
        {"schema": "kitty.missions/1", "missions": rows, "damaged": damaged},
        "\n".join(text) or "No missions yet: kitty mission create SLUG",
    )


@command("show", mission=True, group=mission)
def show(call: Invocation) -> None:
    """Show one mission."""
    one = call.mission
    state = call.state()
    payload = {
        "schema": "kitty.mission/1",
        "mission_id": one.mission_id,
        "slug": one.slug,
        "dir": call.repo.relative(one.directory),
        "title": one.title,
        "type": one.type,
        "target": one.target,
        "branch": one.branch,
        "open": state.is_open,
        "findings": [finding._asdict() for finding in one.package_findings],
    }
    described = {**payload, "type": inert(one.type), "target": inert(one.target)}
    call.show(
        payload,
        "\n".join(
            f"{key:11} {described[key]}" for key in ("slug", "mission_id", "title", "type", "target", "dir", "open")
        ),
    )


@command("types", group=mission)
def types(call: Invocation) -> None:
    """List mission types, the project's own among them."""
    try:
        here = call.place if call.place.initialized else None
    except KittyError:  # outside a repository there are those of the installed plugins
        here = None
    found = mission_types(call.plugins, here)
    rows = [
        {
            "key": one.key,
            "name": one.name,
            "version": one.version,
            "description": one.description,
            "source": one.source,
            "steps": [step.id for step in one.steps],
        }
        for one in sorted(found.known.values(), key=lambda one: one.key)
    ]
    text = [f"{row['key']}: {' > '.join(row['steps'])}" for row in rows]
    text += [f"{one.code}: {one.message}" for one in found.findings]
    payload = {"schema": "kitty.mission-types/1", "types": rows, "invalid": [one._asdict() for one in found.findings]}
    call.show(payload, "\n".join(text))
