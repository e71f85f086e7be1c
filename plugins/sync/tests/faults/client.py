"""kitty commands, each in a process of its own that can be killed: forked from one in which everything is imported already.

Run as a script this is that one process. It reads a line of JSON for each command, and writes one with the pid and one with the exit code.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any


class Client:
    """Starts commands in one directory."""

    def __init__(self, where: Path) -> None:
        self.output = where.parent / "client.out"
        self._process = subprocess.Popen(
            [sys.executable, "-P", __file__, str(self.output)],
            cwd=where,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: str, kill_after: float | None = None) -> int:
        """Run a command to its end, which may come by `kill -9`; its exit code, negative for a signal."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(arguments) + "\n")
        self._process.stdin.flush()
        pid = self._told()
        timer = threading.Timer(kill_after, _kill, [pid]) if kill_after is not None else None
        if timer:
            timer.start()
        code = self._told()
        if timer:
            timer.cancel()
        return code

    def said(self) -> Any:
        """What the last command printed: JSON, or text where it is none."""
        text = self.output.read_text(errors="replace")
        try:
            return json.loads(text.splitlines()[-1])
        except (ValueError, IndexError):
            return text

    def close(self) -> None:
        """End it."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(10)

    def _told(self) -> int:
        assert self._process.stdout is not None
        return int(self._process.stdout.readline())


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, 9)


def main(output: str) -> None:
    """Fork for each line of standard input."""
    import httpx  # noqa: F401 - all of these so that a child need not
    import tenacity  # noqa: F401

    from kitty_host.cli import run

    for line in sys.stdin:
        pid = os.fork()
        if not pid:
            descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(descriptor, 1)
            os.dup2(descriptor, 2)
            code = run(json.loads(line))
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
        tell(pid)
        tell(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))


def tell(number: int) -> None:
    sys.stdout.write(f"{number}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1])
