"""A copy taken while a hub is written to is whole and serves; a tenant goes from one hub into another as it is."""

from __future__ import annotations

import hashlib
import json
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from kitty_host.testing import Project, Result
from kitty_sync.hub import carry, schema

from ..hub import HubProcess, record
from .team import Team

Run = Callable[..., Result]


@pytest.fixture
def run(project: Project) -> Run:
    """A `kitty hub` command, as JSON."""
    return lambda *words: project.kitty("hub", *map(str, words), "--json")


@pytest.fixture
def filled(hub: HubProcess) -> Team:
    """A team with some events."""
    team = Team(hub, "one")
    with team.client() as client:
        client.post("/v1/events", json={"events": [record(number) for number in range(50)]})
    return team


class Writing(threading.Thread):
    """Sends events one after the other until it is told to stop; what was acknowledged, in order."""

    def __init__(self, team: Team) -> None:
        super().__init__()
        self.over = threading.Event()
        self.told: list[str] = []
        self.begun = threading.Event()
        self._client = team.client()

    def run(self) -> None:
        number = 1000
        while not self.over.is_set():
            batch = [record(number + place) for place in range(20)]
            results = self._client.post("/v1/events", json={"events": batch}).json()["results"]
            self.told += [one["event_id"] for one in results]
            number += len(batch)
            self.begun.set()


def test_a_copy_taken_under_load_is_one_state_and_serves(
    hub: HubProcess, filled: Team, run: Run, tmp_path: Path
) -> None:
    writing = Writing(filled)
    writing.start()
    writing.begun.wait(30)
    before = len(writing.told)
    said = run("backup", tmp_path / "copy.db", "--database", hub.database)
    after = len(writing.told) + 20  # one batch may be on its way
    writing.over.set()
    writing.join()
    assert said.exit_code == 0, said
    assert 50 + before <= said.json["events"] <= 50 + after
    restored = run("restore", tmp_path / "copy.db", "--database", tmp_path / "hub.db")
    assert restored.json["events"] == said.json["events"]
    other = HubProcess(tmp_path)
    try:
        stored = list(other.events("one"))
        assert stored == list(hub.events("one"))[: len(stored)], "it is how the hub once was"
        with Team(other, "one").client() as client:
            answer = client.post("/v1/events", json={"events": [record(7), record(9_999_999)]}).json()
            assert [one["status"] for one in answer["results"]] == ["duplicate", "stored"]
    finally:
        other.stop()


def test_who_was_let_in_before_a_restore_logs_in_again(hub: HubProcess, filled: Team, run: Run, tmp_path: Path) -> None:
    token = filled.login().access_token
    link = httpx.URL(run("user", "link", "writer@example.org", "--database", hub.database).json["url"])
    run("backup", tmp_path / "copy.db", "--database", hub.database)
    run("restore", tmp_path / "copy.db", "--database", tmp_path / "hub.db")
    other = HubProcess(tmp_path)
    try:
        assert httpx.get(f"{other.address}/v1/me", headers={"Authorization": f"Bearer {token}"}).status_code == 401
        assert httpx.get(f"{other.address}{link.raw_path.decode()}").status_code == 400
        with Team(other, "one").client() as client:
            assert client.get("/v1/me").status_code == 200
    finally:
        other.stop()


@pytest.mark.parametrize("before", [50, 0], ids=["with events", "empty"])
def test_no_number_is_given_twice_though_events_were_lost(
    hub: HubProcess, run: Run, tmp_path: Path, before: int
) -> None:
    """A reader who saw what the copy has not got is told what comes afterwards, too."""
    filled = Team(hub, "one")
    with filled.client() as client:
        client.post("/v1/events", json={"events": [record(number) for number in range(before)]})
    run("backup", tmp_path / "copy.db", "--database", hub.database)
    with filled.client() as client:
        lost = client.post("/v1/events", json={"events": [record(number) for number in range(60, 80)]}).json()
    run("restore", tmp_path / "copy.db", "--database", tmp_path / "hub.db")
    other = HubProcess(tmp_path)
    try:
        with Team(other, "one").client() as client:
            client.post("/v1/events", json={"events": [record(90)]})
            page = client.get("/v1/events", params={"after": lost["cursor"]}).json()
            assert [one["event"]["event_id"] for one in page["events"]] == [record(90)["event"]["event_id"]]
    finally:
        other.stop()


