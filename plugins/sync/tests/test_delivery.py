"""What waits reaches the hub once, whatever answers on the way; what the hub will never take is parked in sight; nothing is deleted."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from kitty_host.api import KittyError
from kitty_host.ledger.event import new_id
from kitty_host.records import Answer
from kitty_sync.account import backfill
from kitty_sync.auth import tokens
from kitty_sync.delivery import LARGEST_BODY, Delivery, deliver
from kitty_sync.events import digest_of, wire
from kitty_sync.queue import DELIVERED, PARKED, PENDING, Queue
from kitty_sync.retry import Attempt, Policy
from kitty_sync.settings import target

from .conftest import ADA, Online, Sync, log_in


def places(sync: Sync) -> dict[str, int]:
    return sync.queue.counted(sync.id)


# Through the command, to a real hub


def test_every_event_that_has_a_model_arrives_once(online: Online) -> None:
    online.poke(5)
    told = online.run("now")
    assert (told["delivered_now"], told["delivered"], told["depth"], told["rejected"]) == (5, 5, 0, 0)
    assert sorted(online.stored()) == online.emitted()
    again = online.run("now")
    assert (again["delivered_now"], again["delivered"]) == (0, 5)
    assert sorted(online.stored()) == online.emitted()


def test_what_nobody_queued_is_sent_too(online: Online) -> None:
    online.project.record(online.mission, "WP01", "planned", "claimed")  # nobody told the observer
    assert online.run("now")["delivered_now"] == 2
    assert sorted(online.stored()) == online.emitted()


def test_what_the_models_do_not_take_is_parked_with_the_reason_and_holds_up_nothing(online: Online) -> None:
    online.poke(1)
    bad = new_id()
    with online.mission.ledger.live.open("a") as stream:
        stream.write(
            json.dumps({"event_type": "PlanStarted", "event_id": bad, "timestamp": "2026-01-01T00:00:00Z"}) + "\n"
        )
    online.poke(1)
    told = online.run("now")
    assert (told["delivered_now"], told["rejected_now"], told["rejected"], told["depth"]) == (2, 1, 1, 0)
    [parked] = online.run("status")["parked"]
    assert parked["event_id"] == bad
    assert parked["reason"].startswith("SCHEMA_REJECTED: payload")
    assert "parked" in online.project.kitty("sync", "status").stdout
    assert online.run("now")["rejected_now"] == 0


@pytest.mark.parametrize(
    "title", ["\ud800", float("nan"), json.loads("[" * 200 + "]" * 200)], ids=["half a pair", "no number", "deep"]
)
def test_a_row_that_no_hub_reads_is_parked_and_the_others_of_its_batch_arrive(online: Online, title: object) -> None:
    online.poke(3)
    row = {**online.mission.ledger.rows()[0], "event_id": new_id()}
    row["payload"] = {**row["payload"], "extra": title, "wp_title": title if isinstance(title, str) else "t"}
    with online.mission.ledger.live.open("a") as stream:
        stream.write(json.dumps(row) + "\n")
    online.poke(3)
    told = online.run("now")
    assert (told["delivered_now"], told["rejected_now"], told["depth"]) == (6, 1, 0)
    assert len(online.stored()) == 6


def test_an_id_that_the_hub_knows_with_another_content_is_parked_as_a_conflict(online: Online) -> None:
    online.poke(1)
    online.run("now")
    before = online.stored()
    [row] = online.mission.ledger.rows()
    row["payload"]["wp_title"] = "forged"
    online.mission.ledger.live.write_text(json.dumps(row, sort_keys=True) + "\n")
    online.queue.path.unlink()  # this clone never saw the first one
    told = online.run("now")
    assert (told["conflicts"], told["rejected_now"], told["delivered_now"]) == (1, 1, 0)
    assert online.run("status")["parked"][0]["reason"].startswith("EVENT_ID_CONFLICT")
    assert online.stored() == before


def test_a_queue_that_was_lost_is_filled_again_and_nothing_arrives_twice(online: Online) -> None:
    online.poke(3)
    online.run("now")
    online.queue.path.unlink()
    assert online.run("now")["delivered"] == 3
    assert sorted(online.stored()) == online.emitted()


def test_two_clones_of_a_project_send_each_event_once(online: Online, tmp_path: Path) -> None:
    online.poke(2)
    online.project.git("add", "kitty-specs")
    online.project.git("commit", "--quiet", "-m", "events")
    clone = tmp_path / "clone"
    online.project.git("clone", "--quiet", str(online.project.root), str(clone))
    kept = tokens.read(online.hub.address)
    assert kept is not None
    # Somebody else's machine, which knows nothing of what this one has sent.
    there = {
        "XDG_STATE_HOME": str(tmp_path / "state"),
        "KITTY_HUB_URL": online.hub.address,
        "KITTY_TOKEN": kept.tokens.access,
    }
    for place, environment in ((online.project.root, {}), (clone, there)):
        answer = online.project.process("sync", "now", "--json", where=place, environment=environment)
        assert answer.exit_code == 0, answer
        assert (answer.json["delivered_now"], answer.json["rejected"]) == (2, 0)
    assert sorted(online.stored()) == online.emitted()


def test_past_the_cap_everything_arrives_all_the_same(online: Online) -> None:
    online.cap(10)
    online.poke(35)
    told = online.run("flush")
    assert (told["delivered_now"], told["depth"]) == (35, 0)
    assert sorted(online.stored()) == online.emitted()


def test_a_drained_file_replays_to_the_same_state_at_the_hub(online_alone: Online) -> None:
    online_alone.poke(5)
    online_alone.run("now")
    direct = online_alone.stored()
    online_alone.queue.path.unlink()
    hub = online_alone.hub
    hub.stop()
    for file in hub.directory.glob("hub.db*"):
        file.rename(file.with_name(f"{file.name}.direct"))
    hub.restart()
    hub.add_user(ADA, online_alone.team)
    log_in(hub, team=online_alone.team)
    online_alone.queue = Queue(target())
    online_alone.run("drain")
    online_alone.run("replay", "--strict")
    online_alone.run("flush")
    assert online_alone.stored() == direct


def test_what_was_drained_is_not_sent_until_it_is_replayed(online: Online) -> None:
    online.poke(3)
    online.run("drain")
    online.poke(1)
    assert online.run("now")["delivered_now"] == 1
    assert len(online.stored()) == 1
    online.run("replay", "--strict")
    assert online.run("now")["delivered_now"] == 3
    assert sorted(online.stored()) == online.emitted()


def test_somebody_else_is_sending(online: Online) -> None:
    online.poke(1)
    with online.queue.delivering(wait_seconds=None):
        told = online.run("now")
    assert (told["busy"], told["delivered_now"], told["depth"]) == (True, 0, 1)
    assert online.run("now")["delivered_now"] == 1


def test_nobody_is_logged_in(sync: Sync) -> None:
    sync.poke(1)
    for name in ("now", "flush"):
        answer = sync.project.kitty("sync", name, "--json")
        assert (answer.exit_code, answer.code) == (1, "AUTH_REQUIRED")
        assert "kitty auth login" in answer.json["hint"]
    assert sync.queued() == sync.emitted()


def test_a_server_that_is_down_is_a_named_failure_and_nothing_is_lost(online_alone: Online) -> None:
    online_alone.poke(2)
    with (online_alone.project.root / ".kittify/config.yaml").open("a") as stream:
        stream.write("sync:\n  max_retries: 2\n  max_backoff_seconds: 0.05\n")
    online_alone.hub.kill()
    for name in ("now", "flush"):
        answer = online_alone.project.kitty("sync", name, "--json")
        assert (answer.exit_code, answer.code) == (1, "SERVER_UNREACHABLE")
        assert [one["status"] for one in answer.json["details"]["history"]] == [None] * 3
        assert len(answer.stderr.splitlines()) == 2, "one line for each further attempt"
    assert online_alone.queued() == online_alone.emitted()
    online_alone.hub.restart()
    assert online_alone.run("flush")["delivered_now"] == 2


@pytest.mark.usefixtures("unmeasured")
def test_a_local_command_does_not_ask_the_network(online_alone: Online) -> None:
    online_alone.hub.kill()
    answer = online_alone.project.process("poke")
    assert (answer.exit_code, answer.stderr) == (0, "")
    heavy = ("httpx", "tenacity", "pydantic", "socket", "ssl", "asyncio", "keyring")
    code = f"import sys\nfrom kitty_host.cli import run\nrun(['poke'])\nprint([n for n in {heavy} if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=online_alone.project.root, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "[]", done
    assert online_alone.queue.counted(online_alone.id)[PENDING] == 2


# With a transport of the test's own, for answers that no good hub gives


class Odd:
    """A transport whose answers are the test's."""

    def __init__(self, answer: Callable[[list[dict[str, Any]]], Answer | KittyError]) -> None:
        self._answer = answer
        self.batches: list[list[str]] = []

    def request(self, method: str, path: str, *, body: bytes = b"", headers: Mapping[str, str] | None = None) -> Answer:
        assert (method, path) == ("POST", "/v1/events")
        content = gzip.decompress(body)
        assert len(content) <= LARGEST_BODY
        records = json.loads(content)["events"]
        self.batches.append([record["event"]["event_id"] for record in records])
        answer = self._answer(records)
        if isinstance(answer, KittyError):
            raise answer
        return answer

    def stream(self, path: str, *, headers: Mapping[str, str] | None = None) -> AbstractContextManager[Iterator[str]]:
        raise NotImplementedError


