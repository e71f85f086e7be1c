"""The Markdown of a charter: its headings, and the ids that its text speaks of. What the YAML selects is read in `project`.

An id that is not seen is a rule that nobody follows, so every way counts in which people write one: bare, as `tactic:…`, after a
label, in a list below one, in a code block. What is part of a path or of a link's target is a file's name and no id.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

KINDS = ("directive", "tactic", "styleguide")

_HEADING = re.compile(r" {0,3}(#{1,6})[ \t]+(.+?)(?:[ \t]+#+)?[ \t]*$")
_UNDERLINE = re.compile(r" {0,3}(=+|-+)[ \t]*$")
_PARAGRAPH = re.compile(r" {0,3}(?![-*+>#|<]|\d+[.)][ \t])\S")
# Backticks further on in the line make it code inside a sentence.
_FENCE = re.compile(r" {0,3}(`{3,}(?=[^`]*$)|~{3,})")

SLUG = r"[a-z0-9]+(?:-[a-z0-9]+)+"
_DIRECTIVE = rf"(?:(?i:DIRECTIVE[_-]\d+|DIR-\d+)|RECONCILE(?:_[A-Z0-9]+)+|\d{{3}}-{SLUG})"
_CAPITALS = r"[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+"
_BEFORE, _AFTER = r"(?<![\w/\\.-])(?<!\w#)_{0,2}", r"_{0,2}(?![\w/\\-]|\.\w)"
_IN_TEXT = re.compile(
    rf"{_BEFORE}(?:(?P<kind>(?i:{'|'.join(KINDS)})):(?P<urn>\w[\w-]*)|(?P<bare>{_DIRECTIVE})){_AFTER}"
)
_KIND = r"(?i:(directive|tactic|style[ -]?guide)s?(?:[_ ]ids?)?)"
_CODE = r"`[\w-]+`"
_NAMED = re.compile(rf"\b{_KIND}[ \t]+({_CODE}(?:(?:,|,? and|,? or)[ \t]+{_CODE})*)")
_LABEL = re.compile(rf"\W*(?i:selected[_ ])?{_KIND}(?:[ ]\([^)]*\))?\W*?[:|](.*)")
_WORD = re.compile(r"(?i)\b(directive|tactic|style[ -]?guide)s?\b")
_ITEM = re.compile(r"[ \t]*(?:(?:[-*+]|\d+[.)])[ \t]|\|)(.*)")
_NAME = re.compile(rf"`([\w-]+)`|{_BEFORE}({_DIRECTIVE}|{SLUG}|{_CAPITALS}){_AFTER}")
# A word of code that a list item begins with is an id where nothing but an explanation follows.
_FIRST = re.compile(
    rf"[^\w`|]*(?:`([\w-]+)`(?=[\W_]*$|[*\]]*[ \t]*[:(,;|–—-])|_{{0,2}}({_DIRECTIVE}|{SLUG}|{_CAPITALS}){_AFTER})"
)
_WRAPPED = re.compile(r"(,|\band|\b(?i:tactic|style[ -]?guide|directive)s?)[ \t]*\n[ \t]*(?=[`\w])")
_TARGET = re.compile(r"(?<=\])\([^)]*\)|^ {0,3}\[[^\]]+\]:.*|[A-Za-z][A-Za-z0-9+.-]*://[^\s>)]+")
_PAIR = re.compile(rf"({_DIRECTIVE})[/-](?={_DIRECTIVE})")


def headings(text: str) -> list[tuple[int, str, str]]:
    """Level, title and body of every heading; what stands before the first one is called Charter, on level 0."""
    found: list[tuple[int, str, list[str]]] = [(0, "Charter", [])]
    for level, line in _marked(text.split("\n")):
        if level:
            found.append((level, line, []))
        else:
            found[-1][2].append(line)
    whole = [(level, title, "\n".join(lines).strip("\n")) for level, title, lines in found]
    return [one for one in whole if one[0] or one[2].strip()]


def _marked(lines: list[str]) -> Iterator[tuple[int, str]]:
    """Every line with the level of the heading that it is, 0 where it is none; of a heading only the title."""
    until, skip = "", False
    for place, line in enumerate(lines):
        if skip:
            skip = False
            continue
        fence = _FENCE.match(line)
        if until:
            until = "" if _ends(line, until) else until
        elif fence:
            until = fence[1]
        elif re.match(r" {0,3}<!--", line):
            until = "" if "-->" in line else "-->"
        elif heading := _HEADING.match(line):
            yield len(heading[1]), heading[2]
            continue
        elif under := _underlined(lines, place):
            yield (1 if under == "=" else 2), line.strip()
            skip = True
            continue
        yield 0, line


def _ends(line: str, until: str) -> bool:
    if until == "-->":
        return until in line
    mark = _FENCE.match(line)
    return bool(mark and mark[1].startswith(until) and not line.strip().strip(until[0]))


def _underlined(lines: list[str], place: int) -> str:
    """With what the line is underlined, if it stands alone: a longer paragraph above a rule is no title in anybody's mind."""
    below = _UNDERLINE.match(lines[place + 1]) if place + 1 < len(lines) else None
    alone = place > 0 and not lines[place - 1].strip()
    return below[1][0] if below and (alone or place == 0) and _PARAGRAPH.match(lines[place]) else ""


def slug(title: str) -> str:
    """The anchor of a heading, as sites for code make it."""
    return re.sub(r"\s+", "-", re.sub(r"[^\w\s-]", "", title.lower()).strip()) or "section"


def ids(title: str, body: str) -> dict[str, dict[str, None]]:
    """The ids that a section speaks of, by kind, in the order in which it does."""
    found: dict[str, dict[str, None]] = {kind: {} for kind in KINDS}
    named = {_kind(one) for one in _WORD.findall(title)}
    above = listed = named.pop() if len(named) == 1 else ""
    for number, line in enumerate((title, *_WRAPPED.sub(r"\1 ", body).splitlines())):
        line = _PAIR.sub(r"\1, ", _TARGET.sub("", line.replace("\\_", "_")))
        for one in _IN_TEXT.finditer(line):
            _add(found, one["kind"] or "directive", one["urn"] or one["bare"], sure=True)
        for one in _NAMED.finditer(line):
            _add(found, one[1], *re.findall(r"[\w-]+(?=`)", one[2]))
        label, item = _LABEL.match(line), _ITEM.match(line)
        if label:
            names = [one[1] or one[2] for one in _NAME.finditer(label[2])]
            _add(found, label[1], *names)
            listed = above if names or not number else _kind(label[1])
        elif item and listed:
            _add(found, listed, *[one[1] or one[2] for one in [_FIRST.match(item[1])] if one])
        elif number and line.strip() and not line[0].isspace() and not item:
            listed = _kind(line.strip(" *_")) if _WORD.fullmatch(line.strip(" *_")) else above
    return found


def _kind(text: str) -> str:
    """`Style guides` and `styleguide` are one kind."""
    return re.sub(r"[ -]|s$", "", text.lower())


def _add(found: dict[str, dict[str, None]], kind: str, *names: str, sure: bool = False) -> None:
    """A directive is one wherever it stands; nothing else is one that does not look like it, unless it says so itself."""
    for name in names:
        if re.fullmatch(_DIRECTIVE, name):
            found["directive"][name] = None
        elif sure or _kind(kind) != "directive" or re.fullmatch(_CAPITALS, name):
            found[_kind(kind)][name] = None
