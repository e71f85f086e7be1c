"""A question about the next step changes nothing, wherever a mission stands and whatever has become of its files; and it is answered.

All of the repository is looked at before and after: files, refs, indexes, worktrees, the Git directory; kitty's cache alone may differ.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from kitty_host.testing import Project, Result

if TYPE_CHECKING:
    from conftest import Walk

HEADINGS = (
    *("Goal", "Requirements", "Done when", "Question", "Scope", "Readers"),
    *("Approach", "Work packages", "Sources", "Method", "Structure", "Risks"),
    *("What is there", "Gaps", "Questions", "Findings", "Answer", "Evidence", "Limits"),
)
TEXT = "".join(f"## {heading}\n\ntext\n\n" for heading in HEADINGS)


def asked(project: Project, mission: str, agent: str = "ada") -> Result:
    """The answer to a question that changed nothing."""
    before = project.snapshot()
    done = project.kitty("next", "--agent", agent, "--mission", mission, "--json")
    after = project.snapshot()
    assert [path for path in before.keys() | after.keys() if before.get(path) != after.get(path)] == []
    assert done.exit_code in (0, 1), done
    for word in ("unknown", "[QUERY", "Traceback", "placeholder"):
        assert word not in done.stdout, done
    return done


def answered(walk: Walk, agent: str = "ada", result: str = "success") -> dict[str, Any]:
    """What an answer leads to."""
    return walk.project.kitty("next", "--result", result, "--agent", agent, "--mission", walk.mission, "--json").json


def steps(walk: Walk, kind: str) -> Iterator[str]:
    """Takes a mission of some type down its whole road; yields where it stands, before each command."""
    walk.create("demo", "--type", kind)
    yield "not_started"
    for _ in range(40):
        said = answered(walk, next(agents))
        yield said["mission_state"]
        if said["kind"] == "terminal":
            return
        take(walk, said)
        yield f"{said['mission_state']}, taken"


agents = itertools.cycle(["ada", "grace"])


def take(walk: Walk, said: dict[str, Any]) -> None:
    """Does what a decision asks for."""
    agent = ["--agent", said["agent"]]
    wp_id = str(said["wp_id"])
    if said["action"] in ("specify", "plan", "artifact"):
        told = Path(said["prompt_file"]).read_text().partition("## When it is done\n\nWrite ")[2]
        name = told.partition(",")[0]
        (walk.directory / name).write_text(TEXT)
    elif said["action"] == "tasks":
        walk.write_plan()
        for phase in ("tasks", "finalize"):
            walk.kitty(phase)
    elif said["action"] == "implement":
        where = walk.kitty("implement", wp_id, *agent).json["workspace_path"]
        if where:
            walk.project.commit(f"{wp_id.lower()}.txt", where=Path(where))
        else:
            (walk.directory / "model.md").write_text("# model\n")
        walk.kitty("submit", wp_id, *agent)
    elif said["action"] == "review":
        walk.kitty("review", wp_id, "--claim", *agent)
        walk.kitty("review", wp_id, "--approve", *agent)
    elif said["action"] in ("accept", "merge"):
        walk.kitty(said["action"])


@pytest.mark.parametrize("kind", ["software-dev", "research", "documentation", "plan"])
def test_a_question_changes_nothing_at_any_step_of_any_type(walk: Walk, kind: str) -> None:
    seen: dict[str, str] = {}
    for place in steps(walk, kind):
        for agent in ("ada", "grace", "nobody"):
            said = asked(walk.project, walk.mission, agent).json
            assert said["kind"] in ("query", "blocked", "terminal")
            assert said["kind"] != "blocked" or said["guard_failures"]
        seen[place] = said["kind"]
    (types,) = [
        one["steps"] for one in walk.project.kitty("mission", "types", "--json").json["types"] if one["key"] == kind
    ]
    assert set(types) < set(seen), "it came by every step"
    assert seen["done"] == "terminal"
    assert (walk.project.kitty("mission", "show", "--mission", walk.mission, "--json").json["open"]) is False
    if kind != "plan":
        assert (
            walk.project.kitty("status", "--mission", walk.mission, "--json").json["missions"][0]["progress"]["percent"]
            == 100
        )


def test_a_blocked_mission_and_one_with_work_in_other_hands(walk: Walk) -> None:
    walk.plan()
    walk.kitty("implement", "WP01", "--agent", "grace")
    walk.kitty("move", "WP02", "blocked", "--reason", "waiting", "--agent", "ada")
    assert asked(walk.project, walk.mission).json["wp_id"] == "WP02"
    walk.kitty("cancel", "WP02", "--reason", "no")
    said = asked(walk.project, walk.mission).json
    assert (said["kind"], said["guard_failures"]) == ("blocked", ["WP01 is in_progress with grace"])
    assert answered(walk)["kind"] == "blocked"


# What can become of files


class Harm(NamedTuple):
    name: str
    do: Callable[[Path], None]


def replaced(content: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    """In place, so that both names of a ledger have it."""

    def do(path: Path) -> None:
        path.write_bytes(content(path.read_bytes()))

    return do


def as_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def as_link(path: Path) -> None:
    path.unlink()
    path.symlink_to("/nonexistent/file")


HARMS = (
    Harm("missing", lambda path: path.unlink()),
    Harm("empty", replaced(lambda _: b"")),
    Harm("truncated", replaced(lambda content: content[: len(content) // 2])),
    Harm("a number", replaced(lambda _: b"5\n")),
    Harm("a list", replaced(lambda _: b"[[1], {}]\n")),
    Harm("null", replaced(lambda _: b"null\n")),
    Harm("an object of something else", replaced(lambda _: b'{"version": [], "lanes": [5], "mission_id": {}}\n')),
    Harm("not UTF-8", replaced(lambda content: b"\xff\xfe" + content)),
    Harm("UTF-16", replaced(lambda content: content.decode(errors="replace").encode("utf-16"))),
    Harm("zeros", replaced(lambda content: b"\0" * len(content))),
    Harm("twice", replaced(lambda content: content + content)),
    Harm("a thousand brackets", replaced(lambda _: b"[" * 100_000)),
    Harm("conflict markers", replaced(lambda content: b"<<<<<<< ours\n" + content + b"=======\n>>>>>>> theirs\n")),
    Harm("a directory", as_directory),
    Harm("a link to nowhere", as_link),
)


def files(walk: Walk) -> dict[str, Path]:
    """What a mission's decision is made of, as far as it is there."""
    root, mission = walk.project.root, walk.directory
    (mission_id,) = [json.loads((mission / "meta.json").read_text())["mission_id"]]
    found = {
        "meta.json": mission / "meta.json",
        "status.events.jsonl": mission / "status.events.jsonl",
        "the ledger's other name": root / ".git/kitty/ledger" / f"{mission_id}.jsonl",
        "lanes.json": mission / "lanes.json",
        "WP01-x.md": mission / "tasks/WP01-x.md",
        "spec.md": mission / "spec.md",
        "plan.md": mission / "plan.md",
        "tasks.md": mission / "tasks.md",
        "config.yaml": root / ".kittify/config.yaml",
    }
    caches = sorted((root / ".git/kitty/cache").iterdir()) if (root / ".git/kitty/cache").is_dir() else []
    found |= {f"cache {path.name}": path for path in caches if path.is_file()}
    return {name: path for name, path in found.items() if path.is_file()}


