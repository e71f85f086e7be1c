"""Both engines and plain Git give one tree, or conflict on the same paths, whatever the lanes did; hooks and signatures are alike too.

Missions are generated from a number. `pytest -m sweep plugins/merge/tests/test_engines.py` runs three hundred of them.
"""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from random import Random
from typing import NamedTuple

import pytest

from kitty_host.repo import Repo
from kitty_host.testing import Project
from kitty_merge.engine import HOOKS, Aside, Engine, demands
from kitty_merge.graph import Graph
from kitty_merge.meeting import BY_GIT, Step, steps
from kitty_merge.native import Native
from kitty_merge.scratch import scratch

SWEEP = 300
OFTEN_ENOUGH = 20
HOT = "src/0.txt"
FILE, SCRIPT, LINK, SUBMODULE = "100644", "100755", "120000", "160000"

Files = dict[str, tuple[str, bytes]]
Edit = Callable[[Random, Files], None]


class Sample(NamedTuple):
    """A target, its lanes, and how the repository is set up."""

    base: Files
    lanes: list[Files]
    setup: set[str]


# What a lane does. Each changes the files, or does nothing where the ones that it needs are gone.


def text(start: int = 0, ending: str = "\n") -> bytes:
    return "".join(f"line {number}{ending}" for number in range(start, start + 15)).encode()


def some(chance: Random, files: Files, *suffixes: str) -> str | None:
    # One of them again and again, or a rename would hardly ever meet a change of the same file.
    if HOT.endswith(suffixes) and HOT in files and chance.random() < 0.4:
        return HOT
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
# Drivers and line endings are wanted more often: it takes two lanes that meet in one file, and a rule for it.
EDITS: list[Edit] = [
    *(remove, rename, rename_directory, change_mode, link, binary, attributes, union, submodule, crlf),
    *(driver, driver, driver, crlf),
]
SETUPS = ("sparse checkouts", "foreign attributes", "moving directories", "hooks", "signing")
RULES = ["*.log merge=union", "*.both merge=both", "* text=auto", "*.bin binary"]
OF_LINE_ENDINGS = ["*.bat eol=crlf", "*.bat eol=crlf", "*.bat -text"]


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
    rules = [*(rule for rule in RULES if chance.random() < 0.7), chance.choice(OF_LINE_ENDINGS)]
    base[chance.choice([".gitattributes", ".gitattributes", "src/.gitattributes"])] = (
        FILE,
        "".join(f"{rule}\n" for rule in rules).encode(),
    )
    setup = {one for one in SETUPS if chance.random() < 0.3}
    # Lanes have something in common, or two of them would hardly ever meet in one file.
    themes = chance.sample(EDITS, 4)
    lanes: list[Files] = []
    for _ in range(chance.randint(2, 4)):
        files = dict(base)
        chance.choice(OFTEN)(chance, files)
        for theme in chance.sample(themes, chance.randint(1, 2)):
            theme(chance, files)
        lanes.append(files)
    return Sample(base, lanes, setup)


def changed(base: Files, files: Files) -> set[str]:
    """What a lane really does, read off its files."""
    seen: set[str] = set()
    for path in base.keys() | files.keys():
        sides = [one[path] for one in (base, files) if path in one]
        if base.get(path) == files.get(path):
            continue
        modes = {mode for mode, _ in sides}
        contents = [content for mode, content in sides if mode in (FILE, SCRIPT)]
        found = {
            "mode changes": modes == {FILE, SCRIPT},
            "symlinks": LINK in modes,
            "submodule links": SUBMODULE in modes,
            "binary files": any(b"\0" in content for content in contents),
            "attributes": path.endswith(".gitattributes"),
            "CRLF": any(b"\r\n" in content and b"\0" not in content for content in contents),
            "outside": not path.startswith("docs/"),
        }
        seen |= {name for name, occurs in found.items() if occurs}
    return seen | ({"renames"} if renamed(base, files) else set())


