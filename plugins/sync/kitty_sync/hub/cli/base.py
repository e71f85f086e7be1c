"""What the commands of `kitty hub` have in common: their groups, and the database that is meant."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import click

from kitty_host.api import KittyError
from kitty_host.command import Invocation, group

if TYPE_CHECKING:
    from sqlalchemy import URL

    from kitty_sync.hub.store import Store

hub = group("hub", help="Serve a team: take its events, keep each once, hand them out.")
user = group("user", help="Say who is in a team, and let devices in.")
token = group("token", help="See and end the sessions of a team.")
hub.add_command(user)
hub.add_command(token)

database_option = click.option(
    "--database",
    metavar="FILE|postgresql://…",
    envvar="KITTY_HUB_DATABASE",
    help="Where it keeps things; else in KITTY_HUB_DATABASE, or in your state.",
)
_NEEDED = (
    "alembic", "jinja2", "limits", "prometheus_client", "psycopg", "sqlalchemy", "starlette", "uvicorn", "websockets",
)  # fmt: skip
"""What the extra `hub` brings."""


def address(call: Invocation, database: str | None) -> URL:
    """The database that is meant. Errors: `EXTRA_MISSING`, `HUB_DATABASE`."""
    if any(find_spec(name) is None for name in _NEEDED):
        message = "kitty hub needs packages that are not installed"
        raise KittyError("EXTRA_MISSING", message, "run: pip install 'kitty-sync[hub]'")
    from kitty_sync.hub.store import address_of, default_database

    return address_of(database or str(default_database()), call.directory)


def store(call: Invocation, database: str | None, *, make: bool = False) -> Store:
    """It, opened; a file that is not there is made, or refused, so that a slip of the pen makes no second hub.

    Errors: `EXTRA_MISSING`, `HUB_BUSY`, `HUB_DATABASE`.
    """
    url = address(call, database)
    from kitty_sync.hub.store import Store

    if not make and url.drivername == "sqlite" and not Path(str(url.database)).exists():
        message = f"there is no hub in {url.database}"
        raise KittyError("HUB_DATABASE", message, "name its --database; kitty hub setup makes a new one")
    return Store(url)


def file(call: Invocation, database: str | None) -> Path:
    """The file that is meant. Errors: `HUB_NOT_A_FILE`, and as `address`."""
    url = address(call, database)
    if url.drivername != "sqlite":
        raise KittyError("HUB_NOT_A_FILE", "this hub keeps things in a PostgreSQL", "copy it with its tools: pg_dump")
    return Path(str(url.database))
