"""`kitty hub`: serve a team, and say who is in it. It works anywhere, without a repository and without sync being enabled."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import click

from kitty_host.api import KittyError
from kitty_host.command import Invocation, command, group
from kitty_host.inert import inert

if TYPE_CHECKING:
    from kitty_sync.hub.store import Store

hub = group("hub", help="Serve a team: take its events, keep each once, hand them out.")
user = group("user", help="Say who is in a team, and let devices in.")
hub.add_command(user)

_database = click.option(
    "--database", metavar="FILE", type=click.Path(path_type=Path), help="Where it keeps things; else in your state."
)


@command("serve", group=hub)
@_database
@click.option("--host", default="127.0.0.1", metavar="ADDRESS", help="Where to listen; loopback only.")
@click.option("--port", default=8770, type=click.IntRange(0, 65535), metavar="N", help="0: any that is free.")
def serve(call: Invocation, database: Path | None, host: str, port: int) -> None:
    """Serve until Ctrl-C."""
    path = _path(call, database)
    from kitty_sync.hub import serve as serving

    def listening(address: str) -> None:
        payload = {"schema": "kitty.hub/1", "address": address, "database": str(path)}
        call.show(payload, f"The hub is at {address}\nIt keeps what it is given in {path}\nCtrl-C ends it.")

    serving.serve(path, serving.listen(host, port), listening)


@command("add", group=user)
@click.argument("email")
@click.option("--team", required=True, metavar="SLUG", help="The team; it is made where it is new.")
@click.option("--role", default="writer", type=click.Choice(["owner", "writer", "reader"]), help="writer, if not said.")
@_database
def add(call: Invocation, email: str, team: str, role: str, database: Path | None) -> None:
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
def approve(call: Invocation, email: str, user_code: str, team: str | None, deny: bool, database: Path | None) -> None:
    """Let the device in that shows a code."""
    store = _store(call, database)
    import time

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
def aside(call: Invocation, team: str, database: Path | None) -> None:
    """Show the events of the released client that no model takes: kept, and handed to nobody."""
    store = _store(call, database)
    from kitty_sync.hub.released.aside import listed

    with store.reading() as connection:
        found = listed(connection, team)
    lines = [f"{one['event_id']}  {one['event_type']}  {inert(one['reason'])}" for one in found]
    call.show(
        {"schema": "kitty.hub.aside/1", "team": team, "events": found}, "\n".join(lines) or "Nothing is set aside."
    )


def _nobody(email: str, team: str | None, teams: list[str]) -> KittyError:
    if teams:
        return KittyError("TEAM_REQUIRED", f"{email} is in {', '.join(teams)}", "name one with --team", teams=teams)
    where = f"in {team}" if team else "in any team"
    return KittyError("USER_UNKNOWN", f"{email} is not {where}", f"run: kitty hub user add {email} --team SLUG")


def _store(call: Invocation, database: Path | None) -> Store:
    path = _path(call, database)
    from kitty_sync.hub.store import Store

    return Store(path)


def _path(call: Invocation, database: Path | None) -> Path:
    """The database that is meant. Errors: `EXTRA_MISSING`."""
    if any(find_spec(name) is None for name in ("sqlalchemy", "starlette", "uvicorn")):
        raise KittyError(
            "EXTRA_MISSING",
            "kitty hub needs packages that are not installed",
            "run: pip install 'kitty-sync[hub]'",
        )
    if database is not None:
        return (call.directory / database).absolute()
    from kitty_sync.hub.store import default_database

    return default_database()
