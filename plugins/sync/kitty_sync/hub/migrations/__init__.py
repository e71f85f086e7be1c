"""The revisions that make the tables, and the way from what a database has to the last of them.

A change of `schema` needs a file in `versions` and its name in `REVISION`: `python -m kitty_sync.hub.migrations "what it does"` writes a
draft of it. One hub may still run while another brings the database up, so that a revision adds, and takes away only what no version reads.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, inspect, text

from kitty_host.api import KittyError

if TYPE_CHECKING:
    from kitty_sync.hub.store import Store

REVISION = "0001"
"""The last one. It is said here as well, so that who finds it in the database need not load alembic."""
_HERE = Path(__file__).parent


def bring_up(store: Store) -> None:
    """Make a database what this program needs; at once where it is. Errors: `HUB_DATABASE` for one that is of a newer program."""
    with store.reading() as database:
        if revision_of(database) == REVISION:
            return
    with store.writing() as database:  # many may start at once; who comes second finds it done
        found = revision_of(database)
        if found == REVISION:
            return
        configuration = config(database)
        if found is not None and not _is_known(configuration, found):
            raise KittyError(
                "HUB_DATABASE",
                f"{store} was made by a newer version of kitty (its revision is {found}, and {REVISION} is the last that is known)",
                "run: pip install --upgrade 'kitty-sync[hub]', or restore an older copy",
            )
        from alembic import command

        command.upgrade(configuration, REVISION)


def revision_of(database: Connection) -> str | None:
    """What a database has; None for one without a revision."""
    if not inspect(database).has_table("alembic_version"):
        return None
    found: str | None = database.scalar(text("SELECT version_num FROM alembic_version"))
    return found


def config(database: Connection) -> Any:
    """The `alembic.config.Config` for a connection; a transaction of it is there already."""
    from alembic.config import Config

    found = Config(attributes={"connection": database})
    found.set_main_option("script_location", str(_HERE).replace("%", "%%"))
    return found


def _is_known(configuration: Any, revision: str) -> bool:
    from alembic.script import ScriptDirectory

    return any(one.revision == revision for one in ScriptDirectory.from_config(configuration).walk_revisions())
