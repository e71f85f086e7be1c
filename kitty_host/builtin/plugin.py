"""The manifest of the host's own commands."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from kitty_host.api import Command, Finding, hookimpl

if TYPE_CHECKING:
    from kitty_host.repo import Repo


@hookimpl(trylast=True)
def kitty_commands() -> list[Command]:
    """Help, completion, doctor, ledger, plugins."""
    return [
        Command("completion", "kitty_host.builtin.help:completion", "Print what makes a shell complete kitty's words."),
        Command("doctor", "kitty_host.builtin.doctor:doctor", "Say what is wrong here, and how to mend it."),
        Command("help", "kitty_host.builtin.help:help_", "Explain a command, a page, or an error code."),
        Command("ledger", "kitty_host.builtin.ledger:ledger", "Show, verify or repair a mission's ledger."),
        Command("plugins", "kitty_host.builtin.plugins:plugins", "List plugins and their faults, or write one."),
    ]


@hookimpl(trylast=True)
def kitty_doctor(repo: "Repo") -> Iterable[Finding]:
    """Git's version, ignore rules on ledgers, broken ledgers."""
    from kitty_host.builtin.doctor import look

    return look(repo)
