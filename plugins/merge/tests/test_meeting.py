"""What two sides have changed meets, or their merge is both changes: never the one where Git would say the other."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kitty_merge.meeting import Side
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
