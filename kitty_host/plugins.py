"""Loads the manifests of plugins, calls their hooks, and keeps every fault as a line to be shown. The only module that knows pluggy.

Which plugins are installed is found in :mod:`kitty_host.discovery`; what one call may take, in :mod:`kitty_host.containment`.
"""

from __future__ import annotations

import contextlib
import importlib
import itertools
import os
import re
import reprlib
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from kitty_host.api import Command, Finding, KittyError
from kitty_host.containment import TimeUp, TooLong, answers, contained, default_seconds
from kitty_host.discovery import GROUP, HOST, Entry, find_entries, own_distributions

ALLOW_LIST = "KITTY_PLUGINS"
LINE = 500
"""How much of an error's text is shown."""


class Fault(NamedTuple):
    """Something a plugin did wrong; nothing else suffers from it."""

    plugin: str
    distribution: str
    message: str


class Loading(NamedTuple):
    """What it took to import a manifest."""

    seconds: float
    modules: tuple[str, ...]
    """What it brought in, itself included; not what an earlier manifest had brought in already."""


class Claim(NamedTuple):
    """A command and who offers it."""

    command: Command
    entry: Entry


class PluginFault(Exception):
    """A hook of a plugin failed where there is no going on without it; exit code 3."""

    def __init__(self, plugin: str, hook: str, cause: BaseException) -> None:
        super().__init__(_failure(plugin, hook, cause))
        self.plugin = plugin


