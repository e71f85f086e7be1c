"""The project's own charter: `.kittify/charter/charter.yaml` and `charter.md` as sections, before those of plugins.

The YAML says what the project requires, and which directives, tactics and styleguides it has selected. It is read strictly: where
something else stands than is expected there, that is `CHARTER_INVALID`. The Markdown is prose, each of its headings a section; see `prose`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from attrs import evolve

from kitty_charter import prose
from kitty_host.api import KittyError
from kitty_host.config import parse_yaml
from kitty_host.governance import KINDS, Kind
from kitty_host.records import Charter, Section

PLACE = ".kittify/charter"
_SELECTED = rf"selected_({'|'.join(prose.KINDS)})s"


def charter(root: Path, action: str, others: Iterable[Section]) -> Charter:
    """The repository's charter, with the sections of others behind it. Errors: `CHARTER_INVALID`."""
    return Charter(action, tuple(map(_canonical, (*project_sections(root, action), *others))))


def canonical(name: str) -> str:
    """The one form of an id: `024-locality-of-change`, `directive_024` and `directive:DIRECTIVE_024` are `DIRECTIVE_024`.

    `DIR-024` is another one: those are the project's own.
    """
    name = name.strip()
    number = re.fullmatch(rf"(?:directive:)?(?:DIRECTIVE[_-](\d+)|(\d{{3}})-{prose.SLUG})", name, re.IGNORECASE)
    if number:
        return f"DIRECTIVE_{int(number[1] or number[2]):03}"
    own = re.fullmatch(r"(?:directive:)?DIR-(\d+)", name, re.IGNORECASE)
    if own:
        return f"DIR-{int(own[1]):03}"
    kind, _, rest = name.partition(":")
    return rest if kind.lower() in prose.KINDS else name


def _canonical(section: Section) -> Section:
    directives, tactics, styleguides = (
        tuple(dict.fromkeys(map(canonical, names)))
        for names in (section.directives, section.tactics, section.styleguides)
    )
    return evolve(section, directives=directives, tactics=tactics, styleguides=styleguides)


def project_sections(root: Path, action: str) -> list[Section]:
    """The sections of a repository's charter, the YAML's first. Errors: `CHARTER_INVALID`."""
    yaml, markdown = root / PLACE / "charter.yaml", root / PLACE / "charter.md"
    return [*_yaml_sections(yaml), *_markdown_sections(_read(markdown), action)]


def headings(root: Path) -> list[tuple[int, str, str]]:
    """Level, title and text of each heading of the Markdown. Errors: `CHARTER_INVALID`."""
    return prose.headings(_read(root / PLACE / "charter.md"))


def definitions(root: Path) -> dict[Kind, list[str]]:
    """The ids that the YAML says something about, by kind, as often as it does, in their one form. Errors: `CHARTER_INVALID`."""
    path = root / PLACE / "charter.yaml"
    charter = _mapping(parse_yaml(_read(path), path, code="CHARTER_INVALID"), "the file", path)
    directives = _entries(_mapping(charter.get("directives"), "directives", path), "directives", path)
    found: dict[Kind, list[str]] = {kind: [] for kind in KINDS}
    found["directives"] += [canonical(one["id"]) for one in directives]
    for one in _entries(_mapping(charter.get("catalog"), "catalog", path), "references", path, inside="catalog."):
        kind = _entry(one)[0]
        for name in KINDS:
            if kind == name.removesuffix("s"):
                found[name].append(canonical(one["id"].rpartition(":")[2]))
    return found


def _section(anchor: str, title: str, body: str, ids: Mapping[str, Iterable[str]], critical: bool = False) -> Section:
    directives, tactics, styleguides = (tuple(ids[kind]) for kind in prose.KINDS)
    return Section(anchor, title, body, directives, tactics, styleguides, critical)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        return ""
    except UnicodeDecodeError as error:
        why, hint = f"{path} is not UTF-8: {error.reason}", "save it as UTF-8"
    except OSError as error:
        why, hint = f"{path} cannot be read: {error.strerror}", f"make it a file that can be read: {path}"
    raise KittyError("CHARTER_INVALID", why, hint, path=str(path))


# Markdown


def _markdown_sections(text: str, action: str) -> list[Section]:
    """One section per heading. Those whose heading names the action are critical, with what is below them."""
    named = re.compile(rf"\b{re.escape(re.sub('[sey]$', '', action))}", re.IGNORECASE)
    above = 0  # the level of the critical heading that one is below; 0 where there is none
    found = []
    for level, title, body in prose.headings(text):
        if above and level <= above:
            above = 0
        if not above and named.search(title):
            above = level
        found.append(_section(prose.slug(title), title, body, prose.ids(title, body), critical=above > 0))
    return found


# YAML


