"""Bringing one checkout of the target from OLD to NEW without losing a byte of the user's (ADR 0003, steps 3, 5 and 8).

Works on a copy of the index; the real one is replaced by a rename at the end. While it lasts, `index.lock` is held by a hard
link to a token, so that nobody commits in between and recovery can tell its own lock from others'.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import shlex
import shutil
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from kitty_host.api import KittyError
from kitty_host.disks import free_bytes, require_writable
from kitty_host.files import (
    disk_errors,
    link_exclusively,
    make_directory,
    move,
    remove,
    rename,
    same_file,
    sync_file,
    write_new,
)
from kitty_host.git import Git, GitError
from kitty_host.holders import held, signature
from kitty_host.repo import Repo
from kitty_host.worktrees import git_directory
from kitty_merge import trees
from kitty_merge.filters import require_filters
from kitty_merge.journal import Entries


class Prepared(NamedTuple):
    """What a checkout needs before the ref may move."""

    aside: list[str]
    """Files of the user's that have to be moved aside first."""
    before: dict[str, trees.Entry | None]
    """Index entries that the move replaces although they are not the old commit's: untracked, staged, or kept."""


class Rescued(NamedTuple):
    """A file of the user's that was moved aside."""

    checkout: Path
    path: str
    place: Path
    """Where it is now."""


_SUBMODULE = "160000"
_BLOCK = 4096
"""Bytes."""
_MARGIN = 1 << 18
"""Bytes for rows of the ledger, logs and directories."""


