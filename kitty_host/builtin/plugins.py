"""`kitty plugins`: what is loaded, and what went wrong while loading it."""

from __future__ import annotations

import contextlib
from typing import Any

from kitty_host.command import Invocation, command, group
from kitty_host.plugins import PluginFault

plugins = group("plugins", help="List plugins and their faults.")


@command("list", group=plugins)
def list_plugins(call: Invocation) -> None:
    """List every plugin with its distribution and hooks."""
    rows = [
        {
            "name": name,
            "distribution": entry.distribution,
            "version": entry.version,
            "hooks": call.plugins.hooks_of(name),
            "state": "loaded",
        }
        for name, entry in call.plugins.entries.items()
    ]
    faults = [fault._asdict() for fault in call.plugins.faults]
    text = [f"{row['name']:10} {row['distribution']} {row['version']}: {len(row['hooks'])} hooks" for row in rows]
    call.show({"schema": "kitty.plugins/1", "plugins": rows, "faults": faults}, "\n".join([*text, *_said(faults)]))


@command("doctor", group=plugins)
def doctor(call: Invocation) -> None:
    """List the faults of plugins; every command is imported to see whether it is there."""
    claims, _ = call.plugins.commands()
    for claim in claims.values():
        with contextlib.suppress(PluginFault):  # it is listed
            call.plugins.load(claim)
    faults = [fault._asdict() for fault in call.plugins.faults]
    call.show(
        {"schema": "kitty.plugins/1", "plugins": list(call.plugins.entries), "faults": faults},
        "\n".join(_said(faults)) or "No plugin is at fault.",
    )


def _said(faults: list[dict[str, Any]]) -> list[str]:
    return [f"fault: {fault['distribution']}: {fault['message']}" for fault in faults]
