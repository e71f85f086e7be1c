"""Several text files as one text that people can read and that gives them back exactly.

Before each file stands a line with its path and its size, so that no file can pass for two. The path is encoded by `inert`: whatever it
is, the line is one line.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import unquote

from kitty_host.inert import inert

MAX_FILES = 300
_LONGEST = 3 * 4096
"""Bytes of an encoded path: no system has longer ones."""
_HEADER = re.compile(rb"=== (\S+), (\d{1,12}) bytes ===\n")


def bundle(files: Mapping[str, bytes]) -> bytes:
    """The files one after the other, in order of their paths."""
    return b"".join(
        b"=== %s, %d bytes ===\n%s\n" % (inert(path, limit=_LONGEST).encode(), len(content), content)
        for path, content in sorted(files.items())
    )


def unbundle(content: bytes) -> dict[str, bytes]:
    """The files of a bundle; none where the content is anything else, or has more than `MAX_FILES`."""
    found: dict[str, bytes] = {}
    at = 0
    while at < len(content):
        header = _HEADER.match(content, at)
        if header is None or len(found) == MAX_FILES:
            return {}
        at = header.end() + int(header[2])
        found[unquote(header[1].decode(errors="replace"), errors="surrogateescape")] = content[header.end() : at]
        at += 1
    # Whatever this did not look at, such as an order of its own or a path that is encoded otherwise, shows here.
    return found if bundle(found) == content else {}
