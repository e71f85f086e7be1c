"""The state of a ledger without reading all of it again: a cache, which may be deleted at any time.

It holds the state up to a byte, and enough to know the file again: which inode, and the bytes before that one. What came later is
read and added; where that does not fit, or the file is not known again, everything is read. The design is ADR 0008.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final, NamedTuple

from kitty_host.api import KittyError
from kitty_host.files import write_cache
from kitty_host.ledger.event import Event, Other, Transition, decode
from kitty_host.ledger.lines import Block, blocks, decode_block, decode_lines
from kitty_host.ledger.order import Place
from kitty_host.ledger.reduce import Snapshot, reduce
from kitty_host.ledger.wp import WpState

if TYPE_CHECKING:
    from kitty_host.ledger.huge import Hurry

_VERSION: Final = 2
"""Grows whenever the same rows add up to something else than before."""
_SMALL: Final = 128 << 10
"""Bytes that are read faster than a cache pays for."""
_STALE: Final = 64 << 10
"""Bytes behind the cached state from which it is worth writing anew."""
_HUGE: Final = 4 << 20
"""Bytes from which a decoder in C pays for its import."""
_TAIL: Final = 4096
_SCALARS: Final = ("lane", "actor", "at", "event_id", "force_count", "claims", "said", "seen_at", "seen_id")
_PLAIN: Final = (*_SCALARS, "takers", "approvals", "tangled")


class _Known(NamedTuple):
    state: Snapshot
    lines: int
    size: int


def read_snapshot(stream: BinaryIO, path: Path, cache: Path) -> Snapshot:
    """The state that an open ledger adds up to, up to its last newline. Errors: `LEDGER_DAMAGED` with line and byte."""
    status = os.fstat(stream.fileno())
    if status.st_size < _SMALL:
        return reduce(decode_lines((stream.read()).split(b"\n")[:-1], path))
    known = _load(stream, status, cache)
    if known is not None and (found := _extended(known, stream, path, status.st_size)) is not None:
        state, lines, size = found
        if size - known.size > _STALE:
            _save(cache, stream, status, _Known(state, lines, size))
        return state
    found = _extended(_Known(Snapshot(), 0, 0), stream, path, status.st_size) or _reduced(stream, path)
    _save(cache, stream, status, found)
    return found.state


def _extended(known: _Known, stream: BinaryIO, path: Path, size: int) -> _Known | None:
    """The known state and all that follows it, if the rows come in order."""
    lines, offset = known.lines, known.size
    stream.seek(offset)
    hurry = _hurry(known.state, path) if size - offset > _HUGE else None
    with _uncollected():
        for block in blocks(stream, path, number=lines, offset=offset):
            if not (hurry.extend(block) if hurry else known.state.extend(decode_block(block, path))):
                return None
            lines += block.content.count(b"\n")
            offset += len(block.content)
        if hurry:
            hurry.settle(stream)
    return _Known(known.state, lines, offset)


@contextlib.contextmanager
def _uncollected() -> Iterator[None]:
    """Without the garbage collector: rows make no cycles, and it would look at each of them over and over."""
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()


def _hurry(state: Snapshot, path: Path) -> Hurry:
    from kitty_host.ledger.huge import Hurry

    return Hurry(state, path)


def _reduced(stream: BinaryIO, path: Path) -> _Known:
    """All rows, in whatever order they are."""
    stream.seek(0)
    read = _Read(blocks(stream, path), path)
    return _Known(reduce(read), read.lines, read.size)


class _Read:
    """Every event of some blocks; afterwards, how many lines and bytes that were."""

    def __init__(self, source: Iterator[Block], path: Path) -> None:
        self.lines = self.size = 0
        self._source = source
        self._path = path

    def __iter__(self) -> Iterator[Event]:
        for block in self._source:
            yield from decode_block(block, self._path)
            self.lines += block.content.count(b"\n")
            self.size += len(block.content)


# The file


def _load(stream: BinaryIO, status: os.stat_result, cache: Path) -> _Known | None:
    """The cached state, if this is the file it was made of."""
    try:
        told = json.loads(cache.read_bytes())
        size = told["size"]
        if told["version"] != _VERSION or told["inode"] != [status.st_dev, status.st_ino] or size > status.st_size:
            return None
        if size == status.st_size and told["mtime"] != status.st_mtime_ns:
            return None
        stream.seek(max(0, size - _TAIL))
        if stream.read(min(size, _TAIL)).decode("latin-1") != told["tail"]:
            return None
        return _Known(_state(told["state"]), told["lines"], size)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None  # garbage in a cache is as good as no cache


def _save(cache: Path, stream: BinaryIO, status: os.stat_result, known: _Known) -> None:
    stream.seek(max(0, known.size - _TAIL))
    told = {
        "version": _VERSION,
        "inode": [status.st_dev, status.st_ino],
        "mtime": status.st_mtime_ns,
        "size": known.size,
        "lines": known.lines,
        "tail": stream.read(min(known.size, _TAIL)).decode("latin-1"),
        "state": _told(known.state),
    }
    # A cache that cannot be written costs time and nothing else.
    with contextlib.suppress(KittyError, OSError):
        write_cache(cache, json.dumps(told).encode())


def _told(state: Snapshot) -> dict[str, Any]:
    return {
        "packages": {wp_id: _package_told(package) for wp_id, package in state.packages.items()},
        "rows": state.rows,
        "event_count": state.event_count,
        "last_row_id": state.last_row_id,
        "first": state.first,
        "last": state.last,
        "top": state.top,
        "others": [one.row for one in state.others.values()],
        "issued": [one.row for one in state.issued.values()],
        "answered": sorted(state.answered),
        "run": state.run and state.run.row,
    }


def _package_told(package: WpState) -> dict[str, Any]:
    told = {name: getattr(package, name) for name in _PLAIN}
    return {**told, "said_at": package.said_at, "entered": {lane: row.row for lane, row in package.entered.items()}}


def _state(told: dict[str, Any]) -> Snapshot:
    state = Snapshot()
    state.packages = {wp_id: _package(package) for wp_id, package in told["packages"].items()}
    for name in ("rows", "event_count", "last_row_id", "top"):
        setattr(state, name, told[name])
    state.first, state.last = _placed(told["first"]), _placed(told["last"])
    state.others = {one.topic: one for one in map(_other, told["others"])}
    state.issued = {one.event_id: one for one in map(_other, told["issued"])}
    state.answered = set(told["answered"])
    state.run = _other(told["run"]) if told["run"] else None
    return state


def _package(told: dict[str, Any]) -> WpState:
    package = WpState()
    for name in _PLAIN:
        kind = type(getattr(package, name))
        if not isinstance(told[name], kind) and not (kind is type(None) and isinstance(told[name], str)):
            raise TypeError(f"{name} was cached as something else")
        setattr(package, name, told[name])
    at, event_id = told["said_at"]
    package.said_at = (at, event_id)
    package.entered = {lane: _transition(row) for lane, row in told["entered"].items()}
    return package


def _placed(told: Any) -> tuple[Place, str] | None:
    if told is None:
        return None
    (at, flag, number, event_id), text = told
    return (at, flag, number, event_id), text


def _other(row: Any) -> Other:
    found = decode(row)
    if not isinstance(found, Other):
        raise TypeError("a row of another kind was cached")
    return found


def _transition(row: Any) -> Transition:
    found = decode(row)
    if not isinstance(found, Transition):
        raise TypeError("a row of another kind was cached")
    return found
