"""What a command module needs: the decorator that makes a command, and the invocation it is given.

::

    from kitty_host.command import Invocation, command

    @command("hello", mission=True)
    def hello(call: Invocation) -> None:
        \"\"\"Say hello to a mission.\"\"\"
        call.show({"schema": "hello/1", "slug": call.mission.slug}, f"hello {call.mission.slug}")
"""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, Any

import click

from kitty_host import report
from kitty_host.api import KittyError

if TYPE_CHECKING:
    # Imported where they are used: help, which needs none of them, is asked for many times a day.
    from pathlib import Path

    from click.shell_completion import CompletionItem

    from kitty_host.mission import Mission
    from kitty_host.plugins import Plugins
    from kitty_host.repo import Repo
    from kitty_host.state import State


class Invocation:
    """One run of one command: where, who, which mission, how to print."""

    def __init__(self, plugins: Plugins, *, json: bool = False) -> None:
        self.plugins = plugins
        self.plugins.ask_limit(self._plugin_seconds)
        self.json = json
        self.agent: str | None = None
        self.selector: str | None = None
        self.feature: str | None = None

    @cached_property
    def directory(self) -> Path:
        """Where the command works: the current directory, unless `-C` named another."""
        from pathlib import Path

        return Path()

    @cached_property
    def place(self) -> Repo:
        """The repository, initialized or not."""
        from kitty_host.repo import Repo

        return Repo.find(self.directory)

    @cached_property
    def repo(self) -> Repo:
        """The initialized repository. Errors: `SPEC_KITTY_REPO_NOT_INITIALIZED`."""
        return self.place.require_initialized()

    @cached_property
    def mission(self) -> Mission:
        """The mission that is meant. Errors: `MISSION_NOT_FOUND`, `MISSION_AMBIGUOUS_SELECTOR`, `MISSION_REQUIRED`."""
        if None not in (self.selector, self.feature) and self.selector != self.feature:
            raise KittyError(
                "MISSION_AMBIGUOUS_SELECTOR", "--mission and --feature name different missions", "leave --feature out"
            )
        from kitty_host.mission import select_mission
        from kitty_host.state import mission_is_open

        return select_mission(self.repo, self.feature if self.selector is None else self.selector, mission_is_open)

    @property
    def which(self) -> str:
        """` --mission SLUG` for a command that is printed, where the caller had to name the mission; else nothing."""
        return f" --mission {self.mission.slug}" if self.selector or self.feature else ""

    @property
    def missions(self) -> list[Mission]:
        """Every mission of the repository that can be read."""
        return self._read[0]

    @property
    def damaged(self) -> list[KittyError]:
        """Why the other missions cannot be read."""
        return self._read[1]

    @cached_property
    def _read(self) -> tuple[list[Mission], list[KittyError]]:
        from kitty_host.mission import read_missions

        return read_missions(self.repo)

    def state(self, *, result: str | None = None) -> State:
        """The mission as it stands now."""
        from kitty_host.state import State

        return State.load(self.mission, agent=self.agent or "", result=result)

    def actor(self) -> str:
        """Who acts: `--agent`, else `KITTY_AGENT`, else the claimer of the lane one stands in, else Git's user name."""
        named = self.named_agent() or self._claimer()
        if named:
            return named
        name = self.place.git.run("config", "--get", "user.name", ok=(0, 1)).stdout.decode(errors="replace").strip()
        if not name:
            raise KittyError(
                "ACTOR_REQUIRED",
                "nobody is named as the actor",
                "name one with --agent, or run: git config user.name NAME",
            )
        return name

    def named_agent(self) -> str:
        """Who acts, where that was said: by `--agent`, else by `KITTY_AGENT`; empty otherwise."""
        if self.agent is not None:
            return self.agent
        return os.environ.get("KITTY_AGENT", "").strip()

    def show(self, payload: dict[str, Any], text: str = "") -> None:
        """Print the result."""
        report.show(payload, text, self.json)

    def _plugin_seconds(self) -> float:
        """The time limit on plugins here. Errors: `CONFIG_INVALID`."""
        from kitty_host.containment import configured_seconds, default_seconds

        try:
            place = self.place
        except KittyError:  # no repository, which is for the command to say if it minds
            return default_seconds()
        return configured_seconds(place) if place.initialized else default_seconds()

    def _claimer(self) -> str:
        if self.place.here == self.place.root or not self.place.initialized:
            return ""
        from kitty_host.lanes import lane_ids
        from kitty_host.mission import lane_of_worktree
        from kitty_host.state import State

        for mission in self.missions:
            lane = lane_of_worktree(self.place, mission)
            if lane is not None:
                state, lanes = State.load(mission), lane_ids(mission)
                known = [found for wp_id, found in state.snapshot.packages.items() if lanes.get(wp_id) == lane]
                claimed = [one for one in known if one.lane in ("claimed", "in_progress") and one.slots.get("agent")]
                return claimed[0].agent if len(claimed) == 1 else ""
        return ""


class _Offered(click.types.StringParamType):
    """A word for which a shell can be offered some; only then is it found out which."""

    def __init__(self, what: str) -> None:
        self._what = what

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """See `kitty_host.completion`."""
        from kitty_host import completion

        found: list[CompletionItem] = getattr(completion, self._what)(ctx, param, incomplete)
        return found


_MISSION, _PACKAGE = _Offered("missions"), _Offered("packages")
_PACKAGES = ("wp", "ids")
"""Arguments of these names are work packages, whoever's command it is."""


def command(
    name: str, *, mission: bool = False, agent: bool = False, group: click.Group | None = None, **attributes: Any
) -> Callable[[Callable[..., None]], click.Command]:
    """Make a click command whose function takes the `Invocation` first.

    Every command has `--json`; `mission` adds `--mission` (and the hidden `--feature`), `agent` adds `--agent`.
    A shell completes missions, and arguments named `wp` or `ids`.
    """

    def make(function: Callable[..., None]) -> click.Command:
        @functools.wraps(function)
        def run(**arguments: Any) -> None:
            function(click.get_current_context().obj, **arguments)

        # Arguments and options that were put under the decorator with click's own wait here in reverse, as in click.command.
        params = list(reversed(getattr(function, "__click_params__", [])))
        made = click.Command(
            name, callback=run, params=params, help=inspect.cleandoc(function.__doc__ or ""), **attributes
        )
        for one in params:
            if one.name in _PACKAGES and one.type is click.STRING:
                one.type = _PACKAGE
        options = [_stored("--json", "json", "Print one JSON object.", is_flag=True)]
        if mission:
            options.append(
                _stored(
                    "--mission",
                    "selector",
                    "A mission: id, its first eight characters, or slug.",
                    metavar="MISSION",
                    type=_MISSION,
                )
            )
            options.append(_stored("--feature", "feature", hidden=True))
        if agent:
            options.append(_stored("--agent", "agent", "Who acts.", metavar="NAME"))
        made.params.extend(options)
        if group is not None:
            group.add_command(made)
        return made

    return make


def group(name: str, **attributes: Any) -> click.Group:
    """A click group for commands made with `command(…, group=…)`."""
    return click.Group(name, **attributes)


def _stored(flag: str, attribute: str, text: str = "", **attributes: Any) -> click.Option:
    """An option that is kept on the invocation and not handed to the function."""

    def keep(context: click.Context, parameter: click.Parameter, value: Any) -> None:
        if isinstance(value, str):
            value = value.strip()
            if not value:
                raise click.BadParameter("it is empty", context, parameter)
        if value not in (None, False):
            setattr(context.obj, attribute, value)

    return click.Option([flag], help=text, expose_value=False, callback=keep, **attributes)
