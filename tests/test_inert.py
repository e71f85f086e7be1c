"""Foreign text as one harmless line, whatever it was."""

from __future__ import annotations

import unicodedata
import urllib.parse
from collections.abc import Callable, Iterator

import html5lib
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from kitty_host.inert import CUT, LIMIT, fenced, inert, pattern, visible

# Surrogates too: a file name that is no UTF-8 comes with them.
texts = st.text(st.characters(), max_size=300) | st.text(
    " -#<>`*_[]()!|%\\\n\r\t\"'&=+:.~\u202e\u200b\u2028…", max_size=60
)
# What people type in titles; it does nothing in any markup.
TYPOGRAPHY = "–—‘’“”«»·×→€"
WITHOUT_A_SHAPE = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
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


@given(texts)
def test_a_title_that_is_shown_twice_is_encoded_once(text: str) -> None:
    once = inert(text, prose=True, limit=100_000)
    assert inert(once, prose=True, limit=100_000) == once


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
        ("1. First", "1%2E%20First", "1%2E First"),
        ("1.", "1%2E", "1%2E"),
        ("1.1", "1.1", "1.1"),
        ("pkg/__init__.py", "pkg/__init%5F%5F.py", "pkg/__init%5F%5F.py"),
        ("", "", ""),
    ],
)
def test_names_are_stricter_than_prose(text: str, name: str, prose: str) -> None:
    assert inert(text) == name
    assert inert(text, prose=True) == prose


@pytest.mark.parametrize(
    ("text", "limit", "shown"),
    [
        ("a" * 256, LIMIT, "a" * 256),
        ("a" * 257, LIMIT, "a" * 253 + CUT),
        ("é" * 128, LIMIT, "é" * 128),
        ("é" * 128 + "a", LIMIT, "é" * 126 + CUT),
        ("ééé", 5, "é" + CUT),
        ("ééé", 4, CUT),
        ("日日", 4, CUT),
    ],
)
def test_a_line_has_256_bytes_or_what_is_asked_for_and_no_character_less(text: str, limit: int, shown: str) -> None:
    assert inert(text, limit=limit) == shown


@pytest.mark.parametrize("one", ["-", "+", "=", ":"])
def test_what_could_open_a_list_a_heading_or_a_formula_is_encoded_where_a_text_begins(one: str) -> None:
    assert inert(f"{one}a", prose=True) == f"%{ord(one):02X}a"
    assert inert(f"a{one}", prose=True) == f"a{one}"


def test_letters_and_digits_of_every_script_that_runs_from_left_to_right_stay() -> None:
    assert inert("Éé中ǅ०０") == "Éé中ǅ०０"
    assert inert("א²") == "%D7%90%C2%B2"


@pytest.mark.parametrize("blank", BLANK_LETTERS)
def test_a_letter_that_nobody_sees_is_encoded(blank: str) -> None:
    assert inert(blank) == "".join(f"%{byte:02X}" for byte in blank.encode())
    assert visible(blank) == f"\\u{{{ord(blank):x}}}"


@pytest.mark.parametrize(
    ("text", "encoded"),
    [
        *(("\udc80", "%80"), ("\udcff", "%FF")),  # a byte of a file name that is no UTF-8
        *(("\udc7f", "%ED%B1%BF"), ("\udd00", "%ED%B4%80"), ("\ud800", "%ED%A0%80")),
    ],
)
def test_half_a_character_is_encoded_as_the_byte_that_it_was_or_as_itself(text: str, encoded: str) -> None:
    assert inert(text) == encoded


def test_the_wildcards_of_a_path_stay_and_what_ends_its_code_or_a_cell_does_not() -> None:
    assert pattern("docs/größe/**/[a-z]?.{md,txt}") == "`docs/größe/**/[a-z]?.{md,txt}`"
    assert pattern("a`b|c<d>\n") == "`a%60b%7Cc%3Cd%3E%0A`"


def test_a_path_is_cut_after_256_characters_and_that_is_marked() -> None:
    assert pattern("a" * 256) == f"`{'a' * 256}`"
    assert pattern("a" * 257) == f"`{'a' * 256}{CUT}`"


