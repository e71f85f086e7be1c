"""The preview says what `git merge` would do, and why. It is a question; it is answered from a cache that is never wrong."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from kitty_host.api import KittyError
from kitty_host.git import GitError
from kitty_host.lanes import write_lanes
from kitty_host.records import Forecast
from kitty_host.state import State
from kitty_host.testing import Project
from kitty_merge import trees
from kitty_merge.heads import read_heads
from kitty_merge.planner import plan
from kitty_merge.preview import KINDS, OTHER, Preview, _kinds, forecast, preview
from kitty_merge.trial import Merge
from kitty_merge.workspace import worktree_path

if TYPE_CHECKING:
    from conftest import Yard

FILE, SCRIPT, LINK, SUBMODULE = "100644", "100755", "120000", "160000"
ODD = ("a b.txt", "new\nline.txt", "naïve “quoted”.txt", "日本/ä ö.txt", "[star]*.txt", "caf\udce9.txt")
"""File names that are harder to print than to have; the last one is no UTF-8."""

Files = dict[str, tuple[str, bytes]]


def look(yard: Yard) -> Preview:
    return preview(State.load(yard.mission), read_heads(yard.mission))


def foretold(yard: Yard) -> Forecast:
    found = forecast(yard.mission, read_heads(yard.mission))
    assert found is not None
    return found


def cache_of(yard: Yard) -> Path:
    return yard.mission.repo.cache / f"preview-{yard.mission.mission_id}.json"


def told(yard: Yard) -> dict[str, Any]:
    """What the command prints."""
    done = yard.project.kitty("merge", "--preview", "--json")
    assert done.exit_code == 0, done
    return done.json


def unclean(yard: Yard) -> list[tuple[str, str, dict[str, str]]]:
    return [(pair["a"], pair["b"], pair["kinds"]) for pair in told(yard)["pairs"] if not pair["clean"]]


@pytest.fixture
def started(isolated: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Counter[str]]:
    """How often each Git command was started since that was last asked."""
    trace = isolated / "trace"
    monkeypatch.setenv("GIT_TRACE", str(trace))

    def count() -> Counter[str]:
        lines = trace.read_text(errors="replace").splitlines() if trace.exists() else []
        trace.unlink(missing_ok=True)
        return Counter(re.findall(r"trace: built-in: git (\S+)", "\n".join(lines)))

    return count


# Commits made of files, without a checkout


def commit_of(branch: str, start: str, files: Files, before: Files) -> Iterator[bytes]:
    """A commit that makes the files of another one these, for `git fast-import`."""
    yield f"reset refs/heads/{branch}\nfrom {start}\n\n".encode()
    yield f"commit refs/heads/{branch}\ncommitter T <t@example.invalid> 1700000000 +0000\ndata 1\nm\n".encode()
    # Deletions first: a file may become a directory.
    for path in before.keys() - files.keys():
        yield b"D %s\n" % quoted(path)
    for path, (mode, content) in files.items():
        if mode == SUBMODULE:
            yield b"M 160000 %s %s\n" % (content, quoted(path))
        else:
            yield b"M %s inline %s\ndata %d\n%s\n" % (mode.encode(), quoted(path), len(content), content)


def quoted(path: str) -> bytes:
    return b'"' + b"".join(b"\\%03o" % byte for byte in path.encode(errors="surrogateescape")) + b'"'


def commit_all(yard: Yard, base: Files, *lanes: Files, target: Files | None = None) -> None:
    """A base on the target, a lane for each of the others, and what the target has got since. The mission's own files are everywhere."""
    mission = yard.plan(*(yard.package(f"WP{number:02}") for number in range(1, len(lanes) + 1)))
    parts = [*commit_of("base", "refs/heads/main", base, {})]
    for package, files in zip(mission.packages, lanes, strict=True):
        parts += commit_of(yard.branch(package.wp_id), "refs/heads/base", files, base)
    parts += commit_of("main", "refs/heads/base", base if target is None else target, base)
    subprocess.run(["git", "fast-import", "--quiet", "--force"], cwd=yard.root, input=b"".join(parts), check=True)


def text(start: int = 0) -> bytes:
    return "".join(f"line {number}\n" for number in range(start, start + 15)).encode()


def changed(content: bytes, number: int, by: int) -> bytes:
    lines = content.splitlines(keepends=True) or [b"\n"]
    lines[number % len(lines)] = b"changed by %d\n" % by
    return b"".join(lines)


# What plain Git does, in a worktree of its own