CONTRADICTIONS: dict[str, Callable[[Walk], None]] = {
    "done in the front matter": lambda walk: _edit(walk, "tasks/WP01-x.md", "title:", "lane: done\ntitle:"),
    "another id in the front matter": lambda walk: _edit(walk, "tasks/WP01-x.md", "WP01", "WP07"),
    "a dependency on nobody": lambda walk: _edit(walk, "tasks/WP01-x.md", "dependencies: []", "dependencies: [WP99]"),
    "a dependency on itself": lambda walk: _edit(walk, "tasks/WP01-x.md", "dependencies: []", "dependencies: [WP01]"),
    "a mission of another type": lambda walk: _edit(walk, "meta.json", '"software-dev"', '"gone"'),
    "another mission id": lambda walk: _edit(walk, "meta.json", '"mission_id": "', '"mission_id": "X'),
    "a target that is no branch": lambda walk: _edit(walk, "meta.json", '"main"', '"nowhere"'),
    "a lane that does not exist": lambda walk: _edit(walk, "lanes.json", '"lane-a"', '"lane-q"'),
    "lanes of other packages": lambda walk: _edit(walk, "lanes.json", "WP01", "WP55"),
    "rows of a package without a file": lambda walk: (walk.directory / "tasks/WP01-x.md").unlink(missing_ok=True),
    "no work packages at all": lambda walk: shutil.rmtree(walk.directory / "tasks", ignore_errors=True),
    "no worktrees": lambda walk: shutil.rmtree(walk.project.root / ".worktrees", ignore_errors=True),
    "no lane branches": lambda walk: _delete_lane_branches(walk),
    "no refs of kitty": lambda walk: shutil.rmtree(walk.project.root / ".git/refs/kitty", ignore_errors=True),
    "no Git state of kitty": lambda walk: shutil.rmtree(walk.project.root / ".git/kitty", ignore_errors=True),
}


