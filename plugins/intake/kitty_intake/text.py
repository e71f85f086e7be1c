"""Markdown and plain text, which every source is at least: what it says, and what it is called."""

from __future__ import annotations

import hashlib
import re

from kitty_host.api import KittyError
from kitty_host.inert import inert
from kitty_host.records import Brief, Source

_MARK = re.compile(
    r"^ {0,3}(?:(?P<fence>`{3,}|~{3,})|#{1,6}[ \t]+(?P<heading>.+)$|(?P<underlined>\S.*)\n {0,3}=+[ \t]*\r?$)",
    re.MULTILINE,
)


def plain_text(source: Source) -> Brief:
    """The source as a brief. Errors: `INTAKE_FILE_UNDECODABLE` for a NUL byte or for anything that is not UTF-8."""
    for path, content in source.files.items():
        _decoded(f"{source.name}/{path}", content)
    text = _decoded(source.name, source.content)
    digest = hashlib.sha256(source.content).hexdigest()
    return Brief(source.name, text, digest, len(source.content), title_of(text), format="text")


def _decoded(name: str, content: bytes) -> str:
    try:
        text = content.decode()
        if "\0" in text:
            at = content.index(b"\0")
            raise UnicodeDecodeError("utf-8", content, at, at + 1, "a NUL byte")
    except UnicodeDecodeError as error:
        cause = f"{error.reason} at byte {error.start}"
        raise KittyError(
            "INTAKE_FILE_UNDECODABLE",
            f"{inert(name)} is not UTF-8 text: {cause}",
            "save it as Markdown or plain text in UTF-8",
            cause=cause,
        ) from error
    return text


def title_of(text: str) -> str:
    """The first heading of a Markdown text, as it stands there, outside of code; empty where there is none."""
    fence = ""
    for mark in _MARK.finditer(text.removeprefix("\ufeff")):
        if mark["fence"]:
            if not fence:
                fence = mark["fence"]
            elif mark["fence"].startswith(fence):
                fence = ""
        elif not fence:
            title = (mark["heading"] or mark["underlined"]).strip()
            bare = title.rstrip("#")
            return title if bare and bare[-1] not in " \t" else bare.strip()
    return ""
