"""Git is run in English, without its caller's surroundings, and its failures are refusals."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from kitty_host.api import KittyError
from kitty_host.git import Git, GitError
from kitty_host.testing import Project


@pytest.fixture
def git(project: Project) -> Git:
    return Git(project.root)


def refusal(git: Git, *arguments: str) -> GitError:
    with pytest.raises(GitError) as failed:
        git.run(*arguments)
    return failed.value


def test_a_failure_says_what_git_said_and_how_to_see_more(git: Git) -> None:
    error = refusal(git, "cat-file", "blob", "HEAD:missing")
    assert error.code == "GIT_FAILED"
    assert error.message == "path 'missing' does not exist in 'HEAD'"
    assert error.details["command"] == "git cat-file blob HEAD:missing"
    assert error.status == error.details["status"] == 128
    assert "git cat-file blob HEAD:missing" in error.hint


def test_the_paths_of_many_commits_are_those_of_each(project: Project, git: Git) -> None:
    first = project.git("rev-parse", "HEAD")
    one = project.commit(first, "a file that is named like a commit\n")
    project.git("switch", "--quiet", "--create", "side", first)
    other = project.commit("./:100644 new\nline é.txt")
    project.git("rm", "--quiet", "README.md")
    project.git("commit", "--quiet", "-m", "remove")
    removal = project.git("rev-parse", "HEAD")
    empty = project.git("commit-tree", "-p", removal, "-m", "empty", f"{removal}^{{tree}}")
    project.git("merge", "--quiet", "--no-edit", one)
    merge = project.git("rev-parse", "HEAD")
    found = git.paths_of([merge, first, one, other, removal, empty])
    assert {commit: sorted(paths) for commit, paths in found.items()} == {
        merge: [],
        first: [".gitignore", ".kittify/config.yaml", "README.md"],
        one: [first],
        other: [":100644 new\nline é.txt"],
        removal: ["README.md"],
        empty: [],
    }
    assert git.paths_of([]) == {}


def test_an_exit_code_that_is_an_answer_is_no_failure(git: Git) -> None:
    assert git.run("config", "--get", "no.such", ok=(0, 1)).returncode == 1


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ("fatal: write error: No space left on device", "DISK_FULL"),
        ("fatal: sha1 file '.git/index.lock' write error. Out of diskspace", "DISK_FULL"),
        ("error: insufficient permission for adding an object to repository database", "READ_ONLY"),
        ("fatal: Unable to create 'index.lock': Read-only file system", "READ_ONLY"),
        ("fatal: prepare: Unable to create '/x/.git/refs/heads/main.lock': Permission denied", "READ_ONLY"),
        ("git@example.invalid: Permission denied (publickey).", "GIT_FAILED"),
        ("fatal: something else", "GIT_FAILED"),
    ],
)
def test_a_full_or_read_only_disk_is_recognised_in_what_git_says(said: str, code: str) -> None:
    assert GitError(["add"], 128, said).code == code


@pytest.mark.parametrize(
    "said", ["error: unable to write file a.txt", "fatal: couldn't write '.git/refs/heads/main.lock'"]
)
def test_of_a_write_that_failed_without_a_reason_the_disk_is_asked(said: str) -> None:
    assert GitError(["read-tree"], 128, said, full=True).code == "DISK_FULL"
    assert GitError(["read-tree"], 128, said, full=False).code == "GIT_FAILED"
    assert GitError(["read-tree"], 128, "fatal: bad revision", full=True).code == "GIT_FAILED"


def test_git_speaks_english_whatever_the_user_speaks(git: Git, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    monkeypatch.setenv("LANGUAGE", "de")
    git.run("config", "alias.say", '!printf "%s" "$LC_ALL"')
    assert git.out("say") == "C"


def test_what_git_sets_for_hooks_does_not_mislead(project: Project, git: Git, monkeypatch: pytest.MonkeyPatch) -> None:
    project.git("config", "alias.say", "!env")
    local = set(project.git("rev-parse", "--local-env-vars").split())
    for name in local - {"GIT_INTERNAL_SUPER_PREFIX"}:  # Git itself takes that one back
        monkeypatch.setenv(name, "0" if name == "GIT_CONFIG_COUNT" else "")
    seen = {line.partition("=")[0] for line in git.lines("say")}
    # What the user gave with `git -c` holds for the Git that a hook starts, too.
    assert seen & local <= {"GIT_CONFIG_PARAMETERS", "GIT_CONFIG_COUNT", "GIT_PREFIX"}


def test_a_question_refreshes_no_index(project: Project, git: Git) -> None:
    os.utime(project.root / "README.md", (1, 1))
    before = (project.root / ".git" / "index").read_bytes()
    git.run("status", "--porcelain")
    assert (project.root / ".git" / "index").read_bytes() == before


def test_variables_of_its_own_reach_one_git_and_no_other(project: Project, git: Git) -> None:
    index = project.root / "other-index"
    git.with_environment(GIT_INDEX_FILE=str(index)).run("read-tree", "HEAD")
    assert index.exists()
    assert git.with_environment(A="1").with_environment(GIT_INDEX_FILE=str(index)).lines("ls-files")
    project.git("rm", "--cached", "-q", "README.md")
    assert "README.md" not in git.lines("ls-files")


@pytest.mark.parametrize("name", ["ordinary.txt", "with space.txt", "ümlaut.txt", "separator\u2028inside.txt"])
def test_a_name_comes_back_as_it_is(project: Project, git: Git, name: str) -> None:
    project.commit(name)
    listed = "ls-tree", "--name-only", "HEAD"
    assert name in git.lines(*listed)
    assert name in git.records(*listed, "-z")


def test_nothing_is_no_line_and_no_record(git: Git) -> None:
    assert git.lines("ls-tree", "--name-only", "HEAD", "nothing") == []
    assert git.records("ls-tree", "-z", "--name-only", "HEAD", "nothing") == []


def test_a_name_that_is_no_utf8_survives_the_way_through(project: Project, git: Git) -> None:
    name = os.fsdecode(b"latin-\xe9.txt")
    project.commit(name)
    assert name in git.records("ls-tree", "-z", "--name-only", "HEAD")


def test_a_path_is_a_path_whatever_stars_it_has(project: Project, git: Git) -> None:
    for name in ("*.txt", "a.txt", "[b].txt", ":(top)c.txt"):
        project.write(name)
        git.run("add", "--", name)
        git.run("commit", "-q", "-m", "one", "--", name)
        assert git.lines("ls-files", "--", name) == [name]
    project.write(".gitignore", "*.log\n")
    assert git.succeeds("check-ignore", "--quiet", "x.log")


@pytest.mark.parametrize(("kind", "length"), [("sha1", 40), ("sha256", 64)])
def test_no_object_has_as_many_zeros_as_an_id(isolated: Path, kind: str, length: int) -> None:
    Project(isolated).git("init", "-q", f"--object-format={kind}", "x")
    assert Git(isolated / "x").null_id == "0" * length


def test_only_what_names_a_commit_is_one(project: Project, git: Git) -> None:
    head = project.git("rev-parse", "HEAD")
    assert git.commit_of("HEAD") == head
    assert git.commit_of("no-such-branch") is None
    assert git.commit_of("HEAD:README.md") is None
    assert git.commit_of("--all") is None


def test_a_commit_is_its_own_ancestor_and_not_its_childs_child(project: Project, git: Git) -> None:
    first = project.git("rev-parse", "HEAD")
    second = project.commit("second.txt")
    assert git.is_ancestor(first, second)
    assert git.is_ancestor(first, first)
    assert not git.is_ancestor(second, first)


def test_bytes_are_stored_and_read_back_without_filters(project: Project, git: Git) -> None:
    project.commit(".gitattributes", "* text eol=crlf\n")
    blob = git.write_blob(b"a\r\nb\n")
    assert project.git("cat-file", "-s", blob) == "5"
    project.commit("file", b"one\n")
    assert git.read_blob("HEAD", "file") == b"one\n"
    assert git.read_blob("HEAD", "missing") is None
    assert git.read_blob("no-such-branch", "file") is None


def test_the_version_is_two_numbers(git: Git) -> None:
    assert git.version >= (2, 0)


def test_a_machine_without_git_is_told_to_install_it(git: Git, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(KittyError) as refused:
        git.run("version")
    assert refused.value.code == "GIT_TOO_OLD"


def test_a_directory_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(KittyError) as refused:
        Git(tmp_path / "gone").run("version")
    assert refused.value.code == "WORKSPACE_ROOT_NOT_FOUND"
    assert str(tmp_path / "gone") in refused.value.message


def test_a_path_is_no_pattern(project: Project) -> None:
    for name in ("a[bc].txt", "ab.txt"):
        project.commit(name)
    assert Git(project.root).records("ls-files", "-z", "--", "a[bc].txt") == ["a[bc].txt"]


def test_hooks_of_a_commit_see_what_git_gives_them(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    seen = project.root.parent / "seen.txt"
    project.write(".git/hooks/pre-commit", f"#!/bin/sh\nenv >'{seen}'\ngit ls-files 'a*'  >>'{seen}'\n").chmod(0o755)
    project.write("a[1].txt")
    project.write("a1.txt")
    project.git("add", ".")
    Git(project.root).commit("-m", "one", paths=["a[1].txt"])
    told = seen.read_text().splitlines()
    assert "LC_ALL=C.UTF-8" in told
    assert not any(line.startswith(("GIT_LITERAL_PATHSPECS", "GIT_OPTIONAL_LOCKS")) for line in told)
    assert project.git("show", "--name-only", "--format=", "HEAD") == "a[1].txt"
    assert project.git("status", "--porcelain", "--", "a1.txt") == "A  a1.txt"
