"""Files that survive: atomic writes, durable appends, contained opens, locks.

The only module that renames, links, locks or opens without following links; what systems do about that in ways of their own is
`kitty_host.system`'s. It knows nothing of missions or ledgers.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from kitty_host import system
from kitty_host.api import KittyError
from kitty_host.system import sync_directory, wait_for_lock

TEMPORARY_PREFIX = ".kitty-tmp-"
_LONG_AGO = 3600
"""Seconds."""
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | system.BINARY
_APPEND = os.O_WRONLY | os.O_APPEND | system.BINARY
_WAITING = 2
"""Seconds after which somebody who waits for a lock is told so."""
_LETTING_GO = 1.0
"""Seconds that a lock may take to become free when whoever took it was killed: what it started, or somebody who looks at it, may keep it
for a moment."""


def temporary(directory: Path) -> Path:
    """A name for a file that will be renamed or removed; it says whose it is, for `sweep`."""
    return directory / f"{TEMPORARY_PREFIX}{namespace()}-{os.getpid()}-{os.urandom(6).hex()}"


def sweep(directory: Path) -> None:
    """Remove temporary files, and directories, whose process was killed."""
    with contextlib.suppress(OSError):
        for name in os.listdir(directory):  # noqa: PTH208 - on the way of every append
            if name.startswith(TEMPORARY_PREFIX) and not _may_run(directory / name):
                if (directory / name).is_dir():
                    import shutil

                    shutil.rmtree(directory / name, ignore_errors=True)
                else:
                    (directory / name).unlink()


def _may_run(path: Path) -> bool:
    """Whether the process that a temporary file is named after may still want it."""
    home, _, rest = path.name.removeprefix(TEMPORARY_PREFIX).partition("-")
    try:
        # The process ids of another container mean nothing here.
        alive = system.lives(int(rest.partition("-")[0])) if home == namespace() else None
    except ValueError:
        return False
    # No write takes as long as this.
    return time.time() - path.lstat().st_mtime < _LONG_AGO if alive is None else alive


def namespace() -> str:
    """What process ids are unique in: "0" where the system has no such thing."""
    try:
        return str(Path("/proc/self/ns/pid").readlink()).strip("pid:[]")
    except OSError:
        return "0"


@contextlib.contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn a full or read-only disk into the refusals `DISK_FULL` and `READ_ONLY`; other errors pass.

    A file that may not grow any more (`ulimit -f`) is a full disk too.
    """
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise KittyError(
                "DISK_FULL", f"no space left to write {path}", "free some space and run it again"
            ) from error
        if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
            from kitty_host.disks import read_only

            raise read_only(path, error) from error
        raise


def make_directory(directory: Path) -> None:
    """Create a directory and its parents, each durable."""
    if directory.is_dir():
        return
    with disk_errors(directory):
        missing = [directory]
        while not missing[-1].parent.exists():
            missing.append(missing[-1].parent)
        for one in reversed(missing):
            one.mkdir(exist_ok=True)
            sync_directory(one.parent)


def write_cache(path: Path, content: bytes) -> None:
    """Replace a cache as one step. Nothing is synced: a cache that a crash has spoilt is no cache, and whoever reads it sees that."""
    make_directory(path.parent)
    scratch = temporary(path.parent)
    try:
        scratch.write_bytes(content)
        system.replace(scratch, path)
    except BaseException:
        with contextlib.suppress(OSError):
            scratch.unlink()
        raise


def atomic_write(path: Path, content: bytes, *, mode: int | None = None) -> None:
    """Replace a file's content as one step: readers see the old bytes or the new ones, also after a crash.

    The permission bits of an existing file are kept unless `mode` is given. Errors: `DISK_FULL`, `READ_ONLY`.
    """
    make_directory(path.parent)
    if mode is None:
        mode = stat.S_IMODE(path.stat().st_mode) if path.exists() else 0o666 & ~_umask()
    scratch = temporary(path.parent)
    with disk_errors(path):
        try:
            write_new(scratch, content, mode)
            system.replace(scratch, path)
        except BaseException:
            with contextlib.suppress(OSError):
                scratch.unlink()
            raise
        sync_directory(path.parent)
    sweep(path.parent)


