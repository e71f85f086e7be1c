"""Several files as one text, and back, whatever they are called and whatever they say."""

from __future__ import annotations

from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as some

from kitty_host.bundle import MAX_FILES, bundle, unbundle
from kitty_host.records import Source

HEADER = "=== a.md, 3 bytes ===\n"
NAMES = (
    some.text(some.characters(), min_size=1, max_size=20)
    | some.sampled_from(["a b.md", "a\n=== b, 1 bytes ===", "%41"])
).filter(lambda name: "\0" not in name and "/" not in name)
CONTENTS = some.binary(max_size=50) | some.sampled_from([HEADER.encode(), HEADER.encode() * 2, b"", b"\n", b"\n\n"])


@given(some.dictionaries(some.lists(NAMES, min_size=1, max_size=3).map("/".join), CONTENTS, min_size=1, max_size=5))
def test_what_was_bundled_comes_back(files: dict[str, bytes]) -> None:
    # Names that are no UTF-8 come from the system as surrogates of one kind; others cannot be told from their bytes.
    files = {name: content for name, content in files.items() if not has_surrogates(name)}
    content = bundle(files)
    assert unbundle(content) == files
    assert list(unbundle(content)) == sorted(files)


def has_surrogates(name: str) -> bool:
    return any("\ud800" <= one <= "\udfff" for one in name)


def test_a_name_that_is_no_text_comes_back() -> None:
    assert unbundle(bundle({"caf\udce9.md": b"x"})) == {"caf\udce9.md": b"x"}


def test_a_bundle_is_readable() -> None:
    assert bundle({"b.md": b"two", "a b.md": b"# One\n"}) == (
        b"=== a%20b.md, 6 bytes ===\n# One\n\n=== b.md, 3 bytes ===\ntwo\n"
    )


@given(some.binary() | some.text("=ab.md, 3 bytes\n").map(str.encode))
def test_what_is_taken_for_a_bundle_is_one(content: bytes) -> None:
    found = unbundle(content)
    assert found == {} or bundle(found) == content


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"# A plan\n",
        b"=== a.md, 4 bytes ===\nabc\n",
        b"=== a.md, 3 bytes ===\nabc",
        b"=== a.md, 3 bytes ===\nabc\nmore",
        b" === a.md, 3 bytes ===\nabc\n",
        b"=== b.md, 1 bytes ===\nb\n=== a.md, 1 bytes ===\na\n",
        b"=== a.md, 1 bytes ===\nb\n=== a.md, 1 bytes ===\na\n",
        b"=== a.md, 03 bytes ===\nabc\n",
        b"=== %61.md, 3 bytes ===\nabc\n",
        b"=== a.md, 999999999999 bytes ===\nabc\n",
        b"=== \xff.md, 3 bytes ===\nabc\n",
    ],
)
def test_a_text_that_only_looks_like_a_bundle_is_a_text(content: bytes) -> None:
    assert unbundle(content) == {}


def test_a_bundle_has_so_many_files_and_no_more() -> None:
    files = {f"{number:04}.md": b"" for number in range(MAX_FILES)}
    assert len(unbundle(bundle(files))) == MAX_FILES
    assert unbundle(bundle({**files, "more.md": b""})) == {}


def test_a_source_knows_its_files() -> None:
    files = {"spec.md": b"# S\n", "specs/a/spec.md": b"x"}
    assert dict(Source("plan", bundle(files)).files) == files
    assert Source("plan.md", b"# S\n").files == {}
    assert all(not PurePosixPath(path).is_absolute() for path in files)
