"""Nothing is promoted but the very files that a consumer has verified, and the record forgets nothing."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

from kitty_charter import release_record
from kitty_charter.release_record import PLACE, REF, Verification, opened
from kitty_host.repo import Repo
from kitty_host.testing import Project, Result

WHEEL = "tiny-1.0-py3-none-any.whl"


def wheel(
    directory: Path,
    version: str = "1.0",
    name: str = "tiny",
    source: str = "",
    more: Mapping[str, str] | None = None,
    **odd: str,
) -> Path:
    """A wheel of one module, and `more` files. `odd` is what is wrong with it: another `named`, a file that is not as `listed`."""
    info = f"{name}-{version}.dist-info"
    files = {
        f"{name}.py": source or f"VERSION = {version!r}\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {odd.get('named', name)}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: hand\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        **(more or {}),
    }
    listed = {**files, **({f"{name}.py": odd["listed"]} if "listed" in odd else {})}
    rows = [f"{path},sha256={digest(content)},{len(content)}" for path, content in listed.items()]
    files[f"{info}/RECORD"] = "\n".join([*rows, f"{info}/RECORD,,"]) + "\n"
    directory.mkdir(exist_ok=True, parents=True)
    path = directory / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for inside, content in files.items():
            archive.writestr(inside, content)
    return path


def digest(content: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(content.encode()).digest()).rstrip(b"=").decode()


# Builds by handing out the wheel that the archive has inside.
BACKEND = """
import base64, pathlib

def build_wheel(directory, settings=None, metadata=None):
    name = "tiny-1.0-py3-none-any.whl"
    pathlib.Path(directory, name).write_bytes(base64.b64decode(pathlib.Path("wheel.txt").read_text()))
    return name
