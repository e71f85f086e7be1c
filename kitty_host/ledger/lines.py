"""The bytes of a ledger as lines: where they end, which are whole, what is wrong with one.

Reads block by block, so that neither a million lines nor one endless line fills the memory.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple

from kitty_host.api import KittyError
from kitty_host.files import open_unlinked
from kitty_host.ledger.event import BadRow, Event, decode, parse

LONGEST: Final = 8 << 20
"""Bytes of one line. A longer one is damage, and is not written in the first place."""
_BLOCK = 1 << 18
_MARKERS = (b"<<<<<<<", b"|||||||", b"=======", b">>>>>>>")


class Block(NamedTuple):
    """Some whole lines, each with its newline."""

    content: bytes
    number: int
    """Lines before it."""
    offset: int
    """Bytes before it."""


def blocks(
    stream: BinaryIO,
    path: Path,
    *,
    number: int = 0,
    offset: int = 0,
    endless: Callable[[KittyError], None] | None = None,
) -> Iterator[Block]:
    """What a stream holds from here to its last newline; a torn tail is left out.

    Errors: `LEDGER_DAMAGED` for a line without end, unless `endless` takes it; then that line is passed over.
    """
    carried = b""
    dropped = 0
    while chunk := stream.read(_BLOCK):
        end = chunk.rfind(b"\n") + 1
        if not end:
            # Of a line without end only the next newline matters. Without one, it is what a crash left of a write.
            if dropped or len(carried) > LONGEST:
                carried, dropped = b"", dropped + len(carried) + len(chunk)
            else:
                carried += chunk
            continue
        content = carried + chunk[:end]
        carried = chunk[end:]
        length = dropped + content.find(b"\n")
        if length > LONGEST:
            error = _damaged(path, number + 1, offset, f"the line is longer than {LONGEST} bytes")
            if endless is None:
                raise error
            endless(error)
            content = content[length - dropped + 1 :]
            number, offset, dropped = number + 1, offset + length + 1, 0
        if content:
            yield Block(content, number, offset)
            number += content.count(b"\n")
            offset += len(content)


def whole_lines(content: bytes) -> list[bytes]:
    """The lines up to the last newline, without their newlines."""
    return content[: content.rfind(b"\n") + 1].split(b"\n")[:-1]


def decode_block(block: Block, path: Path) -> list[Event]:
    """The lines of a block as records. Errors: `LEDGER_DAMAGED` with line and byte."""
    return decode_lines(block.content.split(b"\n")[:-1], path, number=block.number, offset=block.offset)


def decode_lines(lines: Sequence[bytes], path: Path, *, number: int = 0, offset: int = 0) -> list[Event]:
    """Lines as records; `number` and `offset` count what comes before them. Errors: `LEDGER_DAMAGED` with line and byte."""
    events: list[Event] = []
    for line in lines:
        number += 1
        if line.strip():
            try:
                events.append(decode(parse(line)))
            except (ValueError, BadRow, RecursionError) as error:
                raise damaged(path, number, offset, line, error) from error
        offset += len(line) + 1
    return events


def torn_bytes(path: Path) -> int:
    """How many bytes follow the last newline; 0 where there is no file. Reads the end only."""
    try:
        with open_unlinked(path) as stream:
            size = place = stream.seek(0, os.SEEK_END)
            while place:
                start = max(0, place - _BLOCK)
                stream.seek(start)
                found = stream.read(place - start).rfind(b"\n")
                if found >= 0:
                    return size - (start + found + 1)
                place = start
            return size
    except FileNotFoundError:
        return 0


def damaged(path: Path, number: int, offset: int, line: bytes, error: Exception) -> KittyError:
    """The refusal for a line that cannot be read."""
    if line.startswith(_MARKERS):
        return _damaged(path, number, offset, "a conflict marker of Git", "take the markers out: both sides' rows stay")
    why = f"{error.reason} at its byte {error.start}" if isinstance(error, UnicodeDecodeError) else str(error)
    return _damaged(path, number, offset, why.replace("\n", " "))


def _damaged(path: Path, number: int, offset: int, why: str, hint: str = "") -> KittyError:
    return KittyError(
        "LEDGER_DAMAGED",
        f"{path}, line {number} (byte {offset}): {why}",
        hint or "see what a checkpoint can bring back: kitty ledger repair --from-checkpoint --dry-run",
        path=str(path),
        line=number,
        byte=offset,
    )
