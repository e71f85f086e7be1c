"""The project's own charter: `.kittify/charter/charter.yaml` and `charter.md` as sections, before those of plugins.

The YAML names what was selected (directives, tactics, styleguides) and is read strictly: what cannot be understood is
`CHARTER_INVALID`, never left out. The Markdown is prose; each of its headings is a section.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from attrs import evolve

from kitty_host.api import KittyError
from kitty_host.config import parse_yaml
from kitty_host.governance import KINDS, Kind
from kitty_host.records import Charter, Section

PLACE = ".kittify/charter"

_KINDS = ("directive", "tactic", "styleguide")
_HEADING = re.compile(r"(#{1,6})[ \t]+(.+?)[ \t]*#*[ \t]*$")
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")
_SLUG = r"[a-z0-9]+(?:-[a-z0-9]+)+"
# A slug with a number is a directive only where it stands alone: as part of a path or a file name it is something else.
_DIRECTIVE = rf"(?:DIRECTIVE_\d+|DIR-\d+|RECONCILE_[A-Z0-9_]+|\d{{3}}-{_SLUG})"
_IN_TEXT = re.compile(
    rf"(?<![\w/.-])(?:(?P<kind>directive|tactic|styleguide):(?P<urn>\w[\w-]*)|(?P<bare>{_DIRECTIVE}))(?![\w/-]|\.\w)"
)
_LABEL = re.compile(rf"\W*({'|'.join(_KINDS)})s?(?: ids?)?\W*:(.+)", re.IGNORECASE)
_TITLE = re.compile(rf"({'|'.join(_KINDS)})s?(?: ids?)?", re.IGNORECASE)
_ITEM = re.compile(rf"[ \t]*[-*+][ \t]+\W*({_DIRECTIVE}|{_SLUG})")


def charter(root: Path, action: str, others: Iterable[Section]) -> Charter:
    """The repository's charter, with the sections of others behind it and anchors that differ. Errors: `CHARTER_INVALID`."""
    taken: set[str] = set()
    distinct = []
    for section in (*project_sections(root, action), *others):
        anchor, number = section.anchor, 0
        while anchor in taken:
            number += 1
            anchor = f"{section.anchor}-{number}"
        taken.add(anchor)
        distinct.append(_canonical(section, anchor))
    return Charter(action, tuple(distinct))


def canonical(name: str) -> str:
    """The one form of an id: `024-locality-of-change`, `directive_024` and `directive:DIRECTIVE_024` are `DIRECTIVE_024`.

    `DIR-024` is another one: those are the project's own.
    """
    name = name.strip()
    number = re.fullmatch(rf"(?:directive:)?(?:DIRECTIVE[_-](\d+)|(\d{{3}})-{_SLUG})", name, re.IGNORECASE)
    if number:
        return f"DIRECTIVE_{int(number[1] or number[2]):03}"
    own = re.fullmatch(r"(?:directive:)?DIR-(\d+)", name, re.IGNORECASE)
    if own:
        return f"DIR-{int(own[1]):03}"
    return name.partition(":")[2] if name.partition(":")[0] in _KINDS else name


def _canonical(section: Section, anchor: str) -> Section:
    directives, tactics, styleguides = (
        tuple(dict.fromkeys(map(canonical, names)))
        for names in (section.directives, section.tactics, section.styleguides)
    )
    return evolve(section, anchor=anchor, directives=directives, tactics=tactics, styleguides=styleguides)


def project_sections(root: Path, action: str) -> list[Section]:
    """The sections of a repository's charter, the YAML's first. Errors: `CHARTER_INVALID`."""
    yaml, markdown = root / PLACE / "charter.yaml", root / PLACE / "charter.md"
    return [*_yaml_sections(yaml), *_markdown_sections(_read(markdown), action)]


def headings(root: Path) -> list[tuple[int, str, str]]:
    """Level, title and text of each heading of the Markdown. Errors: `CHARTER_INVALID`."""
    return [
        (0 if level > 6 else level, title, body) for level, title, body in _split(_read(root / PLACE / "charter.md"))
    ]


def definitions(root: Path) -> dict[Kind, list[str]]:
    """The ids that the YAML says something about, by kind, as often as it does, in their one form. Errors: `CHARTER_INVALID`."""
    path = root / PLACE / "charter.yaml"
    charter = _mapping(parse_yaml(_read(path), path, code="CHARTER_INVALID"), "the file", path)
    directives = _entries(_mapping(charter.get("directives"), "directives", path), "directives", path)
    found: dict[Kind, list[str]] = {kind: [] for kind in KINDS}
    found["directives"] += [canonical(one["id"]) for one in directives]
    for one in _entries(_mapping(charter.get("catalog"), "catalog", path), "references", path, inside="catalog."):
        named, _, name = one["id"].rpartition(":")
        for kind in KINDS:
            if (named or str(one.get("kind") or "")).lower() == kind.removesuffix("s"):
                found[kind].append(canonical(name))
    return found


def _section(anchor: str, title: str, body: str, ids: Mapping[str, Iterable[str]], critical: bool = False) -> Section:
    directives, tactics, styleguides = (tuple(ids[kind]) for kind in _KINDS)
    return Section(anchor, title, body, directives, tactics, styleguides, critical)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        return ""
    except UnicodeDecodeError as error:
        raise KittyError(
            "CHARTER_INVALID", f"{path} is not UTF-8: {error.reason}", "save it as UTF-8", path=str(path)
        ) from error


# Markdown