_MESSAGE = re.compile(
    r"\n(?=Auto-merging |CONFLICT |warning: |Automatic merge |Path updated: |Failed to merge |Already |Removing )"
)
_SAID = {
    "content": "contents",
    "file location": "directory rename",
    "directory rename split": "directory rename",
    "implicit dir rename": "directory rename",
    "rename involved in collision": "rename collision",
}


class Said(NamedTuple):
    """What a merge says that fails."""

    unmerged: dict[str, set[str]]
    """The paths that the index has unmerged, and what is said of each."""
    others: list[tuple[str, str]]
    """What is said of no such path: the word and the whole message."""


class Real:
    """`git merge`, for real."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self.place = project.root.parent / "plain worktree"
        project.git("worktree", "add", "--quiet", "--detach", "--no-checkout", str(self.place), "main")

    def merge(self, ours: str, theirs: str) -> Said | None:
        """What it leaves and says; None where it is clean."""
        git = self.project.git
        git("checkout", "--quiet", "--force", "--detach", ours, where=self.place)
        git("clean", "-ffdxq", where=self.place)
        done = subprocess.run(["git", "merge", "--no-ff", "-m", "m", theirs], cwd=self.place, capture_output=True)
        assert done.returncode in (0, 1), done
        if done.returncode == 0:
            return None
        out = done.stdout.decode(errors="surrogateescape")
        assert "Automatic merge failed" in out, done
        moved = re.compile(rf"~(?:HEAD|{theirs})(?:_\d+)?$")
        unmerged = git("ls-files", "--unmerged", "-z", where=self.place).split("\0")[:-1]
        said = Said({moved.sub("", entry.partition("\t")[2]): set() for entry in unmerged}, [])
        for message in _MESSAGE.split(out):
            kind = re.match(r"CONFLICT \(([^)]+)\)", message)
            if message.startswith("warning: Cannot merge binary files: "):
                word = "binary"
            elif kind:
                word = _SAID.get(kind[1], kind[1])
            else:
                continue
            about = [path for path in said.unmerged if path in message]
            for path in about:
                said.unmerged[path].add(word)
            if not about:
                said.others.append((word, message))
        return said


def agree(said: Said | None, kinds: Mapping[str, str] | None) -> bool:
    """Whether Git and a preview say the same: of each path one of the words that Git says, the most telling one where there are several.

    Git complains of some paths that it leaves merged: of renamed directories with reason, of others not always.
    """
    if said is None or kinds is None:
        return said is None and kinds is None
    telling = {path: words & {"binary", "submodule"} or words for path, words in said.unmerged.items()}
    more = {path: word for path, word in kinds.items() if path not in telling}
    wanted = [(word, message) for word, message in said.others if word == "directory rename" or not telling]
    return (
        all(kinds.get(path) in words for path, words in telling.items())
        and all(any(kinds[path] == word and path in message for word, message in wanted) for path in more)
        and all(any(path in message for path in more) for _, message in wanted)
        and len(kinds) > 0
    )


def compare(yard: Yard) -> None:
    """The whole preview with real merges: every pair, every lane with the target, and the chain."""
    found, heads, real = look(yard), read_heads(yard.mission), Real(yard.project)
    assert heads.target is not None
    commits = {lane.lane_id: heads.branches[lane.branch] for lane in found.lanes}
    assert len(found.pairs) == len(commits) * (len(commits) + 1) / 2
    for pair in found.pairs:
        ours, theirs = (commits[pair.a], commits[pair.b]) if pair.b in commits else (heads.target, commits[pair.a])
        assert agree(said := real.merge(ours, theirs), pair.kinds), (pair, said)
    tip = heads.target
    for lane_id, head in commits.items():
        said = real.merge(tip, head)
        if said is not None:
            assert found.lane is not None
            assert found.lane.lane_id == lane_id
            assert agree(said, found.kinds), (found, said)
            return
        tip = yard.project.git("rev-parse", "HEAD", where=real.place)
    assert (found.lane, found.kinds) == (None, {})


# Each kind of conflict

T = (FILE, text())
CASES: dict[str, tuple[Files, Files, Files, dict[str, str]]] = {
    "contents": (
        dict.fromkeys(ODD, T),
        {name: (FILE, changed(text(), 3, 1)) for name in ODD},
        {name: (FILE, changed(text(), 3, 2)) for name in ODD},
        dict.fromkeys(ODD, "contents"),
    ),
    "add/add": ({}, {"a b": (FILE, b"1\n")}, {"a b": (FILE, b"2\n")}, {"a b": "add/add"}),
    "mode": ({}, {"run": (FILE, b"1\n")}, {"run": (SCRIPT, b"1\n")}, {"run": "add/add"}),
    "modify/delete": ({"x": T}, {}, {"x": (FILE, changed(text(), 3, 2))}, {"x": "modify/delete"}),
    "rename/delete": ({"x": T}, {"y": T}, {}, {"y": "rename/delete"}),
    "rename/rename": (
        {"x": T}, {"y": T}, {"z": T}, dict.fromkeys("xyz", "rename/rename"),
    ),
    "rename and change against delete": (
        {"x": T}, {"y": (FILE, changed(text(), 3, 1))}, {}, {"y": "rename/delete"},
    ),
    "binary": ({"b": (FILE, b"\0")}, {"b": (FILE, b"\0\1")}, {"b": (FILE, b"\0\2")}, {"b": "binary"}),
    "link": ({"l": (LINK, b"a")}, {"l": (LINK, b"b")}, {"l": (LINK, b"c")}, {"l": "contents"}),
    "link for a file": ({}, {"l": (LINK, b"b")}, {"l": (FILE, b"file\n")}, {"l": "distinct types"}),
    "file/directory": ({}, {"d/x": (FILE, b"1\n")}, {"d": (FILE, b"2\n")}, {"d": "file/directory"}),
    "submodule": (
        {"s": (SUBMODULE, b"1" * 40)},
        {"s": (SUBMODULE, b"2" * 40)},
        {"s": (SUBMODULE, b"3" * 40)},
        {"s": "submodule"},
    ),
    "directory rename": (
        {f"src/{number}": (FILE, text(number * 20)) for number in range(3)},
        {f"lib/{number}": (FILE, text(number * 20)) for number in range(3)},
        {**{f"src/{number}": (FILE, text(number * 20)) for number in range(3)}, "src/new": (FILE, b"n\n")},
        {"lib/new": "directory rename"},
    ),
    "two directories that went to one place": (
        {f"{place}/{number}": (FILE, text(at + number * 20)) for place, at in (("a", 0), ("b", 500)) for number in range(3)},
        {f"c/{place}{number}": (FILE, text(at + number * 20)) for place, at in (("a", 0), ("b", 500)) for number in range(3)},
        {
            **{f"{place}/{number}": (FILE, text(at + number * 20)) for place, at in (("a", 0), ("b", 500)) for number in range(3)},
            "a/new": (FILE, b"1\n"),
            "b/new": (FILE, b"2\n"),
        },
        {"c/new": "directory rename"},
    ),
    "a directory that went to two places": (
        {f"src/{number}": (FILE, text(number * 20)) for number in range(2)},
        {"one/0": (FILE, text(0)), "two/1": (FILE, text(20))},
        {**{f"src/{number}": (FILE, text(number * 20)) for number in range(2)}, "src/new": (FILE, b"n\n")},
        {"src": "directory rename"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_each_kind_of_conflict_has_its_word(yard: Yard, name: str) -> None:
    base, one, other, kinds = CASES[name]
    commit_all(yard, base, one, other)
    assert unclean(yard) == [("lane-a", "lane-b", kinds)]
    chain = told(yard)["chain"]
    assert chain == {"clean": False, "lane": "lane-b", "paths": chain["paths"], "kinds": kinds}
    assert sorted(chain["paths"]) == sorted(kinds)
    compare(yard)


def test_a_kind_that_a_later_git_knows_is_told_as_other() -> None:
    messages = (("CONFLICT (of another kind)", ("x",)), ("Auto-merging", ("x",)), ("CONFLICT (contents)", ("y",)))
    merge = Merge(False, "0" * 40, {"x": {1, 2}, "y": {1, 2, 3}, "z": {2}}, messages)
    assert _kinds("1" * 40, "2" * 40, merge) == {"x": OTHER, "y": "contents", "z": OTHER}


def test_the_table_has_every_kind_that_this_git_knows() -> None:
    place = Path(subprocess.run(["git", "--exec-path"], capture_output=True, text=True, check=True).stdout.strip())
    known = {kind.decode() for kind in re.findall(rb"\0CONFLICT ?\(([a-z/ ]+)\)\0", (place / "git").read_bytes())}
    assert "contents" in known
    assert known - KINDS.keys() == set()


# Anything that lanes do


def edit(chance: Random, files: Files, by: int) -> None:
    path = chance.choice([path for path, (mode, _) in sorted(files.items()) if mode in (FILE, SCRIPT)])
    files[path] = (files[path][0], changed(files[path][1], chance.choice([2, 2, 8, 13]), by))


def add(chance: Random, files: Files, by: int) -> None:
    files[chance.choice(["added é.txt", "src/added\n.txt", "src/deep/new.txt"])] = (FILE, text(chance.randrange(3)))


def remove(chance: Random, files: Files, by: int) -> None:
    del files[chance.choice(sorted(files))]


def rename(chance: Random, files: Files, by: int) -> None:
    path = chance.choice([path for path in sorted(files) if path.endswith(".txt")])
    files[path.replace(".txt", f" {chance.randrange(2)}.txt")] = files.pop(path)


def rename_directory(chance: Random, files: Files, by: int) -> None:
    for path in [path for path in files if path.startswith("src/")]:
        files[path.replace("src/", f"lib {chance.randrange(1)}/")] = files.pop(path)


def mode(chance: Random, files: Files, by: int) -> None:
    path = chance.choice([path for path in sorted(files) if path.endswith(".txt")])
    files[path] = (SCRIPT if files[path][0] == FILE else FILE, files[path][1])


def link(chance: Random, files: Files, by: int) -> None:
    files[chance.choice(["link", "link", "a b.txt"])] = (LINK, b"to %d" % by)


def binary(chance: Random, files: Files, by: int) -> None:
    files[f"data {chance.randrange(2)}.bin"] = (FILE, b"\0%d" % chance.randrange(3))


def submodule(chance: Random, files: Files, by: int) -> None:
    files[f"vendor/{chance.randrange(2)}"] = (SUBMODULE, b"%d" % chance.randrange(1, 5) * 40)


def directory(chance: Random, files: Files, by: int) -> None:
    files.pop("place", None)
    files["place/file.txt"] = (FILE, b"%d\n" % by)


def attributes(chance: Random, files: Files, by: int) -> None:
    rule = chance.choice(["*.txt merge=union", "*.txt -merge", "*.bin merge=text", "src/*.txt merge=binary"])
    files[chance.choice([".gitattributes", "src/.gitattributes"])] = (FILE, f"{rule}\n".encode())


EDITS = (edit, edit, edit, add, remove, rename, rename_directory, mode, link, binary, submodule, directory, attributes)


def sample(number: int) -> tuple[Files, list[Files], Files]:
    """A base, three lanes and what has become of the target; the same for the same number."""
    chance = Random(number)
    base: Files = {name: (FILE, text(place * 20)) for place, name in enumerate(ODD)}
    base |= {f"src/{one}.txt": (FILE, text(200 + one * 20)) for one in range(3)}
    base |= {
        "link": (LINK, b"a b.txt"),
        "data 0.bin": (FILE, bytes(range(256))),
        "vendor/0": (SUBMODULE, b"9" * 40),
        "place": (FILE, b"place\n"),
    }
    made: list[Files] = []
    for by in range(4):
        files = dict(base)
        for _ in range(chance.randint(1, 4)):
            if any(path.endswith(".txt") for path in files):
                chance.choice(EDITS)(chance, files, by)
        made.append(files)
    *lanes, target = made
    return base, lanes, target if chance.random() < 0.5 else base


@pytest.mark.parametrize("number", range(40))
def test_the_matrix_is_what_git_merge_does(yard: Yard, number: int) -> None:
    base, lanes, target = sample(number)
    commit_all(yard, base, *lanes, target=target)
    compare(yard)


@pytest.mark.parametrize(
    "numbers",
    [
        *(pytest.param(range(1000 + part, 1060, 2), marks=pytest.mark.slow) for part in range(2)),
        *(pytest.param(range(1060 + part, 1200, 2), marks=pytest.mark.sweep) for part in range(2)),
    ],
    ids=["slow 0", "slow 1", "sweep 0", "sweep 1"],
)
def test_the_matrix_is_what_git_merge_does_two_hundred_times(
    yard: Yard, make_project: Callable[[str], Project], numbers: range
) -> None:
    for number in numbers:
        one = type(yard)(make_project(f"sample-{number}"))
        base, lanes, target = sample(number)
        commit_all(one, base, *lanes, target=target)
        compare(one)
        shutil.rmtree(one.root)
        shutil.rmtree(one.root.parent / "plain worktree")


# All together


def test_lanes_of_which_any_two_merge_may_conflict_together(yard: Yard) -> None:
    yard.fit_in_pairs_only()
    shown = told(yard)
    assert [pair["clean"] for pair in shown["pairs"]] == [True] * 6
    assert shown["chain"] == {
        "clean": False,
        "lane": "lane-c",
        "paths": ["old.txt"],
        "kinds": {"old.txt": "modify/delete"},
    }
    compare(yard)
    (conflict,) = foretold(yard).conflicts
    assert (conflict["lane"], conflict["others"], conflict["paths"]) == ("lane-c", ["lane-a", "lane-b"], ["old.txt"])
    yard.settle("WP03", conflict["hint"])
    assert foretold(yard) == Forecast(True)
    yard.project.git("worktree", "remove", "--force", str(yard.root.parent / "plain worktree"))
    compare(yard)


def test_a_conflict_is_settled_by_what_the_forecast_says(yard: Yard) -> None:
    yard.plan(yard.package("WP01"), yard.package("WP02"))
    yard.finish("WP01", "one\n", path="shared.txt")
    yard.work("WP02", "two\n", path="shared.txt")
    (conflict,) = foretold(yard).conflicts
    assert (conflict["lane"], conflict["others"]) == ("lane-b", ["lane-a"])
    assert not conflict["hint"].startswith("when")
    yard.settle("WP02", conflict["hint"])
    assert foretold(yard) == Forecast(True)


def test_who_has_not_finished_is_waited_for(yard: Yard) -> None:
    yard.plan(yard.package("WP01"), yard.package("WP02"))
    yard.work("WP01", "one\n", path="shared.txt")
    yard.finish("WP02", "two\n", path="shared.txt")
    (conflict,) = foretold(yard).conflicts
    assert conflict["hint"].startswith("when WP01 is approved: kitty reopen WP02 --reason R; ")


def test_a_conflict_with_the_target_is_settled_with_the_target(yard: Yard) -> None:
    yard.plan(yard.package("WP01"))
    yard.finish("WP01", "one\n", path="shared.txt")
    yard.project.commit("shared.txt", "two\n")
    assert unclean(yard) == [("lane-a", "main", {"shared.txt": "add/add"})]
    (conflict,) = foretold(yard).conflicts
    assert conflict["others"] == ["main"]
    yard.settle("WP01", conflict["hint"])
    assert foretold(yard) == Forecast(True)


def test_what_conflicts_with_a_planning_artefact_takes_that_in(yard: Yard) -> None:
    planning = yard.package("WP02", owns="model.md", execution_mode="planning_artifact")
    yard.plan(yard.package("WP01"), planning)
    yard.finish("WP01", "one\n", path="model.md")
    yard.work("WP02", "two\n", path="model.md")
    yard.approve("WP02")
    (conflict,) = foretold(yard).conflicts
    assert (conflict["lane"], conflict["others"]) == ("lane-planning", ["lane-a"])
    yard.settle("WP01", conflict["hint"])
    assert foretold(yard) == Forecast(True)


def test_closed_lanes_and_lanes_without_a_branch_are_not_looked_at(yard: Yard) -> None:
    yard.plan(yard.package("WP01"), yard.package("WP02"), yard.package("WP03"))
    assert told(yard) == {
        "schema": "kitty.preview/1",
        "pairs": [],
        "chain": {"clean": True, "paths": [], "kinds": {}, "lane": None},
        "leases": [],
    }
    assert yard.project.kitty("merge", "--preview").stdout == "No lane has a branch yet.\n"
    yard.finish("WP01", "one\n", path="shared.txt")
    yard.finish("WP02", "two\n", path="shared.txt")
    yard.project.record(yard.mission, "WP02", "canceled")
    assert [(pair["a"], pair["b"]) for pair in told(yard)["pairs"]] == [("lane-a", "main")]
    assert foretold(yard) == Forecast(True)


def test_the_preview_is_told_in_words(yard: Yard) -> None:
    yard.plan(yard.package("WP01"), yard.package("WP02"))
    yard.finish("WP01", "one\n", path="a b\n.txt")
    yard.finish("WP02", "two\n", path="a b\n.txt")
    lines = yard.project.kitty("merge", "--preview").stdout.splitlines()
    assert lines[:4] == [
        "lane-a         lane-b         conflict in a b .txt (add/add)",
        "lane-a         main           clean",
        "lane-b         main           clean",
        "all of them                   lane-b: conflict in a b .txt (add/add)",
    ]
    assert lines[4] == "lane-b with lane-a:"
    assert "git merge" in lines[5]
    assert len(lines) == 6


# A question


def test_nothing_but_the_cache_is_written(yard: Yard) -> None:
    """With signing and an identity that cannot be had, with hooks, and with files of the user's that are not committed."""
    base, _, _ = sample(3)
    commit_all(yard, base, base | {"one": T}, base | {"two": T}, base | {"two": (SCRIPT, text(9))})
    yard.project.git("reset", "--quiet", "--hard")
    yard.start("WP01")
    yard.project.write("untracked.txt")
    yard.project.write("a b.txt", "staged\n")
    yard.project.git("add", "a b.txt")
    for name in ("pre-merge-commit", "commit-msg", "reference-transaction", "post-index-change"):
        yard.project.write(f".git/hooks/{name}", "#!/bin/sh\ntouch ran\nexit 1\n").chmod(0o755)
    for key, value in (("commit.gpgSign", "true"), ("gpg.program", "/bin/false"), ("user.useConfigOnly", "true")):
        yard.project.git("config", key, value)
    before = yard.project.snapshot()
    assert told(yard)["chain"]["lane"] == "lane-c", "two lanes were merged before"
    assert foretold(yard).clean is False
    assert yard.project.snapshot() == before
    assert list((yard.mission.repo.cache / "trials").iterdir()) == []
    cache_of(yard).unlink()
    told(yard)
    assert yard.project.snapshot() == before


