"""Each thing that can be wrong with a plan or a brief: its code, its cause, that nothing was written, and that its hint is a way on."""

from __future__ import annotations

import hashlib
import os
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from kitty_host.testing import Project

PLAN = "# Plan\n\nDo it.\n"
BRIEF, SIDECAR = ".kittify/mission-brief.md", ".kittify/brief-source.yaml"


def nothing(project: Project) -> None:
    """The way on is in the command of the hint alone."""


def write(path: str, content: str | bytes) -> Callable[[Project], None]:
    return lambda project: project.write(path, content) and None


def both(*steps: Callable[[Project], None]) -> Callable[[Project], None]:
    return lambda project: [step(project) for step in steps] and None


def configure(settings: str) -> Callable[[Project], None]:
    """Set the section `intake`."""

    def write(project: Project) -> None:
        path = project.root / ".kittify/config.yaml"
        path.write_text(path.read_text().partition("intake:")[0] + f"intake: {{{settings}}}\n")

    return write


def pipe(project: Project) -> None:
    os.mkfifo(project.root / "plan.md")


def outside(project: Project) -> None:
    project.write("it's a plan.md", PLAN, where=project.root.parent)


def link_out(project: Project) -> None:
    (project.root / "link").symlink_to("..")


def taken_in(project: Project) -> None:
    project.write("plan.md", PLAN)
    assert project.kitty("intake", "plan.md").exit_code == 0


def tampered(project: Project) -> None:
    taken_in(project)
    path = project.root / BRIEF
    path.write_bytes(path.read_bytes().replace(b"Do it.", b"Do that."))


def broken_sidecar(project: Project) -> None:
    taken_in(project)
    (project.root / SIDECAR).write_text("{")


class Case(NamedTuple):
    """An error: how it comes about, what is typed, its code, and what its hint says to do before the same is typed again."""

    prepare: Callable[[Project], None]
    arguments: tuple[str, ...]
    code: str
    cause: str | None
    do: Callable[[Project], None] = nothing
    commands: tuple[str, ...] = ()
    """Those of the hint, which are typed too. SOURCE stands for a plan."""


