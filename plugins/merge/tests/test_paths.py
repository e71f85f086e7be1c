"""Owned paths are compared by path and glob, never as string prefixes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kitty_merge.paths import covers, overlap


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("src/foo.py", "src/foo.py"),
        ("src/**", "src/a/b.py"),
        ("src/", "src/a/b.py"),
        ("src/**/test_x.py", "src/a/**"),
        ("src/*.py", "src/f*.p?"),
        ("**", "anything/at/all"),
        ("a/**/z", "a/z"),
        ("app/[id]/page.tsx", "app/[id]/page.tsx"),
        ("src/[ab].py", "src/b.py"),
        ("./src/foo.py", "src/foo.py"),
    ],
)
def test_these_can_mean_the_same_file(one: str, other: str) -> None:
    assert overlap(one, other)
    assert overlap(other, one)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("src/foo", "src/foobar.py"),
        ("src/foo/**", "src/foobar/**"),
        ("src/*.py", "src/a/b.py"),
        ("src/**/test_x.py", "src/a/test_y.py"),
        ("docs/**", "src/**"),
        ("src/a*.py", "src/b*.py"),
    ],
)
def test_these_cannot(one: str, other: str) -> None:
    assert not overlap(one, other)
    assert not overlap(other, one)


segment = st.sampled_from(["a", "b", "ab", "*", "?", "a*", "*b", "**", "[ab]"])
pattern = st.lists(segment, min_size=1, max_size=4).map("/".join)
path = st.lists(st.sampled_from(["a", "b", "ab", "ba", "c"]), min_size=1, max_size=4).map("/".join)


@given(pattern, pattern, path)
def test_a_path_that_both_cover_is_an_overlap(one: str, other: str, name: str) -> None:
    if covers(one, name) and covers(other, name):
        assert overlap(one, other)


@given(pattern, path)
def test_a_path_overlaps_with_a_pattern_exactly_if_it_is_covered(one: str, name: str) -> None:
    if covers(one, name):
        assert overlap(one, name)
    elif "[" not in one:
        assert not overlap(one, name)


def test_a_path_with_brackets_is_taken_literally() -> None:
    assert covers("app/**", "app/[id]/page.tsx")
    assert not covers("app/[id]/page.tsx", "app/x/page.tsx")
