"""`kitty charter receipt`: which rules somebody was given when they took a work package, and what has become of them since.

The claim's row holds a hash per section; the text lies under its own hash in kitty's directory of the clone in which it was handed out.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import click

from kitty_host.api import KittyError
from kitty_host.command import Invocation, command
from kitty_host.governance import charter_for, digest_of, kept, recorded
from kitty_host.governance import receipt as receipt_of
from kitty_host.inert import inert
from kitty_host.ledger.event import Transition, actor_name

SAME, CHANGED, GONE, NEW = "same", "changed", "gone", "new"


class Given(NamedTuple):
    """What one claim says of the rules that went with it."""

    event_id: str
    at: str
    actor: str
    action: str
    receipt: str
    sections: dict[str, str]
    text: str
    """The SHA-256 of the whole text."""


@command("receipt", mission=True)
@click.argument("wp")
@click.option("--text", "whole", is_flag=True, help="Print the text that was given last, if it is kept here.")
def receipt(call: Invocation, wp: str, whole: bool) -> None:
    """Prove which rules were given to whoever took a work package."""
    package = call.mission.package(wp)
    found = list(_given(call, package.wp_id))
    if not found:
        raise KittyError(
            "RECEIPT_MISSING",
            f"no claim of {package.wp_id} says which rules went with it",
            f"claim it with kitty: kitty implement {package.wp_id}",
        )
    if whole:
        text = kept(call.repo, found[-1].text)
        if text is None:
            raise KittyError(
                "RECEIPT_MISSING",
                f"the text of {found[-1].receipt[:12]} is not kept in this clone",
                "ask in the clone where the work was taken",
            )
        call.show({"schema": "kitty.receipt/1", "wp_id": package.wp_id, "text": text}, text)
        return
    rows = [_row(call, one) for one in found]
    call.show({"schema": "kitty.receipt/1", "wp_id": package.wp_id, "claims": rows}, "\n".join(map(_told, rows)))


def _given(call: Invocation, wp_id: str) -> Iterator[Given]:
    """Every claim of a work package that records rules, in the order of their rows."""
    for event in call.mission.ledger.events():
        if isinstance(event, Transition) and event.wp_id == wp_id and (found := recorded(event.policy)):
            yield _whole(event, found)


def _whole(event: Transition, found: dict[str, Any]) -> Given:
    """Errors: `RECEIPT_DAMAGED` where its own sum is wrong."""
    sections = found.get("sections")
    sections = sections if isinstance(sections, dict) else {}
    told = {str(anchor): str(sha256) for anchor, sha256 in sections.items()}
    if digest_of(told) != found.get("receipt"):
        raise KittyError(
            "RECEIPT_DAMAGED",
            f"the receipt in {event.event_id} is not the sum of its sections",
            "look for what changed the row: kitty ledger verify",
        )
    name = actor_name(event.actor)
    text, action = str(found.get("text") or ""), str(found.get("action") or "")
    return Given(event.event_id, event.at, name, action, str(found["receipt"]), told, text)


def _row(call: Invocation, given: Given) -> dict[str, Any]:
    now = receipt_of(charter_for(call.plugins, call.repo, given.action))
    standing = {
        anchor: GONE if anchor not in now else SAME if now[anchor] == sha256 else CHANGED
        for anchor, sha256 in given.sections.items()
    }
    standing |= {anchor: NEW for anchor in now if anchor not in given.sections}
    return {
        "event_id": given.event_id,
        "at": given.at,
        "actor": inert(given.actor, prose=True),
        "action": inert(given.action, prose=True),
        "receipt": given.receipt,
        "text_kept": kept(call.repo, given.text) is not None,
        "sections": [
            {"anchor": inert(anchor), "sha256": given.sections.get(anchor), "now": how}
            for anchor, how in standing.items()
        ],
    }


def _told(row: dict[str, Any]) -> str:
    where = "the text is kept here" if row["text_kept"] else "the text is not kept here"
    lines = [
        f"{row['at'][:19]}  {row['actor']} took it, with the rules to {row['action']}: {row['receipt'][:12]}; {where}"
    ]
    lines += [f"  {one['now']:8} {one['anchor']}" for one in row["sections"]]
    return "\n".join(lines)