def test_a_place_with_an_odd_name_is_as_good_as_another(yard: Yard, make_project: Callable[[str], Project]) -> None:
    odd = type(yard)(make_project('odd: "a\\b" ü'))
    commit_all(odd, {"x": T}, {"x": (FILE, changed(text(), 3, 1))}, {"x": (FILE, changed(text(), 3, 2))})
    assert [pair.kinds for pair in look(odd).pairs] == [{"x": "contents"}, None, None]


def test_what_a_killed_preview_has_left_goes(yard: Yard) -> None:
    commit_all(yard, {}, {"a": T}, {"b": T})
    script = f"""
from pathlib import Path
from kitty_host.files import temporary
left = temporary(Path({str(yard.mission.repo.cache / "trials")!r}))
(left / "ab").mkdir(parents=True)
print(left)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    left = Path(done.stdout.strip())
    assert left.is_dir()
    look(yard)
    assert not left.exists()


def test_one_process_for_all_pairs_of_the_same_attributes(yard: Yard, started: Callable[[], Counter[str]]) -> None:
    union = {".gitattributes": (FILE, b"*.txt merge=union\n")}
    base = {"x.txt": T}
    lanes = [base | union | {f"{number}": T, "x.txt": (FILE, changed(text(), 5, number))} for number in range(4)]
    commit_all(yard, base | union, *lanes)
    started()
    assert look(yard).lane is None, "lines of both sides, as the attributes of the commits say"
    # Ten pairs at once, and a step of the chain for each lane but the first, which is one of the pairs.
    seen = started()
    assert (seen["merge-tree"], seen["ls-tree"], seen["diff-tree"]) == (1 + 3, 1, 1)
    commit_all(yard, base | union, *lanes[:2], base | {"x.txt": (FILE, changed(text(), 5, 9))}, lanes[3])
    started()
    found = look(yard)
    # Lane c has no attributes any more: what is merged into it is merged otherwise.
    assert started()["merge-tree"] == 2 + 3
    assert [(pair.a, pair.b) for pair in found.pairs if pair.kinds] == [("lane-c", "lane-d")]
    compare(yard)


@pytest.mark.parametrize("number", range(5))
def test_the_attributes_of_many_commits_are_those_of_each(yard: Yard, number: int) -> None:
    chance = Random(number)
    base, lanes, target = sample(number)
    for files in (base, *lanes):
        for _ in range(3):
            attributes(chance, files, 0)
    lanes[0] |= {".gitmodules": (FILE, b"x"), "deep/er/.gitattributes": (FILE, b"* text\n"), "a.gitattributes": T}
    lanes[1][".gitattributes"] = (LINK, b"elsewhere")
    lanes[2].pop(".gitattributes", None)
    commit_all(yard, base, *lanes, target=target)
    git, heads = yard.mission.repo.git, read_heads(yard.mission)
    commits = [heads.target or "", *heads.branches.values()]
    together = trees.attributes(git, commits)
    assert together == {commit: trees.attributes(git, [commit])[commit] for commit in commits}
    for commit, found in together.items():
        plain = yard.project.git("ls-tree", "-r", "-z", commit).split("\0")[:-1]
        wanted = (
            record.partition("\t")[::2]
            for record in plain
            if record.startswith("100") and re.search(r"[\t/]\.gitattributes$|\t\.gitmodules$", record)
        )
        assert found == {path: described.split()[2] for described, path in wanted}


# The cache


def fresh(yard: Yard) -> Preview:
    """The preview without a cache."""
    kept = cache_of(yard)
    kept.unlink(missing_ok=True)
    return look(yard)


def moves(yard: Yard) -> Iterator[str]:
    """Everything that can happen to lanes and target, one after the other."""
    git = yard.project.git
    there = yard.start("WP01").path
    assert there is not None
    yield "nothing"
    yard.work("WP01", "one\n", path="shared.txt")
    yield "a commit"
    yard.work("WP02", "two\n", path="shared.txt")
    yield "a conflict"
    yard.project.write("shared.txt", "two\n", where=there)
    git("commit", "--quiet", "--all", "--amend", "-m", "as the other", where=there)
    yield "an amended commit"
    git("reset", "--quiet", "--hard", "HEAD^", where=there)
    yield "a lane set back"
    yard.project.commit("shared.txt", "three\n")
    yield "a target that moved"
    git("merge", "--quiet", "--no-edit", "main", where=there)
    yield "a lane that took the target in"
    yard.project.commit(".gitattributes", "shared.txt merge=union\n")
    yield "attributes"
    git("config", "merge.renames", "false")
    yield "a setting"
    yard.project.write(".git/info/attributes", "shared.txt merge=binary\n")
    yield "attributes of the repository alone"
    yard.project.record(yard.mission, "WP03", "canceled")
    yield "a lane that is cancelled"
    git("worktree", "remove", "--force", str(worktree_path(yard.mission, "lane-b")))
    git("branch", "--quiet", "-D", yard.branch("WP02"))
    yield "a lane that is gone"
    git("branch", "--quiet", yard.branch("WP02"), "main~2")
    yield "and back at another commit"
    (yard.mission.directory / "tasks/WP04-x.md").write_text(
        "---\nwork_package_id: WP04\nowned_files: [wp04.txt]\n---\n"
    )
    yard.mission = yard.mission.refresh()
    write_lanes(yard.mission, plan(yard.mission.packages, yard.mission))
    yard.project.record(yard.mission, "WP04", "planned")
    yard.work("WP04", "four\n", path="shared.txt")
    yield "another lane"


def test_what_the_cache_says_is_what_is_found_out_anew_after_every_move(yard: Yard) -> None:
    yard.plan(yard.package("WP01"), yard.package("WP02"), yard.package("WP03"))
    yard.work("WP03")
    seen: list[Preview] = []
    for what in moves(yard):
        first = look(yard)
        kept = cache_of(yard).read_bytes()
        assert look(yard) == first, what
        assert cache_of(yard).read_bytes() == kept, what
        assert fresh(yard) == first, what
        seen.append(first)
    assert len({str(one) for one in seen}) > 6, "the moves move something"


def test_what_is_known_is_not_found_out_again_and_what_is_stale_leaves(
    yard: Yard, started: Callable[[], Counter[str]]
) -> None:
    commit_all(yard, {}, {"a": T}, {"b": T}, {"c": T})
    look(yard)
    started()
    assert foretold(yard) == Forecast(True)
    assert started() == {"for-each-ref": 1}
    # What nobody would find out: it can only be from the cache.
    data = json.loads(cache_of(yard).read_bytes())
    data["pairs"] = {key: {"planted": "contents"} for key in data["pairs"]}
    cache_of(yard).write_text(json.dumps(data))
    assert {(pair.a, pair.b) for pair in look(yard).pairs if pair.kinds} == {
        *(("lane-a", "lane-b"), ("lane-a", "lane-c"), ("lane-b", "lane-c")),
        *(("lane-a", "main"), ("lane-b", "main"), ("lane-c", "main")),
    }
    yard.project.git("update-ref", f"refs/heads/{yard.branch('WP02')}", "refs/heads/base")
    assert {(pair.a, pair.b) for pair in look(yard).pairs if pair.kinds} == {
        *(("lane-a", "lane-c"), ("lane-a", "main"), ("lane-c", "main")),
    }
    assert len(json.loads(cache_of(yard).read_bytes())["pairs"]) == 6
    yard.project.record(yard.mission, "WP02", "canceled")
    look(yard)
    assert len(json.loads(cache_of(yard).read_bytes())["pairs"]) == 3


@pytest.mark.usefixtures("unmeasured")
def test_a_warm_forecast_loads_nothing_heavy(yard: Yard) -> None:
    commit_all(yard, {}, {"a": T}, {"b": T})
    look(yard)
    script = f"""
