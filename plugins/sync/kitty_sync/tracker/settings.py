"""The section `tracker` of the configuration: which tracker, who decides, how patiently it is asked."""

from __future__ import annotations

from typing import Literal

from attrs import field, frozen

from kitty_host.api import KittyError
from kitty_host.repo import Repo
from kitty_sync.retry import Policy as Retry
from kitty_sync.tracker.merge import Policy

PROVIDERS = ("github", "beads")


@frozen
class Fields:
    """Who decides about each field where both sides changed it."""

    title: Policy = "ask"
    body: Policy = "local"
    """Whoever may edit an issue would otherwise write what an agent is told to do."""
    labels: Policy = "ask"
    assignees: Policy = "ask"


@frozen
class Settings:
    """What the project says. Seconds are seconds."""

    provider: Literal["", "github", "beads"] = ""
    workspace: str = ""
    fields: Fields = field(factory=Fields)
    sync_max_retries: int = 5
    sync_max_backoff_seconds: float = 30.0
    sync_total_timeout_seconds: float = 300.0

    @property
    def policies(self) -> dict[str, Policy]:
        """By field."""
        return {name: getattr(self.fields, name) for name in ("title", "body", "labels", "assignees")}

    @property
    def retry(self) -> Retry:
        """How often, and for how long, one request is made."""
        return Retry(self.sync_max_retries, self.sync_max_backoff_seconds, self.sync_total_timeout_seconds)


def settings_of(repo: Repo) -> Settings:
    """The settings of a project that is bound to a tracker. Errors: `CONFIG_INVALID`, `TRACKER_UNBOUND`."""
    found = repo.config.section("tracker", Settings)
    limits = {
        "sync_max_retries": (found.sync_max_retries, 100),
        "sync_max_backoff_seconds": (found.sync_max_backoff_seconds, 3600),
        "sync_total_timeout_seconds": (found.sync_total_timeout_seconds, 86_400),
    }
    for name, (value, largest) in limits.items():
        if not 0 <= value <= largest:
            raise KittyError(
                "CONFIG_INVALID",
                f"{repo.config.path}: tracker.{name} is {value}",
                f"give a number from 0 to {largest}, or leave it out",
                key=f"tracker.{name}",
            )
    if not found.provider:
        raise KittyError(
            "TRACKER_UNBOUND",
            "the project is bound to no tracker",
            "run: kitty tracker bind github --workspace OWNER/REPOSITORY",
        )
    return found
