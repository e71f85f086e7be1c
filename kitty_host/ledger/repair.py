"""Bringing rows back that a ledger has lost and a checkpoint has.

Nothing is thrown away: the file as it was is kept beside the torn tails.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

from kitty_host.files import atomic_write, hard_link, same_file
from kitty_host.git import Git
from kitty_host.ledger.event import Row, encode, parse
from kitty_host.ledger.log import Ledger
from kitty_host.ledger.seal import name_of
from kitty_host.ledger.verify import checkpointed, readable


class Restored(NamedTuple):
    """What came back, or would."""

    rows: int
    """Rows that were gone or changed and are as the checkpoints have them."""
    unreadable: int
    """Lines that were left out of the new file because nobody can read them."""
    kept: Path | None
    """Where the file is that was replaced; None where nothing had to be."""


def restore(ledger: Ledger, git: Git, *, dry_run: bool = False) -> Restored:
    """Make the ledger the union of what can be read of it and of its checkpoints, which are right where both differ.

    Errors: `EVENT_ID_CONFLICT` where its two names contradict each other and no checkpoint tells; `DISK_FULL`, `READ_ONLY`.
    """
    with ledger.locked(mend=False):
        if not dry_run:
            ledger.mend_tails()
        mine, bad = readable(ledger.live)
        theirs, worse = ([], 0) if same_file(ledger.live, ledger.twin) else readable(ledger.twin)
        known: dict[str, list[Row]] = defaultdict(list)
        for row in checkpointed(ledger, git):
            known[name_of(row)].append(row)
        present = ledger.union(_as_known(mine, known), _as_known(theirs, known))
        there = [parse(line) for line in present]
        back = [row for rows in known.values() for row in rows if row not in there]
        unreadable = bad + worse
        if dry_run or not (back or unreadable):
            return Restored(len(back), unreadable, None)
        kept = ledger.keep_aside()
        content = b"".join([*(line + b"\n" for line in present), *(encode(row).encode() for row in back)])
        atomic_write(ledger.live, content)
        if not hard_link(ledger.live, ledger.twin):
            atomic_write(ledger.twin, content)
    return Restored(len(back), unreadable, kept)


def _as_known(lines: list[bytes], known: dict[str, list[Row]]) -> list[bytes]:
    """The lines that no checkpoint has otherwise."""
    rows = [(line, parse(line)) for line in lines]
    return [line for line, row in rows if name_of(row) not in known or row in known[name_of(row)]]