import sys
from pathlib import Path
from kitty_host.mission import find_missions
from kitty_host.repo import Repo
from kitty_merge.plugin import kitty_forecast
(mission,) = find_missions(Repo.find(Path({str(yard.root)!r})))
assert kitty_forecast(mission).clean
print(*sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    heavy = {"attr", "cattrs", "ruamel.yaml", "importlib.metadata", "asyncio", "hashlib", "random", "msgspec", "shutil"}
    assert heavy.isdisjoint(done.stdout.split())


SPOILT: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda _: b"",
    "cut off": lambda content: content[: len(content) // 2],
    "no JSON": lambda _: b"\xff\0",
    "no object": lambda _: b"[]",
    "nested without end": lambda _: b"[" * 100_000,
    "of another version": lambda content: content.replace(b'"version": 1', b'"version": 0'),
    "with a field more": lambda content: content.replace(b'"at"', b'"more": 1, "at"'),
    "with a field less": lambda content: re.sub(rb', "at": -?\d+', b"", content),
    "with a lane that there is not": lambda content: re.sub(rb'"at": -?\d+', b'"at": 99', content),
    "with a word for a number": lambda content: re.sub(rb'"at": -?\d+', b'"at": "x"', content),
    "with a number for a word": lambda content: content.replace(b'"add/add"', b"5"),
    "with a list for pairs": lambda content: re.sub(rb'"pairs": \{.*?\}, "order"', b'"pairs": [], "order"', content),
    "with a word for kinds": lambda content: re.sub(rb': \{"x": "add/add"\},', b': "add/add",', content, count=1),
}


@pytest.mark.parametrize("how", SPOILT)
def test_a_cache_that_is_spoilt_is_none(yard: Yard, how: str) -> None:
    commit_all(yard, {}, {"x": (FILE, b"1\n")}, {"x": (FILE, b"2\n")})
    wanted, kept = look(yard), cache_of(yard).read_bytes()
    assert SPOILT[how](kept) != kept
    cache_of(yard).write_bytes(SPOILT[how](kept))
    assert look(yard) == wanted
    assert cache_of(yard).read_bytes() == kept


def test_a_cache_that_cannot_be_written_costs_time_only(yard: Yard) -> None:
    commit_all(yard, {}, {"x": (FILE, b"1\n")}, {"x": (FILE, b"2\n")})
    cache_of(yard).mkdir(parents=True)
    assert [pair.kinds for pair in look(yard).pairs] == [{"x": "add/add"}, None, None]
    assert cache_of(yard).is_dir()


# What cannot be said


@pytest.fixture
def old_git(isolated: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Git that says that it is older, and knows no more than that one did."""
    real = shutil.which("git")
    old = isolated / "old" / "git"
    old.parent.mkdir()
    old.write_text(
        "#!/bin/sh\nfor one; do case $one in\n"
        "  version) echo git version 2.37.1; exit;;\n"
        "  merge-tree) echo usage >&2; exit 129;;\n"
        f'esac; done\nexec {real} "$@"\n'
    )
    old.chmod(0o755)
    monkeypatch.setenv("PATH", str(old.parent), prepend=":")


def test_with_an_old_git_nobody_can_say(yard: Yard, old_git: None) -> None:
    commit_all(yard, {}, {"x": (FILE, b"1\n")}, {"x": (FILE, b"2\n")})
    assert foretold(yard) == Forecast(None, reason="Git 2.37 cannot merge on trial: install Git 2.39 or later")
    done = yard.project.kitty("merge", "--preview", "--json")
    assert (done.exit_code, done.code) == (1, "GIT_TOO_OLD")


def test_an_error_is_no_conflict_and_says_where(yard: Yard) -> None:
    commit_all(yard, {}, {"x": T}, {"y": T}, {"z": T})
    orphan = yard.project.git("commit-tree", "-m", "unrelated", "main^{tree}")
    yard.project.git("update-ref", f"refs/heads/{yard.branch('WP02')}", orphan)
    with pytest.raises(GitError, match="unrelated histories") as caught:
        look(yard)
    command = caught.value.details["command"]
    assert orphan in command
    done = subprocess.run(command, shell=True, cwd=yard.root, capture_output=True, text=True)
    assert (done.returncode, "unrelated" in done.stderr) == (128, True)
    assert not cache_of(yard).exists()


def test_without_a_target_nothing_can_land(yard: Yard) -> None:
    commit_all(yard, {}, {"x": T})
    yard.project.git("symbolic-ref", "HEAD", "refs/heads/elsewhere")
    yard.project.git("update-ref", "-d", "refs/heads/main")
    with pytest.raises(KittyError, match="MERGE_INCOMPLETE: the target branch main has no commit"):
        look(yard)
