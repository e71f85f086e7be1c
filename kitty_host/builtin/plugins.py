"""`kitty plugins`: who is there, who ought to be, what is wrong with whom, and a new one."""

from __future__ import annotations

import shlex
import sys
from importlib.util import find_spec
from typing import Any

import click

from kitty_host.api import Finding
from kitty_host.builtin.plugin_health import look, unfilled
from kitty_host.command import Invocation, command, group
from kitty_host.discovery import Entry, roles
from kitty_host.plugins import Plugins
from kitty_host.report import REFUSED, counted

plugins = group("plugins", help="List plugins and their faults, or write one.")


@command("list", group=plugins)
def list_plugins(call: Invocation) -> None:
    """List every plugin with its distribution, hooks and commands, and the roles that nothing fills."""
    found = rows(call.plugins)
    absent = unfilled()
    faults = [fault._asdict() for fault in call.plugins.faults]
    call.show(
        {
            "schema": "kitty.plugins/1",
            "plugins": found,
            "faults": faults,
            "findings": [finding._asdict() for finding in absent],
        },
        "\n".join([*map(_told, found), *_said(faults), *map(_shown, absent)]),
    )


@command("doctor", group=plugins)
def doctor(call: Invocation) -> None:
    """Say what is wrong with plugins; every command is imported to see whether it is there.

    Leaves with exit code 1 where a plugin is at fault or does not fit this version of kitty.
    """
    call.plugins.load_all()
    faults = [fault._asdict() for fault in call.plugins.faults]
    findings = list(look(call.plugins))
    ok = not faults and all(finding.severity != "block" for finding in findings)
    lines = [*_said(faults), *map(_shown, findings), *(["No plugin is at fault."] if ok else [])]
    call.show(
        {
            "schema": "kitty.plugins/1",
            "ok": ok,
            "plugins": rows(call.plugins),
            "faults": faults,
            "findings": [finding._asdict() for finding in findings],
        },
        "\n".join(lines),
    )
    if not ok:
        click.get_current_context().exit(REFUSED)


@command("new", group=plugins)
@click.argument("name")
@click.option("--directory", metavar="DIR", help="The new directory; kitty-NAME here, if not said.")
def new(call: Invocation, name: str, directory: str | None) -> None:
    """Write a plugin of your own: a command, a hook, and tests that pass."""
    from kitty_host.builtin import scaffold

    scaffold.checked(name, frozenset({*call.plugins.entries, *call.plugins.commands()[0], *roles()}))
    place = (call.directory / (directory or f"kitty-{name}")).absolute()
    written = scaffold.write(name, place)
    payload = {"name": name, "distribution": f"kitty-{name}", "path": str(place), "files": written}
    call.show(
        {"schema": "kitty.plugins.new/1", **payload},
        f"kitty-{name} is in {place}. Try it:\n  cd {shlex.quote(str(place))}\n  {_installer()} --editable . pytest\n"
        f"  python -m pytest\n  kitty plugins doctor\n  kitty {name}",
    )


def _installer() -> str:
    """What installs into the environment that kitty is in; one that `uv` made has no pip."""
    return "python -m pip install" if find_spec("pip") else f"uv pip install --python {shlex.quote(sys.executable)}"


def rows(plugins: Plugins) -> list[dict[str, Any]]:
    """One object for each plugin that is installed, loaded or not."""
    states = {"loaded": list(plugins.entries.values()), "failed": plugins.failed, "not allowed": plugins.not_allowed}
    return [_row(plugins, entry, state) for state, entries in states.items() for entry in entries]


def _row(plugins: Plugins, entry: Entry, state: str) -> dict[str, Any]:
    loaded = state == "loaded"
    loading = plugins.loadings.get(entry.name) if loaded else None
    claimed = plugins.commands()[0].values() if loaded else ()
    return {
        "name": entry.name,
        "distribution": entry.distribution,
        "version": entry.version,
        "state": state,
        "hooks": plugins.hooks_of(entry.name) if loaded else [],
        "commands": sorted({claim.command.name for claim in claimed if claim.entry == entry}),
        "import_ms": round(loading.seconds * 1000, 1) if loading else None,
    }


def _told(row: dict[str, Any]) -> str:
    told = f"{row['name']:10} {row['distribution']} {row['version']}: "
    if row["state"] != "loaded":
        return f"{told}{row['state']}"
    return told + (
        f"{counted(len(row['hooks']), 'hook')}, {counted(len(row['commands']), 'command')}, "
        f"{row['import_ms']} ms\n           hooks: {', '.join(row['hooks']) or '-'}"
        f"\n           commands: {', '.join(row['commands']) or '-'}"
    )


def _said(faults: list[dict[str, Any]]) -> list[str]:
    return [f"fault: {fault['distribution']}: {fault['message']}" for fault in faults]


def _shown(finding: Finding) -> str:
    return f"{finding.code}: {finding.message}\n  {finding.hint}"
