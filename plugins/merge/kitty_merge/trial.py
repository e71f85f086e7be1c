"""Merges on trial: many by one Git process, and what they make is thrown away.

New objects go to a directory below the cache, where nothing is synced: a question leaves nothing in the user's repository.
"""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from kitty_host.api import KittyError
from kitty_host.files import disk_errors, make_directory, sweep, temporary
from kitty_host.git import Git, GitError
from kitty_host.repo import Repo
from kitty_merge import trees

FIRST = (2, 39)
"""The first Git that has `merge-tree --stdin`."""
_MERGE = ("merge-tree", "--write-tree", "--stdin", "-z", "--messages")
_UNSYNCED = ("-c", "core.fsync=none")
_CONFLICT, _CLEAN = "0", "1"
_AUTHOR = "kitty <kitty@invalid>"

Pair = tuple[str, str]
"""The commit that is merged into, and the one that is merged."""


class Merge(NamedTuple):
    """What Git says of one merge."""

    clean: bool
    tree: str
    stages: Mapping[str, set[int]]
    """Each path in conflict, and in which of base (1), ours (2) and theirs (3) it is. Some conflicts have no such path."""
    messages: tuple[tuple[str, tuple[str, ...]], ...]
    """Git's own name of a kind of message, and the paths that it is about."""


class Trial:
    """Merges of some commits, and of what came out of them."""

    def __init__(self, repo: Repo, objects: Path, commits: Iterable[str]) -> None:
        self._repo = repo
        self._environment = {
            "GIT_OBJECT_DIRECTORY": str(objects),
            "GIT_ALTERNATE_OBJECT_DIRECTORIES": _quoted(repo.common / "objects"),
        }
        self._git = Git(repo.root, self._environment)
        self._attributes = trees.attributes(self._git, commits)
        self._made: dict[Pair, Merge] = {}

    def merge(self, pairs: Iterable[Pair]) -> dict[Pair, Merge]:
        """One process for all pairs that are merged into the same attributes. Errors: `GIT_FAILED` names the first pair that cannot be."""
        wanted = list(dict.fromkeys(pairs))
        by_place: dict[Path, list[Pair]] = {}
        for pair in wanted:
            if pair not in self._made:
                by_place.setdefault(self._place(pair[0]), []).append(pair)
        for place, there in by_place.items():
            git = Git(place, {**self._environment, **trees.standing_in(self._repo, place)})
            self._made |= zip(there, _merged(git, there), strict=True)
        return {pair: self._made[pair] for pair in wanted}

    def _place(self, ours: str) -> Path:
        if ours not in self._attributes:
            self._attributes |= trees.attributes(self._git, [ours])
        return trees.place_with(self._repo, self._git, self._attributes[ours])

    def commit(self, merge: Merge, pair: Pair) -> str:
        """A clean merge as a commit, to go on with. Unsigned, and by nobody: it will be gone soon."""
        ours, theirs = pair
        by = f"{_AUTHOR} {int(time.time())} +0000"
        content = f"tree {merge.tree}\nparent {ours}\nparent {theirs}\nauthor {by}\ncommitter {by}\n\ntrial\n"
        made = self._git.out(*_UNSYNCED, "hash-object", "-w", "-t", "commit", "--stdin", stdin=content.encode())
        mine = self._attributes[ours]
        # Where both sides have the same, so has what they make; otherwise it is looked at when it is asked for.
        if self._attributes.get(theirs) == mine:
            self._attributes[made] = mine
        return made


@contextlib.contextmanager
def trial(repo: Repo, commits: Iterable[str]) -> Iterator[Trial]:
    """Merges of these commits, until the end of the block. Errors: `GIT_TOO_OLD`."""
    version = repo.git.version
    if version < FIRST:
        raise KittyError(
            "GIT_TOO_OLD",
            f"Git {version[0]}.{version[1]} cannot merge on trial",
            f"install Git {FIRST[0]}.{FIRST[1]} or later",
        )
    directory = repo.cache / "trials"
    make_directory(directory)
    sweep(directory)
    objects = temporary(directory)
    with disk_errors(objects):
        objects.mkdir()
    try:
        yield Trial(repo, objects, commits)
    finally:
        shutil.rmtree(objects, ignore_errors=True)


def _merged(git: Git, pairs: list[Pair]) -> list[Merge]:
    asked = "".join(f"{ours} {theirs}\n" for ours, theirs in pairs).encode()
    try:
        # 0 whether or not there are conflicts; anything else is an error, and never to be taken for one.
        output = git.run(*_UNSYNCED, *_MERGE, stdin=asked).stdout
    except GitError:
        for pair in pairs:
            # One after the other, for a complaint that says where.
            git.run("merge-tree", "--write-tree", *pair, ok=(0, 1))
        raise
    return list(_read(output))


def _read(output: bytes) -> Iterator[Merge]:
    """For each merge its status, its tree, a list of paths and one of messages; an empty field ends either."""
    fields = iter(output.decode(errors="surrogateescape").split("\0")[:-1])
    for status in fields:
        if status not in (_CONFLICT, _CLEAN):
            raise GitError(_MERGE, int(status), "a merge that could not be made")
        tree = next(fields)
        stages: dict[str, set[int]] = {}
        for record in iter(fields.__next__, ""):
            described, _, path = record.partition("\t")
            stages.setdefault(path, set()).add(int(described[-1]))
        messages: list[tuple[str, tuple[str, ...]]] = []
        for number in fields:
            # Of submodules Git gives advice behind the last message, in place of the empty field.
            if not number.isdigit():
                break
            paths = tuple(next(fields) for _ in range(int(number)))
            messages.append((next(fields), paths))
            next(fields)  # the message itself, for people
        yield Merge(status == _CLEAN, tree, stages, tuple(messages))


def _quoted(path: Path) -> str:
    """A path in a list whose items are separated by colons."""
    escaped = str(path).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
