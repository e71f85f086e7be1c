"""A hub on a PostgreSQL: any number of processes, each with a bounded number of connections."""

from __future__ import annotations

import contextlib
from typing import Any

import psycopg
from sqlalchemy import URL, Connection, create_engine, event
from sqlalchemy.exc import DBAPIError

CONNECTIONS = 12
"""Of a process, at most; and one that listens."""
PATIENCE = 5.0
"""Seconds to wait for a connection, or for a lock."""
_ALONE = 0x6B69747479
"""The advisory lock of all that is written but events: "kitty"."""
_PASSING = {
    "40001": "others wrote the same",  # serialization_failure
    "40P01": "others wrote the same",  # deadlock_detected
    "55P03": "too many wait to write",  # lock_not_available
    "57014": "it took too long",  # query_canceled
    "25P03": "it took too long",  # idle_in_transaction_session_timeout
    "25006": "the database is read-only at the moment",  # a standby that is about to take over
    "58030": "the disk takes no more",  # io_error
    "53100": "the disk takes no more",  # disk_full
}
_SETTINGS = """
SELECT set_config('lock_timeout', %s, false), set_config('statement_timeout', '30s', false),
    -- A process that was stopped, or cut off, must not keep a team's row.
    set_config('idle_in_transaction_session_timeout', '60s', false),
    -- An answer says that an event is on disk, whatever the server thinks of that.
    set_config('synchronous_commit', replace(current_setting('synchronous_commit'), 'off', 'on'), false)
"""


class Postgresql:
    """The engines of a PostgreSQL, and what its errors mean."""

    def __init__(self, url: URL) -> None:
        self._url = url
        self.writer = create_engine(
            url,
            connect_args=_ARGUMENTS,
            hide_parameters=True,
            isolation_level="READ COMMITTED",  # who has waited for a lock sees what was committed meanwhile
            pool_size=CONNECTIONS,
            max_overflow=0,
            pool_timeout=PATIENCE,
            pool_use_lifo=True,
        )
        event.listen(self.writer, "connect", _connected)
        self.reader = self.writer.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)

    def find(self) -> None:
        """See that it is there and lets us in. Errors: `DBAPIError`."""
        self.writer.connect().close()

    def turn(self) -> contextlib.AbstractContextManager[None]:
        """Nobody waits in this process; the locks of the database are fair."""
        return contextlib.nullcontext()

    def be_alone(self, database: Connection) -> None:
        """Wait until nobody else writes, in any process."""
        database.exec_driver_sql("SELECT pg_advisory_xact_lock(%s)", (_ALONE,))

    def passing(self, error: DBAPIError) -> str:
        """What is told of an error that passes by itself; else nothing."""
        state = getattr(error.orig, "sqlstate", None)
        if state is None:
            gone = isinstance(error.orig, psycopg.OperationalError | psycopg.InterfaceError)
            return "the database does not answer" if gone else ""
        if state[:2] in ("08", "57") and state != "57014":
            return "the database does not answer"
        return _PASSING.get(state, "the database has too much to do" if state[:2] == "53" else "")

    def is_broken(self, error: DBAPIError) -> bool:
        """Whether somebody has to see to the database: it, a table or a right is not there, or it is damaged."""
        state = getattr(error.orig, "sqlstate", None) or ""
        return state[:2] in ("28", "3D", "3F", "XX") or state in ("42P01", "42703", "42501")

    def listener(self) -> psycopg.Connection[Any]:
        """A connection of its own, for `LISTEN`. Errors: `psycopg.Error`."""
        _, arguments = self.writer.dialect.create_connect_args(self._url)
        return psycopg.connect(**{**arguments, **_ARGUMENTS}, autocommit=True)

    def close(self) -> None:
        """Let go of every connection."""
        self.writer.dispose()


# Who is cut off without a word is missed within half a minute.
_ARGUMENTS: dict[str, Any] = {
    "application_name": "kitty hub",
    "connect_timeout": 5,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 25_000,
}


def _connected(connection: Any, _: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute(_SETTINGS, (f"{PATIENCE:.0f}s",))
    connection.commit()  # else they end with the transaction
