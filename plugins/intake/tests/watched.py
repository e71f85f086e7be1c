"""Which files somebody reads from, as the kernel tells it: inotify, on Linux."""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_IN_ACCESS = 1
_EVENT = struct.Struct("=iIII")
_LIBRARY = ctypes.CDLL(None, use_errno=True)


class Watch:
    """Files whose reads are counted, by whatever name they are opened."""

    def __init__(self, descriptor: int, names: dict[int, str]) -> None:
        self.descriptor = descriptor
        self.names = names

    def read(self) -> set[str]:
        """The names of the files of which at least a byte was read since the last call."""
        found: set[str] = set()
        while True:
            try:
                events = os.read(self.descriptor, 1 << 16)
            except BlockingIOError:
                return found
            at = 0
            while at < len(events):
                number, _, _, length = _EVENT.unpack_from(events, at)
                found.add(self.names.get(number, "more than the kernel can count"))
                at += _EVENT.size + length


@contextmanager
def watching(*paths: Path) -> Iterator[Watch]:
    """Count reads of these files, after seeing that one is counted."""
    descriptor = _LIBRARY.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
    assert descriptor >= 0, os.strerror(ctypes.get_errno())
    try:
        numbers = {_LIBRARY.inotify_add_watch(descriptor, os.fsencode(path), _IN_ACCESS): str(path) for path in paths}
        assert -1 not in numbers, os.strerror(ctypes.get_errno())
        watch = Watch(descriptor, numbers)
        for path in paths:
            if path.is_file():
                path.read_bytes()
        assert watch.read() == {str(path) for path in paths if path.is_file()}
        yield watch
    finally:
        os.close(descriptor)