class Checkout:
    """One worktree that has the target checked out."""

    def __init__(self, repo: Repo, path: Path, token: Path) -> None:
        self.repo = repo
        self.path = path
        self.token = token
        self.git = Git(path)
        self.index = git_directory(repo, path) / "index"
        self.lock_file = self.index.with_name("index.lock")
        self.copy = self.index.with_name("kitty-index")

    @property
    def holds_the_live_ledger(self) -> bool:
        """Whether this is the canonical checkout, whose ledger is appended to and never written over."""
        return self.path == self.repo.root

    # The lock

    def take_lock(self) -> None:
        """Errors: `LOCK_HELD`; nothing has moved then."""
        if not self.token.exists():
            make_directory(self.token.parent)
            with disk_errors(self.token):
                write_new(self.token, signature())
        if not link_exclusively(self.token, self.lock_file) and not self.holds_lock():
            raise held(self.lock_file, self.path)

    def holds_lock(self) -> bool:
        """Whether the lock there is ours."""
        return same_file(self.lock_file, self.token)

    def give_lock_back(self) -> None:
        """Leave no lock, copy or token behind."""
        if self.holds_lock():
            remove(self.lock_file)
        for leftover in (self.copy, self.copy.with_name(self.copy.name + ".lock")):
            leftover.unlink(missing_ok=True)
        remove(self.token)

    # Before the ref moves

    def prepare(self, old: str, new: str, kept: Mapping[str, trees.Entry], *, rescue: bool = False) -> Prepared:
        """Check everything in the way, adopt what is the same, rehearse.

        `kept` are files that are never written here, with their entries in NEW; `rescue` moves aside what else would refuse as
        `MERGE_IN_THE_WAY`. Errors: `MERGE_DIRTY`, `MERGE_IN_THE_WAY`, `READ_ONLY`, `DISK_FULL`, `FILTER_FAILED`.
        """
        git, is_clean = self._copied_index()
        changes = trees.changes(git, old, new)
        index = _Index(git, old)
        if index.unmerged:
            raise _dirty(self.path, index.unmerged[0], "has an unfinished merge")
        changed_on_disk = set() if is_clean else set(git.records("diff-files", "-z", "--name-only"))
        adopted: dict[str, trees.Entry | None] = dict(kept)
        # What is not the old commit's entry is what the user, or the ledger's being live, has made of it.
        committed = {change.path: change.old for change in changes}
        before = {path: index.entry(path, committed.get(path, entry)) for path, entry in kept.items()}
        aside: set[str] = set()
        removed = {change.path for change in changes if change.new is None}
        for change in changes:
            if change.path in kept:
                continue
            has = index.entry(change.path, change.old)
            if has == change.new and has is not None:
                before[change.path] = has
                continue
            if has is None and change.old is None:
                verdict = self._in_the_way(git, change, index, removed, rescue)
                if verdict == "same":
                    adopted[change.path] = change.new
                    before[change.path] = None
                elif verdict:
                    aside.update(self._files_at(verdict))
            elif has != change.old:
                raise _dirty(self.path, change.path, "has staged changes")
            elif change.path in changed_on_disk:
                if not self._same_content(git, change.path, change.new):
                    raise _dirty(self.path, change.path, "has changes")
                adopted[change.path] = change.new
                before[change.path] = has
        written = [change for change in changes if change.path not in adopted]
        self._require_writable(written, kept)
        self._require_room(written)
        require_filters(self.repo, new, written)
        trees.set_entries(git, adopted)
        try:
            git.run("read-tree", "-n", "-m", "-u", old, new) if not aside else None
        except GitError as error:
            raise KittyError(
                "MERGE_DIRTY", f"{self.path}: {error.message}", "commit or remove that, and run it again"
            ) from error
        return Prepared(sorted(aside), before)

    def _require_writable(self, changes: list[trees.Change], kept: Mapping[str, trees.Entry]) -> None:
        """Git looks at none of this in its rehearsal, and when it fails the target has moved."""
        places = {self.path / path for path in kept} | {self.path / change.path for change in changes}
        directories = {place.parent for place in places}
        while missing := {one for one in directories if not one.is_dir()}:
            directories = (directories - missing) | {one.parent for one in missing}
        for directory in sorted(directories):
            require_writable(directory)
        for path in kept:
            if (self.path / path).exists():
                require_writable(self.path / path)

    def _require_room(self, changes: list[trees.Change]) -> None:
        """As far as can be known: filters may make files longer than they are stored."""
        sizes = trees.sizes(self.repo.git, [entry for change in changes for entry in (change.old, change.new) if entry])
        grown = sum(
            _rounded(sizes.get(change.new.blob, 0) if change.new else 0)
            - _rounded(sizes.get(change.old.blob, 0) if change.old else 0)
            for change in changes
        )
        index = 2 * self.index.stat().st_size if self.index.exists() else 0
        needed = {self.path: grown + _MARGIN, self.copy.parent: index + _MARGIN}
        if self.path.stat().st_dev == self.copy.parent.stat().st_dev:
            needed = {self.path: grown + index + _MARGIN}
        for directory, size in needed.items():
            free = free_bytes(directory)
            if free is not None and free < size:
                raise KittyError(
                    "DISK_FULL",
                    f"no space left for the landing in {directory}: it needs {size >> 10} KiB, and {free >> 10} are free",
                    "free some space and run it again",
                    needed_bytes=size,
                    free_bytes=free,
                )

    def _in_the_way(self, git: Git, change: trees.Change, index: _Index, removed: set[str], rescue: bool) -> str:
        """Empty where nothing is; `same` where the very content is there; else the path that moves aside. Refuses for others."""
        for above in reversed([*trees.above(change.path)]):
            place = self.path / above
            if os.path.lexists(place) and (place.is_symlink() or not place.is_dir()) and above not in removed:
                return self._aside_or_refuse(git, above, index, rescue)
        place = self.path / change.path
        if not os.path.lexists(place) or (
            place.is_dir() and not place.is_symlink() and self._will_be_empty(place, removed)
        ):
            return ""
        if self._same_content(git, change.path, change.new):
            return "same"
        return self._aside_or_refuse(git, change.path, index, rescue)

    def _files_at(self, path: str) -> list[str]:
        """A file, or the files of a directory: one by one, because by then a directory of that name may be the landing's."""
        place = self.path / path
        if place.is_symlink() or not place.is_dir():
            return [path]
        return [
            one.relative_to(self.path).as_posix() for one in place.rglob("*") if one.is_symlink() or not one.is_dir()
        ]

    def _will_be_empty(self, directory: Path, removed: set[str]) -> bool:
        """Whether a directory holds nothing but files that go away."""
        files = (path for path in directory.rglob("*") if path.is_symlink() or not path.is_dir())
        return all(path.relative_to(self.path).as_posix() in removed for path in files)

    def _aside_or_refuse(self, git: Git, path: str, index: _Index, rescue: bool) -> str:
        if not index.has(path) and (rescue or git.succeeds("check-ignore", "--quiet", "--", path)):
            return path
        raise KittyError(
            "MERGE_IN_THE_WAY",
            f"{self.path / path} is in the way and in no commit",
            "move it aside and go on: kitty merge --rescue",
            path=path,
        )

    def _same_content(self, git: Git, path: str, entry: trees.Entry | None) -> bool:
        """Whether a file has the mode and, through the user's filters, the content of an entry; without one, whether it is gone."""
        place = self.path / path
        try:
            status = place.lstat()
        except (FileNotFoundError, NotADirectoryError):
            return entry is None
        if entry is None:
            return False
        if entry.mode == _SUBMODULE:
            # What is checked out there is another repository's.
            return stat.S_ISDIR(status.st_mode)
        if stat.S_ISLNK(status.st_mode):
            return (
                entry.mode == "120000"
                and git.out("hash-object", "--stdin", stdin=os.fsencode(place.readlink())) == entry.blob
            )
        if not stat.S_ISREG(status.st_mode) or entry.mode != ("100755" if status.st_mode & 0o100 else "100644"):
            return False
        return git.out("hash-object", "--path", path, "--", path) == entry.blob

    # After it

    def finish(self, old: str, new: str, after: Entries) -> None:
        """Write the files, then put the index in place, with the entries `after` in it, and give the lock back."""
        git = self._on_copy()
        git.run("read-tree", "-m", "-u", old, new)
        trees.set_entries(git, after)
        self._install(git)

    def roll_forward(self, old: str, new: str, after: Entries) -> list[Rescued]:
        """After a crash anywhere in `finish`: make index and files NEW's by hand, but for the files of `after`.

        Returns the files of the user's that were moved aside.

        A file with new bytes is fine; one with old bytes, none, or a beginning of the new ones is rewritten; any other is the user's.
        What a sparse checkout leaves out goes again at the end, since only Git knows what that is of new files.
        """
        git, _ = self._copied_index()
        changes = [change for change in trees.changes(git, old, new) if change.path not in after]
        index = _Index(git, new)
        if all(index.entry(change.path, change.new) == change.new for change in changes) and all(
            self._same_content(git, change.path, change.new) for change in changes
        ):
            trees.set_entries(git, after)
            self._install(git)
            return []
        rescued: list[Rescued] = []
        for change in changes:
            place = self.path / change.path
            if not os.path.lexists(place) or self._same_content(git, change.path, change.new):
                continue
            if not self._same_content(git, change.path, change.old) and not self._is_beginning(git, change):
                rescued.append(self.rescue(change.path))
            elif place.is_dir():
                # Of a submodule that is gone Git removes no more than its directory, and only where that is empty.
                _prune(place, self.path)
            else:
                place.unlink()
                _prune(place.parent, self.path)
        trees.set_entries(git, {**{change.path: change.new for change in changes}, **after})
        written = "".join(f"{change.path}\0" for change in changes if change.new)
        git.run("checkout-index", "-f", "-u", "-q", "-z", "--stdin", stdin=written.encode(errors="surrogateescape"))
        if git.is_set("core.sparsecheckout"):
            git.run("sparse-checkout", "reapply")
        self._install(git)
        return rescued

    def is_behind(self, old: str, new: str) -> bool:
        """Whether the index is still OLD's where OLD and NEW differ: somebody removed the lock by hand before the index was renamed."""
        changes = [change for change in trees.changes(self.git, old, new) if change.old != change.new]
        index = _Index(self.git, old)
        return bool(changes) and all(index.entry(change.path, change.old) == change.old for change in changes)

    def rescue_all(self, paths: list[str], new: str, *, again: bool = False) -> list[Rescued]:
        """Move ignored files aside that are in the way, unless they are there no longer or are NEW's by now.

        `again` is after a crash: what is a beginning of NEW's is then the landing's own and not the user's, as in `roll_forward`.
        """
        landed = trees.entries(self.git, new, *paths) if paths else {}
        return [
            self.rescue(path)
            for path in paths
            if os.path.lexists(self.path / path)
            and not (self.path / path).is_dir()
            and not self._same_content(self.git, path, landed.get(path))
            and not (again and self._is_beginning(self.git, trees.Change(path, None, landed.get(path))))
        ]

    def rescue(self, path: str) -> Rescued:
        """Move a file of the user's to the rescue folder."""
        place = next(place for place in self._rescue_places(path) if not os.path.lexists(place))
        move(self.path / path, place)
        return Rescued(self.path, path, place)

    def rescued_before(self, paths: list[str]) -> list[Rescued]:
        """What was moved aside already, by a landing that may have died before it said so: the last of each path."""
        found: list[Rescued] = []
        for path in paths:
            places = list(itertools.takewhile(os.path.lexists, self._rescue_places(path)))[-1:]
            found += [Rescued(self.path, path, place) for place in places]
        return found

    def _rescue_places(self, path: str) -> Iterator[Path]:
        folder = self.repo.state / "rescue" / self.token.parent.stem
        return (folder / str(number) / path for number in itertools.count())

    def _is_beginning(self, git: Git, change: trees.Change) -> bool:
        """Whether a file holds a prefix of what was being written there."""
        place = self.path / change.path
        if change.new is None or place.is_symlink() or not place.is_file():
            return False
        whole = git.run("cat-file", "--filters", f"--path={change.path}", change.new.blob).stdout
        return whole.startswith(place.read_bytes())

    def _install(self, git: Git) -> None:
        git.run("update-index", "-q", "--refresh", ok=(0, 1))
        sync_file(self.copy)
        rename(self.copy, self.index)
        self.give_lock_back()

    def _copied_index(self) -> tuple[Git, bool]:
        """Git with a copy of the index, and whether all files are as that says."""
        # The lock of the copy, left by a Git that was killed with the last landing: nobody but a landing, of which there is one, uses it.
        self.copy.with_name(self.copy.name + ".lock").unlink(missing_ok=True)
        if self.index.exists():
            with disk_errors(self.copy):
                shutil.copyfile(self.index, self.copy)
        git = self._on_copy()
        return git, git.succeeds("update-index", "--refresh")

    def _on_copy(self) -> Git:
        return self.git.with_environment(GIT_INDEX_FILE=str(self.copy))


