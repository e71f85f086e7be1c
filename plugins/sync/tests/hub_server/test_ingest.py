"""What becomes of events that are sent: each has a result, each is kept once, and what is no batch changes nothing."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from ..hub import PROJECT, peak, record
from .team import Team

MIB = 1024 * 1024


def send(client: httpx.Client, *records: Any, **more: Any) -> list[tuple[str, str | None]]:
    answer = client.post("/v1/events", json={"events": list(records), **more})
    assert answer.status_code == 200, answer.text
    results = answer.json()["results"]
    assert len(results) == len(records)
    return [(one["status"], one["code"]) for one in results]


STORED, DUPLICATE, CONFLICT = ("stored", None), ("duplicate", None), ("conflict", "EVENT_ID_CONFLICT")
REJECTED, UNKNOWN = ("rejected", "SCHEMA_REJECTED"), ("rejected", "EVENT_TYPE_UNKNOWN")


def test_an_event_is_stored_once(team: Team, writer: httpx.Client) -> None:
    one = record(1)
    assert send(writer, one) == [STORED]
    assert send(writer, one) == [DUPLICATE]
    text = json.dumps(one["event"], sort_keys=True, separators=(",", ":"))
    assert team.events() == {one["event"]["event_id"]: hashlib.sha256(text.encode()).hexdigest()}


def test_another_content_under_the_same_id_is_a_conflict_and_overwrites_nothing(
    team: Team, writer: httpx.Client
) -> None:
    assert send(writer, record(1)) == [STORED]
    before = team.events()
    assert send(writer, record(1, aggregate_id="WP02")) == [CONFLICT]
    assert team.events() == before
    assert send(writer, record(1)) == [DUPLICATE]


def test_the_same_id_in_another_project_is_another_event(writer: httpx.Client) -> None:
    other = "00000000-0000-4000-8000-000000000000"
    assert send(writer, record(1), record(1, project=other)) == [STORED, STORED]


def test_ids_are_compared_in_their_one_spelling(writer: httpx.Client) -> None:
    bare = "AAAAAAAAAAAA4AAA8AAAAAAAAAAAAAAA"
    hyphenated = "aaaaaaaa-aaaa-4aaa-8aaa-aaaaaaaaaaaa"
    ulid = record(1)["event"]["event_id"]
    assert send(writer, record(1, event_id=bare), record(1)) == [STORED, STORED]
    again = [
        record(1, event_id=hyphenated),
        record(1, event_id=ulid.lower(), correlation_id=ulid.lower()),
        record(1, project=PROJECT.upper()),
        record(1, project=PROJECT.replace("-", "")),
    ]
    assert send(writer, *again) == [DUPLICATE] * 4


def test_every_event_of_a_mixed_batch_has_a_result_by_its_id_and_in_its_place(team: Team, writer: httpx.Client) -> None:
    send(writer, record(1), record(2))
    batch = [
        record(1),
        record(2, aggregate_id="other"),
        record(3),
        record(3),
        record(3, aggregate_id="other"),
        record(4, event_type="Sung"),
        record(5, payload={}),
        "nothing",
        {"event": record(6)["event"]},
        record(7) | {"sung": 1},
        record(8),
    ]
    answer = writer.post("/v1/events", json={"events": batch}).json()
    found = [(one["status"], one["code"]) for one in answer["results"]]
    assert found == [
        DUPLICATE,
        CONFLICT,
        STORED,
        DUPLICATE,
        CONFLICT,
        UNKNOWN,
        REJECTED,
        REJECTED,
        REJECTED,
        REJECTED,
        STORED,
    ]
    ids = [one["event"]["event_id"] if isinstance(one, dict) else None for one in batch]
    assert [one["event_id"] for one in answer["results"]] == ids
    for one in answer["results"]:
        assert (one["message"] is None) == (one["status"] in ("stored", "duplicate"))
        assert "\n" not in (one["message"] or "")
    assert answer["results"][6]["message"].startswith("payload.")
    assert list(team.events()) == [record(number)["event"]["event_id"] for number in (1, 2, 3, 8)]


WRONG = [
    record(1, event_id="u" * 26),
    record(1, event_id=7),
    record(1, project_uuid=None),
    record(1, project_uuid=7),
    record(1, timestamp="yesterday"),
    record(1, payload=[]),
    record(1, event_type=None),
    record(1) | {"mission_id": None},
    record(1) | {"mission_slug": "x" * 257},
    record(1) | {"mission_slug": "\ud800"},
    record(1) | {"mission_id": "a\0b"},
    record(1) | {"event": [1]},
    [],
    None,
]


@pytest.mark.parametrize("wrong", WRONG, ids=[str(number) for number in range(len(WRONG))])
def test_what_is_no_event_is_rejected_alone(team: Team, writer: httpx.Client, wrong: Any) -> None:
    body = json.dumps({"events": [wrong, record(2)]})
    answer = writer.post("/v1/events", content=body).json()
    assert [one["status"] for one in answer["results"]] == ["rejected", "stored"]
    assert list(team.events()) == [record(2)["event"]["event_id"]]


def test_an_event_is_read_as_it_came(writer: httpx.Client) -> None:
    one = record(1, more={"Straße \u2028": [1.5, None, "\ud800"]})
    writer.post("/v1/events", content=json.dumps({"events": [one]}))
    [read] = writer.get("/v1/events").json()["events"]
    assert {key: read[key] for key in one} == one
    assert read.keys() - one.keys() == {"cursor", "received_at"}


@pytest.mark.parametrize("where", ["body", "record"])
@pytest.mark.parametrize("key", ["tenant", "tenant_id", "team", "team_id", "team_slug"])
def test_who_claims_another_tenant_is_refused_and_nothing_is_kept(
    team: Team, writer: httpx.Client, where: str, key: str
) -> None:
    claim = {key: "other"}
    last = record(2) | (claim if where == "record" else {})
    body = {"events": [record(1), last], **(claim if where == "body" else {})}
    answer = writer.post("/v1/events", json=body)
    assert (answer.status_code, answer.json()["code"]) == (403, "TENANT_CLAIMED")
    assert team.events() == {}
    body = json.loads(json.dumps(body).replace('"other"', f'"{team.slug}"'))
    if key in ("team", "team_slug", "tenant"):
        assert writer.post("/v1/events", json=body).status_code == 200


def test_what_one_team_has_another_neither_sees_nor_meets(team: Team, writer: httpx.Client) -> None:
    with Team(team.hub, f"{team.slug}-other").client("owner") as other:
        assert send(writer, record(1)) == [STORED]
        assert other.get("/v1/events").json()["events"] == []
        answer = other.post("/v1/events", json={"events": [record(1, aggregate_id="other")]}).json()
        assert answer["results"][0]["status"] == "stored"
        assert len(other.get("/v1/events").json()["events"]) == 1
    assert len(writer.get("/v1/events").json()["events"]) == 1


def test_a_batch_has_a_thousand_events_and_one_mebibyte_at_most(team: Team, writer: httpx.Client) -> None:
    answer = writer.post("/v1/events", json={"events": [{}] * 1001})
    assert (answer.status_code, answer.json()["code"]) == (413, "BATCH_TOO_LARGE")
    assert send(writer, *map(record, range(1000))) == [STORED] * 1000
    frame = json.dumps(
        {"events": [*(record(number, more="x" * 300_000) for number in (1, 2, 3)), record(4, more="")]}
    ).encode()
    full = frame.replace(b'"more": ""', b'"more": "%s"' % (b"x" * (MIB - len(frame))))
    assert len(full) == MIB
    for body, headers in ((full, {}), (gzip.compress(full), {"Content-Encoding": "gzip"})):
        answer = writer.post("/v1/events", content=body, headers=headers)
        assert [one["status"] for one in answer.json()["results"]] == ["conflict"] * 4
    more = full.replace(b"xx", b"xxx", 1)
    for body, headers in ((more, {}), (gzip.compress(more), {"Content-Encoding": "gzip"})):
        answer = writer.post("/v1/events", content=body, headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (413, "BODY_TOO_LARGE")
    answer = writer.post("/v1/events", content=iter([more]))  # in pieces, of a length that is not told before
    assert answer.status_code == 413
    assert len(team.events()) == 1000


def test_an_event_has_half_a_mebibyte_at_most(team: Team, writer: httpx.Client) -> None:
    answer = writer.post("/v1/events", json={"events": [record(1, more="x" * (MIB // 2)), record(2)]})
    assert [one["status"] for one in answer.json()["results"]] == ["rejected", "stored"]
    assert len(team.events()) == 1


def test_what_is_told_back_can_always_be_told(team: Team, writer: httpx.Client) -> None:
    """A batch that is kept and answered with a fault would be sent again for ever."""
    odd = record(2) | {"event": record(2)["event"] | {"event_id": "\ud800"}}
    for status in ("stored", "duplicate"):
        answer = writer.post("/v1/events", content=json.dumps({"events": [record(1), odd]}).encode())
        assert answer.status_code == 200
        assert [one["status"] for one in answer.json()["results"]] == [status, "rejected"]
        assert answer.json()["results"][1]["event_id"] == "\ud800"
    body = json.dumps({"artifact_path": "\ud800", "content_hash": "x"}).encode()
    answer = writer.post("/api/dossier/push-content/", content=body)
    assert (answer.status_code, answer.json()["artifact_path"]) == (400, "\ud800")


@pytest.mark.parametrize("path", ["/v1/events", "/api/dossier/push-content/"])
def test_a_body_of_quotes_takes_no_longer_than_another(writer: httpx.Client, path: str) -> None:
    """A search that goes back would take an hour for these, and hold up everybody."""
    for body in (b'"' + b'\\"' * 400_000, b'{"a":"' + b"\\\\" * 400_000, b'"' * 800_000):
        assert writer.post(path, content=body, timeout=30).status_code == 400


def test_types_that_nobody_knows_are_not_remembered_whole(team: Team, writer: httpx.Client) -> None:
    send(writer, record(1))
    before = peak(team.hub.pid)
    for number in range(60):
        kind = f"{number}" + "x" * 500_000
        assert writer.post("/v1/events", json={"events": [record(2, event_type=kind)]}).status_code == 200
    assert peak(team.hub.pid) - before < 24 * 1024


BOMBS = {
    "of nothing": (b" " * (300 * MIB), 413, "BODY_TOO_LARGE"),
    "of brackets": (b"[" * (MIB - 1), 400, "BODY_INVALID"),
    "of objects": (b'{"a":' * (MIB // 5), 400, "BODY_INVALID"),
    "of keys": (b"{%s}" % b",".join(b'"%x":0' % one for one in range(100_000)), 400, "BODY_INVALID"),
    "of one key": (b"{%s}" % b",".join([b'"a":0'] * 150_000), 400, "BODY_INVALID"),
    "of events": (b'{"events":[%s]}' % b",".join([b"{}"] * 300_000), 413, "BATCH_TOO_LARGE"),
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_bomb_does_not_go_off(
    team: Team, writer: httpx.Client, bomb: str, record_property: Callable[[str, object], None]
) -> None:
    body, status, code = BOMBS[bomb]
    send(writer, record(1))
    packed = gzip.compress(body, 9)
    assert len(packed) < MIB
    before = peak(team.hub.pid)
    answer = writer.post("/v1/events", content=packed, headers={"Content-Encoding": "gzip"})
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    grown, bound = (peak(team.hub.pid) - before) / 1024, 16 if bomb == "of nothing" else 64
    record_property("figure", f"memory for a request, packed, {bomb}|{grown:.0f} MiB|< {bound} MiB")
    assert grown < bound


def test_nothing_of_a_stranger_is_inflated_or_read(team: Team) -> None:
    """The answer comes before the body is there."""
    with team.bearer("") as stranger:
        answer = stranger.post("/v1/events", content=b"\0" * 10, headers={"Content-Encoding": "gzip"})
        assert answer.status_code == 401
    with team.bearer("kha_x") as stranger:
        answer = stranger.post("/v1/events", content=b"{", headers={"Content-Encoding": "gzip"})
        assert answer.status_code == 401


def test_who_has_no_token_a_wrong_one_or_one_that_is_over_is_told_to_log_in(team: Team, writer: httpx.Client) -> None:
    said, over = team.login(), team.login().access_token
    team.hub.form("/oauth/revoke", token=said.access_token)
    digest = hashlib.sha256(over.encode()).hexdigest()
    assert team.hub.execute("UPDATE tokens SET expires_at = 0 WHERE digest = ? RETURNING 1", digest) == [(1,)]
    for token in ("", "kha_x", over, said.access_token, said.refresh_token, "x" * 5000):
        with team.bearer(token) as one:
            answers = [one.get(path) for path in ("/v1/me", "/v1/events", "/v1/events/stream")]
            answers.append(one.post("/v1/events", json={"events": [record(1)]}))
            for answer in answers:
                assert (answer.status_code, answer.json()["code"]) == (401, "TOKEN_REJECTED")
                assert answer.headers["WWW-Authenticate"] == "Bearer"
                assert list(answer.json()) == ["schema", "code", "message", "hint", "details"]
    assert team.events() == {}


def test_a_reader_reads_and_adds_nothing(team: Team, writer: httpx.Client) -> None:
    send(writer, record(1))
    with team.client("reader") as reader:
        assert len(reader.get("/v1/events").json()["events"]) == 1
        answer = reader.post("/v1/events", json={"events": [record(2)]})
        assert (answer.status_code, answer.json()["code"]) == (403, "ROLE_FORBIDDEN")
    assert len(team.events()) == 1


ONE = json.dumps({"events": [record(1)]}).encode()
GARBAGE = {
    "nothing": b"",
    "no JSON": b"{",
    "no object": b"[]",
    "no events": b"{}",
    "no list": b'{"events": {}}',
    "something else besides": b'{"events": [], "sung": 1}',
    "no UTF-8": ONE.replace(b"ada", b"\xff"),
    "a mark before it": b"\xef\xbb\xbf" + ONE,
    "NaN": ONE.replace(b'"WP01"', b"NaN"),
    "Infinity": ONE.replace(b'"WP01"', b"-Infinity"),
    "a number without end": ONE.replace(b'"WP01"', b"1e999"),
    "a number of many digits": ONE.replace(b'"WP01"', b"1" * 5000),
    "a key twice": ONE.replace(b'"node_id"', b'"build_id"'),
    "a tower": ONE.replace(b'"WP01"', b"[" * 40 + b"]" * 40),
    "a tower of Babel": b'{"events": ' + b"[" * 200_000 + b"]" * 200_000 + b"}",
    "a tower without a roof": b"[" * 1_000_000,
    "a tower behind a string": b'{"a": "\\"", "events": ' + b'{"a":' * 100_000,
    "two bodies": ONE + ONE,
}


@pytest.mark.parametrize("case", GARBAGE)
@pytest.mark.parametrize("encoding", ["", "gzip"])
def test_garbage_is_refused_and_changes_nothing(team: Team, writer: httpx.Client, case: str, encoding: str) -> None:
    body = gzip.compress(GARBAGE[case]) if encoding else GARBAGE[case]
    headers = {"Content-Encoding": encoding} if encoding else {}
    answer = writer.post("/v1/events", content=body, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (400, "BODY_INVALID"), answer.text
    assert answer.json()["schema"] == "kitty.error/1"
    assert team.events() == {}
    assert send(writer, record(1)) == [STORED], "it is still there"


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("gzip", ONE),
        ("gzip", gzip.compress(ONE)[:-4]),
        ("gzip", gzip.compress(ONE) + b"more"),
        ("gzip", gzip.compress(ONE)[:-8] + os.urandom(4) + gzip.compress(ONE)[-4:]),
        ("br", ONE),
        ("gzip, gzip", gzip.compress(gzip.compress(ONE))),
    ],
)
def test_what_was_compressed_otherwise_or_is_cut_off_is_refused(
    team: Team, writer: httpx.Client, encoding: str, body: bytes
) -> None:
    answer = writer.post("/v1/events", content=body, headers={"Content-Encoding": encoding})
    assert (answer.status_code, answer.json()["code"]) == (400, "BODY_INVALID")
    assert team.events() == {}


def test_a_call_that_there_is_not_is_answered_in_the_same_way(writer: httpx.Client) -> None:
    for answer, status in ((writer.get("/v1/nothing"), 404), (writer.delete("/v1/events"), 405)):
        assert (answer.status_code, answer.json()["code"]) == (status, "CALL_UNKNOWN")


@contextmanager
def held(team: Team) -> Iterator[None]:
    """Somebody else has what whoever writes needs: the file, or the team's row."""
    if isinstance(team.hub.database, Path):
        other = sqlite3.connect(team.hub.database, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")
        other.close()
    else:
        with psycopg.connect(team.hub.database) as connection:
            connection.execute("SELECT 1 FROM teams WHERE slug = %s FOR UPDATE", (team.slug,))
            yield


@pytest.mark.slow
def test_while_somebody_else_has_the_database_one_is_told_to_come_again(team: Team, writer: httpx.Client) -> None:
    """And who only reads waits for nobody."""
    send(writer, record(1))
    with held(team):
        answer = writer.post("/v1/events", json={"events": [record(2)]})
        assert (answer.status_code, answer.json()["code"]) == (503, "HUB_BUSY")
        assert answer.headers["Retry-After"] == "1"
        assert len(writer.get("/v1/events").json()["events"]) == 1
    assert send(writer, record(2)) == [STORED]
