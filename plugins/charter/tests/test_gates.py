"""A declared command is a gate: run on the merged result, its tests counted in its report, and red whenever it proves nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kitty_charter.suite import run, verdict
from kitty_host.records import Suite
from kitty_host.testing import Project, Result

from .test_accept import STUB, acceptances, gate, refused

PYTEST = f"{sys.executable} -m pytest -p no:cacheprovider -p no:randomly --junitxml={{report}} proof"
GREEN = "def test_one(): pass\ndef test_two(): pass\n"
RED = "def test_one(): pass\ndef test_two():\n    assert 'sand' == 'gold', 'no gold'\n"


def configure(project: Project, *gates: dict[str, Any], **settings: Any) -> None:
    """What the configuration says of acceptances."""
    path = project.root / ".kittify" / "config.yaml"
    told = path.read_text().partition("accept: ")[0]
    path.write_text(f"{told}accept: {json.dumps({'gates': list(gates), **settings})}\n")


def suite(**fields: Any) -> dict[str, Any]:
    """The gate of these tests: pytest on the directory `proof`."""
    return {"name": "suite", "command": PYTEST, **fields}


def runs(pid: int) -> bool:
    """Whether a process does anything; one that has ended may wait for somebody to take notice."""
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True).stdout.strip()
    return bool(state) and not state.startswith("Z")


@pytest.fixture
def mission(project: Project, install_plugin: Callable[..., Path]) -> Any:
    """A mission that is approved, with a green suite on its candidate, which is what `main` holds."""
    install_plugin("stub", STUB)
    made = project.mission(packages=[{"work_package_id": "WP01", "title": "One"}])
    project.record(made, "WP01", "approved")
    project.commit("proof/test_it.py", f"# the first\n{GREEN}")
    configure(project, suite())
    return made


def test_a_green_suite_is_recorded_as_it_was_counted(project: Project, mission: Any) -> None:
    answer = project.kitty("accept", "--json")
    assert answer.exit_code == 0, answer
    said = gate(answer, "suite")
    assert said.pop("seconds") > 0
    assert said == {
        "name": "suite",
        "ok": True,
        "reason": "",
        "command": PYTEST,
        "exit_code": 0,
        "tests": 2,
        "failed": 0,
        "skipped": 0,
        "commit": project.git("rev-parse", "main"),
        "exceptions": [],
    }
    assert [one["name"] for one in acceptances(mission)[0]["gates"]] == ["packages-approved", "suite"]


def test_it_runs_on_the_candidate_and_not_on_what_lies_beside_it(project: Project, mission: Any) -> None:
    project.write("proof/test_it.py", RED)
    project.write("proof/test_other.py", RED)
    answer = project.kitty("accept", "--json")
    assert (answer.exit_code, gate(answer, "suite")["tests"]) == (0, 2)


def test_nothing_is_left_of_the_worktree(project: Project, mission: Any) -> None:
    project.kitty("accept")
    assert project.git("worktree", "list", "--porcelain").count("worktree ") == 1
    assert not list((project.root / ".worktrees").glob("*"))
    assert "proof" not in project.git("status", "--porcelain")


@pytest.mark.parametrize(
    ("content", "fields", "reason"),
    [
        (RED, {}, "1 of 2 tests failed: `proof.test_it::test_two`"),
        ("import nothing\n", {}, "1 of 1 test failed"),
        ("", {}, "no test was collected"),
        (GREEN + "import pytest\n@pytest.mark.skip\ndef test_three(): pass\n", {}, "1 of 3 tests skipped"),
        (GREEN + "import pytest\n@pytest.mark.xfail\ndef test_three(): assert 0\n", {}, "1 of 3 tests skipped"),
        (GREEN, {"minimum_tests": 3}, "2 tests collected, at least 3 expected"),
        (GREEN, {"command": "sleep 60", "timeout_seconds": 1}, "stopped after 1 seconds"),
        (GREEN + "import os\ndef test_three(): os.kill(os.getpid(), 9)\n", {}, "it was killed by SIGKILL"),
        (GREEN + "import os\ndef test_three(): os._exit(0)\n", {}, "it wrote no report"),
        (GREEN, {"command": "true"}, "it wrote no report"),
        (GREEN, {"command": "sh -c 'exit 3'", "minimum_tests": 0}, "exit code 3"),
        (GREEN, {"command": f"sh -c '{PYTEST}; exit 4'"}, "exit code 4"),
        (RED, {"command": f"sh -c '{PYTEST}; true'"}, "1 of 2 tests failed"),
        (GREEN, {"command": "no-such-command"}, "no-such-command cannot be run"),
        (GREEN, {"command": "sh -c 'echo {{ > {{report}}'".replace("{{report}}", "{report}")}, "is no JUnit XML"),
        (GREEN, {"command": f"sh -c '{PYTEST}; echo \"# x\" >> proof/test_it.py'"}, "it changed what Git tracks"),
        (GREEN, {"command": f"sh -c '{PYTEST}; git commit -q --allow-empty -m x'"}, "it moved HEAD"),
    ],
)
def test_what_proves_nothing_is_red(
    project: Project, mission: Any, content: str, fields: dict[str, Any], reason: str
) -> None:
    project.commit("proof/test_it.py", content)
    configure(project, suite(**fields))
    assert reason in refused(project, "suite")
    assert acceptances(mission) == []


def test_a_gate_without_tests_counts_by_its_exit_code_alone(project: Project, mission: Any) -> None:
    configure(project, suite(command="git diff --quiet HEAD", minimum_tests=0))
    answer = project.kitty("accept", "--json")
    assert (answer.exit_code, gate(answer, "suite")["tests"]) == (0, None)


def test_a_suite_does_not_run_while_something_that_takes_no_time_is_red(project: Project, mission: Any) -> None:
    project.record(mission, "WP01", "in_progress")
    ran = project.root / "ran"
    configure(project, suite(command=f"touch {ran}", minimum_tests=0))
    assert refused(project, "suite") == "it did not run: mend the others first"
    assert not ran.exists()


def test_two_gates_of_one_name_are_red(project: Project, mission: Any, install_plugin: Callable[..., Path]) -> None:
    install_plugin(
        "gate",
        "from kitty_host.api import hookimpl\n@hookimpl\ndef kitty_gates(candidate):\n"
        "    from kitty_host.records import Gate\n    return [Gate('suite', True)]\n",
    )
    assert refused(project, "suite (again)") == "two gates are called suite"


def test_a_plugin_declares_a_suite_as_the_configuration_does(
    project: Project, mission: Any, install_plugin: Callable[..., Path]
) -> None:
    configure(project)
    install_plugin(
        "gate",
        "from kitty_host.api import hookimpl\n@hookimpl\ndef kitty_gates(candidate):\n"
        f"    from kitty_host.records import Suite\n    return [Suite('theirs', {PYTEST!r}, minimum_tests=2)]\n",
    )
    answer = project.kitty("accept", "--json")
    assert (answer.exit_code, gate(answer, "theirs")["tests"]) == (0, 2)
    assert acceptances(mission)[0]["asked"] == ["gate", "charter"]


def test_what_a_gate_leaves_running_is_ended_with_it(project: Project, mission: Any) -> None:
    left = project.root / "left.pid"
    configure(project, suite(command=f"sh -c '{{ sleep 300 & echo $! > {left}; }}; true'", minimum_tests=0))
    assert project.kitty("accept").exit_code == 0
    assert not runs(int(left.read_text()))


def accepting(project: Project) -> tuple[subprocess.Popen[bytes], int]:
    """A `kitty accept` whose gate takes long, and the process id of that gate."""
    begun = project.root / "begun"
    configure(project, suite(command=f"sh -c 'echo $$ > {begun}; sleep 60'", minimum_tests=0))
    process = subprocess.Popen(
        [sys.executable, "-m", "kitty_host", "accept"],
        cwd=project.root,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    while not begun.exists() or not begun.read_text().strip():
        time.sleep(0.05)
    return process, int(begun.read_text())


def test_a_second_run_of_the_gates_is_refused_while_the_first_is_at_work_even_when_its_kitty_was_killed(
    project: Project, mission: Any
) -> None:
    """Ended is what was killed when the command is; what lives on keeps the lock."""
    first, command = accepting(project)
    second = project.kitty("accept", "--json")
    assert (second.exit_code, second.code) == (1, "LOCK_HELD")
    first.kill()
    first.wait()
    assert project.kitty("accept", "--json").code == "LOCK_HELD"
    os.killpg(command, signal.SIGKILL)
    configure(project, suite())
    again = project.kitty("accept", "--json")
    assert again.exit_code == 0, again


@pytest.mark.parametrize(
    ("gates", "said"),
    [
        ([{"name": "a"}], "command"),
        ([{"name": "", "command": "true"}], "the gate without a name needs a name"),
        ([{"name": "a", "command": "  "}], "the gate a needs"),
        ([{"name": "a", "command": "true", "timeout_seconds": 0}], "the gate a needs"),
        ([{"name": "a", "command": "true", "minimum_tests": -1}], "the gate a needs"),
        ([{"name": "a", "command": "true", "minimum_tests": "many"}], "minimum_tests"),
        ([{"name": "a", "command": "true"}, {"name": "a", "command": "false"}], "the gate a stands there twice"),
    ],
)
def test_a_gate_that_is_declared_wrongly_is_an_error_and_not_a_default(
    project: Project, mission: Any, gates: list[dict[str, Any]], said: str
) -> None:
    configure(project, *gates)
    answer = project.kitty("accept", "--json")
    assert (answer.exit_code, answer.code) == (1, "CONFIG_INVALID")
    assert said in answer.json["message"]


def test_an_interruption_ends_the_command_and_accepts_nothing(project: Project, mission: Any) -> None:
    first, command = accepting(project)
    first.send_signal(signal.SIGINT)
    first.communicate(timeout=20)
    assert first.returncode == 130
    assert not runs(command)
    assert acceptances(mission) == []
    assert not list((project.root / ".worktrees").glob("*"))


# Reports


@pytest.mark.parametrize(
    ("report", "tests", "red"),
    [
        ("<testsuite><testcase name='a'/></testsuite>", 1, ""),
        (
            "<testsuites><testsuite><testsuite><testcase name='a'/></testsuite><testcase name='b'/></testsuite></testsuites>",
            2,
            "",
        ),
        ("<testsuites tests='99'/>", 0, "no test was collected"),
        (
            "<testsuites><testsuite><testcase name='a'><error message='m'/></testcase></testsuite></testsuites>",
            1,
            "failed: `a`",
        ),
        (
            "<testsuite failures='0'><testcase classname='c' name='a'><failure/></testcase></testsuite>",
            1,
            "failed: `c::a`",
        ),
        ("<testsuite><testcase name='a'><skipped/></testcase></testsuite>", 1, "skipped: `a`"),
        ("<html/>", None, "is no JUnit XML"),
        ("<testsuite>", None, "is no JUnit XML"),
    ],
)
def test_tests_are_counted_one_by_one_whatever_the_totals_say(
    tmp_path: Path, report: str, tests: int | None, red: str
) -> None:
    (tmp_path / "given.xml").write_text(report)
    asked = Suite("s", "cp given.xml {report}")
    outcome = run(asked, tmp_path, tmp_path / "scratch")
    assert outcome.tests == tests
    assert red in verdict(asked, outcome)
    assert bool(red) == bool(verdict(asked, outcome))


def test_a_report_that_grows_in_memory_is_no_report(tmp_path: Path) -> None:
    nested = "".join(f"<!ENTITY e{n} '{f'&e{n - 1};' * 10 if n else 'x' * 50}'>" for n in range(9))
    (tmp_path / "given.xml").write_text(
        f"<?xml version='1.0'?><!DOCTYPE t [{nested}]><testsuite><testcase name='a'>&e8;</testcase></testsuite>"
    )
    asked = Suite("s", "cp given.xml {report}")
    assert "is no JUnit XML" in verdict(asked, run(asked, tmp_path, tmp_path / "scratch"))


# Exceptions


def excuse(project: Project, **fields: str | None) -> Path:
    """A whole exception for the test that fails, with some fields said otherwise; None leaves one out."""
    told = {
        "gate": "suite",
        "scenario": "proof/test_it.py::test_two",
        "assertion": "no gold",
        "environmental": "the mine is closed",
        "reproduce": "pytest proof/test_it.py",
        "follow_up": "#12",
        "operator": "olga",
        "expires": day(7),
        **fields,
    }
    path = project.root / "exception.yaml"
    path.write_text("".join(f"{key}: {json.dumps(value)}\n" for key, value in told.items() if value is not None))
    return path


def report(project: Project, **tests: str) -> None:
    """What the gate reports from now on: each test with its failure, empty for one that passed. A runner would take longer to say so."""
    cases = "".join(
        f"<testcase classname='proof.test_it' name='{name}'>{f'<failure>{told}</failure>' if told else ''}</testcase>"
        for name, told in tests.items()
    )
    project.commit("proof/report.xml", f"<testsuite>{cases}</testsuite>")
    code = int(any(tests.values()))
    configure(project, suite(command=f"sh -c 'cp proof/report.xml {{report}}; exit {code}'"))


def day(ahead: int) -> str:
    """A day from now."""
    from datetime import UTC, datetime, timedelta

    return (datetime.now(UTC).date() + timedelta(days=ahead)).isoformat()


def accept(project: Project, path: Path | None = None, operator: str = "olga") -> Result:
    named = [] if path is None else ["--exception", str(path)]
    return project.kitty("accept", *named, "--agent", operator, "--json")


@pytest.fixture
def failing(project: Project, mission: Any) -> Any:
    """The mission, with a test that fails."""
    report(project, test_one="", test_two="AssertionError: no gold")
    return mission


def granted(mission: Any) -> list[dict[str, Any]]:
    return [row["payload"] for row in mission.ledger.rows() if row.get("event_type") == "GateExceptionGranted"]


def test_one_failing_test_is_excused_by_name_and_assertion(project: Project, failing: Any) -> None:
    answer = accept(project, excuse(project))
    assert answer.exit_code == 0, answer
    said = gate(answer, "suite")
    assert (said["ok"], said["failed"], said["exceptions"]) == (True, 1, ["proof/test_it.py::test_two"])
    [payload] = granted(failing)
    assert payload["operator"] == "olga"
    assert payload["granted"] == day(0)
    assert acceptances(failing)[0]["gates"][-1]["exceptions"] == ["proof/test_it.py::test_two"]


def test_it_holds_for_the_next_acceptance_too(project: Project, failing: Any) -> None:
    accept(project, excuse(project))
    project.commit("more.txt")
    assert accept(project, operator="renata").exit_code == 0
    assert len(granted(failing)) == 1
    assert len(acceptances(failing)) == 2


def test_another_failure_of_the_same_test_is_not_excused(project: Project, failing: Any) -> None:
    accept(project, excuse(project))
    report(project, test_one="", test_two="AssertionError: no silver")
    answer = accept(project)
    assert gate(answer, "suite")["reason"].startswith("1 of 2 tests failed")


def test_another_failing_test_is_not_excused(project: Project, failing: Any) -> None:
    report(project, test_one="", test_two="AssertionError: no gold", test_three="AssertionError: no gold")
    answer = accept(project, excuse(project))
    assert gate(answer, "suite")["reason"] == "1 of 3 tests failed: `proof.test_it::test_three`"
    assert granted(failing) == []


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        *(({name: None}, f"{name} is missing") for name in ("gate", "scenario", "assertion", "environmental")),
        *(({name: " "}, f"{name} is missing") for name in ("reproduce", "follow_up", "operator", "expires")),
        ({"scenario": "proof/test_it.py::*"}, "is not one test"),
        ({"scenario": "proof/test_it.py"}, "is not one test"),
        ({"scenario": "all"}, "is not one test"),
        ({"scenario": "proof/*::test_two"}, "is not one test"),
        ({"gate": "*"}, "is not the name of one gate"),
        ({"gate": "all"}, "is not the name of one gate"),
        ({"assertion": "o"}, "too short"),
        ({"follow_up": "soon"}, "the follow-up is no issue"),
        ({"reproduce": "pytest 'x"}, "cannot be split"),
        ({"operator": "somebody"}, "the operator is somebody, and olga runs the command"),
        ({"expires": day(-1)}, "it expired on"),
        ({"expires": day(31)}, "it holds for more than 30 days"),
        ({"expires": "soon"}, "are days"),
        ({"granted": day(1)}, "which is not yet"),
        ({"whatever": "x"}, "there is no key whatever"),
    ],
)
def test_an_exception_that_is_not_whole_is_refused_and_nothing_is_written(
    project: Project, failing: Any, fields: dict[str, str | None], said: str
) -> None:
    path = excuse(project, **fields)
    before = project.snapshot()
    answer = accept(project, path)
    assert (answer.exit_code, answer.code) == (1, "EXCEPTION_REFUSED")
    assert said in answer.json["message"]
    assert project.snapshot() == before


@pytest.mark.parametrize("content", ["[]", "a: [", "5"])
def test_a_file_that_is_no_exception_is_refused(project: Project, failing: Any, content: str) -> None:
    path = project.write("exception.yaml", content)
    assert accept(project, path).code == "EXCEPTION_REFUSED"


@pytest.mark.parametrize(
    ("fields"), [{"scenario": "proof/test_it.py::test_one"}, {"assertion": "no silver"}, {"gate": "other"}]
)
def test_an_exception_for_what_did_not_fail_is_refused(project: Project, failing: Any, fields: dict[str, str]) -> None:
    report(project, test_one="", test_two="")
    answer = accept(project, excuse(project, **fields))
    assert answer.code == "EXCEPTION_REFUSED"
    assert granted(failing) == []


def test_whoever_worked_on_the_mission_does_not_excuse_it(project: Project, failing: Any) -> None:
    project.record(failing, "WP01", "in_progress", "approved", actor="ada")
    answer = accept(project, excuse(project, operator="Ada"), operator="ada")
    assert "worked on this mission" in answer.json["message"]


FORGED: list[dict[str, Any]] = [
    {"expires": day(-1), "granted": day(-2)},
    {"scenario": "proof/test_it.py::*"},
    {"scenario": ""},
    {"granted": day(-3)},
    {"operator": "agent"},
    {"expires": day(300)},
    {"extra": "x"},
]


@pytest.mark.parametrize("fields", FORGED)
def test_a_row_that_kitty_would_not_have_written_excuses_nothing(
    project: Project, failing: Any, fields: dict[str, Any]
) -> None:
    project.record(failing, "WP01", "in_progress", "approved", actor="agent")
    accept(project, excuse(project))
    [payload] = granted(failing)
    project.commit("more.txt")
    path = failing.ledger.live
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    for row in rows:
        if row.get("event_type") == "GateExceptionGranted":
            row["payload"] = {**payload, **fields}
    forged = "".join(json.dumps(row, sort_keys=True) + "\n" for row in rows)
    for copy in (path, failing.ledger.twin):
        copy.write_text(forged)
    project.git("update-ref", "-d", failing.ledger.ref)
    answer = accept(project)
    assert answer.code == "GATE_FAILED", answer
    assert "1 of 2 tests failed" in gate(answer, "suite")["reason"]


def test_an_exception_is_not_for_a_test_that_was_skipped(project: Project, failing: Any) -> None:
    project.commit(
        "proof/test_it.py", GREEN + "import pytest\n@pytest.mark.skip(reason='no gold')\ndef test_three(): pass\n"
    )
    configure(project, suite())
    answer = accept(project, excuse(project, scenario="proof/test_it.py::test_three"))
    assert "skipped" in gate(answer, "suite")["reason"]
