"""The hub is killed while it takes events: what it said is stored is there, and nothing is there twice."""

from __future__ import annotations

import threading
from typing import Any

import httpx
import pytest

from ..hub import HubProcess, record
from .team import Team

KILLS = 6
BATCH = 20


class Sender:
    """Sends batches one after the other until it is cut off, and notes what it was told."""

    def __init__(self, team: Team, first: int) -> None:
        self.team = team
        self.number = first
        self.tried: dict[str, Any] = {}
        self.told: set[str] = set()
        self._client = team.client()

    def until_cut_off(self) -> None:
        try:
            while True:
                batch = [record(self.number + place) for place in range(BATCH)]
                self.number += BATCH
                self.tried |= {one["event"]["event_id"]: one for one in batch}
                self.send(batch)
        except httpx.TransportError:
            pass

    def send(self, batch: list[Any]) -> list[str]:
        answer = self._client.post("/v1/events", json={"events": batch})
        results = answer.json()["results"]
        assert {one["status"] for one in results} <= {"stored", "duplicate"}
        self.told |= {one["event_id"] for one in results}
        return [one["status"] for one in results]

    def again(self) -> list[str]:
        """Send everything that no answer mentioned."""
        rest = [one for event_id, one in self.tried.items() if event_id not in self.told]
        return [status for at in range(0, len(rest), BATCH) for status in self.send(rest[at : at + BATCH])]


@pytest.mark.slow
def test_what_was_acknowledged_is_there_after_a_kill_and_nothing_twice(hub: HubProcess) -> None:
    team = Team(hub, "one")
    senders = [Sender(team, number * 1_000_000) for number in range(2)]
    for kill in range(KILLS):
        running = [threading.Thread(target=one.until_cut_off) for one in senders]
        before = sum(len(one.told) for one in senders)
        for one in running:
            one.start()
        # Each a little later in a batch than the one before, and each after some were acknowledged.
        while sum(len(one.told) for one in senders) < before + 2 * BATCH:
            pass
        threading.Event().wait(0.003 * kill)
        hub.kill()
        for one in running:
            one.join()
        told = set().union(*(one.told for one in senders))
        assert told <= hub.events().keys(), "an acknowledged event is lost"
        hub.restart()
        assert told <= hub.events().keys(), "an acknowledged event is lost"
        for sender in senders:
            sender.again()
    tried = set().union(*(one.tried for one in senders))
    assert hub.events().keys() == tried
    with team.client() as client:
        found, cursor, more = [], "", True
        while more:
            page = client.get("/v1/events", params={"after": cursor}).json()
            found += [one["event"]["event_id"] for one in page["events"]]
            cursor, more = page["cursor"], page["more"]
    assert found == list(hub.events())


def test_a_login_outlives_the_hub(hub: HubProcess) -> None:
    hub.add_user("ada@example.org", "one")
    said = hub.login("ada@example.org")
    hub.kill()
    hub.restart()
    with Team(hub, "one").bearer(said["access_token"]) as client:
        assert client.get("/v1/me").json()["team"]["slug"] == "one"