def results(records: list[dict[str, Any]], status: str = "stored") -> Answer:
    told = [{"event_id": one["event"]["event_id"], "status": status} for one in records]
    return Answer(200, {}, json.dumps({"results": told}).encode())


def send(sync: Sync, transport: Odd, retries: int = 2) -> Delivery:
    history: list[Attempt] = []
    policy = Policy(retries, 0.01)
    with sync.queue.delivering(wait_seconds=0):
        return deliver(sync.queue, transport, policy, told=history.append, progress=lambda done: None)


@pytest.mark.parametrize(
    "answer",
    [
        Answer(200, {}, b""),
        Answer(200, {}, b"<html>"),
        Answer(200, {}, b"[]"),
        Answer(200, {}, b'{"results": [{"status": "stored"}]}'),
        Answer(200, {}, b'{"results": 7}'),
        Answer(302, {}, b""),
        Answer(400, {}, b"{}"),
        Answer(403, {}, b'{"code": "ROLE_FORBIDDEN", "message": "no \\u001b[31m"}'),
        Answer(503, {"retry-after": "0"}, b""),
    ],
)
def test_an_answer_that_says_nothing_about_events_settles_none(sync: Sync, answer: Answer) -> None:
    sync.poke(2)
    with pytest.raises(KittyError) as refused:
        send(sync, Odd(lambda records: answer))
    assert refused.value.code == "SERVER_REFUSED"
    assert "\x1b" not in refused.value.message
    assert places(sync)[PENDING] == 2


