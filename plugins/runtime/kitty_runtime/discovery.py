"""Where mission types come from: plugins, and the project's own directory. One reader and one schema for all of them.

A type that is not valid is named with its path and line, and the others stay. Two of one key are both refused, whoever came first.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from kitty_host.api import Finding, KittyError
from kitty_host.files import stamp_of, write_cache
from kitty_host.inert import inert
from kitty_host.plugins import Plugins
from kitty_host.records import MissionType, Part, Step
from kitty_host.repo import Repo
from kitty_runtime.types import Place, faults, named, whole

FILE: Final = "mission-runtime.yaml"
OWN: Final = ".kittify/missions"
"""Where a project keeps types of its own, as in Spec Kitty: one directory each, with a file of that name."""
SHIPPED: Final = Path(__file__).parent / "mission_types"
_MOST: Final = 64 << 10
_VERSION: Final = 1
_MISSION: Final = ("key", "name", "version", "description")
# Those of Spec Kitty that mean nothing here are read over; a name that nobody knows is a mistake.
_STEP: Final = frozenset(
    (
        *("id", "title", "description", "prompt", "prompt_template", "artifact", "action", "parts", "depends_on"),
        *("expected_output", "requires_inputs", "raci", "raci_override_reason", "agent_profile", "agent-profile"),
        *("contract_ref", "order"),
    )
)


class Types(NamedTuple):
    """The mission types that can be had here."""

    known: Mapping[str, MissionType]
    findings: tuple[Finding, ...]
    """Those that are not valid, and keys that two types share."""
    barred: Mapping[str, Finding]
    """Keys that somebody wanted to define, and why there is no such type."""

    def get(self, key: str) -> MissionType:
        """The type of this key. Errors: `MISSION_TYPE_NOT_FOUND`, `MISSION_TYPE_INVALID`, `MISSION_TYPE_CLASH`."""
        found = self.known.get(key)
        if found is not None:
            return found
        barred = self.barred.get(key)
        if barred is not None:
            raise KittyError(barred.code, barred.message, barred.hint, path=barred.path)
        raise KittyError(
            "MISSION_TYPE_NOT_FOUND",
            f"there is no mission type {inert(key)}",
            f"there are: {', '.join(sorted(self.known)) or 'none'}; a project's own stand in {OWN}/KEY/{FILE}",
        )


def mission_types(plugins: Plugins, repo: Repo | None) -> Types:
    """Every type of the installed plugins and of the repository."""
    cache = _Cache(repo)
    found: list[MissionType] = []
    findings: list[Finding] = []
    barred: dict[str, Finding] = {}
    for source in [*plugins.collect("kitty_mission_types"), *_own_files(repo)]:
        read = cache.read(source) if isinstance(source, Path) else _checked(source)
        if isinstance(read, MissionType):
            found.append(read)
        else:
            findings.append(read)
            barred[_key_of(source)] = read
    cache.save()
    by_key: dict[str, list[MissionType]] = {}
    for one in found:
        by_key.setdefault(one.key, []).append(one)
    for key, several in by_key.items():
        if len(several) > 1:
            sources = " and ".join(inert(one.source) for one in several)
            message = f"two mission types are called {key}: {sources}"
            barred[key] = Finding("MISSION_TYPE_CLASH", message, "give one of them another key", "warn")
            findings.append(barred[key])
    return Types({key: one for key, (one, *more) in by_key.items() if not more}, tuple(findings), barred)


def mission_type(plugins: Plugins, repo: Repo, key: str) -> MissionType:
    """The type of one mission. Errors: as `Types.get`."""
    return mission_types(plugins, repo).get(key)


def _own_files(repo: Repo | None) -> list[Path]:
    if repo is None:
        return []
    try:
        return sorted(path for one in (repo.root / OWN).iterdir() if (path := one / FILE).is_file())
    except (FileNotFoundError, NotADirectoryError):
        return []


def _key_of(source: Any) -> str:
    """What a type that cannot be read would be called: whoever asks for that name is told why it is not there."""
    if isinstance(source, Path):
        return source.parent.name if source.name == FILE else source.stem
    return str(getattr(source, "key", ""))


def _checked(found: Any) -> MissionType | Finding:
    """A type that a plugin made, if it is valid."""
    if not isinstance(found, MissionType):
        message = f"a plugin gave a {type(found).__name__} where a mission type was expected"
        return Finding("MISSION_TYPE_INVALID", message, "see: kitty plugins list", "warn")
    try:
        complete = named(found)
        wrong = next(faults(complete), None)
    except (TypeError, AttributeError, ValueError) as error:
        wrong = ((), inert(str(error), prose=True))
    if wrong is None:
        return whole(complete)
    source = inert(found.source or "a plugin")
    message = f"{source}: mission type {inert(str(found.key))}: {_shown(wrong[0])}{wrong[1]}"
    return Finding("MISSION_TYPE_INVALID", message, "see: kitty plugins list", "warn")


def _shown(place: Place) -> str:
    return f"{'.'.join(map(str, place))}: " if place else ""


class _Cache:
    """The types that files said, by the files' stamps: YAML takes longer to load than a question may take in all."""

    def __init__(self, repo: Repo | None) -> None:
        self.path = repo.cache / "mission-types.json" if repo else None
        self.known: dict[str, Any] = {}
        self.used: dict[str, Any] = {}
        if self.path is not None:
            with contextlib.suppress(OSError, ValueError, KeyError, TypeError, RecursionError):
                told = json.loads(self.path.read_bytes())
                self.known = dict(told["files"]) if told["version"] == _VERSION else {}

    def read(self, path: Path) -> MissionType | Finding:
        """The type in a file."""
        known = self.known.get(str(path))
        with contextlib.suppress(ValueError, KeyError, TypeError, AttributeError):  # garbage is as good as no cache
            if known and all(stamp_of(Path(name)) == stamp for name, stamp in known["stamps"].items()):
                self.used[str(path)] = known
                return _told(known["type"]) if "type" in known else Finding(*known["finding"])
        template_stamps: dict[str, Any] = {}
        stamp = stamp_of(path)
        try:
            found = read_type(path, template_stamps)
        except KittyError as error:
            finding = Finding(error.code, error.message, error.hint, "warn", str(path))
            self._keep(path, {str(path): stamp, **template_stamps}, {"finding": list(finding)})
            return finding
        self._keep(path, {str(path): stamp, **template_stamps}, {"type": found})
        return found

    def _keep(self, path: Path, stamps: Mapping[str, Any], said: dict[str, Any]) -> None:
        if None not in stamps.values():
            self.used[str(path)] = {"stamps": stamps, **said}

    def save(self) -> None:
        """Keep what was read."""
        if self.path is None or self.used == self.known:
            return
        # A cache that cannot be written costs time and nothing else.
        with contextlib.suppress(KittyError, OSError, TypeError, ValueError):
            write_cache(self.path, json.dumps({"version": _VERSION, "files": self.used}).encode())


