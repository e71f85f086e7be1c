"""Foreign text as one harmless line, whatever it was."""

from __future__ import annotations

import unicodedata
import urllib.parse

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from kitty_host.inert import CUT, LIMIT, fenced, inert

# Surrogates too: a file name that is no UTF-8 comes with them.
texts = st.text(st.characters(), max_size=300) | st.text(
    " -#<>`*_[]()!|%\\\n\r\t\"'&=+:.~\u202e\u200b\u2028…", max_size=60
)
# What people type in titles; it does nothing in any markup.
TYPOGRAPHY = "–—‘’“”«»·×→€"
BLANK_LETTERS = "\u115f\u1160\u3164\uffa0\u2800"


@given(texts, st.booleans())
@example("--><script>", False)
@example("# heading", True)
@example("\u202egnp.exe", False)
@example("…", False)
def test_the_result_is_one_visible_line_within_its_limit(text: str, prose: bool) -> None:
    shown = inert(text, prose=prose)
    assert len(shown.encode()) <= LIMIT
    assert len(shown.splitlines()) <= 1
    for character in shown.replace(CUT, ""):
        assert character not in BLANK_LETTERS
        if not character.isascii() and not (prose and character in TYPOGRAPHY):
            assert unicodedata.category(character)[0] in "LN"
            assert unicodedata.bidirectional(character) in ("L", "EN")


@given(texts, st.booleans())
@example("a-->b", False)
@example("~~~", True)
@example("<!--", True)
def test_the_result_holds_nothing_that_markup_or_a_shell_reads(text: str, prose: bool) -> None:
    shown = inert(text, prose=prose)
    assert not set(shown) & set("<>`#*[]|\\~{}$^;\"'" if not prose else "<>`#*[]|\\~{}$^")
    assert "--" not in shown
    assert not shown.startswith(("-", "+", "=", ":", " "))


@given(texts)
def test_a_name_cannot_be_read_as_a_sentence(text: str) -> None:
    assert not set(inert(text)) & set(" ,!?")


@given(texts)
def test_what_was_not_cut_can_be_recovered(text: str) -> None:
    shown = inert(text, limit=100_000)
    assert urllib.parse.unquote_to_bytes(shown) == b"".join(
        one.encode(errors="surrogateescape" if "\udc80" <= one <= "\udcff" else "surrogatepass") for one in text
    )


@given(texts, st.integers(8, 64), st.booleans())
def test_a_cut_is_marked_once_at_the_end_and_falls_between_characters(text: str, limit: int, prose: bool) -> None:
    shown = inert(text, limit=limit, prose=prose)
    assert len(shown.encode()) <= limit
    kept = shown.removesuffix(CUT)
    assert CUT not in kept, "the mark can be forged"
    whole = inert(text, limit=100_000, prose=prose)
    assert whole.startswith(kept)
    assert (kept == whole) == (shown == kept)
    # What is left is what a shorter text would have given: no escape is torn.
    assert any(inert(text[:end], limit=100_000, prose=prose).rstrip() == kept.rstrip() for end in range(len(text) + 1))


@pytest.mark.parametrize(
    ("text", "name", "prose"),
    [
        ("docs/PLAN_v2.md", "docs/PLAN_v2.md", "docs/PLAN_v2.md"),
        ("größe 測試", "größe%20測試", "größe 測試"),
        ("a\nb", "a%0Ab", "a b"),
        ("100%", "100%25", "100%25"),
        ("-->", "%2D%2D%3E", "%2D%2D%3E"),
        ("a - b", "a%20-%20b", "a - b"),
        ("", "", ""),
    ],
)
def test_names_are_stricter_than_prose(text: str, name: str, prose: str) -> None:
    assert inert(text) == name
    assert inert(text, prose=True) == prose


@given(
    texts
    | st.lists(st.sampled_from(["`", "```", "~~~~", "\n", "\r", " ", "text", "> ", "é"]), max_size=40).map("".join)
)
@example("```\n~~~\n")
def test_a_markdown_parser_sees_a_fenced_text_as_one_block(text: str) -> None:
    body = text.encode("utf-8", "replace")
    (block,) = MarkdownIt().parse(fenced(body).decode())
    assert block.type == "fence"
    seen = (body.decode() + "\n").replace("\r\n", "\n").replace("\r", "\n").replace("\0", "\ufffd")
    assert block.content == seen
