"""A tenant as lines of JSON: out of one hub and into another, whatever database either has.

The first line says whose it is, each line after it is a row, and the last one counts the rows and holds the SHA-256 of every line before
it. Nothing is taken in before the whole file was read and is whole. What lets somebody in (sessions, tokens, codes) stays behind.
"""

from __future__ import annotations

import hashlib
import json
import time
import uuid
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from attrs import frozen
from sqlalchemy import Connection, Table, insert, select

from kitty_host.api import KittyError
from kitty_host.files import disk_errors, rename, sync_file, temporary
from kitty_sync.hub.accounts import ROLES, email_of, team_of
from kitty_sync.hub.audit import SOMEBODY, By, note
from kitty_sync.hub.ingest import digest_of_record
from kitty_sync.hub.schema import artifacts, events, members, set_aside, teams, users

SCHEMA = "kitty.hub.tenant/1"
CARRIED: tuple[Table, ...] = (users, members, events, set_aside, artifacts)
"""In the order in which rows can be added."""
LEFT = ("audit", "grants", "links", "passes", "sessions", "settings", "tokens", "visits")
"""Tables of what lets somebody in, and of what is true of one hub only."""
_CHUNK = 1000
Told = Callable[[int, int], None]
"""Hears how many rows are done; of how many is not known, which is 0."""


@frozen
class Tenant:
    """What a file holds, or what was taken in."""

    slug: str
    rows: int
    digest: str
    """Of the events: the same in two hubs that have the same ones in the same order."""


def write(database: Connection, slug: str, path: Path, told: Told = lambda done, of: None) -> Tenant:
    """Write a team into a new file, which is there when it is whole. Errors: `TEAM_UNKNOWN`, `FILE_EXISTS`, `DISK_FULL`, `READ_ONLY`."""
    if path.exists():
        raise KittyError("FILE_EXISTS", f"{path} is there already", "name another file", path=str(path))
    scratch = temporary(path.parent)
    with disk_errors(path):
        try:
            with scratch.open("xb") as stream:
                scratch.chmod(0o600)
                rows = -2
                for line in lines(database, slug, told):
                    stream.write(line)
                    rows += 1
            sync_file(scratch)
            rename(scratch, path)
        finally:
            scratch.unlink(missing_ok=True)
    team_id = database.execute(select(teams.c.id).where(teams.c.slug == slug)).scalar_one()
    return Tenant(slug, rows, digest_of(database, team_id))


def lines(database: Connection, slug: str, told: Told = lambda done, of: None) -> Iterator[bytes]:
    """A team, line by line. `told` hears how many rows there were so far. Errors: `TEAM_UNKNOWN`."""
    team = database.execute(select(teams).where(teams.c.id == team_of(database, slug))).mappings().one()
    whole = hashlib.sha256()
    count = 0
    for line in ({"schema": SCHEMA, "team": dict(team)}, *_rows(database, team["id"])):
        written = json.dumps(line, sort_keys=True, separators=(",", ":")).encode() + b"\n"
        whole.update(written)
        yield written
        count += "schema" not in line
        if not count % _CHUNK:
            told(count, 0)
    yield json.dumps({"rows": count, "sha256": whole.hexdigest()}).encode() + b"\n"


def _rows(database: Connection, team_id: str) -> Iterator[dict[str, Any]]:
    here = members.c.team_id == team_id
    for table in CARRIED:
        query = select(table).order_by(*table.primary_key)
        if table is users:
            query = query.where(users.c.id.in_(select(members.c.user_id).where(here)))
        else:
            query = query.where(table.c.team_id == team_id)
        for row in database.execution_options(yield_per=_CHUNK).execute(query).mappings():
            yield {table.name: dict(row)}