@pytest.mark.parametrize(
    ("body", "fence"),
    [
        (b"a", b"```"),
        (b"a ``` b", b"~~~"),
        (b"a ``` b ~~~~~ c", b"````"),
        (b"a ```` b ~~~ c", b"~~~~"),
    ],
)
def test_the_shorter_fence_is_taken_and_it_is_no_longer_than_it_must_be(body: bytes, fence: bytes) -> None:
    assert fenced(body) == fence + b"text\n" + body + b"\n" + fence + b"\n"


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


# The places in which kitty writes foreign text, and the elements that a page has there anyway.
PLACES = {
    "provenance in a comment": "<!-- spec-kitty intake: ingested from {} at now -->\n\nafter\n",
    "a line": "{}\n\nafter\n",
    "in a sentence": "Taken from a foreign plan, {}, today.\n\nafter\n",
    "the rest of a line": "Mission a: {}\n\nafter\n",
    "a heading": "# {}\n\nafter\n",
    "an entry of a list": "- {}\n- {} ({})\n\nafter\n",
    "a header of a file in a bundle": "=== {}, 5 bytes ===\n\nafter\n",
    "a cell": "| a | b |\n|---|---|\n| {} | {} |\n\nafter\n",
}
NAME: Callable[[str], str] = inert
SHOWN: dict[str, Callable[[str], str]] = {"name": NAME, "prose": lambda text: inert(text, prose=True), "path": pattern}
hostile = texts | st.binary(max_size=200).map(lambda content: content.decode("utf-8", "surrogateescape"))


def elements(page: str) -> list[str]:
    """The elements and comments of a page, in order, as a browser finds them."""
    found: list[str] = []
    waiting = [html5lib.parse(page, treebuilder="dom")]
    while waiting:
        one = waiting.pop()
        waiting += reversed(one.childNodes)
        found += [one.nodeName] if one.nodeType in (one.ELEMENT_NODE, one.COMMENT_NODE) else []
    return found


def kinds(markdown: str) -> Iterator[str]:
    """The kinds of blocks and of inline parts of a Markdown text."""
    for token in MarkdownIt("commonmark").enable("table").parse(markdown):
        yield token.type
        yield from (child.type for child in token.children or () if child.type != "text")


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("way", SHOWN)
@settings(max_examples=20)
@given(text=hostile)
@example(text="--><b>x</b>")
@example(text="--!><b>x</b>")
@example(text=">x")
@example(text="->x")
@example(text="a\n# b\n\n- c\r---\n===")
@example(text="<!--")
@example(text="[a](b) ![c](d) <http://e.f> `g` **h** _i_ __j__ &lt; &#60;b>")
@example(text="1. x")
@example(text="1) x")
@example(text="    x")
@example(text="\x1b]0;x\x07\u202e\u2028")
def test_two_real_parsers_find_in_it_what_they_find_in_a_word(place: str, way: str, text: str) -> None:
    shown = SHOWN[way](text)
    word = SHOWN[way]("word")
    page, plain = (PLACES[place].replace("{}", one or word) for one in (shown, word))
    assert page.count("\n") == plain.count("\n")
    assert all(unicodedata.category(one) not in WITHOUT_A_SHAPE for one in shown)
    assert elements(page) == elements(plain)
    assert list(kinds(page)) == list(kinds(plain))
    assert elements(MarkdownIt("commonmark").render(page)) == elements(MarkdownIt("commonmark").render(plain))


@given(hostile)
def test_what_is_printed_has_a_shape_and_a_command_in_it_stays_one(text: str) -> None:
    shown = visible(text)
    assert all(one in "\n\t" or unicodedata.category(one) not in WITHOUT_A_SHAPE for one in shown)
    assert "\n" not in visible(text, lines=False)
    assert visible(shown) == shown
    command = "kitty review WP01 --mission 'größe 測試\u3000x' && echo \"<$HOME>\" # 100%\n\tnext"
    assert visible(command) == command
