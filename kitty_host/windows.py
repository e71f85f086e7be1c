"""What Windows does for `kitty_host.system`, as far as it can be known from elsewhere: it is tried by simulation only.

Names and meanings are those of `kitty_host.posix`. What is weaker is said at each; `docs/platforms.md` says it for users.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import stat
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from kitty_host.api import KittyError

if TYPE_CHECKING:
    import subprocess

BINARY = getattr(os, "O_BINARY", 0)
TO_SYNC = os.O_RDWR | BINARY  # what was opened for reading cannot be synced
LINKS = False  # a file that somebody has open cannot be renamed, by none of its names
PROGRAMS = "Scripts"
INTERRUPT = signal.SIGTERM  # which ends it at once: nothing else can be sent to one process
Handle = Path
BROWSER_NEEDS = ()
_LETTING_GO = 1.0
"""Seconds in which whoever reads a file, such as a virus scanner, may let go of it."""
_AGAIN = 0.01
"""Seconds."""
_REPARSE = 0x400
"""The attribute of a link, a junction among them, which `S_ISLNK` does not know."""


def sync(descriptor: int) -> None:
    """Put what was written on the disk."""
    os.fsync(descriptor)


sync_content = sync


def sync_directory(directory: Path) -> None:
    """Nothing: directories cannot be opened, and NTFS keeps a journal of its names."""


def replace(source: Path, target: Path) -> None:
    """Move a file onto a name, as one step; a target that somebody has open is waited for, for a moment."""
    until = time.monotonic() + _LETTING_GO
    while True:
        try:
            os.replace(source, target)
            return
        except PermissionError:
            if time.monotonic() >= until:
                raise
            time.sleep(_AGAIN)


def set_mode(descriptor: int, mode: int) -> None:
    """Nothing: what others may do follows from the directory, which for what is secret is the user's own."""


def open_unlinked(path: Path) -> int:
    """Between the look and the open the name may be given to something else; then what is opened is not what was looked at: `ELOOP`."""
    seen = path.lstat()
    if _is_link(seen):
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))
    if stat.S_ISDIR(seen.st_mode):
        raise OSError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    descriptor = os.open(path, os.O_RDONLY | BINARY)
    if not os.path.samestat(seen, os.fstat(descriptor)):
        os.close(descriptor)
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))
    return descriptor


def enter(root: Path) -> Path:
    """A path, since there are no handles on directories: one that is swapped while it is walked is not noticed."""
    if not root.is_dir():
        raise OSError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(root))
    return root


def enter_below(directory: Path, name: str) -> Path:
    """A directory in a directory, which is no link."""
    below = directory / name
    seen = below.lstat()
    if _is_link(seen):
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(below))
    return enter(below)


def open_below(directory: Path, name: str) -> int:
    """Open a file in a directory for reading."""
    return open_unlinked(directory / name)


def entries(directory: Path) -> AbstractContextManager[Iterator[os.DirEntry[str]]]:
    """What is in a directory."""
    return os.scandir(directory)


def leave(directory: Path) -> None:
    """Nothing."""


def free_bytes(directory: Path) -> int | None:
    """How much this user can still write there."""
    import shutil

    return shutil.disk_usage(directory).free


def is_name(name: str) -> bool:
    r"""`a\..\b`, `C:x` and `..␠` lead elsewhere: the last dots and spaces of a name are dropped, and a colon is for a drive or a stream."""
    return not (set(name) & set('\\:*?"<>|') or name.endswith((".", " ")))


@contextlib.contextmanager
def whole_lock(path: Path, seconds: float | None) -> Iterator[bool]:
    """A lock by `filelock`, which asks now and then; False where it was not had in time.

    The bytes of a file that is locked can be read by nobody else, and it is emptied: for one that says something there is another, a
    directory further up.
    """
    from filelock import FileLock, Timeout

    if path.suffix != ".lock":
        with path.open("ab"):
            pass
        path = path.parent.parent / f"{path.parent.name}-{path.name}.lock"
    held = FileLock(path, timeout=-1 if seconds is None else seconds)
    try:
        held.acquire()
    except Timeout:
        yield False
        return
    try:
        yield True
    finally:
        held.release()


def try_lock(descriptor: int) -> NoReturn:
    """See `whole_lock`."""
    raise NotImplementedError


def wait_for_lock(descriptor: int, seconds: float | None) -> NoReturn:
    """See `whole_lock`."""
    raise NotImplementedError


def lives(pid: int) -> bool | None:
    """Nobody knows: `os.kill` would end it, or interrupt it."""
    return None


def end_session(process: subprocess.Popen[bytes], grace: float = 0.0) -> None:
    """End what was started. There are no sessions: what it has left in the background stays."""
    if process.poll() is None:
        process.kill()
    process.wait()


def allow_files(wanted: int) -> None:
    """Nothing: there is no such limit."""


def require_posix(what: str) -> NoReturn:
    """Refuse what needs another system. Errors: `SYSTEM_UNSUPPORTED`."""
    raise KittyError("SYSTEM_UNSUPPORTED", f"{what} does not run on Windows", "run it in WSL, on Linux or on macOS")


def _is_link(status: os.stat_result) -> bool:
    return stat.S_ISLNK(status.st_mode) or bool(getattr(status, "st_file_attributes", 0) & _REPARSE)
