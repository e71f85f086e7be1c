"""What holds for every test of the workspace: in CI, a skipped test is a failed run."""

from __future__ import annotations

import os
import signal

import pytest

_skipped: list[str] = []

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # As a shell starts what runs in the background. The commands that tests interrupt would inherit that, and never end.
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Remember what was skipped; with xdist this runs in the process that decides about the exit code."""
    if report.skipped:
        _skipped.append(report.nodeid)


def pytest_collectreport(report: pytest.CollectReport) -> None:
    """A whole module can be skipped while it is collected."""
    if report.skipped:
        _skipped.append(report.nodeid)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail the run."""
    if _skipped and os.environ.get("CI") == "true":
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Name them."""
    if _skipped and os.environ.get("CI") == "true":
        terminalreporter.write_sep("=", "skipped in CI, which fails the run", red=True)
        for nodeid in _skipped:
            terminalreporter.write_line(nodeid)