def write_new(path: Path, content: bytes, mode: int = 0o600) -> None:
    """Create a file that must not exist yet, with its bytes on disk before this returns."""
    descriptor = os.open(path, _NEW, mode)
    try:
        system.set_mode(descriptor, mode)
        write_all(descriptor, content)
        system.sync(descriptor)
    finally:
        os.close(descriptor)


def open_to_append(path: Path, *, make: bool = False, mode: int = 0o644) -> int:
    """A descriptor whose writes go to the end, as they are; `make` makes the file where there is none."""
    return os.open(path, _APPEND | (os.O_CREAT if make else 0), mode)


def truncate(path: Path, size: int) -> None:
    """Cut a file off after so many bytes, durably."""
    descriptor = os.open(path, os.O_WRONLY | system.BINARY)
    try:
        os.ftruncate(descriptor, size)
        system.sync(descriptor)
    finally:
        os.close(descriptor)


def sync_file(path: Path) -> None:
    """Make the content of a file that somebody else wrote durable."""
    descriptor = os.open(path, system.TO_SYNC)
    try:
        system.sync(descriptor)
    finally:
        os.close(descriptor)


def rename(source: Path, target: Path) -> None:
    """Move a synced file onto a name of the same file system, durably."""
    system.replace(source, target)
    sync_directory(target.parent)


def move(source: Path, target: Path) -> None:
    """Move a file or directory of the user's to a name that is free, across file systems too."""
    import shutil

    make_directory(target.parent)
    shutil.move(source, target)
    sync_directory(target.parent)


def remove(path: Path) -> None:
    """Remove a file if it is there, durably."""
    try:
        path.unlink()
    except FileNotFoundError:
        return
    sync_directory(path.parent)


def copy_rest(path: Path, offset: int, target: Path) -> None:
    """Create `target` with what a file holds from a byte on, durably, whatever its size."""
    import shutil

    descriptor = os.open(target, _NEW, 0o600)
    with open(descriptor, "wb") as copy, path.open("rb") as stream:  # noqa: PTH123 - a descriptor has no path
        stream.seek(offset)
        shutil.copyfileobj(stream, copy)
        copy.flush()
        system.sync(descriptor)
    sync_directory(target.parent)


def write_all(descriptor: int, content: bytes) -> None:
    """Write every byte, however many calls the kernel needs."""
    view = memoryview(content)
    while view:
        view = view[os.write(descriptor, view) :]


def hard_link(source: Path, target: Path) -> bool:
    """Give a file a second name, replacing what had that name. False where the file system knows no links between the two places."""
    if not system.LINKS:
        return False
    make_directory(target.parent)
    scratch = temporary(target.parent)
    try:
        os.link(source, scratch)
    except OSError as error:
        if error.errno in (errno.EXDEV, errno.EPERM, errno.ENOTSUP, errno.EMLINK, errno.EACCES):
            return False
        raise
    system.replace(scratch, target)
    # Renaming onto another name of the same inode does nothing at all, and would leave the temporary name behind.
    with contextlib.suppress(FileNotFoundError):
        scratch.unlink()
    sync_directory(target.parent)
    return True


def link_exclusively(source: Path, target: Path) -> bool:
    """Take a lock file's name by linking a token to it; False if the name is taken."""
    try:
        os.link(source, target)
    except FileExistsError:
        return False
    return True


def open_unlinked(path: Path) -> BinaryIO:
    """Open a file for reading. Raises `OSError`: `ELOOP` where the name itself is a symbolic link, `EISDIR` for a directory."""
    descriptor = system.open_unlinked(path)
    try:
        if stat.S_ISFIFO(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), str(path))
        return open(descriptor, "rb")  # noqa: PTH123 - a descriptor has no path
    except BaseException:
        os.close(descriptor)
        raise


