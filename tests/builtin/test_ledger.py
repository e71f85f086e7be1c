"""`kitty ledger`: what is shown, what is proved, what is repaired."""

from __future__ import annotations

import json

import pytest

from kitty_host.ledger.event import annotation, envelope, new_id, now
from kitty_host.mission import Mission
from kitty_host.testing import Project

pytestmark = pytest.mark.usefixtures("alone")


@pytest.fixture
def mission(project: Project) -> Mission:
    made: Mission = project.mission()
    project.record(made, "WP01", "planned", "claimed")
    return made


def test_rows_are_shown_oldest_first(project: Project, mission: Mission) -> None:
    note = {**annotation("WP01", {"note": "x"}, actor="ada\n<b>"), "event_id": new_id(), "at": now()}
    other = {**envelope("MissionCreated", {}, aggregate_id="x"), "event_id": new_id(), "timestamp": "2020-01-01"}
    mission.ledger.append([note, other])
    shown = project.kitty("ledger", "show").stdout.splitlines()
    assert [text.split("  ", 1)[1].strip() for text in shown] == [
        "MissionCreated",
        "WP01  genesis -> planned  agent (forced)",
        "WP01  planned -> claimed  agent (forced)",
        "WP01  ada %3Cb%3E: x",
    ]
    result = project.kitty("ledger", "show", "--json").json
    assert result["schema"] == "kitty.ledger/1"
    assert result["events"] == mission.ledger.rows()
    assert result["mission_id"] == mission.mission_id


def test_a_whole_ledger_is_proved_whole(project: Project, mission: Mission) -> None:
    mission.ledger.checkpoint(mission.repo.git, "one")
    result = project.kitty("ledger", "verify", "--json")
    assert (result.exit_code, result.json) == (
        0,
        {"schema": "kitty.ledger/1", "ok": True, "events": 2, "findings": []},
    )
    assert "2 rows" in project.kitty("ledger", "verify").stdout


def test_lines_that_somebody_took_out_are_missed(project: Project, mission: Mission) -> None:
    mission.ledger.checkpoint(mission.repo.git, "one")
    lines = mission.ledger.lines()
    mission.ledger.live.write_bytes(lines[1] + b"\n")
    result = project.kitty("ledger", "verify", "--json")
    assert (result.exit_code, result.code) == (1, "LEDGER_ROWS_GONE")
    (finding,) = result.json["details"]["findings"]
    assert json.loads(lines[0])["event_id"] in finding["message"]
    assert (finding["line"], finding["byte"]) == (1, 0), "where it was in the checkpoint"
    dry = project.kitty("ledger", "repair", "--from-checkpoint", "--dry-run", "--json")
    assert (dry.json["rows"], dry.json["kept"]) == (1, "")
    assert project.kitty("ledger", "verify").exit_code == 1
    assert project.kitty("ledger", "repair", "--from-checkpoint", "--json").json["rows"] == 1
    assert sorted(mission.ledger.lines()) == sorted(lines)
    assert project.kitty("ledger", "verify").exit_code == 0


def test_damage_is_told_with_line_and_byte(project: Project, mission: Mission) -> None:
    content = mission.ledger.live.read_bytes()
    mission.ledger.live.write_bytes(content + b"{broken\n" + content)
    for command in ("show", "verify"):
        result = project.kitty("ledger", command, "--json")
        assert (result.exit_code, result.code) == (1, "LEDGER_DAMAGED")
        assert (result.json["details"]["line"], result.json["details"]["byte"]) == (3, len(content))


def test_questions_repair_nothing_and_repair_does(project: Project, mission: Mission) -> None:
    mission.ledger.live.unlink()
    with mission.ledger.twin.open("ab") as stream:
        stream.write(b"{torn")
    before = project.snapshot()
    for command in (("ledger", "show"), ("ledger", "verify"), ("doctor",)):
        assert project.kitty(*command).exit_code == 0
    verified = project.kitty("ledger", "verify", "--json").json
    assert not verified["ok"]
    assert [finding["code"] for finding in verified["findings"]] == ["LEDGER_NAMES"]
    assert project.snapshot() == before
    assert "mended: " in project.kitty("ledger", "repair").stdout
    assert mission.ledger.live.samefile(mission.ledger.twin)
    assert project.kitty("ledger", "verify", "--json").json["ok"]
    assert project.kitty("ledger", "repair").stdout == "Nothing to mend.\n"


def test_a_repair_that_cannot_be_made_changes_nothing(project: Project, mission: Mission) -> None:
    content = mission.ledger.live.read_bytes()
    mission.ledger.live.unlink()
    mission.ledger.live.write_bytes(b"{broken\n" + content)
    before = mission.ledger.live.read_bytes(), mission.ledger.twin.read_bytes()
    result = project.kitty("ledger", "repair", "--json")
    assert (result.exit_code, result.code) == (1, "LEDGER_DAMAGED")
    assert (mission.ledger.live.read_bytes(), mission.ledger.twin.read_bytes()) == before
