"""Kills operations of the ledger at every point there is, and the healing that follows at every point of its own.

`OPERATIONS` is the table: a row for each operation and each state of the files that it meets. Run as a program with the crash library
preloaded, this forks a child for each point, so that no point pays for an interpreter; what it found goes to standard output as JSON.
"""

from __future__ import annotations

import argparse
import errno
import itertools
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from library import Call, arm, calls_of, copy, disarm, points, snapshot

from kitty_host.files import TEMPORARY_PREFIX, same_file, temporary
from kitty_host.ledger.event import Row, annotation, encode, ulid
from kitty_host.ledger.log import Ledger
from kitty_host.ledger.seal import seal

MISSION = "01HZZZZZZZZZZZZZZZZZZZZZZZ"
# No process can have this number: it is above the largest `pid_max` that Linux allows.
NOBODY = 4_194_305
AT = "2026-01-01T00:00:00.000000+00:00"

Line = bytes
Batch = tuple[Row, ...]


class Known(NamedTuple):
    """What may be in a ledger, by what its writers were told."""

    kept: tuple[Line, ...] = ()
    """Acknowledged: there, byte for byte, once."""
    tried: tuple[tuple[Line, ...], ...] = ()
    """Writes that nobody acknowledged, each as its lines: whole lines or nothing."""


class Operation(NamedTuple):
    """One row of the table."""

    name: str
    prepare: Callable[[Ledger], Known]
    """Makes the state that the operation meets, and says what is in it."""
    act: Callable[[Ledger, Sequence[Batch]], Iterator[None]]
    """Does it; yields whenever one more of the batches is acknowledged."""
    batches: tuple[Batch, ...] = ()
    """What it writes."""
    linked: bool = True
    """Whether the two names are one file afterwards; where there are no links they have the same bytes."""


def ledger_in(directory: Path) -> Ledger:
    """The ledger of a directory that looks like a repository to it."""
    return Ledger(directory / "kitty-specs" / "demo", directory / ".git", MISSION)


def row(number: int, size: int = 60) -> Row:
    """A row that is the same in every process."""
    note = {"note": f"{number} " + "x" * size}
    return {**annotation("WP01", note, actor="agent"), "event_id": ulid(number, number), "at": AT}


def line(found: Row) -> Line:
    """A row as it is in the file, without its newline."""
    return encode(found).encode().removesuffix(b"\n")


def lines(found: Sequence[Row]) -> tuple[Line, ...]:
    """Several."""
    return tuple(line(one) for one in found)


def text(found: Sequence[Line]) -> bytes:
    """Lines as the bytes of a file."""
    return b"".join(one + b"\n" for one in found)


# States. What a state needs beside the ledger's own calls is written by hand here: it is the damage.


def healthy(ledger: Ledger, count: int = 3) -> Known:
    """A few rows, both names."""
    rows = [row(number) for number in range(1, count + 1)]
    ledger.append(rows)
    return Known(lines(rows))


def large(ledger: Ledger) -> Known:
    """More than a page of rows."""
    return healthy(ledger, 200)


def nothing(ledger: Ledger) -> Known:
    """Not even directories."""
    return Known()


def mission_only(ledger: Ledger) -> Known:
    """A mission without a ledger."""
    ledger.live.parent.mkdir(parents=True)
    return Known()


def fresh_clone(ledger: Ledger) -> Known:
    """Git made the live name; there is no second one."""
    known = healthy(ledger)
    shutil.rmtree(ledger.twin.parent.parent)
    return known


def empty_clone(ledger: Ledger) -> Known:
    """A live file without bytes and no second name."""
    mission_only(ledger)
    ledger.live.touch()
    return Known()


def live_missing(ledger: Ledger) -> Known:
    """`git clean -fdx`, say."""
    known = healthy(ledger)
    ledger.live.unlink()
    return known


def directory_missing(ledger: Ledger) -> Known:
    """A switch to a branch that has no such mission."""
    known = healthy(ledger)
    shutil.rmtree(ledger.live.parent.parent)
    return known


