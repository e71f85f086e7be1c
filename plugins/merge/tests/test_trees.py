"""Trees that are made by hand are those that Git makes of an index."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from kitty_merge import trees

if TYPE_CHECKING:
    from conftest import Yard

NAMES = ["a", "a-b", "a.b", "ab", "a0", "B", "deep", "ä", "with space", "with\nnewline", 'quo"te', "\udcff"]


def by_index(yard: Yard, tree: str, updates: dict[str, trees.Entry | None]) -> str:
    git = yard.mission.repo.git.with_environment(GIT_INDEX_FILE=str(yard.root.parent / "index"))
    git.run("read-tree", tree)
    # Removals first, as a file may take the place of a directory.
    trees.set_entries(git, {path: None for path, entry in updates.items() if entry is None})
    trees.set_entries(git, {path: entry for path, entry in updates.items() if entry is not None})
    return git.out("write-tree")


@pytest.mark.parametrize("seed", range(12))
def test_it_is_the_tree_of_an_index_with_the_same_entries(yard: Yard, seed: int) -> None:
    yard.plan()
    chance = random.Random(seed)
    repo = yard.mission.repo
    blobs = [repo.git.write_blob(f"{number}\n".encode()) for number in range(4)]
    tree = repo.git.out("rev-parse", "HEAD^{tree}")
    for _ in range(12):
        has = trees.entries(repo.git, tree)
        updates: dict[str, trees.Entry | None] = dict.fromkeys(chance.sample(sorted(has), min(3, len(has))))
        for _ in range(4):
            path = "/".join(chance.choices(NAMES, k=chance.randint(1, 4)))
            left = {one for one in has if one not in updates or updates[one]} | {one for one in updates if updates[one]}
            above = {path[:at] for at, character in enumerate(path) if character == "/"}
            if not above & left and not any(one.startswith(f"{path}/") for one in left):
                mode = chance.choice(["100644", "100755", "120000"])
                updates[path] = trees.Entry(mode, chance.choice(blobs))
        wanted = by_index(yard, tree, updates)
        assert trees.id_with_entries(repo, tree, updates) == wanted
        assert trees.with_entries(repo, tree, updates) == wanted
        tree = wanted
    assert repo.git.run("fsck", "--strict", "--no-dangling").stdout == b""


def test_a_file_takes_the_place_of_a_directory_and_the_other_way_round(yard: Yard) -> None:
    yard.plan()
    repo = yard.mission.repo
    entry = trees.Entry("100644", repo.git.write_blob(b"x\n"))
    empty = repo.git.objects.add("tree", b"")
    repo.git.objects.flush()
    first = trees.with_entries(repo, empty, {"place/a": entry, "place/b": entry})
    file = trees.with_entries(repo, first, {"place/a": None, "place/b": None, "place": entry})
    assert trees.entries(repo.git, file) == {"place": entry}
    assert trees.with_entries(repo, file, {"place": None, "place/a": entry, "place/b": entry}) == first
    assert trees.with_entries(repo, first, {"place/a": None, "place/b": None}) == empty
    assert trees.with_entries(repo, first, {"place": None, "other/c": None}) == first
