"""Merges and trees from Git objects alone: nothing here looks at a checkout or moves a ref."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from kitty_host.api import KittyError
from kitty_host.files import atomic_write, make_directory, rename, sweep, temporary
from kitty_host.git import Git
from kitty_host.objects import Found
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


def above(path: str) -> Iterator[str]:
    """The directories that a path lies in, the nearest first, without the one that has all."""
    end = path.rfind("/")
    while end > 0:
        yield path[:end]
        end = path.rfind("/", 0, end)


def merge(git: Git, ours: str, theirs: str) -> tuple[str, tuple[str, ...]]:
    """The tree that merging two commits gives, and the paths in conflict; `git` has to stand `beside` the first one."""
    # 1 is a conflict; anything else is an error, and never to be taken for one.
    done = git.run("merge-tree", "--write-tree", "-z", "--name-only", "--no-messages", ours, theirs, ok=(0, 1))
    tree, *paths = done.stdout.decode(errors="surrogateescape").rstrip("\0").split("\0")
    if done.returncode == 1 and not paths:
        raise pathless_conflict(ours, theirs)
    return tree, tuple(dict.fromkeys(paths)) if done.returncode else ()


def pathless_conflict(ours: str, theirs: str) -> KittyError:
    """What Git calls a conflict without naming a path, such as a directory whose files were renamed into two."""
    return KittyError(
        "MERGE_CONFLICT",
        f"{ours[:10]} and {theirs[:10]} do not merge",
        f"look with: git merge-tree --write-tree {ours[:10]} {theirs[:10]}",
    )


def beside(repo: Repo, commit: str) -> Git:
    """Git in a directory that holds a commit's attributes and nothing else."""
    place = place_with(repo, repo.git, attributes(repo.git, [commit])[commit])
    return Git(place, standing_in(repo, place))


_READ_BY_MERGING = ("**/.gitattributes", ".gitmodules")


def attributes(git: Git, commits: Iterable[str]) -> dict[str, dict[str, str]]:
    """The files that merging reads, path to blob, of each commit.

    Two processes, however many commits: of all but the first, only what differs from it is read.
    """
    first, *others = dict.fromkeys(commits)
    found = {first: dict(_attributes(git, first))}
    found |= {commit: dict(found[first]) for commit in others}
    differing = changes_between(git, [(first, commit) for commit in others], *_READ_BY_MERGING)
    for commit, changes in zip(others, differing, strict=True):
        for change in changes:
            if change.new is not None and change.new.mode.startswith("100"):
                found[commit][change.path] = change.new.blob
            else:
                found[commit].pop(change.path, None)
    return found


def _attributes(git: Git, commit: str) -> Iterator[tuple[str, str]]:
    for record in git.records("ls-tree", "-r", "-z", "--full-tree", commit):
        # One look at each of what may be very many.
        if record.endswith((".gitattributes", ".gitmodules")):
            described, _, path = record.partition("\t")
            mode, _, blob = described.split(" ")
            if _is_read(path, mode):
                yield path, blob


def _is_read(path: str, mode: str) -> bool:
    # Git follows no link to attributes.
    return mode.startswith("100") and _is_for_merging(path)


def _is_for_merging(path: str) -> bool:
    return path == ".gitmodules" or path.rpartition("/")[2] == ".gitattributes"


def place_with(repo: Repo, git: Git, found: Mapping[str, str]) -> Path:
    """A directory that holds these attributes, which `git` can read, and nothing else.

    Merging takes them from the files of the working directory alone. In the user's checkout those are another branch's, or not committed.
    """
    sweep(repo.cache / "attributes")
    place = repo.cache / "attributes" / hashlib.sha256(json.dumps(found, sort_keys=True).encode()).hexdigest()
    if not place.is_dir():
        _fill(git, place, found)
    return place


def changes_attributes(changes: Iterable[Change]) -> bool:
    """Whether some of these changes are of what merging reads."""
    return any(_is_for_merging(change.path) for change in changes)


