"""The manifest of kitty-charter: governance context, gates, acceptance, contracts."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from kitty_host.api import Command, hookimpl

if TYPE_CHECKING:
    from kitty_host.records import Candidate, Charter, Gate, Section


@hookimpl(trylast=True)
def kitty_commands() -> list[Command]:
    """`charter`, `accept` and `contract`."""
    return [
        Command("charter", "kitty_charter.context:charter", "Print the rules for one action."),
        Command("accept", "kitty_charter.accept:accept", "Run every gate on the merged result and record the answer."),
        Command("contract", "kitty_charter.contract:contract", "Keep what the project builds on as it was."),
    ]


@hookimpl(trylast=True)
def kitty_charter_sections(action: str) -> "Iterable[Section]":
    """kitty's own rules for an action."""
    from kitty_charter.rules import sections

    return sections(action)


@hookimpl(trylast=True)
def kitty_charter_render(charter: "Charter", mode: str) -> str:
    """Markdown: ids and anchors, then the sections, or only the critical ones."""
    from kitty_charter.render import render

    return render(charter, mode)


@hookimpl(trylast=True)
def kitty_gates(candidate: "Candidate") -> "Iterable[Gate]":
    """Every work package is settled; the issue matrix, where there is one, is filled in."""
    from kitty_charter.gates import gates

    return gates(candidate)
