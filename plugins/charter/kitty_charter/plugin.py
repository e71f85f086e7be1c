"""The manifest of kitty-charter: governance context, gates, acceptance, contracts."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from kitty_host.api import Command, hookimpl

if TYPE_CHECKING:
    from kitty_host.records import Acceptance, Candidate, Charter, Gate, Section
    from kitty_host.repo import Repo


@hookimpl(trylast=True)
def kitty_commands() -> list[Command]:
    """Rules, gates, issues, contracts, releases."""
    return [
        Command("charter", "kitty_charter.cli:charter", "The rules for one action, and who was given which."),
        Command("accept", "kitty_charter.accept:accept", "Run every gate on the merged result and record the answer."),
        Command("matrix", "kitty_charter.matrix_cli:matrix", "What became of each issue, and what proves it."),
        Command("contract", "kitty_charter.contract:contract", "Keep what the project builds on as it was."),
        Command("release", "kitty_charter.release:release", "Promote what a consumer has verified, and nothing else."),
    ]


@hookimpl(trylast=True)
def kitty_charter_sections(action: str) -> "Iterable[Section]":
    """kitty's own rules for an action."""
    from kitty_charter.rules import sections

    return sections(action)


@hookimpl(trylast=True)
def kitty_charter(action: str, sections: "tuple[Section, ...]", repo: "Repo") -> "Charter":
    """The repository's own charter, and behind it what plugins say."""
    from kitty_charter.project import charter

    return charter(repo.root, action, sections)


@hookimpl(trylast=True)
def kitty_charter_render(charter: "Charter", mode: str) -> str:
    """Markdown: ids and anchors, then the sections, or only the critical ones."""
    from kitty_charter.render import render

    return render(charter, mode)


@hookimpl(trylast=True)
def kitty_gates(candidate: "Candidate") -> "Iterable[Gate]":
    """Every work package is settled. What takes longer is run by `kitty accept` itself."""
    from kitty_charter.gates import gates

    return gates(candidate)


@hookimpl(trylast=True)
def kitty_acceptance(candidate: "Candidate") -> "Acceptance":
    """The row that `kitty accept` wrote, judged."""
    from kitty_charter.acceptance import acceptance

    return acceptance(candidate)