def renamed(base: Files, files: Files) -> set[str]:
    """What was somewhere else before, with the same content."""
    new = [one for path, one in files.items() if path not in base]
    return {path for path, one in base.items() if path not in files and one in new}


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


# Each says what it was told and what is to be committed; what it adds to the message is such that Git has to tidy it.
HOOK = """#!/bin/sh
name=${0##*/}
echo "$name $2 $(git write-tree)" >>"${0%/*}/trace"
test "$name" = pre-merge-commit || printf '\\n\\n\\nSeen-By: %s  \\n\\n' "$name" >>"$1"
"""
DRIVER = "cat %A %B >%A.both && mv %A.both %A && echo driver %P >>"


class Mission:
    """A generated mission as a repository."""

    def __init__(self, project: Project, found: Sample, key: Path) -> None:
        self.project = project
        self.setup = found.setup
        self.aside = project.root.with_name(f"hooks of {project.root.name}")
        self.aside.mkdir()
        self.settings = {"merge.both.driver": f"{DRIVER}'{self.aside}/trace'", "core.hooksPath": str(self.aside)}
        if "moving directories" in found.setup:
            self.settings["merge.directoryRenames"] = "true"
        if "hooks" in found.setup:
            for name in HOOKS:
                project.write(name, HOOK, where=self.aside).chmod(0o755)
        if "signing" in found.setup:
            self.settings |= signing(key)
        commits = [b"".join(stream(found.base, "work", 1))]
        commits += [b"".join(stream(files, f"lane-{mark}", mark)) for mark, files in enumerate(found.lanes, 2)]
        subprocess.run(
            ["git", "fast-import", "--quiet", "--force"], cwd=project.root, input=b"".join(commits), check=True
        )
        for name, value in self.settings.items():
            project.git("config", name, value)
        if "sparse checkouts" in found.setup:
            project.git("sparse-checkout", "set", "--no-cone", "/docs")
        project.git("checkout", "--quiet", "--force", "work")
        if "foreign attributes" in found.setup:
            project.write(".gitattributes", "*.txt merge=union\n*.log merge=binary\n*.both -merge\n")
        marks = range(2, len(found.lanes) + 2)
        self.heads = project.git("rev-parse", *(f"lane-{mark}" for mark in marks)).splitlines()

    def heard(self) -> tuple[list[str], list[str]]:
        """What drivers and hooks have said since this was asked last."""
        trace = self.aside / "trace"
        lines = trace.read_text().splitlines() if trace.exists() else []
        trace.unlink(missing_ok=True)
        drivers = {line for line in lines if line.startswith("driver ")}
        return sorted(drivers), [line for line in lines if line not in drivers]


def signing(key: Path) -> dict[str, str]:
    """The settings of somebody who signs, with a key that is made where there is none yet."""
    if not key.exists():
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
        key.with_name("signers").write_text(f"test@example.invalid {key.with_suffix('.pub').read_text()}")
    return {
        "gpg.format": "ssh",
        "user.signingKey": str(key),
        "gpg.ssh.allowedSignersFile": str(key.with_name("signers")),
        "commit.gpgSign": "true",
    }


# The three ways


class Outcome(NamedTuple):
    """What became of the lanes, one after the other, up to the first that conflicts."""

    made: list[str]
    """Of each merge: its tree, what is merged, and Git's word on its signature, as `git verify-commit` has it."""
    drivers: list[list[str]]
    conflicts: list[str]
    messages: list[str]
    hooks: list[list[str]]


def told(project: Project, way: str, where: Path | None = None) -> tuple[list[str], list[str]]:
    """Of every merge on the way from the target, what it is and what it says."""
    log = project.git("log", "-z", "--first-parent", "--reverse", "--format=%T %P %G?%n%B", way, where=where)
    found = [one.partition("\n") for one in log.split("\0") if one]
    # Its first parent is a commit with a time in it.
    return [" ".join(one.split(" ")[:1] + one.split(" ")[2:]) for one, _, _ in found], [said for _, _, said in found]


