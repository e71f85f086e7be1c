"""What the host's tests share: an environment in which no plugin counts but those that a test installs, and the option `--corpus`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# How long an example takes says more about the machine than about kitty.
settings.register_profile("kitty", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("kitty")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--corpus",
        type=Path,
        metavar="DIR",
        help="compare the reducer with its oracle on every DIR/kitty-specs/*/status.events.jsonl",
    )


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Without a corpus its tests do not exist: there is nothing to skip."""
    return True if collection_path.name == "test_corpus.py" and config.getoption("--corpus") is None else None


@pytest.fixture
def alone(isolated: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The host without the plugins that happen to be installed beside it; returns the test's directory."""
    monkeypatch.setenv("KITTY_PLUGINS", "")
    return isolated


@pytest.fixture
def install(alone: Path, install_plugin: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """`install_plugin`, and the plugin is one of those that count."""
    names: list[str] = []

    def make(name: str, source: str, **options: str) -> Path:
        names.append(name)
        monkeypatch.setenv("KITTY_PLUGINS", ",".join(names))
        return install_plugin(name, source, **options)

    return make