def _yaml_sections(path: Path) -> Iterator[Section]:
    data = parse_yaml(_read(path), path, code="CHARTER_INVALID")
    charter = _mapping(data, "the file", path)
    governance = _mapping(charter.get("governance"), "governance", path)
    lines = [f"- {area}: {said}" for area, value in governance.items() if (said := _said(value))]
    if lines:
        body = "\n".join(lines)
        yield _section("charter-governance", "Governance", body, prose.ids("", body), critical=True)
    directives = _entries(_mapping(charter.get("directives"), "directives", path), "directives", path)
    if directives:
        body = "\n".join(map(_directive, directives))
        ids = prose.ids("", body)
        ids["directive"] = {**{canonical(one["id"]): None for one in directives}, **ids["directive"]}
        yield _section("charter-directives", "Directives of this project", body, ids)
    yield from _selected(charter, governance, path)


def _selected(charter: Mapping[str, Any], governance: Mapping[str, Any], path: Path) -> Iterator[Section]:
    """What the charter selects from doctrine, with a line on each where its catalogue has one."""
    chosen: dict[str, dict[str, None]] = {kind: {} for kind in prose.KINDS}
    for place in ("charter", "doctrine"):
        selections = _mapping(governance.get(place), f"governance.{place}", path)
        for kind in prose.KINDS:
            key = f"selected_{kind}s"
            names = _names(selections.get(key), f"governance.{place}.{key}", path)
            chosen[kind].update(dict.fromkeys(map(canonical, names)))
    catalog = _entries(_mapping(charter.get("catalog"), "catalog", path), "references", path, inside="catalog.")
    known = {_entry(one): one for one in catalog}
    lines = [
        _described(name, entry.get("title"), entry.get("summary"), kind=f"{kind} ")
        for kind in prose.KINDS
        for name in chosen[kind]
        for entry in [known.get((kind, name.lower()), {})]
    ]
    if lines:
        yield _section("charter-doctrine", "Doctrine in force", "\n".join(lines), chosen)


def _described(name: str, title: Any, text: Any, kind: str = "") -> str:
    """A list item: the id, and the first sentence of what is known about it."""
    said = " ".join(str(text or title or "").split())
    sentence = re.split(r"(?<=[.!?])\s", said, maxsplit=1)[0]
    # A catalogue that knows nothing of an entry repeats its id as the title.
    return f"- {kind}{name}" if not sentence or title == name else f"- {kind}{name}: {sentence}"


def _directive(entry: Mapping[str, Any]) -> str:
    """A directive of the project's own, with every word that it has."""
    told = [" ".join(str(entry[key]).split()) for key in ("title", "description") if entry.get(key)]
    severity = f" ({entry['severity']})" if entry.get("severity") else ""
    return ": ".join([f"- {canonical(entry['id'])}{severity}", *told])


def _entry(entry: Mapping[str, Any]) -> tuple[str, str]:
    """Kind and id of an entry of the catalogue, whose ids are such as `TACTIC:easy-to-change`."""
    kind, _, name = entry["id"].rpartition(":")
    return (kind or str(entry.get("kind") or "")).lower(), canonical(name).lower()


def _said(value: Any) -> str:
    """A setting in words; empty where it says nothing. What was selected from doctrine has a section of its own."""
    if isinstance(value, Mapping):
        told = {key: _said(one) for key, one in value.items() if not re.fullmatch(_SELECTED, str(key))}
        return ", ".join(
            f"{key} {f'({said})' if isinstance(value[key], list | Mapping) else said}"
            for key, said in told.items()
            if said
        )
    if isinstance(value, list):
        return ", ".join(filter(None, map(_said, value)))
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "" if value is None else " ".join(str(value).split())


def _mapping(value: Any, where: str, path: Path) -> Mapping[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise _invalid(f"{where} is no mapping", where, path)
    return value


def _names(value: Any, where: str, path: Path) -> list[str]:
    if value is None:
        return []
    if not isinstance(value, list) or not all(map(_is_name, value)):
        raise _invalid(f"{where} is no list of names", where, path)
    return value


def _is_name(value: Any) -> bool:
    """One word: an id with a comma or a line in it could not be told from two."""
    return isinstance(value, str) and bool(re.fullmatch(r"[\w.:/-]+", value))


def _entries(holder: Mapping[str, Any], key: str, path: Path, inside: str = "") -> list[dict[str, Any]]:
    value = holder.get(key) or []
    if not isinstance(value, list) or not all(isinstance(one, dict) and _is_name(one.get("id")) for one in value):
        raise _invalid(f"{inside}{key} is no list of entries with an id", f"{inside}{key}", path)
    return value


def _invalid(what: str, where: str, path: Path) -> KittyError:
    return KittyError(
        "CHARTER_INVALID", f"{path}: {what}", f"correct {where} in {path.name}", path=str(path), key=where
    )
