"""Transactions on both databases: what is told is on disk, who fails fails alone, what passes is told as such; and who made the tables."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psycopg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, Engine, create_engine, event, inspect, text

from kitty_host.api import KittyError
from kitty_sync.hub import migrations
from kitty_sync.hub.schema import metadata
from kitty_sync.hub.store import Store, address_of, shown

from ..postgres import Postgres


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, isolated: Path) -> str:
    """A database in which nothing is yet."""
    if request.param == "sqlite":
        return str(isolated / "hub.db")
    postgres: Postgres = request.getfixturevalue("postgres")
    return postgres.database()


@pytest.fixture
def store(place: str) -> Iterator[Store]:
    """It, with its tables."""
    found = Store(place)
    yield found
    found.close()


@pytest.fixture
def file(isolated: Path) -> Iterator[Store]:
    """A file with its tables."""
    found = Store(isolated / "hub.db")
    yield found
    found.close()


def team(number: int) -> Callable[[Connection], int]:
    """Add a team, which is no event and short."""

    def change(database: Connection) -> int:
        database.execute(text("INSERT INTO teams VALUES (:id, :id, 'x', 0)"), {"id": str(number)})
        return number

    return change


def teams(store: Store) -> list[int]:
    with store.reading() as database:
        return sorted(int(one) for one in database.scalars(text("SELECT id FROM teams")))


# One commit for many


def test_what_waits_is_committed_once_and_told_then(file: Store) -> None:
    waiting: list[Any] = []
    told: list[bool] = []

    def committed(_: Connection) -> None:
        told.append(any(one.done() for one in waiting[1:]))

    with file.writing():  # until this is left, they wait: the first one for its turn, the others for the first
        waiting += [file.later(team(number)) for number in range(6)]
        event.listen(Engine, "commit", committed)
    try:
        assert [one.result() for one in waiting] == list(range(6))
    finally:
        event.remove(Engine, "commit", committed)
    assert told in ([False] * 3, [False] * 2), "the one that was left, perhaps the first one alone, and all the others"
    assert teams(file) == list(range(6))


def test_who_fails_fails_alone(store: Store) -> None:
    def refuse(database: Connection) -> None:
        team(100)(database)
        raise KittyError("NO", "no", "no")

    store.later(team(1)).result()
    with store.writing():
        waiting = [store.later(one) for one in (team(0), team(2), refuse, team(3), team(1), team(4))]
    wrong = [type(one.exception()).__name__ for one in waiting]
    assert wrong == ["NoneType", "NoneType", "KittyError", "NoneType", "IntegrityError", "NoneType"]
    assert teams(store) == [0, 1, 2, 3, 4]


def test_a_team_that_is_held_up_holds_up_nobody_else(postgres: Postgres) -> None:
    """And what was put for one team is done in turn, whatever fails."""
    store = Store(postgres.database())
    for number in (1, 2):
        store.later(team(number)).result()
    held, go = threading.Event(), threading.Event()
    done: list[int] = []

    def hold(database: Connection) -> None:
        database.execute(text("SELECT 1 FROM teams WHERE id = '1' FOR UPDATE"))
        held.set()
        go.wait(30)

    def then(number: int) -> Callable[[Connection], None]:
        def change(database: Connection) -> None:
            if number == 5:
                raise KittyError("NO", "no", "no")
            done.append(number)

        return change

    first = store.later(hold, adds=True, team="1")
    assert held.wait(30)
    waiting = [store.later(then(number), adds=True, team="1") for number in range(20)]
    store.later(then(100), adds=True, team="2").result(10)
    store.later(then(101)).result(10)
    assert done == [100, 101]
    go.set()
    first.result(30)
    assert [type(one.exception(30)).__name__ for one in waiting] == ["NoneType"] * 5 + ["KittyError"] + [
        "NoneType"
    ] * 14
    assert done[2:] == [number for number in range(20) if number != 5]
    last = [store.later(then(number), adds=True, team="1") for number in range(20, 30)]
    store.close()
    assert [one.exception(0) for one in last] == [None] * 10, "what waits is done before the end"


def test_no_more_wait_than_there_may(postgres: Postgres, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kitty_sync.hub.writer.MOST", 3)
    store = Store(postgres.database())
    go = threading.Event()
    waiting = [store.later(lambda _: go.wait(30), adds=True, team="1") for _ in range(3)]
    with pytest.raises(KittyError, match="too many"):
        store.later(lambda _: None, adds=True, team="2")
    go.set()
    assert all(one.result(30) for one in waiting)
    store.later(lambda _: None, adds=True, team="2").result(30)
    store.close()


def test_a_full_disk_is_told_and_passes(file: Store) -> None:
    def fill(database: Connection) -> None:
        database.exec_driver_sql("PRAGMA max_page_count = 1")  # not less than there are
        try:
            for number in range(1000, 9000):
                team(number)(database)
        finally:
            database.exec_driver_sql("PRAGMA max_page_count = 1000000")

    with file.writing():
        waiting = [file.later(one) for one in (team(0), team(1), fill, team(2))]
    wrong = [one.exception() for one in waiting]
    assert wrong[2] is not None
    assert {getattr(one, "code", None) for one in wrong} <= {None, "HUB_BUSY"}
    assert teams(file) == [
        number for number, one in zip((0, 1, None, 2), wrong, strict=True) if number is not None and not one
    ]
    assert file.later(team(3)).result() == 3


def test_one_writes_at_a_time_in_whatever_process(place: str) -> None:
    stores = [Store(place), Store(place)]
    stores[0].later(team(1)).result()

    def count(store: Store) -> None:
        for _ in range(20):
            with store.writing() as database:
                found = database.scalar(text("SELECT last_seq FROM teams"))
                database.execute(text("UPDATE teams SET last_seq = :next"), {"next": found + 1})

    with ThreadPoolExecutor(4) as pool:
        for one in [pool.submit(count, stores[number % 2]) for number in range(4)]:
            one.result()
    with stores[0].reading() as database:
        assert database.scalar(text("SELECT last_seq FROM teams")) == 80
    for store in stores:
        store.close()


def test_a_table_that_is_gone_is_for_who_runs_the_hub(store: Store) -> None:
    with pytest.raises(KittyError) as raised, store.reading() as database:
        database.execute(text("SELECT * FROM no_such_place"))
    assert raised.value.code == "HUB_DATABASE"


# Tables


def checks(database: Connection) -> dict[str, list[str]]:
    """What alembic does not compare."""
    seen = inspect(database)
    return {
        table: sorted(str(one["sqltext"]) for one in seen.get_check_constraints(table))
        for table in sorted(metadata.tables)
    }


def test_the_revisions_make_the_tables_of_the_schema(
    store: Store, request: pytest.FixtureRequest, isolated: Path
) -> None:
    if store.is_file:
        other = create_engine(f"sqlite:///{isolated / 'other.db'}")
    else:
        postgres: Postgres = request.getfixturevalue("postgres")
        other = create_engine(address_of(postgres.database(), Path()))
    with other.begin() as database:
        metadata.create_all(database)
        wanted = checks(database)
    other.dispose()
    with store.reading() as database:
        context = MigrationContext.configure(database, opts={"compare_type": True, "compare_server_default": True})
        assert compare_metadata(context, metadata) == []
        assert checks(database) == wanted
        assert migrations.revision_of(database) == migrations.REVISION


def test_many_may_open_a_new_database_at_once(place: str) -> None:
    together = threading.Barrier(4)

    def opened() -> Store:
        together.wait()
        return Store(place)

    with ThreadPoolExecutor(4) as pool:
        for one in [pool.submit(opened) for _ in range(4)]:
            one.result().close()


def test_a_database_of_a_newer_program_is_left_alone(store: Store, place: str) -> None:
    with store.writing() as database:
        database.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(KittyError) as raised:
        Store(place)
    assert raised.value.code == "HUB_DATABASE"
    assert "upgrade" in (raised.value.hint or "")
    with store.reading() as database:
        assert migrations.revision_of(database) == "9999"


def test_a_database_that_is_up_to_date_is_opened_without_alembic(store: Store, place: str) -> None:
    script = (
        f"import sys; from kitty_sync.hub.store import Store; Store({place!r}).close(); print('alembic' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


# Where it is


def kitty(where: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-P", "-m", "kitty_host", "hub", *words]
    return subprocess.run(
        command, cwd=where, capture_output=True, text=True, env={**os.environ, **environment}, timeout=60
    )


def test_it_is_where_the_environment_says(place: str, isolated: Path) -> None:
    done = kitty(isolated, "user", "add", "ada@example.org", "--team", "one", KITTY_HUB_DATABASE=place)
    assert done.returncode == 0, done
    store = Store(place)
    with store.reading() as database:
        assert database.scalar(text("SELECT email FROM users")) == "ada@example.org"
    store.close()
    assert not (isolated / "home/.local/state/kitty/hub.db").exists()


@pytest.mark.parametrize(
    "words",
    [
        ("user", "list"), ("user", "remove", "ada@example.org", "--team", "one"), ("user", "link", "ada@example.org"),
        ("user", "approve", "ada@example.org", "BCDF-GHJK"), ("token", "list", "--team", "one"), ("token", "revoke", "x"),
        ("audit",), ("aside", "--team", "one"), ("export", "one.jsonl", "--team", "one"), ("backup", "copy.db"),
    ],
)  # fmt: skip
def test_a_command_that_needs_a_hub_makes_none(isolated: Path, words: tuple[str, ...]) -> None:
    done = kitty(isolated, *words, "--database", "mistyped.db", "--json")
    assert (done.returncode, json.loads(done.stderr or done.stdout)["code"]) == (1, "HUB_DATABASE")
    assert not list(isolated.glob("*.db*"))


@pytest.mark.parametrize(
    "address",
    [
        "postgresql://ada:hush@127.0.0.1:1/hub",
        "postgresql://127.0.0.1:1/hub?user=ada&password=hush",
        "postgresql://ada:hush@127.0.0.1:port/hub",
        "mysql://ada:hush@127.0.0.1/hub",
        "postgresql://127.0.0.1:1/hub?hush=1",
    ],
)
def test_a_database_that_cannot_be_used_is_told_without_its_password(isolated: Path, address: str) -> None:
    done = kitty(isolated, "serve", "--port", "0", KITTY_HUB_DATABASE=address, KITTY_DEBUG="1")
    assert done.returncode == 1
    assert "HUB_DATABASE" in done.stdout + done.stderr
    if "hush=" not in address:
        assert "hush" not in done.stdout + done.stderr


def test_what_is_told_has_no_password() -> None:
    assert shown(address_of("postgres://ada:hush@db/hub", Path())) == "postgresql://ada:***@db/hub"
    assert (
        shown(address_of("postgresql:///hub?host=/run&password=hush&sslpassword=hush", Path()))
        == "postgresql:///hub?host=%2Frun"
    )


# The server


def test_it_is_on_disk_before_it_is_told_whatever_the_server_thinks(postgres: Postgres) -> None:
    address = postgres.database()
    with psycopg.connect(address, autocommit=True) as connection:
        name = connection.info.dbname
        connection.execute(f"ALTER DATABASE {name} SET synchronous_commit = off")
    store = Store(address)
    with store.writing() as database:
        assert database.scalar(text("SHOW synchronous_commit")) == "on"
    store.close()


def test_what_the_hub_says_when_it_serves_has_no_password(postgres: Postgres, isolated: Path) -> None:
    address = postgres.database().replace("postgres:@", "postgres:hush@")
    assert "hush" in address
    command = [sys.executable, "-P", "-m", "kitty_host", "hub", "serve", "--port", "0", "--json", "--database", address]
    with subprocess.Popen(command, cwd=isolated, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        process.terminate()
    assert "hush" not in line
    assert json.loads(line)["database"].startswith("postgresql://postgres:***@/hub_")
