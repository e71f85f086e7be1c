"""What is written down about a move of the target before its refs move, where that lies, and the lock that makes landings take turns."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal, NamedTuple

from kitty_host.files import atomic_write, lock, remove
from kitty_host.git import Git
from kitty_host.repo import Repo
from kitty_merge.trees import Entry

Entries = Mapping[str, Entry | None]
"""Index entries by path; None where there is none."""


class Journal(NamedTuple):
    """What recovery needs to know about a move that was begun; written before the refs move, removed last."""

    kind: Literal["landing", "undo"]
    mission_id: str
    directory: str
    target: str
    old: str
    """What the target was, and `new`: what it becomes."""
    new: str
    updates: list[tuple[str, str, str]]
    """The transaction: each ref with its new and its old commit, zeros where it is made; the target first."""
    verified: list[tuple[str, str]]
    """Refs that the transaction locks and leaves at these commits."""
    ledger_commit: str
    """The live ledger holds its rows afterwards."""
    checkouts: list[str]
    kept: dict[str, dict[str, Entry]]
    """By checkout: files that are never written, with the index entries that keep Git from doing so."""
    after: dict[str, dict[str, Entry | None]]
    """By checkout: what index entries become at last where that is not what the new commit has."""
    rescue: dict[str, list[str]]
    """By checkout: files of the user's that are moved aside first."""
    before: dict[str, dict[str, Entry | None]]
    """By checkout: index entries that an undo has to set again."""

    def has_moved(self, git: Git) -> bool:
        """Whether the target is what it was to become, or somebody has built on that since."""
        now = git.commit_of(self.target)
        if now is None:
            return False
        # Whoever undoes goes back: the old commit contains the new one.
        return git.is_ancestor(self.new, now) if self.kind == "landing" else not git.is_ancestor(self.old, now)

    def write(self, repo: Repo) -> None:
        """Make it durable."""
        atomic_write(self.path(repo), json.dumps(self._asdict()).encode())

    def path(self, repo: Repo) -> Path:
        """Where it lies; its time is the time right before the transaction began."""
        return directory(repo) / f"{self.mission_id}.json"


class WayBack(NamedTuple):
    """What an undo needs to know about the last landing of a mission in this repository, besides its commits."""

    new: str
    before: dict[str, dict[str, Entry | None]]
    """As in the journal."""
    rescued: list[tuple[str, str, str]]
    """Files that were moved aside: checkout, path, and where they are."""

    @classmethod
    def read(cls, repo: Repo, mission_id: str, new: str) -> WayBack:
        """What was written down of the landing that made `new`; nothing where that happened elsewhere."""
        try:
            told = json.loads(cls._path(repo, mission_id).read_bytes())
            before = {checkout: entries(found) for checkout, found in told["before"].items()}
            found = cls(told["new"], before, [tuple(one) for one in told["rescued"]])
        except (OSError, ValueError, KeyError, TypeError):
            return cls(new, {}, [])
        return found if found.new == new else cls(new, {}, [])

    def write(self, repo: Repo, mission_id: str) -> None:
        """Replace what was known of an earlier landing."""
        atomic_write(self._path(repo, mission_id), json.dumps(self._asdict()).encode())

    @staticmethod
    def forget(repo: Repo, mission_id: str) -> None:
        """There is no landing any more."""
        remove(WayBack._path(repo, mission_id))

    @staticmethod
    def _path(repo: Repo, mission_id: str) -> Path:
        return repo.state / "undo" / f"{mission_id}.json"


def undo_ref(mission_id: str) -> str:
    """The ref that keeps what the target was before the last landing of a mission."""
    return f"refs/kitty/{mission_id}/undo"


def directory(repo: Repo) -> Path:
    """Where journals and tokens lie."""
    return repo.state / "merge"


def tokens(repo: Repo, mission_id: str) -> Path:
    """Where the tokens of a landing lie, to which the locks of checkouts are linked."""
    return directory(repo) / f"{mission_id}.tokens"


def begun(repo: Repo) -> list[Journal]:
    """The journals of moves that are not finished."""
    return [_read(path) for path in sorted(directory(repo).glob("*.json"))]


def _read(path: Path) -> Journal:
    told = json.loads(path.read_bytes())
    by_checkout = {
        name: {checkout: entries(found) for checkout, found in told[name].items()}
        for name in ("kept", "after", "before")
    }
    refs = {name: [tuple(one) for one in told[name]] for name in ("updates", "verified")}
    return Journal(**{**told, **by_checkout, **refs})


def entries(told: Mapping[str, list[str] | None]) -> dict[str, Entry | None]:
    """Index entries as JSON keeps them."""
    return {path: Entry(*entry) if entry else None for path, entry in told.items()}


def unfinished(repo: Repo) -> list[str]:
    """The ids of missions whose landing, or its undoing, was begun and is not finished."""
    return sorted(
        {path.stem for pattern in ("*.json", "*.tokens", "*.intent") for path in directory(repo).glob(pattern)}
    )


def drop(repo: Repo, mission_id: str) -> None:
    """Forget a move that is finished or was never made; the journal goes last."""
    with contextlib.suppress(OSError):
        tokens(repo, mission_id).rmdir()
    remove(directory(repo) / f"{mission_id}.json")


@contextlib.contextmanager
def merge_lock(repo: Repo) -> Iterator[int | None]:
    """One landing at a time in a repository; whoever has the lock may ask for it again. Yields as `lock`. Errors: `LOCK_HELD`."""
    place = repo.state / "merge.lock"
    if place in _held:
        yield _held[place]
        return
    with lock(place, wait_seconds=0, purpose="the merge lock", sign=True) as descriptor:
        _held[place] = descriptor
        try:
            yield descriptor
        finally:
            del _held[place]


_held: dict[Path, int | None] = {}
