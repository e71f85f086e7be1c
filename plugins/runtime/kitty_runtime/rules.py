"""The rules that go with a claim, as its row records them. Apart from what a query needs, because hashing them takes libraries."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kitty_host.command import Invocation
from kitty_host.governance import keep, kept, recorded, sha256_of, text_of
from kitty_host.governance import told as told_of
from kitty_host.ledger.event import Row
from kitty_host.packages import Package
from kitty_host.records import Rules
from kitty_host.state import State


def rules_given(
    call: Invocation, package: Package, rules: Rules | None, rows: list[Row], *lanes: str
) -> tuple[dict[str, Any] | None, str]:
    """The rules that the claim in force records, with the file that keeps their text, and a line on it for people.

    `rows` are those that were written just now, with `rules`. Where there are none the claim is an older one, and whoever asks again is
    told of the rules that were recorded then.
    """
    told = recorded(told_of(rules)) if rows else _recorded_before(call.state(), package, lanes)
    if not told:
        return None, ""
    sha256 = str(told.get("text"))
    if rules and sha256_of(rules.text) == sha256:
        keep(call.repo, rules)
    file = None if kept(call.repo, sha256) is None else str(text_of(call.repo, sha256))
    changed = rules is None or rules.receipt != told.get("receipt")
    since = f"; they have changed since: kitty charter receipt {package.wp_id}" if changed else ""
    line = f"\n  rules     {file or 'kept in the clone where it was claimed'}{since}"
    return {"receipt": told.get("receipt"), "file": file, "changed": changed}, line


def _recorded_before(state: State, package: Package, lanes: Sequence[str]) -> Row:
    known = state.package_state(package.wp_id)
    claims = [row for lane in lanes if known and (row := known.entered.get(lane)) and recorded(row.policy)]
    return recorded(max(claims, key=lambda row: (row.at, row.event_id)).policy) if claims else {}
