"""Markdown and plain text are recognised, and nothing else; the first heading is the title."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from kitty_host.records import Source
from kitty_intake.formats import recognise
from kitty_intake.text import title_of

quickly = settings(deadline=None, max_examples=60)


@quickly
@given(some.binary() | some.text().map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_utf8_without_nul_is_recognised_and_nothing_else(content: bytes) -> None:
    try:
        text = None if b"\0" in content else content.decode()
    except UnicodeDecodeError:
        text = None
    brief = recognise(Source("plan.md", content))
    if text is None:
        assert brief is None
    else:
        assert brief
        assert (brief.text, brief.size_bytes) == (text, len(content))
        assert brief.sha256 == hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize(
    ("text", "title"),
    [
        ("# Plan\n# Other\n", "Plan"),
        ("text\n\n  ### A plan for C# ##  \r\n", "A plan for C#"),
        ("# C#\n", "C#"),
        ("Plan\n====\n", "Plan"),
        ("```sh\n# comment\n```\n# Plan\n", "Plan"),
        ("````\n```\n# code\n````\n## Plan", "Plan"),
        ("~~~\n```\n# code\n~~~\n# Plan", "Plan"),
        ("#hashtag\n    # code\nno heading\n", ""),
        ("# ##\n", ""),
        ("", ""),
    ],
)
def test_the_title_is_the_first_heading_outside_of_code(text: str, title: str) -> None:
    assert title_of(text) == title


@quickly
@given(some.text(alphabet="# \t`~=\r\na"))
def test_any_text_has_a_title_or_none(text: str) -> None:
    assert "\n" not in title_of(text)
