"""One call of a plugin has an end, prints aside, and leaves the process as it was."""

# ruff: noqa: T201 - printing is what is tested
from __future__ import annotations

import contextlib
import io
import itertools
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pytest

from kitty_host.api import KittyError
from kitty_host.containment import (
    ANSWERS,
    OUTPUT,
    TimeUp,
    TooLong,
    TooMuch,
    _Clock,
    answers,
    configured_seconds,
    contained,
    default_seconds,
)
from kitty_host.repo import Repo
from kitty_host.testing import Project

SHORT = 0.2


def sleep() -> None:
    time.sleep(3600)


def spin() -> None:
    while True:
        pass


def sleep_and_swallow_exceptions() -> None:
    while True:
        with contextlib.suppress(Exception):
            time.sleep(3600)


def swallow_everything_once() -> None:
    with contextlib.suppress(BaseException):
        time.sleep(3600)
    time.sleep(3600)


def swallow_everything_and_answer() -> str:
    with contextlib.suppress(BaseException):
        time.sleep(3600)
    return "as if nothing had been"


@pytest.fixture(autouse=True)
def as_it_was() -> Iterator[None]:
    """After every test streams, handler and timer are those of before."""
    before = (sys.stdout, sys.stderr, signal.getsignal(signal.SIGALRM), signal.getitimer(signal.ITIMER_REAL))
    yield
    assert (sys.stdout, sys.stderr, signal.getsignal(signal.SIGALRM), signal.getitimer(signal.ITIMER_REAL)) == before


# Time


@pytest.mark.parametrize(
    "hang", [sleep, spin, sleep_and_swallow_exceptions, swallow_everything_once, swallow_everything_and_answer]
)
def test_what_does_not_come_back_is_left(hang: Callable[[], object]) -> None:
    with pytest.raises(TooLong, match=r"no answer within 0.2 s \(plugins.timeout_seconds\)"):
        contained(hang, SHORT)


def test_what_comes_back_in_time_gives_its_answer() -> None:
    assert contained(lambda: 5, 60) == 5


def test_an_error_of_ones_own_passes_and_stops_the_clock() -> None:
    with pytest.raises(ZeroDivisionError):
        contained(lambda: 1 / 0, 60)


def test_without_a_limit_nothing_is_timed() -> None:
    assert contained(lambda: signal.getitimer(signal.ITIMER_REAL), None) == (0.0, 0.0)


def test_an_inner_limit_is_the_inner_ones_own() -> None:
    def outer() -> str:
        with pytest.raises(TooLong):
            contained(spin, SHORT)
        assert contained(lambda: "inner", SHORT) == "inner"
        return "outer"

    assert contained(outer, 60) == "outer"


def test_an_outer_limit_goes_on_when_the_inner_call_is_over() -> None:
    reached = []

    def outer() -> None:
        contained(lambda: reached.append("inner"), 60)
        sleep()

    with pytest.raises(TooLong, match=r"0.2 s"):
        contained(outer, SHORT)
    assert reached == ["inner"]


def test_an_outer_limit_that_ran_out_meanwhile_strikes_afterwards() -> None:
    def outer() -> None:
        contained(lambda: time.sleep(SHORT * 2), 60)
        sleep()

    with pytest.raises(TooLong, match=r"0.2 s"):
        contained(outer, SHORT)


def test_the_limit_of_somebody_further_out_passes() -> None:
    theirs = TimeUp(_Clock())

    def struck() -> None:
        raise theirs

    with pytest.raises(TimeUp) as passed:
        contained(struck, 60)
    assert passed.value is theirs


def test_a_timer_of_somebody_else_goes_on() -> None:
    struck: list[int] = []
    before = signal.signal(signal.SIGALRM, lambda number, frame: struck.append(number))
    try:
        signal.setitimer(signal.ITIMER_REAL, 600)
        contained(lambda: None, 60)
        left, _ = signal.setitimer(signal.ITIMER_REAL, 0)
        assert 0 < left <= 600
        with pytest.raises(TooLong):
            contained(spin, SHORT)
        assert struck == []
        signal.raise_signal(signal.SIGALRM)
        assert struck == [signal.SIGALRM]
    finally:
        signal.signal(signal.SIGALRM, before)


def test_in_another_thread_nothing_is_limited() -> None:
    found: list[object] = []
    thread = threading.Thread(target=lambda: found.append(contained(lambda: sys.stdout, SHORT)))
    thread.start()
    thread.join()
    assert found == [sys.stdout]


def test_an_interruption_passes() -> None:
    with pytest.raises(KeyboardInterrupt):
        contained(lambda: signal.raise_signal(signal.SIGINT), 60)


# Output


def test_what_is_printed_goes_to_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    def talk() -> None:
        print("printed")
        click.echo("echoed")
        sys.stdout.writelines(["lines\n"])
        print("complained", file=sys.stderr)

    contained(talk)
    print("afterwards")
    assert capsys.readouterr() == ("afterwards\n", "printed\nechoed\nlines\ncomplained\n")


def test_it_goes_where_standard_error_leads_just_then() -> None:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        contained(lambda: print("printed"))
    assert (out.getvalue(), err.getvalue()) == ("", "printed\n")


def test_bytes_and_children_go_there_too(capfd: pytest.CaptureFixture[str]) -> None:
    def talk() -> None:
        sys.stdout.buffer.write(b"bytes\n")
        sys.stdout.flush()
        subprocess.run(["echo", "a child"], check=True)

    contained(talk)
    os.write(1, b"afterwards\n")
    out, err = capfd.readouterr()
    assert out == "afterwards\n"
    assert sorted(err.splitlines()) == ["a child", "bytes"]


