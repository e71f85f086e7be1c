"""The published document and the hub agree: nothing is answered that is not in it, and no request makes a fault."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import checks
from starlette.routing import Route

from kitty_sync.hub.app import Hub
from kitty_sync.hub.openapi import document
from kitty_sync.hub.store import Store

from ..hub import HubProcess, record
from .team import Team

CHECKS = [
    checks.not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_schema_conformance,
]
ENDLESS = "/v1/events/stream"
"""Tested where it is read."""
OTHERS = re.compile(r"/(activate|account|signin|signout|metrics|openapi\.json|api)(/|$)|/$")
"""What a browser is shown, what Prometheus asks for, the document itself, and another's protocol, which is not ours to publish."""


@pytest.fixture
def schema(somewhere: HubProcess) -> Any:
    """The document as the hub serves it, on either database."""
    return schemathesis.openapi.from_url(f"{somewhere.address}/openapi.json")


@pytest.fixture
def headers(team: Team) -> dict[str, str]:
    """Of somebody who may write, in a team with events."""
    token = team.login().access_token
    with team.bearer(token) as client:
        client.post("/v1/events", json={"events": [record(number) for number in range(3)]})
    return {"Authorization": f"Bearer {token}"}


def operations(schema: Any) -> Iterator[Any]:
    for found in schema.get_all_operations():
        operation = found.ok()
        if operation.path != ENDLESS:
            yield operation


def modes(operation: Any) -> list[schemathesis.GenerationMode]:
    """What takes nothing cannot be given anything wrong."""
    takes = any(operation.query) or any(operation.body)
    return list(schemathesis.GenerationMode) if takes else [schemathesis.GenerationMode.POSITIVE]


@pytest.mark.parametrize("examples", [25, pytest.param(300, marks=pytest.mark.slow)])
def test_no_request_is_answered_in_a_way_that_is_not_published(
    schema: Any, headers: dict[str, str], examples: int
) -> None:
    for operation in operations(schema):
        for mode in modes(operation):
            strategy = operation.as_strategy(generation_mode=mode)

            @settings(
                max_examples=examples,
                deadline=None,
                database=None,
                phases=[Phase.generate],
                suppress_health_check=list(HealthCheck),
            )
            @given(case=strategy, who=st.sampled_from([headers, {}]))
            def ask(case: Any, who: dict[str, str]) -> None:
                case.call_and_validate(headers=who, checks=CHECKS)

            ask()


def test_a_valid_batch_has_the_published_answers(schema: Any, team: Team, headers: dict[str, str]) -> None:
    events = [record(10), record(10), record(10, node_id="other"), {"event": {}}]
    with httpx.Client(base_url=team.hub.address, headers=headers, trust_env=False) as client:
        answer = client.post("/v1/events", json={"events": events})
        assert [one["status"] for one in answer.json()["results"]] == ["stored", "duplicate", "conflict", "rejected"]
        schema["/v1/events"]["POST"].validate_response(answer)
        page = client.get("/v1/events")
        assert page.json()["events"]
        schema["/v1/events"]["GET"].validate_response(page)


def test_every_call_of_a_program_is_published_and_no_other(tmp_path: Any) -> None:
    store = Store(tmp_path / "hub.db")
    routes = Hub(store, "http://127.0.0.1").application().routes
    store.close()
    plain = [route for route in routes if isinstance(route, Route)]
    answered = {(route.path, method) for route in plain for method in (route.methods or set()) - {"HEAD"}}
    paths = document("http://127.0.0.1")["paths"]
    published = {(path, method.upper()) for path, methods in paths.items() for method in methods}
    assert published == {one for one in answered if not OTHERS.match(one[0])}


def test_the_document_names_the_hub_that_serves_it(standing: HubProcess) -> None:
    answer = httpx.get(f"{standing.address}/openapi.json", trust_env=False).json()
    assert answer["servers"] == [{"url": standing.address}]
