"""What a file system lets this user do: how much fits, what may be written, and where it is mounted."""

from __future__ import annotations

import errno
import os
import re
import shlex
from pathlib import Path

from kitty_host import system
from kitty_host.api import KittyError


def read_only(path: Path, error: OSError) -> KittyError:
    """The refusal where something may not be written."""
    hint = "make it writable for this user and run it again"
    mount = _mount_of(path) if error.errno == errno.EROFS else None
    if mount is not None:
        hint = f"make its file system writable and run it again: mount -o remount,rw {shlex.quote(str(mount))}"
    return KittyError("READ_ONLY", f"{path} cannot be written: {error.strerror}", hint)


def require_writable(path: Path) -> None:
    """Refuse where a file cannot be written, or names in a directory cannot come or go. Errors: `READ_ONLY`."""
    if not os.access(path, os.W_OK):
        frozen = hasattr(os, "statvfs") and os.statvfs(path).f_flag & os.ST_RDONLY
        number = errno.EROFS if frozen else errno.EACCES
        raise read_only(path, OSError(number, os.strerror(number)))


def free_bytes(directory: Path) -> int | None:
    """How much this user can still write there; None where the file system does not say."""
    return system.free_bytes(directory)


def _mount_of(path: Path) -> Path | None:
    """Where the file system of a path is mounted; None where the system does not say. `os.path.ismount` knows no bind mounts."""
    try:
        lines = Path("/proc/self/mounts").read_bytes().splitlines()
    except OSError:
        return None
    names = (re.sub(rb"\\([0-7]{3})", lambda found: bytes([int(found[1], 8)]), line.split()[1]) for line in lines)
    place = path.resolve()
    mounts = [mount for mount in map(Path, map(os.fsdecode, names)) if place.is_relative_to(mount)]
    return max(mounts, key=lambda mount: len(mount.parts), default=None)
