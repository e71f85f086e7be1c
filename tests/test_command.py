"""What a command module is given: the decorator that makes a command, and the invocation."""

from __future__ import annotations

import click
import pytest

from kitty_host.command import Invocation, command, group
from kitty_host.plugins import Plugins
from kitty_host.testing import Project


def invoke(made: click.Command, *arguments: str) -> Invocation:
    call = Invocation(Plugins([]))
    made.main(list(arguments), standalone_mode=False, obj=call)
    return call


def test_the_function_is_given_the_invocation_and_its_own_parameters() -> None:
    seen: list[object] = []

    @command("try")
    @click.argument("first")
    @click.argument("second")
    @click.option("--flag", is_flag=True)
    def made(call: Invocation, first: str, second: str, flag: bool) -> None:
        """Try."""
        seen.extend((call, first, second, flag))

    call = invoke(made, "a", "b", "--flag")
    assert seen == [call, "a", "b", True]


def test_common_options_are_kept_on_the_invocation() -> None:
    @command("try", mission=True, agent=True)
    def made(call: Invocation) -> None:
        """Try."""

    call = invoke(made, "--mission", "m", "--agent", "ada", "--json")
    assert (call.selector, call.agent, call.json) == ("m", "ada", True)
    call = invoke(made)
    assert (call.selector, call.feature, call.agent, call.json) == (None, None, None, False)


def test_options_that_were_not_asked_for_do_not_exist() -> None:
    @command("try")
    def made(call: Invocation) -> None:
        """Try."""

    for option in ("--mission", "--feature", "--agent"):
        with pytest.raises(click.NoSuchOption):
            invoke(made, option, "x")


def test_the_docstring_is_the_help_and_a_group_holds_commands() -> None:
    outer = group("outer", help="Outer.")

    @command("inner", group=outer)
    def inner(call: Invocation) -> None:
        """Do the inner thing.

        And more.
        """

    assert outer.commands == {"inner": inner}
    assert inner.get_short_help_str() == "Do the inner thing."


@pytest.mark.usefixtures("alone")
def test_an_invocation_looks_things_up_once(project: Project) -> None:
    mission = project.mission()
    call = Invocation(Plugins([]))
    call.directory = project.root
    assert call.place is call.repo
    assert call.mission is call.mission
    assert call.mission.slug == mission.slug
    assert [one.slug for one in call.missions] == [mission.slug]
    state = call.state(result="success")
    assert (state.mission, state.result, state.agent) == (call.mission, "success", "")
