"""Missions whose ledger spec-kitty keeps on a coordination branch: where that copy is, until the mission is adopted.

Both copies are read as one; nothing is written to either before `kitty mission adopt`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from kitty_host.api import KittyError
from kitty_host.files import open_unlinked

if TYPE_CHECKING:
    from kitty_host.repo import Repo

# What a topology is called once its ledger is in the canonical checkout.
ADOPTED = {"coord": "single_branch", "lanes_with_coord": "lanes"}


class Copy(NamedTuple):
    """A mission's directory on its coordination branch."""

    repo: Repo
    branch: str
    place: str
    """The mission's directory, relative to the repository."""
    worktree: Path | None
    """Where the branch is checked out: what is there is newer than what was committed."""

    def read(self, name: str) -> bytes | None:
        """A file of the mission by its path in the directory, as its worktree has it, else as it was committed; None where there is none.

        Errors: `LEDGER_DAMAGED` where the worktree has something in its place that cannot be read.
        """
        if self.worktree is not None:
            path = self.worktree / self.place / name
            try:
                with open_unlinked(path) as stream:
                    return stream.read()
            except (FileNotFoundError, NotADirectoryError):
                pass  # what somebody removed there is still committed
            except OSError as error:
                raise KittyError(
                    "LEDGER_DAMAGED",
                    f"{path} cannot be read: {error.strerror}",
                    f"bring it back: git -C {self.worktree} checkout -- {self.place}/{name}",
                    path=str(path),
                ) from error
        return self.repo.git.read_blob(self.branch, f"{self.place}/{name}")

    def names(self) -> list[str]:
        """The committed files of the mission."""
        paths = self.repo.git.records("ls-tree", "-r", "-z", "--name-only", self.branch, f"{self.place}/")
        return [path.removeprefix(f"{self.place}/") for path in paths]


def coordination_copy(repo: Repo, slug: str, meta: dict[str, Any], default: str) -> Copy | None:
    """The copy that counts besides the canonical one; None for a mission of another topology, and where the branch is gone.

    `default` is the branch that is meant where `meta.json` names none.
    """
    if meta.get("topology") not in ADOPTED:
        return None
    named = str(meta.get("coordination_branch") or default)
    local, remote = f"refs/heads/{named}", f"refs/remotes/origin/{named}"
    branch = next((ref for ref in (local, remote) if repo.git.commit_of(ref)), None)
    if branch is None:
        return None
    worktree = next((path for path, ref in repo.worktrees() if ref == local and path != repo.root), None)
    return Copy(repo, branch, f"{repo.missions_directory.name}/{slug}", worktree)
