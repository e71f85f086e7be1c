"""The released client's calls, one by one: what is taken, what is told, and what is not let in. The client itself is `test_real_client`."""

from __future__ import annotations

import gzip
import hashlib
import json
import uuid
from typing import Any

import httpx
import pytest
from spec_kitty_events import Event
from sqlalchemy import text

from kitty_sync.hub import bodies, tokens
from kitty_sync.hub.released import dossier, envelope
from kitty_sync.hub.store import Store

from ..hub import PROJECT, record
from .team import Team

BATCH, BODY = "/api/v1/events/batch/", "/api/dossier/push-content/"


def sent(number: int, **more: Any) -> dict[str, Any]:
    """An envelope with the keys that the client adds."""
    added = {
        "type": "event",
        "aggregate_type": "WorkPackage",
        "git_branch": "main",
        "head_commit_sha": None,
        "repo_slug": None,
        "team_slug": str(uuid.uuid4()),
        "drain_blocked_reason": None,
        "spec_kitty_delivery_identity": f"01J{number:023d}",
        "admission_generation": 1,
        "binding_audience": "local-nonstrict:http://127.0.0.1",
    }
    event = record(number)["event"]
    payload = event["payload"] | {"mission_slug": "demo"}
    return event | added | {"payload": payload} | more


def results(client: httpx.Client, *envelopes: Any) -> list[dict[str, Any]]:
    body = gzip.compress(json.dumps({"events": list(envelopes)}).encode())
    headers = {"Content-Encoding": "gzip", "X-Spec-Kitty-Sync-Protocol": "2.0"}
    answer = client.post(BATCH, content=body, headers=headers)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["results"]
    return found


def statuses(client: httpx.Client, *envelopes: Any) -> list[tuple[str, str | None]]:
    return [(one["status"], one.get("error_category")) for one in results(client, *envelopes)]


STORED, DUPLICATE, CONFLICT = ("success", None), ("duplicate", None), ("rejected", "event_id_conflict")
ASIDE, REJECTED = ("warning", "schema_mismatch"), ("rejected", "schema_mismatch")
UNMODELLED = ("warning", "event_type_unknown")


def aside(team: Team) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = team.hub.run("aside", "--team", team.slug)["events"]
    return found


# Who asks


def test_somebody_has_a_private_team_and_exactly_one_other(team: Team, writer: httpx.Client) -> None:
    said = writer.get("/api/v1/me").json()
    assert said["user_id"] == said["email"] == "writer@example.org"
    private, shared = said["teams"]
    assert (private["is_private_teamspace"], shared["is_private_teamspace"]) == (True, False)
    assert shared["slug"] == shared["id"] == team.slug
    assert {one["role"] for one in said["teams"]} == {"writer"}
    assert writer.get("/api/v1/me").json() == said


def test_the_private_team_is_another_one_in_each_team_and_for_each_member(team: Team) -> None:
    other = Team(team.hub, f"{team.slug}-other")
    seen = set()
    for where, role in ((team, "writer"), (team, "owner"), (other, "writer")):
        with where.client(role) as client:
            seen.add(client.get("/api/v1/me").json()["teams"][0]["id"])
    assert len(seen) == 3


def test_the_doctors_are_answered(team: Team) -> None:
    pair = team.login()
    with team.bearer(pair.access_token) as client:
        assert client.get("/api/v1/session-status").json()["session_id"] == pair.session_id
        assert client.get("/api/v1/sync/health/").json() == {"status": "ok", "may_write": True}
        assert client.get("/api/v1/health").json() == {"status": "ok"}


# Events


def test_an_envelope_is_kept_as_the_event_it_is_and_kittys_own_client_reads_it(
    team: Team, writer: httpx.Client
) -> None:
    assert statuses(writer, sent(1)) == [STORED]
    (read,) = writer.get("/v1/events").json()["events"]
    assert read["event"] == record(1)["event"]
    assert {key: read[key] for key in ("mission_id", "mission_slug", "aggregate_type")} == {
        "mission_id": "",
        "mission_slug": "demo",
        "aggregate_type": "WorkPackage",
    }


def test_an_event_is_the_same_whichever_of_the_two_protocols_it_came_by(team: Team, writer: httpx.Client) -> None:
    own = writer.post("/v1/events", json={"events": [record(1)]}).json()["results"]
    assert [one["status"] for one in own] == ["stored"]
    assert statuses(writer, sent(1), sent(2), sent(2)) == [DUPLICATE, STORED, DUPLICATE]
    again = writer.post("/v1/events", json={"events": [record(2)]}).json()["results"]
    assert [one["status"] for one in again] == ["duplicate"]
    assert len(team.events()) == 2


