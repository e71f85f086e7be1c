"""The public surface of a distribution's modules, as JSON: a script for the interpreter of a project, and never imported by kitty.

It needs the standard library alone, because it runs where kitty is not installed. Its argument is
`{"distribution", "modules", "mark"}`. It prints the mark before each JSON line of its own, so that what a module prints while it is
imported is told apart: `{"version"}`, `{"importing": MODULE}` for each, `{"failed": WHY}` where that raised, and at last
`{"modules": {MODULE: {NAME: …}}}`.

The same code gives the same bytes, on another machine and under another Python: annotations are written as in the source, sets
are sorted, and of a value that is not plain only the type is told.
"""

from __future__ import annotations

import ast
import enum
import functools
import importlib
import importlib.metadata
import importlib.util
import inspect
import json
import os
import sys
import types
import typing
from pathlib import Path
from typing import Any

PLAIN = (type(None), bool, int, float, complex, str, bytes)
SEQUENCES = (tuple, list, set, frozenset)
MAPPINGS = (dict, types.MappingProxyType)


def modules_of(distribution: importlib.metadata.Distribution) -> list[str]:
    """The top-level packages and modules that a distribution installs; of an editable one, what is called like it."""
    names = set()
    for path in distribution.files or ():
        name = path.parts[0] if len(path.parts) > 1 else path.name.partition(".")[0]
        if path.suffix in (".py", ".pyd", ".so") and name.isidentifier() and not name.startswith("_"):
            names.add(name)
    if not names:
        guess = distribution.metadata["Name"].replace("-", "_").replace(".", "_").lower()
        names = set((distribution.read_text("top_level.txt") or guess).split())
    return sorted(name for name in names if importlib.util.find_spec(name))


def names_of(module: types.ModuleType) -> list[str]:
    """What `__all__` lists, else every name without an underscore that is defined here, or that a package takes from itself."""
    if hasattr(module, "__all__"):
        return sorted(set(module.__all__))
    foreign = set(foreign_names(module))
    return sorted(
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and name not in foreign and not isinstance(value, types.ModuleType)
    )


def foreign_names(module: types.ModuleType) -> typing.Iterator[str]:
    """The names that are in a module because it imports them for itself."""
    try:
        tree = ast.parse(inspect.getsource(module))
    except (OSError, TypeError, SyntaxError):
        return
    top = module.__name__.partition(".")[0] if hasattr(module, "__path__") else "."
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            origin = "" if isinstance(node, ast.Import) else node.module or ""
            own = top != "." and (getattr(node, "level", 0) > 0 or origin.partition(".")[0] == top)
            # `from a import b as b` is how one says that b is meant for others too.
            yield from (
                one.asname or one.name.partition(".")[0] for one in node.names if not own and one.asname != one.name
            )
        elif not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            waiting += ast.iter_child_nodes(node)


def described(value: object) -> dict[str, object]:
    """One public thing; `kind` says which keys the rest are."""
    if isinstance(value, types.ModuleType):
        return {"kind": "module", "module": value.__name__}
    if isinstance(value, type) and typing.get_origin(value) is None:
        return class_of(value)
    if callable(value) and (inspect.isroutine(value) or hasattr(value, "__wrapped__")):
        return {"kind": "function", "signature": signature_of(value)}
    if is_plain(value):
        return {"kind": "constant", "type": type(value).__name__, "value": plain(value)}
    if type(value).__module__ in ("typing", "types"):
        return {"kind": "alias", "value": annotation(value)}
    return {"kind": "object", "type": type(value).__qualname__}


