"""Proving a ledger whole: every line, every seal, every checkpoint, every commit against its parents. Reads everything, writes nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from kitty_host.api import Finding, KittyError
from kitty_host.files import open_unlinked
from kitty_host.git import Git
from kitty_host.inert import inert
from kitty_host.ledger.event import BadRow, Row, decode, event_id_of, parse
from kitty_host.ledger.lines import LONGEST, Block, blocks, damaged, torn_bytes, whole_lines
from kitty_host.ledger.log import FILE, Ledger
from kitty_host.ledger.seal import digest, name_of, problems

_MOST = 100
"""Findings of either severity; who has more has a broken file, not a hundred broken lines."""


class Line(NamedTuple):
    """A readable line of a ledger."""

    row: Row
    number: int
    offset: int


class Spot(NamedTuple):
    """A finding, and where it is in the file: the line, from 1, and its first byte, from 0; None where no line is meant."""

    finding: Finding
    line: int | None = None
    byte: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return {**self.finding._asdict(), "line": self.line, "byte": self.byte}


class Verified(NamedTuple):
    """What was read and what is wrong with it."""

    rows: int
    spots: list[Spot]

    @property
    def broken(self) -> list[Spot]:
        """Where something is lost or changed; what the next writing command mends by itself is not."""
        return [spot for spot in self.spots if spot.finding.severity == "block"]


def verify(ledger: Ledger, git: Git, path: str, branches: Sequence[str] = ()) -> Verified:
    """Look at everything that tells of a ledger.

    `path` is the live file relative to the repository. In the history of `branches` and of the checkpoints each commit's ledger must
    contain its parents' lines.
    """
    spots = [Spot(finding) for finding in ledger.findings()]
    apart = any(spot.finding.code == "LEDGER_NAMES" for spot in spots)
    lines = list(_readable(ledger.live, spots))
    if apart:
        lines += _only_there(lines, list(_readable(ledger.twin, spots)))
    lines += _only_there(lines, list(_elsewhere(ledger, spots)))
    spots += _repeated(lines, ledger.live)
    places = {name_of(line.row): line for line in lines}
    # One row is told once: by its checkpoint, which knows where it stood, else by its seal.
    found = dict(_unsealed(lines, places, ledger.live)) | dict(_forgotten(ledger, git, places))
    spots += sorted(found.values(), key=lambda spot: spot.line or 0)
    spots += _history(git, [ledger.ref], FILE)
    spots += _history(git, branches, path)
    broken = [spot for spot in spots if spot.finding.severity == "block"]
    others = [spot for spot in spots if spot.finding.severity != "block"]
    return Verified(len(lines), broken[:_MOST] + others[:_MOST])


def readable(path: Path) -> tuple[list[bytes], int]:
    """The whole lines of a file that can be read, and how many cannot; none where there is no file."""
    good: list[bytes] = []
    endless: list[KittyError] = []
    bad = 0
    if path.exists():
        with path.open("rb") as stream:
            for block in blocks(stream, path, endless=endless.append):
                for line in filter(bytes.strip, whole_lines(block.content)):
                    if _row_of(line) is None:
                        bad += 1
                    else:
                        good.append(line)
    return good, bad + len(endless)


def _row_of(line: bytes) -> Row | None:
    try:
        row: Row = parse(line)
        decode(row)
    except (ValueError, BadRow, RecursionError):
        return None
    return row


def _readable(path: Path, spots: list[Spot]) -> Iterator[Line]:
    """The lines that can be read, a last one that only lacks its newline included; those that cannot are findings."""
    number = offset = 0
    try:
        with open_unlinked(path) as stream:
            for block in blocks(stream, path, endless=lambda error: spots.append(_spot(error))):
                yield from _rows(block, path, spots)
                number = block.number + block.content.count(b"\n")
                offset = block.offset + len(block.content)
    except FileNotFoundError:
        return
    except OSError as error:
        what = f"{path} cannot be read: {error.strerror}"
        spots.append(Spot(Finding("LEDGER_DAMAGED", what, "move it away, or make it readable", "block", FILE)))
        return
    torn = torn_bytes(path)
    if 0 < torn <= LONGEST and (row := _row_of(path.read_bytes()[-torn:])) is not None:
        yield Line(row, number + 1, offset)


def _elsewhere(ledger: Ledger, spots: list[Spot]) -> Iterator[Line]:
    """The lines of a copy on a coordination branch."""
    content = b"".join(line + b"\n" for line in ledger.lines_elsewhere())
    yield from _rows(Block(content, 0, 0), Path("the copy on the coordination branch"), spots)


def _rows(block: Block, path: Path, spots: list[Spot]) -> Iterator[Line]:
    number, offset = block.number, block.offset
    for text in whole_lines(block.content):
        number += 1
        if text.strip():
            try:
                row = parse(text)
                decode(row)
            except (ValueError, BadRow, RecursionError) as error:
                refusal = damaged(path, number, offset, text, error)
                spots.append(_spot(refusal))
            else:
                yield Line(row, number, offset)
        offset += len(text) + 1


def _spot(error: KittyError) -> Spot:
    finding = Finding(error.code, error.message, error.hint, "block", FILE)
    return Spot(finding, error.details["line"], error.details["byte"])


def _only_there(lines: list[Line], others: list[Line]) -> list[Line]:
    known = {name_of(line.row) for line in lines}
    return [line for line in others if name_of(line.row) not in known]


def _repeated(lines: list[Line], path: Path) -> Iterator[Spot]:
    """Lines that say again what another said, as a merge of Git leaves them, and ids that say two things."""
    first: dict[str, Line] = {}
    for line in lines:
        known = first.setdefault(name_of(line.row), line)
        if known is line:
            continue
        place = f"{path}, line {line.number} (byte {line.offset})"
        if known.row == line.row:
            finding = Finding(
                "LEDGER_REPEATED",
                f"{place}: repeats line {known.number}",
                "nothing to do: a transition counts once; a note is shown twice",
                "warn",
                FILE,
            )
        else:
            finding = Finding(
                "EVENT_ID_CONFLICT",
                f"{place}: event {_named(event_id_of(line.row))} says something else in line {known.number}",
                "compare the two lines and take the wrong one out by hand",
                "block",
                FILE,
            )
        yield Spot(finding, line.number, line.offset)


def _unsealed(lines: list[Line], places: dict[str, Line], path: Path) -> Iterator[tuple[str, Spot]]:
    """Rows that are gone or changed since they were sealed, by their names."""
    for problem in problems([line.row for line in lines]):
        if problem.gone:
            # Ids ascend where nothing was merged, so this is where it stood, or near it.
            later = next((line for line in lines if event_id_of(line.row) > problem.event_id), None)
            where = f"before line {later.number} (byte {later.offset})" if later else "at the end"
            what = f"{path}: event {_named(problem.event_id)}, which the seal {problem.seal} names, is gone {where}"
            yield problem.event_id, _gone(what, *(later[1:] if later else ()))
        else:
            line = places[problem.event_id]
            yield problem.event_id, _changed(path, line, f"it is not what the seal {problem.seal} sealed")


def _forgotten(ledger: Ledger, git: Git, places: dict[str, Line]) -> Iterator[tuple[str, Spot]]:
    """Lines of the last checkpoint that are gone or changed."""
    offset = 0
    for number, text in enumerate(ledger.lines_at(git, ledger.ref), 1):
        row = _row_of(text) if text.strip() else None
        if row is not None:
            known = places.get(name_of(row))
            if known is None:
                what = f"line {number} (byte {offset}) of {ledger.ref}, event {_named(event_id_of(row))}, is gone"
                yield name_of(row), _gone(what, number, offset)
            elif known.row != row:
                yield name_of(row), _changed(ledger.live, known, f"it is not what {ledger.ref} has")
        offset += len(text) + 1


def _gone(what: str, line: int | None = None, byte: int | None = None) -> Spot:
    finding = Finding("LEDGER_ROWS_GONE", what, "bring it back: kitty ledger repair --from-checkpoint", "block", FILE)
    return Spot(finding, line, byte)


def _changed(path: Path, line: Line, what: str) -> Spot:
    finding = Finding(
        "LEDGER_CHANGED",
        f"{path}, line {line.number} (byte {line.offset}), event {_named(event_id_of(line.row))}: {what}",
        "bring it back: kitty ledger repair --from-checkpoint",
        "block",
        FILE,
    )
    return Spot(finding, line.number, line.offset)


# Every commit against its parents


def _history(git: Git, revisions: Sequence[str], path: str) -> Iterator[Spot]:
    """Commits whose ledger lacks lines that a parent's has. Branches from which the file is gone altogether tell nothing."""
    known = [revision for revision in revisions if git.commit_of(revision)]
    if not known:
        return
    commits = [line.split(" ") for line in git.lines("rev-list", "--full-history", "--parents", *known, "--", path)]
    contents = _contents(git, [commit for commit, *_ in commits], path)
    for commit, *parents in commits:
        mine = contents.get(commit)
        for parent in parents:
            theirs = contents.get(parent)
            if mine is None or theirs is None or mine.startswith(theirs):
                continue
            kept = {_known_by(line) for line in whole_lines(mine)}
            lost = [(number, line) for number, line in enumerate(whole_lines(theirs), 1) if _known_by(line) not in kept]
            if lost:
                number, line = lost[0]
                row: Any = _row_of(line) or {}
                yield _gone(
                    f"commit {commit[:12]} lacks {len(lost)} of the ledger's lines that its parent {parent[:12]} has, the first "
                    f"being line {number} (event {_named(event_id_of(row))})"
                )


