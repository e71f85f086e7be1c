"""A charter as text for an agent: everything, or what fits into less than half of that."""

from __future__ import annotations

from collections.abc import Sequence

from kitty_host.governance import BOOTSTRAP, KINDS, anchors, block, ids
from kitty_host.records import Charter, Section

_SPARE = 200
"""Bytes for what is written below a text, such as its receipt."""
_LEAST = 400
"""Bytes that there is room for even where a charter says next to nothing: that rules of a plugin are missing has to be seen."""


def render(charter: Charter, mode: str) -> str:
    """Ids and anchors in both modes; with them every section in `bootstrap`, and in `compact` the critical ones that there is room for."""
    whole = _text(charter, BOOTSTRAP, charter.sections)
    if mode == BOOTSTRAP:
        return whole
    room = max(_LEAST, len(whole.encode()) // 2 - len(_text(charter, mode, ()).encode()) - _SPARE)
    shown = set()
    # The short ones first, such as the note that something is missing: most of them have room then.
    for size, anchor in sorted((len(block(one).encode()) + 2, one.anchor) for one in charter.sections if one.critical):
        if size <= room:
            shown.add(anchor)
            room -= size
    return _text(charter, mode, [section for section in charter.sections if section.anchor in shown])


def _text(charter: Charter, mode: str, shown: Sequence[Section]) -> str:
    lines = [f"# Charter for {charter.action} ({mode})", ""]
    lines += [_listed(kind, ids(charter, kind)) for kind in KINDS]
    lines.append(_listed("sections", anchors(charter)))
    if len(shown) < len(charter.sections):
        lines += ["", "All of it is in force. Sections that are only named here stand in full in:"]
        lines.append(f"kitty charter context --action {charter.action} --mode {BOOTSTRAP}")
    return "\n\n".join(["\n".join(lines), *map(block, shown)])


def _listed(name: str, items: Sequence[str]) -> str:
    return f"{name.capitalize()}: {', '.join(items) or 'none'}"