def class_of(cls: type) -> dict[str, object]:
    """A class by its bases and by what it and the bases of its own package define."""
    found: dict[str, object] = {"kind": "class", "bases": [base.__qualname__ for base in cls.__bases__]}
    if issubclass(cls, enum.Enum):
        return {**found, "kind": "enum", "members": {name: plain(one.value) for name, one in cls.__members__.items()}}
    top = cls.__module__.partition(".")[0]
    members: dict[str, object] = {}
    for one in reversed([one for one in cls.__mro__ if one.__module__.partition(".")[0] == top]):
        fields = {name: annotation(told) for name, told in annotations_of(one).items() if not name.startswith("_")}
        members.update(fields)
        for name, value in vars(one).items():
            if name in fields:
                members[name] = f"{fields[name]} = {plain(value)}" if is_plain(value) else fields[name]
            elif not name.startswith("_") and name not in OF_PYDANTIC:
                members[name] = member(value)
    schema = getattr(cls, "model_json_schema", None)
    if schema is None:
        own = any(isinstance(getattr(cls, name), types.FunctionType) for name in ("__init__", "__new__"))
        # What Python itself says of the classes that are built in differs from one version to the next.
        return {**found, "members": members, "signature": signature_of(cls) if own else None}
    try:
        return {**found, "members": members, "schema": without_prose(schema())}
    except Exception as error:  # noqa: BLE001 - a model may hold what JSON Schema has no words for, which is a fact about it
        return {**found, "members": members, "schema": type(error).__name__}


OF_PYDANTIC = ("model_fields", "model_computed_fields")
"""What some versions of pydantic keep in the class, and the schema says better."""


def member(value: object) -> object:
    """What a class defines under a name."""
    if isinstance(value, (classmethod, staticmethod)):
        return {type(value).__name__: signature_of(value.__func__)}
    if isinstance(value, (property, functools.cached_property)):
        getter = value.fget if isinstance(value, property) else value.func
        return {"property": signature_of(getter)}
    if isinstance(value, types.FunctionType):
        return {"method": signature_of(value)}
    return plain(value)


def signature_of(function: Any) -> list[str] | None:
    """The parameters in their order, then what is returned; None where Python cannot tell."""
    how: dict[str, Any] = {"annotation_format": LAZY.Format.FORWARDREF} if LAZY else {}
    try:
        signature = inspect.signature(function, **how)
    except (TypeError, ValueError, NameError):
        return None
    told: list[str] = []
    seen: set[Any] = set()
    for one in signature.parameters.values():
        if one.kind is one.KEYWORD_ONLY and not seen & {one.VAR_POSITIONAL, one.KEYWORD_ONLY}:
            told.append("*")
        if one.kind is not one.POSITIONAL_ONLY and one.POSITIONAL_ONLY in seen and "/" not in told:
            told.append("/")
        seen.add(one.kind)
        text = "*" * (one.kind is one.VAR_POSITIONAL) + "**" * (one.kind is one.VAR_KEYWORD) + one.name
        text += "" if one.annotation is one.empty else f": {annotation(one.annotation)}"
        told.append(text + ("" if one.default is one.empty else f" = {plain(one.default)}"))
    told += ["/"] if seen == {inspect.Parameter.POSITIONAL_ONLY} else []
    returned = signature.return_annotation
    return told + ([] if returned is signature.empty else [f"-> {annotation(returned)}"])


LAZY: Any = importlib.import_module("annotationlib") if sys.version_info >= (3, 14) else None


def annotations_of(cls: type) -> dict[str, object]:
    """A class's own, not evaluated where the source has not."""
    if LAZY:
        return dict(LAZY.get_annotations(cls, format=LAZY.Format.FORWARDREF))
    return dict(vars(cls).get("__annotations__", {}))


