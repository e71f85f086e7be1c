"""What the host's tests share: an environment in which no plugin counts but those that a test installs, and two options."""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib.util import find_spec
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
    parser.addoption(
        "--events",
        metavar="VERSION",
        help="this is a second environment, with that version of spec-kitty-events: what it has no module for does not exist",
    )


_ABOUT_ALL_TESTS = [Path(__file__).parent / "contract" / name for name in ("test_traceability.py", "test_gates.py")]
_NEEDS_THE_DIARY = re.compile(r"^\s*from spec_kitty_events(\.diary| import diary)", re.MULTILINE)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Without a corpus its tests do not exist, nor do those of the oracle with a version that has none: there is nothing to skip."""
    if collection_path.name == "test_corpus.py" and config.getoption("--corpus") is None:
        return True
    if collection_path in _ABOUT_ALL_TESTS:
        # All of them are there in the first environment.
        return True if config.getoption("--events") else None
    if collection_path.suffix != ".py" or config.getoption("--events") is None or find_spec("spec_kitty_events.diary"):
        return None
    return True if _NEEDS_THE_DIARY.search(collection_path.read_text(encoding="utf-8")) else None


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
