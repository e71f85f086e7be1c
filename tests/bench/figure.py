"""What a row says: a figure, what it is measured against, and its goal; printed, or kept on a page."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from measure import Ratio


class Figure(NamedTuple):
    """One measured figure."""

    what: str
    against: str
    value: str
    goal: str = ""
    met: bool = True
    note: str = ""

    def __str__(self) -> str:
        goal = f"goal {self.goal:8}" if self.goal else " " * 13
        return f"{self.what:54} / {self.against:42} {self.value:>10}  {goal} {'' if self.met else 'MISSED'} {self.note}".rstrip()

    @property
    def cells(self) -> str:
        """A row of a table in Markdown."""
        goal = f"{self.goal} {'' if self.met else '**missed**'}".strip()
        return f"| {' | '.join((self.what, self.against, self.value, goal, self.note))} |"


def figure(what: str, against: str, goal: str, ratio: float, met: bool, note: str = "") -> Figure:
    """A ratio."""
    return Figure(what, against, f"{ratio:.2f}", goal, met, note)


def at_most(what: str, against: str, goal: float, ratio: Ratio) -> Figure:
    """A row whose CPU ratio shall stay below a goal."""
    return figure(what, against, f"≤ {goal}", ratio.cpu, ratio.cpu <= goal, _cpu(ratio))


def measured(what: str, against: str, ratio: Ratio) -> Figure:
    """A row without a goal, to compare with another."""
    return figure(what, against, "", ratio.cpu, True, _cpu(ratio))


def _cpu(ratio: Ratio) -> str:
    return f"{ratio.one.cpu * 1000:.0f} / {ratio.other.cpu * 1000:.0f} ms CPU"


def keep(page: Path, row: str, says: str, when: str, figures: Iterable[Figure]) -> None:
    """Put the figures of a row under its heading of a page, in place of those of before; the other headings stay."""
    head = "| what | against | measured | goal | |\n|---|---|---|---|---|\n"
    table = head + "".join(one.cells + "\n" for one in figures)
    section = f"## {row}\n\n{says}\n\n{table}\n{when}\n\n"
    text = page.read_text(encoding="utf-8")
    found = re.search(rf"^## {re.escape(row)}\n.*?(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    start, end = found.span() if found else (len(text), len(text))
    page.write_text(f"{text[:start].rstrip()}\n\n{section}{text[end:]}".rstrip() + "\n", encoding="utf-8")