def take(database: Connection, path: Path, told: Told = lambda done, of: None, by: By = SOMEBODY) -> Tenant:
    """Add the team of a file, in the transaction of the caller. Errors: `TENANT_FILE` for a file that is not whole, `TEAM_EXISTS`.

    That it is whole says nothing of who wrote it: no row of another team is taken, and no event that is not what its digest says.
    """
    team, rows = _checked(path)
    now = time.time()
    if database.scalar(select(teams.c.id).where((teams.c.slug == team["slug"]) | (teams.c.id == team["id"]))):
        raise KittyError("TEAM_EXISTS", f"there is a team {team['slug']} already", "import it into another hub")
    database.execute(insert(teams).values(team))
    note(database, by, "team.made", now, team_id=team["id"], what=team["slug"])
    known = _Users(database)
    count = 0
    with path.open("rb") as stream:
        found = (json.loads(line) for line in islice(stream, 1, rows + 1))
        while chunk := [_row(path, one, team["id"]) for one in islice(found, _CHUNK)]:
            for table in CARRIED:
                values = [known.here(table, row) for name, row in chunk if name == table.name]
                if values := [value for value in values if value]:
                    database.execute(insert(table), values)
                for value in values if table is members else ():
                    who = {"whom": email_of(database, value["user_id"]), "team_id": team["id"], "what": value["role"]}
                    note(database, by, "member.added", now, **who)
            told(count := count + len(chunk), 0)
    return Tenant(team["slug"], rows, digest_of(database, team["id"]))


class _Users:
    """Somebody whom this hub knows already stays who they are here."""

    def __init__(self, database: Connection) -> None:
        self._database = database
        self._ids: dict[str, str] = {}

    def here(self, table: Table, row: dict[str, Any]) -> dict[str, Any]:
        """The row as it is added here; empty for one that is there."""
        if table is users:
            known = self._database.scalar(select(users.c.id).where(users.c.email == row["email"]))
            taken = self._database.scalar(select(users.c.id).where(users.c.id == row["id"]))
            self._ids[row["id"]] = known or (str(uuid.uuid4()) if taken else row["id"])
            return {} if known else {**row, "id": self._ids[row["id"]]}
        if "user_id" in row:
            if row["user_id"] not in self._ids:  # somebody of this hub, whom the file only knows the number of
                raise KittyError(
                    "TENANT_FILE", "a member of the tenant is nobody in it", "export it again: kitty hub export"
                )
            return {**row, "user_id": self._ids[row["user_id"]]}
        return row


def digest_of(database: Connection, team_id: str) -> str:
    """SHA-256 over number, project, id and digest of every event, in order."""
    whole = hashlib.sha256()
    columns = (events.c.seq, events.c.project, events.c.event_id, events.c.digest)
    query = select(*columns).where(events.c.team_id == team_id).order_by(events.c.seq)
    for row in database.execution_options(yield_per=_CHUNK).execute(query):
        whole.update(" ".join(map(str, row)).encode() + b"\n")
    return whole.hexdigest()


def _checked(path: Path) -> tuple[dict[str, Any], int]:
    """The team and the number of rows of a file that is whole."""
    whole = hashlib.sha256()
    last, count, team = b"", -2, None
    with path.open("rb") as stream:
        for line in stream:
            whole.update(last)
            last = line
            count += 1
            if team is None:
                team = _team(path, line)
    try:
        end = json.loads(last)
    except ValueError:
        end = None
    if team is None or not isinstance(end, dict) or end != {"rows": count, "sha256": whole.hexdigest()}:
        raise _broken(path, "its last line does not answer for the others")
    return team, count


def _row(path: Path, line: Any, team_id: str) -> tuple[str, dict[str, Any]]:
    """The table and the row of a line. Errors: `TENANT_FILE`."""
    name, row = next(iter(line.items())) if isinstance(line, dict) and len(line) == 1 else ("", None)
    table = next((one for one in CARRIED if one.name == name), None)
    if table is None or not isinstance(row, dict) or set(row) != set(table.columns.keys()):
        raise _broken(path, "a line is no row of it")
    if row.get("team_id", team_id) != team_id:
        raise _broken(path, "a row is of another team")
    if table is members and row["role"] not in ROLES:
        raise _broken(path, f"nobody is {row['role']!r}")
    if table is events and digest_of_record(row["record"]) != row["digest"]:
        raise _broken(path, f"the event {row['event_id']} is not what was stored")
    return name, row


def _team(path: Path, line: bytes) -> dict[str, Any]:
    try:
        head = json.loads(line)
    except ValueError:
        head = None
    if not isinstance(head, dict) or head.get("schema") != SCHEMA or not _is_team(head.get("team")):
        raise _broken(path, f"it does not begin as {SCHEMA} does")
    team: dict[str, Any] = head["team"]
    return team


def _is_team(team: Any) -> bool:
    return isinstance(team, dict) and set(team) == set(teams.columns.keys())


def _broken(path: Path, why: str) -> KittyError:
    return KittyError(
        "TENANT_FILE", f"{path} is no whole tenant: {why}", "export it again: kitty hub export", path=str(path)
    )
