"""The plugin author's door. A manifest imports this module and nothing else, so nothing here may be heavy.

A plugin is a distribution with one entry point in the group ``kitty`` that names a module such as::

    from kitty_host.api import Command, hookimpl

    @hookimpl
    def kitty_commands():
        return [Command("hello", "kitty_hello.cli:hello", "Say hello.")]

The hooks, each with an example, are in :mod:`kitty_host.hooks`; records that cross them in :mod:`kitty_host.records`; what a
command module needs (options, the invocation) in :mod:`kitty_host.command`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple, TypeVar, overload

Function = TypeVar("Function", bound=Callable[..., Any])


@overload
def hookimpl(function: Function, /) -> Function: ...
@overload
def hookimpl(
    *, tryfirst: bool = False, trylast: bool = False, wrapper: bool = False
) -> Callable[[Function], Function]: ...
def hookimpl(
    function: Function | None = None, *, tryfirst: bool = False, trylast: bool = False, wrapper: bool = False
) -> Any:
    """Mark a function of a manifest as the implementation of the hook it is named after.

    `tryfirst` and `trylast` order implementations of one hook; what ships with kitty is `trylast`, so that a plugin of yours comes
    before it without asking for it. A `wrapper` is a generator that yields once and returns the result, as in pluggy.
    """

    def mark(marked: Function) -> Function:
        # The attribute that pluggy looks for under the project name "kitty"; setting it here keeps pluggy itself (and `inspect`)
        # out of every manifest's imports.
        marked.kitty_impl = {  # type: ignore[attr-defined]
            "wrapper": wrapper,
            "hookwrapper": False,
            "optionalhook": False,
            "tryfirst": tryfirst,
            "trylast": trylast,
            "specname": None,
        }
        return marked

    return mark if function is None else mark(function)


class Command(NamedTuple):
    """One command of the command line. Help prints `name` and `summary` without importing `target`."""

    name: str
    target: str
    """``package.module:attribute`` of a click command or group."""
    summary: str
    """One line, ending in a full stop."""


class Finding(NamedTuple):
    """One thing that a check noticed."""

    code: str
    message: str
    """One line: what is wrong."""
    hint: str = ""
    """One line: how to mend it."""
    severity: Literal["block", "warn", "info"] = "block"
    path: str = ""
    """Where, relative to the repository with ``/``; empty where no file is meant."""


class KittyError(Exception):
    """A refusal or a known failure: printed as two lines, or as ``kitty.error/1`` under ``--json``; exit code 1.

    `code` is stable and in capitals; `message` says in one line what is wrong, `hint` in one line how to mend it; `details` are
    JSON values for programs.
    """

    def __init__(self, code: str, message: str, hint: str = "", **details: Any) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.hint = hint
        self.details = details

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"
