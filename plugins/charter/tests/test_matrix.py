"""An issue is what its row says only where the evidence is there: each kind of lie is named, row by row."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kitty_charter.evidence import citations
from kitty_host.testing import Project, Result

from .test_accept import STUB, acceptances, gate, refused

TESTS = """\
import pytest

def test_it(): pass

@pytest.mark.parametrize("n", [1, 2])
def test_many(n): pass

class TestBoth:
    def test_one(self): pass

def helper(): pass
"""
HEAD = "# Issues\n\n| Issue | Title | Verdict | Evidence ref |\n|---|:-:|---|---|\n"


@pytest.fixture
def repository(project: Project) -> Project:
    """Tests that are collected, one that is not, a page with a heading, and a commit that is on no branch of ours."""
    project.commit("tests/test_a.py", TESTS)
    project.commit("tests/broken/test_b.py", "import nothing_of_the_kind\n\ndef test_b(): pass\n")
    project.commit("web/cart.test.ts", "it('adds a thing', () => {})\n")
    project.commit("docs/why.md", "# Why\n\n## A long way\n")
    return project


def matrix(*rows: tuple[str, str, str]) -> str:
    """The Markdown form."""
    return HEAD + "".join(f"| {issue} | t | {verdict} | {evidence} |\n" for issue, verdict, evidence in rows)


def as_json(rows: Any) -> str:
    """The JSON form."""
    return json.dumps({"schema_version": 1, "rows": rows})


def check(project: Project, content: str, name: str = "matrix.md") -> Result:
    return project.kitty("matrix", "check", str(project.write(name, content)), "--json")


def faults(project: Project, *rows: tuple[str, str, str]) -> list[str]:
    """What is said of a matrix that is refused."""
    answer = check(project, matrix(*rows))
    assert (answer.exit_code, answer.code) == (1, "MATRIX_UNPROVEN"), answer
    return [finding["message"] for finding in answer.json["details"]["findings"]]


def sound(project: Project) -> list[tuple[str, str, str]]:
    """A row for every way in which a thing can be proven."""
    commit = project.git("rev-parse", "HEAD~1")
    return [
        ("[#1](https://e.invalid/1)", "`fixed`", "tests/test_a.py::test_it"),
        ("#2", "Verified already fixed", f"commit {commit[:10]}"),
        ("#3", "DEFERRED_WITH_FOLLOW_UP", "#9"),
        ("#4", "fixed", "`tests/test_a.py::test_many`, tests/test_a.py::test_many[2]"),
        ("#5", "fixed", "tests/test_a.py::TestBoth::test_one; see docs/why.md"),
        ("#6", "verified-already-fixed", "docs/why.md#a-long-way"),
        ("#7", "deferred-with-followup", "owner/repo#7, https://e.invalid/x and KEY-12"),
        ("#8", "fixed", "web/cart.test.ts and tests/test_a.py"),
    ]


def test_a_matrix_whose_evidence_is_there_is_counted(repository: Project) -> None:
    answer = check(repository, matrix(*sound(repository)))
    assert answer.exit_code == 0, answer
    assert answer.json["counts"] == {"deferred-with-followup": 2, "fixed": 4, "verified-already-fixed": 2}
    assert [row["verdict"] for row in answer.json["rows"]][:3] == [
        "fixed",
        "verified-already-fixed",
        "deferred-with-followup",
    ]


@pytest.mark.parametrize(
    ("verdict", "evidence", "said"),
    [
        ("fixed", "tests/test_gone.py::test_it", "the test `tests/test_gone.py` does not exist"),
        ("fixed", "tests/test_a.py::test_gone", "the test `tests/test_a.py::test_gone` is not collected"),
        ("fixed", "tests/test_a.py::test_many[3]", "the test `tests/test_a.py::test_many[3]` is not collected"),
        ("fixed", "tests/test_a.py::helper", "the test `tests/test_a.py::helper` is not collected"),
        ("fixed", "tests/broken/test_b.py::test_b", "the test `tests/broken/test_b.py::test_b` is not collected"),
        ("fixed", "web/cart.test.ts::removes", "there is no `removes` in `web/cart.test.ts`"),
        ("fixed", "test_it", "the test `test_it` does not exist"),
        ("fixed", "deadbeef1", "commit deadbeef1 is nowhere"),
        ("fixed", "OTHER", "is not in the history"),
        ("fixed", "docs/why.md#short", "there is no #short in `docs/why.md`"),
        ("fixed", "docs/gone.md#a", "`docs/gone.md` does not exist"),
        ("fixed", "docs/why.md", "it names no test, no commit and no anchor"),
        ("fixed", "we looked and it works", "it names no test, no commit and no anchor"),
        ("fixed", "tests/test_a.py::test_it and src/gone.py", "`src/gone.py` does not exist"),
        ("fixed", "#9", "it names no test, no commit and no anchor"),
        ("fixed", "—", "there is no evidence"),
        ("deferred-with-followup", "later", "no follow-up can be found by it"),
        ("deferred-with-followup", "tests/test_a.py::test_it", "no follow-up can be found by it"),
        ("deferred-with-followup", "#1", "the follow-up `#1` is the issue itself"),
        ("unknown", "tests/test_a.py::test_it", "the verdict 'unknown' is none of"),
        ("in-mission", "tests/test_a.py::test_it", "the verdict 'in-mission' is none of"),
        ("", "tests/test_a.py::test_it", "the verdict '' is none of"),
    ],
)
def test_each_kind_of_lie_is_named(repository: Project, verdict: str, evidence: str, said: str) -> None:
    if evidence == "OTHER":
        repository.git("checkout", "--quiet", "-b", "aside")
        evidence = repository.commit("aside.txt")
        repository.git("checkout", "--quiet", "main")
    rows = [("#1", verdict, evidence), ("#2", "fixed", "tests/test_a.py::test_it")]
    [found] = faults(repository, *rows)
    assert found.startswith("#1: ")
    assert said in found


def test_twenty_seven_of_forty_six_cited_tests_that_do_not_exist_are_refused_row_by_row(repository: Project) -> None:
    """As once happened."""
    real = "".join(f"def test_{number}(): pass\n" for number in range(19))
    repository.commit("tests/test_real.py", real)
    rows = [(f"#{number}", "fixed", f"tests/test_real.py::test_{number}") for number in range(46)]
    answer = check(repository, matrix(*rows))
    found = answer.json["details"]["findings"]
    assert [one["message"].partition(":")[0] for one in found] == [f"#{number}" for number in range(19, 46)]
    assert answer.json["message"].startswith("27 of 46 issues in matrix.md are not proven")
    assert answer.json["details"]["counts"] == {"fixed": 46}


def test_two_verdicts_for_one_issue_contradict_each_other(repository: Project) -> None:
    good = "tests/test_a.py::test_it"
    assert faults(repository, ("#1", "fixed", good), ("#1", "verified-already-fixed", good)) == [
        "#1: it has several verdicts: fixed, verified-already-fixed"
    ]


def test_a_row_without_an_issue_is_refused(repository: Project) -> None:
    assert faults(repository, ("", "fixed", "tests/test_a.py::test_it")) == ["a row: it names no issue"]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("m.md", HEAD, "it has no row"),
        ("m.md", "# Issues\n\nnone\n", "it has no table"),
        ("m.md", HEAD + "<<<<<<< ours\n", "conflict markers"),
        ("m.json", "{", "Expecting property name"),
        ("m.json", "[]", "`rows` is no object"),
        ("m.json", as_json({}), "it has no row"),
        ("m.json", as_json({"#1": "fixed"}), "#1 is no object"),
        ("m.json", '{"rows": {"#1": {"verdict": "unknown"}, "#1": {}}}', "the key #1 stands twice"),
    ],
)
def test_what_is_no_matrix_is_refused(repository: Project, name: str, content: str, said: str) -> None:
    answer = check(repository, content, name)
    assert (answer.exit_code, answer.code) == (1, "MATRIX_UNREADABLE")
    assert said in answer.json["message"]


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"verdict": "fixed"}, "there is no evidence"),
        ({"verdict": ["fixed"], "evidence_ref": "x"}, "the verdict '' is none"),
        ({"verdict": "fixed\n=======\nfixed", "evidence_ref": "x"}, "the verdict"),
    ],
)
def test_json_is_judged_as_markdown_is(repository: Project, row: dict[str, Any], said: str) -> None:
    answer = check(repository, as_json({"#1": row}), "m.json")
    assert said in answer.json["message"]


def test_tests_that_cannot_be_collected_at_all_prove_nothing(repository: Project) -> None:
    repository.commit("pytest.ini", "[pytest]\naddopts = --no-such-option\n")
    [found] = faults(repository, ("#1", "fixed", "tests/test_a.py::test_it"))
    assert "no test could be collected: exit code 4" in found


def test_a_check_changes_nothing_that_git_sees(repository: Project) -> None:
    repository.commit("matrix.md", matrix(*sound(repository)))
    repository.kitty("matrix", "check", str(repository.root / "matrix.md"))
    assert repository.git("status", "--porcelain", "--ignored=matching").count("__pycache__") == 0
    assert repository.git("status", "--porcelain") == ""


def test_people_read_what_is_wrong_with_each_row(repository: Project) -> None:
    path = repository.write("m.md", matrix(("#1", "fixed", "-"), ("#2", "later", "x")))
    answer = repository.kitty("matrix", "check", str(path))
    assert "#1: there is no evidence" in answer.stderr
    assert "#2: the verdict 'later' is none of" in answer.stderr


@pytest.mark.parametrize(
    ("text", "kinds"),
    [
        ("and/or, either/or", []),
        ("facade defaced added", []),
        ("see (tests/test_a.py::test_it).", ["test"]),
        ("src/core", ["path"]),
        ("1234567", ["commit"]),
        ("v1.2/x", []),
    ],
)
def test_words_that_look_up_nothing_are_words(text: str, kinds: list[str]) -> None:
    assert [one.kind for one in citations(text, ["src/core/a.py", "tests/test_a.py"])] == kinds


# As a gate


@pytest.fixture
def mission(repository: Project, install_plugin: Callable[..., Path]) -> Any:
    """A mission that is approved."""
    install_plugin("stub", STUB)
    made = repository.mission(packages=[{"work_package_id": "WP01", "title": "One"}])
    repository.record(made, "WP01", "approved")
    return made


def test_a_sound_matrix_is_a_green_gate(repository: Project, mission: Any) -> None:
    (mission.directory / "issue-matrix.md").write_text(matrix(*sound(repository)))
    assert gate(repository.kitty("accept", "--json"), "issue-matrix")["ok"]


def test_a_matrix_with_a_doubtful_row_is_a_red_gate(repository: Project, mission: Any) -> None:
    (mission.directory / "issue-matrix.md").write_text(matrix(("#1", "fixed", "tests/test_gone.py")))
    assert refused(repository, "issue-matrix") == "issue-matrix.md: #1: the test `tests/test_gone.py` does not exist"
    (mission.directory / "issue-matrix.md").write_text("none")
    assert "it has no table" in refused(repository, "issue-matrix")
    assert acceptances(mission) == []


def test_evidence_is_looked_up_in_the_candidate_and_not_beside_it(repository: Project, mission: Any) -> None:
    (mission.directory / "issue-matrix.md").write_text(matrix(("#1", "fixed", "tests/test_new.py::test_it")))
    repository.write("tests/test_new.py", TESTS)
    repository.git("add", "tests/test_new.py")
    assert "does not exist" in refused(repository, "issue-matrix")


def test_a_mission_without_a_matrix_has_no_such_gate(repository: Project, mission: Any) -> None:
    assert [one["name"] for one in repository.kitty("accept", "--json").json["gates"]] == ["packages-approved"]


def test_the_missions_own_matrix_is_checked_where_no_file_is_named(repository: Project, mission: Any) -> None:
    assert repository.kitty("matrix", "check", "--json").code == "MATRIX_UNREADABLE"
    (mission.directory / "issue-matrix.md").write_text(matrix(*sound(repository)))
    assert repository.kitty("matrix", "check", "--json").exit_code == 0


def test_json_counts_before_markdown(repository: Project, mission: Any) -> None:
    (mission.directory / "issue-matrix.md").write_text(matrix(*sound(repository)))
    (mission.directory / "issue-matrix.json").write_text(as_json({"#1": {"verdict": "unknown"}}))
    assert refused(repository, "issue-matrix").startswith("issue-matrix.json: ")


def test_what_is_in_the_candidate_counts_and_not_what_was_mended_beside_it(repository: Project, mission: Any) -> None:
    path = f"kitty-specs/{mission.slug}/issue-matrix.md"
    repository.commit(path, matrix(("#1", "unknown", "tests")))
    repository.write(path, matrix(*sound(repository)))
    assert "unknown" in refused(repository, "issue-matrix")
    repository.commit(path, matrix(*sound(repository)))
    assert repository.kitty("accept").exit_code == 0
