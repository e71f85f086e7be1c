"""Writes the draft of a revision, with what `schema` has and the revisions do not make."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from kitty_sync.hub import migrations
from kitty_sync.hub.store import Store


def main(words: list[str]) -> None:
    """Write it, numbered after the last one."""
    from alembic import command

    with tempfile.TemporaryDirectory() as scratch:
        store = Store(Path(scratch) / "hub.db")
        with store.writing() as database:
            number = f"{int(migrations.REVISION) + 1:04}"
            command.revision(migrations.config(database), " ".join(words), autogenerate=True, rev_id=number)
        store.close()


if __name__ == "__main__":
    main(sys.argv[1:])
