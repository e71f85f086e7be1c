"""The issue matrix of a mission: one row per issue, with a verdict and its evidence. JSON or a Markdown table.

Knows the two forms and what a sound row is; which copy counts is the gate's business.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

VERDICTS = ("fixed", "verified-already-fixed", "deferred-with-followup")
NAMES = ("issue-matrix.json", "issue-matrix.md")
"""In the order in which they count."""

_CONFLICT = re.compile(r"<{7}|>{7}|^={7}$", re.MULTILINE)
_CELLS = re.compile(r"(?<!\\)\|")
_LINK = re.compile(r"\[([^\]]*)\]\([^)]*\)")


class Row(NamedTuple):
    """One issue."""

    issue: str
    verdict: str
    evidence: str


class Unreadable(ValueError):
    """A matrix that cannot be understood; the text says why."""


def problems(content: bytes, name: str) -> list[str]:
    """What is wrong with a matrix; empty where every issue has one verdict and its evidence."""
    try:
        text = content.decode("utf-8-sig")
        if _CONFLICT.search(text):
            raise Unreadable("it holds conflict markers")
        rows = list(_json_rows(text) if name.endswith(".json") else _markdown_rows(text))
    except ValueError as error:
        return [str(error)]
    return [*_contradictions(rows), *(problem for row in rows for problem in _row_problems(row))] or (
        [] if rows else ["it has no row"]
    )


def _row_problems(row: Row) -> Iterator[str]:
    issue = row.issue or "a row without an issue"
    if not row.issue:
        yield issue
    if row.verdict not in VERDICTS:
        yield f"{issue}: the verdict {row.verdict!r} is none of {', '.join(VERDICTS)}"
    if not row.evidence.strip("-–—? "):
        yield f"{issue}: there is no evidence"


def _contradictions(rows: Iterable[Row]) -> Iterator[str]:
    verdicts: dict[str, set[str]] = {}
    for row in rows:
        verdicts.setdefault(row.issue, set()).add(row.verdict)
    for issue, said in verdicts.items():
        if len(said) > 1:
            yield f"{issue}: it has several verdicts: {', '.join(sorted(said))}"


def _json_rows(text: str) -> Iterator[Row]:
    data = json.loads(text, object_pairs_hook=_once)
    rows = data.get("rows") if isinstance(data, dict) else None
    if not isinstance(rows, dict):
        raise Unreadable("`rows` is no object")
    for issue, row in rows.items():
        if not isinstance(row, dict):
            raise Unreadable(f"{issue} is no object")
        yield Row(issue.strip(), _text(row.get("verdict")), _text(row.get("evidence_ref")))


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    keys = [key for key, _ in pairs]
    twice = sorted({key for key in keys if keys.count(key) > 1})
    if twice:
        raise Unreadable(f"the key {twice[0]} stands twice")
    return dict(pairs)


def _markdown_rows(text: str) -> Iterator[Row]:
    """The rows of every table that has the three columns. Two tables are one matrix."""
    columns: dict[str, int] | None = None
    found = False
    for line in text.splitlines():
        if "|" not in line:
            columns = None
            continue
        cells = [_plain(cell) for cell in _CELLS.split(line.strip().removeprefix("|"))]
        header = {cell.casefold().replace(" ", "_"): place for place, cell in enumerate(cells)}
        if {"issue", "verdict", "evidence_ref"} <= header.keys():
            columns, found = header, True
        elif columns and any(cell.strip(":-") for cell in cells):
            yield Row(*(_cell(cells, columns[name]) for name in ("issue", "verdict", "evidence_ref")))
    if not found:
        raise Unreadable("it has no table with the columns issue, verdict and evidence_ref")


def _cell(cells: list[str], place: int) -> str:
    return cells[place] if place < len(cells) else ""


def _plain(cell: str) -> str:
    """The words of a cell, without link targets and backticks."""
    return _LINK.sub(r"\1", cell).replace("`", "").strip()


def _text(value: Any) -> str:
    return value.strip() if isinstance(value, str) else ""
