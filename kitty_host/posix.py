"""What Linux and macOS do for `kitty_host.system`: syncs, locks, opens that follow no link, and the end of whatever was started.

Where the two differ it is said here, and nowhere else. `kitty_host.windows` has the same names.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import subprocess

BINARY = 0
"""What every open for writing must say where the system would write its own ends of lines."""
TO_SYNC = os.O_RDONLY
"""How a file is opened by whoever only syncs it."""
LINKS = True
"""Whether a file that is open can get a second name."""
PROGRAMS = "bin"
"""Where an environment of Python has its programs."""
INTERRUPT = signal.SIGINT
"""What asks another process to end, so that it can say where it stands."""
Handle = int
"""On a directory."""
BROWSER_NEEDS = ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER") if sys.platform.startswith("linux") else ()
"""Variables of which one is set where a browser does not take the terminal; none where it never does."""
# Not blocking: opening a FIFO that nobody writes to would otherwise wait for ever.
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
_UNKNOWN = (errno.EINVAL, errno.ENOTTY, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)

# Syncs

if sys.platform == "darwin":

    def sync(descriptor: int) -> None:
        """Put what was written on the disk. After `fsync`, macOS lets the disk keep it in its own memory for as long as it likes."""
        import fcntl

        try:
            fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
        except OSError as error:
            # A file system over the network may not know it. That a disk failed is told once only, so nothing else is asked again.
            if error.errno not in _UNKNOWN:
                raise
            os.fsync(descriptor)

    sync_content = sync
else:

    def sync(descriptor: int) -> None:
        """Put what was written on the disk."""
        os.fsync(descriptor)

    def sync_content(descriptor: int) -> None:
        """As `sync`, but for what nobody needs to read it, such as its time."""
        os.fdatasync(descriptor)


def sync_directory(directory: Path) -> None:
    """Make the names in a directory durable."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        sync(descriptor)
    finally:
        os.close(descriptor)


# Files


def replace(source: Path, target: Path) -> None:
    """Move a file onto a name of the same file system, as one step."""
    os.replace(source, target)


def set_mode(descriptor: int, mode: int) -> None:
    """Set the permission bits of an open file."""
    os.fchmod(descriptor, mode)


def open_unlinked(path: Path) -> int:
    """Open for reading. Raises `OSError`: `ELOOP` where the name itself is a link."""
    return os.open(path, _READ)


def enter(root: Path) -> int:
    """A handle on a directory, for `enter_below`, `open_below` and `entries`; `leave` gives it back."""
    return os.open(root, os.O_RDONLY | os.O_DIRECTORY)


def enter_below(directory: int, name: str) -> int:
    """A handle on a directory in a directory. Raises `OSError`: `ELOOP` or `ENOTDIR` for a link."""
    return os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=directory)


def open_below(directory: int, name: str) -> int:
    """Open a file in a directory for reading. Raises as `open_unlinked`."""
    return os.open(name, _READ, dir_fd=directory)


def entries(directory: int) -> AbstractContextManager[Iterator[os.DirEntry[str]]]:
    """What is in a directory."""
    return os.scandir(directory)


def leave(directory: int) -> None:
    """Give a handle back."""
    os.close(directory)


def free_bytes(directory: Path) -> int | None:
    """How much this user can still write there; None where the file system does not say."""
    status = os.statvfs(directory)
    blocks = status.f_bfree if os.geteuid() == 0 else status.f_bavail
    return blocks * status.f_frsize if status.f_blocks else None


def is_name(name: str) -> bool:
    """Whether a part of a path can only be the name of something in its directory."""
    return name != ".."


# Locks


whole_lock: Callable[[Path, float | None], AbstractContextManager[bool]] | None = None
"""A lock that is no lock of a descriptor, where the system has none of those."""


def try_lock(descriptor: int) -> bool:
    """Lock a file by `flock`, which its last descriptor's end releases; False where somebody has it locked."""
    import fcntl

    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def wait_for_lock(descriptor: int, seconds: float | None) -> bool:
    """Whether the lock was had in time; None is any time. Woken by the kernel: whoever asked now and then would find it taken again.

    The call itself knows no time-out: an alarm ends it, where nobody else has set one.
    """
    if seconds is None:
        import fcntl

        fcntl.flock(descriptor, fcntl.LOCK_EX)
        return True
    if signal.getsignal(signal.SIGALRM) is signal.SIG_DFL and signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0):
        with contextlib.suppress(ValueError):  # only the main thread may set one
            return _waited_here(descriptor, seconds)
    return _waited_beside(descriptor, seconds)


def _waited_here(descriptor: int, seconds: float) -> bool:
    """The way with nobody between the one who lets go and the one who gets it: among many writers it lets a quarter more through."""
    import fcntl

    waits = True

    def ring(_number: int, _frame: object) -> None:
        if waits:
            raise TimeoutError

    signal.signal(signal.SIGALRM, ring)
    try:
        signal.setitimer(signal.ITIMER_REAL, max(seconds, 0.001))  # 0 is none
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        # One that rings between these two is late all the same: whoever is refused closes the descriptor, and with it the lock.
        waits = False
        return True
    except TimeoutError:
        return False
    finally:
        waits = False
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)


def _waited_beside(descriptor: int, seconds: float) -> bool:
    """In a thread that may be left behind."""
    import fcntl
    import threading

    had = threading.Event()
    same = os.dup(descriptor)

    def take() -> None:
        # A lock that comes too late goes with this descriptor, the last one of the two.
        try:
            fcntl.flock(same, fcntl.LOCK_EX)
            had.set()
        finally:
            os.close(same)

    threading.Thread(target=take, name="kitty-lock", daemon=True).start()
    return had.wait(seconds)


# Processes


def lives(pid: int) -> bool | None:
    """Whether there is a process with this id; None where the system cannot be asked."""
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except (OSError, OverflowError):
        return False
    return True


def end_session(process: subprocess.Popen[bytes], grace: float = 0.0) -> None:
    """End what was started in a session of its own, with whatever that has left in the background; one that runs has `grace` seconds."""
    import subprocess

    if grace and process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(grace)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def allow_files(wanted: int) -> None:
    """Let this process have so many files open, where the system lets it."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))


def require_posix(what: str) -> None:
    """Refuse what needs such a system. It is one."""
