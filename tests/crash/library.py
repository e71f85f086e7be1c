"""The crash library from Python: builds it, arms it, reads what it saw. The library itself is `crash.c`."""

from __future__ import annotations

import ctypes
import importlib.util
import os
import random
import shutil
import signal
import struct
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

_HEADER = struct.Struct("=qqqq")  # count, at, torn, armed
_NEXT_LEADER = -1
_DIRTY = 1024 * 8
_CALL = struct.Struct("=24s40sQ")
# Seconds until a group in which nothing moves any more is ended, so that a fault of the library is a red test and not a run without end.
_PATIENCE = 120


class Call(NamedTuple):
    """One call that the library counted."""

    name: str
    size: int
    """How many bytes it writes; 0 for a call that is no write."""
    program: str = ""
    """What made it: a program's name, with the command where that is Git."""


class Done(NamedTuple):
    """What became of a command in a group of its own."""

    killed: bool
    exit_code: int
    stdout: str
    stderr: str
    calls: list[Call]


def compiler() -> list[str]:
    """The C compiler as the start of a command; empty where there is none."""
    for name in ("cc", "gcc"):
        if found := shutil.which(name):
            return [found]
    return [sys.executable, "-m", "ziglang", "cc"] if importlib.util.find_spec("ziglang") else []


def build(directory: Path) -> Path:
    """Compile the library into a directory."""
    library = directory / "crash.so"
    source = Path(__file__).with_name("crash.c")
    command = [
        *compiler(),
        "-shared",
        "-fPIC",
        "-O1",
        "-Wall",
        "-Wextra",
        "-Werror",
        "-o",
        str(library),
        str(source),
        "-ldl",
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return library


class Crash:
    """The library, with a counter and a lint log of its own in a directory."""

    def __init__(self, library: Path, directory: Path) -> None:
        self.counter = directory / "counter"
        self.log = directory / "lint"
        self.environment = {
            "LD_PRELOAD": str(library),
            "KITTY_CRASH_COUNTER": str(self.counter),
            "KITTY_CRASH_LINT": str(self.log),
            # A byte-code file that is there at the second run only would move every point behind it.
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        self._write(0)

    def _write(self, armed: int, at: int = 0, torn: bool = False) -> None:
        self.counter.unlink(missing_ok=True)
        self.counter.write_bytes(_HEADER.pack(0, at, torn, armed))

    def run(
        self,
        command: Sequence[str],
        *,
        at: int = 0,
        torn: bool = False,
        where: Path | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> Done:
        """Run a command as the leader of a group that dies at its call number `at`; 0 only counts."""
        self._write(_NEXT_LEADER, at, torn)
        process = subprocess.Popen(
            command,
            cwd=where,
            env={**os.environ, **(environment or {}), **self.environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        try:
            # The output ends when the last process of the group has gone, not when the leader has.
            stdout, stderr = process.communicate(timeout=_PATIENCE)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            raise
        killed = process.returncode == -signal.SIGKILL
        return Done(killed, process.returncode, stdout, stderr, calls_of(self.counter))

    def lint(self, *, git: bool = False) -> list[str]:
        """What the lint noted, but for caches, which nobody syncs; Git's own renames only where `git` asks for them."""
        lines = self.log.read_text(errors="replace").splitlines() if self.log.exists() else []
        lines = [line for line in lines if "/kitty/cache/" not in line]
        return [line for line in lines if git or not line.rpartition(" by ")[2].startswith("git")]


def calls_of(counter: Path) -> list[Call]:
    """The calls that were counted since the library was armed."""
    with counter.open("rb") as stream:
        count = _HEADER.unpack(stream.read(_HEADER.size))[0]
        stream.seek(_HEADER.size + _DIRTY)
        content = stream.read(count * _CALL.size)
    assert len(content) == count * _CALL.size, f"{count} calls are more than the library can name"
    return [
        Call(name.rstrip(b"\0").decode(), size, program.rstrip(b"\0").decode(errors="replace"))
        for name, program, size in _CALL.iter_unpack(content)
    ]


def points(calls: Sequence[Call]) -> list[tuple[int, bool]]:
    """Where a run with these calls can be killed: before each of them, and in the middle of each write of two bytes and more."""
    return [(at, torn) for at, call in enumerate(calls, 1) for torn in ((False, True) if call.size > 1 else (False,))]


def share_of(places: Sequence[tuple[int, bool]], part: int) -> list[tuple[int, bool]]:
    """One in `part` of them, the same in every run; not every second one, which might be those inside a write, or none of them."""
    return sorted(random.Random(0).sample(places, -(-len(places) // part)))


def arm(at: int, *, torn: bool) -> None:
    """Arm the group that this process leads. Only for a process in which the library is preloaded."""
    if ctypes.CDLL(None).crash_arm(ctypes.c_long(at), ctypes.c_int(torn)):
        raise RuntimeError("the library has no counter, or this process leads no group")


def disarm() -> None:
    """Stop counting."""
    ctypes.CDLL(None).crash_disarm()


def count() -> int:
    """How many calls were counted."""
    ask = ctypes.CDLL(None).crash_count
    ask.restype = ctypes.c_long
    return int(ask())


def copy(source: Path, target: Path) -> None:
    """Copy a directory so that two names of one file stay two names of one file."""
    seen: dict[int, str] = {}

    def one(here: str, there: str) -> str:
        status = Path(here).stat()
        if status.st_nlink > 1 and status.st_ino in seen:
            os.link(seen[status.st_ino], there)
        else:
            shutil.copy2(here, there)
            seen[status.st_ino] = there
        return there

    shutil.copytree(source, target, symlinks=True, copy_function=one)


def snapshot(directory: Path) -> dict[str, tuple[int, int, int, bytes]]:
    """Everything below a directory, so that a write shows even where it leaves the same bytes."""
    found: dict[str, tuple[int, int, int, bytes]] = {}
    for path in sorted(directory.rglob("*")):
        status = path.lstat()
        content = path.read_bytes() if path.is_file() and not path.is_symlink() else b""
        found[path.relative_to(directory).as_posix()] = (status.st_ino, status.st_nlink, status.st_mtime_ns, content)
    return found