class Plugins:
    """The plugins of one invocation."""

    def __init__(self, entries: Iterable[Entry]) -> None:
        import pluggy

        from kitty_host import hooks

        self.entries: dict[str, Entry] = {}
        """What is loaded, by name."""
        self.failed: list[Entry] = []
        self.not_allowed: list[Entry] = []
        self.loadings: dict[str, Loading] = {}
        self.faults: list[Fault] = []
        self.notes: list[str] = []
        """Failures that no answer shows, one line each, for whoever started the command."""
        self._seconds = default_seconds()
        self._ask_limit: Callable[[], float] | None = None
        self._stuck: dict[tuple[str, str], TooLong] = {}
        self._claims: tuple[dict[str, Claim], dict[str, list[Claim]]] | None = None
        self._owners: dict[str, str] = {}
        self._manager = pluggy.PluginManager(GROUP)
        self._manager.add_hookspecs(hooks)
        found = list(entries)
        if len({entry.name for entry in found}) < len(found):
            own = own_distributions()
            found.sort(key=lambda entry: entry.distribution not in own)
        for entry in found:
            self._load(entry)

    @classmethod
    def discover(cls) -> Plugins:
        """Every installed plugin that the environment variable `KITTY_PLUGINS` allows; the host's own commands are always there."""
        allowed = os.environ.get(ALLOW_LIST)
        names = None if allowed is None else {name.strip() for name in allowed.split(",")}
        found = find_entries()
        wanted = [entry for entry in found if names is None or entry.name in names or entry.distribution == HOST]
        plugins = cls(wanted)
        plugins.not_allowed = [entry for entry in found if entry not in wanted]
        return plugins

    def ask_limit(self, ask: Callable[[], float]) -> None:
        """From now on the time limit, in seconds, is what `ask` says. It is asked when a hook is called that has a limit."""
        self._ask_limit = ask

    def implements(self, hook: str) -> bool:
        """Whether any plugin implements a hook."""
        return bool(self._implementations(hook))

    def implementers(self, hook: str) -> list[str]:
        """The names of the plugins that implement a hook, in the order in which they are asked."""
        return [implementation.plugin_name for implementation in self._implementations(hook)]

    def hooks_of(self, name: str) -> list[str]:
        """The hooks that a plugin implements."""
        plugin = self._manager.get_plugin(name)
        callers = self._manager.get_hookcallers(plugin) if plugin is not None else None
        return sorted(caller.name for caller in callers or ())

    def first(self, hook: str, **arguments: Any) -> Any:
        """The first answer, or None, however long it takes. `KittyError` passes; anything else is a `PluginFault`."""
        try:
            return contained(lambda: getattr(self._manager.hook, hook)(**arguments))
        except (KittyError, KeyboardInterrupt, TimeUp):
            raise
        except BaseException as error:
            raise PluginFault(self.culprit(error) or ", ".join(self.implementers(hook)), hook, error) from error

    def required(self, hook: str, **arguments: Any) -> Any:
        """The first answer. Errors: `PLUGIN_MISSING` where nobody gives one."""
        answer = self.first(hook, **arguments)
        if answer is None:
            raise missing(f"nothing installed answers {hook}")
        return answer

    def collect(self, hook: str, **arguments: Any) -> list[Any]:
        """All answers, one list. A plugin that fails is left out, listed as a fault and noted."""
        found: list[Any] = []
        for name, answer in self._each(hook, arguments):
            if isinstance(answer, list):
                found += answer
            else:
                self._note(_failure(name, hook, answer))
        return found

    def findings(self, hook: str, **arguments: Any) -> list[Finding]:
        """All findings of a check. A plugin that fails is itself a blocking finding."""
        found: list[Finding] = []
        for name, answer in self.each(hook, of=Finding, **arguments):
            found += answer if isinstance(answer, list) else [_failed_check(name, hook, answer)]
        return found

    def each(self, hook: str, *, of: type = object, **arguments: Any) -> Iterator[tuple[str, list[Any] | Exception]]:
        """Every plugin's answer with its name; a failure, such as an item that is no `of`, is the answer of the one that failed."""
        yield from self._each(hook, arguments, of=of)

    def observe(self, hook: str, **arguments: Any) -> None:
        """Tell everybody; faults are listed and noted and change nothing."""
        if not self.implements(hook):
            return
        try:
            seconds = self._limit()
        except KittyError as error:
            # What is observed has happened: a mistake in the configuration is not to look like a refusal of it.
            self._note(str(error))
            seconds = self._seconds
        for name, answer in self._each(hook, arguments, seconds):
            if isinstance(answer, Exception):
                self._note(_failure(name, hook, answer))

    def commands(self) -> tuple[dict[str, Claim], dict[str, list[Claim]]]:
        """The commands by name, and the names that several strangers claim. `plugin:name` is always there.

        A name that the host's own distributions provide stays with them. Plugins are asked once.
        """
        if self._claims is None:
            self._claims = self._settle(self._claimed())
        return self._claims

    def _claimed(self) -> dict[str, list[Claim]]:
        claims: dict[str, list[Claim]] = {}
        for name, answer in self._each("kitty_commands", {}, self._seconds):
            entry = self.entries[name]
            for command in answer if isinstance(answer, list) else ():
                if _is_plain(command):
                    claims.setdefault(command.name, []).append(Claim(command, entry))
                else:
                    told = f"kitty_commands gave {reprlib.repr(command)}, which is no Command with a plain name"
                    self._fault(entry, told)
        return claims

    def _settle(self, claims: dict[str, list[Claim]]) -> tuple[dict[str, Claim], dict[str, list[Claim]]]:
        found: dict[str, Claim] = {}
        clashes: dict[str, list[Claim]] = {}
        own = own_distributions() if any(len(claimed) > 1 for claimed in claims.values()) else frozenset()
        for name, claimed in claims.items():
            found.update({f"{claim.entry.name}:{name}": claim for claim in claimed})
            winners = claimed if len(claimed) == 1 else [claim for claim in claimed if claim.entry.distribution in own]
            if len(winners) == 1:
                found[name] = winners[0]
                for thief in claimed:
                    if thief is not winners[0]:
                        self._fault(
                            thief.entry,
                            f"the command {name} belongs to {winners[0].entry.distribution}; use {thief.entry.name}:{name}",
                        )
            else:
                clashes[name] = claimed
        return found, clashes

    def load(self, claim: Claim, seconds: float | None = None) -> Any:
        """The click command that a claim names, imported in `seconds` at most. Raises `PluginFault`, which is listed as well."""
        import click

        module, _, attribute = claim.command.target.partition(":")
        self._owners.setdefault(module.partition(".")[0], claim.entry.name)
        try:
            command = contained(lambda: getattr(importlib.import_module(module), attribute), seconds)
            if not isinstance(command, click.Command):
                raise TypeError(f"{claim.command.target} is no click command")
        except (KeyboardInterrupt, TimeUp):
            raise
        except BaseException as error:
            fault = PluginFault(claim.entry.name, f"the command {claim.command.name}", error)
            self._fault(claim.entry, str(fault))
            raise fault from error
        return command

    def load_all(self) -> None:
        """Import every command, to see whether it is there; faults are listed."""
        for claim in self.commands()[0].values():
            with contextlib.suppress(PluginFault):
                self.load(claim, self._seconds)

    def plugin_of_module(self, module: str) -> str | None:
        """The plugin that a module belongs to: it lies beside a manifest, or beside a command that was loaded."""
        return self._owners.get(module.partition(".")[0])

    def culprit(self, error: BaseException) -> str | None:
        """The plugin whose code an error came out of or through, the innermost if there are several; the host's own is none."""
        trace = error.__traceback__
        found = None
        while trace is not None:
            owner = self.plugin_of_module(str(trace.tb_frame.f_globals.get("__name__", "")))
            found = owner if owner and self.entries[owner].distribution != HOST else found
            trace = trace.tb_next
        return found

    def _load(self, entry: Entry) -> None:
        wrong = self._taken(entry) or self._imported(entry) or self._registered(entry)
        if wrong:
            self.failed.append(entry)
            self._fault(entry, wrong)

    def _taken(self, entry: Entry) -> str:
        owner = self.entries.get(entry.name)
        return f"the name {entry.name} is taken by {owner.distribution}" if owner else ""

    def _imported(self, entry: Entry) -> str:
        known, begun = len(sys.modules), time.perf_counter()
        try:
            contained(lambda: importlib.import_module(_module(entry)), self._seconds, descriptor=False)
        except (KeyboardInterrupt, TimeUp):
            raise
        except BaseException as error:  # noqa: BLE001 - whatever a stranger's import does is one listed fault
            return f"import of {entry.target} failed: {_said(error)}"
        new = tuple(itertools.islice(sys.modules, known, None))
        self.loadings[entry.name] = Loading(time.perf_counter() - begun, new)
        return ""

    def _registered(self, entry: Entry) -> str:
        strange = []
        try:
            manifest = sys.modules[_module(entry)]
            for hook, wraps in _marked(manifest):
                caller = getattr(self._manager.hook, hook, None)
                if caller is None or not caller.has_spec():
                    strange.append(hook)
                elif wraps and not caller.spec.opts.get("firstresult"):
                    raise ValueError(f"{hook} has no one answer to wrap: wrappers are for hooks that have")
            self._manager.register(manifest, entry.name)
        except Exception as error:  # noqa: BLE001 - a wrong argument of a hook, for example
            if self._manager.has_plugin(entry.name):
                self._manager.unregister(name=entry.name)
            return f"{entry.target}: {_said(error)}"
        self.entries[entry.name] = entry
        self._owners.setdefault(entry.target.partition(".")[0], entry.name)
        for hook in strange:
            self._fault(entry, f"there is no hook {hook}")
        return ""

    def _implementations(self, hook: str) -> list[Any]:
        return list(reversed(getattr(self._manager.hook, hook).get_hookimpls()))

    def _limit(self) -> float:
        if self._ask_limit is not None:
            # Known only when it could be read: a mistake in the configuration is told every time.
            self._seconds = self._ask_limit()
            self._ask_limit = None
        return self._seconds

    def _each(
        self, hook: str, arguments: dict[str, Any], seconds: float | None = None, of: type = object
    ) -> Iterator[tuple[str, list[Any] | Exception]]:
        for implementation in self._implementations(hook):
            seconds = self._limit() if seconds is None else seconds
            asked = (implementation.plugin_name, hook)
            # Who did not come back is not waited for again: `kitty finalize` tells of thirty rows.
            answer = self._stuck.get(asked) or self._asked(implementation, hook, arguments, seconds, of)
            if isinstance(answer, TooLong):
                self._stuck[asked] = answer
            yield implementation.plugin_name, answer

    def _asked(
        self, implementation: Any, hook: str, arguments: dict[str, Any], seconds: float, of: type
    ) -> list[Any] | Exception:
        def ask() -> list[Any]:
            given = implementation.function(*(arguments[argument] for argument in implementation.argnames))
            items = [] if given is None else answers(given)
            strange = [item for item in items if not isinstance(item, of)]
            if strange:
                raise TypeError(f"{reprlib.repr(strange[0])} is no {of.__name__}")
            return items

        try:
            return contained(ask, seconds, descriptor=hook != "kitty_commands")
        except (KeyboardInterrupt, TimeUp):
            raise
        except BaseException as error:  # noqa: BLE001 - the row of the hook table says what follows
            self._fault(self.entries[implementation.plugin_name], f"{hook} failed: {_said(error)}")
            return error if isinstance(error, Exception) else RuntimeError(_said(error))

    def _note(self, note: str) -> None:
        if note not in self.notes:
            self.notes.append(note)

    def _fault(self, entry: Entry, message: str) -> None:
        fault = Fault(entry.name, entry.distribution, message)
        if fault not in self.faults:
            self.faults.append(fault)


