"""The manifest of kitty-sync: the offline queue. Nothing is sent yet."""

from typing import TYPE_CHECKING, Any

from kitty_host.api import Command, hookimpl

if TYPE_CHECKING:
    from kitty_host.records import Mission


@hookimpl(trylast=True)
def kitty_commands() -> list[Command]:
    """`sync`, `hub`."""
    return [
        Command("sync", "kitty_sync.cli:sync", "Look at the offline queue, empty it to a file, fill it again."),
        Command("hub", "kitty_sync.hub.cli:hub", "Serve a team: take its events, keep each once, hand them out."),
    ]


@hookimpl(trylast=True)
def kitty_emitted(event: dict[str, Any], mission: "Mission") -> None:
    """Queue the row, where sync is enabled; otherwise nothing at all happens, not even an import."""
    from kitty_sync.switch import enabled

    if enabled():
        from kitty_sync.observer import observe

        observe(event, mission)
