"""The one door through which errors leave: what each kind of error becomes."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import click
import pytest

from kitty_host import report
from kitty_host.api import KittyError
from kitty_host.plugins import PluginFault, Plugins

PLUGINS = Plugins([])


@pytest.mark.parametrize(
    ("error", "exit_code", "code", "message"),
    [
        (KittyError("A_CODE", "wrong", "mend"), 1, "A_CODE", "wrong"),
        (click.UsageError("no such option"), 2, "USAGE", "no such option"),
        (click.BadParameter("five is no number"), 2, "USAGE", "Invalid value: five is no number"),
        (click.ClickException("failed"), 1, "FAILED", "failed"),
        (click.Abort(), 130, "INTERRUPTED", "interrupted"),
        (KeyboardInterrupt(), 130, "INTERRUPTED", "interrupted"),
        (ValueError("a\nb"), 3, "FAULT", "a fault in kitty-host: ValueError('a\\nb')"),
        (
            PluginFault("tool", "kitty_next", ValueError("a\nb")),
            3,
            "FAULT",
            "plugin tool: kitty_next failed: ValueError: a b",
        ),
    ],
)
def test_every_kind_of_error_has_its_code_and_its_exit_code(
    isolated: Path, capsys: pytest.CaptureFixture[str], error: BaseException, exit_code: int, code: str, message: str
) -> None:
    assert report.leave(error, PLUGINS, as_json=True) == exit_code
    told = json.loads(capsys.readouterr().out)
    assert (told["code"], told["message"]) == (code, message)
    assert report.leave(error, PLUGINS, as_json=False) == exit_code
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines()[0] == f"{code}: {message}"
    assert len(err.splitlines()) <= 2


def test_a_disk_that_is_full_of_output_is_no_fault(capsys: pytest.CaptureFixture[str]) -> None:
    assert report.leave(OSError(errno.ENOSPC, "No space left on device"), PLUGINS, as_json=False) == 1
    assert capsys.readouterr().err.startswith("DISK_FULL: ")


def test_an_error_before_plugins_are_known_leaves_by_the_same_door(
    isolated: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert report.leave(ValueError("early"), None, as_json=False) == 3
    assert "kitty-host" in capsys.readouterr().err


def test_details_that_json_does_not_know_are_written_as_text(capsys: pytest.CaptureFixture[str]) -> None:
    report.leave(KittyError("A", "b", "c", path=Path("/x"), many={1}), PLUGINS, as_json=True)
    assert json.loads(capsys.readouterr().out)["details"] == {"path": "/x", "many": "{1}"}


def test_debug_raises_what_nobody_expected_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("KITTY_DEBUG", "1")
    with pytest.raises(ZeroDivisionError):
        report.leave(ZeroDivisionError(), PLUGINS, as_json=False)
    assert report.leave(KittyError("A", "b"), PLUGINS, as_json=False) == 1


def test_a_result_is_an_object_or_a_text(capsys: pytest.CaptureFixture[str]) -> None:
    report.show({"schema": "x/1", "ü": 1}, "for people", as_json=True)
    assert json.loads(capsys.readouterr().out) == {"schema": "x/1", "ü": 1}
    report.show({"schema": "x/1"}, "for people", as_json=False)
    assert capsys.readouterr() == ("for people\n", "")
    report.show({"schema": "x/1"}, "", as_json=False)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    "text", ["a\x1b[2Jb", "a\x9b2Jb", "a\u202eb", "a\u2028b", "a\rb", "a\x85b", "a\udcffb", "a\u200bb"]
)
def test_nothing_that_is_printed_steers_a_terminal(capsys: pytest.CaptureFixture[str], text: str) -> None:
    report.show({}, text, as_json=False)
    report.note(text)
    report.leave(KittyError("CODE", text, text), PLUGINS, as_json=False)
    report.leave(click.UsageError(text), PLUGINS, as_json=False)
    for stream in capsys.readouterr():
        assert stream.replace("\n", "").isprintable()
        assert "\\u{" in stream


def test_an_error_is_two_lines_whatever_is_in_it(capsys: pytest.CaptureFixture[str]) -> None:
    error = KittyError("CODE", "what\nOTHER: this", "way\r\nand that")
    assert report.leave(error, PLUGINS, as_json=False) == 1
    assert capsys.readouterr().err == "CODE: what OTHER: this\n  way and that\n"
    report.leave(error, PLUGINS, as_json=True)
    told = json.loads(capsys.readouterr().out)
    assert (told["message"], told["hint"]) == ("what OTHER: this", "way and that")


def test_progress_goes_to_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    report.note("halfway")
    assert capsys.readouterr() == ("", "halfway\n")