"""


def sdist(directory: Path, version: str = "1.0", files: Mapping[str, str] | None = None) -> Path:
    """A source archive of its metadata and some files."""
    path = directory / f"tiny-{version}.tar.gz"
    metadata = {"PKG-INFO": f"Metadata-Version: 2.1\nName: tiny\nVersion: {version}\n"}
    with tarfile.open(path, "w:gz") as archive:
        for name, text in {**metadata, **(files or {})}.items():
            member = tarfile.TarInfo(f"tiny-{version}/{name}")
            member.size = len(text.encode())
            archive.addfile(member, io.BytesIO(text.encode()))
    return path


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def rows(project: Project) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((project.root / PLACE).read_bytes())["rows"]
    return found


def refused(result: Result, code: str) -> str:
    """The refusal, and that it says how to mend it; returns both lines."""
    assert (result.exit_code, result.code) == (1, code), result
    assert result.json["hint"]
    return f"{result.json['message']}\n{result.json['hint']}"


def verified(project: Project, file: Path, *, days_ago: float = 0, **fields: Any) -> None:
    """A row as `verify` writes it, and of another day."""
    with opened(Repo.find(project.root)) as record:
        at = datetime.now(UTC) - timedelta(days=days_ago)
        made = Verification(
            at=at.isoformat(),
            actor="ci",
            distribution="tiny",
            version="1.0",
            artifact=file.name,
            sha256=sha256(file),
            consumer="https://example.invalid/consumer",
            commit="0" * 40,
            command="pytest --junitxml={report}",
            exit_code=0,
            tests=3,
            failed=0,
            skipped=0,
            ok=True,
        )
        record.append(evolve(made, **fields))


@pytest.fixture
def built(project: Project) -> Path:
    """A wheel that is the candidate."""
    project.write(".gitignore", "dist/\n")
    made = wheel(project.root / "dist")
    assert project.kitty("release", "candidate", str(made)).exit_code == 0
    return made


@pytest.fixture
def promote(project: Project) -> Callable[..., Result]:
    """`promote(version, …)`, into a directory beside the project."""

    def run(version: str = "1.0", *more: str) -> Result:
        to = str(project.root.parent / "index")
        return project.kitty("release", "promote", "tiny", version, "--to", to, "--json", *more)

    return run


# Candidates


def test_a_candidate_is_known_by_its_hash(project: Project) -> None:
    made = wheel(project.root / "dist")
    other = sdist(project.root / "dist")
    result = project.kitty("release", "candidate", str(made), str(other), "--json")
    assert result.json == {
        "schema": "kitty.release/1",
        "distribution": "tiny",
        "version": "1.0",
        "artifacts": [{"name": one.name, "sha256": sha256(one)} for one in (made, other)],
        "recorded": True,
    }
    [row] = rows(project)
    assert (row["kind"], row["directory"], row["actor"]) == ("candidate", "dist", "Test Person")
    assert row["previous"] == "0" * 64


def test_the_same_candidate_is_not_recorded_again(project: Project, built: Path) -> None:
    before = (project.root / PLACE).read_bytes()
    assert project.kitty("release", "candidate", str(built), "--json").json["recorded"] is False
    assert (project.root / PLACE).read_bytes() == before


@pytest.mark.parametrize(
    ("version", "odd", "name", "said"),
    [
        ("1.0.dev1", {}, "", "no final version"),
        ("1.0+local", {}, "", "no final version"),
        ("1.0", {"named": "huge"}, "", "not what its name says"),
        ("1.0", {"listed": "something else"}, "", "not what RECORD says"),
        ("1.0", {}, "tiny-2.0-py3-none-any.whl", "not what its name says"),
        ("1.0", {}, "tiny.whl", "not the name of a wheel"),
        ("1.0", {}, "tiny-1.0.zip", "cannot be read"),
    ],
)
def test_what_is_no_release_is_no_candidate(
    project: Project, version: str, odd: dict[str, str], name: str, said: str
) -> None:
    made = wheel(project.root / "dist", version, **odd)
    if name:
        made = made.rename(made.with_name(name))
    result = project.kitty("release", "candidate", str(made), "--json")
    assert said in refused(result, "RELEASE_ARTIFACT_INVALID")
    assert not (project.root / PLACE).exists()


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"no archive"])
@pytest.mark.parametrize("name", [WHEEL, "tiny-1.0.tar.gz"])
def test_what_cannot_be_read_is_no_candidate(project: Project, content: bytes, name: str) -> None:
    project.write(name, content)
    refused(project.kitty("release", "candidate", str(project.root / name), "--json"), "RELEASE_ARTIFACT_INVALID")


def test_two_versions_are_not_one_candidate(project: Project) -> None:
    both = [str(wheel(project.root / "dist", version)) for version in ("1.0", "2.0")]
    refused(project.kitty("release", "candidate", *both, "--json"), "RELEASE_ARTIFACT_INVALID")


def test_another_candidate_needs_a_reason_and_leaves_a_row(project: Project, built: Path) -> None:
    wheel(built.parent, source="VERSION = 'other'\n")
    again = ["release", "candidate", str(built), "--json"]
    assert "--replace --reason" in refused(project.kitty(*again), "RELEASE_CANDIDATE_EXISTS")
    assert project.kitty(*again, "--replace").exit_code == 2
    assert project.kitty(*again, "--replace", "--reason", "the first one was empty").exit_code == 0
    assert [row["reason"] for row in rows(project)] == ["", "the first one was empty"]


# Promotion


def test_what_is_verified_is_promoted_byte_by_byte(
    project: Project, built: Path, promote: Callable[..., Result]
) -> None:
    verified(project, built)
    result = promote()
    assert result.exit_code == 0, result
    published = project.root.parent / "index" / built.name
    assert published.read_bytes() == built.read_bytes()
    assert [row["kind"] for row in rows(project)] == ["candidate", "verification", "promoting", "promoted"]
    assert "promoted on" in refused(promote(), "RELEASE_PROMOTED")
    refused(project.kitty("release", "candidate", str(built), "--json"), "RELEASE_PROMOTED")


def test_nothing_is_promoted_without_a_verification(
    project: Project, built: Path, promote: Callable[..., Result]
) -> None:
    said = refused(promote(), "RELEASE_NOT_VERIFIED")
    assert f"kitty release verify {built}" in said
    assert not (project.root.parent / "index").exists()


def test_every_file_needs_a_verification_of_its_own(project: Project, promote: Callable[..., Result]) -> None:
    made = wheel(project.root / "dist")
    other = sdist(project.root / "dist")
    assert project.kitty("release", "candidate", str(made), str(other)).exit_code == 0
    verified(project, made)
    assert other.name in refused(promote(), "RELEASE_NOT_VERIFIED")
    verified(project, other)
    assert promote().exit_code == 0


def test_the_newest_verification_of_each_consumer_counts(
    project: Project, built: Path, promote: Callable[..., Result]
) -> None:
    verified(project, built)
    verified(project, built, ok=False, reason="1 of 3 tests failed")
    assert "1 of 3 tests failed" in refused(promote(), "RELEASE_NOT_VERIFIED")
    verified(project, built, consumer="somebody else")
    refused(promote(), "RELEASE_NOT_VERIFIED")
    verified(project, built)
    assert promote().exit_code == 0


def test_a_verification_is_of_the_candidate_that_is_there_now(
    project: Project, built: Path, promote: Callable[..., Result]
) -> None:
    verified(project, built)
    again = ["release", "candidate", str(built), "--replace", "--reason", "to be sure"]
    assert project.kitty(*again).exit_code == 0
    refused(promote(), "RELEASE_NOT_VERIFIED")


@pytest.mark.parametrize(("configured", "days_ago", "counts"), [("", 13, True), ("", 15, False), ("30", 15, True)])
def test_a_verification_grows_old(
    project: Project, built: Path, promote: Callable[..., Result], configured: str, days_ago: int, counts: bool
) -> None:
    if configured:
        config = project.root / ".kittify/config.yaml"
        config.write_text(f"{config.read_text()}release:\n  verification_days: {configured}\n")
    verified(project, built, days_ago=days_ago)
    if counts:
        assert promote().exit_code == 0
    else:
        assert "more than 14 days ago" in refused(promote(), "RELEASE_NOT_VERIFIED")


def test_another_version_is_no_candidate(project: Project, built: Path, promote: Callable[..., Result]) -> None:
    verified(project, built)
    assert "there are 1.0" in refused(promote("2.0"), "RELEASE_NO_CANDIDATE")


def test_one_changed_byte_refuses(project: Project, built: Path, promote: Callable[..., Result]) -> None:
    verified(project, built)
    content = bytearray(built.read_bytes())
    content[len(content) // 2] ^= 1
    built.write_bytes(content)
    refused(promote(), "RELEASE_TAMPERED")
    assert not (project.root.parent / "index").exists()
    assert rows(project)[-1]["kind"] == "verification"


def test_what_is_published_already_is_never_written_over(
    project: Project, built: Path, promote: Callable[..., Result]
) -> None:
    verified(project, built)
    there = project.write(str(project.root.parent / "index" / built.name), "another file")
    assert f"mv {there}" in refused(promote(), "RELEASE_TAMPERED")
    assert there.read_text() == "another file"
    assert rows(project)[-1]["kind"] == "promoting"


def test_files_that_lay_elsewhere_are_named(project: Project, isolated: Path, promote: Callable[..., Result]) -> None:
    made = wheel(isolated / "outside")
    assert project.kitty("release", "candidate", str(made)).exit_code == 0
    assert str(isolated) not in (project.root / PLACE).read_text()
    verified(project, made)
    assert "--from DIR" in refused(promote(), "RELEASE_ARTIFACT_INVALID")
    assert promote("1.0", "--from", str(made.parent)).exit_code == 0


def test_a_command_that_fails_to_publish_is_run_again(
    project: Project, built: Path, promote: Callable[..., Result]
) -> None:
    verified(project, built)
    refused(promote("1.0", "--publish", "false {files}"), "RELEASE_NOT_PUBLISHED")
    assert rows(project)[-1]["kind"] == "promoting"
    assert promote("1.0", "--publish", "cp {files} published").exit_code == 0
    assert (project.root / "published").read_bytes() == built.read_bytes()
    assert [row["kind"] for row in rows(project)][2:] == ["promoting", "promoted"]


def test_a_command_that_changes_what_is_published_is_found_out(
    project: Project, built: Path, promote: Callable[..., Result]
) -> None:
    verified(project, built)
    refused(promote("1.0", "--publish", "cp .kittify/config.yaml {files}"), "RELEASE_TAMPERED")
    assert rows(project)[-1]["kind"] == "promoting"


# The record


def changed(project: Project, change: Callable[[list[dict[str, Any]]], object], *, chained: bool = False) -> None:
    """Change the rows by hand; with care, so that the chain is right."""
    kept = rows(project)
    change(kept)
    if chained:
        for number, row in enumerate(kept):
            row["previous"] = release_record._digest(kept[number - 1]) if number else "0" * 64
    (project.root / PLACE).write_text(json.dumps({"schema": "kitty.release/1", "rows": kept}))


LIES: dict[str, Callable[[list[dict[str, Any]]], object]] = {
    "a row is gone from the middle": lambda kept: kept.pop(1),
    "the first row is gone": lambda kept: kept.pop(0),
    "the last row is gone": lambda kept: kept.pop(),
    "every row is gone": lambda kept: kept.clear(),
    "a red row is green": lambda kept: kept[1].update(ok=True),
    "two rows are swapped": lambda kept: kept.insert(0, kept.pop()),
    "a row is made up": lambda kept: kept.append({**kept[2], "consumer": "nobody"}),
}


@pytest.mark.parametrize("chained", [False, True])
@pytest.mark.parametrize("lie", LIES)
def test_a_record_that_was_changed_refuses(
    project: Project, built: Path, promote: Callable[..., Result], lie: str, chained: bool
) -> None:
    verified(project, built, ok=False, reason="red")
    verified(project, built)
    good = (project.root / PLACE).read_bytes()
    changed(project, LIES[lie], chained=chained)
    said = refused(promote(), "RELEASE_RECORD_CHANGED")
    for command in (["show"], ["candidate", str(built)]):
        refused(project.kitty("release", *command, "--json"), "RELEASE_RECORD_CHANGED")
    # The command of the hint mends it.
    line = said.split("run: ")[1].split("; or")[0]
    project.git("-c", f"alias.mend=!{line}", "mend")
    assert (project.root / PLACE).read_bytes() == good
    assert promote().exit_code == 0


@pytest.mark.parametrize("lie", LIES)
def test_a_clone_without_the_ref_still_has_the_commits(project: Project, built: Path, lie: str) -> None:
    verified(project, built, ok=False, reason="red")
    verified(project, built)
    project.git("add", PLACE)
    project.git("commit", "--quiet", "-m", "record")
    clone = Project(project.root.parent / "clone")
    project.git("clone", "--quiet", ".", str(clone.root))
    assert len(clone.kitty("release", "show", "--json").json["rows"]) == 3
    changed(clone, LIES[lie], chained=True)
    refused(clone.kitty("release", "show", "--json"), "RELEASE_RECORD_CHANGED")


@pytest.mark.parametrize("lie", ["a row is gone from the middle", "the first row is gone", "a red row is green"])
def test_the_chain_is_seen_to_be_broken_even_in_a_commit(project: Project, built: Path, lie: str) -> None:
    verified(project, built, ok=False, reason="red")
    verified(project, built)
    changed(project, LIES[lie])
    project.git("add", PLACE)
    project.git("commit", "--quiet", "-m", "nothing to see")
    clone = Project(project.root.parent / "clone")
    project.git("clone", "--quiet", ".", str(clone.root))
    refused(clone.kitty("release", "show", "--json"), "RELEASE_RECORD_CHANGED")


def test_rows_that_came_by_git_count(project: Project, built: Path, promote: Callable[..., Result]) -> None:
    project.git("add", PLACE)
    project.git("commit", "--quiet", "-m", "candidate")
    clone = Project(project.root.parent / "clone")
    project.git("clone", "--quiet", ".", str(clone.root))
    verified(clone, built)
    clone.git("commit", "--quiet", "-a", "-m", "verified")
    project.git("pull", "--quiet", str(clone.root), "main")
    assert promote().exit_code == 0


def test_a_row_that_is_made_up_counts_once_somebody_answers_for_it(
    project: Project, built: Path, promote: Callable[..., Result]
) -> None:
    verified(project, built, ok=False, reason="red")
    changed(project, lambda kept: kept.append({**kept[1], "ok": True, "reason": ""}), chained=True)
    assert "in no commit" in refused(promote(), "RELEASE_RECORD_CHANGED")
    project.git("add", PLACE)
    project.git("commit", "--quiet", "-m", "I say so")
    assert promote().exit_code == 0
    assert project.git("log", "-1", "--format=%an", "--", PLACE) == "Test Person"


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"schema": "kitty.release/1", "rows": [1]}', '{"schema": "x", "rows": []}', "<<<<<<<"]
)
def test_what_is_no_record_refuses(project: Project, built: Path, content: str) -> None:
    (project.root / PLACE).write_text(content)
    refused(project.kitty("release", "show", "--json"), "RELEASE_RECORD_CHANGED")


@pytest.mark.parametrize(
    "fields",
    [{"kind": "other"}, {"at": "today"}, {"at": "2026-01-01T00:00:00"}, {"ok": "yes"}, {"sha256": "x"}, {"tests": "3"}],
)
def test_a_row_that_is_none_refuses(project: Project, built: Path, fields: dict[str, str]) -> None:
    verified(project, built)
    changed(project, lambda kept: kept[-1].update(fields), chained=True)
    project.git("update-ref", "-d", REF)
    project.git("add", PLACE)
    project.git("commit", "--quiet", "-m", "record")
    refused(project.kitty("release", "show", "--json"), "RELEASE_RECORD_CHANGED")


def test_a_row_of_the_future_refuses(project: Project, built: Path, promote: Callable[..., Result]) -> None:
    verified(project, built, days_ago=-1)
    assert "of the future" in refused(promote(), "RELEASE_RECORD_CHANGED")


@pytest.mark.parametrize("at", ["prepared", "committed"])
def test_a_run_that_was_killed_while_it_wrote_is_finished_by_the_next(
    project: Project, built: Path, promote: Callable[..., Result], at: str
) -> None:
    verified(project, built)
    command = ["release", "promote", "tiny", "1.0", "--to", "index"]
    project.killed(*command, at=at, ref=REF)
    lock = project.root / ".git" / f"{REF}.lock"
    lock.unlink(missing_ok=True)  # Git's own, which a kill leaves
    assert project.kitty(*command).exit_code == 0
    assert [row["kind"] for row in rows(project)] == ["candidate", "verification", "promoting", "promoted"]
    assert project.git("show", f"{REF}:downstream-verified.json") == (project.root / PLACE).read_text().strip()


def test_many_at_once_lose_no_row(project: Project, built: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    others = [wheel(project.root / "dist", f"2.{number}") for number in range(4)]
    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(lambda one: project.process("release", "candidate", str(one)), others))
    assert [one.exit_code for one in done] == [0] * 4
    shown = project.kitty("release", "show", "tiny", "--json").json["rows"]
    assert {row["version"] for row in shown} == {"1.0", *(f"2.{number}" for number in range(4))}


# Verification by a consumer

CHECK = """
import sys, tiny
cases = {cases!r}
open(sys.argv[1], "w").write(f"<testsuite>{{cases}}</testsuite>")
{more}
"""
GREEN = '<testcase classname="test_it" name="one"/>'


def consumer(project: Project, cases: str = GREEN, more: str = "") -> Path:
    """Somebody else's repository, whose only test is a few lines that write a report."""
    theirs = Project(project.root.parent / "consumer")
    theirs.root.mkdir()
    theirs.git("init", "--quiet")
    theirs.commit("check.py", CHECK.format(cases=cases, more=more))
    theirs.git("remote", "add", "origin", "https://me:secret@example.invalid/consumer.git")
    return theirs.root


