"""`kitty doctor`: everything that is wrong, with the way to mend it; it looks and touches nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kitty_host.git import Git
from kitty_host.testing import Project

pytestmark = pytest.mark.usefixtures("alone")


def findings(project: Project) -> dict[str, Any]:
    """The findings by code; asking for them changes nothing."""
    before = project.snapshot()
    result = project.kitty("doctor", "--json")
    assert result.exit_code == 0, result
    assert project.snapshot() == before
    assert all(finding["message"] and finding["hint"] for finding in result.json["findings"])
    faults = [finding for finding in result.json["findings"] if finding["code"] != "PLUGIN_UNFILLED"]
    assert result.json["ok"] == (not faults)
    return {finding["code"]: finding for finding in faults}


def test_a_healthy_repository_has_no_finding(project: Project) -> None:
    project.mission(packages=[{"work_package_id": "WP01"}])
    assert findings(project) == {}
    assert "healthy" in project.kitty("doctor").stdout


def test_what_is_not_installed_is_named_and_no_fault(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kitty_host.builtin.plugin_health.roles", lambda: {"better": "kitty-better"})
    told = project.kitty("doctor", "--json").json
    assert told["ok"] is True
    assert [(one["code"], one["hint"]) for one in told["findings"]] == [
        ("PLUGIN_UNFILLED", "run: pip install kitty-better")
    ]
    assert "healthy" in project.kitty("doctor").stdout


def test_a_ledger_that_git_ignores_is_named(project: Project) -> None:
    mission = project.mission()
    project.write(".gitignore", "*.jsonl\n")
    found = findings(project)["LEDGER_IGNORED"]
    assert found["path"] == f"kitty-specs/{mission.slug}/status.events.jsonl"


def test_broken_ledgers_are_named_each(project: Project) -> None:
    torn, damaged, apart = (project.mission(name) for name in ("torn", "damaged", "apart"))
    for mission in (torn, damaged, apart):
        project.record(mission, "WP01", "planned")
    with torn.ledger.live.open("ab") as stream:
        stream.write(b"{torn")
    with damaged.ledger.live.open("ab") as stream:
        stream.write(b"{broken\n")
    apart.ledger.live.unlink()
    found = findings(project)
    assert set(found) == {"LEDGER_TORN", "LEDGER_DAMAGED", "LEDGER_NAMES"}
    for code, mission in (("LEDGER_TORN", torn), ("LEDGER_DAMAGED", damaged), ("LEDGER_NAMES", apart)):
        assert found[code]["path"] == f"kitty-specs/{mission.slug}/status.events.jsonl"
        (line,) = (line for line in project.kitty("doctor").stdout.splitlines() if f" {code}: " in line)
        assert line.count(found[code]["path"]) == 1, "each says which mission it is about"
    assert found["LEDGER_DAMAGED"]["severity"] == "block"


def test_work_packages_that_cannot_be_read_are_named(project: Project) -> None:
    mission = project.mission(packages=[{"work_package_id": "WP01", "execution_mode": "odd"}])
    project.write(f"kitty-specs/{mission.slug}/tasks/WP02-x.md", "no front matter\n")
    assert set(findings(project)) == {"WP_MODE", "WP_INVALID"}


def test_a_mission_that_cannot_be_read_hides_no_other(project: Project) -> None:
    broken, torn = project.mission("broken"), project.mission("torn")
    project.record(torn, "WP01", "planned")
    with torn.ledger.live.open("ab") as stream:
        stream.write(b"{torn")
    project.write(f"kitty-specs/{broken.slug}/meta.json", "{")
    assert set(findings(project)) == {"MISSION_DAMAGED", "LEDGER_TORN"}


def test_a_git_that_is_too_old_is_named(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Git, "version", (2, 30))
    assert "2.30" in findings(project)["GIT_TOO_OLD"]["message"]


def test_faults_of_plugins_are_named_too(project: Project, install: Callable[..., Path]) -> None:
    install("broken", "1 / 0\n")
    install("bad", "from kitty_host.api import hookimpl\n@hookimpl\ndef kitty_doctor(repo):\n    1 / 0\n")
    result = project.kitty("doctor", "--json")
    assert (result.exit_code, result.stderr) == (0, "")
    told = [finding for finding in result.json["findings"] if finding["code"] != "PLUGIN_UNFILLED"]
    assert [(finding["code"], finding["message"].partition(":")[0]) for finding in told] == [
        ("PLUGIN_FAULT", "kitty-broken"),
        ("PLUGIN_FAULT", "kitty-bad"),
    ]
