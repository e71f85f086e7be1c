"""What a project pins, wherever it says so."""

from __future__ import annotations

from pathlib import Path

import pytest

from kitty_charter.pins import pins_of

SAID = {
    "uv.lock": ('[[package]]\nname = "a-b"\nversion = "1.0"\n[[package]]\nname = "c"\nversion = "2"\n', "==1.0"),
    "pylock.toml": ('[[packages]]\nname = "a-b"\nversion = "1.0"\n', "==1.0"),
    "pylock.dev.toml": ('[[packages]]\nname = "a-b"\nversion = "1.0"\n', "==1.0"),
    "poetry.lock": ('[[package]]\nname = "A_B"\nversion = "1.0"\n', "==1.0"),
    "requirements.txt": ("# all\n-r other.txt\n--hash=x\nc==2\nA.B[x]==1.0 \\\n  --hash=sha256:00  # so\n", "==1.0"),
    "requirements-dev.txt": ("a-b == 1.0; python_version > '3'\na-b==2; python_version < '3'\n", "==1.0"),
}
DECLARED = {
    "a dependency": ('[project]\nname = "p"\ndependencies = ["a-b>=1,<2", "c"]\n', "<2,>=1"),
    "an extra": ('[project]\nname = "p"\n[project.optional-dependencies]\nx = ["a_b[y]~=1.2"]\n', "~=1.2"),
    "a group": ('[dependency-groups]\nx = ["a-b==1.0"]\ny = [{include-group = "x"}]\n', "==1.0"),
    "the project itself": ('[project]\nname = "a.b"\nversion = "0.1"\ndependencies = ["c"]\n', "==0.1"),
}


@pytest.mark.parametrize("name", SAID)
def test_a_file_pins(tmp_path: Path, name: str) -> None:
    text, wanted = SAID[name]
    (tmp_path / name).write_text(text)
    assert [(pin.file, str(pin.allowed)) for pin in pins_of(tmp_path, "a_b").found] == [(name, wanted)]


@pytest.mark.parametrize("case", DECLARED)
def test_the_project_file_bounds(tmp_path: Path, case: str) -> None:
    text, wanted = DECLARED[case]
    (tmp_path / "pyproject.toml").write_text(text)
    assert [str(pin.allowed) for pin in pins_of(tmp_path, "a-b").found] == [wanted]


@pytest.mark.parametrize(
    "line", ["a-b", "a-b>=1 ; python_version < '3'", "c==1", "./a-b", "a-b @ https://example.invalid/a.whl"]
)
def test_what_names_no_version_pins_nothing(tmp_path: Path, line: str) -> None:
    (tmp_path / "pyproject.toml").write_text(f'[project]\nname = "p"\ndependencies = ["{line}"]\n')
    (tmp_path / "requirements.txt").write_text(f"{line.replace('c==1', 'a-b>=1')}\n")
    assert pins_of(tmp_path, "a-b").found == ()


def test_a_lock_comes_first_then_requirements_then_bounds(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "p"\ndependencies = ["a-b>=1"]\n')
    (tmp_path / "requirements.txt").write_text("a-b==1.1\n")
    (tmp_path / "uv.lock").write_text('[[package]]\nname = "a-b"\nversion = "1.1"\n')
    pins = pins_of(tmp_path, "a-b")
    assert [pin.file for pin in pins.found] == ["uv.lock", "requirements.txt", "pyproject.toml"]
    assert list(pins.contradictions) == []


def test_files_that_disagree_are_named_once(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "p"\ndependencies = ["a-b>=2"]\n')
    (tmp_path / "requirements.txt").write_text("a-b==1.1\n")
    (tmp_path / "poetry.lock").write_text('[[package]]\nname = "a-b"\nversion = "3"\n')
    assert list(pins_of(tmp_path, "a-b").contradictions) == [
        "poetry.lock has 3, but requirements.txt wants ==1.1",
        "requirements.txt has 1.1, but pyproject.toml wants >=2",
    ]


@pytest.mark.parametrize(
    "text", ["[[package", "package = 5\n", "[[package]]\nname = 5\n", '[[package]]\nname="a-b"\nversion="x"\n']
)
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "uv.lock").write_text(text)
    pins = pins_of(tmp_path, "a-b")
    assert pins.found == ()
    [said] = pins.unreadable
    assert said.startswith("uv.lock cannot be read: ")
