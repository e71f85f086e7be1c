"""The ledger's file: append, read, the two names, checkpoints.

Knows lines and ids; what a row means is `event` and `reduce`'s business, whether one may be added `emit`'s. The design is ADR 0001.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from kitty_host.api import Finding, KittyError
from kitty_host.files import (
    atomic_write,
    changed,
    copy_rest,
    disk_errors,
    hard_link,
    is_same,
    last_byte,
    lock,
    make_directory,
    open_to_append,
    open_unlinked,
    remove,
    same_file,
    sweep,
    sync_file,
    truncate,
    write_all,
)
from kitty_host.git import Git, GitError
from kitty_host.ledger.event import Event, Row, Transition, decode, encode, event_id_of, parse
from kitty_host.ledger.lines import LONGEST, blocks, damaged, decode_lines, torn_bytes, whole_lines
from kitty_host.ledger.reduce import Snapshot, reduce
from kitty_host.ledger.snapshot import read_snapshot
from kitty_host.ledger.wp import is_seed
from kitty_host.system import sync, sync_content, sync_directory

FILE = "status.events.jsonl"
_PATIENCE = 20
_ODD = {errno.EISDIR: "a directory", errno.ELOOP: "a symbolic link", errno.EINVAL: "a pipe"}
_ODD |= dict.fromkeys((errno.ENXIO, errno.EOPNOTSUPP), "a socket")  # Linux says the one, macOS the other


class Ledger:
    """The ledger of one mission: `live` in the canonical checkout, `twin` its second name under the Git directory.

    `elsewhere` gives the lines of a copy that somebody else writes, on spec-kitty's coordination branch. It is read along, and as long as
    there is one nothing is written.
    """

    def __init__(
        self, directory: Path, common: Path, mission_id: str, elsewhere: Callable[[], list[bytes]] | None = None
    ) -> None:
        self.live = directory / FILE
        self.twin = common / "kitty" / "ledger" / f"{mission_id}.jsonl"
        self.lock_file = common / "spec-kitty-locks" / f"{directory.name}.status.lock"
        self.ref = f"refs/kitty/{mission_id}/ledger"
        self._elsewhere = elsewhere
        self._cache = common / "kitty" / "cache" / f"ledger-{mission_id}.json"
        self._torn = common / "kitty" / "torn"
        self._directories = (self.live.parent, self.twin.parent, self._cache.parent)
        self._swept: list[int] = []

    # Reading

    def lines(self) -> list[bytes]:
        """Every acknowledged line, of all copies where they differ. Torn tails are left out. Errors: `LEDGER_DAMAGED`."""
        with self._open_live() as stream:
            live = _lines_of(stream, self.live)
            # What was read is compared, not what the name leads to now: somebody may heal or replace it meanwhile.
            alone = stream is not None and is_same(os.fstat(stream.fileno()), self.twin)
        copies = [] if alone else [self._lines_of_twin()]
        if self._elsewhere is not None:
            copies.append(self._elsewhere())
        names = [str(self.live), *([] if alone else [str(self.twin)]), "its copy on the coordination branch"]
        return self.union(live, *copies, names=names) if any(copies) else live

    def rows(self) -> list[Row]:
        """Every line, decoded as JSON. Errors: `LEDGER_DAMAGED`."""
        found: list[Row] = []
        offset = 0
        for number, line in enumerate(self.lines(), 1):
            if line.strip():
                found.append(_parsed(line, self.live, number, offset))
            offset += len(line) + 1
        return found

    def events(self) -> list[Event]:
        """Every line as a record. Errors: `LEDGER_DAMAGED` with line and byte."""
        return decode_lines(self.lines(), self.live)

    def recent(self, size: int = 1 << 18) -> tuple[Event, ...]:
        """The rows in the last bytes, `size` of them, for showing what happened lately; what cannot be read is left out."""
        if self._elsewhere is not None:
            content = b"".join(line + b"\n" for line in self.lines())[-size - 1 :]
        else:
            with self._open_live() as stream:
                content = _end_of(stream, size + 1) if stream is not None else b""
        # With one byte more than is wanted it is seen whether the first line is whole.
        lines = whole_lines(content)[len(content) > size :]
        found: list[Event] = []
        for line in lines:
            with contextlib.suppress(ValueError, RecursionError):
                found.append(decode(parse(line)))
        return tuple(found)

    def snapshot(self) -> Snapshot:
        """What the rows add up to; of a long ledger only what is new is read. Errors: `LEDGER_DAMAGED` with line and byte."""
        if self._elsewhere is None:
            with self._open_live() as stream:
                if stream is not None and is_same(os.fstat(stream.fileno()), self.twin):
                    return read_snapshot(stream, self.live, self._cache)
        return reduce(self.events())

    def findings(self) -> list[Finding]:
        """What a query reports and the next writing command mends."""
        found: list[Finding] = []
        with self._open_live():
            torn = torn_bytes(self.live)
        if torn:
            found.append(
                Finding(
                    "LEDGER_TORN",
                    f"the last {torn} bytes are not a whole line",
                    "set them aside: kitty ledger repair",
                    "warn",
                    FILE,
                )
            )
        # A clone, and a mission of spec-kitty, has no second name until something is written there; nothing is lost by that.
        is_first = os.path.lexists(self.live) and not os.path.lexists(self.twin)
        if not (is_first or same_file(self.live, self.twin) or _same_content(self.live, self.twin)):
            found.append(
                Finding(
                    "LEDGER_NAMES",
                    "the two names of the ledger lead to different files",
                    "join them: kitty ledger repair",
                    "warn",
                    FILE,
                )
            )
        if self._elsewhere is not None:
            found.append(Finding("LEDGER_ELSEWHERE", _ELSEWHERE, self._adopt, "warn", FILE))
        return found

    @property
    def _adopt(self) -> str:
        return f"fold it into this checkout: kitty mission adopt {self.live.parent.name}"

    def _open_live(self) -> contextlib.AbstractContextManager[BinaryIO | None]:
        return _opened(self.live)

    def _lines_of_twin(self) -> list[bytes]:
        with _opened(self.twin) as stream:
            return _lines_of(stream, self.twin)

    def union(self, *copies: Iterable[bytes], names: Sequence[str] = ()) -> list[bytes]:
        """The lines of several copies: those of the first one as they are, then what each other one has under new event ids.

        `names` are what the copies are called where one is damaged.

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
                    row = _parsed(line, Path(names[position]) if names else self.live, number, offset)
                    identity = (event_id_of(row) if isinstance(row, dict) else "") or line.decode(errors="replace")
                    if identity not in known:
                        merged.append(line)
                        fresh.setdefault(identity, []).append(line)
                    elif _is_among(line, known[identity]):
                        pass
                    elif _are_seeds(row, known[identity]):
                        # Migrations make ids without looking at the content: two rows, of which the reducer takes one.
                        merged.append(line)
                        fresh.setdefault(identity, []).append(line)
                    else:
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
            for identity, lines in fresh.items():
                known.setdefault(identity, []).extend(lines)
        return merged

    def lines_elsewhere(self) -> list[bytes]:
        """The lines of the copy that somebody else writes; none where there is no such copy."""
        return self._elsewhere() if self._elsewhere is not None else []

    # Writing

    @contextlib.contextmanager
    def locked(self, *, wait_seconds: float | None = None, mend: bool = True) -> Iterator[None]:
        """Hold the status lock that spec-kitty takes too, with the file repaired where it needs it, unless `mend` is false."""
        if self._elsewhere is not None:
            raise KittyError("MISSION_NOT_ADOPTED", _ELSEWHERE, self._adopt)
        purpose = f"the ledger of {self.live.parent.name}"
        say = functools.partial(_say_waiting, self.lock_file, purpose)
        # Not signed: the file is the peer's too. Who has it is known from the kernel.
        with lock(self.lock_file, wait_seconds=wait_seconds, purpose=purpose, waiting=say):
            if mend:
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
        if (longest := max(map(len, lines), default=0)) > LONGEST:
            raise KittyError(
                "LEDGER_ROW_TOO_LONG",
                f"a row of {longest} bytes is longer than {LONGEST}",
                "say it in a file, and name the file",
            )
        content = b"".join(line + b"\n" for line in lines)
        with disk_errors(self.live):
            descriptor, created = self._open_to_append()
            status = os.fstat(descriptor)
            try:
                write_all(descriptor, content)
                if created:
                    sync_directory(self.live.parent)
                    sync(descriptor)
                    hard_link(self.live, self.twin)
                if not is_same(status, self.twin):
                    atomic_write(self.twin, self.live.read_bytes())  # no links here: the second name is a copy
            except BaseException:
                # What is refused is not there, and a part of it is not either.
                os.ftruncate(descriptor, status.st_size)
                os.close(descriptor)
                raise
        return descriptor

    def _open_to_append(self) -> tuple[int, bool]:
        """The file, and whether it was made.

        Opened under the lock: spec-kitty replaces the file under it, and an older descriptor would lead to a file without a name.
        """
        try:
            return open_to_append(self.live), False
        except FileNotFoundError:
            make_directory(self.live.parent)
            return open_to_append(self.live, make=True), True

    def settle(self, descriptor: int, rows: Sequence[Mapping[str, Any]]) -> None:
        """Sync what was written, after the lock is released so that waiting writers share the sync, and make sure that it counts."""
        try:
            with disk_errors(self.live):
                sync_content(descriptor)
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
            return self.take_in(lines)

    def take_in(self, lines: Iterable[bytes]) -> int:
        """As `extend`, for who holds the lock."""
        mine = self.lines()
        added = self.union(mine, lines, names=[str(self.live), "the other copy"])[len(mine) :]
        # Nobody could read this ledger again with a row that is none.
        decode_lines(added, Path("the other copy"))
        if added:
            descriptor = self.write_lines(added)
            try:
                with disk_errors(self.live):
                    sync(descriptor)
            finally:
                os.close(descriptor)
        return len(added)

    def _mend(self) -> None:
        """Under the lock: finish or set aside a torn tail, and make the two names one file again."""
        self._sweep()
        with _plain_file(self.live), contextlib.suppress(FileNotFoundError):
            last, status = last_byte(self.live)
            if last in (b"", b"\n") and is_same(status, self.twin):
                return
        self.mend_tails()
        if same_file(self.live, self.twin) or not (self.live.exists() or self.twin.exists()):
            return
        merged = b"".join(line + b"\n" for line in self.lines())
        with disk_errors(self.live):
            if not _holds(self.live, merged):
                atomic_write(self.live, merged)
            elif self.live.exists():
                # Git or an editor wrote it. It takes the place of a file that was synced, so it is synced before.
                sync_file(self.live)
            if not hard_link(self.live, self.twin) and not _holds(self.twin, merged):
                atomic_write(self.twin, merged)

    def mend_tails(self) -> None:
        """Under the lock: finish or set aside what a crash left at the end of either file."""
        for name in (self.live, self.twin):
            with _opened(name):
                pass  # before anything is touched: it is a plain file
            if torn := torn_bytes(name):
                self._mend_tail(name, torn)

    def _sweep(self) -> None:
        """Remove what killed processes left. Unless a name came or went since it was last done, there is nothing new."""
        if [changed(directory) for directory in self._directories] != self._swept:
            for directory in self._directories:
                sweep(directory)
            self._swept = [changed(directory) for directory in self._directories]

    def _mend_tail(self, name: Path, torn: int) -> None:
        whole = name.stat().st_size - torn
        with disk_errors(name):
            if torn <= LONGEST and _parses(name, whole):
                descriptor = open_to_append(name)
                try:
                    write_all(descriptor, b"\n")
                    sync(descriptor)
                finally:
                    os.close(descriptor)
                return
            make_directory(self._torn)
            copy_rest(name, whole, self._torn / f"{self.live.parent.name}-{os.urandom(6).hex()}.part")
            truncate(name, whole)

    def keep_aside(self) -> Path | None:
        """Copy both names' files to where torn tails are kept, under the lock; returns where one went, None where there is none."""
        make_directory(self._torn)
        place = self._torn / f"{self.live.parent.name}-{os.urandom(6).hex()}.jsonl"
        kept = None
        for name, copy in ((self.twin, place.with_suffix(".twin.jsonl")), (self.live, place)):
            if name.exists():
                copy_rest(name, 0, copy)
                kept = copy
        return kept

    # Checkpoints

    def leave_the_checkout(self) -> None:
        """Give up the live name: the second name keeps every line, and the next writing command makes the live one again."""
        if same_file(self.live, self.twin) or _same_content(self.live, self.twin):
            remove(self.live)

    def checkpoint(self, git: Git, message: str, *, others: Sequence[str] = ()) -> str:
        """Commit the ledger's content to its ref; returns the commit, which is the present one where nothing changed.

        `others` are checkpoints of other clones whose lines were taken in: further parents.
        """
        for attempt in range(_PATIENCE):
            old = git.commit_of(self.ref)
            if old and not set(before := self.lines_at(git, old)) <= set(self.lines()):
                # Somebody took rows out. What was committed once is not to be forgotten by the next commit.
                self.extend(before)
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
        objects, content = git.objects, b"".join(line + b"\n" for line in lines)
        listed = f"100644 {FILE}\0".encode() + bytes.fromhex(objects.id_of("blob", content))
        tree = objects.id_of("tree", listed)
        mine, *others = parents or [""]
        news = [other for other in others if not git.is_ancestor(other, mine)]
        before = objects.find(f"{mine}^{{tree}}") if mine and not news else None
        if before and before.id == tree:
            return mine
        objects.add("blob", content)
        objects.add("tree", listed)
        made = objects.commit(tree, ([mine] if mine else []) + news, message)
        objects.flush()
        return made

    def lines_at(self, git: Git, revision: str) -> list[bytes]:
        """The lines of a checkpoint; empty where the revision is none."""
        return whole_lines(git.read_blob(revision, FILE) or b"")


