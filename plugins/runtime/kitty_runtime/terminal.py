"""Missions as people see them in a terminal, once or as long as they look. The numbers are `overview`'s.

Whatever is drawn passes `visible`, piece by piece, so that no text of a repository steers the terminal although colours do.
"""

from __future__ import annotations

import io
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.live import Live
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from kitty_host.api import KittyError
from kitty_host.inert import inert, visible
from kitty_host.ledger.machine import BLOCKED, LANES
from kitty_host.repo import Repo
from kitty_host.report import show as report
from kitty_runtime.overview import counted, spent
from kitty_runtime.stamp import INTERVAL, stamp

_STYLES = {
    "planned": "",
    "claimed": "cyan",
    "in_progress": "blue",
    "blocked": "bold red",
    "for_review": "yellow",
    "in_review": "magenta",
    "approved": "green",
    "done": "bold green",
    "canceled": "dim",
}
_BAR = 20
_NARROW = 90
"""Columns below which lanes and efforts of single work packages are left out."""
_WIDE = 130
"""Columns from which on an effort is told whole, and not only by its first part."""
_SHOWN = 3
"""How many paths of a conflict are named."""

Rows = list[dict[str, Any]]


class _Visible:
    """Anything that can be drawn, made of nothing but characters that have a shape."""

    def __init__(self, drawn: RenderableType) -> None:
        self._drawn = drawn

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for segment in console.render(self._drawn, options):
            if not segment.control:
                yield Segment(visible(segment.text), segment.style)


def show(rows: Rows) -> None:
    """Print missions, for a terminal or for whatever else standard output is."""
    console = _console()
    if not console.is_terminal:
        # As wide as it takes: a pipe has no margin, and what is cut or padded hurts whoever reads it.
        console = Console(file=io.StringIO(), width=10_000, color_system=None)
    for piece in _pieces(rows, console):
        # A command is not broken into lines, so that it can be copied.
        console.print(_Visible(piece), soft_wrap=isinstance(piece, Text))
    if isinstance(console.file, io.StringIO):
        report({}, "\n".join(line.rstrip() for line in console.file.getvalue().splitlines()), as_json=False)


def watch(repo: Repo, rows: Callable[[], Rows]) -> None:
    """Draw missions again whenever something changes, until Ctrl-C. What cannot be read is said in their place."""
    console = _console()
    seen: object = None
    with Live(console=console, auto_refresh=False, redirect_stdout=False) as live:
        try:
            while True:
                # Looked at before it is read: what changes meanwhile is drawn the next time.
                now = (stamp(repo), console.size)
                if now != seen:
                    live.update(_Visible(Group(*_pieces_or_fault(rows, console))), refresh=True)
                    seen = now
                time.sleep(INTERVAL)
        except KeyboardInterrupt:
            return


def _console() -> Console:
    return Console(file=sys.stdout, highlight=False, markup=False, emoji=False)


def _pieces_or_fault(rows: Callable[[], Rows], console: Console) -> list[RenderableType]:
    try:
        return list(_pieces(rows(), console))
    except KittyError as error:
        return [Text(f"{error.code}: {error.message}", "bold red"), Text(f"  {error.hint}")]


def _pieces(rows: Rows, console: Console) -> Iterator[RenderableType]:
    if not rows:
        yield Text("No missions yet: kitty mission create SLUG")
    for number, row in enumerate(rows):
        yield from [Text()] if number else []
        yield Text.assemble((f"{row['slug']}: {row['title']}", "bold"))
        yield _bar(row, console)
        yield from [_lanes(row)] if any(row["lanes"].values()) else []
        yield from [_table(row, console)] if row["packages"] else []
        yield from map(Text, _told(row))