def test_ids_are_compared_in_their_one_spelling(writer: httpx.Client) -> None:
    ulid = sent(1)["event_id"]
    small = sent(1, event_id=ulid.lower(), correlation_id=ulid.lower(), project_uuid=PROJECT.upper())
    assert statuses(writer, sent(1), small) == [STORED, DUPLICATE]


def test_the_keys_of_an_event_are_those_of_the_package() -> None:
    assert set(envelope.EVENT_KEYS) == set(Event.model_fields)


def test_an_event_of_a_dossier_which_has_no_build_gets_the_project_for_it(writer: httpx.Client) -> None:
    assert statuses(writer, sent(1, build_id="")) == [STORED]
    (read,) = writer.get("/v1/events").json()["events"]
    assert read["event"]["build_id"] == PROJECT


@pytest.mark.parametrize(
    ("more", "mission_id", "slug"),
    [
        ({"payload": {"mission_slug": "a", "mission_id": "01J0000000000000000000MMMM"}}, "01J0000000000000000000MMMM", "a"),
        ({"aggregate_type": "Mission", "aggregate_id": "01j0000000000000000000mmmm", "payload": {}}, "01j0000000000000000000mmmm", ""),
        ({"aggregate_type": "Mission", "aggregate_id": "demo", "payload": None}, "", "demo"),
        ({"aggregate_type": "MissionDossier", "aggregate_id": "a:b", "payload": {"namespace": {"mission_slug": "a"}}}, "", "a"),
        ({"aggregate_type": "Build", "aggregate_id": "b", "payload": []}, "", ""),
    ],
)  # fmt: skip
def test_the_mission_of_an_event_is_the_one_that_it_names(more: dict[str, Any], mission_id: str, slug: str) -> None:
    found = envelope.record_of(sent(1, **more))
    assert (found["mission_id"], found["mission_slug"]) == (mission_id, slug)


def test_what_no_model_takes_is_kept_aside_and_is_sent_no_more(team: Team, writer: httpx.Client) -> None:
    odd = sent(1, event_type="ProofItemRecorded", payload={"any": ["thing"]})
    refused = sent(2, payload={"mission_slug": "demo"})
    assert statuses(writer, odd, refused, sent(3)) == [UNMODELLED, ASIDE, STORED]
    assert [one["status"] for one in results(writer, odd, refused)] == ["duplicate", "duplicate"]
    assert list(team.events()) == [sent(3)["event_id"]]
    assert writer.get("/v1/events").json()["events"][0]["event"]["event_id"] == sent(3)["event_id"]
    kept = {one["event_id"]: (one["event_type"], one["reason"]) for one in aside(team)}
    assert kept.keys() == {odd["event_id"], refused["event_id"]}
    assert kept[odd["event_id"]] == ("ProofItemRecorded", "there is no model for 'ProofItemRecorded'")
    assert kept[refused["event_id"]][1].startswith("payload.")


def test_two_that_no_model_takes_under_one_id_are_both_kept(team: Team, writer: httpx.Client) -> None:
    first, second = (sent(1, event_type="ProofItemRecorded", payload={"number": number}) for number in (1, 2))
    assert statuses(writer, first, second) == [UNMODELLED, UNMODELLED]
    assert len(aside(team)) == 2


def test_whatever_stands_in_a_reason_both_databases_keep_it(team: Team, writer: httpx.Client) -> None:
    odd = sent(1, payload={"mission_slug": "demo", "\ud800\x00\x1b[31m": 1}, event_type="BuildRegistered")
    assert statuses(writer, odd) == [ASIDE]
    (kept,) = aside(team)
    assert kept["reason"].isprintable()


def test_another_content_under_a_known_id_is_rejected_and_overwrites_nothing(team: Team, writer: httpx.Client) -> None:
    assert statuses(writer, sent(1)) == [STORED]
    before = team.events()
    assert statuses(writer, sent(1, aggregate_id="WP02")) == [CONFLICT]
    assert team.events() == before


NOT_TO_BE_KNOWN = [
    "nothing",
    None,
    sent(1, event_id="x"),
    sent(1, event_id=7),
    sent(1, project_uuid=None),
    sent(1, project_uuid="x"),
    sent(1, event_type="not a type"),
    sent(1, event_type=None),
]


@pytest.mark.parametrize("one", NOT_TO_BE_KNOWN)
def test_what_cannot_be_told_from_others_is_rejected_alone(team: Team, writer: httpx.Client, one: Any) -> None:
    first, second = results(writer, one, sent(2))
    assert first["status"] == "rejected"
    assert first["error_message"]
    assert second["status"] == "success"
    assert aside(team) == []


def deep(levels: int) -> Any:
    return {"a": deep(levels - 1)} if levels else 1


