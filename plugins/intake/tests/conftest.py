"""Every test runs with this plugin and, where it installs one, with a plugin called `stranger`."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from kitty_host.config import parse_yaml
from kitty_host.testing import Project

# Tests share the module plan_sources.py beside this file.
sys.path.insert(0, str(Path(__file__).parent))

BRIEF = ".kittify/mission-brief.md"
SIDECAR = ".kittify/brief-source.yaml"


class Pair:
    """The two files of a project as they lie on the disk, read without the code under test."""

    def __init__(self, project: Project) -> None:
        self.brief = project.root / BRIEF
        self.sidecar = project.root / SIDECAR

    @property
    def record(self) -> dict[str, object]:
        record: dict[str, object] = parse_yaml(self.sidecar.read_bytes(), self.sidecar, code="TEST")
        return record

    def write_as_spec_kitty(self, text: str, name: str = "peer.md") -> None:
        """What spec-kitty's own `intake` leaves."""
        digest = hashlib.sha256(text.encode()).hexdigest()
        moment = "2026-01-01T00:00:00+00:00"
        self.sidecar.write_text(f"brief_hash: {digest}\ningested_at: '{moment}'\nsource_file: {name}\n")
        head = f"<!-- spec-kitty intake: ingested from {name} at {moment} -->\n<!-- brief_hash: {digest} -->\n\n"
        self.brief.write_bytes((head + text).encode())


@pytest.fixture(autouse=True)
def only_intake(isolated: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KITTY_PLUGINS", "intake,stranger")


@pytest.fixture
def pair(project: Project) -> Pair:
    return Pair(project)


@pytest.fixture
def configure(project: Project) -> Callable[[str], None]:
    """Appends a section `intake` to the configuration."""

    def write(settings: str) -> None:
        path = project.root / ".kittify/config.yaml"
        path.write_text(path.read_text() + f"intake: {{{settings}}}\n")

    return write
