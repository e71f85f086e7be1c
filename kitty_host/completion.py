"""What a shell offers behind a command: missions, work packages, and which script makes it ask.

It looks and says nothing: where there is no repository, or a ledger is damaged, there is simply nothing to offer.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import click
from click.shell_completion import CompletionItem, get_completion_class

from kitty_host.api import KittyError
from kitty_host.command import Invocation
from kitty_host.inert import inert
from kitty_host.mission import Mission
from kitty_host.state import State, mission_is_open

_PLAIN = re.compile(r"[A-Za-z0-9._/-]+")
VARIABLE = "_KITTY_COMPLETE"
SHELLS = ("bash", "zsh", "fish")


def script(program: click.Command, shell: str) -> str:
    """The lines for a shell that make it ask kitty."""
    kind = get_completion_class(shell)
    if kind is None:  # click has those of SHELLS
        raise ValueError(shell)
    return kind(program, {}, "kitty", VARIABLE).source()


def missions(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The missions whose slug begins so, with their titles; those that are open first."""
    return list(_quietly(_missions, context, incomplete))


def packages(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The work packages of the mission that is meant, with lanes and titles; of every open one, behind its slug, where it is not clear."""
    return list(_quietly(_packages, context, incomplete))


def _missions(call: Invocation, incomplete: str) -> Iterator[CompletionItem]:
    found = sorted(call.missions, key=lambda one: (not mission_is_open(one), one.slug))
    for one in found:
        if one.slug.startswith(incomplete):
            yield from _item(one.slug, one.title)


def _packages(call: Invocation, incomplete: str) -> Iterator[CompletionItem]:
    try:
        found, prefix = [call.mission], False
    except KittyError:
        found, prefix = [one for one in call.missions if mission_is_open(one)], True
    for mission in found:
        for name, told in _of(mission):
            word = f"{mission.slug}/{name}" if prefix else name
            if word.lower().startswith(incomplete.lower()):
                yield from _item(word, told)


def _item(word: str, told: str) -> Iterator[CompletionItem]:
    """A word of somebody's repository, which a shell puts on a line that will be run: none that it would read otherwise."""
    if _PLAIN.fullmatch(word):
        yield CompletionItem(word, help=inert(told, prose=True))


def _of(mission: Mission) -> Iterator[tuple[str, str]]:
    state = State.load(mission)
    for package in state.packages:
        known = state.snapshot.packages.get(package.wp_id)
        lane = known.lane.replace("_", " ") if known else "not yet open"
        yield package.wp_id, f"{lane} · {package.title}"


def _quietly(find: Any, context: click.Context, incomplete: str) -> Iterator[CompletionItem]:
    try:
        yield from find(context.find_object(Invocation), incomplete)
    except Exception:  # noqa: BLE001 somebody is typing, and the command itself will say what is wrong
        return