def split(ledger: Ledger) -> Known:
    """The names lead to two files, each with a row that the other lacks."""
    known = healthy(ledger)
    mine, theirs = line(row(11)), line(row(12))
    ledger.live.unlink()
    ledger.live.write_bytes(text([*known.kept, mine]))
    ledger.twin.write_bytes(text([*known.kept, theirs]))
    return Known((*known.kept, mine, theirs))


def apart(ledger: Ledger) -> Known:
    """Two files with the same bytes."""
    known = healthy(ledger)
    ledger.live.unlink()
    ledger.live.write_bytes(text(known.kept))
    return known


def set_back(ledger: Ledger) -> Known:
    """`git checkout -f` put an older file in place."""
    known = healthy(ledger)
    ledger.live.unlink()
    ledger.live.write_bytes(text(known.kept[:1]))
    return known


def emptied(ledger: Ledger) -> Known:
    """The live name leads to a file without bytes."""
    known = healthy(ledger)
    ledger.live.unlink()
    ledger.live.touch()
    return known


def tail(end: bytes, *also: Line) -> Callable[[Ledger], Known]:
    """A torn tail that somebody left; `also` if it is a row that may be finished."""

    def prepare(ledger: Ledger) -> Known:
        known = healthy(ledger)
        with ledger.live.open("ab") as stream:
            stream.write(end)
        return known._replace(tried=(also,) if also else ())

    return prepare


def only_tail(ledger: Ledger) -> Known:
    """The first write of all was torn, and the second name never came to be."""
    mission_only(ledger)
    ledger.live.write_bytes(line(row(21))[:40])
    return Known()


def tail_below(ledger: Ledger) -> Known:
    """A torn tail under the second name, which is the only one."""
    known = tail(line(row(21))[:40])(ledger)
    ledger.live.unlink()
    return known


def tails(ledger: Ledger) -> Known:
    """Two files, each torn, one of them in a row that is whole but for its newline."""
    known = split(ledger)
    for name, end in ((ledger.live, line(row(21))[:40]), (ledger.twin, line(row(22)))):
        with name.open("ab") as stream:
            stream.write(end)
    return known._replace(tried=((line(row(22)),),))


def nobodys(directory: Path) -> Path:
    """A temporary file's name that says it is a dead process's."""
    mine = temporary(directory).name
    return directory / mine.replace(f"-{os.getpid()}-", f"-{NOBODY}-")


def littered(ledger: Ledger) -> Known:
    """Temporary files of a process that was killed, beside both names, and a tail that was set aside before."""
    known = tail(line(row(21))[:40])(ledger)
    for name in (ledger.live, ledger.twin):
        nobodys(name.parent).write_bytes(b"half of someth")
    ledger.append([row(4)])
    with ledger.live.open("ab") as stream:
        stream.write(b"\0" * 100)
    for name in (ledger.live, ledger.twin):
        nobodys(name.parent).write_bytes(b"half of someth")
    return Known((*known.kept, line(row(4))))


# Operations


def append(ledger: Ledger, batches: Sequence[Batch]) -> Iterator[None]:
    """Each batch as one command would write it."""
    for batch in batches:
        ledger.append(batch)
        yield


def sealing(ledger: Ledger, batches: Sequence[Batch]) -> Iterator[None]:
    """Each batch and a seal of everything that is there then, as an approval writes it."""
    for *rows, wanted in batches:
        with ledger.locked():
            made = sealed([*ledger.lines(), *lines(rows)])
            assert made == wanted, "the table below says what is sealed"
            descriptor = ledger.write([*rows, made])
        ledger.settle(descriptor, [*rows, made])
        yield


def sealed(found: Sequence[Line]) -> Row:
    """A seal that is the same in every process."""
    return {**seal(found, MISSION), "event_id": ulid(2000, len(found)), "timestamp": AT}


def repair(ledger: Ledger, batches: Sequence[Batch]) -> Iterator[None]:
    """What every writing command does first."""
    with ledger.locked():
        pass
    yield from ()


