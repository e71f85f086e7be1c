"""Only the host, this plugin and what a test installs: whatever else is installed stays out."""

from __future__ import annotations

import pytest

from kitty_host.testing import Project


@pytest.fixture(autouse=True)
def only_charter(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """`project` is asked for first, because it clears the environment."""
    monkeypatch.setenv("KITTY_PLUGINS", "charter,stub,gate,stranger")