def known(repo: Repo, mission: Mission) -> list[Step]:
    """What a landing knows of its merges before it makes them."""
    old = mission.project.git("rev-parse", "work")
    graph = Graph.read(repo.git, mission.heads, old)
    return [step or BY_GIT for step in steps(repo.git, graph, old, mission.heads)]


def by(engine: Engine, repo: Repo, mission: Mission, ahead: Sequence[Step]) -> Outcome:
    project = mission.project
    old = tip = project.git("rev-parse", "work")
    conflicts: list[str] = []
    heard: list[tuple[list[str], list[str]]] = []
    for number, head in enumerate(mission.heads):
        merged = engine.merge(tip, head, f"Merge lane {number}", ahead[number])
        conflicts = sorted(merged.conflicts)
        heard.append(mission.heard())
        if conflicts:
            break
        tip = merged.commit
    repo.git.objects.flush()
    made, messages = told(project, f"{old}..{tip}")
    return Outcome(made, [one for one, _ in heard], conflicts, messages, [one for _, one in heard])


def by_hand(mission: Mission) -> Outcome:
    """`git merge --no-ff`, lane by lane, in a clone."""
    project = mission.project
    clone = project.root.with_name(f"clone of {project.root.name}")
    project.git("clone", "--quiet", "--no-checkout", "--branch", "work", str(project.root), str(clone))
    for name, value in mission.settings.items():
        project.git("config", name, value, where=clone)
    if "sparse checkouts" in mission.setup:
        # With the attributes: a merge that does not find them does not heed them.
        project.git("sparse-checkout", "set", "--no-cone", "/docs", ".gitattributes", where=clone)
    project.git("checkout", "--quiet", "work", where=clone)
    conflicts: list[str] = []
    heard: list[tuple[list[str], list[str]]] = []
    for number, head in enumerate(mission.heads):
        command = ["git", "merge", "--quiet", "--no-ff", "-m", f"Merge lane {number}", head]
        merged = subprocess.run(command, cwd=clone, capture_output=True, text=True)
        if "would be overwritten by merge" in merged.stderr:
            # Attributes that forbid a file's line endings make it look changed; where it is not checked out, nothing can.
            project.git("sparse-checkout", "set", "--no-cone", ".gitattributes", where=clone)
            project.git("checkout", "--quiet", "--force", "work", where=clone)
            merged = subprocess.run(command, cwd=clone, capture_output=True, text=True)
        heard.append(mission.heard())
        if merged.returncode:
            unmerged = project.git("ls-files", "--unmerged", "-z", where=clone).split("\0")
            assert any(unmerged), merged
            conflicts = sorted({entry.partition("\t")[2] for entry in unmerged if entry})
            break
    made, messages = told(project, "origin/work..HEAD", where=clone)
    return Outcome(made, [one for one, _ in heard], conflicts, messages, [one for _, one in heard])


def outcomes(mission: Mission) -> dict[str, Outcome]:
    repo = Repo.find(mission.project.root)
    asked = demands(repo)
    found = {"by hand": by_hand(mission)}
    ahead = known(repo, mission)
    plain = found["by hand"]
    for how in ("aside", "aside, and nothing known before"):
        made = by(Aside(repo), repo, mission, ahead if how == "aside" else [BY_GIT] * len(ahead))
        if asked.hooks.names:
            # It runs none, and is not taken where there are any.
            assert "Seen-By" not in "".join(made.messages)
            made = made._replace(messages=plain.messages, hooks=plain.hooks)
        found[how] = made
    for files in (True, False):
        with scratch(repo, files=files) as place:
            found[f"native, files {files}"] = by(Native(place, asked.hooks), repo, mission, ahead)
    return found


