"""A team of its own for each test."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from kitty_host.testing import isolate

from ..hub import HubProcess
from ..postgres import Postgres
from .team import Team


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL for all tests of a process, which nobody stops."""
    found = Postgres()
    yield found
    found.close()


@pytest.fixture(scope="session")
def standing_on_postgres(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubProcess]:
    """The standing hub's sister."""
    directory = tmp_path_factory.mktemp("standing")
    with pytest.MonkeyPatch.context() as patch:
        isolate(directory, patch)
        found = HubProcess(directory / "hub", database=postgres.database())
    yield found
    found.stop()


SQLITE, POSTGRESQL = "standing", "standing_on_postgres"


@pytest.fixture(params=[SQLITE, POSTGRESQL], ids=["sqlite", "postgresql"])
def somewhere(request: pytest.FixtureRequest) -> HubProcess:
    """A standing hub on either database. Who means one of them says so: `parametrize("somewhere", [SQLITE], indirect=True)`."""
    found: HubProcess = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def team(somewhere: HubProcess, request: pytest.FixtureRequest) -> Team:
    """A new team."""
    _teams.append(request.node.nodeid)
    return Team(somewhere, f"team-{len(_teams)}")


_teams: list[str] = []


@pytest.fixture
def writer(team: Team) -> Iterator[httpx.Client]:
    """Somebody who may add events."""
    with team.client() as client:
        yield client
