"""`kitty hub`: serve a team, and say who is in it. It works anywhere, without a repository and without sync being enabled."""

from __future__ import annotations

import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import click

from kitty_host.api import KittyError
from kitty_host.command import Invocation, command, group
from kitty_host.inert import inert
from kitty_host.report import note

if TYPE_CHECKING:
    from sqlalchemy import URL

    from kitty_sync.hub.backup import Copy
    from kitty_sync.hub.carry import Tenant
    from kitty_sync.hub.store import Store

hub = group("hub", help="Serve a team: take its events, keep each once, hand them out.")
user = group("user", help="Say who is in a team, and let devices in.")
hub.add_command(user)

_database = click.option(
    "--database",
    metavar="FILE|postgresql://…",
    envvar="KITTY_HUB_DATABASE",
    help="Where it keeps things; else in KITTY_HUB_DATABASE, or in your state.",
)


@command("serve", group=hub)
@_database
@click.option("--host", default="127.0.0.1", metavar="ADDRESS", help="Where to listen; loopback only.")
@click.option("--port", default=8770, type=click.IntRange(0, 65535), metavar="N", help="0: any that is free.")
def serve(call: Invocation, database: str | None, host: str, port: int) -> None:
    """Serve until Ctrl-C."""
    url = _address(call, database)
    from kitty_sync.hub import serve as serving
    from kitty_sync.hub.store import shown

    def listening(address: str) -> None:
        payload = {"schema": "kitty.hub/1", "address": address, "database": shown(url)}
        call.show(payload, f"The hub is at {address}\nIt keeps what it is given in {shown(url)}\nCtrl-C ends it.")

    serving.serve(url, serving.listen(host, port), listening)


@command("add", group=user)
@click.argument("email")
@click.option("--team", required=True, metavar="SLUG", help="The team; it is made where it is new.")
@click.option("--role", default="writer", type=click.Choice(["owner", "writer", "reader"]), help="writer, if not said.")
@_database
def add(call: Invocation, email: str, team: str, role: str, database: str | None) -> None:
    """Put somebody into a team, or give another role there."""
    store = _store(call, database)
    from kitty_sync.hub import accounts

    with store.writing() as connection:
        member = accounts.add(connection, email, team, role)
    text = f"{member.email} is {member.role} in {member.team_slug}."
    call.show({"schema": "kitty.hub.user/1", **member.shown()}, text)


@command("approve", group=user)
@click.argument("email")
@click.argument("user_code")
@click.option("--team", metavar="SLUG", help="As a member of which team, where there are several.")
@click.option("--deny", is_flag=True, help="Do not let it in.")
@_database
def approve(call: Invocation, email: str, user_code: str, team: str | None, deny: bool, database: str | None) -> None:
    """Let the device in that shows a code."""
    store = _store(call, database)
    from kitty_sync.hub import accounts, device

    with store.writing() as connection:
        found = accounts.memberships(connection, email, team)
        if len(found) != 1:
            raise _nobody(email, team, [one.team_slug for one in found])
        device.decide(connection, user_code, found[0], time.time(), approve=not deny)
    state = "denied" if deny else "approved"
    text = f"The device is {state}: {found[0].email} in {found[0].team_slug}."
    call.show({"schema": "kitty.hub.approval/1", **found[0].shown(), "state": state}, text)


@command("aside", group=hub)
@click.option("--team", required=True, metavar="SLUG", help="Whose.")
@_database
def aside(call: Invocation, team: str, database: str | None) -> None:
    """Show the events of the released client that no model takes: kept, and handed to nobody."""
    store = _store(call, database)
    from kitty_sync.hub.released.aside import listed

    with store.reading() as connection:
        found = listed(connection, team)
    lines = [f"{one['event_id']}  {one['event_type']}  {inert(one['reason'], prose=True)}" for one in found]
    call.show(
        {"schema": "kitty.hub.aside/1", "team": team, "events": found}, "\n".join(lines) or "Nothing is set aside."
    )


@command("backup", group=hub)
@click.argument("file", type=click.Path(path_type=Path))
@_database
def backup(call: Invocation, file: Path, database: str | None) -> None:
    """Copy the hub's file while it serves, and look at the copy."""
    path = _file(call, database)
    from kitty_sync.hub import backup as copies

    _show_copy(call, copies.back_up(path, (call.directory / file).absolute(), _told("copied")))


@command("restore", group=hub)
@click.argument("file", type=click.Path(path_type=Path))
@_database
def restore(call: Invocation, file: Path, database: str | None) -> None:
    """Make the hub's file of a copy. Everybody logs in again."""
    path = _file(call, database)
    from kitty_sync.hub import backup as copies

    _show_copy(call, copies.restore((call.directory / file).absolute(), path, _told("copied")))


def _show_copy(call: Invocation, copy: Copy) -> None:
    payload = {"path": str(copy.path), "bytes": copy.size, "teams": copy.teams, "events": copy.events}
    call.show({"schema": "kitty.hub.copy/1", **payload}, f"{copy.events} events of {copy.teams} teams in {copy.path}")


@command("export", group=hub)
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--team", required=True, metavar="SLUG", help="Whose events and members.")
@_database
def export(call: Invocation, file: Path, team: str, database: str | None) -> None:
    """Write a team as lines of JSON, for another hub."""
    store = _store(call, database)
    from kitty_sync.hub import carry

    target = (call.directory / file).absolute()
    with store.reading() as connection:
        tenant = carry.write(connection, team, target, _told("written"))
    _show_tenant(call, tenant, target)


@command("import", group=hub)
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@_database
def import_(call: Invocation, file: Path, database: str | None) -> None:
    """Take in a team that another hub has written."""
    store = _store(call, database)
    from kitty_sync.hub import carry

    source = (call.directory / file).absolute()
    with store.writing() as connection:
        tenant = carry.take(connection, source, _told("taken in"))
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


def _nobody(email: str, team: str | None, teams: list[str]) -> KittyError:
    if teams:
        return KittyError("TEAM_REQUIRED", f"{email} is in {', '.join(teams)}", "name one with --team", teams=teams)
    where = f"in {team}" if team else "in any team"
    return KittyError("USER_UNKNOWN", f"{email} is not {where}", f"run: kitty hub user add {email} --team SLUG")


def _store(call: Invocation, database: str | None) -> Store:
    url = _address(call, database)
    from kitty_sync.hub.store import Store

    return Store(url)


def _address(call: Invocation, database: str | None) -> URL:
    """The database that is meant. Errors: `EXTRA_MISSING`, `HUB_DATABASE`."""
    if any(find_spec(name) is None for name in ("sqlalchemy", "alembic", "psycopg", "starlette", "uvicorn")):
        raise KittyError(
            "EXTRA_MISSING",
            "kitty hub needs packages that are not installed",
            "run: pip install 'kitty-sync[hub]'",
        )
    from kitty_sync.hub.store import address_of, default_database

    return address_of(database or str(default_database()), call.directory)


def _file(call: Invocation, database: str | None) -> Path:
    """The file that is meant. Errors: `HUB_NOT_A_FILE`, and as `_address`."""
    url = _address(call, database)
    if url.drivername != "sqlite":
        raise KittyError("HUB_NOT_A_FILE", "this hub keeps things in a PostgreSQL", "copy it with its tools: pg_dump")
    return Path(str(url.database))