def merged(found: Sample, plain: Outcome) -> set[str]:
    """What is in a merge that was made of two sides which both have changes: none of what came with the base, or into a conflict.

    Only renames of what the other side has changed are counted, and drivers, hooks and signatures that have left their mark.
    """
    count = len(plain.made)
    if count < 2:
        return set()
    lanes = found.lanes[:count]
    seen = {one for files in lanes for one in changed(found.base, files)}
    meets = {
        path
        for files in lanes
        for path in renamed(found.base, files)
        if any(path in other and other[path] != found.base[path] for other in lanes)
    }
    occurs = {
        "renames": bool(meets),
        "drivers": any(plain.drivers[:count]),
        "hooks": all(len(one) == len(HOOKS) for one in plain.hooks[:count])
        and all(message.count("Seen-By") == 2 for message in plain.messages),
        "signing": all(one.endswith(" G") for one in plain.made),
        "sparse checkouts": "sparse checkouts" in found.setup and "outside" in seen,
    }
    return seen - {*occurs, "outside"} | {name for name, does in occurs.items() if does}


def compare(make_project: Callable[[str], Project], numbers: range) -> Counter[str]:
    """In how many missions each feature was really merged, and how many ended in a conflict."""
    seen: Counter[str] = Counter()
    for number in numbers:
        found = sample(number)
        project = make_project(f"mission-{number}")
        mission = Mission(project, found, project.root.with_name("key"))
        told = outcomes(mission)
        plain = told["by hand"]
        assert all(one == plain for one in told.values()), (number, found.setup, told)
        assert "signing" not in found.setup or all(one.endswith(" G") for one in plain.made)
        seen.update([*merged(found, plain), "conflicts" if plain.conflicts else "no conflicts"])
        # The first lane has nothing that it could meet.
        seen["merges without Git"] += sum(
            step.apart is not None for step in known(Repo.find(project.root), mission)[1 : len(plain.made)]
        )
    return seen


RESULTS = {"drivers", "conflicts", "no conflicts", "merges without Git"}
FEATURES = (
    *("renames", "mode changes", "symlinks", "binary files", "attributes", "drivers", "submodule links"),
    *("sparse checkouts", "CRLF", "hooks", "signing", "conflicts", "no conflicts"),
    "merges without Git",
)


def fewer_than(least: int, seen: Counter[str]) -> dict[str, int]:
    return {feature: seen[feature] for feature in FEATURES if seen[feature] < least}


def test_the_engines_and_plain_git_agree(make_project: Callable[[str], Project]) -> None:
    compare(make_project, range(SWEEP, SWEEP + 5))


@pytest.mark.slow
def test_the_engines_and_plain_git_agree_on_thirty_missions(make_project: Callable[[str], Project]) -> None:
    seen = compare(make_project, range(30))
    assert fewer_than(1, seen) == {}, seen


@pytest.mark.sweep
@pytest.mark.parametrize("part", range(2))
def test_the_engines_and_plain_git_agree_on_three_hundred_missions(
    make_project: Callable[[str], Project], part: int
) -> None:
    """Each half has its half of what has to occur, so that all of them have it, on however many cores."""
    seen = compare(make_project, range(part, SWEEP, 2))
    sys.stdout.write(f"{dict(sorted(seen.items()))}\n")
    assert fewer_than(OFTEN_ENOUGH // 2, seen) == {}, seen


def test_what_lanes_change_and_how_repositories_are_set_up_varies_enough_for_that() -> None:
    """What generation alone can tell, at once: what is never generated is not merged."""
    seen: Counter[str] = Counter()
    for number in range(SWEEP):
        found = sample(number)
        seen.update(found.setup.union(*(changed(found.base, files) for files in found.lanes)))
    assert {one: seen[one] for one in {*FEATURES, *SETUPS} - RESULTS if seen[one] < 2 * OFTEN_ENOUGH} == {}
