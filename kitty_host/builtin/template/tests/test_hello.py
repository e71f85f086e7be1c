"""kitty-hello greets, and wants reasons."""

import pytest

from kitty_host.api import KittyError
from kitty_host.ledger.emit import emit
from kitty_host.ledger.event import transition


def test_the_greeting_tells_how_far_a_mission_has_come(project):
    mission = project.mission("search", packages=[{"work_package_id": "WP01"}, {"work_package_id": "WP02"}])
    project.record(mission, "WP01", "planned", "done")
    project.record(mission, "WP02", "planned")
    assert project.kitty("hello").stdout == "Hello, search: 1 of 2 done.\n"
    assert project.kitty("hello", "--json").json["done"] == 1


def test_nothing_is_blocked_without_a_reason(project, plugins_with):
    mission = project.mission("search", packages=[{"work_package_id": "WP01"}])
    project.record(mission, "WP01", "planned")
    of = {"actor": "ada", "mission_id": mission.mission_id, "mission_slug": mission.slug}
    with pytest.raises(KittyError) as refused:
        emit(plugins_with("hello"), mission, lambda state: [transition("WP01", "planned", "blocked", **of)])
    assert refused.value.code == "NO_REASON"


def test_a_reason_is_enough(plugins_with):
    plugins = plugins_with("hello")
    row = {"wp_id": "WP01", "to_lane": "blocked", "reason": "waiting for the schema"}
    assert plugins.findings("kitty_emit_check", transition=row, state=None) == []
    assert plugins.faults == []
