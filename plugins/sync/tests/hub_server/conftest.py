"""A team of its own for each test."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from ..hub import HubProcess
from .team import Team


@pytest.fixture
def team(standing: HubProcess, request: pytest.FixtureRequest) -> Team:
    """A new team."""
    _teams.append(request.node.nodeid)
    return Team(standing, f"team-{len(_teams)}")


_teams: list[str] = []


@pytest.fixture
def writer(team: Team) -> Iterator[httpx.Client]:
    """Somebody who may add events."""
    with team.client() as client:
        yield client
