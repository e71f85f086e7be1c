"""Objects that are read by one Git and written by another are the ones that Git itself makes."""

from __future__ import annotations

import gc
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kitty_host.git import Git, GitError
from kitty_host.testing import Project


@pytest.fixture
def git(project: Project) -> Git:
    return Git(project.root)


@given(contents=st.lists(st.binary(max_size=300), max_size=5), long=st.integers(0, 70_000))
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_was_added_is_there_for_everybody_once_it_is_flushed(git: Git, contents: list[bytes], long: int) -> None:
    wanted = [*contents, b"x" * long]
    made = [git.objects.add("blob", content) for content in wanted]
    assert [git.objects.read(one) for one in made] == wanted
    git.objects.flush()
    assert made == [git.out("hash-object", "-t", "blob", "--stdin", stdin=content) for content in wanted]
    assert [git.run("cat-file", "blob", one).stdout for one in made] == wanted
    assert [Git(git.directory).objects.read(one) for one in made] == wanted


def test_before_that_nobody_else_has_it(git: Git) -> None:
    made = git.objects.add("blob", b"pending")
    assert (git.objects.read(made), git.objects.size(made)) == (b"pending", 7)
    assert Git(git.directory).objects.read(made) is None
    assert git.objects.id_of("blob", b"pending") == made


@pytest.mark.parametrize("message", ["one line", "one line\n", "title\n\nbody\n\nTrailer: x\n", "ä \udce9\n", ""])
def test_a_commit_is_the_one_that_git_makes(git: Git, monkeypatch: pytest.MonkeyPatch, message: str) -> None:
    monkeypatch.setenv("GIT_AUTHOR_DATE", "1700000000 +0100")
    monkeypatch.setenv("GIT_COMMITTER_DATE", "1700000001 -0930")
    monkeypatch.setenv("GIT_AUTHOR_NAME", "Ä. Üthor")
    head, tree = git.out("rev-parse", "HEAD"), git.out("rev-parse", "HEAD^{tree}")
    for parents in ([], [head], [head, git.commit_tree(tree, [head], "other")]):
        made = git.objects.commit(tree, parents, message)
        git.objects.flush()
        assert made == git.commit_tree(tree, parents, message)
    assert git.out("fsck", "--strict", "--no-dangling", "--no-progress") == ""


def test_who_is_nobody_commits_nothing(git: Git, project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    project.git("config", "user.useConfigOnly", "true")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    with pytest.raises(GitError, match="GIT_FAILED"):
        git.objects.commit(git.out("rev-parse", "HEAD^{tree}"), [], "x")


def test_another_encoding_is_written_by_git_itself(git: Git, project: Project) -> None:
    project.git("config", "i18n.commitEncoding", "ISO-8859-1")
    made = git.objects.commit(git.out("rev-parse", "HEAD^{tree}"), [], "x\n")
    assert "encoding ISO-8859-1" in project.git("cat-file", "commit", made)


def test_names_of_all_kinds_are_answered_and_what_is_none_is_none(git: Git, project: Project) -> None:
    project.commit("a b.txt", "with a blank\n")
    head = project.git("rev-parse", "HEAD")
    found = git.objects.find("HEAD:a b.txt")
    assert found is not None
    assert (found.kind, found.content) == ("blob", b"with a blank\n")
    tree = git.objects.find(f"{head}^{{tree}}")
    assert tree is not None
    assert (tree.id, tree.kind) == (project.git("rev-parse", "HEAD^{tree}"), "tree")
    for name in ("HEAD:none", "HEAD:none with blanks", "none", "f" * 40, "f" * 6, "", "HEAD:a b.txt x"):
        assert git.objects.find(name) is None, name
        assert git.objects.size(name) is None, name
    assert git.objects.size("HEAD:a b.txt") == 13


def test_objects_that_come_later_are_seen(git: Git, project: Project) -> None:
    assert git.objects.find("refs/heads/other") is None
    commit = project.commit("later.txt", "later\n")
    project.git("branch", "other")
    found = git.objects.find("refs/heads/other")
    assert found is not None
    assert found.id == commit
    project.git("gc", "--quiet", "--prune=now")
    assert git.objects.read("HEAD:later.txt") == b"later\n"


def test_the_git_that_reads_ends_with_its_owner(project: Project, processes_of: Callable[[], set[str]]) -> None:
    git = Git(project.root)
    git.objects.find("HEAD")
    assert processes_of() == {"cat-file"}
    del git
    gc.collect()
    assert processes_of() == set()


@pytest.fixture
def processes_of() -> Callable[[], set[str]]:
    """The commands of Gits that are children of this process."""
    import os
    from pathlib import Path

    def found() -> set[str]:
        children = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()
        lines = (Path(f"/proc/{child}/cmdline").read_bytes().split(b"\0") for child in children)
        return {line[1].decode() for line in lines if line[0].endswith(b"git")}

    return found


VALUES = ["true", "TRUE", "yes", "on", "1", "2", "01", "-1", "+1", "false", "no", "off", "0", "00", "", None]


@pytest.mark.parametrize("value", VALUES)
def test_a_truth_value_is_what_git_takes_it_for(project: Project, value: str | None) -> None:
    with (project.root / ".git/config").open("a") as stream:
        stream.write("[Kitty]\n\tSome" + ("" if value is None else f" = {value}") + "\n")
    git = Git(project.root)
    assert git.is_set("kitty.some") == (git.out("config", "--type=bool", "--get", "kitty.some") == "true")
    assert git.is_set("kitty.other") is None


def test_settings_keep_what_stands_in_their_middle(project: Project) -> None:
    project.git("config", "Remote.My Origin.URL", "line one\nline two")
    project.git("config", "--add", "Remote.My Origin.URL", "the last one")
    assert Git(project.root).settings["remote.My Origin.url"] == "the last one"
