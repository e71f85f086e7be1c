"""Issues of beads, one JSON object a line: a `.jsonl` file, or the directory `.beads` in which it lies.

`blocks` and its relatives are dependencies, `parent-child` says what belongs to an epic; other links are none of either.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice
from typing import Any

from attrs import evolve

from kitty_host.records import Brief, PlannedPackage, Source
from kitty_intake.formats.foreign import BOM, MOST, label, lines, parse_json, text
from kitty_intake.formats.parents import without_parents

_ID = re.compile(r"[A-Za-z0-9][\w.]*(?:-[\w.]+)+")
_ORDERS = {"blocks", "conditional-blocks", "waits-for"}
_SETTLED = {"closed": "closed", "tombstone": "deleted"}
_PLACES = ("issues.jsonl", "beads.jsonl")
_NO_WORK = {"message", "event", "gate", "merge-request"}
_PARTS = ("description", "design", "acceptance_criteria", "notes")
_BULLET = re.compile(r"^[ \t]*(?:[-*+][ \t]+|\d+[.)][ \t]+)?(?:\[[ xX]\][ \t]+)?")


def read(source: Source, plain: Brief) -> Brief | None:
    """The issues, if every line is one."""
    content = next((source.files[one].decode() for one in _PLACES if one in source.files), None)
    if content is None and source.files:
        return None
    rows = _rows(plain.text if content is None else content)
    issues = [one for one in rows if text(one.get("issue_type")) not in _NO_WORK]
    if not issues:
        return None
    parents = {text(one["id"]): parent for one in issues if (parent := _parent(one))}
    packages = without_parents(tuple(map(_package, issues)), parents)
    if packages is None:
        return None
    roots = [
        one
        for one in issues
        if one.get("issue_type") == "epic" and not _settled(one) and text(one["id"]) not in parents
    ]
    return evolve(
        plain,
        format="beads",
        title=text(roots[0]["title"]) if len(roots) == 1 else text(issues[0]["title"]) if len(issues) == 1 else "",
        requirements=tuple(islice(_criteria(issues), MOST)),
        packages=packages,
    )


def _criteria(issues: list[dict[str, Any]]) -> Iterator[str]:
    for one in issues:
        told = "" if _settled(one) else text(one.get("acceptance_criteria"))
        bare = (_BULLET.sub("", line).strip() for line in lines(told))
        yield from (f"{one['id']}: {criterion}" for criterion in bare if criterion)


def _rows(content: str) -> list[dict[str, Any]]:
    """The issues; none where a line is anything else."""
    if content.count("\n") > MOST:
        return []
    try:
        # One look at the whole, so that many small lines are no way around the bounds of one.
        rows = parse_json(f"[{','.join(line for line in lines(content.removeprefix(BOM)) if line.strip())}]")
    except ValueError:
        return []
    found = [one for one in rows if not (isinstance(one, dict) and one.get("_type", "issue") != "issue")]
    return found if all(map(_is_issue, found)) else []


def _is_issue(row: Any) -> bool:
    return (
        isinstance(row, dict)
        and _ID.fullmatch(label(row.get("id"))) is not None
        and bool(text(row.get("title")))
        and isinstance(row.get("status"), str)
        and isinstance(row.get("dependencies") or [], list)
    )


def _package(issue: dict[str, Any]) -> PlannedPackage:
    told = [(name, text(issue.get(name)).strip()) for name in _PARTS]
    return PlannedPackage(
        text(issue["id"]),
        text(issue["title"]),
        "\n\n".join(f"{name.replace('_', ' ').capitalize()}:\n{part}" for name, part in told if part),
        tuple(dict.fromkeys(need for kind, need in _links(issue) if kind in _ORDERS)),
        settled=_settled(issue),
    )


def _links(issue: dict[str, Any]) -> list[tuple[str, str]]:
    """Kind and target of each link; newer files have bare ids for what blocks."""
    found = []
    for one in issue.get("dependencies") or []:
        kind, target = (
            (one.get("type", "blocks"), one.get("depends_on_id")) if isinstance(one, dict) else ("blocks", one)
        )
        if text(target):
            found.append((text(kind), text(target)))
    return found


def _parent(issue: dict[str, Any]) -> str:
    named = [target for kind, target in _links(issue) if kind == "parent-child"]
    return named[0] if named else text(issue.get("parent"))


def _settled(issue: dict[str, Any]) -> str:
    return _SETTLED.get(text(issue["status"]), "")