CHANGES = {
    "an event's text": "UPDATE events SET record = replace(record, 'ada', 'bob') WHERE seq = 7",
    "what is no event": "UPDATE events SET record = '{}' WHERE seq = 7",
    "a digest": "UPDATE events SET digest = 'x' WHERE seq = 7",
    "a number that was not given": "UPDATE events SET seq = 1000 WHERE seq = 7",
    "a member of no team": "UPDATE members SET team_id = 'nobody'",
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_copy_that_is_not_what_was_stored_is_refused(
    hub: HubProcess, filled: Team, run: Run, tmp_path: Path, change: str
) -> None:
    run("backup", tmp_path / "copy.db", "--database", hub.database)
    database = sqlite3.connect(tmp_path / "copy.db")
    database.execute(CHANGES[change])
    database.commit()
    database.close()
    refused = run("restore", tmp_path / "copy.db", "--database", tmp_path / "restored.db")
    assert (refused.exit_code, refused.json["code"]) == (1, "HUB_DATABASE")
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith(("restored.db", ".kitty"))) == [
        "restored.db.lock"
    ]


def test_bytes_that_are_damaged_are_refused(hub: HubProcess, filled: Team, run: Run, tmp_path: Path) -> None:
    copy = tmp_path / "copy.db"
    run("backup", copy, "--database", hub.database)
    database = sqlite3.connect(copy)
    [page] = database.execute("SELECT rootpage FROM sqlite_master WHERE name = 'events_by_project'").fetchone()
    database.close()
    content = bytearray(copy.read_bytes())
    # Of an index, at the end of its page, so that no query of events comes by.
    content[page * 4096 - 40 : page * 4096] = bytes(40)
    copy.write_bytes(content)
    refused = run("restore", copy, "--database", tmp_path / "restored.db")
    assert (refused.exit_code, refused.json["code"]) == (1, "HUB_DATABASE")
    assert not (tmp_path / "restored.db").exists()


def test_nothing_is_ever_written_over(hub: HubProcess, filled: Team, run: Run, tmp_path: Path) -> None:
    taken = tmp_path / "taken"
    taken.write_text("mine")
    for words in (("backup", taken), ("export", taken, "--team", "one")):
        refused = run(*words, "--database", hub.database)
        assert (refused.exit_code, refused.json["code"]) == (1, "FILE_EXISTS")
    refused = run("restore", hub.database, "--database", taken)
    assert (refused.exit_code, refused.json["code"]) == (1, "FILE_EXISTS")
    assert taken.read_text() == "mine"


@pytest.mark.parametrize("end", ["-wal", "-shm", "-journal"])
def test_a_log_that_was_left_is_not_played_into_a_copy(
    hub: HubProcess, filled: Team, run: Run, tmp_path: Path, end: str
) -> None:
    """The hub was killed, and its file moved away without what lies beside it."""
    run("backup", tmp_path / "copy.db", "--database", hub.database)
    (tmp_path / f"new.db{end}").write_bytes(b"old")
    refused = run("restore", tmp_path / "copy.db", "--database", tmp_path / "new.db")
    assert (refused.exit_code, refused.json["code"]) == (1, "FILE_EXISTS")
    assert f"new.db{end}" in refused.json["message"]
    assert not (tmp_path / "new.db").exists()


