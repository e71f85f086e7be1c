"""Both engines and plain Git give one tree, or conflict on the same paths, whatever the lanes did.

Missions are generated from a number. `pytest -m sweep plugins/merge/tests/test_engines.py` runs three hundred of them.
"""

from __future__ import annotations

import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from random import Random
from typing import NamedTuple

import pytest

from kitty_host.repo import Repo
from kitty_host.testing import Project
from kitty_merge.engine import Aside, Engine
from kitty_merge.hooks import Hooks
from kitty_merge.native import Native
from kitty_merge.scratch import scratch

SWEEP = 300
FILE, SCRIPT, LINK, SUBMODULE = "100644", "100755", "120000", "160000"
DRIVER = "cat %A %B >%A.both && mv %A.both %A"

Files = dict[str, tuple[str, bytes]]
Edit = Callable[[Random, Files], None]


class Sample(NamedTuple):
    """A target, its lanes, and what occurs in them."""

    base: Files
    lanes: list[Files]
    features: set[str]


# What a lane does. Each changes the files, or does nothing where the ones that it needs are gone.


def text(start: int = 0, ending: str = "\n") -> bytes:
    return "".join(f"line {number}{ending}" for number in range(start, start + 15)).encode()


def some(chance: Random, files: Files, *suffixes: str) -> str | None:
    return chance.choice([path for path in sorted(files) if path.endswith(suffixes)] or [None])  # type: ignore[list-item]


def change_line(chance: Random, content: bytes) -> bytes:
    lines = content.splitlines(keepends=True) or [b"\n"]
    number = chance.randrange(len(lines))
    ending = b"\r\n" if lines[number].endswith(b"\r\n") else b"\n"
    lines[number] = b"changed %d" % chance.randrange(3) + ending
    return b"".join(lines)


def edit(chance: Random, files: Files) -> None:
    if path := some(chance, files, ".txt"):
        files[path] = (files[path][0], change_line(chance, files[path][1]))


def add(chance: Random, files: Files) -> None:
    files[f"{chance.choice(['src', 'docs', 'new'])}/added-{chance.randrange(6)}.txt"] = (
        FILE,
        text(chance.randrange(9)),
    )


def remove(chance: Random, files: Files) -> None:
    if path := some(chance, files, ".txt"):
        del files[path]


def rename(chance: Random, files: Files) -> None:
    if path := some(chance, files, ".txt"):
        files[path.replace(".txt", f"-{chance.randrange(3)}.txt")] = files.pop(path)


def rename_directory(chance: Random, files: Files) -> None:
    for path in [path for path in files if path.startswith("src/")]:
        files[path.replace("src/", f"source{chance.randrange(1)}/")] = files.pop(path)


def change_mode(chance: Random, files: Files) -> None:
    if path := some(chance, files, ".txt", ".sh"):
        files[path] = (SCRIPT if files[path][0] == FILE else FILE, files[path][1])


def link(chance: Random, files: Files) -> None:
    files[chance.choice(["link", "link", f"docs/link-{chance.randrange(4)}"])] = (
        LINK,
        b"docs/%d.txt" % chance.randrange(4),
    )


def binary(chance: Random, files: Files) -> None:
    files[f"data-{chance.randrange(4)}.bin"] = (FILE, b"\0\1\r\n" + chance.randbytes(40))


def attributes(chance: Random, files: Files) -> None:
    place = chance.choice([".gitattributes", ".gitattributes", "src/.gitattributes"])
    rule = chance.choice(["*.txt -text", "*.txt eol=crlf", "*.txt merge=union", "*.bin -diff", "*.txt merge=both"])
    files[place] = (FILE, files.get(place, (FILE, b""))[1] + f"{rule}\n".encode())


def union(chance: Random, files: Files) -> None:
    if path := some(chance, files, ".log"):
        files[path] = (FILE, files[path][1] + b"entry %d\n" % chance.randrange(1000))


def driver(chance: Random, files: Files) -> None:
    if path := some(chance, files, ".both"):
        files[path] = (FILE, change_line(chance, files[path][1]))


def submodule(chance: Random, files: Files) -> None:
    files[f"vendor/{chance.randrange(4)}"] = (SUBMODULE, chance.randbytes(20).hex().encode())


def crlf(chance: Random, files: Files) -> None:
    if path := some(chance, files, ".bat"):
        files[path] = (FILE, change_line(chance, files[path][1]))


OFTEN: list[Edit] = [edit, edit, add]
EDITS: dict[str, Edit] = {
    one.__name__: one
    for one in (remove, rename, rename_directory, change_mode, link, binary, attributes, union, driver, submodule, crlf)
}
OF_THE_CHECKOUT = ("sparse", "foreign attributes")
RULES = ["*.log merge=union", "*.both merge=both", "*.bat eol=crlf", "*.bat -text", "* text=auto", "*.bin binary"]


def sample(number: int) -> Sample:
    """The same for the same number."""
    chance = Random(number)
    base: Files = {f"{place}/{one}.txt": (FILE, text(one)) for place in ("src", "src/deep", "docs") for one in range(3)}
    base |= {
        "all.log": (FILE, b"entry\n"),
        "src/some.both": (FILE, text()),
        "run.sh": (SCRIPT, b"#!/bin/sh\n"),
        "run.bat": (FILE, text(ending="\r\n")),
        "link": (LINK, b"docs/0.txt"),
        "data-0.bin": (FILE, bytes(range(256))),
        "vendor/0": (SUBMODULE, b"1" * 40),
    }
    rules = [rule for rule in RULES if chance.random() < 0.5]
    base[chance.choice([".gitattributes", "src/.gitattributes"])] = (
        FILE,
        "".join(f"{rule}\n" for rule in rules).encode(),
    )
    features = {feature for feature in OF_THE_CHECKOUT if chance.random() < 0.25}
    lanes: list[Files] = []
    for _ in range(chance.randint(2, 4)):
        files = dict(base)
        for _ in range(chance.randint(1, 2)):
            chance.choice(OFTEN)(chance, files)
        for name in chance.sample(sorted(EDITS), chance.randint(0, 2)):
            before = dict(files)
            EDITS[name](chance, files)
            features |= {name} if files != before else set()
        lanes.append(files)
    return Sample(base, lanes, features)