def _bar(row: dict[str, Any], console: Console) -> Text:
    percent = row["progress"]["percent"]
    done = percent * _BAR // 100
    # One sign in two colours, where there are both.
    coloured = console.color_system is not None and not console.no_color
    drawable = coloured and (console.encoding or "").lower().startswith("utf")
    full, empty, left, right = ("━", "━", "", "") if drawable else ("#", ".", "[", "]")
    effort = f"  ({spent(row['effort'])})" if row["effort"] else ""
    return Text.assemble(
        f"  {left}",
        (full * done, "green"),
        (empty * (_BAR - done), "bright_black"),
        f"{right} {percent} %  {counted(row)}{effort}",
    )


def _lanes(row: dict[str, Any]) -> Text:
    """The lanes in which there is something, each with its number."""
    lanes = [(lane, row["lanes"][lane]) for lane in LANES if row["lanes"][lane]]
    return Text("  ").append_text(
        Text(", ").join(Text(f"{number} {lane}", _STYLES.get(lane, "")) for lane, number in lanes)
    )


def _table(row: dict[str, Any], console: Console) -> Table:
    wide = console.width >= _NARROW
    packages = row["packages"]
    columns = ["wp", "status", "title"]
    columns += ["agent"] if any(one["agent"] for one in packages) else []
    columns += ["lane"] if wide and any(one["lane_id"] for one in packages) else []
    columns += ["waits for"] if any(map(_waits_for, packages)) else []
    columns += ["effort"] if wide and any(one["effort"] for one in packages) else []
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("")  # the margin that the other lines have
    for name in columns:
        # Ids stay whole; the rest shares what is left.
        table.add_column(name, no_wrap=name in ("wp", "status", "lane"), overflow="fold")
    for package in packages:
        cells = _cells(package)
        if console.width < _WIDE:
            cells["effort"] = cells["effort"].split(", ")[0]
        table.add_row("", *(cells[name] for name in columns))
    return table


def _cells(package: dict[str, Any]) -> dict[str, Text]:
    who = package["agent"] or ""
    style = _STYLES.get(package["lane"], "")
    return {
        "wp": Text(inert(package["wp_id"]), "bold"),
        "status": Text(package["lane"], style),
        "title": Text(package["title"], "dim" if package["lane"] == "canceled" else ""),
        "agent": Text(f"{who}, {package['reviewer']} reviews" if package["reviewer"] else who),
        "lane": Text(inert(package["lane_id"] or "")),
        "waits for": Text(_waits_for(package)),
        "effort": Text(spent(package["effort"]) if package["effort"] else ""),
    }


def _waits_for(package: dict[str, Any]) -> str:
    """Other work packages, or whatever somebody said that it is blocked by."""
    reason = package["reason"] if package["lane"] == BLOCKED else None
    return ", ".join([*map(inert, package["waits_for"]), *([reason] if reason else [])])


def _told(row: dict[str, Any]) -> Iterator[str]:
    """What there is to say besides: findings, exceptions, and what will conflict."""
    for finding in row["findings"]:
        yield f"  {finding['code']}: {finding['message']}"
    for one in row["exceptions"]:
        yield f"  exception from {one['gate']}: {one['scenario']}, by {one['operator']}"
        yield f"    {one['granted']} to {one['expires']}: {one['environmental']}; {one['follow_up']}"
    if row["forecast"]:
        yield from _foretold(row["forecast"])


def _foretold(forecast: dict[str, Any]) -> Iterator[str]:
    """What will go wrong: the first conflict, and its way out."""
    conflicts = forecast["conflicts"]
    if forecast["clean"] is None:
        yield f"  no forecast: {forecast['reason']}"
    elif conflicts:
        one, more = conflicts[0], len(conflicts) - 1
        where = [f"{inert(path, prose=True)} ({one['kinds'][path]})" for path in one["paths"]]
        named = ", ".join(where[:_SHOWN]) + (f" and {len(where) - _SHOWN} more" if len(where) > _SHOWN else "")
        rest = f"; {more} more: kitty merge --preview" if more else ""
        yield f"  {one['lane']} will conflict with {' and '.join(one['others'])} in {named}{rest}"
        yield f"    {one['hint']}"
