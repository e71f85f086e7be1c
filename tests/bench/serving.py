"""What the hub of a team carries: events that it keeps, and those who listen to it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator

import hubs
from figure import Figure, figure
from measure import KITTY, Bench


def ingest(bench: Bench) -> Iterator[Figure]:
    """The hub keeps batches of 500: against the bare statement into the same table, from what was judged before and from what is sent."""
    from kitty_sync.hub.store import Store

    runs = min(bench.runs, 7)
    parts = hubs.before_it_is_kept(runs)
    with hubs.postgresql(bench.scratch) as server:
        files = (str(bench.scratch / "ingest.db"), str(bench.scratch / "bare.db"))
        servers = (server("ingest"), server("bare"))
        ways = (("SQLite", "executemany", files, hubs.bare_sqlite, 0.8),)
        more = (("PostgreSQL", "INSERT … SELECT unnest", servers, hubs.bare_postgresql, 0.6),)
        for name, statement, places, bare, goal in (*ways, *more):
            kept = hubs.Kept(*map(Store, places))
            ratio = hubs.against(kept, bare(kept), runs)
            # A server's CPU is not this process's; a file's is, and does not tell of how busy the machine is.
            by = "cpu" if name == "SQLite" else "wall"
            took, other = (getattr(one, by) / hubs.BATCH * 1e6 for one in ratio)
            whole = took + parts["parsed"] + parts["judged"]
            walls = " / ".join(f"{hubs.BATCH / one.wall:.0f}" for one in ratio)
            note = f"by {by}; {walls} events a second"
            yield figure(
                f"events kept, {name}", f"bare {statement}", f"≥ {goal}", other / took, other / took >= goal, note
            )
            yield figure(
                "the same, parsed and judged before by one process", f"bare {statement}", "", other / whole, True
            )
            kept.store.close()
    for name, value in parts.items():
        yield Figure(f"an event before it is kept: {name}", "", f"{value:.1f} µs")


def live(bench: Bench) -> Iterator[Figure]:
    """From before an event is sent until each of 500 who listen has it; and what one process of a hub carries."""
    for name in ("SQLite", "PostgreSQL"):
        with contextlib.ExitStack() as stack:
            place = str(bench.scratch / "live.db")
            if name == "PostgreSQL":
                place = stack.enter_context(hubs.postgresql(bench.scratch))("live")
            serving = hubs.Serving(KITTY, bench.scratch, place)
            stack.callback(serving.close)
            empty, used = serving.memory(), serving.cpu()
            took, memory = asyncio.run(hubs.heard(serving))
            each = (serving.cpu() - used) / len(took) * 1e6
            rate, waits = asyncio.run(hubs.asked(serving))
        half, most = _quantiles(took)
        heard = f"heard by {hubs.SUBSCRIBERS} who listen, {name}"
        yield Figure(f"{heard}: half of them", "", f"{half:.0f} ms")
        yield Figure(f"{heard}: 99 of 100", "", f"{most:.0f} ms", "< 100 ms", most < 100)
        yield Figure(f"CPU for each who hears of an event, {name}", "", f"{each:.0f} µs")
        yield Figure(
            f"the hub in memory with all of them, {name}", "alone", f"{memory:.0f} MiB", note=f"{empty:.0f} MiB"
        )
        half, most = _quantiles(waits)
        asked = f"requests with one event by {hubs.SENDERS} at once, {name}"
        yield Figure(asked, "", f"{rate:.0f} a second", note=f"p50 {half:.0f} ms, p99 {most:.0f} ms")


def _quantiles(took: list[float]) -> tuple[float, float]:
    """The median and the 99th percentile, in milliseconds, of seconds in order."""
    half, most = (took[int(len(took) * part)] * 1000 for part in (0.5, 0.99))
    return half, most
