"""`kitty charter context`: the rules that govern one action, whole the first time and in short afterwards."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import click

from kitty_host.api import KittyError
from kitty_host.command import Invocation, command
from kitty_host.files import write_cache
from kitty_host.governance import BOOTSTRAP, COMPACT, KINDS, anchors, charter_for, digest_of, ids, receipt, rendered
from kitty_host.inert import inert

AUTO = "auto"


@command("context")
@click.option("--action", required=True, metavar="ACTION", help="What is about to be done, such as implement.")
@click.option("--mode", type=click.Choice([BOOTSTRAP, COMPACT, AUTO]), default=AUTO, help="How much of it to print.")
def context(call: Invocation, action: str, mode: str) -> None:
    """Print the rules for an action.

    `auto` prints everything when an action asks for the first time or its rules have changed,
    and the short form after that.
    """
    action = inert(action.strip().lower(), prose=True)
    found = charter_for(call.plugins, call.repo, action)
    hashes = receipt(found)
    memory = call.repo.cache / "charter-context.json"
    given = _remembered(memory)
    if mode == AUTO:
        mode = COMPACT if given.get(action) == digest_of(hashes) else BOOTSTRAP
    rules = rendered(call.plugins, found, mode)
    if mode == BOOTSTRAP:
        _remember(memory, {**given, action: rules.receipt})
    text = f"{rules.text}\n\nReceipt: {rules.receipt}"
    payload: dict[str, Any] = {"schema": "kitty.charter/1", "action": action, "mode": mode}
    payload |= {kind: ids(found, kind) for kind in KINDS}
    listed = [{"anchor": anchor, "sha256": sha256} for anchor, sha256 in hashes.items()]
    call.show({**payload, "sections": anchors(found), "receipt": listed, "text": text}, text)


def _remembered(memory: Path) -> dict[str, Any]:
    try:
        given = json.loads(memory.read_bytes())
    except (OSError, ValueError):
        return {}
    return given if isinstance(given, dict) else {}


def _remember(memory: Path, given: dict[str, Any]) -> None:
    with contextlib.suppress(KittyError, OSError):  # a cache: where it cannot be written, the next answer is a long one
        write_cache(memory, json.dumps(given, sort_keys=True).encode())
