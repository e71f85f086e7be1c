"""`kitty tracker`: bind a project to a tracker, exchange work packages with issues, see what stands open."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import click

from kitty_host.api import KittyError
from kitty_host.command import Invocation, command, group
from kitty_sync.switch import require_enabled

if TYPE_CHECKING:  # nothing here may load SQLite before it is known that sync is enabled
    from kitty_host.packages import Package
    from kitty_host.state import State
    from kitty_sync.tracker.engine import Direction, Exchange
    from kitty_sync.tracker.links import Links
    from kitty_sync.tracker.outcome import Outcome
    from kitty_sync.tracker.settings import Settings

SCHEMA = "kitty.tracker/1"

tracker = group("tracker", help="Keep work packages and the issues of a tracker alike.")

_wp = click.option("--wp", metavar="WP", help="Only this work package.")
_auto_drain = click.option(
    "--auto-drain", is_flag=True, help="Where the offline queue is full, drain this project's events to a file."
)
_recreate = click.option("--recreate", is_flag=True, help="With --wp: make another issue for one that is gone.")


@command("bind", group=tracker)
@click.argument("provider", type=click.Choice(["github", "beads"]))
@click.option(
    "--workspace", metavar="W", help="OWNER/REPOSITORY at GitHub; of Beads a name, `beads` unless it is said."
)
def bind(call: Invocation, provider: str, workspace: str | None) -> None:
    """Write down with which tracker this project is kept alike."""
    _require(call)
    from kitty_sync.tracker.connectors import require_workspace

    workspace = workspace or ("beads" if provider == "beads" else "")
    require_workspace(provider, workspace)
    config = call.repo.config
    before = config.data.get("tracker")
    if not isinstance(before, dict) or (before.get("provider"), before.get("workspace")) != (provider, workspace):
        config.set("tracker.provider", provider)
        config.set("tracker.workspace", workspace)
    payload = {"schema": SCHEMA, "provider": provider, "workspace": workspace}
    call.show(payload, f"Bound to {workspace} of {provider}; now: kitty tracker sync")


@command("pull", mission=True, group=tracker)
@_wp
@_auto_drain
def pull(call: Invocation, wp: str | None, auto_drain: bool) -> None:
    """Bring changes of issues into work packages. The files are left for people to commit."""
    _run(call, "pull", wp, auto_drain=auto_drain)


@command("push", mission=True, group=tracker)
@_wp
@_recreate
@_auto_drain
def push(call: Invocation, wp: str | None, recreate: bool, auto_drain: bool) -> None:
    """Bring changes of work packages to their issues, and make those that are missing."""
    _run(call, "push", wp, auto_drain=auto_drain, recreate=recreate)


@command("sync", mission=True, group=tracker)
@_wp
@_recreate
@_auto_drain
@click.option(
    "--field", type=click.Choice(["title", "body", "labels", "assignees"]), help="With --take: which field is meant."
)
@click.option("--take", type=click.Choice(["local", "remote"]), help="With --wp and --field: this side counts.")
def sync(call: Invocation, wp: str | None, recreate: bool, auto_drain: bool, field: str | None, take: Any) -> None:
    """Pull and push. Where both sides changed a field, tracker.fields decides, or you do with --take."""
    if bool(field) != bool(take) or (take and not wp):
        raise click.UsageError("--take goes with --wp and --field")
    _run(call, "sync", wp, auto_drain=auto_drain, recreate=recreate, taken={field: take} if field else {})


@command("status", mission=True, group=tracker)
def status(call: Invocation) -> None:
    """Say what is linked, and what differs on each side since it was last looked at. Nothing is asked of the tracker."""
    _require(call)
    from kitty_sync.tracker.view import view

    state = call.state()
    payload, text = view(state, _settings(call), _links(call))
    call.show({"schema": SCHEMA, **payload}, text)


def _run(
    call: Invocation,
    direction: Direction,
    wp: str | None,
    *,
    auto_drain: bool,
    recreate: bool = False,
    taken: dict[str, Any] | None = None,
) -> None:
    if recreate and not wp:
        raise click.UsageError("--recreate goes with --wp")
    _require(call)
    state = call.state()
    settings, links = _settings(call), _links(call)
    packages = (call.mission.package(wp),) if wp else state.packages
    from kitty_sync.account import filled
    from kitty_sync.queue import Queue
    from kitty_sync.settings import target
    from kitty_sync.tracker.failure import TrackerSyncFailed

    filled(call.repo, Queue(target()), auto_drain=auto_drain)
    with links.locked():
        exchange = _exchange(call, state, settings, links, direction, taken or {})
        _forget_gone(links, packages, recreate)
        try:
            exchange.run(packages)
        except TrackerSyncFailed as failure:
            # What was done until then is done, and is told.
            failure.details["done"] = _payload(exchange.outcome)
            raise
    outcome = exchange.outcome
    known = {"provider": settings.provider, "workspace": settings.workspace, "mission": call.mission.slug}
    call.show({"schema": SCHEMA, **known, **_payload(outcome)}, _text(outcome))


def _exchange(
    call: Invocation, state: State, settings: Settings, links: Links, direction: Direction, taken: dict[str, Any]
) -> Exchange:
    from kitty_sync.settings import project_of
    from kitty_sync.tracker.asking import Asking
    from kitty_sync.tracker.connectors import connect
    from kitty_sync.tracker.engine import Exchange
    from kitty_sync.tracker.matching import Matching
    from kitty_sync.tracker.outcome import Outcome

    def transport(issuer: str) -> Any:
        return call.plugins.required("kitty_transport", issuer=issuer)

    tracker = connect(settings.provider, settings.workspace, call.repo.root, transport)
    matching = Matching(
        Asking(tracker, links, settings.retry),
        project_of(call.repo),
        state.mission.mission_id,
        may_create=direction != "pull",
        outcome=Outcome(),
    )
    return Exchange(matching, state, settings.policies, direction, taken)


def _forget_gone(links: Links, packages: tuple[Package, ...], recreate: bool) -> None:
    """Only what the tracker said it does not have is forgotten."""
    for package in packages if recreate else ():
        link = links.links().get(package.wp_id)
        if link is not None and not link.gone:
            raise KittyError(
                "TRACKER_NOT_GONE",
                f"{package.wp_id} has an issue: {link.name}",
                "nothing is made again that is there; look at it: kitty tracker sync",
            )
        links.forget(package.wp_id)


def _require(call: Invocation) -> None:
    """Errors: `SYNC_DISABLED`, before anything is read; `EXTRA_MISSING`."""
    require_enabled()
    _ = call.repo
    if find_spec("spec_kitty_tracker") is None:
        raise KittyError(
            "EXTRA_MISSING",
            "kitty tracker needs the package spec-kitty-tracker, which is not installed",
            "run: pip install 'kitty-sync[tracker]'",
        )


def _settings(call: Invocation) -> Settings:
    from kitty_sync.tracker.connectors import require_workspace
    from kitty_sync.tracker.settings import settings_of

    settings = settings_of(call.repo)
    require_workspace(settings.provider, settings.workspace)
    return settings


def _links(call: Invocation) -> Links:
    from kitty_sync.tracker.links import Links

    settings = _settings(call)
    return Links(call.repo.state, settings.provider, settings.workspace, call.mission.mission_id)


def _payload(outcome: Outcome) -> dict[str, Any]:
    return {
        "created": outcome.created,
        "linked": outcome.linked,
        "pushed": outcome.pushed,
        "pulled": outcome.pulled,
        "conflicts": outcome.conflicts,
        "overruled": outcome.overruled,
        "findings": [finding._asdict() for finding in outcome.findings],
    }


def _text(outcome: Outcome) -> str:
    lines = [f"{one['wp']}: {one['issue']} made" for one in outcome.created]
    lines += [f"{one['wp']}: {one['issue']} found by its mark" for one in outcome.linked]
    lines += [f"{one['wp']}: {', '.join(one['fields'])} sent to {one['issue']}" for one in outcome.pushed]
    lines += [f"{one['wp']}: {', '.join(one['fields'])} written to {one['path']}" for one in outcome.pulled]
    for one in outcome.conflicts:
        lines += [f"{one['wp']}: both sides changed {one['field']}: {one['local']} here, {one['remote']} there"]
        lines += [f"  kitty tracker sync --wp {one['wp']} --field {one['field']} --take local|remote"]
    for finding in outcome.findings:
        lines += [f"{finding.code}: {finding.message}", *([f"  {finding.hint}"] if finding.hint else [])]
    lines += ["These files are not committed yet."] if outcome.pulled else []
    return "\n".join(lines) or "Both sides are alike."