def missing(what: str, role: str = "") -> KittyError:
    """The refusal `PLUGIN_MISSING`; the host's own metadata says which distributions are not installed, and which fills a role."""
    absent = sorted(set(own_distributions()) - {entry.distribution for entry in find_entries()})
    if absent:
        named = [name for name in absent if name.endswith(f"-{role}")] or absent
        wanted = named[0] if len(named) == 1 else "'kitty-host[all]'"
        hint = f"not installed: {', '.join(absent)}; run: pip install {wanted}"
    elif ALLOW_LIST in os.environ:
        hint = f"{ALLOW_LIST}={os.environ[ALLOW_LIST]} leaves plugins out: unset it, or name the one that brings it"
    else:
        hint = "install a plugin that brings it"
    return KittyError("PLUGIN_MISSING", what, hint, distributions=absent)


def _module(entry: Entry) -> str:
    return entry.target.partition(":")[0]


def _is_plain(command: Any) -> bool:
    if not isinstance(command, Command) or not all(isinstance(part, str) for part in command):
        return False
    return re.fullmatch(r"[a-z][a-z0-9-]*", command.name) is not None


def _marked(manifest: Any) -> Iterator[tuple[str, bool]]:
    """The hooks that functions of a manifest are marked for, and whether as a wrapper."""
    for name, value in vars(manifest).items():
        options = getattr(value, "kitty_impl", None) if callable(value) else None
        if isinstance(options, dict):
            yield options.get("specname") or name, bool(options.get("wrapper") or options.get("hookwrapper"))


def _said(error: BaseException) -> str:
    """An error as one line, whatever its author wrote."""
    try:
        text = " ".join(str(error).split())
    except Exception:  # noqa: BLE001 - the text is a plugin's code like any other
        text = "(its text cannot be told)"
    return f"{type(error).__name__}: {text[:LINE]}"


def _failure(plugin: str, hook: str, error: BaseException) -> str:
    return f"plugin {plugin}: {hook} failed: {_said(error)}"


def _failed_check(name: str, hook: str, error: Exception) -> Finding:
    return Finding(
        "PLUGIN_CHECK_FAILED",
        f"the check {hook} of plugin {name} failed: {_said(error)}",
        f"mend the plugin, or leave it out with {ALLOW_LIST}",
    )