_ELSEWHERE = "spec-kitty keeps this mission's ledger on its coordination branch"


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[BinaryIO | None]:
    """A file of a ledger, or None. Errors: `LEDGER_DAMAGED` where that is no plain file, `LEDGER_UNREADABLE`."""
    with _plain_file(path):
        try:
            stream = open_unlinked(path)
        except FileNotFoundError:
            yield None
            return
    with stream:
        yield stream


@contextlib.contextmanager
def _plain_file(path: Path) -> Iterator[None]:
    """Whoever opens a file of a ledger: what cannot be opened is told as what it is."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EPERM):
            raise KittyError(
                "LEDGER_UNREADABLE",
                f"{path} cannot be read: {error.strerror}",
                "make it readable for this user",
                path=str(path),
            ) from error
        what = _ODD.get(error.errno or 0)
        if what is None:
            raise
        raise KittyError("LEDGER_DAMAGED", f"{path} is {what}", "move it away", path=str(path)) from error


def _lines_of(stream: BinaryIO | None, path: Path) -> list[bytes]:
    return [line for block in blocks(stream, path) for line in whole_lines(block.content)] if stream else []


def _end_of(stream: BinaryIO, size: int) -> bytes:
    length = stream.seek(0, os.SEEK_END)
    stream.seek(max(0, length - size))
    return stream.read(size)


def _same_content(one: Path, other: Path) -> bool:
    """Whether two files hold the same bytes; a missing one holds none."""
    if _size(one) != _size(other):
        return False
    if _size(one) == 0:
        return True
    with one.open("rb") as left, other.open("rb") as right:
        return all(mine == right.read(len(mine)) for mine in iter(lambda: left.read(1 << 20), b""))


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _holds(path: Path, content: bytes) -> bool:
    return path.exists() and _size(path) == len(content) and path.read_bytes() == content


def _parses(path: Path, offset: int) -> bool:
    with path.open("rb") as stream:
        stream.seek(offset)
        try:
            decode(parse(stream.read()))
        except (ValueError, RecursionError):
            return False
        return True


def _is_among(line: bytes, others: Sequence[bytes]) -> bool:
    return line in others or parse(line) in [parse(other) for other in others]


def _are_seeds(row: Any, others: Sequence[bytes]) -> bool:
    events = [decode(row), *(decode(parse(other)) for other in others)]
    return all(isinstance(event, Transition) and is_seed(event) for event in events)


def _parsed(line: bytes, path: Path, number: int, offset: int) -> Any:
    try:
        return parse(line)
    except (ValueError, RecursionError) as error:
        raise damaged(path, number, offset, line, error) from error


def _say_waiting(lock_file: Path, purpose: str) -> None:
    from kitty_host.holders import holder_of
    from kitty_host.report import note

    note(f"Waiting: {holder_of(lock_file) or 'another process'} holds {purpose} …")
