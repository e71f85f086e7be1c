"""Runs kitty, or a program after `-c`, as if on Windows or on macOS: `python simulated.py SYSTEM ARGUMENT ...`.

What that system lacks is taken away, and what it does otherwise is done so. Python's own library and other people's are loaded before, as
they are here; paths stay what they are. A line for each sync goes into the file `SIMULATED_LOG`, if the environment names one.
"""

from __future__ import annotations

import asyncio
import builtins
import concurrent.futures.thread
import contextlib
import errno
import fcntl
import importlib
import os
import shutil
import signal
import sqlite3
import ssl
import stat
import subprocess
import sys
import tempfile
import types
import urllib.request
import uuid
import webbrowser
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import filelock

LOADED = (asyncio, concurrent.futures.thread, sqlite3, ssl, tempfile, urllib.request, uuid, webbrowser)
OTHERS = ("attrs", "cattrs", "click", "msgspec", "packaging", "platformdirs", "pluggy", "ruamel.yaml")
ABSENT = {
    "darwin": {os: ("fdatasync", "O_DSYNC", "O_RSYNC", "O_TMPFILE", "O_PATH", "O_NOATIME", "posix_fallocate")},
    "win32": {
        os: (
            *("O_NOFOLLOW", "O_NONBLOCK", "O_DIRECTORY", "O_SYNC", "O_DSYNC", "O_RSYNC", "O_TMPFILE", "O_PATH", "O_NOATIME"),
            *("O_CLOEXEC", "ST_RDONLY", "chown", "fchmod", "fchown", "fdatasync", "fork", "forkpty", "getegid", "geteuid"),
            *("getgid", "getgroups", "getpgid", "getpgrp", "getuid", "killpg", "lchown", "major", "minor", "mkfifo", "mknod"),
            *("nice", "posix_fallocate", "posix_spawn", "pread", "pwrite", "sendfile", "setsid", "statvfs", "sysconf", "uname"),
        ),
        signal: (
            *("ITIMER_PROF", "ITIMER_REAL", "ITIMER_VIRTUAL", "SIGALRM", "SIGCHLD", "SIGHUP", "SIGKILL", "SIGPIPE", "SIGQUIT"),
            *("SIGUSR1", "SIGUSR2", "SIGXFSZ", "alarm", "getitimer", "pause", "pthread_kill", "setitimer", "sigwait"),
        ),
    },
}  # fmt: skip
MODULES = {"darwin": (), "win32": ("fcntl", "grp", "pty", "pwd", "resource", "termios", "tty")}
FULL, TEXT = 51, 1 << 14
"""What macOS calls `F_FULLFSYNC`; a bit that no open here uses, for Windows' `O_BINARY`."""
real_open, real_close, real_write, real_read = os.open, os.close, os.write, os.read
real_fsync, real_fcntl, real_kill = os.fsync, fcntl.fcntl, os.kill
descriptors = "/dev/fd"


def simulate(system: str) -> None:
    """Be there from now on."""
    for name in OTHERS:
        importlib.import_module(name)
    keep_for("filelock")
    usage = shutil.disk_usage(".")
    shutil.disk_usage = lambda path: usage
    hide_proc()
    for module, names in ABSENT[system].items():
        for name in names:
            with contextlib.suppress(AttributeError):
                delattr(module, name)
    for name in MODULES[system]:
        sys.modules[name] = None
    (macos if system == "darwin" else windows)()
    sys.platform = system


def keep_for(package: str) -> None:
    """What stands for others' answer to the system goes on here."""
    kept = types.SimpleNamespace(**vars(os))
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] == package and getattr(module, "os", None) is os:
            module.os = kept


def note(text: str) -> None:
    if log := os.environ.get("SIMULATED_LOG"):
        descriptor = real_open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        real_write(descriptor, f"{text}\n".encode())
        real_close(descriptor)


def hide_proc() -> None:
    def hidden(path: Any) -> bool:
        return isinstance(path, str | bytes | os.PathLike) and os.fsdecode(path).startswith("/proc/")

    def opened(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open" and hidden(arguments[0]):
            raise FileNotFoundError(errno.ENOENT, "there is no /proc", arguments[0])

    sys.addaudithook(opened)
    for name in ("stat", "lstat", "readlink", "listdir", "scandir"):

        def looked(path: Any = ".", *rest: Any, real: Callable[..., Any] = getattr(os, name), **named: Any) -> Any:  # noqa: B008
            if hidden(path):
                raise FileNotFoundError(errno.ENOENT, "there is no /proc", path)
            return real(path, *rest, **named)

        setattr(os, name, looked)


def macos() -> None:
    def control(descriptor: int, command: int, argument: Any = 0) -> Any:
        if command != FULL:
            return real_fcntl(descriptor, command, argument)
        note(f"full {os.fstat(descriptor).st_ino}")
        if number := int(os.environ.get("SIMULATED_REFUSAL", 0)):
            raise OSError(number, os.strerror(number))
        real_fsync(descriptor)
        return 0

    def sync(descriptor: int) -> None:
        note(f"weak {os.fstat(descriptor).st_ino}")
        real_fsync(descriptor)

    def opened(*arguments: Any, **named: Any) -> int:
        try:
            return real_open(*arguments, **named)
        except OSError as error:
            if error.errno == errno.ENXIO:  # a socket
                raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP), error.filename) from None
            raise

    fcntl.F_FULLFSYNC, fcntl.fcntl, os.fsync, os.open = FULL, control, sync, opened