def _told(values: Any) -> MissionType:
    key, name, version, steps, source, description = values
    made = [Step(*step)._replace(parts=tuple(Part(*part) for part in step[-1])) for step in steps]
    return MissionType(key, name, version, tuple(made), source, description)


# The file


def read_type(path: Path, templates: dict[str, Any]) -> MissionType:
    """The type in a YAML file; `templates` gets the stamps of the prompts it names. Errors: `MISSION_TYPE_INVALID`, with path and line."""
    from kitty_host.config import parse_yaml, yaml_line

    try:
        text = path.read_bytes()
    except OSError as error:
        raise KittyError(
            "MISSION_TYPE_INVALID", f"{path}: {error.strerror}", "make it a readable file", path=str(path)
        ) from error
    if len(text) > _MOST:
        raise KittyError(
            "MISSION_TYPE_INVALID", f"{path} has more than {_MOST} bytes", "make it smaller", path=str(path)
        )
    try:
        made = named(_record(parse_yaml(text, path, code="MISSION_TYPE_INVALID"), path, templates))
        wrong = next(faults(made), None)
    except _Wrong as error:
        wrong = (error.place, error.message)
    if wrong is None:
        return whole(made)
    line = yaml_line(text, wrong[0])
    raise KittyError(
        "MISSION_TYPE_INVALID",
        f"{path}, line {line}: {wrong[1]}",
        "mend the mission type there",
        path=str(path),
        line=line,
    )


