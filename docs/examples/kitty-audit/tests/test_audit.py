"""kitty-audit brings a type, and keeps an audit from landing while a finding is open."""

import pytest

from kitty_host.records import Candidate


@pytest.fixture
def gate(project, plugins_with):
    """What the gates say of a mission of a type, whose findings are these."""
    plugins = plugins_with("audit")

    def said(findings, kind="audit"):
        mission = project.mission("look", packages=[{"work_package_id": "WP01"}], mission_type=kind)
        if findings is not None:
            project.commit(f"kitty-specs/{mission.slug}/findings.md", findings)
        tip = project.git("rev-parse", "HEAD").strip()
        candidate = Candidate(mission, "key", "refs/heads/main", tip, tip, tip, "tree", ())
        return [(one.ok, one.reason) for one in plugins.collect("kitty_gates", candidate=candidate)]

    yield said
    assert plugins.faults == []


def test_the_type_is_there(plugins_with, project):
    found = project.kitty("mission", "types", "--json")
    if found.exit_code == 2:
        pytest.fail("kitty-runtime is not installed, and brings this command")
    assert "audit" in {one["key"] for one in found.json["types"]}


def test_an_audit_lands_when_nothing_is_open(gate):
    assert gate("# Findings\n\n- [x] a door was open; it is shut\n") == [(True, "")]


def test_an_open_finding_is_in_the_way(gate):
    assert gate("- [x] one\n- [ ] two\n  - [ ] three\n") == [(False, "2 open in findings.md")]


def test_an_audit_without_findings_written_down_is_none(gate):
    assert gate(None) == [(False, "findings.md is not there")]


def test_other_missions_are_left_alone(gate):
    assert gate("- [ ] open\n", "software-dev") == []