def extend(ledger: Ledger, batches: Sequence[Batch]) -> Iterator[None]:
    """Lines of another copy, which has the first row of this one too."""
    for batch in batches:
        ledger.extend(lines([row(1), *batch]))
        yield


def without_links(ledger: Ledger, batches: Sequence[Batch]) -> Iterator[None]:
    """Appends where the file system knows no links between the two places."""

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))

    real, os.link = os.link, refuse
    try:
        yield from append(ledger, batches)
    finally:
        os.link = real


ONE: tuple[Batch, ...] = ((row(1001),),)
FIVE: tuple[Batch, ...] = (tuple(row(number) for number in range(1001, 1006)),)
LONG: tuple[Batch, ...] = (tuple(row(number, 3000) for number in range(1001, 1006)),)
THREE_TIMES: tuple[Batch, ...] = ((row(1001),), (row(1002), row(1003)), (row(1004),))
PART = line(row(21))[:40]
WHOLE = line(row(21))

SEALED: tuple[Batch, ...] = ((row(1001), sealed(lines([row(1), row(2), row(3), row(1001)]))),)

OPERATIONS = (
    Operation("append", healthy, append, ONE),
    Operation("append to a long ledger", large, append, ONE),
    Operation("three appends", healthy, append, THREE_TIMES),
    Operation("the first row of all", nothing, append, ONE),
    Operation("the first row of a mission", mission_only, append, ONE),
    Operation("the first batch of a mission", mission_only, append, FIVE),
    Operation("append to a file without bytes", empty_clone, append, ONE),
    Operation("a batch", healthy, append, FIVE),
    Operation("a batch of long rows", healthy, append, LONG),
    Operation("a seal", healthy, sealing, SEALED),
    Operation("a seal after a fresh clone", fresh_clone, sealing, SEALED),
    Operation("a seal behind a tail that does not parse", tail(PART), sealing, SEALED),
    Operation("append after a fresh clone", fresh_clone, append, ONE),
    Operation("repair after a fresh clone", fresh_clone, repair),
    Operation("append with the live name missing", live_missing, append, ONE),
    Operation("a batch with its directory missing", directory_missing, append, FIVE),
    Operation("repair with the live name missing", live_missing, repair),
    Operation("re-link by repair", split, repair),
    Operation("re-link by append", split, append, ONE),
    Operation("re-link of the same bytes", apart, append, ONE),
    Operation("re-link of an older file", set_back, repair),
    Operation("re-link of an emptied file", emptied, append, ONE),
    Operation("append behind a tail that parses", tail(WHOLE, WHOLE), append, ONE),
    Operation("repair of a tail that parses", tail(WHOLE, WHOLE), repair),
    Operation("append behind a tail that does not", tail(PART), append, ONE),
    Operation("repair of a tail that does not", tail(PART), repair),
    Operation("repair of a tail of zeros", tail(b"\0" * 5000), repair),
    Operation("a batch behind a tail of one byte", tail(b"{"), append, FIVE),
    Operation("the first row behind a tail", only_tail, append, ONE),
    Operation("repair of a tail under the second name", tail_below, repair),
    Operation("repair of two torn files", tails, repair),
    Operation("append to two torn files", tails, append, ONE),
    Operation("append beside what the dead left", littered, append, ONE),
    Operation("extend", healthy, extend, FIVE),
    Operation("extend a fresh clone", fresh_clone, extend, ONE),
    Operation("extend two files", split, extend, FIVE),
    Operation("append without links", healthy, without_links, ONE, linked=False),
    Operation("the first row without links", nothing, without_links, ONE, linked=False),
    Operation("re-link without links", split, without_links, FIVE, linked=False),
)


# What has to hold


class Seen(NamedTuple):
    """What a query found."""

    lines: list[Line]
    tails: list[bytes]
    problems: list[str]
    cut: bool = False
    """Whether an unacknowledged batch is there in part."""