def _markdown_sections(text: str, action: str) -> list[Section]:
    """One section per heading. Those whose heading names the action are critical, with what is below them."""
    named = re.compile(rf"\b{re.escape(re.sub('[sey]$', '', action))}", re.IGNORECASE)
    above = 0  # the level of the critical heading that one is below; 0 where there is none
    found = []
    for level, title, body in _split(text):
        if above and level <= above:
            above = 0
        if not above and named.search(title):
            above = level
        found.append(_section(_slug(title), title, body, _ids(title, body), critical=above > 0))
    return found


def _split(text: str) -> list[tuple[int, str, str]]:
    """Level, title and body of every heading; what stands before the first one is called Charter."""
    found: list[tuple[int, str, list[str]]] = [(7, "Charter", [])]
    fence = ""
    for line in text.split("\n"):
        mark = _FENCE.match(line)
        heading = None if fence or mark else _HEADING.match(line)
        if fence:
            closed = mark and mark[1].startswith(fence) and not line.strip().strip(fence[0])
            fence = "" if closed else fence
        elif mark:
            fence = mark[1]
        if heading:
            found.append((len(heading[1]), heading[2], []))
        else:
            found[-1][2].append(line)
    bodies = [(level, title, "\n".join(lines).strip("\n")) for level, title, lines in found]
    return [one for one in bodies if one[0] < 7 or one[2].strip()]


def _slug(title: str) -> str:
    return re.sub(r"\s+", "-", re.sub(r"[^\w\s-]", "", title.lower()).strip()) or "section"


def _ids(title: str, body: str) -> dict[str, dict[str, None]]:
    """The ids that a section speaks of, by kind: bare directives, `tactic:…`, `Tactics: …`, lists below `Tactics`."""
    found: dict[str, dict[str, None]] = {kind: {} for kind in _KINDS}
    below = _TITLE.fullmatch(title)
    for line in (title, *body.splitlines()):
        for one in _IN_TEXT.finditer(line):
            found[one["kind"] or "directive"][one["urn"] or one["bare"]] = None
        label, item = _LABEL.match(line), _ITEM.match(line)
        if label:
            found[label[1].lower()].update(dict.fromkeys(re.findall(rf"(?<![\w/-]){_SLUG}(?![\w/-])", label[2])))
        elif below and item:
            found[below[1].lower()][item[1]] = None
    return found


# YAML


def _yaml_sections(path: Path) -> Iterator[Section]:
    data = parse_yaml(_read(path), path, code="CHARTER_INVALID")
    charter = _mapping(data, "the file", path)
    governance = _mapping(charter.get("governance"), "governance", path)
    settings = [
        f"- {area}: " + ", ".join(f"{key} {value}" for key, value in values.items() if _is_said(value))
        for area, values in governance.items()
        if isinstance(values, Mapping) and any(map(_is_said, values.values()))
    ]
    if settings:
        yield Section("charter-governance", "Governance", "\n".join(settings), critical=True)
    directives = _entries(_mapping(charter.get("directives"), "directives", path), "directives", path)
    if directives:
        lines = [_described(one["id"], one.get("title"), one.get("description")) for one in directives]
        ids = tuple(dict.fromkeys(one["id"] for one in directives))
        yield Section("charter-directives", "Directives of this project", "\n".join(lines), ids)
    yield from _selected(charter, governance, path)


def _selected(charter: Mapping[str, Any], governance: Mapping[str, Any], path: Path) -> Iterator[Section]:
    """What the charter selects from doctrine, with a line on each where its catalogue has one."""
    chosen: dict[str, dict[str, None]] = {kind: {} for kind in _KINDS}
    for place in ("charter", "doctrine"):
        selections = _mapping(governance.get(place), f"governance.{place}", path)
        for kind in _KINDS:
            key = f"selected_{kind}s"
            chosen[kind].update(dict.fromkeys(_texts(selections.get(key), f"governance.{place}.{key}", path)))
    catalog = _entries(_mapping(charter.get("catalog"), "catalog", path), "references", path, inside="catalog.")
    known = {one["id"].lower(): one for one in catalog}
    lines = [
        _described(name, entry.get("title"), entry.get("summary"), kind=f"{kind} ")
        for kind in _KINDS
        for name in chosen[kind]
        for entry in [known.get(f"{kind}:{name}".lower(), {})]
    ]
    if lines:
        yield _section("charter-doctrine", "Doctrine in force", "\n".join(lines), chosen)


def _described(name: str, title: Any, text: Any, kind: str = "") -> str:
    """A list item: the id, and the first sentence of what is known about it."""
    said = " ".join(str(text or title or "").split())
    sentence = re.split(r"(?<=[.!?])\s", said, maxsplit=1)[0]
    # A catalogue that knows nothing of an entry repeats its id as the title.
    return f"- {kind}{name}" if not sentence or title == name else f"- {kind}{name}: {sentence}"


def _is_said(value: Any) -> bool:
    return isinstance(value, str | int | float) and value != ""


def _mapping(value: Any, where: str, path: Path) -> Mapping[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise _invalid(f"{where} is no mapping", where, path)
    return value


def _texts(value: Any, where: str, path: Path) -> list[str]:
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(one, str) and one.strip() for one in value):
        raise _invalid(f"{where} is no list of names", where, path)
    return value


def _entries(holder: Mapping[str, Any], key: str, path: Path, inside: str = "") -> list[dict[str, Any]]:
    value = holder.get(key) or []
    if not isinstance(value, list) or not all(
        isinstance(one, dict) and isinstance(one.get("id"), str) for one in value
    ):
        raise _invalid(f"{inside}{key} is no list of entries with an id", f"{inside}{key}", path)
    return value


def _invalid(what: str, where: str, path: Path) -> KittyError:
    return KittyError(
        "CHARTER_INVALID", f"{path}: {what}", f"correct {where} in {path.name}", path=str(path), key=where
    )