def write_much() -> None:
    print("x" * OUTPUT)


def write_often() -> None:
    while True:
        print("x" * 1000)


def write_to_both() -> None:
    for stream in (sys.stdout, sys.stderr):
        stream.write("x" * (OUTPUT // 2 + 1))


def write_bytes() -> None:
    sys.stdout.buffer.write(b"x" * (OUTPUT + 1))


def write_often_and_swallow_exceptions() -> None:
    while True:
        with contextlib.suppress(Exception):
            print("x" * 1000)


def write_much_and_swallow_everything() -> None:
    with contextlib.suppress(BaseException):
        print("x" * OUTPUT)


@pytest.mark.parametrize(
    "flood",
    [
        write_much,
        write_often,
        write_to_both,
        write_bytes,
        write_often_and_swallow_exceptions,
        write_much_and_swallow_everything,
    ],
)
@pytest.mark.parametrize("seconds", [None, 60])
def test_who_prints_without_end_is_left(
    flood: Callable[[], None], seconds: float | None, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(TooMuch, match="it printed more than 64 KiB"):
        contained(flood, seconds)
    out, err = capfd.readouterr()
    assert out == ""
    assert len(err) <= OUTPUT


def test_each_call_has_an_allowance_of_its_own() -> None:
    with contextlib.redirect_stderr(io.StringIO()):
        for _ in range(3):
            contained(lambda: print("x" * (OUTPUT - 1)))


def test_who_keeps_the_stream_may_use_it_later(capsys: pytest.CaptureFixture[str]) -> None:
    handlers: list[logging.StreamHandler[io.TextIOBase]] = []
    contained(lambda: handlers.append(logging.StreamHandler()))  # type: ignore[arg-type]
    handlers[0].emit(logging.makeLogRecord({"msg": "y" * OUTPUT * 2}))
    assert len(capsys.readouterr().err) > OUTPUT


@pytest.mark.parametrize("closed", ["1", "2"])
def test_a_closed_stream_is_survived(closed: str, tmp_path: Path) -> None:
    """What is opened first then has the number of the stream, and everything that is written to it is in it, and nothing else."""
    script = tmp_path / "script.py"
    script.write_text(
        "import os, sys\n"
        "from kitty_host.containment import contained\n"
        "with open('first', 'w') as stream:\n"
        f"    assert stream.fileno() == {closed}\n"
        "    contained(lambda: (print('printed'), os.system('echo child'), stream.write('kept'), stream.flush()))\n"
    )
    done = subprocess.run(
        ["sh", "-c", f"exec '{sys.executable}' script.py {closed}>&-"], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done
    assert (tmp_path / "first").read_text() == "kept"


# Answers


def test_as_many_answers_are_taken_as_anybody_needs() -> None:
    assert answers(iter("abc")) == ["a", "b", "c"]
    assert len(answers(range(ANSWERS))) == ANSWERS


def test_answers_without_end_are_not_waited_for() -> None:
    with pytest.raises(TooMuch, match="more than 10,000 answers"):
        answers(itertools.count())


# Where the limit comes from


def test_the_limit_is_ten_seconds_unless_the_environment_says_otherwise(
    isolated: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert default_seconds() == 10
    monkeypatch.setenv("KITTY_PLUGIN_TIMEOUT", "0.5")
    assert default_seconds() == 0.5


@pytest.mark.parametrize("text", ["soon", "", "0", "-1", "nan", "inf", "1e9"])
def test_an_environment_that_names_no_such_time_is_refused(
    isolated: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setenv("KITTY_PLUGIN_TIMEOUT", text)
    with pytest.raises(KittyError, match="KITTY_PLUGIN_TIMEOUT") as refused:
        default_seconds()
    assert refused.value.code == "CONFIG_INVALID"


def configure(project: Project, section: str) -> Repo:
    place = project.root / ".kittify" / "config.yaml"
    place.write_text(f"{place.read_text()}{section}\n")
    return Repo.find(project.root)


@pytest.mark.parametrize(
    ("section", "seconds"),
    [
        ("", 10),
        ("plugins: {timeout_seconds: 3}", 3),
        ("plugins: {timeout_seconds: 0.5}", 0.5),
        ("plugins: {another: 3}", 10),
        ("plugins:", 10),
    ],
)
def test_a_repository_may_have_a_limit_of_its_own(project: Project, section: str, seconds: float) -> None:
    assert configured_seconds(configure(project, section)) == seconds


def test_the_environment_counts_more_than_the_repository(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    repo = configure(project, "plugins: {timeout_seconds: 3}")
    monkeypatch.setenv("KITTY_PLUGIN_TIMEOUT", "2")
    assert configured_seconds(repo) == 2


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ("plugins: {timeout_seconds: soon}", "plugins.timeout_seconds"),
        ("plugins: {timeout_seconds: 0}", "'timeout_seconds' must be >= 0.01"),
        ("plugins: {timeout_seconds: .inf}", "'timeout_seconds' must be <= 86400"),
        ("plugins: [1]", "plugins is not a mapping"),
        ("plugins: {", "config.yaml, line"),
    ],
)
def test_a_limit_that_is_none_is_refused(project: Project, section: str, said: str) -> None:
    with pytest.raises(KittyError, match="CONFIG_INVALID") as refused:
        configured_seconds(configure(project, section))
    assert said in refused.value.message