def test_a_served_file_is_not_restored_over(hub: HubProcess, filled: Team, run: Run, tmp_path: Path) -> None:
    run("backup", tmp_path / "copy.db", "--database", hub.database)
    refused = run("restore", tmp_path / "copy.db", "--database", hub.database)
    assert (refused.exit_code, refused.json["code"]) == (1, "LOCK_HELD")


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_a_tenant_is_carried_into_another_hub(
    hub: HubProcess, filled: Team, run: Run, tmp_path: Path, kind: str, request: pytest.FixtureRequest
) -> None:
    said = run("export", tmp_path / "one.jsonl", "--team", "one", "--database", hub.database)
    assert said.exit_code == 0, said
    database = "" if kind == "sqlite" else request.getfixturevalue("postgres").database()
    other = database or tmp_path / "hub.db"
    assert run("user", "add", "writer@example.org", "--team", "elsewhere", "--database", other).exit_code == 0
    taken = run("import", tmp_path / "one.jsonl", "--database", other)
    assert taken.json["digest"] == said.json["digest"]
    again = run("export", tmp_path / "again.jsonl", "--team", "one", "--database", other)
    assert again.json["digest"] == said.json["digest"]
    refused = run("import", tmp_path / "one.jsonl", "--database", other)
    assert (refused.exit_code, refused.json["code"]) == (1, "TEAM_EXISTS")
    serving = HubProcess(tmp_path, database=database)
    try:
        assert serving.events("one") == hub.events("one")
        with Team(serving, "one").client() as client:
            assert client.get("/v1/me").json()["team"]["slug"] == "one"
            status = client.post("/v1/events", json={"events": [record(3), record(51)]}).json()["results"]
            assert [one["status"] for one in status] == ["duplicate", "stored"]
    finally:
        serving.stop()


def test_what_lets_somebody_in_stays_behind(hub: HubProcess, filled: Team, run: Run, tmp_path: Path) -> None:
    pair = filled.login()
    run("export", tmp_path / "one.jsonl", "--team", "one", "--database", hub.database)
    text = (tmp_path / "one.jsonl").read_text()
    assert pair.session_id not in text
    assert {key for line in text.splitlines() for key in json.loads(line)} == {
        "schema", "team", "users", "members", "events", "rows", "sha256"
    }  # fmt: skip
    assert (tmp_path / "one.jsonl").stat().st_mode & 0o077 == 0


def spoilt(lines: list[bytes]) -> dict[str, list[bytes]]:
    return {
        "its end is missing": lines[:-1],
        "a row is missing": lines[:3] + lines[4:],
        "a row stands twice": lines[:3] + lines[3:4] + lines[3:],
        "two rows have changed places": lines[:3] + lines[4:5] + lines[3:4] + lines[5:],
        "a letter is another": [line.replace(b"ada", b"bob") for line in lines],
        "its beginning is missing": lines[1:],
        "it is empty": [],
        "it is something else": [b"{}\n", b"[]\n"],
        "its team is something else": [b'{"schema": "kitty.hub.tenant/1", "team": {"slug": "x"}}\n', *lines[1:]],
    }


@pytest.mark.parametrize("team", [{"slug": "x"}, {}, [], None])
def test_a_whole_file_of_something_else_is_refused(run: Run, tmp_path: Path, team: Any) -> None:
    head = json.dumps({"schema": "kitty.hub.tenant/1", "team": team}) + "\n"
    end = json.dumps({"rows": 0, "sha256": hashlib.sha256(head.encode()).hexdigest()}) + "\n"
    (tmp_path / "one.jsonl").write_text(head + end)
    refused = run("import", tmp_path / "one.jsonl", "--database", tmp_path / "other.db")
    assert (refused.exit_code, refused.json["code"]) == (1, "TENANT_FILE")


