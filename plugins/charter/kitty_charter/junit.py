"""A JUnit report of any test runner: how many tests there were, and those that did not simply pass."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from junitparser import Error, Failure, JUnitXml, Skipped, TestCase, TestSuite
from junitparser.junitparser import JUnitXmlError

from kitty_charter.suite import Case
from kitty_host.inert import inert

_LARGEST = 64 << 20
"""Bytes."""


class Unreadable(ValueError):
    """A report that says nothing; the text says why."""


def read(report: Path) -> tuple[int, tuple[Case, ...]]:
    """The number of tests, and those that failed or were skipped. Raises `FileNotFoundError` and `Unreadable`."""
    if report.stat().st_size > _LARGEST:
        raise Unreadable(f"its report is larger than {_LARGEST >> 20} MiB")
    try:
        found = list(_cases(JUnitXml.fromfile(str(report))))
        bad = [case for case in map(_case, found) if case is not None]
    # Whatever the parser stumbles over, in a text that strangers wrote, there is no report.
    except (OSError, SyntaxError, ValueError, LookupError, AttributeError, TypeError, JUnitXmlError) as error:
        raise Unreadable(f"its report is no JUnit XML: {inert(str(error), prose=True)}") from error
    return len(found), tuple(bad)


def _cases(found: Any) -> Iterator[TestCase]:
    """Of all suites, and of those inside them, which a suite goes through by itself."""
    if isinstance(found, TestSuite):
        found = [found]
    for suite in found:
        yield from suite


def _case(one: TestCase) -> Case | None:
    """What is worth knowing of a test; an expected failure is reported as skipped, and nobody has seen it pass."""
    name = f"{one.classname}::{one.name}" if one.classname else str(one.name)
    failed = [result for result in one.result if isinstance(result, Failure | Error)]
    skipped = [result for result in one.result if isinstance(result, Skipped)]
    if not failed and not skipped:
        return None
    text = "\n".join(f"{result.message or ''}\n{result.text or ''}".strip() for result in failed or skipped)
    return Case(name, "failed" if failed else "skipped", text)
