"""`kitty hub backup`, `restore`, `export`, `import` and `aside`: what it keeps, as a file or to look at."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from kitty_host.command import Invocation, command
from kitty_host.inert import inert
from kitty_host.report import note
from kitty_sync.hub.cli import base

if TYPE_CHECKING:
    from kitty_sync.hub.backup import Copy
    from kitty_sync.hub.carry import Tenant


@command("aside", group=base.hub)
@click.option("--team", required=True, metavar="SLUG", help="Whose.")
@base.database_option
def aside(call: Invocation, team: str, database: str | None) -> None:
    """Show the events of the released client that no model takes: kept, and handed to nobody."""
    store = base.store(call, database)
    from kitty_sync.hub.released.aside import listed

    with store.reading() as connection:
        found = listed(connection, team)
    lines = [f"{one['event_id']}  {one['event_type']}  {inert(one['reason'], prose=True)}" for one in found]
    call.show(
        {"schema": "kitty.hub.aside/1", "team": team, "events": found}, "\n".join(lines) or "Nothing is set aside."
    )


@command("backup", group=base.hub)
@click.argument("file", type=click.Path(path_type=Path))
@base.database_option
def backup(call: Invocation, file: Path, database: str | None) -> None:
    """Copy the hub's file while it serves, and look at the copy."""
    path = base.file(call, database)
    from kitty_sync.hub import backup as copies

    _show_copy(call, copies.back_up(path, (call.directory / file).absolute(), _told("copied")))


@command("restore", group=base.hub)
@click.argument("file", type=click.Path(path_type=Path))
@base.database_option
def restore(call: Invocation, file: Path, database: str | None) -> None:
    """Make the hub's file of a copy. Everybody logs in again."""
    path = base.file(call, database)
    from kitty_sync.hub import backup as copies

    _show_copy(call, copies.restore((call.directory / file).absolute(), path, _told("copied")))


def _show_copy(call: Invocation, copy: Copy) -> None:
    payload = {"path": str(copy.path), "bytes": copy.size, "teams": copy.teams, "events": copy.events}
    call.show({"schema": "kitty.hub.copy/1", **payload}, f"{copy.events} events of {copy.teams} teams in {copy.path}")


@command("export", group=base.hub)
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--team", required=True, metavar="SLUG", help="Whose events and members.")
@base.database_option
def export(call: Invocation, file: Path, team: str, database: str | None) -> None:
    """Write a team as lines of JSON, for another hub."""
    store = base.store(call, database)
    from kitty_sync.hub import carry

    target = (call.directory / file).absolute()
    with store.reading() as connection:
        tenant = carry.write(connection, team, target, _told("written"))
    _show_tenant(call, tenant, target)


@command("import", group=base.hub)
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@base.database_option
def import_(call: Invocation, file: Path, database: str | None) -> None:
    """Take in a team that another hub has written."""
    store = base.store(call, database, make=True)
    from kitty_sync.hub import carry
    from kitty_sync.hub.audit import by_command

    source = (call.directory / file).absolute()
    with store.writing() as connection:
        tenant = carry.take(connection, source, _told("taken in"), by_command())
    _show_tenant(call, tenant, source)


def _told(what: str) -> Callable[[int, int], None]:
    """Says how far something is, every two seconds."""
    last = time.monotonic()

    def tell(done: int, of: int = 0) -> None:
        nonlocal last
        if time.monotonic() - last > 2:
            last = time.monotonic()
            note(f"{done} {f'of {of} pages' if of else 'rows'} {what}")

    return tell


def _show_tenant(call: Invocation, tenant: Tenant, path: Path) -> None:
    payload = {"team": tenant.slug, "rows": tenant.rows, "digest": tenant.digest, "path": str(path)}
    call.show({"schema": "kitty.hub.tenant/1", **payload}, f"{tenant.slug}: {tenant.rows} rows, {tenant.digest[:16]}")
