"""What the crash tests share: the library, built once, and the modules beside this file."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from library import Crash, build, compiler


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shared library."""
    if sys.platform != "linux":
        pytest.skip("the crash library is preloaded the way that Linux does it")
    if not compiler():
        pytest.skip("the crash library needs a C compiler: cc, gcc, or the package ziglang")
    return build(tmp_path_factory.mktemp("crash"))


@pytest.fixture
def crash(library: Path, tmp_path: Path) -> Crash:
    """The library with a counter for this test."""
    place = tmp_path / "crash"
    place.mkdir()
    return Crash(library, place)
