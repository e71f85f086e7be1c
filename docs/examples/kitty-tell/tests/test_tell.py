"""kitty-tell tells what somebody waits for, and nothing else."""

import time

import pytest


@pytest.fixture
def told(isolated, monkeypatch):
    """What was told, in order."""
    script, log = isolated / "tell", isolated / "log"
    script.write_text(f'#!/bin/sh\necho "$1" >> "{log}"\n')
    script.chmod(0o755)
    monkeypatch.setenv("KITTY_TELL", str(script))

    def read(lines):
        until = time.monotonic() + 20
        while time.monotonic() < until and (not log.exists() or log.read_text().count("\n") < lines):
            time.sleep(0.01)
        return log.read_text().splitlines() if log.exists() else []

    return read


def test_what_is_blocked_and_done_is_told(told, project, plugins_with):
    plugins = plugins_with("tell")
    mission = project.mission("search", packages=[{"work_package_id": "WP01"}])
    for lane in ("claimed", "blocked"):
        plugins.observe("kitty_emitted", event={"wp_id": "WP01", "to_lane": lane}, mission=mission)
    assert told(1) == ["search: WP01 is blocked"]
    plugins.observe("kitty_emitted", event={"wp_id": "WP01", "to_lane": "done"}, mission=mission)
    assert told(2) == ["search: WP01 is blocked", "search: WP01 is done"]
    assert plugins.faults == []


def test_nobody_is_told_where_nobody_asked(project, plugins_with, monkeypatch):
    monkeypatch.delenv("KITTY_TELL", raising=False)
    plugins = plugins_with("tell")
    mission = project.mission("search", packages=[{"work_package_id": "WP01"}])
    plugins.observe("kitty_emitted", event={"wp_id": "WP01", "to_lane": "blocked"}, mission=mission)
    assert plugins.faults == []


def test_a_command_that_is_not_there_is_noted_and_ends_nothing(project, plugins_with, monkeypatch):
    monkeypatch.setenv("KITTY_TELL", "no-such-command")
    plugins = plugins_with("tell")
    mission = project.mission("search", packages=[{"work_package_id": "WP01"}])
    plugins.observe("kitty_emitted", event={"wp_id": "WP01", "to_lane": "blocked"}, mission=mission)
    assert "no-such-command" in plugins.faults[0].message
