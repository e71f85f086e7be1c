"""What the crash tests share: the library, built once, and the modules beside this file."""

from __future__ import annotations

import sys
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from library import Crash, build, compiler

COLUMNS = ("points", "half merged", "re-run failed", "otherwise")


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shared library."""
    if sys.platform != "linux":
        pytest.skip("the crash library is preloaded the way that Linux does it")
    if not compiler():
        pytest.skip("the crash library needs a C compiler: cc, gcc, or the package ziglang")
    return build(tmp_path_factory.mktemp("crash"))


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """What came of the landings that were killed, beside what they are compared with."""
    found: dict[str, Counter[str]] = defaultdict(Counter)
    for report in (report for reports in terminalreporter.stats.values() for report in reports):
        for name, told in getattr(report, "user_properties", ()):
            if name == "killed" and getattr(report, "when", "") == "call":
                found[told[0]].update(dict(zip(COLUMNS, told[1:], strict=True)))
    if found:
        terminalreporter.write_sep("-", "killed, and run once more")
        terminalreporter.write_line(f"{'':48}{''.join(f'{column:>14}' for column in COLUMNS)}")
        for what, counted in sorted(found.items()):
            terminalreporter.write_line(f"{what:48}{''.join(f'{counted[column]:14}' for column in COLUMNS)}")


@pytest.fixture
def crash(library: Path, tmp_path: Path) -> Crash:
    """The library with a counter for this test."""
    place = tmp_path / "crash"
    place.mkdir()
    return Crash(library, place)
