"""The plugin author's door. Names may be added; one that goes, or a field that moves, breaks plugins that exist."""

from __future__ import annotations

import inspect

from kitty_host import api
from kitty_host.api import Command, Finding, KittyError, hookimpl


def test_the_door_has_these_names() -> None:
    assert {"Command", "Finding", "KittyError", "hookimpl"} <= set(vars(api))


def test_a_command_is_a_name_a_target_and_a_summary() -> None:
    assert Command._fields == ("name", "target", "summary")


def test_a_finding_blocks_unless_it_says_otherwise() -> None:
    assert Finding._fields == ("code", "message", "hint", "severity", "path")
    assert Finding("A", "b") == ("A", "b", "", "block", "")


def test_an_error_has_a_code_a_message_a_hint_and_details() -> None:
    error = KittyError("A_CODE", "what is wrong", "how to mend it", number=5)
    assert (error.code, error.message, error.hint, error.details) == (
        "A_CODE",
        "what is wrong",
        "how to mend it",
        {"number": 5},
    )
    assert str(error) == "A_CODE: what is wrong"


def test_a_hook_can_be_first_last_or_around() -> None:
    assert list(inspect.signature(hookimpl).parameters) == ["function", "tryfirst", "trylast", "wrapper"]

    @hookimpl
    def plain() -> None: ...

    @hookimpl(tryfirst=True)
    def first() -> None: ...

    marks = [vars(function)["kitty_impl"] for function in (plain, first)]
    assert [mark["tryfirst"] for mark in marks] == [False, True]
    assert plain() is None, "a marked function stays a function"
