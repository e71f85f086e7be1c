"""A project with two work packages that is bound to a tracker: each test of it is made with GitHub, and again with Beads."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from kitty_host.testing import Project
from kitty_sync.switch import VARIABLE

from .bound import Bound, bind
from .worlds import Beads, GitHub, World


@pytest.fixture(params=[GitHub, Beads], ids=["github", "beads"])
def world(request: pytest.FixtureRequest, isolated: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """A tracker that is empty."""
    yield from worlds(request.param, isolated, monkeypatch)


@pytest.fixture
def github(isolated: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """GitHub alone, where a test is about its protocol."""
    yield from worlds(GitHub, isolated, monkeypatch)


def worlds(kind: type[World], directory: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    place = directory / "outside"
    place.mkdir()
    made = kind(place)
    monkeypatch.setenv(VARIABLE, "1")
    if isinstance(made, GitHub):
        monkeypatch.setenv("GITHUB_API_URL", made.address)
        monkeypatch.setenv("KITTY_HUB_URL", made.address)
        monkeypatch.setenv("KITTY_TOKEN", made.token)
    else:
        monkeypatch.setenv("PATH", f"{place / 'bin'}{os.pathsep}{os.environ['PATH']}")
    yield made
    made.close()


@pytest.fixture
def bound(project: Project, world: World, monkeypatch: pytest.MonkeyPatch) -> Bound:
    """A project that is bound to the tracker of the test."""
    return bind(project, world, monkeypatch)


@pytest.fixture
def on_github(project: Project, github: World, monkeypatch: pytest.MonkeyPatch) -> Bound:
    """A project that is bound to GitHub."""
    return bind(project, github, monkeypatch)
