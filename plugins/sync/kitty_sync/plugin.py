"""The manifest of kitty-sync: the way of events to a team and back, the one door to servers, and a server."""

from typing import TYPE_CHECKING, Any

from kitty_host.api import Command, hookimpl

if TYPE_CHECKING:
    from kitty_host.records import Mission, Transport


@hookimpl(trylast=True)
def kitty_commands() -> list[Command]:
    """`auth`, `hub`, `sync` and `tracker`."""
    return [
        Command("auth", "kitty_sync.auth.cli:auth", "Log in to a server, out of it, and see as whom."),
        Command("hub", "kitty_sync.hub.cli:hub", "Serve a team: take its events, keep each once, hand them out."),
        Command(
            "sync", "kitty_sync.cli:sync", "Send events to the hub; look at the offline queue, empty it, fill it again."
        ),
        Command("tracker", "kitty_sync.tracker.cli:tracker", "Keep work packages and the issues of a tracker alike."),
    ]


@hookimpl(trylast=True)
def kitty_transport(issuer: str) -> "Transport":
    """The transport to any issuer. Errors: `SYNC_DISABLED`, before anything is looked at."""
    from kitty_sync.switch import require_enabled

    require_enabled()
    from kitty_sync.transport import transport_for

    return transport_for(issuer)


@hookimpl(trylast=True)
def kitty_emitted(event: dict[str, Any], mission: "Mission") -> None:
    """Queue the row, where sync is enabled; otherwise nothing at all happens, not even an import."""
    from kitty_sync.switch import enabled

    if enabled():
        from kitty_sync.observer import observe

        observe(event, mission)
