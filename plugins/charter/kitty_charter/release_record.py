"""The record of releases, `.kittify/release/downstream-verified.json`: what was a candidate, who verified it, what was promoted.

Each row holds the hash of the row before it. Whatever kitty writes is committed to `refs/kitty/release` besides, so that a row that is
changed or gone is noticed, the last one too. A row that kitty did not write in this clone has to be in a commit: somebody answers for it.
What the rows mean for a promotion is decided in `release`.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import shlex
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, ClassVar, TypeAlias

from attrs import asdict, field, frozen
from attrs.validators import matches_re

from kitty_host.api import KittyError
from kitty_host.config import structure
from kitty_host.files import atomic_write, lock, remove
from kitty_host.ledger.event import now
from kitty_host.repo import Repo

SCHEMA = "kitty.release/1"
PLACE = ".kittify/release/downstream-verified.json"
REF = "refs/kitty/release"
_FILE = "downstream-verified.json"
_NOTHING = "0" * 64
_PENDING = "release.pending"

Data: TypeAlias = dict[str, Any]


def _sha256() -> Any:
    return field(validator=matches_re(r"[0-9a-f]{64}"))


@frozen
class Artifact:
    """A file of a distribution."""

    name: str
    sha256: str = _sha256()


@frozen(kw_only=True)
class Candidate:
    """Files that may be promoted once all of them are verified."""

    kind: ClassVar[str] = "candidate"
    at: str
    actor: str
    distribution: str
    version: str
    artifacts: tuple[Artifact, ...]
    directory: str | None = None
    """Where they lay, relative to the repository; None outside it."""
    reason: str = ""
    """Why it takes the place of another one."""


@frozen(kw_only=True)
class Verification:
    """What came of a consumer's tests with one artefact, green or red."""

    kind: ClassVar[str] = "verification"
    at: str
    actor: str
    distribution: str
    version: str
    artifact: str
    sha256: str = _sha256()
    beside: tuple[Artifact, ...] = ()
    """Other candidates that were installed with it."""
    consumer: str
    commit: str
    command: str
    install: str = ""
    exit_code: int | None = None
    tests: int | None = None
    failed: int | None = None
    skipped: int | None = None
    seconds: float = 0.0
    ok: bool
    reason: str = ""
    """Why it is red."""


@frozen(kw_only=True)
class Promotion:
    """That files are published: `promoting` before it is done, `promoted` after."""

    at: str
    actor: str
    distribution: str
    version: str
    artifacts: tuple[Artifact, ...]
    kind: str


Row: TypeAlias = Candidate | Verification | Promotion
_KINDS: dict[str, type[Row]] = {
    "candidate": Candidate,
    "verification": Verification,
    "promoting": Promotion,
    "promoted": Promotion,
}