CASES = {
    "no such file": Case(nothing, ("intake", "plan.md"), "INTAKE_FILE_MISSING", "No such file or directory", write("plan.md", PLAN)),
    "a file as a directory": Case(
        nothing, ("intake", "README.md/plan.md"), "INTAKE_FILE_MISSING", "Not a directory",
        both(lambda project: (project.root / "README.md").unlink(), write("README.md/plan.md", PLAN)),
    ),
    "no brief": Case(nothing, ("brief",), "INTAKE_FILE_MISSING", None, nothing, ("kitty intake SOURCE",)),
    "a name that is too long": Case(
        nothing, ("intake", "x" * 300), "INTAKE_FILE_UNREADABLE", "File name too long", nothing, ("kitty intake -",),
    ),
    "a pipe": Case(pipe, ("intake", "plan.md"), "INTAKE_FILE_UNREADABLE", "it is not a regular file", nothing, ("kitty intake -",)),
    "no UTF-8": Case(
        write("plan.md", b"# Plan\n\xff"), ("intake", "plan.md"), "INTAKE_FILE_UNDECODABLE", "invalid start byte at byte 7",
        write("plan.md", "# Plan\n\xff".encode()),
    ),
    "a NUL byte": Case(
        write("plan.md", b"# Plan\n\0"), ("intake", "plan.md"), "INTAKE_FILE_UNDECODABLE", "a NUL byte at byte 7",
        write("plan.md", b"# Plan\n"),
    ),
    "empty": Case(write("plan.md", ""), ("intake", "plan.md"), "INTAKE_EMPTY", None, write("plan.md", PLAN)),
    "blank": Case(write("plan.md", "\ufeff \n\t\n"), ("intake", "plan.md"), "INTAKE_EMPTY", None, write("plan.md", PLAN)),
    "too large": Case(
        both(write("plan.md", "x" * 101), configure("max_brief_bytes: 100")), ("intake", "plan.md"), "INTAKE_TOO_LARGE", None,
        configure("max_brief_bytes: 101"),
    ),
    "outside": Case(
        outside, ("intake", "../it's a plan.md"), "INTAKE_PATH_ESCAPE", None, nothing,
        ("kitty intake --from-outside '../it'\"'\"'s a plan.md'",),
    ),
    "a root outside": Case(
        both(link_out, write("plan.md", PLAN), configure("root: link")), ("intake", "plan.md"), "INTAKE_ROOT_INCONSISTENT", None,
        configure(""),
    ),
    "a root that is no directory": Case(
        both(write("plan.md", PLAN), configure("root: README.md")), ("intake", "plan.md"), "INTAKE_ROOT_INCONSISTENT", None,
        configure("root: ."),
    ),
    "a brief is there": Case(
        taken_in, ("intake", "plan.md"), "INTAKE_BRIEF_EXISTS", None, nothing, ("kitty brief", "kitty intake SOURCE --force"),
    ),
    "a text that was changed": Case(tampered, ("brief",), "INTAKE_BRIEF_TAMPERED", None, nothing, ("kitty intake SOURCE --force",)),
    "a sidecar that is broken": Case(
        broken_sidecar, ("brief",), "INTAKE_BRIEF_TAMPERED", "line 2: did not find", nothing, ("kitty intake SOURCE --force",),
    ),
    "several plans": Case(
        both(write(".cursor/plans/a.md", PLAN), write(".handoff/b.md", PLAN)), ("intake", "--auto"), "INTAKE_SOURCE_AMBIGUOUS", None,
        nothing, ("kitty intake SOURCE",),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("process", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_an_error_says_what_it_is_and_its_way_on_is_one(project: Project, name: str, process: bool) -> None:
    case, run = CASES[name], project.process if process else project.kitty
    case.prepare(project)
    before = project.snapshot()
    told = run(*case.arguments, "--json")
    assert (told.exit_code, told.code, told.stderr) == (1, case.code, ""), told
    shown = run(*case.arguments)
    assert (shown.exit_code, shown.stdout) == (1, ""), shown
    assert shown.stderr == f"{case.code}: {told.json['message']}\n  {told.json['hint']}\n"
    assert project.snapshot() == before, "a refusal writes nothing"
    cause = told.json["details"].get("cause")
    assert (cause is None) == (case.cause is None)
    assert (case.cause or "") in (cause or "")
    assert (cause or "") in told.json["message"]
    # Every command of the hint is one that is typed here.
    hint = told.json["hint"]
    assert [word for word in case.commands if word not in hint] == []
    assert hint.count("kitty ") == len(case.commands)
    case.do(project)
    for command in case.commands:
        plan = project.write("other.md", PLAN)
        words = ["other.md" if word == "SOURCE" else word for word in shlex.split(command)[1:]]
        done = project.kitty(*words, stdin=plan.read_bytes())
        assert done.exit_code == 0, done
    if not case.commands:
        done = project.kitty(*case.arguments)
        assert done.exit_code == 0, done
    assert project.kitty("brief").exit_code == 0


def test_the_codes_of_the_specification_are_all_there() -> None:
    page = (Path(__file__).parents[3] / "docs/errors.md").read_text()
    rows = re.findall(r"^\| `(INTAKE_\w+)` \| (?!finding)", page, re.MULTILINE)
    # What needs a second file system has a test of its own.
    assert set(rows) - {"INTAKE_CROSS_FS"} == {case.code for case in CASES.values()}


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        (b"Do it.", b"Do that.", "text"),
        (b"is untrusted", b"is trusted", "pair"),
        (b"from plan.md", b"from a friend", "pair"),
    ],
)
def test_a_brief_that_was_changed_is_named_with_both_hashes(
    project: Project, old: bytes, new: bytes, what: str
) -> None:
    taken_in(project)
    path = project.root / BRIEF
    kept = re.search(
        rf'^{"brief_hash" if what == "text" else "pair_sha256"}: "(\w+)"$',
        (project.root / SIDECAR).read_text(),
        re.MULTILINE,
    )
    assert kept
    path.write_bytes(path.read_bytes().replace(old, new))
    error = project.kitty("brief", "--json").json
    assert error["code"] == "INTAKE_BRIEF_TAMPERED"
    found = error["details"]["found"]
    if what == "text":
        assert found == hashlib.sha256(PLAN.encode().replace(old, new)).hexdigest()
    assert error["details"] == {"hash_of": what, "expected": kept[1], "found": found}
    assert found != kept[1]
    assert f"the SHA-256 of the {what} is {found}, and was {kept[1]}" in error["message"]


def test_a_brief_without_a_sidecar_has_one_hash(project: Project) -> None:
    taken_in(project)
    (project.root / SIDECAR).unlink()
    error = project.kitty("brief", "--json").json
    assert error["code"] == "INTAKE_BRIEF_TAMPERED"
    assert error["details"]["expected"] == "none"
    assert error["message"].endswith("and was none")
