"""What a project and its user have settled about sync: whose events these are, where they go, and the limits. Nothing here is secret."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, NamedTuple

from attrs import frozen

from kitty_host.api import KittyError
from kitty_host.repo import Repo

if TYPE_CHECKING:  # it loads what asks again, which no local command does
    from kitty_sync.retry import Policy

NOBODY = "none"
"""The hub, and the tenant, until one logs in somewhere."""
CAP = "sync.queue_max_events"


class Target(NamedTuple):
    """Where events go: the address of a hub, and the team there."""

    hub: str = NOBODY
    tenant: str = NOBODY


@frozen
class _Project:
    uuid: str = ""


@frozen
class _Sync:
    queue_max_events: int = 10_000
    max_retries: int = 5
    max_backoff_seconds: float = 30
    total_timeout_seconds: float = 300


def target() -> Target:
    """Where the user is logged in. Nothing is asked, and no token is read."""
    from kitty_sync.auth.login import current

    login = current()
    return Target(login.issuer, login.tenant) if login else Target()


def project_of(repo: Repo) -> str:
    """The project's UUID, which is the same in every clone. Errors: `CONFIG_INVALID`."""
    text = repo.config.section("project", _Project).uuid
    try:
        return str(uuid.UUID(text))
    except ValueError:
        raise KittyError(
            "CONFIG_INVALID",
            f"{repo.config.path}: project.uuid is {'missing' if not text else 'no UUID'}",
            f"write one there, such as: {uuid.uuid4()}",
            key="project.uuid",
        ) from None


def cap_of(repo: Repo) -> int:
    """How many events may wait in the queue. Errors: `CONFIG_INVALID`."""
    cap = repo.config.section("sync", _Sync).queue_max_events
    if cap < 1:
        raise KittyError(
            "CONFIG_INVALID",
            f"{repo.config.path}: {CAP} is {cap}",
            "give a number of events of 1 or more, or leave it out",
            key=CAP,
        )
    return cap


def policy_of(repo: Repo) -> Policy:
    """How often a delivery is tried. Errors: `CONFIG_INVALID`."""
    from kitty_sync.retry import Policy

    found = repo.config.section("sync", _Sync)
    for key in ("max_retries", "max_backoff_seconds", "total_timeout_seconds"):
        if not 0 <= getattr(found, key) <= 86_400:
            raise KittyError(
                "CONFIG_INVALID",
                f"{repo.config.path}: sync.{key} is {getattr(found, key)}",
                "give a number from 0 to 86400, or leave it out",
                key=f"sync.{key}",
            )
    return Policy(found.max_retries, found.max_backoff_seconds, found.total_timeout_seconds)
