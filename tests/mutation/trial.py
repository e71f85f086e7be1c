"""Runs tests in a process of their own, which need not begin from nothing: what is not kitty's is imported before it is forked."""

from __future__ import annotations

import importlib
import json
import os
import resource
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import pytest

_WAYS = (
    *("-q", "-x", "-o", "addopts=", "--import-mode=importlib", "-m", "not slow and not sweep", "--strict-markers"),
    *("-p", "no:randomly", "-p", "no:xdist", "-p", "no:schemathesis", "-p", "no:cacheprovider"),
    *("-p", "quick", "--hypothesis-profile=mutation"),
)

_LONGEST = 300
"""Seconds."""
_MEMORY = 4 << 30


class Trial:
    """The tests of a room, which pass as the code is."""

    def __init__(self, tests: Sequence[str], scratch: Path) -> None:
        self._arguments = [*_WAYS, f"--basetemp={scratch / 'tmp'}", *tests]
        self._told = scratch / "modules.json"
        self._told.unlink(missing_ok=True)
        self._output = scratch / "output"
        self._seconds = _LONGEST
        if not self.passes():
            sys.exit(f"the tests fail without any change:\n{self._output.read_text()}")
        self._import_others()
        before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
        self.passes()
        self._seconds = 5 + 5 * int(resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before)

    def passes(self) -> bool:
        """Whether they do; not where they need much more time of the processor than they did at first."""
        if (child := os.fork()) == 0:
            self._run()
        until = time.monotonic() + _LONGEST
        while time.monotonic() < until:
            ended, status = os.waitpid(child, os.WNOHANG)
            if ended:
                return status == 0
            time.sleep(0.01)
        with suppress(ProcessLookupError):
            os.killpg(child, signal.SIGKILL)
        os.waitpid(child, 0)
        return False

    def _run(self) -> None:
        status = 1
        try:
            os.setsid()
            # A machine that is busy makes nobody fail; a loop without end does not fill its memory.
            resource.setrlimit(resource.RLIMIT_CPU, (self._seconds, self._seconds))
            resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
            out = os.open(self._output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(out, 1)
            os.dup2(out, 2)
            status = int(pytest.main(self._arguments))
            if not self._told.exists():
                here = str(Path.cwd())
                found = [
                    name
                    for name, one in sys.modules.items()
                    if not (getattr(one, "__file__", "") or here).startswith(here)
                ]
                self._told.write_text(json.dumps(found))
        finally:
            os._exit(status)

    def _import_others(self) -> None:
        for name in json.loads(self._told.read_text()):
            with suppress(ImportError):
                importlib.import_module(name)
