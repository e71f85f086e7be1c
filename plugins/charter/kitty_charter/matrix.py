"""The issue matrix of a mission: one row per issue, with a verdict and its evidence. JSON or a Markdown table.

Knows the two forms, what a sound row is, and which copy counts for a candidate; whether evidence holds is known in `evidence`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from kitty_host.records import Candidate

FIXED, VERIFIED, DEFERRED = VERDICTS = ("fixed", "verified-already-fixed", "deferred-with-followup")
NAMES = ("issue-matrix.json", "issue-matrix.md")
"""In the order in which they count."""

GATE = "issue-matrix"

_CONFLICT = re.compile(r"<{7}|>{7}|^={7}$", re.MULTILINE)
_CELLS = re.compile(r"(?<!\\)\|")
_LINK = re.compile(r"\[([^\]]*)\]\([^)]*\)")


class Row(NamedTuple):
    """One issue."""

    issue: str
    verdict: str
    """In the one spelling, if it is one of the three."""
    evidence: str


class Unreadable(ValueError):
    """A matrix that cannot be understood; the text says why."""


def rows(content: bytes, name: str) -> list[Row]:
    """The rows of a matrix. Raises `Unreadable`, also where there is none."""
    try:
        text = content.decode("utf-8-sig")
        if _CONFLICT.search(text):
            raise Unreadable("it holds conflict markers")
        found = list(_json_rows(text) if name.endswith(".json") else _markdown_rows(text))
    except ValueError as error:
        raise Unreadable(str(error)) from error
    if not found:
        raise Unreadable("it has no row")
    return [row._replace(verdict=_spelt(row.verdict)) for row in found]


def of_candidate(candidate: Candidate) -> tuple[str, bytes] | None:
    """The issue matrix in the candidate, else the one in the checkout, with its name; None where the mission has none."""
    mission = candidate.mission
    for name in NAMES:
        path = mission.directory / name
        content = mission.repo.git.read_blob(candidate.tip, mission.repo.relative(path))
        if content is None and path.is_file():
            content = path.read_bytes()
        if content is not None:
            return name, content
    return None


def problems(row: Row, among: Iterable[Row] = ()) -> Iterator[str]:
    """What is wrong with a row by itself, and with it among others."""
    if not row.issue:
        yield "it names no issue"
    if row.verdict not in VERDICTS:
        yield f"the verdict {row.verdict!r} is none of {', '.join(VERDICTS)}"
    if not row.evidence.strip("-–—? "):
        yield "there is no evidence"
    verdicts = {other.verdict for other in among if other.issue == row.issue}
    if len(verdicts) > 1:
        yield f"it has several verdicts: {', '.join(sorted(verdicts))}"


def _spelt(verdict: str) -> str:
    """`Verified already fixed`, `DEFERRED_WITH_FOLLOW_UP`: what people and other tools write for one of the three."""
    plain = re.sub(r"[\s_-]+", "-", verdict.strip().casefold()).replace("follow-up", "followup")
    return plain if plain in VERDICTS else verdict


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