class _Wrong(Exception):
    """A value that is not what the schema wants."""

    def __init__(self, place: Place, message: str) -> None:
        super().__init__(message)
        self.place = place
        self.message = message


def _record(data: Any, path: Path, templates: dict[str, Any]) -> MissionType:
    top = _mapping(data, ())
    head = _mapping(top.get("mission"), ("mission",))
    key, name, version, description = (_text(head.get(one), ("mission", one)) for one in _MISSION)
    steps = top.get("steps")
    if not isinstance(steps, list):
        raise _Wrong(("steps",), "steps are a list")
    made: list[Step] = []
    for number, step in enumerate(steps):
        made.append(_step(_mapping(step, ("steps", number)), ("steps", number), path, templates))
        _require_earlier(step, number, {one.id for one in made[:-1]})
    return MissionType(key, name, version, tuple(made), str(path), description)


def _step(step: Mapping[str, Any], at: Place, path: Path, templates: dict[str, Any]) -> Step:
    for name in step:
        if name not in _STEP:
            raise _Wrong((*at, name), f"nobody knows a key {inert(str(name))} of a step")
    texts = {name: _text(step.get(name), (*at, name)) for name in ("id", "title", "prompt", "artifact", "action")}
    if step.get("prompt_template") is not None:
        place = (*at, "prompt_template")
        texts["prompt"] = _template(_text(step["prompt_template"], place), place, path, templates)
    texts["prompt"] = texts["prompt"] or _text(step.get("description"), (*at, "description"))
    return Step(**texts, parts=tuple(_parts(step.get("parts"), (*at, "parts"))))


def _parts(value: Any, at: Place) -> Iterator[Part]:
    if value is None:
        return
    if not isinstance(value, list):
        raise _Wrong(at, "parts are a list")
    for number, part in enumerate(value):
        place = (*at, number)
        told = {"heading": part} if isinstance(part, str) else _mapping(part, place)
        hint = _text(told.get("hint"), (*place, "hint"))
        yield Part(_text(told.get("heading"), (*place, "heading")), " ".join(hint.split()).replace("-->", "→"))


def _require_earlier(step: Mapping[str, Any], number: int, earlier: Iterable[str]) -> None:
    needed = step.get("depends_on") or []
    place: Place = ("steps", number, "depends_on")
    for one in needed if isinstance(needed, list) else [needed]:
        if one not in earlier:
            raise _Wrong(place, f"{inert(str(one))} is no step before this one")


def _template(name: str, at: Place, path: Path, templates: dict[str, Any]) -> str:
    """The text of a prompt that stands in a file of its own, beside the type or below it."""
    place = path.parent / name
    if not place.resolve().is_relative_to(path.parent.resolve()):
        raise _Wrong(at, f"{inert(name)} leads out of {inert(path.parent.name)}")
    templates[str(place)] = stamp_of(place)
    try:
        with place.open("rb") as stream:
            content = stream.read(_MOST + 1)
    except OSError as error:
        raise _Wrong(at, f"{inert(name)}: {error.strerror}") from error
    if len(content) > _MOST:
        raise _Wrong(at, f"{inert(name)} has more than {_MOST} bytes")
    return content.decode(errors="replace")


def _mapping(value: Any, at: Place) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise _Wrong(at, f"{_name(at)} is no mapping")
    return value


def _text(value: Any, at: Place) -> str:
    if value is None:
        return ""
    if not isinstance(value, str) or "\0" in value:
        raise _Wrong(at, f"{_name(at)} is no text")
    return value


def _name(at: Place) -> str:
    names = [str(one) for one in at if not isinstance(one, int)]
    return inert(names[-1]) if names else "the file"