def last_byte(path: Path) -> tuple[bytes, os.stat_result]:
    """The last byte of a file, empty where it holds nothing, and which file that is. Raises as `open_unlinked`."""
    descriptor = system.open_unlinked(path)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            number = errno.EISDIR if stat.S_ISDIR(status.st_mode) else errno.EINVAL
            raise OSError(number, os.strerror(number), str(path))
        if status.st_size:
            os.lseek(descriptor, -1, os.SEEK_END)
        return os.read(descriptor, 1), status
    finally:
        os.close(descriptor)


def stamp_of(path: Path) -> list[int] | None:
    """What a file's cached content is known by; None for one that is not there, or cannot even be looked at."""
    try:
        status = path.stat()
    except OSError:
        return None
    return [status.st_size, status.st_mtime_ns, status.st_ino]


def changed(directory: Path) -> int:
    """When a name in a directory came or went, in nanoseconds; 0 where there is no directory."""
    try:
        return os.stat(directory).st_mtime_ns  # noqa: PTH116 - on the way of every append
    except OSError:
        return 0


def same_file(one: Path, other: Path) -> bool:
    """Whether two names are names of one inode; a link that leads to it is another file."""
    try:
        return os.path.samestat(one.lstat(), other.lstat())
    except FileNotFoundError:
        return False


def is_same(status: os.stat_result, path: Path) -> bool:
    """Whether a name is one of the file that was looked at."""
    try:
        return os.path.samestat(status, os.lstat(path))
    except FileNotFoundError:
        return False


def open_contained(root: Path, relative: str) -> int:
    """Open a regular file below `root` for reading, following no link at any level, and return its descriptor.

    Every directory is opened relative to the handle of its parent, so that a path swapped between a check and the open leads nowhere.
    Raises `OSError`: `ELOOP` or `ENOTDIR` for a link, `EXDEV` for `..`, `EMLINK` for a file with several names, `EINVAL` for anything
    that is not a regular file.
    """
    parts = [part for part in relative.split("/") if part not in ("", ".")]
    if not parts or not all(map(system.is_name, parts)):
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), relative)
    directory = _open_directory(root, parts[:-1])
    try:
        descriptor = system.open_below(directory, parts[-1])
    finally:
        system.leave(directory)
    status = os.fstat(descriptor)
    problem = errno.EINVAL if not stat.S_ISREG(status.st_mode) else errno.EMLINK if status.st_nlink > 1 else 0
    if problem:
        os.close(descriptor)
        raise OSError(problem, os.strerror(problem), relative)
    return descriptor


def list_contained(root: Path, relative: str) -> Iterator[str]:
    """The names below a directory of `root`, as paths below that directory, in no order; hidden ones and directories are left out.

    No link is followed at any level, and where one is met: `OSError`, `ELOOP`; else it raises as `open_contained`.
    """
    parts = [part for part in relative.split("/") if part not in ("", ".")]
    if not all(map(system.is_name, parts)):
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), relative)
    waiting = [""]
    while waiting:
        below = waiting.pop()
        directory = _open_directory(root, [*parts, *below.split("/")[:-1]])
        try:
            with system.entries(directory) as entries:
                for entry in entries:
                    if entry.name.startswith("."):
                        continue
                    if entry.is_symlink():
                        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), below + entry.name)
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(f"{below}{entry.name}/")
                    else:
                        yield below + entry.name
        finally:
            system.leave(directory)


def _open_directory(root: Path, parts: Sequence[str]) -> system.Handle:
    """A handle on a directory, each level opened from the one above without following links."""
    directory = system.enter(root)
    try:
        for part in parts:
            below = system.enter_below(directory, part)
            system.leave(directory)
            directory = below
    except BaseException:
        system.leave(directory)
        raise
    return directory


