"""The ledger's file: append, read, the two names, checkpoints.

Knows bytes, lines and ids; what a row means is `event` and `reduce`'s business, whether one may be added `emit`'s. The design is ADR 0001.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import secrets
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from kitty_host.api import Finding, KittyError
from kitty_host.files import (
    atomic_write,
    disk_errors,
    hard_link,
    is_same,
    lock,
    make_directory,
    read_unlinked,
    remove,
    same_file,
    sweep,
    sync_directory,
    write_all,
    write_new,
)
from kitty_host.git import Git, GitError
from kitty_host.ledger.event import BadRow, Event, Row, decode, encode, event_id_of

FILE = "status.events.jsonl"
_PATIENCE = 20


class Ledger:
    """The ledger of one mission: `live` in the canonical checkout, `twin` its second name under the Git directory."""

    def __init__(self, directory: Path, common: Path, mission_id: str) -> None:
        self.live = directory / FILE
        self.twin = common / "kitty" / "ledger" / f"{mission_id}.jsonl"
        self.lock_file = common / "spec-kitty-locks" / f"{directory.name}.status.lock"
        self.ref = f"refs/kitty/{mission_id}/ledger"
        self._torn = common / "kitty" / "torn"

    # Reading

    def lines(self) -> list[bytes]:
        """Every acknowledged line, of both names where they differ. Torn tails are left out. Errors: `LEDGER_DAMAGED`."""
        content, status = _look(self.live)
        live = _whole_lines(content)
        # What was read is compared, not what the name leads to now: somebody may heal or replace it meanwhile.
        if status is not None and is_same(status, self.twin):
            return live
        return self.union(live, _whole_lines(_read(self.twin)))

    def rows(self) -> list[Row]:
        """Every line, decoded as JSON."""
        return [json.loads(line) for line in self.lines() if line.strip()]

    def events(self) -> list[Event]:
        """Every line as a record. Errors: `LEDGER_DAMAGED` with line and byte."""
        return decode_lines(self.lines(), self.live)

    def findings(self) -> list[Finding]:
        """What a query reports and the next writing command mends."""
        found: list[Finding] = []
        content = _read(self.live)
        if content and not content.endswith(b"\n"):
            torn = len(content) - content.rfind(b"\n") - 1
            found.append(
                Finding(
                    "LEDGER_TORN",
                    f"the last {torn} bytes are not a whole line",
                    "kitty ledger repair sets them aside",
                    "warn",
                    FILE,
                )
            )
        if not same_file(self.live, self.twin) and content != _read(self.twin):
            found.append(
                Finding(
                    "LEDGER_NAMES",
                    "the two names of the ledger lead to different files",
                    "kitty ledger repair joins them",
                    "warn",
                    FILE,
                )
            )
        return found

    def union(self, *copies: Iterable[bytes]) -> list[bytes]:
        """The lines of several copies: those of the first one as they are, then what each other one has under new event ids.

        Errors: `LEDGER_DAMAGED` for an unreadable line; `EVENT_ID_CONFLICT` where two copies have other contents under one id.
        """
        merged: list[bytes] = []
        known: dict[str, list[bytes]] = {}
        for position, copy in enumerate(copies):
            # One id twice within one copy is left to the reducer, which knows which counts.
            fresh: dict[str, list[bytes]] = {}
            offset = 0
            for number, line in enumerate(copy, 1):
                if line.strip():
                    identity = _identity(line, self.live, number, offset)
                    if identity not in known:
                        merged.append(line)
                        fresh.setdefault(identity, []).append(line)
                    elif not _is_among(line, known[identity]):
                        raise KittyError(
                            "EVENT_ID_CONFLICT",
                            f"event {identity} has two contents in two copies of {self.live.name}",
                            "compare the copies and take the wrong line out by hand",
                            event_id=identity,
                            copies=[str(self.live), str(self.twin), self.ref],
                        )
                elif position == 0:
                    merged.append(line)
                offset += len(line) + 1
            known |= fresh
        return merged

    # Writing

    @contextlib.contextmanager
    def locked(self, *, wait_seconds: float | None = None) -> Iterator[None]:
        """Hold the status lock that spec-kitty takes too, with the file repaired where it needs it."""
        with lock(self.lock_file, wait_seconds=wait_seconds, purpose=f"the ledger of {self.live.parent.name}"):
            self._mend()
            yield

    def append(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Add rows as one write and return when they are on disk. Errors: `DISK_FULL`, `READ_ONLY`, `LEDGER_DAMAGED`."""
        with self.locked():
            descriptor = self.write(rows)
        self.settle(descriptor, rows)

    def write(self, rows: Sequence[Mapping[str, Any]]) -> int:
        """Write rows under the lock and return the descriptor that `settle` must have after the lock is released."""
        return self.write_lines([encode(row).encode().removesuffix(b"\n") for row in rows])

    def write_lines(self, lines: Sequence[bytes]) -> int:
        """As `write`, for lines that are encoded already, such as another copy's."""
        content = b"".join(line + b"\n" for line in lines)
        make_directory(self.live.parent)
        with disk_errors(self.live):
            created = not self.live.exists()
            # Opened under the lock: spec-kitty replaces the file under it, and an older descriptor would lead to a file without a name.
            descriptor = os.open(self.live, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
            try:
                size = os.fstat(descriptor).st_size
                try:
                    write_all(descriptor, content)
                except OSError:
                    os.ftruncate(descriptor, size)
                    raise
                if created:
                    sync_directory(self.live.parent)
                    os.fsync(descriptor)
                    hard_link(self.live, self.twin)
                if not same_file(self.live, self.twin):
                    atomic_write(self.twin, _read(self.live))  # no links here: the second name is a copy
            except BaseException:
                os.close(descriptor)
                raise
        return descriptor

    def settle(self, descriptor: int, rows: Sequence[Mapping[str, Any]]) -> None:
        """Sync what was written, after the lock is released so that waiting writers share the sync, and make sure that it counts."""
        try:
            with disk_errors(self.live):
                (os.fsync if sys.platform in ("darwin", "win32") else os.fdatasync)(descriptor)
            in_place = is_same(os.fstat(descriptor), self.live)
        finally:
            os.close(descriptor)
        if not in_place:
            self._find_again({event_id_of(row) for row in rows})

    def _find_again(self, wanted: set[str]) -> None:
        """The file was replaced while it was synced: the rows must be in what replaced it, or under the second name."""
        with self.locked():
            missing = wanted - {event_id_of(row) for row in self.rows()}
        if missing:
            raise KittyError(
                "LEDGER_DAMAGED",
                f"{self.live} was replaced by something that lacks {len(missing)} rows just written",
                "run: kitty ledger verify",
                missing=sorted(missing),
            )

    def extend(self, lines: Iterable[bytes]) -> int:
        """Add the lines of another copy that this one lacks, durably; returns how many there were."""
        with self.locked():
            mine = self.lines()
            added = self.union(mine, lines)[len(mine) :]
            if not added:
                return 0
            descriptor = self.write_lines(added)
        self.settle(descriptor, [json.loads(line) for line in added])
        return len(added)

    def _mend(self) -> None:
        """Under the lock: finish or set aside a torn tail, and make the two names one file again."""
        sweep(self.live.parent)
        sweep(self.twin.parent)
        for name in (self.live, self.twin):
            if _is_torn(name):
                self._mend_tail(name, _read(name))
        if same_file(self.live, self.twin) or not (self.live.exists() or self.twin.exists()):
            return
        merged = b"".join(line + b"\n" for line in self.lines())
        with disk_errors(self.live):
            if merged != _read(self.live):
                atomic_write(self.live, merged)
            if not hard_link(self.live, self.twin) and merged != _read(self.twin):
                atomic_write(self.twin, merged)

    def _mend_tail(self, name: Path, content: bytes) -> None:
        whole = content.rfind(b"\n") + 1
        tail = content[whole:]
        with disk_errors(name):
            if _parses(tail):
                descriptor = os.open(name, os.O_WRONLY | os.O_APPEND)
                try:
                    write_all(descriptor, b"\n")
                    os.fsync(descriptor)
                finally:
                    os.close(descriptor)
                return
            make_directory(self._torn)
            write_new(self._torn / f"{self.live.parent.name}-{secrets.token_hex(6)}.part", tail)
            sync_directory(self._torn)
            descriptor = os.open(name, os.O_WRONLY)
            try:
                os.ftruncate(descriptor, whole)
                os.fsync(descriptor)
            finally:
                os.close(descriptor)

    # Checkpoints

    def leave_the_checkout(self) -> None:
        """Give up the live name: the second name keeps every line, and the next writing command makes the live one again."""
        if same_file(self.live, self.twin) or _read(self.live) == _read(self.twin):
            remove(self.live)

    def checkpoint(self, git: Git, message: str, *, others: Sequence[str] = ()) -> str:
        """Commit the ledger's content to its ref; returns the commit, which is the present one where nothing changed.

        `others` are checkpoints of other clones whose lines were taken in: further parents.
        """
        for attempt in range(_PATIENCE):
            old = git.commit_of(self.ref)
            new = self.commit(git, self.lines(), message, [*([old] if old else []), *others])
            if new == old:
                break
            try:
                git.run("update-ref", "--create-reflog", self.ref, new, old or "0" * len(new))
                break
            except GitError as error:
                # Somebody else was faster: what is committed has to follow theirs.
                if error.code != "GIT_FAILED" or attempt == _PATIENCE - 1:
                    raise
        return new

    def commit(self, git: Git, lines: Sequence[bytes], message: str, parents: Sequence[str]) -> str:
        """A checkpoint of these lines, with no ref moved.

        The first parent itself, where it has the same lines and no other parent is new to it.
        """
        blob = git.write_blob(b"".join(line + b"\n" for line in lines))
        tree = git.out("mktree", "-z", stdin=f"100644 blob {blob}\t{FILE}\0".encode())
        mine, *others = parents or [""]
        news = [other for other in others if not git.is_ancestor(other, mine)]
        if mine and not news and git.out("rev-parse", f"{mine}^{{tree}}") == tree:
            return mine
        named = [argument for parent in ([mine] if mine else []) + news for argument in ("-p", parent)]
        return git.out("commit-tree", tree, *named, "-m", message)

    def lines_at(self, git: Git, revision: str) -> list[bytes]:
        """The lines of a checkpoint; empty where the revision is none."""
        return _whole_lines(git.read_blob(revision, FILE) or b"")


def decode_lines(lines: Sequence[bytes], path: Path) -> list[Event]:
    """Lines as records. Errors: `LEDGER_DAMAGED` with line and byte."""
    events: list[Event] = []
    offset = 0
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                events.append(decode(json.loads(line)))
            except (ValueError, BadRow, RecursionError) as error:
                raise _damaged(path, number, offset, str(error)) from error
        offset += len(line) + 1
    return events


def _read(path: Path) -> bytes:
    return _look(path)[0]


def _look(path: Path) -> tuple[bytes, os.stat_result | None]:
    try:
        return read_unlinked(path)
    except FileNotFoundError:
        return b"", None
    except OSError as error:
        if error.errno in (errno.EISDIR, errno.ELOOP):
            what = "a directory" if error.errno == errno.EISDIR else "a symbolic link"
            raise KittyError("LEDGER_DAMAGED", f"{path} is {what}", "move it away", path=str(path)) from error
        raise


def _is_torn(path: Path) -> bool:
    """Whether the last byte is not a newline; reads no more than that byte. Errors: `LEDGER_DAMAGED` where this is no plain file."""
    if path.is_symlink() or path.is_dir():
        _look(path)
    try:
        with path.open("rb") as stream:
            if stream.seek(0, os.SEEK_END) == 0:
                return False
            stream.seek(-1, os.SEEK_END)
            return stream.read(1) != b"\n"
    except FileNotFoundError:
        return False


def _whole_lines(content: bytes) -> list[bytes]:
    return content[: content.rfind(b"\n") + 1].split(b"\n")[:-1]


def _parses(tail: bytes) -> bool:
    try:
        return isinstance(json.loads(tail), dict)
    except (ValueError, RecursionError):
        return False


def _is_among(line: bytes, others: Sequence[bytes]) -> bool:
    return line in others or json.loads(line) in [json.loads(other) for other in others]


def _identity(line: bytes, path: Path, number: int, offset: int) -> str:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise _damaged(path, number, offset, str(error)) from error
    return (event_id_of(row) if isinstance(row, dict) else "") or line.decode(errors="surrogateescape")


def _damaged(path: Path, number: int, offset: int, why: str) -> KittyError:
    return KittyError(
        "LEDGER_DAMAGED",
        f"{path}, line {number} (byte {offset}): {why}",
        "restore that line from a checkpoint: git log -p refs/kitty/",
        path=str(path),
        line=number,
        byte=offset,
    )
