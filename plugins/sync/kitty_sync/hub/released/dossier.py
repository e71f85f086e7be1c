"""Bodies of artefacts: what a mission's files say, kept as it came, by team, project, mission, branch, path and hash.

Of a path the newest versions stay. The hub hands them to nobody yet.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from typing import TYPE_CHECKING, Any

from attrs import field, frozen
from sqlalchemy import Connection, delete, func, insert, select
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from kitty_sync.hub import bodies, ingest
from kitty_sync.hub.answer import JsonAnswer
from kitty_sync.hub.error import HubError
from kitty_sync.hub.released.answers import answering, may_write, refused
from kitty_sync.hub.schema import artifacts

if TYPE_CHECKING:
    from kitty_sync.hub.app import Hub

VERSIONS = 20
"""How many versions of a path stay."""
MOST = 50_000
"""Versions of a team, of all paths."""
_LONGEST = 1024
_NAMES = (
    "mission_slug",
    "target_branch",
    "mission_type",
    "manifest_version",
    "artifact_path",
    "hash_algorithm",
    "content_hash",
)


@frozen
class Artifact:
    """A body, and what it is the body of."""

    project: str
    mission_slug: str
    target_branch: str
    path: str
    hash: str
    details: dict[str, str]
    content: str = field(repr=False)

    @property
    def names(self) -> dict[str, str]:
        """Where it is, whatever its content."""
        return {name: getattr(self, name) for name in ("project", "mission_slug", "target_branch", "path")}

    @property
    def place(self) -> str:
        """The same in one."""
        return hashlib.sha256(ingest.canonical(self.names).encode()).hexdigest()


def routes(hub: Hub) -> list[BaseRoute]:
    """This call, of one hub."""

    @answering
    async def push(request: Request) -> Response:
        """Take one body."""
        who = await hub.member(request)
        body = await bodies.sent(request)
        encoding = request.headers.get("content-encoding", "").strip().lower()
        said = await run_in_threadpool(lambda: bodies.parsed(bodies.inflated(body, encoding)))
        # A refusal is believed only if it says what it is of.
        named = {key: said[key] for key in ("artifact_path", "content_hash") if isinstance(said.get(key), str)}
        try:
            may_write(who, "artefacts")
            new = await hub.write(keep, who.team_id, artifact(said))
        except HubError as error:
            return refused(error, **named)
        return JsonAnswer({"status": "stored" if new else "already_exists", **named}, 201 if new else 200)

    return [Route("/api/dossier/push-content/", push, methods=["POST"])]


def artifact(said: dict[str, Any]) -> Artifact:
    """What a body says. Errors: `BODY_INVALID` (400)."""
    for name in _NAMES:
        value = said.get(name)
        if not isinstance(value, str) or not value or len(value) > _LONGEST or not value.isprintable():
            raise _invalid(f"{name}: it is no text of 1 to {_LONGEST} characters that can be shown")
    try:
        project = str(uuid.UUID(said["project_uuid"]))
        content: str = said["content_body"]
        digest = hashlib.sha256(content.encode()).hexdigest()
    except (KeyError, ValueError, TypeError, AttributeError):
        raise _invalid("project_uuid is no UUID, or content_body no text") from None
    if said["hash_algorithm"] != "sha256" or digest != said["content_hash"]:
        raise _invalid("content_hash: it is not the sha256 of content_body")
    details = {name: said[name] for name in ("mission_type", "manifest_version")}
    where = said["mission_slug"], said["target_branch"], said["artifact_path"]
    return Artifact(project, *where, said["content_hash"], details, content)


def keep(database: Connection, team_id: str, one: Artifact, now: float) -> bool:
    """Whether it was new. The oldest version of its path goes if there are too many. Errors: `ARTIFACTS_FULL` (413)."""
    here = (artifacts.c.team_id == team_id) & (artifacts.c.place == one.place)
    known = database.execute(select(artifacts.c.hash).where(here).order_by(artifacts.c.received_at)).scalars().all()
    if one.hash in known:
        return False
    if len(known) >= VERSIONS:
        database.execute(delete(artifacts).where(here, artifacts.c.hash.in_(known[: len(known) - VERSIONS + 1])))
    elif (database.scalar(select(func.count()).where(artifacts.c.team_id == team_id)) or 0) >= MOST:
        raise HubError(
            "ARTIFACTS_FULL",
            413,
            f"a team has {MOST} versions of artefacts at most",
            "begin another team for what is new: kitty hub setup",
        )
    key = {"team_id": team_id, "place": one.place, "hash": one.hash}
    row = {**key, **one.names, **one.details, "received_at": now, "content": json.dumps(one.content)}
    database.execute(insert(artifacts).values(row))
    return True


def _invalid(message: str) -> HubError:
    return HubError("BODY_INVALID", 400, message, "see the released client in docs/hub.md of kitty")