def windows() -> None:
    shutil._use_fd_functions = shutil._USE_CP_SENDFILE = False
    os.supports_dir_fd.clear()
    texts: set[int] = set()

    def opened(path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        if dir_fd is not None:
            raise NotImplementedError("dir_fd unavailable on this platform")
        if Path(path).is_dir():
            raise PermissionError(errno.EACCES, "Permission denied", os.fspath(path))
        descriptor = real_open(path, flags & ~TEXT, mode)
        (texts.discard if flags & TEXT else texts.add)(descriptor)
        return descriptor

    def closed(descriptor: int) -> None:
        texts.discard(descriptor)
        real_close(descriptor)

    def written(descriptor: int, content: Any) -> int:
        if descriptor not in texts:
            return real_write(descriptor, content)
        real_write(descriptor, bytes(content).replace(b"\n", b"\r\n"))
        return len(content)

    def synced(descriptor: int) -> None:
        if real_fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
            raise OSError(errno.EBADF, "Bad file descriptor")
        note(f"full {os.fstat(descriptor).st_ino}")
        real_fsync(descriptor)

    def ended(pid: int, number: int) -> None:
        raise RuntimeError(f"process {pid} has ended by {number}: it always does")

    os.O_ACCMODE = 3
    os.O_BINARY = TEXT
    os.open, os.close, os.write, os.fsync, os.kill = opened, closed, written, synced, ended
    for name, which in (("replace", 2), ("rename", 2), ("unlink", 1), ("remove", 1)):
        setattr(os, name, nobody_has_open(getattr(os, name), which))
    nobody_reads_what_is_locked()
    windows_processes()


def nobody_reads_what_is_locked() -> None:
    locked: set[Path] = set()
    take, let_go = filelock.FileLock.acquire, filelock.FileLock.release

    def taken(self: Any, *arguments: Any, **named: Any) -> Any:
        had = take(self, *arguments, **named)
        locked.add(Path(self.lock_file).absolute())
        return had

    def released(self: Any, *arguments: Any, **named: Any) -> None:
        locked.discard(Path(self.lock_file).absolute())
        let_go(self, *arguments, **named)

    def opened(event: str, arguments: tuple[Any, ...]) -> None:
        if (
            event == "open"
            and str(arguments[1]).startswith("r")
            and not isinstance(arguments[0], int)
            and Path(arguments[0]).absolute() in locked
        ):
            raise PermissionError(errno.EACCES, "it is locked", arguments[0])

    filelock.FileLock.acquire, filelock.FileLock.release = taken, released
    sys.addaudithook(opened)


def nobody_has_open(real: Callable[..., None], which: int) -> Callable[..., None]:
    def change(*paths: Any, **named: Any) -> None:
        for path in paths[:which]:
            if Path(path).is_file() and identity(Path(path).lstat()) in set(open_files()):
                raise PermissionError(errno.EACCES, "it is being used by another process", os.fspath(path))
        real(*paths, **named)

    return change


def open_files() -> Iterator[tuple[int, int]]:
    for name in os.listdir(descriptors):  # noqa: PTH208
        with contextlib.suppress(OSError):
            yield identity(os.fstat(int(name)))


def identity(status: os.stat_result) -> tuple[int, int]:
    return (status.st_dev, status.st_ino) if stat.S_ISREG(status.st_mode) else (0, status.st_ino)


def windows_processes() -> None:
    begin = subprocess.Popen.__init__

    def begun(self: Any, *arguments: Any, **named: Any) -> None:
        for name in ("pass_fds", "preexec_fn"):
            if named.get(name):
                raise ValueError(f"{name} is not supported on Windows platforms")
        begin(self, *arguments, **named)

    def sent(self: Any, number: int) -> None:
        if number != signal.SIGTERM:
            raise ValueError(f"Unsupported signal: {number}")
        self.kill()

    def killed(self: Any) -> None:
        if self.poll() is None:
            real_kill(self.pid, 9)

    subprocess.Popen.__init__ = begun
    subprocess.Popen.send_signal, subprocess.Popen.kill = sent, killed
    subprocess.Popen.terminate = killed


if __name__ == "__main__":
    _, system, *arguments = sys.argv
    preload = os.environ.get("SIMULATED_PRELOAD", "").split()
    for one in preload:
        importlib.import_module(one)
    for one in [name for name in sys.modules if name.partition(".")[0].startswith("kitty_")]:
        del sys.modules[one]
    simulate(system)
    if arguments[:1] == ["-c"]:
        sys.argv = ["-c", *arguments[2:]]
        exec(compile(arguments[1], "program", "exec"), {"__name__": "__main__", "__builtins__": builtins})
    else:
        from kitty_host.__main__ import main

        sys.argv = ["kitty", *arguments]
        main()