def verify(project: Project, file: Path, theirs: Path, *more: str) -> Result:
    command = ["--consumer", str(theirs), "--command", "python check.py {report}", "--json", *more]
    return project.kitty("release", "verify", str(file), *command)


def test_a_consumer_verifies_the_candidate_and_stays_as_it_was(
    project: Project, built: Path, isolated: Path, promote: Callable[..., Result]
) -> None:
    theirs = consumer(project)
    before = {path: path.read_bytes() for path in theirs.rglob("*") if path.is_file()}
    result = verify(project, built, theirs)
    assert result.exit_code == 0, result
    row = result.json["verification"]
    assert (row["ok"], row["exit_code"], row["tests"], row["failed"], row["skipped"]) == (True, 0, 1, 0, 0)
    assert (row["consumer"], row["sha256"]) == ("https://example.invalid/consumer.git", sha256(built))
    assert row["commit"] == Project(theirs).git("rev-parse", "HEAD")
    assert {path: path.read_bytes() for path in theirs.rglob("*") if path.is_file()} == before
    assert str(isolated) not in (project.root / PLACE).read_text()
    left = [path.name for path in (isolated / "home").rglob("*") if path.is_dir() and "tmp" in path.name]
    assert left == []
    assert promote().exit_code == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("cases", "more", "said"),
    [
        ("", "", "no test was collected"),
        (f"{GREEN}<testcase name='two'><skipped/></testcase>", "", "skipped"),
        (f"{GREEN}<testcase name='two'><failure/></testcase>", "sys.exit(1)", "failed"),
        (GREEN, "print(tiny.__file__); sys.exit(3)", "exit code 3"),
        (GREEN, "open(tiny.__file__, 'a').write('x = 1')", "after the tests, tiny.py is not what"),
    ],
    ids=["empty", "skipped", "failed", "exit code", "changed"],
)
def test_what_is_not_plainly_green_is_red_and_recorded(
    project: Project, built: Path, isolated: Path, promote: Callable[..., Result], cases: str, more: str, said: str
) -> None:
    result = verify(project, built, consumer(project, cases, more))
    assert said in refused(result, "RELEASE_NOT_VERIFIED")
    assert rows(project)[-1]["ok"] is False
    assert said in rows(project)[-1]["reason"]
    assert str(isolated) not in (project.root / PLACE).read_text()
    refused(promote(), "RELEASE_NOT_VERIFIED")


