"""`.kittify/config.yaml`: typed sections for whoever owns them, and writes that keep the user's comments.

The file is shared with spec-kitty; keys that nobody here knows are left as they are. A value of the wrong type is `CONFIG_INVALID`, never a
default.
"""

from __future__ import annotations

import contextlib
import io
import json
import reprlib
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from kitty_host.api import KittyError
from kitty_host.files import atomic_write, stamp_of, write_cache
from kitty_host.inert import inert

if TYPE_CHECKING:
    from cattrs import Converter

Section = TypeVar("Section")

_NODES, _DEPTH = 50_000, 100
_ODD = (b"&", b"\0", b"\xc2\x85", b"\xe2\x80\xa8", b"\xe2\x80\xa9")
"""An anchor; another encoding; line breaks that only YAML knows."""
_SCALARS = (int, str, bool, float)


class Config:
    """The parsed file; `data` is plain mappings and lists."""

    def __init__(self, path: Path, data: Mapping[str, Any]) -> None:
        self.path = path
        self.data = data

    @classmethod
    def load(cls, path: Path, cache: Path | None = None) -> Config:
        """Read the file; a missing one is empty. What it said last is kept in `cache`, since YAML takes long to load.

        Errors: `CONFIG_INVALID`.
        """
        stamp = stamp_of(path)
        if stamp is None:
            return cls(path, {})
        if cache is None:
            return cls._parse(path)
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError, RecursionError):
            known = json.loads(cache.read_bytes())
            if known["stamp"] == stamp and isinstance(known["data"], dict):
                return cls(path, known["data"])
        found = cls._parse(path)
        # Garbage in a cache is as good as no cache, and one that cannot be written costs time and nothing else.
        with contextlib.suppress(KittyError, OSError, ValueError, TypeError):
            content = json.dumps({"stamp": stamp, "data": found.data}, allow_nan=False)
            # JSON has no dates, and no keys but texts.
            if json.loads(content)["data"] == found.data:
                write_cache(cache, content.encode())
        return found

    @classmethod
    def _parse(cls, path: Path) -> Config:
        text = path.read_bytes()
        data = parse_yaml(text, path, code="CONFIG_INVALID")
        if data is None:
            data = {}
        if not isinstance(data, dict):
            raise KittyError("CONFIG_INVALID", f"{path} is not a mapping", "write it as `key: value` lines")
        return cls(path, data)

    def section(self, name: str, record: type[Section]) -> Section:
        """The mapping under `name` (dots go deeper) as an attrs record, or a named tuple; absent keys take its defaults."""
        found: Any = self.data
        for part in name.split("."):
            found = found.get(part)
            if found is None:
                found = {}
            elif not isinstance(found, Mapping):
                raise KittyError(
                    "CONFIG_INVALID",
                    f"{self.path}: {part} is not a mapping",
                    f"correct {name} in {self.path.name}",
                    path=str(self.path),
                    key=name,
                )
        # cattrs takes longer to load than most commands take in all.
        plain = _plainly(found, record)
        if plain is not None:
            return plain
        return structure(found, record, where=name, path=self.path, code="CONFIG_INVALID")

    def set(self, key: str, value: Any) -> None:
        """Write one value (dots go deeper); comments, order and quoting of the rest survive. Errors: `CONFIG_INVALID`."""
        from ruamel.yaml import YAML

        Config.load(self.path)
        yaml = YAML()
        yaml.preserve_quotes = True
        yaml.width = 4096
        content = self.path.read_bytes() if self.path.exists() else b""
        document = yaml.load(content.replace(b"\r\n", b"\n"))
        if document is None:
            document = yaml.map()
        *parents, last = key.split(".")
        place = document
        for parent in parents:
            if not isinstance(place.get(parent), dict):
                place[parent] = yaml.map()
            place = place[parent]
        place[last] = value
        stream = io.BytesIO()
        yaml.dump(document, stream)
        written = stream.getvalue()
        atomic_write(self.path, written.replace(b"\n", b"\r\n") if b"\r\n" in content else written)
        self.data = Config.load(self.path).data


def parse_yaml(text: bytes | str, path: Path, *, code: str) -> Any:
    """Parse YAML into plain values: at most 50,000 of them, with every alias counted as what it stands for, 100 deep.

    Errors: `code`, with the line.
    """
    from ruamel.yaml.error import MarkedYAMLError, YAMLError

    try:
        if not _is_plainly_bounded(text):
            _require_bounded(text)
        return _safe().load(text)
    # A tag that its value does not fit gives whatever the conversion gives, of which LookupError is one.
    except (YAMLError, ValueError, LookupError, OverflowError) as error:
        mark = error.problem_mark if isinstance(error, MarkedYAMLError) else None
        place = f"{path}, line {mark.line + 1}" if mark is not None else str(path)
        told = (error.problem if isinstance(error, MarkedYAMLError) else None) or str(error).partition("\n")[0]
        problem = told if told.isprintable() else inert(told, prose=True)
        raise KittyError(
            code, f"{place}: {problem}", "mend the YAML there", path=str(path), line=mark.line + 1 if mark else None
        ) from error


def yaml_line(text: bytes | str, place: Sequence[str | int]) -> int:
    """The line, from 1, of a value in YAML that `parse_yaml` has read; of the nearest there is where the value itself is missing."""
    node = _safe().compose(text)
    line = 1
    for step in place:
        if node is None:
            break
        pairs = node.value if isinstance(node.value, list) else []
        if isinstance(step, int):
            found = pairs[step] if step < len(pairs) else None
            line = found.start_mark.line + 1 if found is not None else line
        else:
            key, found = next(((key, one) for key, one in filter(_is_pair, pairs) if key.value == step), (None, None))
            line = key.start_mark.line + 1 if key is not None else line
        node = found
    return line