def _edit(walk: Walk, name: str, old: str, new: str) -> None:
    path = walk.directory / name
    if path.is_file():
        path.write_text(path.read_text().replace(old, new))


def _delete_lane_branches(walk: Walk) -> None:
    shutil.rmtree(walk.project.root / ".git/refs/heads/kitty", ignore_errors=True)
    packed = walk.project.root / ".git/packed-refs"
    if packed.exists():
        packed.write_text("".join(line for line in packed.read_text().splitlines(True) if "/kitty/" not in line))


def fresh(walk: Walk) -> None:
    walk.create()


def specified(walk: Walk) -> None:
    walk.create()
    walk.write_plan()
    walk.kitty("specify")


def finalized(walk: Walk) -> None:
    walk.plan()


def at_work(walk: Walk) -> None:
    walk.plan()
    walk.kitty("next", "--result", "success", "--agent", "ada")
    walk.kitty("implement", "WP01", "--agent", "ada")


def in_review(walk: Walk) -> None:
    walk.plan()
    walk.implement("WP01")
    walk.kitty("review", "WP01", "--claim", "--agent", "grace")


def approved(walk: Walk) -> None:
    walk.plan()
    for wp_id in ("WP01", "WP02"):
        walk.implement(wp_id)
        walk.review(wp_id)


def landed(walk: Walk) -> None:
    approved(walk)
    walk.kitty("accept", "--agent", "grace")
    walk.kitty("merge")


REFUSALS = {"SPEC_KITTY_REPO_NOT_INITIALIZED", "MISSION_NOT_FOUND"}
"""Where there is nothing that a decision could be about."""


@pytest.mark.slow
@pytest.mark.parametrize("stage", [fresh, specified, finalized, at_work, in_review, approved, landed])
def test_whatever_becomes_of_the_files_there_is_a_state_or_a_reason(walk: Walk, stage: Callable[[Walk], None]) -> None:
    stage(walk)
    walk.kitty("status")
    plain = asked(walk.project, walk.mission).json
    around = walk.project.root.parent
    pristine = around.with_name(f"{around.name}-pristine")
    shutil.copytree(around, pristine, symlinks=True, copy_function=_linked({}))
    wrong: list[Any] = []
    tried = 0
    for name, path in files(walk).items():
        for harm in HARMS:
            content = path.read_bytes()
            harm.do(path)
            wrong += _complaints(walk, plain, name, harm.name)
            _put_back(path, around, pristine, content)
            tried += 1
    for name, do in CONTRADICTIONS.items():
        do(walk)
        wrong += _complaints(walk, plain, "", name)
        _restore(pristine, around)
        tried += 1
    shutil.rmtree(pristine)
    assert not wrong, json.dumps(wrong, indent=1)
    assert tried >= 40


def _linked(seen: dict[int, str]) -> Callable[[str, str], str]:
    """Copies a tree with its hard links: the two names of a ledger."""

    def copy(source: str, target: str) -> str:
        status = Path(source).stat()
        if status.st_nlink > 1 and status.st_ino in seen:
            os.link(seen[status.st_ino], target)
        else:
            seen[status.st_ino] = target
            shutil.copy2(source, target)
        return target

    return copy


def _put_back(path: Path, place: Path, pristine: Path, content: bytes) -> None:
    """One file as it was, with its stamp; where a ledger has lost one of its names, everything."""
    if path.is_symlink() or not path.is_file():
        if path.is_dir():
            path.rmdir()
        path.unlink(missing_ok=True)
        if (pristine / path.relative_to(place)).stat().st_nlink > 1:
            _restore(pristine, place)
            return
    path.write_bytes(content)
    shutil.copystat(pristine / path.relative_to(place), path)


def _restore(pristine: Path, place: Path) -> None:
    shutil.rmtree(place)
    shutil.copytree(pristine, place, symlinks=True, copy_function=_linked({}))


def _complaints(walk: Walk, plain: dict[str, Any], file: str, harm: str) -> list[Any]:
    """What is wrong with the answer."""
    try:
        said = asked(walk.project, walk.mission).json
        if "code" in said:
            assert said["code"] in REFUSALS
        else:
            assert said["kind"] in ("query", "blocked", "terminal")
            assert (said["kind"] == "blocked") == bool(said["guard_failures"])
            if said["kind"] == "blocked" and plain["kind"] != "blocked" and file and not file.startswith("cache"):
                assert (file if "." in file else ".jsonl") in said["reason"], "the file is not named"
            assert not file.startswith("cache") or said == plain
    except AssertionError as error:
        return [(file, harm, str(error)[:600])]
    return []