@pytest.mark.parametrize(
    "inner",
    ['{"number": NaN}', '{"number": 1e999}', '{"a": 1, "a": 2}', json.dumps(deep(40))],
    ids=["NaN", "huge", "twice", "deep"],
)
def test_json_that_is_none_in_one_event_does_not_hold_up_the_others(
    team: Team, writer: httpx.Client, inner: str
) -> None:
    bad = json.dumps(sent(1, payload="HERE")).replace('"HERE"', inner)
    body = f'{{"events": [{bad}, {json.dumps(sent(2))}]}}'
    answer = writer.post(BATCH, content=body)
    assert [one["status"] for one in answer.json()["results"]] == ["rejected", "success"]
    assert answer.json()["results"][0]["event_id"] == sent(1)["event_id"]
    assert list(team.events()) == [sent(2)["event_id"]]


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"events": 1}', b"\xff", b"{", b"[" * 100_000])
def test_a_body_that_is_no_batch_is_refused_with_details(team: Team, writer: httpx.Client, body: bytes) -> None:
    answer = writer.post(BATCH, content=body)
    assert answer.status_code == 400
    assert answer.json()["details"] != [], "that client would send it again in halves"
    assert answer.json()["error"]
    assert team.events() == {}


@pytest.mark.parametrize(
    ("body", "encoding"),
    [
        (json.dumps({"events": [None] * (envelope.MOST + 1)}).encode(), ""),
        (b" " * (envelope.LARGEST + 1), ""),
        (gzip.compress(b" " * (envelope.LARGEST + 1)), "gzip"),
        (gzip.compress(b" " * 100 * 1024 * 1024), "gzip"),
    ],
    ids=["events", "bytes", "inflated", "bomb"],
)
def test_a_batch_that_is_too_large_is_413(writer: httpx.Client, body: bytes, encoding: str) -> None:
    answer = writer.post(BATCH, content=body, headers={"Content-Encoding": encoding})
    assert answer.status_code == 413, answer.text


def test_a_batch_of_a_thousand_is_taken(writer: httpx.Client) -> None:
    assert len(results(writer, *[None] * envelope.MOST)) == envelope.MOST


def test_another_protocol_is_refused_so_that_the_client_stops(writer: httpx.Client) -> None:
    answer = writer.post(BATCH, json={"events": [sent(1)]}, headers={"X-Spec-Kitty-Sync-Protocol": "3.0"})
    assert (answer.status_code, answer.json()["error_code"]) == (412, "protocol_unknown")
    assert "2.0" in answer.json()["error_description"]


def test_a_reader_adds_nothing(team: Team) -> None:
    with team.client("reader") as client:
        for path in (BATCH, BODY):
            answer = client.post(path, json={"events": [sent(1)], **body_of("a")})
            assert (answer.status_code, answer.json()["error_category"]) == (403, "role_forbidden")
    assert team.events() == {}
    assert artifacts(team) == []


CALLS = [
    ("GET", "/api/v1/me"),
    ("GET", "/api/v1/session-status"),
    ("GET", "/api/v1/sync/health/"),
    ("POST", BATCH),
    ("POST", BODY),
    ("POST", "/api/v1/ws-token"),
    ("GET", "/api/v1/tracker/resources/"),
    ("GET", "/api/v1/tracker/status/"),
    ("GET", "/api/v1/tracker/mappings/"),
    ("POST", "/api/v1/tracker/bind-resolve/"),
    ("POST", "/api/v1/tracker/push/"),
    ("PUT", f"/api/v1/sync/projects/{PROJECT}/sync-admission/"),
]


@pytest.mark.parametrize(("method", "path"), CALLS)
@pytest.mark.parametrize("token", ["", "kha_none"])
def test_nobody_is_let_in_without_a_token(team: Team, method: str, path: str, token: str) -> None:
    with team.bearer(token) as client:
        answer = client.request(method, path, content=b"x" * 10)
    assert (answer.status_code, answer.headers["WWW-Authenticate"]) == (401, "Bearer")
    assert answer.json()["error_code"] == "token_rejected"


# Bodies of artefacts


def body_of(content: str, **more: Any) -> dict[str, Any]:
    return {
        "artifact_path": "spec.md",
        "content_hash": hashlib.sha256(content.encode()).hexdigest(),
        "hash_algorithm": "sha256",
        "content_body": content,
        "mission_slug": "demo",
        "mission_type": "software-dev",
        "target_branch": "main",
        "manifest_version": "1",
        "project_uuid": PROJECT,
        "admission_generation": 1,
        "binding_audience": "local-nonstrict:http://127.0.0.1",
        **more,
    }


def artifacts(team: Team) -> list[str]:
    """The bodies that are kept, the oldest first."""
    store = Store(team.hub.database)
    try:
        with store.reading() as database:
            query = "SELECT content FROM artifacts JOIN teams ON id = team_id WHERE slug = :slug ORDER BY received_at"
            return [json.loads(row[0]) for row in database.execute(text(query), {"slug": team.slug})]
    finally:
        store.close()


