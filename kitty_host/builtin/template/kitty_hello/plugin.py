"""The manifest of kitty-hello."""

from kitty_host.api import Command, Finding, hookimpl


@hookimpl
def kitty_commands():
    return [Command("hello", "kitty_hello.cli:greet", "Greet a mission.")]


@hookimpl
def kitty_emit_check(transition, state):
    if transition["to_lane"] == "blocked" and not transition["reason"]:
        return [Finding("NO_REASON", f"{transition['wp_id']} is blocked, and nobody knows why", "give a reason")]
    return []
