"""The manifest of kitty-intake: foreign plans become briefs."""

from typing import TYPE_CHECKING

from kitty_host.api import Command, Finding, hookimpl

if TYPE_CHECKING:
    from kitty_host.records import Brief, Source
    from kitty_host.repo import Repo


@hookimpl(trylast=True)
def kitty_commands() -> list[Command]:
    """`intake` and `brief`."""
    return [
        Command("intake", "kitty_intake.cli:intake", "Take a foreign plan in as the brief."),
        Command("brief", "kitty_intake.cli:brief", "Show the brief that was taken in."),
    ]


@hookimpl(trylast=True)
def kitty_intake(source: "Source") -> "Brief | None":
    """spec-kit, OpenSpec, Backlog.md, Task Master, beads; and Markdown and plain text, in UTF-8."""
    from kitty_intake.formats import recognise

    return recognise(source)


@hookimpl(trylast=True)
def kitty_intake_check(brief: "Brief") -> list[Finding]:
    """Embedded instructions, hidden text, secrets, links to local files."""
    from kitty_intake.checks import findings

    return findings(brief)


@hookimpl(trylast=True)
def kitty_brief(repo: "Repo") -> "Brief | None":
    """The pair below `.kittify/`."""
    from kitty_intake.brief import load

    return load(repo)
