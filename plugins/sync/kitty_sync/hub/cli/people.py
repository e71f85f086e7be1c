"""`kitty hub setup`, `user`, `token` and `audit`: who is in a team, who is let in, and what was done."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from kitty_host.api import KittyError
from kitty_host.command import Invocation, command
from kitty_sync.hub.cli import base

if TYPE_CHECKING:
    from kitty_sync.hub.accounts import Member


@command("setup", group=base.hub)
@click.argument("email")
@click.option("--team", required=True, metavar="SLUG", help="The team, which is made with this owner.")
@base.database_option
def setup(call: Invocation, email: str, team: str, database: str | None) -> None:
    """Make a first team and print tokens, without a browser.

    An owner of the team gets new tokens each time; a team of others is left alone.
    """
    store = base.store(call, database, make=True)

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


@command("audit", group=base.hub)
@click.option("--team", metavar="SLUG", help="Of one team; else of all.")
@click.option("--limit", default=1000, type=click.IntRange(1), metavar="N", help="The last ones; 1000, if not said.")
@base.database_option
def audit(call: Invocation, team: str | None, limit: int, database: str | None) -> None:
    """What was done to accounts, roles, tokens and sessions, and what was refused; the oldest first."""
    store = base.store(call, database)
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


@command("add", group=base.user)
@click.argument("email")
@click.option("--team", required=True, metavar="SLUG", help="The team; it is made where it is new.")
@click.option("--role", default="writer", type=click.Choice(["owner", "writer", "reader"]), help="writer, if not said.")
@base.database_option
def add(call: Invocation, email: str, team: str, role: str, database: str | None) -> None:
    """Put somebody into a team, or give another role there."""
    store = base.store(call, database, make=True)
    from kitty_sync.hub import accounts
    from kitty_sync.hub.audit import by_command

    with store.writing() as connection:
        member = accounts.add(connection, email, team, role, by=by_command())
    text = f"{member.email} is {member.role} in {member.team_slug}."
    call.show({"schema": "kitty.hub.user/1", **member.shown()}, text)


@command("list", group=base.user)
@click.option("--team", metavar="SLUG", help="Of one team; else of all.")
@base.database_option
def users(call: Invocation, team: str | None, database: str | None) -> None:
    """Who is in which team, as what."""
    store = base.store(call, database)
    from kitty_sync.hub import accounts

    with store.reading() as connection:
        if team is not None:
            accounts.team_of(connection, team)
        found = accounts.everybody(connection, team)
    text = "\n".join(f"{one.team_slug} {one.role} {one.email}" for one in found)
    call.show({"schema": "kitty.hub.users/1", "members": [one.shown() for one in found]}, text)


@command("remove", group=base.user)
@click.argument("email")
@click.option("--team", required=True, metavar="SLUG", help="Out of which team.")
@base.database_option
def remove(call: Invocation, email: str, team: str, database: str | None) -> None:
    """Take somebody out of a team; what is signed in as this one there is over."""
    store = base.store(call, database)

    from kitty_sync.hub import accounts
    from kitty_sync.hub.audit import by_command

    with store.writing() as connection:
        who = _meant(accounts.memberships(connection, email, team), email, team)
        accounts.remove(connection, who, time.time(), by_command())
    call.show({"schema": "kitty.hub.user/1", **who.shown(), "role": None}, f"{who.email} is not in {team} any more.")


@command("approve", group=base.user)
@click.argument("email")
@click.argument("user_code")
@click.option("--team", metavar="SLUG", help="As a member of which team, where there are several.")
@click.option("--deny", is_flag=True, help="Do not let it in.")
@base.database_option
def approve(call: Invocation, email: str, user_code: str, team: str | None, deny: bool, database: str | None) -> None:
    """Let the device or the browser in that shows a code."""
    store = base.store(call, database)
    from kitty_sync.hub import accounts, device
    from kitty_sync.hub.audit import by_command

    with store.writing() as connection:
        who = _meant(accounts.memberships(connection, email, team), email, team)
        device.decide(connection, user_code, who, time.time(), approve=not deny, by=by_command())
    state = "denied" if deny else "approved"
    text = f"The device is {state}: {who.email} in {who.team_slug}."
    call.show({"schema": "kitty.hub.approval/1", **who.shown(), "state": state}, text)


@command("link", group=base.user)
@click.argument("email")
@click.option("--team", metavar="SLUG", help="In which team, where there are several.")
@base.database_option
def link(call: Invocation, email: str, team: str | None, database: str | None) -> None:
    """Print a link that signs somebody in, once, within five minutes."""
    store = base.store(call, database)

    from kitty_sync.hub import accounts, signin
    from kitty_sync.hub.audit import by_command

    with store.writing() as connection:
        who = _meant(accounts.memberships(connection, email, team), email, team)
        address = signin.told_address(connection) or "http://127.0.0.1:8770"
        url = f"{address}/signin/link?token={signin.make_link(connection, who, time.time(), by_command())}"
    call.show({"schema": "kitty.hub.link/1", **who.shown(), "url": url, "expires_in": signin.LINK_SECONDS}, url)


@command("list", group=base.token)
@click.option("--team", required=True, metavar="SLUG", help="Of which team.")
@base.database_option
def sessions(call: Invocation, team: str, database: str | None) -> None:
    """The sessions of a team, of programs and of browsers: who, since when, when it was last seen. No secrets."""
    store = base.store(call, database)

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


@command("revoke", group=base.token)
@click.argument("session_id")
@base.database_option
def revoke(call: Invocation, session_id: str, database: str | None) -> None:
    """End a session, of a program or of a browser, at once."""
    store = base.store(call, database)

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


def _nobody(email: str, team: str | None, teams: list[str]) -> KittyError:
    if teams:
        return KittyError("TEAM_REQUIRED", f"{email} is in {', '.join(teams)}", "name one with --team", teams=teams)
    where = f"in {team}" if team else "in any team"
    return KittyError("USER_UNKNOWN", f"{email} is not {where}", f"run: kitty hub user add {email} --team SLUG")