def look(directory: Path, known: Known) -> Seen:
    """Ask the ledger as any query does: nothing acknowledged is gone, nothing is half there, damage is named, nothing is written."""
    ledger = ledger_in(directory)
    before = snapshot(directory)
    try:
        found, codes = ledger.lines(), {finding.code for finding in ledger.findings()}
    except Exception as error:  # noqa: BLE001 - it is reported with its point
        return Seen([], [], [f"a query failed: {error!r}"])
    problems = ["a query wrote something"] if snapshot(directory) != before else []
    problems += [
        f"acknowledged, {found.count(one)} times there: {one[:99]!r}" for one in known.kept if found.count(one) != 1
    ]
    cut = False
    for batch in known.tried:
        there = [one for one in found if one in batch]
        # A torn write may leave the first lines of a batch whole. Nothing in them says that more were to come, and healing keeps them.
        cut = cut or 0 < len(there) < len(batch)
        if there != list(batch[: len(there)]):
            problems.append(
                f"an unacknowledged write is there in part or out of order: {len(there)} of {len(batch)} lines"
            )
    foreign = set(found).difference(known.kept, *known.tried)
    problems += [f"nobody wrote this line: {one[:99]!r}" for one in foreign]
    live, twin = (name.read_bytes() if name.exists() else b"" for name in (ledger.live, ledger.twin))
    apart = live != twin and (ledger.twin.exists() or not ledger.live.exists())
    wrong = {code for code, is_so in (("LEDGER_TORN", _tail(live)), ("LEDGER_NAMES", apart)) if is_so}
    if not wrong <= codes or (codes and not wrong):
        problems.append(f"findings name {sorted(codes)}, wrong is {sorted(wrong)}")
    torn = [end for end in (_tail(live), _tail(twin)) if end and end not in _rows(known)]
    return Seen(found, torn, problems, cut)


def _tail(content: bytes) -> bytes:
    return content[content.rfind(b"\n") + 1 :]


def _rows(known: Known) -> set[Line]:
    return {*known.kept, *(one for batch in known.tried for one in batch)}


def after_writing(directory: Path, known: Known, before: Seen, *, linked: bool) -> list[str]:
    """What must be so once a writing operation came to its end."""
    ledger = ledger_in(directory)
    seen = look(directory, known)
    problems = list(seen.problems)
    problems += [f"still found: {finding.code}" for finding in ledger.findings()]
    problems += [f"left behind: {path.name}" for path in directory.rglob(f"{TEMPORARY_PREFIX}*")]
    # The operation may have had nothing to write and no file to mend.
    if ledger.live.exists() or ledger.twin.exists() or known.kept:
        together = same_file(ledger.live, ledger.twin)
        if not linked and ledger.live.exists() and ledger.twin.exists():
            together = ledger.live.read_bytes() == ledger.twin.read_bytes()
        problems += [] if together else ["the two names are not one"]
    problems += ["a line that a query had shown is gone"] if not set(before.lines) <= set(seen.lines) else []
    aside = [path.read_bytes() for path in (directory / ".git" / "kitty" / "torn").glob("*")]
    problems += [f"a torn tail was thrown away: {end[:99]!r}" for end in before.tails if end not in aside]
    return problems


# The sweep


class Outcome(NamedTuple):
    """What became of one run of an operation."""

    killed: bool
    acknowledged: int
    """How many of its batches."""
    calls: list[Call]
    error: str


def run(operation: Operation, directory: Path, counter: Path, at: int = 0, torn: bool = False) -> Outcome:
    """Run an operation in a child, which dies at its call number `at`; 0 only counts."""
    told, tell = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setpgid(0, 0)
            ledger = ledger_in(directory)
            arm(at, torn=torn)
            for _ in operation.act(ledger, operation.batches):
                os.write(tell, b".")
            disarm()
            os._exit(0)
        except BaseException as error:  # noqa: BLE001 - this process must not go on as its parent
            os.write(tell, repr(error).encode())
            os._exit(1)
    os.close(tell)
    said = b""
    while part := os.read(told, 4096):
        said += part
    os.close(told)
    # Reaped before anything is checked: what is no more than a zombie still counts as running.
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    refusal = said.lstrip(b".").decode(errors="replace")
    if not refusal and status not in (0, -9):
        refusal = f"exit {status}"
    acknowledged = len(said) - len(said.lstrip(b"."))
    return Outcome(status == -9, acknowledged, calls_of(counter), refusal)