def checkouts_of(repo: Repo, ref: str, token_directory: Path) -> list[Checkout]:
    """Every worktree that has a branch checked out."""
    places = [path for path, branch in repo.worktrees() if branch == ref and path.is_dir()]
    return [Checkout(repo, path, token_directory / f"token-{number}") for number, path in enumerate(places)]


class _Index:
    """What is staged, told by what differs from a commit: of an index of very many files only that is worth a look."""

    def __init__(self, git: Git, commit: str) -> None:
        self._staged: dict[str, trees.Entry | None] = {}
        self.unmerged: list[str] = []
        fields = iter(
            git.records(
                "diff-index",
                "--cached",
                "-z",
                "--raw",
                "--no-renames",
                "--no-abbrev",
                commit,
                "--",
            )
        )
        for described in fields:
            _, mode, _, blob, status = described.split(" ")
            path = next(fields)
            if status == "U":
                self.unmerged.append(path)
            else:
                self._staged[path] = None if status == "D" else trees.Entry(mode, blob)

    def entry(self, path: str, committed: trees.Entry | None) -> trees.Entry | None:
        """The entry of a path that the commit has as `committed`."""
        return self._staged.get(path, committed)

    def has(self, path: str) -> bool:
        """Whether a path that the commit has not is staged."""
        return self._staged.get(path) is not None


def _rounded(size: int) -> int:
    """What a file takes of a disk, and what its name takes."""
    return (size // _BLOCK + 2) * _BLOCK


def _prune(directory: Path, root: Path) -> None:
    with contextlib.suppress(OSError):
        while directory != root:
            directory.rmdir()
            directory = directory.parent


def _dirty(checkout: Path, path: str, what: str) -> KittyError:
    return KittyError(
        "MERGE_DIRTY",
        f"{path} {what} in {checkout} that the landing would write over",
        f"commit or stash it there: git -C {shlex.quote(str(checkout))} stash push -- {shlex.quote(path)}",
        path=path,
    )
