"""Configuration is typed, keeps the user's comments, and is never guessed."""

from __future__ import annotations

import gc
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pytest
from attrs import field, frozen, validators
from hypothesis import given
from hypothesis import strategies as st

from kitty_host import config
from kitty_host.api import KittyError
from kitty_host.config import Config, structure


@frozen
class Intake:
    max_brief_bytes: int = 5_242_880
    allow_cross_fs: bool = False
    root: str = ""
    ratio: float = 0.5
    tools: tuple[str, ...] = ()


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str | bytes], Config]:
    def make(text: str | bytes) -> Config:
        path = tmp_path / "config.yaml"
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return Config.load(path)

    return make


def refusal(act: Callable[[], object]) -> KittyError:
    with pytest.raises(KittyError) as refused:
        act()
    assert refused.value.code == "CONFIG_INVALID"
    return refused.value


def test_a_missing_file_and_an_empty_one_are_all_defaults(tmp_path: Path, write: Callable[[str], Config]) -> None:
    assert Config.load(tmp_path / "none.yaml").section("intake", Intake) == Intake()
    assert write("").section("intake", Intake) == Intake()
    assert write("# nothing yet\n").section("intake", Intake) == Intake()


def test_a_section_takes_what_is_there_and_defaults_for_the_rest(write: Callable[[str], Config]) -> None:
    config = write("intake: {max_brief_bytes: 7, tools: [a, b], unknown: kept}\n")
    assert config.section("intake", Intake) == Intake(max_brief_bytes=7, tools=("a", "b"))


def test_a_section_can_lie_deeper(write: Callable[[str], Config]) -> None:
    assert write("a: {b: {root: x}}\n").section("a.b", Intake).root == "x"
    assert write("a: null\n").section("a.b", Intake) == Intake()


@pytest.mark.parametrize(
    ("line", "key"),
    [
        ('max_brief_bytes: "7"', "max_brief_bytes"),
        ("max_brief_bytes: many", "max_brief_bytes"),
        ("max_brief_bytes: 1.5", "max_brief_bytes"),
        ("max_brief_bytes: yes", "max_brief_bytes"),
        ("max_brief_bytes: null", "max_brief_bytes"),
        ("allow_cross_fs: 'no'", "allow_cross_fs"),
        ("allow_cross_fs: 0", "allow_cross_fs"),
        ("root: 5", "root"),
        ("tools: [a, 5]", "tools"),
    ],
)
def test_a_value_of_the_wrong_type_is_an_error_that_names_its_key(
    write: Callable[[str], Config], line: str, key: str
) -> None:
    config = write(f"intake:\n  {line}\n")
    error = refusal(lambda: config.section("intake", Intake))
    assert f"intake.{key}" in error.message
    assert str(config.path) in error.message


def test_a_value_of_the_wrong_type_is_not_spelt_out_without_end(write: Callable[[str], Config]) -> None:
    some = "".join(f"k{n}: &a{n} [{', '.join([f'*a{n - 1}' if n else 'x'] * 9)}]\n" for n in range(4))
    config = write(f"{some}intake: {{root: *a3}}\n")
    assert len(refusal(lambda: config.section("intake", Intake)).message) < 500


@frozen
class Bounded:
    seconds: int = field(default=1, validator=validators.ge(1))


def test_what_a_validator_says_is_not_lost(write: Callable[[str], Config]) -> None:
    config = write("limits: {seconds: 0}\n")
    assert "'seconds' must be >= 1: 0 at limits" in refusal(lambda: config.section("limits", Bounded)).message


def test_a_whole_number_is_a_float_too(write: Callable[[str], Config]) -> None:
    assert write("intake: {ratio: 2}\n").section("intake", Intake).ratio == 2.0


@pytest.mark.parametrize("text", ["intake: [1]\n", "intake: text\n", "intake: 5\n", "intake: false\n"])
@pytest.mark.parametrize("name", ["intake", "intake.deeper"])
def test_a_section_that_is_no_mapping_is_an_error(write: Callable[[str], Config], text: str, name: str) -> None:
    config = write(text)
    assert "intake is not a mapping" in refusal(lambda: config.section(name, Intake)).message