class Record:
    """The rows, for as long as the lock is held."""

    def __init__(self, repo: Repo, descriptor: int | None) -> None:
        self.repo = repo
        self.descriptor = descriptor
        """Of the lock, for a child that shall hold it too."""
        self._path = repo.root / PLACE
        self._pending = repo.state / _PENDING
        self._data = self._load()
        self.rows: list[Row] = [self._row(one, number) for number, one in enumerate(self._data, 1)]

    def of(self, distribution: str, version: str) -> list[Row]:
        """The rows about one version, the oldest first."""
        return [one for one in self.rows if (one.distribution, one.version) == (distribution, version)]

    def now(self) -> str:
        """The time for the next row, later than the last one's."""
        return now(after=self.rows[-1].at if self.rows else "")

    def append(self, row: Row) -> None:
        """Write one more row. Killed at any point, the record is what it was or has the row."""
        data = {"kind": row.kind, **asdict(row), "previous": _digest(self._data[-1]) if self._data else _NOTHING}
        rows = json.loads(json.dumps([*self._data, data]))
        content = _encode(rows)
        commit = self._commit(content, f"{row.kind} {row.distribution} {row.version}")
        # Between the file and the ref, this says that the row is kitty's.
        atomic_write(self._pending, commit.encode())
        atomic_write(self._path, content)
        self._advance(commit)
        self._data, self.rows = rows, [*self.rows, row]

    # Reading

    def _load(self) -> list[Data]:
        written = self._path.read_bytes() if self._path.exists() else None
        rows = self._parsed(written, PLACE)
        self._require_chain(rows)
        self._finish(rows)
        git = self.repo.git
        known = self._parsed(git.read_blob(REF, _FILE), REF)
        committed = self._parsed(git.read_blob("HEAD", PLACE), f"HEAD:{PLACE}")
        for others, source in ((known, f"{REF}:{_FILE}"), (committed, f"HEAD:{PLACE}")):
            if rows[: len(others)] != others:
                number = next(
                    (n for n, pair in enumerate(zip(rows, others, strict=False), 1) if pair[0] != pair[1]),
                    len(rows) + 1,
                )
                raise self._changed(f"row {number} of {PLACE} is not what it was, or is gone", self._restore(source))
        if len(rows) > max(len(known), len(committed)):
            number = max(len(known), len(committed)) + 1
            raise self._changed(
                f"row {number} of {PLACE} was not written by kitty in this clone, and is in no commit",
                f"take it back, {self._restore() if known or committed else f'run: rm {self._path}'}; or answer for it: "
                f"git add {PLACE} && git commit",
            )
        return rows

    def _parsed(self, content: bytes | None, where: str) -> list[Data]:
        if content is None:
            return []
        try:
            found = json.loads(content)
        except (ValueError, RecursionError):
            found = None
        rows = found.get("rows") if isinstance(found, dict) and found.get("schema") == SCHEMA else None
        if not isinstance(rows, list) or not all(isinstance(one, dict) for one in rows):
            raise self._changed(f"{where} is no {SCHEMA}", self._restore())
        return rows

    def _require_chain(self, rows: Sequence[Data]) -> None:
        before = _NOTHING
        for number, row in enumerate(rows, 1):
            if row.get("previous") != before:
                raise self._changed(f"before row {number} of {PLACE} a row was changed or taken out", self._restore())
            before = _digest(row)

    def _row(self, data: Data, number: int) -> Row:
        kind = _KINDS.get(str(data.get("kind")))
        if kind is None:
            raise self._changed(f"row {number} of {PLACE} is of no known kind", "update kitty-charter, or restore it")
        row: Row = structure(data, kind, where=f"rows.{number - 1}", path=self._path, code="RELEASE_RECORD_CHANGED")
        try:
            moment = moment_of(row.at)
        except ValueError:
            raise self._changed(f"row {number} of {PLACE} has no time", self._restore()) from None
        if moment > datetime.now(UTC):
            raise self._changed(
                f"row {number} of {PLACE} is of the future: {row.at}", "set the clock right; see: date -u"
            )
        return row

    def _changed(self, what: str, hint: str) -> KittyError:
        return KittyError("RELEASE_RECORD_CHANGED", what, hint, record=PLACE)

    def _restore(self, source: str = "") -> str:
        if not source:
            source = f"{REF}:{_FILE}" if self.repo.git.commit_of(REF) else f"HEAD:{PLACE}"
        root = shlex.quote(str(self.repo.root))
        return f"run: git -C {root} cat-file blob {source} > {shlex.quote(str(self._path))}"

    # Writing

    def _commit(self, content: bytes, message: str) -> str:
        objects, old = self.repo.git.objects, self.repo.git.commit_of(REF)
        blob = objects.add("blob", content)
        tree = objects.add("tree", f"100644 {_FILE}\0".encode() + bytes.fromhex(blob))
        commit = objects.commit(tree, [old] if old else [], f"release: {message}")
        objects.flush()
        return commit

    def _advance(self, commit: str) -> None:
        git = self.repo.git
        old = git.commit_of(f"{commit}^") or git.null_id
        git.run("update-ref", "--create-reflog", REF, commit, old)
        remove(self._pending)

    def _finish(self, rows: Sequence[Data]) -> None:
        """What a killed run left between the file and the ref."""
        with contextlib.suppress(FileNotFoundError):
            commit = self._pending.read_text(encoding="ascii")
            git = self.repo.git
            if self._parsed(git.read_blob(commit, _FILE), commit) == rows and git.commit_of(REF) != commit:
                self._advance(commit)
            remove(self._pending)


@contextlib.contextmanager
def opened(repo: Repo) -> Iterator[Record]:
    """The record, under its lock. Errors: `RELEASE_RECORD_CHANGED`, `LOCK_HELD`."""
    with lock(repo.state / "release.lock", wait_seconds=60, purpose="the record of releases", sign=True) as descriptor:
        yield Record(repo, descriptor)


def moment_of(at: str) -> datetime:
    """A row's time. Raises `ValueError` where that is none, or has no zone."""
    moment = datetime.fromisoformat(at)
    if moment.tzinfo is None:
        raise ValueError(at)
    return moment


def _digest(row: Data) -> str:
    return hashlib.sha256(json.dumps(row, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _encode(rows: Sequence[Data]) -> bytes:
    return (json.dumps({"schema": SCHEMA, "rows": rows}, indent=1) + "\n").encode()