def stream(files: Files, branch: str, mark: int) -> Iterator[bytes]:
    """A commit for `git fast-import`, the first one as parent of the others."""
    yield b"commit refs/heads/%s\nmark :%d\ncommitter T <t@example.invalid> 1700000000 +0000\ndata 1\nm\n" % (
        branch.encode(),
        mark,
    )
    if mark > 1:
        yield b"from :1\ndeleteall\n"
    for path, (mode, content) in files.items():
        if mode == SUBMODULE:
            yield b"M %s %s %s\n" % (mode.encode(), content, path.encode())
        else:
            yield b"M %s inline %s\ndata %d\n%s\n" % (mode.encode(), path.encode(), len(content), content)


def repository(project: Project, found: Sample) -> list[str]:
    """Make it; returns the lanes' heads."""
    git = project.git
    git("config", "--global", "merge.both.driver", DRIVER)
    commits = [b"".join(stream(found.base, "work", 1))]
    commits += [b"".join(stream(files, f"lane-{mark}", mark)) for mark, files in enumerate(found.lanes, 2)]
    subprocess.run(["git", "fast-import", "--quiet", "--force"], cwd=project.root, input=b"".join(commits), check=True)
    if "sparse" in found.features:
        git("sparse-checkout", "set", "--no-cone", "/docs")
    git("checkout", "--quiet", "--force", "work")
    if "foreign attributes" in found.features:
        project.write(".gitattributes", "*.txt merge=union\n*.log merge=binary\n*.both -merge\n")
    return [git("rev-parse", f"lane-{mark}") for mark in range(2, len(found.lanes) + 2)]


# The three ways

Outcome = tuple[str, list[str]]


def by(engine: Engine, project: Project, heads: list[str]) -> Outcome:
    tip = project.git("rev-parse", "work")
    for number, head in enumerate(heads):
        tip, conflicts = engine.merge(tip, head, "merge")
        if conflicts:
            return f"conflict of {number}", sorted(conflicts)
    return project.git("rev-parse", f"{tip}^{{tree}}"), []


def by_hand(project: Project, heads: list[str]) -> Outcome:
    """`git merge --no-ff`, lane by lane, in a clone."""
    clone = project.root.parent / f"clone of {project.root.name}"
    project.git("clone", "--quiet", "--branch", "work", str(project.root), str(clone))
    command = ["git", "merge", "--quiet", "--no-ff", "-m", "m"]
    for number, head in enumerate(heads):
        merged = subprocess.run([*command, head], cwd=clone, capture_output=True, text=True)
        if "would be overwritten by merge" in merged.stderr:
            # Attributes that forbid a file's line endings make it look changed; where it is not checked out, nothing can.
            project.git("sparse-checkout", "set", "--no-cone", ".gitattributes", where=clone)
            project.git("checkout", "--quiet", "--force", "work", where=clone)
            merged = subprocess.run([*command, head], cwd=clone, capture_output=True, text=True)
        if merged.returncode:
            unmerged = project.git("ls-files", "--unmerged", "-z", where=clone).split("\0")
            assert any(unmerged), merged
            return f"conflict of {number}", sorted({entry.partition("\t")[2] for entry in unmerged if entry})
    return project.git("rev-parse", "HEAD^{tree}", where=clone), []


def outcomes(project: Project, found: Sample) -> dict[str, Outcome]:
    heads = repository(project, found)
    repo = Repo.find(project.root)
    told = {"by hand": by_hand(project, heads), "aside": by(Aside(repo), project, heads)}
    for files in (True, False):
        with scratch(repo, files=files) as place:
            told[f"native, files {files}"] = by(Native(place, Hooks((), repo.common / "hooks")), project, heads)
    return told


def compare(make_project: Callable[[str], Project], numbers: range) -> Counter[bool]:
    """How many conflicted, and how many did not."""
    clean: Counter[bool] = Counter()
    for number in numbers:
        told = outcomes(make_project(f"mission-{number}"), sample(number))
        assert all(one == told["by hand"] for one in told.values()), (number, sample(number).features, told)
        clean[not told["by hand"][1]] += 1
    return clean


def test_the_engines_and_plain_git_agree(make_project: Callable[[str], Project]) -> None:
    compare(make_project, range(SWEEP, SWEEP + 5))


@pytest.mark.slow
@pytest.mark.parametrize("part", range(2))
def test_the_engines_and_plain_git_agree_on_thirty_missions(make_project: Callable[[str], Project], part: int) -> None:
    compare(make_project, range(part, 30, 2))


@pytest.mark.sweep
@pytest.mark.parametrize("part", range(6))
def test_the_engines_and_plain_git_agree_on_three_hundred_missions(
    make_project: Callable[[str], Project], part: int
) -> None:
    clean = compare(make_project, range(part, SWEEP, 6))
    assert min(clean[True], clean[False]) >= 10, clean


def test_everything_that_lanes_can_do_occurs_often_enough_in_the_sweep() -> None:
    seen = Counter(feature for number in range(SWEEP) for feature in sample(number).features)
    assert {feature for feature in (*EDITS, *OF_THE_CHECKOUT) if seen[feature] < 20} == set(), seen