def test_broken_yaml_is_named_with_its_line(write: Callable[[str], Config]) -> None:
    error = refusal(lambda: write("a: 1\n b: 2\n"))
    assert error.details["line"] == 2
    assert "config.yaml, line 2" in error.message


@pytest.mark.parametrize(
    "text",
    ["- a list\n", "just text\n", b"\xff\xfe\x00", b"a: \xff\n", "a: 1\na: 2\n", "a: !!python/name:os.system x\n"],
)
def test_what_is_no_plain_mapping_is_an_error(write: Callable[[str | bytes], Config], text: str | bytes) -> None:
    refusal(lambda: write(text))


MANY = 1_000_000
BOMBS = {
    "lists in lists": lambda: "[" * MANY,
    "lists in lists that are closed": lambda: "[" * MANY + "]" * MANY,
    "mappings in mappings": lambda: "{a: " * MANY,
    "lists in lists by dashes": lambda: "- " * MANY,
    "keys of keys": lambda: "? " * MANY,
    "aliases of aliases": lambda: "".join(
        f"k{n}: &a{n} [{', '.join([f'*a{n - 1}' if n else 'x'] * 9)}]\n" for n in range(40)
    ),
    "merges of merges": lambda: (
        "a0: &a0 {k: v}\n"
        + "".join(f"a{n}: &a{n}\n  <<: [{', '.join([f'*a{n - 1}'] * 9)}]\n  k{n}: 1\n" for n in range(1, 40))
    ),
    "merges of a large mapping": lambda: (
        "b: &b {"
        + ", ".join(f"k{n}: 1" for n in range(1000))
        + "}\n"
        + "".join(f"c{n}: {{<<: *b}}\n" for n in range(5000))
    ),
    "a list in itself": lambda: "a: &a [*a]\n",
    "very many values": lambda: "- a\n" * MANY,
    "very many keys": lambda: "".join(f"k{n}: 1\n" for n in range(MANY // 2)),
    "a key again and again": lambda: "a: 1\n" * MANY,
    "very many anchors": lambda: "".join(f"- &a{n} x\n" for n in range(MANY // 2)),
    "a set": lambda: "!!set {" + ", ".join(f"k{n}" for n in range(MANY // 2)) + "}",
    "a huge number": lambda: "a: " + "9" * MANY,
    "very many documents": lambda: "---\n" * MANY,
    "a number of nothing": lambda: "a: !!int ''",
    "a boolean of anything": lambda: "a: !!bool x",
    "a day that does not exist": lambda: "a: 2001-02-30",
}
READ = """
import sys, time
from pathlib import Path
from kitty_host.api import KittyError
from kitty_host.config import parse_yaml

def largest():
    return int(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM"))) * 1024

text = sys.stdin.read()
parse_yaml("a: 1", Path("x"), code="X")
before, began = largest(), time.monotonic()
try:
    parse_yaml(text, Path("x"), code="X")
except KittyError as error:
    print(largest() - before, time.monotonic() - began, error.code, error.message[:200])
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the largest resident size is read from /proc")
@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_refused_before_it_goes_off(name: str, record_property: Callable[[str, object], None]) -> None:
    done = subprocess.run([sys.executable, "-c", READ], input=BOMBS[name](), capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    grown, took, code, _ = done.stdout.split(" ", 3)
    assert code == "X"
    record_property("figure", f"memory for YAML, {name}|{int(grown) / 2**20:.0f} MiB|< 64 MiB")
    assert int(grown) < 64 << 20
    assert float(took) < 20


def test_what_is_many_but_not_too_many_is_read(write: Callable[[str], Config]) -> None:
    deep = "intake: " + "[" * 98 + "]" * 98
    assert write(deep).data["intake"] == eval("[" * 98 + "]" * 98)
    with pytest.raises(KittyError, match="nested deeper than 100"):
        write("intake: " + "[" * 100 + "]" * 100)
    assert len(write("a:\n" + "- b\n" * 49_000).data["a"]) == 49_000
    base = "base: &base {a: 1, b: 2}\nother: {<<: *base, b: 3}\n"
    assert write(base).data["other"] == {"a": 1, "b": 3}


def test_reading_again_and_again_keeps_nothing(write: Callable[[str], Config]) -> None:
    config = write("intake: {root: x}\n")

    def kept() -> int:
        for _ in range(500):
            Config.load(config.path)
        gc.collect()
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    try:
        first = kept()
        assert kept() - first < 20_000
    finally:
        tracemalloc.stop()


def test_what_a_file_says_does_not_steer_the_terminal(write: Callable[[str], Config]) -> None:
    assert refusal(lambda: write('"\\e[31m": 1\n"\\e[31m": 2\n')).message.isprintable()


def test_a_write_changes_one_value_and_keeps_comments_order_and_quotes(write: Callable[[str], Config]) -> None:
    config = write(
        "# ours\nproject:\n  uuid: 'x'  # never change\n  slug: demo\n\nmerge:\n  strategy: merge # or squash\n"
    )
    config.set("merge.strategy", "squash")
    assert config.path.read_text() == (
        "# ours\nproject:\n  uuid: 'x'  # never change\n  slug: demo\n\nmerge:\n  strategy: squash # or squash\n"
    )
    assert config.data["merge"] == {"strategy": "squash"}


def test_a_write_makes_the_file_and_the_sections_it_needs(tmp_path: Path) -> None:
    config = Config.load(tmp_path / "deep" / "config.yaml")
    config.set("review.allow_self", True)
    assert config.path.read_text() == "review:\n  allow_self: true\n"


@pytest.mark.parametrize("text", ["a: [1,\n", "- a list\n"])
def test_a_write_into_a_broken_file_is_refused_and_leaves_it_alone(
    write: Callable[[str], Config], tmp_path: Path, text: str
) -> None:
    config = write("a: 1\n")
    config.path.write_text(text)
    refusal(lambda: config.set("b", 2))
    assert config.path.read_text() == text


@frozen
class Scalars:
    """One field of each kind that is plain, and one that is not."""

    text: str = "x"
    number: int = 1
    ratio: float = field(default=0.5, validator=validators.ge(0))
    yes: bool = True
    word: Literal["a", "b", 1] = "a"
    many: tuple[str, ...] = ()


VALUES = st.one_of(st.sampled_from(["a", "b", "c", "", 1, 0, -1, True, False, None, 1.5, -0.5, (), ["x"], {"x": 1}]))


@given(
    st.dictionaries(st.sampled_from(["text", "number", "ratio", "yes", "word", "many", "other"]), VALUES, max_size=4)
)
def test_what_is_plainly_right_is_what_cattrs_makes_of_it(data: dict[str, Any]) -> None:
    def answer(read: Callable[[], Scalars]) -> object:
        try:
            return read()
        except KittyError as error:
            return error.message

    config = Config(Path("c.yaml"), {"it": data})
    slow = answer(lambda: structure(data, Scalars, where="it", path=Path("c.yaml"), code="CONFIG_INVALID"))
    assert answer(lambda: config.section("it", Scalars)) == slow


DEEP = st.one_of(
    st.integers(90, 300).map(lambda depth: "[" * depth + "]" * depth),
    st.integers(90, 300).map(lambda depth: "\n".join("[" for _ in range(depth)) + "]" * depth),
    st.integers(90, 300).map(lambda depth: "- " * depth + "x"),
    st.integers(90, 300).map(lambda depth: "-\t" * depth + "x"),
    st.integers(90, 300).map(lambda depth: "? " * depth + "x"),
    st.integers(45, 150).map(lambda depth: "\n".join(" " * level + "a:" for level in range(depth))),
    st.integers(45, 150).map(
        lambda depth: "\n".join("  " * level + "a:\n" + "  " * level + "- b:" for level in range(depth))
    ),
    st.integers(45, 150).map(lambda depth: "\x85".join(" " * level + "a:" for level in range(depth))),
    st.text(alphabet="[]{}-?: \n\tab,&*\"'|>\x85\u2028", max_size=400),
)


@given(DEEP)
def test_what_a_glance_lets_pass_is_within_bounds(text: str) -> None:
    """The glance only saves the look at every value: whatever it lets pass, that look would have let pass."""
    from ruamel.yaml.error import YAMLError

    said = ""
    if config._is_plainly_bounded(text):
        try:
            config._require_bounded(text)
        except YAMLError as error:
            said = str(error)
    assert "nested deeper" not in said
    assert "more than" not in said
