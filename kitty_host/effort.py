"""Time, tokens and cost as somebody said that a work package took them: what counts in a row, and their sums.

Telling is voluntary, so that nothing is measured here and nothing depends on it. A row that says nonsense counts as nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from decimal import Decimal

    from kitty_host.ledger.event import Other

MOST = 10**15
"""Of seconds or tokens in one row. What is more is a slip, and would be printed for ever."""
COST = re.compile(r"[0-9]{1,12}(\.[0-9]{1,9})?")
"""An amount as rows have it: a decimal text, because sums of binary fractions are wrong by cents."""


class Effort(NamedTuple):
    """What something took. None is what nobody told, which is not zero."""

    seconds: int | None = None
    tokens: int | None = None
    cost: Decimal | None = None
    """In whatever the team counts in: there is one currency."""


def add_up(rows: Iterable[Other]) -> dict[str, Effort]:
    """The sums of some rows by work package, and that of all under the empty id."""
    sums: dict[str, Effort] = {}
    for row in rows:
        told = _told(row.row.get("payload"))
        if told is not None:
            wp_id, effort = told
            for key in (wp_id, ""):
                sums[key] = _sum(sums.get(key), effort)
    return sums


def counts(number: Any) -> bool:
    """Whether a value is a number of seconds or tokens."""
    return type(number) is int and 0 <= number <= MOST


def _told(payload: Any) -> tuple[str, Effort] | None:
    if not isinstance(payload, dict) or not isinstance(payload.get("wp_id"), str) or not payload["wp_id"]:
        return None
    seconds, tokens, cost = payload.get("seconds"), payload.get("tokens"), payload.get("cost")
    effort = Effort(seconds if counts(seconds) else None, tokens if counts(tokens) else None, _amount(cost))
    return None if effort == Effort() else (payload["wp_id"], effort)


def _amount(cost: Any) -> Decimal | None:
    if not isinstance(cost, str) or not COST.fullmatch(cost):
        return None
    from decimal import Decimal  # most ledgers tell of no cost, and questions are asked all day

    return Decimal(cost)


def _sum(one: Effort | None, other: Effort) -> Effort:
    return other if one is None else Effort(*(_added(*both) for both in zip(one, other, strict=True)))


def _added(one: Any, other: Any) -> Any:
    return other if one is None else one if other is None else one + other
