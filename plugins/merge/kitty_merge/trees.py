"""Merges and trees from Git objects alone: nothing here looks at a checkout or moves a ref."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from kitty_host.api import KittyError
from kitty_host.files import make_directory, sweep, temporary
from kitty_host.git import Git
from kitty_host.repo import Repo


class Entry(NamedTuple):
    """What a tree or an index has at a path."""

    mode: str
    blob: str


class Change(NamedTuple):
    """One path that differs between two trees; None where it is not there."""

    path: str
    old: Entry | None
    new: Entry | None


def merge(git: Git, ours: str, theirs: str) -> tuple[str, tuple[str, ...]]:
    """The tree that merging two commits gives, and the paths in conflict."""
    done = git.run("merge-tree", "--write-tree", "-z", "--name-only", "--no-messages", ours, theirs, ok=(0, 1))
    tree, *paths = done.stdout.decode(errors="surrogateescape").rstrip("\0").split("\0")
    if done.returncode == 1 and not paths:
        raise KittyError("MERGE_CONFLICT", f"{ours[:10]} and {theirs[:10]} do not merge", "look with: git merge-tree")
    return tree, tuple(dict.fromkeys(paths)) if done.returncode else ()


def commit(git: Git, tree: str, parents: Sequence[str], message: str) -> str:
    """A commit object, signed where the user's configuration asks for it: `commit-tree` ignores that setting by itself."""
    signs = git.run("config", "--type=bool", "--get", "commit.gpgSign", ok=(0, 1)).stdout.strip() == b"true"
    named = [argument for parent in parents for argument in ("-p", parent)]
    return git.out("commit-tree", tree, *named, *(("-S",) if signs else ()), "-F", "-", stdin=message.encode())


def changes(git: Git, old: str, new: str) -> list[Change]:
    """Every path that differs between two commits or trees; renames count as a removal and an addition."""
    fields = git.records(
        "diff-tree", "-r", "-z", "--raw", "--no-renames", "--no-abbrev", "--ignore-submodules=none", old, new, "--"
    )
    found: list[Change] = []
    for described, path in zip(fields[::2], fields[1::2], strict=True):
        old_mode, new_mode, old_blob, new_blob, _ = described.removeprefix(":").split(" ")
        found.append(
            Change(
                path,
                None if set(old_mode) == {"0"} else Entry(old_mode, old_blob),
                None if set(new_mode) == {"0"} else Entry(new_mode, new_blob),
            )
        )
    return found


def entries(git: Git, tree: str, *paths: str) -> dict[str, Entry]:
    """What a tree has, by path; below `paths` only, where given."""
    found: dict[str, Entry] = {}
    for record in git.records("ls-tree", "-r", "-z", "--full-tree", tree, "--", *paths):
        described, _, path = record.partition("\t")
        mode, _, blob = described.split(" ")
        found[path] = Entry(mode, blob)
    return found


@contextlib.contextmanager
def scratch_index(repo: Repo) -> Iterator[Git]:
    """Git with an index of its own, gone afterwards."""
    directory = repo.state / "tmp"
    make_directory(directory)
    sweep(directory)
    path = temporary(directory)
    try:
        yield repo.git.with_environment(GIT_INDEX_FILE=str(path))
    finally:
        for leftover in (path, path.with_name(path.name + ".lock")):
            leftover.unlink(missing_ok=True)


def with_entries(repo: Repo, tree: str, updates: Mapping[str, Entry | None]) -> str:
    """The tree with some paths set, or removed where the entry is None."""
    if not updates:
        return repo.git.out("rev-parse", f"{tree}^{{tree}}")
    with scratch_index(repo) as git:
        git.run("read-tree", tree)
        set_entries(git, updates)
        return git.out("write-tree")


def set_entries(git: Git, updates: Mapping[str, Entry | None]) -> None:
    """Set index entries, whatever the working files hold."""
    lines = [
        f"{entry.mode} {entry.blob}\t{path}\0" if entry else f"0 {git.null_id}\t{path}\0"
        for path, entry in updates.items()
    ]
    if lines:
        git.run("update-index", "--add", "-z", "--index-info", stdin="".join(lines).encode(errors="surrogateescape"))