@contextlib.contextmanager
def lock(
    path: Path,
    *,
    wait_seconds: float | None = None,
    purpose: str = "",
    waiting: Callable[[], None] | None = None,
    sign: bool = False,
) -> Iterator[int | None]:
    """Hold an exclusive lock on a lock file, across processes; released by the kernel when the holder dies.

    On POSIX this is `flock`, the call that spec-kitty's lock library makes on the same files. `wait_seconds` None waits for ever,
    0 waits for nobody who lives, and a second for one who died; when the time is over: `LOCK_HELD`. `waiting` is called once, from a
    thread of its own, when it takes long.
    `sign` writes into the file who holds it, so that whoever is refused can say for how long; never into one that the peer takes too.
    Yields the descriptor that a child may inherit: the lock is held until the last of them is closed; None where there is none.
    """
    if system.whole_lock is not None:
        make_directory(path.parent)
        with contextlib.ExitStack() as held:
            with disk_errors(path), _told(waiting):
                had = held.enter_context(system.whole_lock(path, wait_seconds))
            if not had:
                raise _held(path, purpose)
            yield None
        return
    deadline = None if wait_seconds is None else time.monotonic() + wait_seconds
    while (descriptor := _take(path, deadline, purpose, waiting)) is None:
        pass
    try:
        if sign:
            _sign(descriptor)
        yield descriptor
    finally:
        if sign:
            _take_back(descriptor)
        os.close(descriptor)


def _sign(descriptor: int) -> None:
    """Not synced: after a crash of the machine nobody holds anything. Where it cannot be written the lock is held all the same."""
    from kitty_host.holders import signature

    with contextlib.suppress(OSError):
        os.ftruncate(descriptor, 0)
        os.write(descriptor, signature())


def _take_back(descriptor: int) -> None:
    """While it is still locked, so that nobody finds the signature of one who has let go."""
    with contextlib.suppress(OSError):
        os.ftruncate(descriptor, 0)


def _take(path: Path, deadline: float | None, purpose: str, waiting: Callable[[], None] | None) -> int | None:
    """The locked descriptor, or None where the file was removed meanwhile: some releases of the peer's lock library unlink it."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError:
        with disk_errors(path):
            make_directory(path.parent)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        if not system.try_lock(descriptor):
            with _told(waiting):
                _wait(path, descriptor, deadline, purpose)
        try:
            if os.path.samestat(os.fstat(descriptor), path.stat()):
                return descriptor
        except FileNotFoundError:
            pass
    except BaseException:
        os.close(descriptor)
        raise
    os.close(descriptor)
    return None


def _wait(path: Path, descriptor: int, deadline: float | None, purpose: str) -> None:
    if deadline is None:
        wait_for_lock(descriptor, None)
        return
    from kitty_host.holders import is_left

    left = deadline - time.monotonic()
    if wait_for_lock(descriptor, left) if left > 0 else is_left(path) and wait_for_lock(descriptor, _LETTING_GO):
        return
    raise _held(path, purpose) from None


def _held(path: Path, purpose: str) -> KittyError:
    from kitty_host.holders import holder_of

    holder, what = holder_of(path), purpose or path.name
    seconds = holder.seconds if holder else None
    return KittyError(
        "LOCK_HELD",
        f"{holder or 'another process'} holds {what}"
        if seconds is None
        else f"{holder} has had {what} for {seconds} s",
        "wait for it to end and run it again",
        lock=str(path),
        pid=holder.pid if holder else None,
        age_seconds=seconds,
    )


@contextlib.contextmanager
def _told(waiting: Callable[[], None] | None) -> Iterator[None]:
    if waiting is None:
        yield
        return
    import threading

    # One thread for all waits of the process: starting one for each would cost as much as the wait.
    if not _waits.get("watched"):
        _waits["watched"] = threading.Thread(target=_watch, name="kitty-waits", daemon=True)
        _waits["watched"].start()
    _waits["since"] = (time.monotonic(), waiting)
    try:
        yield
    finally:
        _waits.pop("since", None)


_waits: dict[str, Any] = {}


def _watch() -> None:
    """Tell whoever waits for a lock for long, once."""
    told = None
    while True:
        time.sleep(_WAITING / 4)
        wait = _waits.get("since")
        if wait is not None and wait is not told and time.monotonic() - wait[0] >= _WAITING:
            told = wait
            wait[1]()


def _umask() -> int:
    value = os.umask(0o077)
    os.umask(value)
    return value
