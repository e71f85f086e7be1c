"""Finds plugins, loads their manifests, calls their hooks, and keeps every fault as a line to be shown. The only module that knows pluggy.

Entry points are read from the `entry_points.txt` files on `sys.path`: `importlib.metadata` costs as much as a whole command.
"""

from __future__ import annotations

import importlib
import os
import re
import sys
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from kitty_host.api import Command, Finding, KittyError

GROUP = "kitty"
ALLOW_LIST = "KITTY_PLUGINS"
HOST = "kitty-host"


class Entry(NamedTuple):
    """One entry point of the group `kitty`."""

    name: str
    target: str
    distribution: str
    version: str


class Fault(NamedTuple):
    """Something a plugin did wrong; nothing else suffers from it."""

    plugin: str
    distribution: str
    message: str


class Claim(NamedTuple):
    """A command and who offers it."""

    command: Command
    entry: Entry


class PluginFault(Exception):
    """A hook of a plugin failed where there is no going on without it; exit code 3."""

    def __init__(self, plugin: str, hook: str, cause: BaseException) -> None:
        super().__init__(f"plugin {plugin}: {hook} failed: {_said(cause)}")
        self.plugin = plugin


class Plugins:
    """The plugins of one invocation."""

    def __init__(self, entries: Iterable[Entry]) -> None:
        import pluggy

        from kitty_host import hooks

        self.entries: dict[str, Entry] = {}
        self.faults: list[Fault] = []
        self._owners: dict[str, str] = {}
        self._manager = pluggy.PluginManager(GROUP)
        self._manager.add_hookspecs(hooks)
        found = list(entries)
        if len({entry.name for entry in found}) < len(found):
            own = _own_distributions()
            found.sort(key=lambda entry: entry.distribution not in own)
        for entry in found:
            self._load(entry)

    @classmethod
    def discover(cls) -> Plugins:
        """Every installed plugin that the environment variable `KITTY_PLUGINS` allows; the host's own commands are always there."""
        allowed = os.environ.get(ALLOW_LIST)
        names = None if allowed is None else {name.strip() for name in allowed.split(",")}
        return cls(
            entry for entry in find_entries() if names is None or entry.name in names or entry.distribution == HOST
        )

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
        """The first answer, or None. `KittyError` passes; anything else is a `PluginFault`."""
        try:
            return getattr(self._manager.hook, hook)(**arguments)
        except KittyError:
            raise
        except (Exception, SystemExit) as error:
            raise PluginFault(self.culprit(error) or ", ".join(self.implementers(hook)), hook, error) from error

    def required(self, hook: str, **arguments: Any) -> Any:
        """The first answer. Errors: `PLUGIN_MISSING` where nobody gives one."""
        answer = self.first(hook, **arguments)
        if answer is None:
            raise missing(f"nothing installed answers {hook}")
        return answer

    def collect(self, hook: str, **arguments: Any) -> list[Any]:
        """All answers, one list. A plugin that fails is left out and listed as a fault."""
        return [item for _, answer in self._each(hook, arguments) if isinstance(answer, list) for item in answer]

    def findings(self, hook: str, **arguments: Any) -> list[Finding]:
        """All findings of a check. A plugin that fails is itself a blocking finding."""
        found: list[Finding] = []
        for name, answer in self._each(hook, arguments):
            if isinstance(answer, list):
                strange = [item for item in answer if not isinstance(item, Finding)]
                if strange:
                    answer = TypeError(f"{strange[0]!r} is no Finding")
                    self._fault(self.entries[name], f"{hook} failed: {answer}")
            if isinstance(answer, Exception):
                found.append(_failed_check(name, hook, answer))
            else:
                found += answer
        return found

    def each(self, hook: str, **arguments: Any) -> Iterator[tuple[str, list[Any] | Exception]]:
        """Every plugin's answer with its name; a failure is the answer of the one that failed."""
        yield from self._each(hook, arguments)

    def observe(self, hook: str, **arguments: Any) -> None:
        """Tell everybody; faults are listed and change nothing."""
        for _ in self._each(hook, arguments):
            pass

    def commands(self) -> tuple[dict[str, Claim], dict[str, list[Claim]]]:
        """The commands by name, and the names that several strangers claim. `plugin:name` is always there.

        A name that the host's own distributions provide stays with them.
        """
        claims: dict[str, list[Claim]] = {}
        for name, answer in self._each("kitty_commands", {}):
            entry = self.entries[name]
            for command in answer if isinstance(answer, list) else ():
                if not isinstance(command, Command) or not re.fullmatch(r"[a-z][a-z0-9-]*", command.name):
                    self._fault(entry, f"kitty_commands gave {command!r}, which is no Command with a plain name")
                    continue
                claims.setdefault(command.name, []).append(Claim(command, entry))
        found: dict[str, Claim] = {}
        clashes: dict[str, list[Claim]] = {}
        own = _own_distributions() if any(len(claimed) > 1 for claimed in claims.values()) else frozenset()
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

    def load(self, claim: Claim) -> Any:
        """The click command that a claim names. Raises `PluginFault`, which is listed as well."""
        import click

        module, _, attribute = claim.command.target.partition(":")
        self._owners.setdefault(module.partition(".")[0], claim.entry.name)
        try:
            command = getattr(importlib.import_module(module), attribute)
            if not isinstance(command, click.Command):
                raise TypeError(f"{claim.command.target} is no click command")
        except (Exception, SystemExit) as error:
            fault = PluginFault(claim.entry.name, f"the command {claim.command.name}", error)
            self._fault(claim.entry, str(fault))
            raise fault from error
        return command

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
        if entry.name in self.entries:
            self._fault(entry, f"the name {entry.name} is taken by {self.entries[entry.name].distribution}")
            return
        try:
            manifest = importlib.import_module(entry.target.partition(":")[0])
        except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever a stranger's import does is one listed fault
            self._fault(entry, f"import of {entry.target} failed: {_said(error)}")
            return
        try:
            self._manager.register(manifest, entry.name)
            self.entries[entry.name] = entry
            self._owners.setdefault(entry.target.partition(".")[0], entry.name)
        except Exception as error:  # noqa: BLE001 - a wrong argument of a hook, for example
            if self._manager.has_plugin(entry.name):
                self._manager.unregister(name=entry.name)
            self._fault(entry, f"{entry.target}: {' '.join(str(error).split())}")
            return
        for name, value in vars(manifest).items():
            marked = callable(value) and isinstance(getattr(value, "kitty_impl", None), dict)
            if marked and not (hasattr(self._manager.hook, name) and getattr(self._manager.hook, name).has_spec()):
                self._fault(entry, f"there is no hook {name}")

    def _implementations(self, hook: str) -> list[Any]:
        return list(reversed(getattr(self._manager.hook, hook).get_hookimpls()))

    def _each(self, hook: str, arguments: dict[str, Any]) -> Iterator[tuple[str, Any]]:
        for implementation in self._implementations(hook):
            name = implementation.plugin_name
            try:
                answer = implementation.function(*(arguments[argument] for argument in implementation.argnames))
                given: Any = [] if answer is None else list(answer)
            except (Exception, SystemExit) as error:  # noqa: BLE001 - contained: the row of the hook table says what follows
                self._fault(self.entries[name], f"{hook} failed: {_said(error)}")
                given = error if isinstance(error, Exception) else RuntimeError(f"it left with exit code {error.code}")
            yield name, given

    def _fault(self, entry: Entry, message: str) -> None:
        fault = Fault(entry.name, entry.distribution, message)
        if fault not in self.faults:
            self.faults.append(fault)


