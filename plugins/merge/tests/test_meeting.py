"""What two sides have changed meets, or their merge is both changes: never the one where Git would say the other."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kitty_host.repo import Repo
from kitty_host.testing import Project
from kitty_merge.graph import Graph
from kitty_merge.meeting import Side, Step, steps
from kitty_merge.trees import Change, Entry

ONE, OTHER = Entry("100644", "1" * 40), Entry("100644", "2" * 40)


def changed(path: str) -> Change:
    return Change(path, ONE, OTHER)


def added(path: str) -> Change:
    return Change(path, None, ONE)


def removed(path: str) -> Change:
    return Change(path, ONE, None)


def meet(one: Change, other: Change) -> bool:
    side = Side()
    side.add([one])
    return side.meets([other])


MEETING = [
    (changed("a"), changed("a")),
    (removed("a"), removed("a")),
    (added("a"), added("a/b")),
    (added("a"), added("a/b/c")),
    (removed("src/a"), added("src/b")),
    (removed("src/a"), added("src/deep/er/b")),
    (removed("src/deep/a"), added("src/b")),
]
APART = [
    (changed("a"), changed("b")),
    (changed("a/b"), changed("ab")),
    (changed("src/a"), added("src/b")),
    (changed("src/a"), removed("src/b")),
    (removed("src/a"), removed("src/b")),
    (removed("src/a"), added("docs/b")),
    # Nothing moves what lies at the top.
    (removed("a"), added("b")),
    (removed("a"), added("docs/b")),
]


@pytest.mark.parametrize(("one", "other"), MEETING)
def test_these_meet_whoever_comes_first(one: Change, other: Change) -> None:
    assert meet(one, other)
    assert meet(other, one)


@pytest.mark.parametrize(("one", "other"), APART)
def test_these_do_not(one: Change, other: Change) -> None:
    assert not meet(one, other)
    assert not meet(other, one)


PATHS = st.lists(st.sampled_from("abc"), min_size=1, max_size=4).map("/".join)
CHANGES = st.builds(lambda path, make: make(path), PATHS, st.sampled_from([changed, added, removed]))


@given(st.lists(CHANGES, max_size=8), st.lists(CHANGES, max_size=8))
def test_many_meet_where_any_two_of_them_do(mine: list[Change], theirs: list[Change]) -> None:
    side = Side()
    side.add(theirs)
    assert side.meets(mine) == any(meet(one, other) for one in theirs for other in mine)


def ahead(project: Project, *heads: str) -> list[Step | None]:
    git, old = Repo.find(project.root).git, project.git("rev-parse", "main")
    return list(steps(git, Graph.read(git, heads, old), old, heads))


def lane(project: Project, name: str, start: str, **files: str | None) -> str:
    project.git("checkout", "--quiet", "-b", name, start)
    for path, content in files.items():
        if content is None:
            project.git("rm", "--quiet", path)
            project.git("commit", "--quiet", "-m", f"remove {path}")
        else:
            project.commit(path, content)
    head = project.git("rev-parse", "HEAD")
    project.git("checkout", "--quiet", "main")
    return head


def test_lanes_that_share_commits_are_merged_by_git(project: Project) -> None:
    """What the second one takes back of the first is in no difference from the target, and has to go all the same."""
    first = lane(project, "first", "main", one="1\n")
    second = lane(project, "second", "first", one=None, two="2\n")
    third = lane(project, "third", "main", three="3\n")
    known = ahead(project, first, second, third)
    assert [step is not None and step.apart is not None for step in known] == [True, False, True]


def test_a_lane_with_two_bases_is_merged_by_git(project: Project) -> None:
    """It took the target in once, so what it shares with it is more than where it was cut from."""
    first = lane(project, "first", "main", one="1\n")
    project.commit("later", "later\n")
    project.git("checkout", "--quiet", "first")
    project.git("merge", "--quiet", "--no-edit", "main")
    both = project.commit("two", "2\n")
    project.git("checkout", "--quiet", "main")
    assert first != both
    (step,) = ahead(project, both)
    assert step is not None
    assert step.apart is None


def test_what_the_target_or_another_lane_has_already_needs_no_merge(project: Project) -> None:
    first = lane(project, "first", "main", one="1\n")
    second = lane(project, "second", "first", two="2\n")
    assert ahead(project, second, first, project.git("rev-parse", "main"))[1:] == [None, None]
