"""Text that people do not see and agents do: comments, invisible characters, styles, alternative texts."""

from __future__ import annotations

import re
from collections.abc import Iterator

from kitty_host.inert import inert

# Marks such as `<!-- AC:BEGIN -->` and `<!-- prettier-ignore -->`, which tools leave for themselves; one word says little.
_MARK = re.compile(r"/?[\w:-]{1,40}")
_REFERENCE = re.compile(r"^ {0,3}\[[^\]\n]{1,50}\]:[ \t]*(?:#|<>)[ \t]+[\"'(](?P<text>.+)", re.MULTILINE)

_FLAG = "\U0001f3f4[\U000e0020-\U000e007e]{1,7}\U000e007f"
_SUSPECT = re.compile(
    f"{_FLAG}|(?P<selector>[\ufe00-\ufe0f\U000e0100-\U000e01ef])|(?P<tag>[\U000e0000-\U000e007f])"
    "|(?P<joiner>[\u200c\u200d])|(?P<mark>[\u200e\u200f\u061c])|(?P<bidi>[\u202a-\u202e\u2066-\u2069])"
    "|(?P<zero>[\u200b\u2060-\u2064\u206a-\u206f\ufeff\u180e\u115f\u1160\u3164\uffa0\ufff9-\ufffb])"
    "|(?P<control>[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028\u2029])"
)
_SUSPECT_ASCII = re.compile(r"(?P<control>[\x00-\x08\x0b\x0c\x0e-\x1f\x7f])")
_NAMES = {
    "selector": "a variation selector",
    "tag": "a character of the tags block",
    "joiner": "a zero-width joiner",
    "mark": "a direction mark",
    "bidi": "a bidi control",
    "zero": "a zero-width character",
    "control": "a control character",
}
_RIGHT_TO_LEFT = re.compile("[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufeff]")

_STYLE = re.compile(r"style\s{0,9}=\s{0,9}\\?[\"'](?P<rules>[^\"'>]{1,500})", re.IGNORECASE)
_HIDES = re.compile(
    r"display\s*:\s*none|visibility\s*:\s*hidden|(?:font-size|opacity)\s*:\s*0+(?:\.0+)?(?![\d.])"
    r"|(?<!-)\bcolor\s*:\s*(?:white|transparent|#fff(?:fff)?\b|rgb\(\s*255\s*,\s*255\s*,\s*255)"
    r"|(?:left|top|text-indent)\s*:\s*-\d{3,}|(?<!-)\b(?:width|height)\s*:\s*0(?![\d.])",
    re.IGNORECASE,
)
_ELEMENT = re.compile(
    r"<\w{1,20}\s[^<>]{0,300}?\bhidden(?=[\s=>/])|<font\s[^<>]{0,300}?color\s*=\s*\\?[\"']?(?:white|#fff)"
    r"|\\(?:text)?color\{white\}",
    re.IGNORECASE,
)
_ALTERNATIVE = re.compile(r"!\[(?P<markdown>[^\]\[]{1,5000})\]|\balt\s{0,9}=\s{0,9}\\?[\"'](?P<html>[^\"'>]{1,5000})")
_LONG = 120
"""Characters after which an alternative text is a text of its own."""


def comments(text: str) -> Iterator[tuple[int, str]]:
    """Comments of HTML that say something, and link definitions that are none."""
    found = [(one.start(), one["text"]) for one in _REFERENCE.finditer(text)]
    at = text.find("<!--")
    while at >= 0:
        end = text.find("-->", at + 4)
        body = text[at + 4 : end if end >= 0 else None].strip()
        if body and not _MARK.fullmatch(body):
            found.append((at, body))
        at = text.find("<!--", end) if end >= 0 else -1
    return ((at, f"has a comment: {_quoted(body)}") for at, body in sorted(found))


def characters(text: str) -> Iterator[tuple[int, str]]:
    """Characters without a shape, where no script and no emoji needs them."""
    for found in (_SUSPECT_ASCII if text.isascii() else _SUSPECT).finditer(text):
        at, kind = found.start(), found.lastgroup
        before, after = text[at - 1 : at] if at else "", text[at + 1 : at + 2]
        harmless = {
            None: True,
            "selector": after == "\u20e3" or not (before.isascii() or _is_selector(before)),
            "joiner": not (before.isascii() or after.isascii()),
            "mark": bool(_RIGHT_TO_LEFT.search(text[max(at - 80, 0) : at + 80])),
            "zero": at == 0 and found[0] == "\ufeff",
        }
        if not harmless.get(kind, False):
            yield at, f"has {_NAMES[kind or '']} (U+{ord(found[0]):04X})"


def styles(text: str) -> Iterator[tuple[int, str]]:
    """Styles that make text invisible."""
    found = [(one.start(), hides[0]) for one in _STYLE.finditer(text) if (hides := _HIDES.search(one["rules"]))]
    found += [(one.start(), one[0]) for one in _ELEMENT.finditer(text)]
    return ((at, f"hides text by a style: {_quoted(what)}") for at, what in sorted(found))


def alternatives(text: str) -> Iterator[tuple[int, str]]:
    """Alternative texts of images that are texts of their own."""
    for found in _ALTERNATIVE.finditer(text):
        told = found["markdown"] or found["html"]
        if len(told) > _LONG:
            yield found.start(), f"has an alternative text of {len(told)} characters: {_quoted(told)}"


def _is_selector(character: str) -> bool:
    found = _SUSPECT.match(character)
    return found is not None and found.lastgroup == "selector"


def _quoted(text: str) -> str:
    return inert(text, prose=True, limit=80)