def test_what_is_not_mentioned_waits_on(sync: Sync) -> None:
    sync.poke(4)
    done = send(sync, Odd(lambda records: results([*records[:1], *records[2:3]])))
    assert (done.delivered, places(sync)[PENDING]) == (2, 2)


def test_ids_that_were_never_sent_settle_nothing(sync: Sync) -> None:
    sync.poke(1)
    other = {"event": {"event_id": new_id()}}
    assert send(sync, Odd(lambda records: results([other]))).delivered == 0
    assert places(sync)[PENDING] == 1


def test_a_duplicate_is_delivered(sync: Sync) -> None:
    sync.poke(1)
    assert send(sync, Odd(lambda records: results(records, "duplicate"))).delivered == 1


@pytest.mark.parametrize("status", ["pending", "warning", None, 7, "STORED"])
def test_a_word_that_is_none_of_the_protocols_settles_nothing(sync: Sync, status: Any) -> None:
    sync.poke(1)
    assert send(sync, Odd(lambda records: results(records, status))).settled == 0
    assert places(sync)[PENDING] == 1


def test_a_batch_that_is_too_large_for_the_server_is_sent_in_halves_down_to_one(sync: Sync) -> None:
    sync.poke(5)
    transport = Odd(
        lambda records: (
            Answer(413, {}) if len(records) > 1 or records[0]["event"]["aggregate_id"] == "WP03" else results(records)
        )
    )
    done = send(sync, transport)
    assert (done.delivered, done.parked) == (4, 1)
    assert places(sync) == {PENDING: 0, DELIVERED: 4, PARKED: 1, "drained": 0}


