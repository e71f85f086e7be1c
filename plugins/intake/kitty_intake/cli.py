"""`kitty intake` and `kitty brief`."""

from __future__ import annotations

import click
from attrs import evolve

from kitty_host.api import Finding, KittyError
from kitty_host.briefs import stored_brief
from kitty_host.command import Invocation, command
from kitty_host.inert import inert
from kitty_host.records import Brief, Source
from kitty_host.report import counted, warn
from kitty_intake.brief import BRIEF, SIDECAR, envelope, require_room, store
from kitty_intake.checks import CHECKS
from kitty_intake.source import (
    find_plan,
    intake_root,
    is_directory,
    read_directory,
    read_inside,
    read_outside,
    read_stdin,
    settings,
)
from kitty_intake.text import plain_text


@command("intake")
@click.argument("source", required=False)
@click.option("--from-outside", "outside", metavar="FILE", help="Take a file, directory, FIFO or device from anywhere.")
@click.option("--auto", is_flag=True, help="Take the plan that a coding agent left in its usual place.")
@click.option("--force", is_flag=True, help="Replace the brief that is there.")
def intake(call: Invocation, source: str | None, outside: str | None, auto: bool, force: bool) -> None:
    """Take a foreign plan in as the brief: SOURCE, a file or directory of this repository, or - for standard input."""
    if (source is not None) + (outside is not None) + auto != 1:
        raise click.UsageError("give exactly one of SOURCE, -, --from-outside FILE and --auto")
    repo = call.repo
    root = intake_root(repo)
    require_room(repo, force=force)
    directory, agent = call.directory, ""
    if auto:
        directory = root
        source, agent = find_plan(root)
    if outside is not None:
        taken = read_outside(repo, directory, outside)
    elif source is None or source == "-":
        taken = read_stdin(repo)
    elif is_directory(directory / source):
        taken = read_directory(repo, root, directory, source)
    else:
        taken = read_inside(repo, root, directory, source)
    plan = _recognise(call, taken)
    if agent:
        plan = evolve(plan, extra={**plan.extra, "source_agent": agent})
    findings = _check(call, plan)
    store(repo, root, taken, plan, force=force)
    text = f"{BRIEF}: {len(taken.content)} bytes from {inert(taken.name)}, {_found(plan)}"
    call.show({"schema": "kitty.intake/1", **_outline(plan), "findings": [one._asdict() for one in findings]}, text)


@command("brief")
def brief(call: Invocation) -> None:
    """Show the brief that was taken in, after checking that nobody changed it."""
    plan = stored_brief(call.plugins, call.repo)
    if plan is None:
        raise KittyError(
            "INTAKE_FILE_MISSING", f"there is no brief: {BRIEF}", "take a plan in with: kitty intake SOURCE"
        )
    shown = envelope(plan.name, str(plan.extra.get("ingested_at", "")), plan.text.encode()).decode()
    call.show({"schema": "kitty.brief/1", **_outline(plan), "text": plan.text}, shown)


def _recognise(call: Invocation, source: Source) -> Brief:
    # What no plugin knows is not even plain text; saying why is left to the one that looked last.
    plan: Brief = call.plugins.first("kitty_intake", source=source) or plain_text(source)
    if not plan.text.lstrip("\ufeff").strip():
        raise KittyError("INTAKE_EMPTY", f"{inert(source.name)} has no text", "write the plan first")
    return plan


def _check(call: Invocation, plan: Brief) -> list[Finding]:
    """The objections that do not block, each printed with how to mend it."""
    block = settings(call.repo).block
    unknown = {one for one in block if one.startswith("INTAKE_")} - {one.code for one in CHECKS}
    if unknown:
        raise KittyError(
            "CONFIG_INVALID",
            f"intake.block names {', '.join(sorted(map(inert, unknown)))}, which is no code of a check",
            f"take it out of .kittify/config.yaml, or name one of: {', '.join(one.code for one in CHECKS)}",
        )
    findings = [
        one._replace(severity="block") if one.code in block else one
        for one in call.plugins.findings("kitty_intake_check", brief=plan)
    ]
    for one in findings:
        if one.severity == "block":
            raise KittyError(one.code, one.message, one.hint, findings=[other._asdict() for other in findings])
    for one in findings:
        warn(one.code, one.message, one.hint)
    return findings


def _found(plan: Brief) -> str:
    """What was understood, for people: `spec-kit, 12 requirements, 5 tasks, 1 of them over`."""
    over = sum(bool(one.settled) for one in plan.packages)
    told = [inert(plan.format or "text")]
    told += [counted(len(plan.requirements), "requirement")] if plan.requirements else []
    told += [counted(len(plan.packages), "task")] if plan.packages else []
    told += [f"{over} of them over"] if over else []
    return ", ".join(told)


def _outline(plan: Brief) -> dict[str, object]:
    return {
        "brief": BRIEF,
        "sidecar": SIDECAR,
        "source": inert(plan.name),
        "title": inert(plan.title, prose=True),
        "sha256": plan.sha256,
        "size_bytes": plan.size_bytes,
        "format": plan.format,
        "requirements": len(plan.requirements),
        "packages": len(plan.packages),
    }
