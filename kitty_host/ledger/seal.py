"""Seals: rows that say which rows there were, so that one that is changed or taken out later is seen.

A seal names what no earlier seal covers, each row with its hash, and the seals before it. There is no chain through all rows: it would
break where two clones go on from one row; seals of both sides simply have a common successor.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from kitty_host.ledger.event import SEALED, Row, encode, envelope, event_id_of, parse

_ID = re.compile(rb'"event_id": ?"([^"\\]*)"')
_SEAL = SEALED.encode()


class Problem(NamedTuple):
    """Something that a seal does not agree with."""

    seal: str
    event_id: str
    """The row that is gone or changed; the seal itself, where its own sum is wrong."""
    gone: bool


def seal(lines: Iterable[bytes], mission_id: str) -> Row:
    """A seal of all these lines, without its time and id."""
    seals, unsealed = _split(lines)
    rows = {name_of(row): digest(row) for row in unsealed}
    heads = seals.keys() - {earlier for one in seals.values() for earlier in one["previous"]}
    payload = {
        "rows": rows,
        "previous": sorted(heads),
        "count": len(rows) + len(_covered(seals, heads)),
        "sha256": _sum(rows, [seals[head]["sha256"] for head in heads]),
    }
    return envelope(SEALED, payload, aggregate_id=mission_id)


def problems(rows: Sequence[Row]) -> Iterator[Problem]:
    """What is not as it was when it was sealed."""
    seals = {event_id_of(row): row["payload"] for row in rows if _is_seal(row)}
    present = {name_of(row): digest(row) for row in rows}
    told: set[str] = set()
    for seal_id, payload in seals.items():
        for name in payload["previous"]:
            if name not in seals and name not in told:
                told.add(name)
                yield Problem(seal_id, name, gone=True)
        for name, wanted in payload["rows"].items():
            if present.get(name) != wanted and name not in told:
                told.add(name)
                yield Problem(seal_id, name, gone=name not in present)
        earlier = [seals[name]["sha256"] for name in payload["previous"] if name in seals]
        whole = len(earlier) == len(payload["previous"])
        counted = len(_covered(seals, {seal_id}))
        if (
            seal_id not in told
            and whole
            and (payload["sha256"], payload["count"]) != (_sum(payload["rows"], earlier), counted)
        ):
            told.add(seal_id)
            yield Problem(seal_id, seal_id, gone=False)


def name_of(row: Row) -> str:
    """What a row is known by: its id, or its hash where it has none."""
    return event_id_of(row) or f"#{digest(row)}"


def digest(row: Row) -> str:
    """The hash of a row however it was written down: the first 16 digits of the SHA-256 of its line."""
    return hashlib.sha256(encode(row).encode()).hexdigest()[:16]


def _split(lines: Iterable[bytes]) -> tuple[dict[str, dict[str, Any]], list[Row]]:
    """The seals among some lines, and the rows that none of them covers."""
    seals: dict[str, dict[str, Any]] = {}
    others: list[bytes] = []
    for line in lines:
        if _SEAL in line and _is_seal(row := parse(line)):
            seals[event_id_of(row)] = row["payload"]
        if line.strip():
            others.append(line)
    covered = {name for payload in seals.values() for name in payload["rows"]}
    return seals, [row for line in others if (row := _unless(line, covered)) is not None]


def _unless(line: bytes, covered: set[str]) -> Row | None:
    """The row of a line, unless it is covered. Most are, and are not parsed for that."""
    found = _ID.findall(line)
    if len(found) == 1 and found[0].decode(errors="replace") in covered:
        return None
    row: Row = parse(line)
    return None if name_of(row) in covered else row


def _is_seal(row: Any) -> bool:
    """Whether this is a seal; a row of that name that is no seal seals nothing."""
    if not isinstance(row, dict) or row.get("event_type") != SEALED or not event_id_of(row):
        return False
    payload = row.get("payload")
    return (
        isinstance(payload, dict)
        and isinstance(payload.get("rows"), dict)
        and isinstance(payload.get("previous"), list)
        and isinstance(payload.get("sha256"), str)
        and isinstance(payload.get("count"), int)
    )


def _covered(seals: dict[str, dict[str, Any]], heads: Iterable[str]) -> set[str]:
    """The rows that some seals and all before them cover."""
    covered: set[str] = set()
    seen: set[str] = set()
    waiting = list(heads)
    while waiting:
        name = waiting.pop()
        if name in seals and name not in seen:
            seen.add(name)
            covered |= seals[name]["rows"].keys()
            waiting += seals[name]["previous"]
    return covered


def _sum(rows: dict[str, str], earlier: Iterable[str]) -> str:
    """SHA-256 over the sums of the seals before and the sorted hashes of the rows."""
    return hashlib.sha256("\n".join([*sorted(earlier), *sorted(rows.values())]).encode()).hexdigest()