def _known_by(line: bytes) -> str:
    row = _row_of(line)
    return digest(row) if row is not None else line.decode(errors="surrogateescape")


def checkpointed(ledger: Ledger, git: Git) -> list[Row]:
    """Every row that any checkpoint ever had, oldest checkpoint first; what cannot be read in one is left out."""
    if git.commit_of(ledger.ref) is None:
        return []
    commits = git.lines("rev-list", "--reverse", "--topo-order", ledger.ref)
    contents = _contents(git, commits, FILE)
    found: dict[str, Row] = {}
    for commit in commits:
        for line in whole_lines(contents.get(commit, b"")):
            if line.strip() and (row := _row_of(line)) is not None:
                found.setdefault(digest(row), row)
    return list(found.values())


def _contents(git: Git, commits: Sequence[str], path: str) -> dict[str, bytes]:
    """The ledger in each of some commits."""
    asked = "".join(f"{commit}:{path}\n" for commit in commits).encode()
    blobs = git.lines("cat-file", "--batch-check=%(objectname) %(objecttype)", stdin=asked)
    named = {commit: line.split(" ")[0] for commit, line in zip(commits, blobs, strict=True) if line.endswith(" blob")}
    read = {blob: git.run("cat-file", "blob", blob).stdout for blob in set(named.values())}
    return {commit: read[blob] for commit, blob in named.items()}


def _named(event_id: object) -> str:
    """An event as a seal calls it, by id or `#` and digest; whoever wrote the row chose the id."""
    return f"#{inert(event_id[1:])}" if isinstance(event_id, str) and event_id[:1] == "#" else inert(str(event_id))
