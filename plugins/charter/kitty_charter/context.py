"""`kitty charter context`: the rules that govern one action, whole the first time and in short afterwards."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import attrs
import click

from kitty_charter.project import project_sections
from kitty_charter.render import BOOTSTRAP, COMPACT, KINDS, anchors, digest, ids, receipt
from kitty_host.api import KittyError
from kitty_host.command import Invocation, command, group
from kitty_host.files import write_cache
from kitty_host.governance import plugin_sections
from kitty_host.inert import inert
from kitty_host.records import Charter, Section

AUTO = "auto"

charter = group("charter", help="Print the rules that govern an action.")


@command("context", group=charter)
@click.option("--action", required=True, metavar="ACTION", help="What is about to be done, such as implement.")
@click.option("--mode", type=click.Choice([BOOTSTRAP, COMPACT, AUTO]), default=AUTO, help="How much of it to print.")
def context(call: Invocation, action: str, mode: str) -> None:
    """Print the rules for an action.

    `auto` prints everything when an action asks for the first time or its rules have changed,
    and the short form after that.
    """
    action = inert(action, prose=True)
    found = Charter(
        action, _distinct([*project_sections(call.repo.root, action), *plugin_sections(call.plugins, action)])
    )
    memory = call.repo.cache / "charter-context.json"
    given = _remembered(memory)
    if mode == AUTO:
        mode = COMPACT if given.get(action) == digest(found) else BOOTSTRAP
    rendered: str = call.plugins.required("kitty_charter_render", charter=found, mode=mode)
    text = f"{rendered}\n\nReceipt: {digest(found)}"
    if mode == BOOTSTRAP:
        _remember(memory, {**given, action: digest(found)})
    payload: dict[str, Any] = {"schema": "kitty.charter/1", "action": action, "mode": mode}
    payload |= {kind: ids(found, kind) for kind in KINDS}
    call.show({**payload, "sections": anchors(found), "receipt": receipt(found), "text": text}, text)


def _distinct(sections: list[Section]) -> tuple[Section, ...]:
    """The sections with anchors that differ: the second `testing` is `testing-1`."""
    taken: set[str] = set()
    distinct = []
    for section in sections:
        anchor, number = section.anchor, 0
        while anchor in taken:
            number += 1
            anchor = f"{section.anchor}-{number}"
        taken.add(anchor)
        distinct.append(attrs.evolve(section, anchor=anchor))
    return tuple(distinct)


def _remembered(memory: Path) -> dict[str, Any]:
    try:
        given = json.loads(memory.read_bytes())
    except (OSError, ValueError):
        return {}
    return given if isinstance(given, dict) else {}


def _remember(memory: Path, given: dict[str, Any]) -> None:
    with contextlib.suppress(KittyError, OSError):  # a cache: where it cannot be written, the next answer is a long one
        write_cache(memory, json.dumps(given, sort_keys=True).encode())