def missing(what: str) -> KittyError:
    """The refusal `PLUGIN_MISSING`; the host's own metadata says which distributions are not installed."""
    absent = sorted(set(_own_distributions()) - {entry.distribution for entry in find_entries()})
    return KittyError(
        "PLUGIN_MISSING",
        what,
        f"not installed: {', '.join(absent)}; run: pip install {absent[0]}"
        if absent
        else "install a plugin that brings it",
        distributions=absent,
    )


def find_entries() -> list[Entry]:
    """The entry points of the group `kitty` on `sys.path`, sorted by name; the first of two copies of a distribution counts."""
    entries: dict[str, list[Entry]] = {}
    for place in sys.path:
        for distribution, version, text in _metadata(place or "."):
            if distribution not in entries:
                entries[distribution] = [
                    Entry(name, target, distribution, version) for name, target in _entry_points(text)
                ]
    return sorted(entry for found in entries.values() for entry in found)


def _metadata(place: str) -> Iterator[tuple[str, str, str]]:
    """Name, version and `entry_points.txt` of the distributions in one place of `sys.path`."""
    try:
        with os.scandir(place) as listing:
            names = [item.name for item in listing if item.name.endswith((".dist-info", ".egg-info"))]
    except NotADirectoryError:
        yield from _zipped_metadata(place)
        return
    except OSError:
        return
    for name in names:
        stem, _, kind = name.rpartition(".")
        if kind not in ("dist-info", "egg-info"):
            continue
        try:
            with open(  # noqa: PTH123 - measured
                os.path.join(place, name, "entry_points.txt"),  # noqa: PTH118
                encoding="utf-8",
                errors="replace",
            ) as stream:
                text = stream.read()
        except OSError:
            continue
        if f"[{GROUP}]" in text:
            yield (*_name_and_version(stem), text)


def _zipped_metadata(place: str) -> Iterator[tuple[str, str, str]]:
    import zipfile

    try:
        with zipfile.ZipFile(place) as archive:
            for name in archive.namelist():
                if name.endswith(".dist-info/entry_points.txt"):
                    yield (
                        *_name_and_version(name.partition(".dist-info")[0]),
                        archive.read(name).decode(errors="replace"),
                    )
    except (OSError, zipfile.BadZipFile):
        return


def _name_and_version(stem: str) -> tuple[str, str]:
    name, _, version = stem.partition("-")
    return re.sub(r"[-_.]+", "-", name).lower(), version.partition("-")[0]


def _entry_points(text: str) -> Iterator[tuple[str, str]]:
    section = ""
    for line in text.splitlines():
        line = line.strip()
        if line.startswith("["):
            section = line.strip("[]")
        elif section == GROUP and "=" in line and not line.startswith("#"):
            name, _, target = line.partition("=")
            yield name.strip(), target.partition("[")[0].strip()


def _own_distributions() -> frozenset[str]:
    """What the extras of the host's own metadata name, and the host."""
    from importlib.metadata import PackageNotFoundError, requires

    try:
        lines = requires(HOST) or []
    except PackageNotFoundError:
        lines = []
    named = {re.split(r"[^a-z0-9-]", line, maxsplit=1)[0] for line in lines if "extra ==" in line}
    return frozenset({HOST, *named})


def _said(error: BaseException) -> str:
    """An error as one line, whatever its author wrote."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def _failed_check(name: str, hook: str, error: Exception) -> Finding:
    return Finding(
        "PLUGIN_CHECK_FAILED",
        f"the check {hook} of plugin {name} failed: {_said(error)}",
        f"mend the plugin, or leave it out with {ALLOW_LIST}",
    )
