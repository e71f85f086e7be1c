"""`kitty hub`: serve a team, and say who is in it. It works anywhere, without a repository and without sync being enabled."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
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

    from kitty_sync.hub.accounts import Member
    from kitty_sync.hub.backup import Copy
    from kitty_sync.hub.carry import Tenant
    from kitty_sync.hub.store import Store

hub = group("hub", help="Serve a team: take its events, keep each once, hand them out.")
user = group("user", help="Say who is in a team, and let devices in.")
token = group("token", help="See and end the sessions of a team.")
hub.add_command(user)
hub.add_command(token)

_NEEDED = (
    "alembic", "jinja2", "limits", "prometheus_client", "psycopg", "sqlalchemy", "starlette", "uvicorn", "websockets",
)  # fmt: skip
"""What the extra `hub` brings."""
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
@click.option("--address", default="", metavar="URL", help="What it calls itself behind a proxy that speaks TLS.")
@click.option("--behind-proxy", is_flag=True, help="Believe what a proxy says of who asks (X-Forwarded-For).")
@click.option(
    "--log", default="text", type=click.Choice(["text", "json"]), help="How requests are told; text, if not said."
)
@click.option("--connections", default=2000, type=click.IntRange(1), metavar="N", help="At once; 2000, if not said.")
@click.option(
    "--drain", default=0.0, type=click.FloatRange(0, 600), metavar="SECONDS", help="Not ready so long before it ends."
)
def serve(
    call: Invocation,
    database: str | None,
    host: str,
    port: int,
    address: str,
    behind_proxy: bool,
    log: str,
    connections: int,
    drain: float,
) -> None:
    """Serve until Ctrl-C."""
    url = _address(call, database)
    from kitty_sync.hub import board
    from kitty_sync.hub import log as lines
    from kitty_sync.hub import serve as serving
    from kitty_sync.hub.store import shown

    called = serving.public_address(address) if address else ""
    options = serving.Options(called, behind_proxy, log == "json", connections, drain)

    def listening(here: str) -> None:
        payload = {"schema": "kitty.hub/1", "address": here, "database": shown(url)}
        call.show(payload, f"The hub is at {here}\nIt keeps what it is given in {shown(url)}\nCtrl-C ends it.")
        if not call.plugins.implements(board.HOOK):
            lines.REQUESTS.warning("%s; to have a board: %s", board.absent().message, board.absent().hint)

    serving.serve(url, serving.listen(host, port), listening, options, call.plugins)


@command("setup", group=hub)
@click.argument("email")
@click.option("--team", required=True, metavar="SLUG", help="The team, which is made with this owner.")
@_database
def setup(call: Invocation, email: str, team: str, database: str | None) -> None:
    """Make a first team and print tokens, without a browser.

    An owner of the team gets new tokens each time; a team of others is left alone.
    """
    store = _store(call, database)

    from kitty_sync.hub import accounts, tokens
    from kitty_sync.hub.audit import by_command

    now, by = time.time(), by_command()
    with store.writing() as connection:
        known = [one.email for one in accounts.everybody(connection, team) if one.role == accounts.OWNER]
        if email.lower() not in known and accounts.exists(connection, team):
            hint = f"run: kitty hub user add {email} --team {team} --role owner"
            raise KittyError("TEAM_EXISTS", f"there is a team {team}, and {email} is no owner of it", hint)
        member = accounts.add(connection, email, team, accounts.OWNER, by=by, now=now)
        pair = tokens.open_session(connection, member.user_id, member.team_id, now, by)
    given = {"access_token": pair.access_token, "refresh_token": pair.refresh_token, "session_id": pair.session_id}
    text = f"{member.email} owns {team}.\naccess token (15 minutes): {pair.access_token}\nrefresh token: {pair.refresh_token}"
    call.show({"schema": "kitty.hub.setup/1", **member.shown(), **given, "expires_in": tokens.ACCESS_SECONDS}, text)


@command("audit", group=hub)
@click.option("--team", metavar="SLUG", help="Of one team; else of all.")
@click.option("--limit", default=1000, type=click.IntRange(1), metavar="N", help="The last ones; 1000, if not said.")
@_database
def audit(call: Invocation, team: str | None, limit: int, database: str | None) -> None:
    """What was done to accounts, roles, tokens and sessions, and what was refused; the oldest first."""
    store = _store(call, database)
    from kitty_sync.hub import accounts
    from kitty_sync.hub import audit as log

    with store.reading() as connection:
        if team is not None:
            accounts.team_of(connection, team)
        found = log.entries(connection, team, limit)
    for one in found:
        one["at"] = _time(one["at"])
    lines = [" ".join(str(value) for value in one.values() if value) for one in found]
    call.show({"schema": "kitty.hub.audit/1", "entries": found}, "\n".join(lines))


@command("add", group=user)
@click.argument("email")
@click.option("--team", required=True, metavar="SLUG", help="The team; it is made where it is new.")
@click.option("--role", default="writer", type=click.Choice(["owner", "writer", "reader"]), help="writer, if not said.")
@_database
def add(call: Invocation, email: str, team: str, role: str, database: str | None) -> None:
    """Put somebody into a team, or give another role there."""
    store = _store(call, database)
    from kitty_sync.hub import accounts
    from kitty_sync.hub.audit import by_command

    with store.writing() as connection:
        member = accounts.add(connection, email, team, role, by=by_command())
    text = f"{member.email} is {member.role} in {member.team_slug}."
    call.show({"schema": "kitty.hub.user/1", **member.shown()}, text)


@command("list", group=user)
@click.option("--team", metavar="SLUG", help="Of one team; else of all.")
@_database
def users(call: Invocation, team: str | None, database: str | None) -> None:
    """Who is in which team, as what."""
    store = _store(call, database)
    from kitty_sync.hub import accounts

    with store.reading() as connection:
        if team is not None:
            accounts.team_of(connection, team)
        found = accounts.everybody(connection, team)
    text = "\n".join(f"{one.team_slug} {one.role} {one.email}" for one in found)
    call.show({"schema": "kitty.hub.users/1", "members": [one.shown() for one in found]}, text)


@command("remove", group=user)
@click.argument("email")
@click.option("--team", required=True, metavar="SLUG", help="Out of which team.")
@_database
def remove(call: Invocation, email: str, team: str, database: str | None) -> None:
    """Take somebody out of a team; what is signed in as this one there is over."""
    store = _store(call, database)

    from kitty_sync.hub import accounts
    from kitty_sync.hub.audit import by_command

    with store.writing() as connection:
        who = _meant(accounts.memberships(connection, email, team), email, team)
        accounts.remove(connection, who, time.time(), by_command())
    call.show({"schema": "kitty.hub.user/1", **who.shown(), "role": None}, f"{who.email} is not in {team} any more.")


@command("approve", group=user)
@click.argument("email")
@click.argument("user_code")
@click.option("--team", metavar="SLUG", help="As a member of which team, where there are several.")
@click.option("--deny", is_flag=True, help="Do not let it in.")
@_database
def approve(call: Invocation, email: str, user_code: str, team: str | None, deny: bool, database: str | None) -> None:
    """Let the device or the browser in that shows a code."""
    store = _store(call, database)
    from kitty_sync.hub import accounts, device
    from kitty_sync.hub.audit import by_command

    with store.writing() as connection:
        who = _meant(accounts.memberships(connection, email, team), email, team)
        device.decide(connection, user_code, who, time.time(), approve=not deny, by=by_command())
    state = "denied" if deny else "approved"
    text = f"The device is {state}: {who.email} in {who.team_slug}."
    call.show({"schema": "kitty.hub.approval/1", **who.shown(), "state": state}, text)


@command("link", group=user)
@click.argument("email")
@click.option("--team", metavar="SLUG", help="In which team, where there are several.")
@_database
def link(call: Invocation, email: str, team: str | None, database: str | None) -> None:
    """Print a link that signs somebody in, once, within five minutes."""
    store = _store(call, database)

    from kitty_sync.hub import accounts, signin
    from kitty_sync.hub.audit import by_command

    with store.writing() as connection:
        who = _meant(accounts.memberships(connection, email, team), email, team)
        address = signin.told_address(connection) or "http://127.0.0.1:8770"
        url = f"{address}/signin/link?token={signin.make_link(connection, who, time.time(), by_command())}"
    call.show({"schema": "kitty.hub.link/1", **who.shown(), "url": url, "expires_in": signin.LINK_SECONDS}, url)


@command("list", group=token)
@click.option("--team", required=True, metavar="SLUG", help="Of which team.")
@_database
def sessions(call: Invocation, team: str, database: str | None) -> None:
    """The sessions of a team, of programs and of browsers: who, since when, when it was last seen. No secrets."""
    store = _store(call, database)

    from kitty_sync.hub import accounts, signin, tokens

    with store.reading() as connection:
        team_id, now = accounts.team_of(connection, team), time.time()
        found = [*tokens.alive(connection, team_id, now), *signin.alive(connection, team_id, now)]
    for one in found:
        one |= {"created_at": _time(one["created_at"]), "used_at": _time(one["used_at"])}
    lines = [
        f"{one['id']} {one['kind']} {one['email']} since {one['created_at']}, last {one['used_at']}" for one in found
    ]
    call.show({"schema": "kitty.hub.sessions/1", "sessions": found}, "\n".join(lines))


@command("revoke", group=token)
@click.argument("session_id")
@_database
def revoke(call: Invocation, session_id: str, database: str | None) -> None:
    """End a session, of a program or of a browser, at once."""
    store = _store(call, database)

    from kitty_sync.hub import signin, tokens
    from kitty_sync.hub.audit import by_command

    now, by = time.time(), by_command()
    with store.writing() as connection:
        ended = [end(connection, session_id, now, by, "session.ended") for end in (tokens.end, signin.end)]
    if not any(ended):
        raise KittyError("SESSION_UNKNOWN", "no such session is going on", "run: kitty hub token list --team SLUG")
    call.show({"schema": "kitty.hub.session/1", "session_id": session_id, "ended": True}, f"{session_id} is over.")


def _meant(found: list[Member], email: str, team: str | None) -> Member:
    """The one. Errors: `TEAM_REQUIRED`, `USER_UNKNOWN`."""
    if len(found) != 1:
        raise _nobody(email, team, [one.team_slug for one in found])
    return found[0]


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


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
    if any(
        find_spec(name) is None
        for name in (
            "alembic",
            "jinja2",
            "limits",
            "prometheus_client",
            "psycopg",
            "sqlalchemy",
            "starlette",
            "uvicorn",
            "websockets",
        )
    ):
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