def standing_in(repo: Repo, place: Path) -> dict[str, str]:
    """The environment in which Git takes such a directory for its checkout."""
    return {"GIT_DIR": str(repo.common), "GIT_WORK_TREE": str(place)}


def _fill(git: Git, place: Path, files: Mapping[str, str]) -> None:
    """Make a directory of these blobs in one step: half of the attributes would be others."""
    scratch = temporary(place.parent)
    make_directory(scratch)
    for path, blob in files.items():
        atomic_write(scratch / path, git.run("cat-file", "blob", blob).stdout)
    try:
        rename(scratch, place)
    except OSError:
        # Somebody else was faster; anything else shows when Git is to run there.
        shutil.rmtree(scratch, ignore_errors=True)


def changes(git: Git, old: str, new: str) -> list[Change]:
    """Every path that differs between two commits or trees; renames count as a removal and an addition."""
    return list(_changes(iter(git.records("diff-tree", *_RAW, old, new, "--"))))


def changes_between(git: Git, pairs: Sequence[tuple[str, str]], *patterns: str) -> list[list[Change]]:
    """The same for many pairs of commits, by one process; only of what fits one of the patterns, where there are any.

    What was asked once is remembered.
    """
    memo = git.objects.memo
    missing = [pair for pair in dict.fromkeys(pairs) if (pair, patterns) not in memo]
    for pair, found in zip(missing, _changes_between(git, missing, patterns), strict=True):
        memo[pair, patterns] = found
    return [memo[pair, patterns] for pair in pairs]


def _changes_between(git: Git, pairs: Sequence[tuple[str, str]], patterns: Sequence[str]) -> list[list[Change]]:
    asked = "".join(f"{new} {old}\n" for old, new in pairs)
    command = ("diff-tree", "--stdin", "--always", "-m", *_RAW, "--", *patterns)
    globbing = git.with_environment(GIT_LITERAL_PATHSPECS="0", GIT_GLOB_PATHSPECS="1") if patterns else git
    fields = globbing.records(*command, stdin=asked.encode()) if pairs else []
    found: list[list[str]] = []
    for one in fields:
        # A line of its own says which commit follows: no path is there before the first description.
        if not one.startswith(":") and (not found or len(found[-1]) % 2 == 0):
            found.append([])
        else:
            found[-1].append(one)
    return [list(_changes(iter(one))) for one in found]


_RAW = ("-r", "-z", "--raw", "--no-renames", "--no-abbrev", "--ignore-submodules=none")


def _changes(fields: Iterator[str]) -> Iterator[Change]:
    for described in fields:
        old_mode, new_mode, old_blob, new_blob, _ = described.removeprefix(":").split(" ")
        yield Change(
            next(fields),
            None if set(old_mode) == {"0"} else Entry(old_mode, old_blob),
            None if set(new_mode) == {"0"} else Entry(new_mode, new_blob),
        )


def entries(git: Git, tree: str, *paths: str) -> dict[str, Entry]:
    """What a tree has, by path; below `paths` only, where given."""
    found: dict[str, Entry] = {}
    for record in git.records("ls-tree", "-r", "-z", "--full-tree", tree, "--", *paths):
        described, _, path = record.partition("\t")
        mode, _, blob = described.split(" ")
        found[path] = Entry(mode, blob)
    return found


def sizes(git: Git, found: Iterable[Entry]) -> dict[str, int]:
    """The bytes of blobs, by id; none of submodules, and of what a partial clone lacks."""
    known = ((blob, git.objects.size(blob)) for blob in {entry.blob for entry in found if entry.mode != "160000"})
    return {blob: size for blob, size in known if size is not None}


def with_entries(repo: Repo, tree: str, updates: Mapping[str, Entry | None]) -> str:
    """The tree with some paths set, or removed where the entry is None; costs as much as its changed directories."""
    made = added_with_entries(repo, tree, updates)
    repo.git.objects.flush()
    return made


def added_with_entries(repo: Repo, tree: str, updates: Mapping[str, Entry | None]) -> str:
    """The same, for a later `Objects.flush` to write."""
    made = _Rewriting(repo, tree, updates)
    for content in made.contents:
        repo.git.objects.add("tree", content)
    return made.id