def test_a_batch_that_the_hub_cannot_read_is_sent_in_halves_down_to_the_one_event(sync: Sync) -> None:
    sync.poke(5)

    def reading(records: list[dict[str, Any]]) -> Answer:
        if all(one["event"]["aggregate_id"] != "WP02" for one in records):
            return results(records)
        return Answer(400, {}, b'{"schema": "kitty.error/1", "code": "BODY_INVALID", "message": "what is that?"}')

    done = send(sync, Odd(reading))
    assert (done.delivered, done.parked) == (4, 1)
    [(_, reason)] = sync.queue.parked(sync.id)
    assert reason == "BODY_INVALID: what is that?"


def test_what_the_models_do_not_take_is_not_even_sent(sync: Sync) -> None:
    sync.poke(2)
    bad = new_id()
    sync.mission.ledger.append([{"event_type": "PlanStarted", "event_id": bad, "timestamp": "2026-01-01T00:00:00Z"}])
    backfill(sync.mission.repo, sync.queue)
    transport = Odd(results)
    done = send(sync, transport)
    assert (done.delivered, done.parked) == (2, 1)
    assert bad not in transport.batches[0]


def test_a_transient_failure_is_tried_again_and_the_history_is_told(sync: Sync) -> None:
    sync.poke(1)
    failures: list[Answer | KittyError] = [Answer(503, {}), KittyError("SERVER_UNREACHABLE", "gone", "")]
    transport = Odd(lambda records: failures.pop(0) if failures else results(records))
    assert send(sync, transport).delivered == 1
    assert len(transport.batches) == 3


def test_a_login_that_is_over_ends_the_pass_at_once(sync: Sync) -> None:
    sync.poke(1)
    transport = Odd(lambda records: KittyError("AUTH_REFRESH_FAILED", "over", "log in"))
    with pytest.raises(KittyError, match="AUTH_REFRESH_FAILED"):
        send(sync, transport)
    assert len(transport.batches) == 1


def test_batches_are_bounded_in_number_and_in_bytes(sync: Sync) -> None:
    """A megabyte before it is compressed: a hub inflates no further."""
    rows = [{"event_type": "WPCreated", "event_id": new_id(), "timestamp": "2026-01-01T00:00:00Z",
             "payload": {"wp_id": "WP01", "wp_title": "x" * 60_000, "wp_path": "p", "depends_on": [], "actor": "a",
                         "mission_slug": "m", "mission_number": None, "created_at": None}} for _ in range(40)]  # fmt: skip
    huge = {**rows[0], "event_id": new_id(), "payload": {**rows[0]["payload"], "wp_title": "x" * (1 << 20)}}  # type: ignore[dict-item]
    sync.mission.ledger.append([*rows, huge])
    backfill(sync.mission.repo, sync.queue)
    transport = Odd(results)
    done = send(sync, transport)
    assert (done.delivered, done.parked) == (40, 1)
    assert len(transport.batches) == 3


def test_more_than_a_thousand_are_sent_as_several_batches_in_their_order(sync: Sync) -> None:
    sync.poke(2_100)
    transport = Odd(results)
    assert send(sync, transport).delivered == 2_100
    assert [len(batch) for batch in transport.batches] == [1_000, 1_000, 100]
    assert [one for batch in transport.batches for one in batch] == [
        row["event_id"] for row in sync.mission.ledger.rows()
    ]


def test_what_is_drained_while_it_is_sent_stays_drained(sync: Sync) -> None:
    sync.poke(2)

    def meanwhile(records: list[dict[str, Any]]) -> Answer:
        sync.run("drain")
        return results(records)

    send(sync, Odd(meanwhile))
    assert places(sync) == {PENDING: 0, DELIVERED: 0, PARKED: 0, "drained": 2}


def test_a_row_is_sent_as_one_event_whichever_way_it_took(sync: Sync) -> None:
    sync.poke(1)
    [pending] = sync.queue.pending()
    [row] = sync.mission.ledger.rows()
    record = json.loads(pending.entry.line)
    assert (record["event"], record["digest"]) == (row, digest_of(row))
    sync.run("drain")
    sync.run("replay")
    [again] = sync.queue.pending()
    assert wire(json.loads(again.entry.line)) == wire(record)


def test_a_queue_that_waits_for_its_lock_is_named(sync: Sync) -> None:
    sync.poke(1)
    queue = Queue(sync.queue.target, wait_seconds=0)
    began = time.monotonic()
    with sync.queue.locked(), pytest.raises(KittyError, match="LOCK_HELD"):
        backfill(sync.mission.repo, queue)
    assert time.monotonic() - began < 10
