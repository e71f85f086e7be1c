"""Links that lead to files of whoever reads the plan: `file://`, absolute paths, `../`."""

from __future__ import annotations

import re
from collections.abc import Iterator

from kitty_host.inert import inert

_LINK = re.compile(
    r"\]\([ \t]{0,9}<?(?P<inline>[^)\s>]{1,500})"
    r"|^ {0,3}\[[^\]\[\n]{1,200}\]:[ \t]{0,9}<?(?P<definition>[^\s>]{1,500})"
    r"|\b(?:href|src)\s{0,9}=\s{0,9}\\?[\"'](?P<html>[^\"'>\s]{1,500})"
    r"|(?P<bare>\bfile:/[^\s)>\"']{1,500})",
    re.MULTILINE | re.IGNORECASE,
)
_LOCAL = re.compile(r"file:|/(?!/)|~/|[a-z]:[\\/]|\\\\|(?![a-z][a-z0-9+.-]*:|//)(?:.*/)?\.\.(?:/|$)", re.IGNORECASE)


def find(text: str) -> Iterator[tuple[int, str]]:
    """Links to local files."""
    for found in _LINK.finditer(text):
        target = found[found.lastgroup or 0]
        if _LOCAL.match(target):
            yield found.start(), f"links to a local file: {inert(target, limit=80)}"
