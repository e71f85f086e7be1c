"""What is written down about a landing before its ref moves, where that lies, and the lock that makes landings take turns."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from kitty_host.files import atomic_write, lock, remove
from kitty_host.repo import Repo


class Journal(NamedTuple):
    """What recovery needs to know about a landing that was begun; written before the ref moves, removed last."""

    mission_id: str
    directory: str
    target: str
    old: str
    new: str
    ledger_ref: str
    ledger_commit: str
    own: dict[str, list[str]]
    checkouts: list[str]
    rescue: dict[str, list[str]]
    verified: tuple[str, ...] = ()
    """Refs that the transaction locks and leaves as they are."""

    @property
    def undo_ref(self) -> str:
        """What leads back."""
        return f"refs/kitty/{self.mission_id}/undo"

    def write(self, repo: Repo) -> None:
        """Make it durable."""
        atomic_write(self.path(repo), json.dumps(self._asdict()).encode())

    def path(self, repo: Repo) -> Path:
        """Where it lies; its time is the time right before the transaction began."""
        return directory(repo) / f"{self.mission_id}.json"


def directory(repo: Repo) -> Path:
    """Where journals and tokens lie."""
    return repo.state / "merge"


def tokens(repo: Repo, mission_id: str) -> Path:
    """Where the tokens of a landing lie, to which the locks of checkouts are linked."""
    return directory(repo) / f"{mission_id}.tokens"


def begun(repo: Repo) -> list[Journal]:
    """The journals of landings that are not finished."""
    return [Journal(**json.loads(path.read_bytes())) for path in sorted(directory(repo).glob("*.json"))]


def unfinished(repo: Repo) -> list[str]:
    """The ids of missions whose landing was begun and is not finished."""
    return sorted({path.stem for pattern in ("*.json", "*.tokens") for path in directory(repo).glob(pattern)})


def drop(repo: Repo, mission_id: str) -> None:
    """Forget a landing that is finished or was never made; the journal goes last."""
    with contextlib.suppress(OSError):
        tokens(repo, mission_id).rmdir()
    remove(directory(repo) / f"{mission_id}.json")


@contextlib.contextmanager
def merge_lock(repo: Repo) -> Iterator[None]:
    """One landing at a time in a repository. Errors: `LOCK_HELD`."""
    with lock(repo.state / "merge.lock", wait_seconds=0, purpose="the merge lock: another landing runs"):
        yield