def id_with_entries(repo: Repo, tree: str, updates: Mapping[str, Entry | None]) -> str:
    """The id of that tree, and nothing is stored."""
    return _Rewriting(repo, tree, updates).id


class _Rewriting:
    """A tree with other entries: its id, and the directories that differ, the deepest first."""

    def __init__(self, repo: Repo, tree: str, updates: Mapping[str, Entry | None]) -> None:
        self.contents: list[bytes] = []
        self._objects = repo.git.objects
        self._size = len(repo.git.null_id) // 2
        root = tree_of(repo, tree)
        self.id = self._with(_parsed(root.content, self._size), updates) or self._made(b"")

    def _with(self, has: dict[str, Entry], updates: Mapping[str, Entry | None]) -> str | None:
        """The id of a directory with changes; None where nothing is left of it."""
        below: dict[str, dict[str, Entry | None]] = {}
        for path, entry in updates.items():
            name, _, rest = path.partition("/")
            if rest:
                below.setdefault(name, {})[rest] = entry
            elif entry is None and has.get(name, Entry(TREE, "")).mode != TREE:
                del has[name]
        for name, inner in below.items():
            was = has.get(name)
            is_tree = was is not None and was.mode == TREE
            content = self._objects.read(was.blob) if was is not None and is_tree else None
            made = self._with(_parsed(content or b"", self._size), inner)
            if made is not None:
                has[name] = Entry(TREE, made)
            elif is_tree:
                del has[name]
        has |= {path: entry for path, entry in updates.items() if entry is not None and "/" not in path}
        # Git sorts a directory as if its name ended in a slash.
        ordered = sorted(has.items(), key=lambda one: _bytes(one[0]) + (b"/" if one[1].mode == TREE else b""))
        content = b"".join(
            b"%s %s\0%s" % (entry.mode.lstrip("0").encode(), _bytes(name), bytes.fromhex(entry.blob))
            for name, entry in ordered
        )
        return self._made(content) if has else None

    def _made(self, content: bytes) -> str:
        self.contents.append(content)
        return self._objects.id_of("tree", content)


def tree_of(repo: Repo, commit: str) -> Found:
    """The tree of a commit, or of an id of a tree; of one that was added and is not written yet too."""
    objects = repo.git.objects
    found = objects.find(commit)
    if found is not None and found.kind == "commit":
        found = objects.find(found.content[5 : found.content.index(b"\n")].decode())
    assert found is not None, f"{commit} is here"
    assert found.kind == "tree", f"{commit} is a commit or a tree"
    return found


def listed(repo: Repo, tree: str, directory: str) -> dict[str, Entry]:
    """What a directory of a commit or tree has, by name; empty where there is none."""
    found = repo.git.objects.find(f"{tree}:{directory}")
    return _parsed(found.content, len(repo.git.null_id) // 2) if found and found.kind == "tree" else {}


TREE = "40000"
"""The mode of a directory in a tree object."""


def _parsed(content: bytes, size: int) -> dict[str, Entry]:
    """The entries of a tree object, whose ids have `size` bytes."""
    found: dict[str, Entry] = {}
    at = 0
    while at < len(content):
        end = content.index(b"\0", at)
        mode, _, name = content[at:end].partition(b" ")
        at = end + 1 + size
        found[name.decode(errors="surrogateescape")] = Entry(mode.decode(), content[end + 1 : at].hex())
    return found


def _bytes(name: str) -> bytes:
    return name.encode(errors="surrogateescape")


def set_entries(git: Git, updates: Mapping[str, Entry | None]) -> None:
    """Set index entries, whatever the working files hold."""
    lines = [
        f"{entry.mode} {entry.blob}\t{path}\0" if entry else f"0 {git.null_id}\t{path}\0"
        for path, entry in updates.items()
    ]
    if lines:
        git.run("update-index", "--add", "-z", "--index-info", stdin="".join(lines).encode(errors="surrogateescape"))