@pytest.mark.slow
def test_a_consumer_that_installs_another_version_verifies_nothing(project: Project, built: Path) -> None:
    other = wheel(project.root / "elsewhere", "0.9")
    result = verify(project, built, consumer(project), "--install", f"--no-index {other}")
    assert "installing failed" in refused(result, "RELEASE_NOT_VERIFIED")
    theirs = Project(project.root.parent / "consumer")
    install = f"import subprocess; subprocess.run(['pip', 'install', '--no-index', {str(other)!r}], check=True)"
    theirs.commit("check.py", CHECK.format(cases=GREEN, more=install))
    result = verify(project, built, theirs.root)
    assert "0.9 is installed, and not 1.0" in refused(result, "RELEASE_NOT_VERIFIED")


@pytest.mark.slow
def test_a_consumer_with_a_copy_of_its_own_verifies_nothing(project: Project, built: Path) -> None:
    theirs = consumer(project)
    Project(theirs).commit("tiny.py", "VERSION = 'mine'\n")
    assert "copy of tiny.py" in refused(verify(project, built, theirs), "RELEASE_NOT_VERIFIED")


@pytest.mark.slow
def test_a_source_archive_is_verified_by_what_becomes_of_it(project: Project) -> None:
    files = {
        "pyproject.toml": '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n',
        "backend.py": BACKEND,
        "wheel.txt": base64.b64encode(wheel(project.root / "inside").read_bytes()).decode(),
    }
    project.write(".gitignore", "dist/\n")
    (project.root / "dist").mkdir()
    made = sdist(project.root / "dist", files=files)
    assert project.kitty("release", "candidate", str(made)).exit_code == 0
    theirs = consumer(project)
    result = verify(project, made, theirs)
    assert result.exit_code == 0, result
    # The wheel of the same version is not the archive.
    install = (
        "import subprocess; subprocess.run(['pip', 'install', '--force-reinstall', '--no-index', {!r}], check=True)"
    )
    more = install.format(str(project.root / "inside" / WHEEL))
    Project(theirs).commit("check.py", CHECK.format(cases=GREEN, more=more))
    assert "from another file" in refused(verify(project, made, theirs), "RELEASE_NOT_VERIFIED")


