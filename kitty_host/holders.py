"""Who holds a lock, for whoever is refused: by the holder's own signature, by the kernel's list, and by what `/proc` shows.

A signature outlives a holder that was killed, so it is believed only of the very process that wrote it, as long as that lives. What only
`/proc` knows is told where there is one and this user may look.
"""

from __future__ import annotations

import itertools
import os
import re
import shlex
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from kitty_host.api import KittyError
from kitty_host.files import namespace
from kitty_host.inert import inert
from kitty_host.system import lives

_PROCESSES = Path("/proc")
_ROUNDED = 1
"""Seconds by which the birth of a process and the time of a file may differ although one made the other."""


class Holder(NamedTuple):
    """A process that lives."""

    pid: int
    command: str
    """What it runs, such as `kitty merge`; empty where nobody says."""
    seconds: int | None = None
    """For how long it has had the lock; None where nobody says."""

    def __str__(self) -> str:
        return f"process {self.pid}{f' ({self.command})' if self.command else ''}"


def signature() -> bytes:
    """What this process writes into a lock file that it holds."""
    import click

    context = click.get_current_context(silent=True)
    command = context.command_path if context else "kitty"
    return f"{os.getpid()} {namespace()} {_birth(os.getpid())} {time.time():.3f} {command}\n".encode()


def holder_of(lock_file: Path) -> Holder | None:
    """Who holds a `flock` on a file, of which it is known that somebody does."""
    signed = _signed(lock_file)
    pid = _by_the_kernel(lock_file)
    if pid is None or (signed is not None and signed.pid == pid):
        return signed
    return _found(pid)


def is_left(lock_file: Path) -> bool:
    """Whether the kernel knows nobody who lives and took a `flock` of which it was known that somebody holds it."""
    return (_PROCESSES / "locks").exists() and _by_the_kernel(lock_file) is None


def held(lock_file: Path, place: Path) -> KittyError:
    """The refusal where a lock file of Git's is there; `place` is the directory in which its maker works."""
    try:
        status = lock_file.stat()
    except FileNotFoundError:
        return KittyError("LOCK_HELD", f"{lock_file} was there a moment ago", "run it again", lock=str(lock_file))
    age = max(0, int(time.time() - status.st_mtime))
    holder = _signed(lock_file) or _who_has_open(status) or _git_in(place, status.st_mtime)
    if holder is not None:
        message, hint = f"{holder} works in {place}: {lock_file}", "let it end and run it again"
    else:
        message, hint = (
            f"{lock_file}, which nobody seems to have,",
            f"if no git runs there, remove it and run it again: rm {shlex.quote(str(lock_file))}",
        )
    details = {"lock": str(lock_file), "pid": holder.pid if holder else None, "age_seconds": age}
    return KittyError("LOCK_HELD", f"{message} is {age} s old", hint, **details)


def _signed(path: Path) -> Holder | None:
    """Who wrote a signature, unless that process is gone."""
    try:
        with path.open("rb") as stream:
            written = stream.read(512).decode(errors="replace")
    except OSError:
        return None
    found = re.fullmatch(r"(\d{1,10}) (\d+) (\d+) (\d+\.\d+) (.*)\n", written)
    if found is None or found[2] != namespace() or _birth(int(found[1])) != found[3]:
        return None
    return Holder(int(found[1]), inert(found[5], prose=True), max(0, int(time.time() - float(found[4]))))


def _birth(pid: int) -> str:
    """When a process began, in ticks of the kernel's; "0" for one that lives where there is no `/proc`, empty for one that is gone."""
    try:
        fields = (
            (_PROCESSES / str(pid) / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        )
    except OSError:
        return "" if (_PROCESSES / "self").exists() or not lives(pid) else "0"
    # One that was killed and that its parent has not looked at yet has let go of everything.
    return "" if fields[0] in "ZX" else fields[19]


def _by_the_kernel(lock_file: Path) -> int | None:
    """The process that the kernel says has a file locked, as `1: FLOCK  ADVISORY  WRITE 4711 fe:00:2441202 0 EOF`."""
    try:
        status = lock_file.stat()
        lines = (_PROCESSES / "locks").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    place = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino}"
    for fields in map(str.split, lines):
        if fields[1] == "FLOCK" and fields[5] == place and _birth(int(fields[4])):
            return int(fields[4])
    return None


def _who_has_open(status: os.stat_result) -> Holder | None:
    for process in _processes():
        try:
            descriptors = list((process / "fd").iterdir())
        except OSError:
            continue
        for descriptor in descriptors:
            try:
                same = os.path.samestat(descriptor.stat(), status)
            except OSError:
                continue
            if same:
                return _found(int(process.name))
    return None


def _git_in(place: Path, made: float) -> Holder | None:
    """A Git that works in a checkout since before a file was made: it keeps its lock while an editor is open, and the file is closed.

    Wherever it was started, Git goes to the top of its checkout.
    """
    for process in _processes():
        try:
            if (process / "comm").read_bytes().strip() == b"git" and (process / "cwd").readlink() == place.resolve():
                uptime = float((_PROCESSES / "uptime").read_bytes().split()[0])
                born = time.time() - uptime + int(_birth(int(process.name))) / os.sysconf("SC_CLK_TCK")
                if born <= made + _ROUNDED:
                    return _found(int(process.name))
        except (OSError, ValueError):
            continue
    return None


def _processes() -> Iterator[Path]:
    """Every other process that there is to see."""
    if _PROCESSES.is_dir():
        yield from (one for one in _PROCESSES.iterdir() if one.name.isdecimal() and int(one.name) != os.getpid())


def _found(pid: int) -> Holder:
    try:
        line = (_PROCESSES / str(pid) / "cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        line = [""]
    program, *arguments = [word.rpartition("/")[2] for word in line]
    if program.startswith("python"):
        # What it runs is of interest, unless that is a whole text.
        arguments = list(itertools.takewhile(lambda word: word != "-c", arguments))
    names = [word for word in (program, *arguments) if word and not word.startswith("-")]
    names = names[1:] if len(names) > 1 and program.startswith("python") else names
    return Holder(pid, inert(" ".join(names[:2]), prose=True))