@pytest.mark.parametrize("how", spoilt([]))
def test_a_file_that_is_not_whole_is_refused_before_anything_is_written(
    hub: HubProcess, filled: Team, run: Run, tmp_path: Path, how: str
) -> None:
    source = tmp_path / "one.jsonl"
    run("export", source, "--team", "one", "--database", hub.database)
    source.write_bytes(b"".join(spoilt(source.read_bytes().splitlines(keepends=True))[how]))
    refused = run("import", source, "--database", tmp_path / "other.db")
    assert (refused.exit_code, refused.json["code"]) == (1, "TENANT_FILE")
    database = sqlite3.connect(tmp_path / "other.db")
    assert database.execute("SELECT count(*) FROM teams").fetchone() == (0,)
    database.close()


def forged(lines: list[bytes], change: Callable[[str, dict[str, Any]], None]) -> bytes:
    """A file that is whole, although somebody has changed its rows."""
    rows = [json.loads(line) for line in lines[1:-1]]
    for row in rows:
        change(*next(iter(row.items())))
    body = lines[0] + b"".join(json.dumps(row).encode() + b"\n" for row in rows)
    return body + json.dumps({"rows": len(rows), "sha256": hashlib.sha256(body).hexdigest()}).encode()


FORGERIES: dict[str, Callable[[str, dict[str, Any]], None]] = {
    "a member of another team": lambda name, row: row.update(team_id="victims") if name == "members" else None,
    "a member who is nobody in it": lambda name, row: row.update(user_id="victim") if name == "members" else None,
    "a role that there is not": lambda name, row: row.update(role="god") if name == "members" else None,
    "an event that was changed": lambda name, row: (
        row.update(record=row["record"].replace("ada", "bob")) if name == "events" else None
    ),
    "an event that is none": lambda name, row: row.update(record="[]") if name == "events" else None,
    "a row with more": lambda name, row: row.update(more=1),
}


@pytest.mark.parametrize("how", FORGERIES)
def test_that_a_file_is_whole_does_not_make_its_rows_true(
    hub: HubProcess, filled: Team, run: Run, tmp_path: Path, how: str
) -> None:
    run("export", tmp_path / "one.jsonl", "--team", "one", "--database", hub.database)
    lines = (tmp_path / "one.jsonl").read_bytes().splitlines(keepends=True)
    (tmp_path / "forged.jsonl").write_bytes(forged(lines, FORGERIES[how]))
    run("user", "add", "victim@example.org", "--team", "victims", "--database", tmp_path / "other.db")
    before = run("user", "list", "--database", tmp_path / "other.db").json
    refused = run("import", tmp_path / "forged.jsonl", "--database", tmp_path / "other.db")
    assert (refused.exit_code, refused.json["code"]) == (1, "TENANT_FILE")
    assert run("user", "list", "--database", tmp_path / "other.db").json == before
    (tmp_path / "same.jsonl").write_bytes(forged(lines, lambda name, row: None))
    assert run("import", tmp_path / "same.jsonl", "--database", tmp_path / "other.db").exit_code == 0
    told = run("audit", "--team", "one", "--database", tmp_path / "other.db").json["entries"]
    assert [one["action"] for one in told] == ["team.made", "member.added"]


def test_a_team_that_is_not_there_is_not_written(hub: HubProcess, run: Run, tmp_path: Path) -> None:
    refused = run("export", tmp_path / "x.jsonl", "--team", "nobody", "--database", hub.database)
    assert (refused.exit_code, refused.json["code"]) == (1, "TEAM_UNKNOWN")
    assert not list(tmp_path.glob("*x.jsonl*"))


@pytest.mark.parametrize("what", ["backup", "restore"])
def test_a_postgresql_is_copied_by_its_own_tools(run: Run, tmp_path: Path, what: str) -> None:
    refused = run(what, tmp_path / "copy.db", "--database", "postgresql://ada:secret@127.0.0.1:1/hub")
    assert (refused.exit_code, refused.json["code"]) == (1, "HUB_NOT_A_FILE")
    assert "secret" not in refused.stdout


def test_every_table_is_carried_or_left_behind_on_purpose() -> None:
    carried = {table.name for table in carry.CARRIED}
    assert sorted(schema.metadata.tables) == sorted({*carried, *carry.LEFT, schema.teams.name})