@pytest.mark.slow
def test_files_that_the_installer_moves_are_compared_too(project: Project) -> None:
    script, data = "tiny-1.0.data/scripts/hello", "tiny-1.0.data/data/share/tiny/words.txt"
    made = wheel(project.root / "dist", more={script: "#!python\nprint('hello')\n", data: "words\n"})
    assert project.kitty("release", "candidate", str(made)).exit_code == 0
    theirs = consumer(project)
    result = verify(project, made, theirs)
    assert result.exit_code == 0, result
    change = "import os; open(os.path.join(sys.prefix, {!r}), 'a').write('more')"
    for place, name in (("share/tiny/words.txt", "words.txt"), ("bin/hello", "hello")):
        Project(theirs).commit("check.py", CHECK.format(cases=GREEN, more=change.format(place)))
        assert f"{name} is not what" in refused(verify(project, made, theirs), "RELEASE_NOT_VERIFIED")


def test_only_a_candidate_is_verified(project: Project, built: Path) -> None:
    theirs = consumer(project)
    refused(verify(project, wheel(project.root / "dist", "2.0"), theirs), "RELEASE_NO_CANDIDATE")
    refused(verify(project, wheel(built.parent, source="x = 1\n"), theirs), "RELEASE_TAMPERED")
    assert len(rows(project)) == 1


def test_a_consumer_is_a_clean_repository_of_somebody_else(project: Project, built: Path, isolated: Path) -> None:
    theirs = consumer(project)
    (theirs / "more.py").touch()
    assert "in no commit" in refused(verify(project, built, theirs), "RELEASE_CONSUMER_INVALID")
    assert "of its own" in refused(verify(project, built, project.root), "RELEASE_CONSUMER_INVALID")
    (isolated / "plain").mkdir()
    refused(verify(project, built, isolated / "plain"), "RELEASE_CONSUMER_INVALID")
    refused(verify(project, built, isolated / "nowhere"), "RELEASE_CONSUMER_INVALID")
    assert len(rows(project)) == 1