def _is_pair(value: Any) -> bool:
    return isinstance(value, tuple) and len(value) == 2


def _is_plainly_bounded(text: bytes | str) -> bool:
    """Whether a glance shows that a text stays small: nothing that can be repeated, and nothing that nests.

    No value takes less than a byte. A level takes a bracket, a dash or a question mark, or a deeper indentation, at which a list may
    stand beside its key.
    """
    content = text.encode(errors="surrogatepass") if isinstance(text, str) else text
    if len(content) > _NODES or any(odd in content for odd in _ODD):
        return False
    brackets = content.count(b"[") + content.count(b"{")
    lines = content.splitlines()
    return brackets + max((_levels(line) for line in lines), default=0) < _DEPTH


def _levels(line: bytes) -> int:
    return 2 * (len(line) - len(line.lstrip()) + 1) + line.count(b"-") + line.count(b"?")


def _require_bounded(text: bytes | str) -> None:
    """Refuse what a few kilobytes can make of themselves: the stack of the C parser and the merging of keys know no limit."""
    from ruamel.yaml.error import MarkedYAMLError
    from ruamel.yaml.events import AliasEvent, CollectionEndEvent, CollectionStartEvent, ScalarEvent

    nodes = 0
    sizes: dict[str, int] = {}
    around: list[tuple[str | None, int]] = []
    with contextlib.closing(_safe().parse(text)) as events:
        for event in events:
            problem = ""
            if isinstance(event, AliasEvent):
                if any(event.anchor == anchor for anchor, _ in around):
                    problem = "an alias of what it stands in"
                nodes += sizes.get(event.anchor, 1)
            elif isinstance(event, ScalarEvent):
                nodes += 1
            elif isinstance(event, CollectionStartEvent):
                around.append((event.anchor, nodes))
                nodes += 1
            elif isinstance(event, CollectionEndEvent):
                anchor, before = around.pop()
                if anchor:
                    sizes[anchor] = nodes - before
            if nodes > _NODES or len(around) > _DEPTH:
                problem = f"more than {_NODES} values" if nodes > _NODES else f"nested deeper than {_DEPTH}"
            if problem:
                raise MarkedYAMLError(problem=problem, problem_mark=event.start_mark)


def _safe() -> Any:
    """The one reader of plain values: making one costs as much as reading a small file."""
    made = _made()
    # It keeps a note of every document that it has read, which nobody asks for.
    made.doc_infos.clear()
    return made


@cache
def _made() -> Any:
    from ruamel.yaml import YAML

    return YAML(typ="safe")


def _plainly(found: Mapping[str, Any], record: type[Section]) -> Section | None:
    """The record where everything said is a scalar of the very type of its field; None leaves it, and every complaint, to cattrs."""
    kinds = get_type_hints(record) if found else {}
    for name, value in found.items():
        kind = kinds.get(name)
        if get_origin(kind) is Literal:
            if not any(type(value) is type(one) and value == one for one in get_args(kind)):
                return None
        elif name in kinds and not (kind in _SCALARS and _is_exactly(value, kind)):
            return None
    try:
        return record(**{name: value for name, value in found.items() if name in kinds})
    except (TypeError, ValueError):
        return None


def structure(value: Any, record: type[Section], *, where: str, path: Path, code: str) -> Section:
    """Plain values to an attrs record, strictly: a string is no number and "no" is no boolean. Errors: `code`, with the key."""
    from cattrs import transform_error

    try:
        return converter().structure(value, record)
    except Exception as error:
        said = transform_error(error, path=where or "$", format_exception=_worded)[0].replace(" @ ", " at ")
        raise KittyError(
            code, f"{path}: {said}", f"correct {where or 'the value'} in {path.name}", path=str(path), key=where
        ) from error


def _worded(error: BaseException, kind: type[Any] | None) -> str:
    """As cattrs puts it, but what a validator of the record says is not lost."""
    from cattrs.v import format_exception

    return str(error.args[0]) if isinstance(error, ValueError) and error.args else format_exception(error, kind)


@cache
def converter() -> Converter:
    """The host's cattrs converter."""
    from cattrs import Converter
    from cattrs.cols import is_namedtuple, namedtuple_dict_structure_factory

    made = Converter()
    # For what a command reads that cannot wait for attrs (ADR 0006).
    made.register_structure_hook_factory(is_namedtuple, namedtuple_dict_structure_factory)
    for kind in _SCALARS:
        made.register_structure_hook(kind, _exactly)
    made.register_structure_hook_factory(_is_list, _list_of)
    return made


def _is_list(kind: Any) -> bool:
    return get_origin(kind) is tuple or get_origin(kind) is list


def _list_of(kind: Any, converter: Converter) -> Callable[[Any, Any], Any]:
    """A text is no list of its characters."""
    element = get_args(kind)[0]
    return lambda value, _: get_origin(kind)(converter.structure(one, element) for one in _listed(value))


def _listed(value: Any) -> list[Any] | tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        raise ValueError(f"{_short(value)} is not a list")
    return value


def _short(value: Any) -> str:
    """`reprlib` shows six of each of six levels, which is many."""
    text = reprlib.repr(value)
    return text if len(text) <= 80 else f"{text[:79]}…"


def _is_exactly(value: Any, kind: type[Any] | None) -> bool:
    return type(value) is kind or (kind is float and type(value) is int)


def _exactly(value: Any, kind: type[Any]) -> Any:
    if _is_exactly(value, kind):
        return value
    raise ValueError(f"{_short(value)} is not {'an' if kind is int else 'a'} {kind.__name__}")
