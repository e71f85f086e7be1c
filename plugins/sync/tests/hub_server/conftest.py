"""One hub in a process of its own for all tests of a module, and a team of its own for each test."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from kitty_host.testing import isolate

from ..hub import HubProcess
from .team import Team


@pytest.fixture(scope="module")
def standing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubProcess]:
    """The hub of the module. Nobody kills it."""
    directory = tmp_path_factory.mktemp("standing")
    with pytest.MonkeyPatch.context() as patch:
        isolate(directory, patch)
        process = HubProcess(directory / "hub")
    yield process
    process.stop()


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