def annotation(value: object) -> str:
    """An annotation as one would write it, in one form for every Python: `Optional[int]` and `int | None` are the latter."""
    if isinstance(value, str):
        try:
            return ast.unparse(ast.parse(value, mode="eval"))
        except SyntaxError:
            return value
    if value is None or value is type(None):
        return "None"
    if value is Ellipsis:
        return "..."
    if isinstance(value, typing.ForwardRef):
        return annotation(value.__forward_arg__)
    if isinstance(value, list):
        return f"[{', '.join(map(annotation, value))}]"
    origin, arguments = typing.get_origin(value), typing.get_args(value)
    if origin in (typing.Union, types.UnionType):
        return " | ".join(map(annotation, arguments))
    if origin is typing.Literal:
        return f"Literal[{', '.join(map(plain, arguments))}]"
    if origin is typing.Annotated:
        notes = [plain(note) for note in value.__metadata__]  # type: ignore[attr-defined]
        return f"Annotated[{', '.join([annotation(arguments[0]), *notes])}]"
    name = getattr(origin or value, "__qualname__", getattr(value, "__name__", None) or type(value).__name__)
    return f"{name}[{', '.join(map(annotation, arguments))}]" if origin and arguments else str(name)


def is_plain(value: object) -> bool:
    """Whether a value is nothing but numbers, texts, members of enums, and collections of them."""
    if isinstance(value, SEQUENCES):
        return type(value) in SEQUENCES and all(map(is_plain, value))
    if isinstance(value, MAPPINGS):
        return type(value) in MAPPINGS and all(map(is_plain, (*value, *value.values())))
    return type(value) in PLAIN or isinstance(value, enum.Enum)


def plain(value: object) -> str:
    """A value as one would write it; of one that is not plain, its name or its type, for its `repr` may hold an address."""
    if isinstance(value, SEQUENCES) and is_plain(value):
        told = [plain(one) for one in value]
        return f"[{', '.join(told)}]" if isinstance(value, (list, tuple)) else f"{{{', '.join(sorted(told))}}}"
    if isinstance(value, MAPPINGS) and is_plain(value):
        return f"{{{', '.join(sorted(f'{plain(key)}: {plain(one)}' for key, one in value.items()))}}}"
    if type(value) is str and value.startswith(PLACES):
        return "<a path of this machine>"
    if type(value) in PLAIN:
        return repr(value)
    if isinstance(value, enum.Enum):
        return f"{type(value).__qualname__}.{value.name}"
    if isinstance(value, (type, types.FunctionType)):
        return value.__qualname__
    return f"<{type(value).__qualname__}>"


PLACES = tuple(place for place in (sys.prefix, str(Path.home()), *sys.path) if len(place) > 4)


def without_prose(schema: object) -> object:
    """A JSON schema without its titles and descriptions, which are no part of what must fit."""
    if isinstance(schema, list):
        return [without_prose(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        key: one if key in ("default", "const", "enum", "examples") else without_prose(one)
        for key, one in schema.items()
        if not (key in ("title", "description") and isinstance(one, str))
    }


def main() -> None:
    """Answer one question."""
    asked, answer = json.loads(sys.argv[1]), sys.stdout

    def say(**told: object) -> None:
        answer.write(f"{asked['mark']}{json.dumps(told, sort_keys=True)}\n")
        answer.flush()

    try:
        distribution = importlib.metadata.distribution(asked["distribution"])
    except importlib.metadata.PackageNotFoundError:
        return say(version=None)
    names = sorted({*modules_of(distribution), *asked["modules"]})
    say(version=distribution.version)
    found = {}
    for name in names:
        say(importing=name)
        try:
            module = importlib.import_module(name)
            found[name] = {one: of(module, one) for one in names_of(module)}
        except BaseException as error:  # noqa: BLE001 - a module may as well exit
            say(failed=f"{type(error).__name__}: {error}")
    return say(modules=found)


def of(module: types.ModuleType, name: str) -> dict[str, object]:
    """What a module has under a name, which may be nothing although `__all__` lists it."""
    try:
        return described(getattr(module, name))
    except Exception as error:  # noqa: BLE001 - a module may compute its names
        return {"kind": "unknown", "error": type(error).__name__}


if __name__ == "__main__":
    # The directory of this script is not on the path of whoever imports these modules.
    sys.path[:] = [place for place in sys.path if Path(place) != Path(__file__).parent]
    main()
    os._exit(0)  # what the modules have begun, or want to do at the end, is not waited for
