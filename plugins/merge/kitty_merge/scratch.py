"""The scratch worktrees in which Git merges for kitty: made, reused, cleaned of what a killed one left, and removed.

They lie in kitty's own directory, at a detached HEAD. Who holds the lock beside one has it for himself.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator
from pathlib import Path

from kitty_host.api import KittyError
from kitty_host.files import atomic_write, lock, make_directory
from kitty_host.git import Git, GitError
from kitty_host.repo import Repo
from kitty_host.worktrees import discard, git_directory, is_there

# Nothing of the user's runs where only the scratch worktree is put in order, and nothing is fetched or packed there.
_SETTINGS = {
    "core.hooksPath": "/dev/null",
    "core.sparseCheckout": "true",
    "core.sparseCheckoutCone": "false",
    "index.sparse": "false",
    "submodule.recurse": "false",
    "advice.detachedHead": "false",
    "gc.auto": "0",
    "maintenance.auto": "false",
}
# Git reads attributes, and where submodules are, from files alone.
_READ_BY_GIT = b".gitattributes\n/.gitmodules\n"
_EVERYTHING = b"/*\n"


class Scratch:
    """One scratch worktree, while its lock is held."""

    def __init__(self, repo: Repo, place: Path) -> None:
        self.repo = repo
        self.place = place
        self.git = Git(place)
        self.files = False

    @property
    def state(self) -> Path:
        """Its own Git directory."""
        return git_directory(self.repo, self.place)

    def run(self, *arguments: str, ok: tuple[int, ...] | range = (0,)) -> tuple[int, list[str]]:
        """Git there, without the user's hooks: the exit code, and the records of NUL-terminated output."""
        settings = [part for name, value in _SETTINGS.items() for part in ("-c", f"{name}={value}")]
        done = self.git.run(*settings, *arguments, ok=ok)
        return done.returncode, done.stdout.decode(errors="surrogateescape").split("\0")[:-1]

    def stand_at(self, commit: str) -> None:
        """Check a commit out, whatever was there; an unfinished merge is dropped."""
        self.run("checkout", "--quiet", "--force", "--detach", commit)

    def make(self, *, files: bool) -> None:
        """Make or clean it; with `files`, everything is checked out there."""
        self.files = files
        if not self._is_sound():
            self._add()
        self._want(files)
        try:
            self.stand_at("HEAD")
        except GitError:
            # What is left of an index or a HEAD that a crash has spoilt.
            self._add()
            self._want(files)
            self.stand_at("HEAD")
        self.run("clean", "-ffdxq")
        # Whether one commit of a submodule contains another is in the submodule's own repository.
        modules = self.state / "modules"
        if not modules.is_symlink() and (self.repo.common / "modules").is_dir():
            modules.symlink_to(self.repo.common / "modules")

    @contextlib.contextmanager
    def without_files(self) -> Iterator[None]:
        """Only what Git reads is there meanwhile; whatever is in the index afterwards is checked out again."""
        self._want(False)
        try:
            yield
        finally:
            self._want(self.files)
        if self.files:
            self.run("sparse-checkout", "reapply")

    def _want(self, files: bool) -> None:
        patterns = _EVERYTHING if files else _READ_BY_GIT
        place = self.state / "info" / "sparse-checkout"
        if not place.exists() or place.read_bytes() != patterns:
            atomic_write(place, patterns)

    def _is_sound(self) -> bool:
        """Whether nothing in it was killed halfway."""
        try:
            state = self.state
            leads_back = (state / "gitdir").read_text(encoding="utf-8", errors="surrogateescape")
        except OSError:
            return False
        killed = (state / "locked").exists() or any(state.rglob("*.lock"))
        return leads_back.removesuffix("\n") == str(self.place / ".git") and not killed

    def _add(self) -> None:
        discard(self.repo, self.place)
        with lock(self.repo.state / "worktrees.lock", wait_seconds=60, purpose="the worktrees", sign=True):
            start = _any_commit(self.repo)
            self.repo.git.run(
                "-c", "core.hooksPath=/dev/null", "worktree", "add", "--quiet", "--no-checkout", "--detach",
                str(self.place), start,
            )  # fmt: skip


@contextlib.contextmanager
def scratch(repo: Repo, *, files: bool) -> Iterator[Scratch]:
    """A scratch worktree that nobody else uses meanwhile."""
    with contextlib.ExitStack() as held:
        place = Scratch(repo, _free_place(repo, held))
        place.make(files=files)
        yield place


def remove_scratches(repo: Repo) -> None:
    """Remove those that nobody uses."""
    for lock_file in directory(repo).glob("*.lock"):
        with contextlib.suppress(KittyError), lock(lock_file, wait_seconds=0):
            place = lock_file.with_suffix("")
            if is_there(repo, place):
                discard(repo, place)


def directory(repo: Repo) -> Path:
    """Where they lie."""
    return repo.state / "scratch"


def _free_place(repo: Repo, held: contextlib.ExitStack) -> Path:
    make_directory(directory(repo))
    for number in itertools.count():
        place = directory(repo) / f"merge-{number}"
        try:
            held.enter_context(lock(place.with_suffix(".lock"), wait_seconds=0))
            break
        except KittyError as error:
            if error.code != "LOCK_HELD":
                raise
    return place


def _any_commit(repo: Repo) -> str:
    """Something to begin with: HEAD may be on a branch without a commit."""
    return repo.git.commit_of("HEAD") or repo.git.lines("rev-list", "--all", "--max-count=1")[0]
