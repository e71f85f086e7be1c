"""A charter as text for an agent, and the receipt that proves which text it was."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Literal

from kitty_host.records import Charter, Section

Kind = Literal["directives", "tactics", "styleguides"]
KINDS: tuple[Kind, ...] = ("directives", "tactics", "styleguides")
BOOTSTRAP, COMPACT = "bootstrap", "compact"


def ids(charter: Charter, kind: Kind) -> list[str]:
    """The ids of one kind over all sections, each once, in the order in which they first appear."""
    return list(dict.fromkeys(name for section in charter.sections for name in getattr(section, kind)))


def anchors(charter: Charter) -> list[str]:
    """The anchors of all sections."""
    return [section.anchor for section in charter.sections]


def render(charter: Charter, mode: str) -> str:
    """Ids and anchors in both modes; the text of every section in `bootstrap`, of the critical ones in `compact`."""
    shown = [section for section in charter.sections if mode == BOOTSTRAP or section.critical]
    lines = [f"# Charter for {charter.action} ({mode})", ""]
    lines += [_listed(kind, ids(charter, kind)) for kind in KINDS]
    lines.append(_listed("sections", anchors(charter)))
    if len(shown) < len(charter.sections):
        lines += ["", "All of it is in force. Sections that are only named here stand in full in:"]
        lines.append(f"kitty charter context --action {charter.action} --mode {BOOTSTRAP}")
    return "\n\n".join(["\n".join(lines), *map(block, shown)])


def block(section: Section) -> str:
    """A section as it stands in the text; what its receipt is a hash of."""
    return f"## {' '.join(section.title.split())} (#{section.anchor})\n\n{section.body}".rstrip()


def receipt(charter: Charter) -> list[dict[str, str]]:
    """A hash for each section, the same in both modes."""
    return [
        {"anchor": section.anchor, "sha256": hashlib.sha256(block(section).encode()).hexdigest()}
        for section in charter.sections
    ]


def digest(charter: Charter) -> str:
    """One hash over the whole receipt."""
    lines = "".join(f"{one['anchor']} {one['sha256']}\n" for one in receipt(charter))
    return hashlib.sha256(lines.encode()).hexdigest()


def _listed(name: str, items: Sequence[str]) -> str:
    return f"{name.capitalize()}: {', '.join(items) or 'none'}"
