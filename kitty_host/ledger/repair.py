"""Bringing rows back that a ledger has lost and a checkpoint has.

Nothing is thrown away: the file as it was is kept beside the torn tails.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from kitty_host.files import atomic_write, hard_link, same_file
from kitty_host.git import Git
from kitty_host.ledger.event import parse
from kitty_host.ledger.log import Ledger
from kitty_host.ledger.seal import name_of
from kitty_host.ledger.verify import readable


class Restored(NamedTuple):
    """What came back, or would."""

    rows: int
    """Rows that were gone or changed and are as the checkpoint has them."""
    unreadable: int
    """Lines that were left out of the new file because nobody can read them."""
    kept: Path | None
    """Where the file is that was replaced; None where nothing had to be."""


def restore(ledger: Ledger, git: Git, *, dry_run: bool = False) -> Restored:
    """Make the ledger the union of what can be read of it and of its last checkpoint, which is right where both differ.

    Errors: `LOCK_HELD` is waited for; `DISK_FULL`, `READ_ONLY`.
    """
    with ledger.locked(mend=False):
        mine, bad = readable(ledger.live)
        theirs, worse = ([], 0) if same_file(ledger.live, ledger.twin) else readable(ledger.twin)
        checkpointed = {name_of(parse(line)): line for line in ledger.lines_at(git, ledger.ref) if line.strip()}
        rows: dict[str, bytes] = {}
        for line in (*mine, *theirs):
            rows.setdefault(name_of(parse(line)), line)
        back = {
            name: line for name, line in checkpointed.items() if name not in rows or parse(rows[name]) != parse(line)
        }
        unreadable = bad + worse
        if dry_run or not (back or unreadable):
            return Restored(len(back), unreadable, None)
        kept = ledger.keep_aside()
        content = b"".join(line + b"\n" for line in {**rows, **back}.values())
        atomic_write(ledger.live, content)
        if not hard_link(ledger.live, ledger.twin):
            atomic_write(ledger.twin, content)
    return Restored(len(back), unreadable, kept)