class Sweep:
    """Goes through the points of some operations and writes down what did not hold."""

    def __init__(self, scratch: Path, counter: Path, every: int, again: int) -> None:
        self.scratch = scratch
        self.counter = counter
        # By how many healings may still be killed.
        self.steps = (again, every)
        self.offered = [0, 0]
        self.points = 0
        self.broken: list[str] = []
        self.cut: list[str] = []
        self._directories = itertools.count()

    def _directory(self) -> Path:
        return self.scratch / str(next(self._directories))

    def go(self, operation: Operation) -> None:
        """Every point of an operation, and every point of the healing after each."""
        state = self._directory()
        (state / ".git").mkdir(parents=True)
        known = operation.prepare(ledger_in(state))
        self._explore(operation, state, known, look(state, known), operation.name, depth=1)
        shutil.rmtree(state)

    def _explore(self, operation: Operation, state: Path, known: Known, before: Seen, story: str, depth: int) -> None:
        """Let an operation come to its end from a state, then kill it at each point of that, and heal each time."""
        self._note(story, before.problems)
        whole = self._directory()
        copy(state, whole)
        done = run(operation, whole, self.counter)
        written = known
        for batch in operation.batches:
            written = written._replace(kept=(*written.kept, *lines(batch)))
        problems = [done.error] if done.error else after_writing(whole, written, before, linked=operation.linked)
        self._note(f"{story}, whole", problems)
        shutil.rmtree(whole)
        if depth < 0:
            return
        for at, torn in points(done.calls):
            self.offered[depth] += 1
            if self.offered[depth] % self.steps[depth] == 0:
                self._kill(operation, state, known, f"{story}, {_name(at, torn, done.calls)}", at, torn, depth)

    def _kill(
        self, operation: Operation, state: Path, known: Known, story: str, at: int, torn: bool, depth: int
    ) -> None:
        self.points += 1
        place = self._directory()
        copy(state, place)
        done = run(operation, place, self.counter, at, torn)
        if not done.killed:
            self._note(story, [f"it was not killed: {done.error}"])
        for number, batch in enumerate(operation.batches):
            if number < done.acknowledged:
                known = known._replace(kept=(*known.kept, *lines(batch)))
            elif number == done.acknowledged:
                known = known._replace(tried=(*known.tried, lines(batch)))
        heal = Operation("heal", healthy, append, ((row(2000 - depth),),))
        seen = look(place, known)
        self.cut += [story] if seen.cut else []
        self._explore(heal, place, known, seen, story, depth - 1)
        shutil.rmtree(place)

    def _note(self, story: str, problems: Sequence[str]) -> None:
        self.broken += [f"{story}: {problem}" for problem in problems]


def _name(at: int, torn: bool, calls: Sequence[Call]) -> str:
    return f"killed {'inside' if torn else 'before'} call {at} ({calls[at - 1].name})"


def main() -> None:
    """One share of the table, one operation after the other."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scratch", type=Path)
    parser.add_argument("--share", default="0/1", metavar="I/N")
    parser.add_argument("--every", type=int, default=1, metavar="K", help="only every K-th point of an operation")
    parser.add_argument("--again", type=int, default=1, metavar="K", help="only every K-th point of a healing")
    asked = parser.parse_args()
    first, step = (int(part) for part in asked.share.split("/"))
    sweep = Sweep(asked.scratch, Path(os.environ["KITTY_CRASH_COUNTER"]), asked.every, asked.again)
    counts: dict[str, int] = {}
    for operation in OPERATIONS[first::step]:
        before = sweep.points
        sweep.go(operation)
        counts[operation.name] = sweep.points - before
    json.dump({"points": counts, "broken": sweep.broken, "cut": sweep.cut}, sys.stdout)


if __name__ == "__main__":
    main()
