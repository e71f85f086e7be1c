"""Runs a declared command and judges what came of it: its exit code, and its tests as counted in a machine-readable report.

It decides nothing about candidates or releases, and believes no command that says "ok" about nothing.
"""

from __future__ import annotations

import contextlib
import shlex
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from attrs import evolve, frozen

from kitty_host.files import make_directory
from kitty_host.git import user_environment
from kitty_host.inert import inert, pattern
from kitty_host.records import Suite
from kitty_host.report import counted
from kitty_host.system import end_session

_GRACE = 5.0
"""Seconds between the request to stop and the end."""
_NAMED = 3
"""How many tests a reason names."""


@frozen
class Case:
    """A test that did not simply pass."""

    name: str
    """`tests.test_a::test_it[1]`: module or class as the report has it, and the test's own name."""
    how: Literal["failed", "skipped"]
    text: str
    """What the report says about it."""


@frozen
class Outcome:
    """What came of a suite."""

    exit_code: int | None
    """Negative for a signal; None where it was stopped, or never began."""
    seconds: float
    log: Path
    """Everything it printed."""
    tests: int | None = None
    """None where no report is asked for, or none could be read."""
    cases: tuple[Case, ...] = ()
    trouble: str = ""
    """Why there is nothing to be judged: a time-out, a signal, no report. Empty otherwise."""

    def number(self, how: str) -> int | None:
        """How many tests failed, or were skipped."""
        return None if self.tests is None else sum(case.how == how for case in self.cases)


def run(
    suite: Suite, directory: Path, scratch: Path, variables: Mapping[str, str] | None = None, *, lock: int | None = None
) -> Outcome:
    """Run a suite in a directory; log and report are written into `scratch`.

    `lock` is a descriptor that the command inherits: should it outlive kitty, the lock is held until it ends. When its time is over, and
    when kitty is interrupted, everything of its session is ended.
    """
    make_directory(scratch)
    report, log = scratch / "report.xml", scratch / "output.log"
    report.unlink(missing_ok=True)
    try:
        command = [part.replace("{report}", str(report)) for part in shlex.split(suite.command)]
    except ValueError as error:
        return Outcome(None, 0.0, log, trouble=f"the command cannot be split: {error}")
    begun = time.monotonic()
    with log.open("wb") as output:
        exit_code, trouble = _end_of(
            command, directory, {**user_environment(), **(variables or {})}, output, suite.timeout_seconds, lock
        )
    outcome = Outcome(exit_code, round(time.monotonic() - begun, 3), log, trouble=trouble)
    return outcome if trouble or not suite.minimum_tests else _counted(outcome, report)


def verdict(suite: Suite, outcome: Outcome, *, excused: Sequence[Case] = ()) -> str:
    """Why it is not green; empty where it is. `excused` are failures that somebody has answered for."""
    if outcome.trouble:
        return outcome.trouble
    left = [case for case in outcome.cases if case not in excused]
    for how in ("failed", "skipped"):
        found = [case.name for case in left if case.how == how]
        if found:
            named = ", ".join(pattern(name) for name in found[:_NAMED])
            more = f" and {len(found) - _NAMED} more" if len(found) > _NAMED else ""
            return f"{len(found)} of {counted(outcome.tests or 0, 'test')} {how}: {named}{more}"
    if outcome.tests == 0:
        return "no test was collected"
    if outcome.exit_code and not (excused and outcome.exit_code == 1):
        return f"exit code {outcome.exit_code}; {last_words(outcome.log)}"
    if outcome.tests is not None and outcome.tests < suite.minimum_tests:
        return f"{counted(outcome.tests, 'test')} collected, at least {suite.minimum_tests} expected"
    return ""


def last_words(log: Path) -> str:
    """The last two lines that a command printed, what is wrong and how to mend it where it is one of kitty's, and where the rest stands."""
    with log.open("rb") as stream:
        stream.seek(max(0, log.stat().st_size - 4096))
        # Rules are drawn around what test runners say last.
        lines = [said for line in stream.read().decode(errors="replace").splitlines() if (said := line.strip(" =-_"))]
    said = "; ".join(inert(line, prose=True) for line in lines[-2:])
    return f"{said} (all of it: {log})" if said else "it printed nothing"


def _end_of(
    command: Sequence[str],
    directory: Path,
    environment: Mapping[str, str],
    output: Any,
    timeout: float,
    lock: int | None,
) -> tuple[int | None, str]:
    try:
        process = subprocess.Popen(
            command,
            cwd=directory,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            pass_fds=() if lock is None else (lock,),
        )
    except (OSError, ValueError, IndexError) as error:
        what = command[0] if command else ""
        return None, f"{inert(what, prose=True) or 'an empty command'} cannot be run: {error}"
    with _ended(process):
        try:
            exit_code = process.wait(timeout)
        except subprocess.TimeoutExpired:
            return None, f"it was stopped after {timeout:g} seconds (its output: {output.name})"
    if exit_code < 0:
        with contextlib.suppress(ValueError):
            return exit_code, f"it was killed by {signal.Signals(-exit_code).name} (its output: {output.name})"
        return exit_code, f"it was killed by signal {-exit_code} (its output: {output.name})"
    return exit_code, ""


@contextlib.contextmanager
def _ended(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """Afterwards nothing of its session runs, whatever it has left in the background."""
    try:
        yield
    finally:
        end_session(process, _GRACE)


def _counted(outcome: Outcome, report: Path) -> Outcome:
    # Reading XML takes as long to load as a small command.
    from kitty_charter.junit import Unreadable, read

    try:
        tests, cases = read(report)
    except FileNotFoundError:
        return evolve(outcome, trouble=_unreported(outcome))
    except Unreadable as error:
        return evolve(outcome, trouble=str(error))
    return evolve(outcome, tests=tests, cases=cases)


def _unreported(outcome: Outcome) -> str:
    if outcome.exit_code:
        return f"exit code {outcome.exit_code} and no report; {last_words(outcome.log)}"
    return "it wrote no report: let it write JUnit XML to {report}, as in pytest --junitxml={report}"


def same_test(name: str, scenario: str) -> bool:
    """Whether the name in a report is the test that somebody names, `tests/test_a.py::TestB::test_it[1]` or as the report has it."""
    return name in (scenario, _as_reported(scenario))


def _as_reported(scenario: str) -> str:
    named, bracket, parameters = scenario.partition("[")
    path, *inside = named.split("::")
    module = path.removesuffix(".py").replace("/", ".")
    return f"{'.'.join([module, *inside[:-1]])}::{inside[-1] if inside else ''}{bracket}{parameters}"