def test_a_body_is_stored_once_and_both_of_its_names_come_back(team: Team, writer: httpx.Client) -> None:
    one = body_of("# Spec é\n")
    named = {key: one[key] for key in ("artifact_path", "content_hash")}
    first, second = (writer.post(BODY, json=one) for _ in range(2))
    assert (first.status_code, first.json()) == (201, {"status": "stored", **named})
    assert (second.status_code, second.json()) == (200, {"status": "already_exists", **named})
    assert artifacts(team) == ["# Spec é\n"]


def test_of_a_path_the_newest_versions_stay(team: Team, writer: httpx.Client) -> None:
    for number in range(dossier.VERSIONS + 3):
        assert writer.post(BODY, json=body_of(str(number))).status_code == 201
    assert writer.post(BODY, json=body_of("0", artifact_path="plan.md")).status_code == 201
    expected = [str(number) for number in range(3, dossier.VERSIONS + 3)]
    assert artifacts(team) == [*expected, "0"]


@pytest.mark.parametrize(
    "more",
    [
        {"content_hash": "0" * 64},
        {"content_body": 7},
        {"content_body": "\ud800"},
        {"hash_algorithm": "md5"},
        {"project_uuid": "x"},
        {"artifact_path": ""},
        {"artifact_path": "a\x00b"},
        {"mission_slug": "x" * 2000},
        {"target_branch": None},
    ],
)
def test_a_body_that_is_none_is_refused_with_the_reason(team: Team, writer: httpx.Client, more: dict[str, Any]) -> None:
    answer = writer.post(BODY, content=json.dumps(body_of("a") | more))
    assert answer.status_code == 400
    assert answer.json()["detail"]
    assert artifacts(team) == []


def test_a_body_that_is_too_large_is_413(writer: httpx.Client) -> None:
    answer = writer.post(BODY, json=body_of("x" * bodies.LARGEST))
    assert answer.status_code == 413


# Trackers and admission: there are none


def test_there_are_no_trackers_and_the_answers_have_the_clients_form(team: Team, writer: httpx.Client) -> None:
    place = "/api/v1/tracker"
    found = writer.get(f"{place}/resources/", params={"provider": "github"}, headers={"X-Team-Slug": team.slug})
    assert found.json() == {"provider": "github", "resources": []}
    status = writer.get(f"{place}/status/", params={"provider": "github"}).json()
    assert (status["configured"], status["connected"], status["bindings"]) == (False, False, [])
    assert writer.get(f"{place}/mappings/").json() == {"mappings": []}
    assert writer.post(f"{place}/bind-resolve/", json={}).json() == {"match_type": "none", "candidates": []}
    for path in (
        "pull",
        "push",
        "run",
        "issue-search",
        "list-tickets",
        "bind-confirm",
        "bind-validate",
        "mission-origin/bind",
    ):
        answer = writer.post(f"{place}/{path}/", json={})
        assert (answer.status_code, answer.json()["error_code"]) == (404, "trackers_absent")
        assert (answer.json()["retryable"], answer.json()["user_action_required"]) == (False, True)


def test_trackers_of_another_team_are_not_asked_for(writer: httpx.Client) -> None:
    answer = writer.get("/api/v1/tracker/resources/", headers={"X-Team-Slug": "another"})
    assert (answer.status_code, answer.json()["error_code"]) == (403, "tenant_claimed")


def test_admission_is_asked_of_nobody(writer: httpx.Client) -> None:
    answer = writer.put(f"/api/v1/sync/projects/{PROJECT}/sync-admission/", headers={"Idempotency-Key": "k" * 16})
    assert answer.status_code == 404
    assert (answer.json()["error_category"], answer.json()["retryable"]) == ("project_sync_admission_not_found", False)


def test_what_is_busy_says_when_to_ask_again() -> None:
    from kitty_sync.hub.error import busy
    from kitty_sync.hub.released.answers import refused

    answer = refused(busy("too many wait to write"))
    said = json.loads(bytes(answer.body))
    assert (answer.status_code, said["retryable"], said["retry_after_seconds"]) == (503, True, 1)


def test_a_lost_answer_of_a_refresh_is_no_end(team: Team) -> None:
    """That client asks once more with the token that it still has, and that is taken for a while."""
    pair = team.login()
    form = {"refresh_token": pair.refresh_token, "grant_type": "refresh_token", "client_id": "cli_native"}
    lost, again = team.hub.form("/oauth/token", **form), team.hub.form("/oauth/token", **form)
    assert lost["access_token"] != again["access_token"]
    assert again["refresh_token_expires_in"] == tokens.REFRESH_SECONDS
    with team.bearer(again["access_token"]) as client:
        assert client.get("/api/v1/me").status_code == 200
