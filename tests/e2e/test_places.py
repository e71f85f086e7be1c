"""Wherever a command is started, it writes the same paths; whatever happens to a checkout, no record is lost."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from kitty_host.mission import find_missions
from kitty_host.repo import Repo
from kitty_host.testing import Project

if TYPE_CHECKING:
    from conftest import Walk


def written(before: dict[str, bytes], after: dict[str, bytes]) -> set[str]:
    """The paths that changed, with ids made equal; objects, logs and whatever has a name of chance aside."""
    changed = {path for path in before.keys() | after.keys() if before.get(path) != after.get(path)}
    plain = (re.sub(r"[0-9A-HJKMNP-TV-Z]{26}", "ULID", path) for path in changed if after.get(path) != b"directory")
    plain = (re.sub(r"-[0-9A-HJKMNP-TV-Z]{8}(?=[/.-]|$)", "-MID8", path) for path in plain)
    return {path for path in plain if not re.search(r"/objects/|/logs/|COMMIT_EDITMSG", path)}


def road(walk: Walk) -> Iterator[str]:
    """The whole road; the name of each command after it ran."""
    walk.project.write("PLAN.md", "# A plan\n\nDo it.\n")
    walk.kitty("intake", str(walk.project.root / "PLAN.md"))
    yield "intake"
    walk.create("demo", "--from-brief")
    yield "mission create"
    walk.write_plan()
    for phase in ("specify", "plan", "tasks", "finalize"):
        walk.kitty(phase)
        yield phase
    walk.kitty("next", "--result", "success", "--agent", "ada")
    yield "next"
    for wp_id in ("WP01", "WP02"):
        walk.implement(wp_id)
        yield f"implement and submit {wp_id}"
        walk.kitty("note", wp_id, "seen")
        yield f"note {wp_id}"
        walk.review(wp_id)
        yield f"review {wp_id}"
    walk.kitty("accept", "--agent", "grace")
    yield "accept"
    walk.kitty("merge")
    yield "merge"


def walked_from(walk: Walk, place: Path) -> dict[str, set[str]]:
    """What each command wrote."""
    walk.place = place
    walk.mission = ""
    told: dict[str, set[str]] = {}
    before = walk.project.snapshot()
    for name in road(walk):
        after = walk.project.snapshot()
        told[name] = written(before, after)
        before = after
    return told


def test_every_command_writes_the_same_paths_from_everywhere(walk: Walk) -> None:
    walk.plan()
    walk.implement("WP01")
    root = walk.project.root
    walk.project.git("add", ".")
    walk.project.git("commit", "--quiet", "--allow-empty", "-m", "another mission is under way")
    walk.project.git("worktree", "add", "--quiet", "--detach", str(root.parent / "detached"))
    below = root / "src" / "deep"
    below.mkdir(parents=True)
    (lane,) = (root / ".worktrees").iterdir()
    pristine = root.parent.with_name(f"{root.parent.name}-pristine")
    shutil.copytree(root.parent, pristine, symlinks=True)
    told = {}
    for place in (root, below, lane, root.parent / "detached"):
        told[place.name] = walked_from(walk, place)
        shutil.rmtree(root.parent)
        shutil.copytree(pristine, root.parent, symlinks=True)
    shutil.rmtree(pristine)
    first, *others = told.values()
    assert len(first) == 15
    assert all(first.values()), "every one of them writes something"
    for other in others:
        assert [name for name in first if other[name] != first[name]] == []


def rows(walk: Walk) -> list[bytes]:
    mission = next(one for one in find_missions(Repo.find(walk.project.root)) if one.slug == walk.mission)
    return sorted(mission.ledger.lines())


@pytest.mark.parametrize(
    "harm",
    [
        ["git clean -fdx"],
        ["git switch --quiet -c other first", "git switch --quiet main"],
        ["git switch --quiet -c other first", "git clean -fdx", "git switch --quiet main"],
        ["git stash --quiet --all"],
        ["git reset --quiet --hard first", "git reset --quiet --hard @{1}"],
        ["git checkout --quiet -f HEAD"],
        ["rm kitty-specs/SLUG/status.events.jsonl"],
        ["rm .git/kitty/ledger/*.jsonl"],
    ],
    ids=" && ".join,
)
def test_nothing_that_is_done_to_a_checkout_loses_a_record(walk: Walk, harm: list[str]) -> None:
    import subprocess

    walk.project.git("tag", "first")
    walk.plan()
    walk.implement("WP01")
    before = rows(walk)
    for command in harm:
        subprocess.run(
            command.replace("SLUG", walk.mission), shell=True, check=True, cwd=walk.project.root, capture_output=True
        )
    assert rows(walk) == before
    walk.kitty("status")
    walk.review("WP01")
    assert set(before) < set(rows(walk))


def test_on_another_branch_the_mission_is_named(walk: Walk) -> None:
    walk.project.git("branch", "other")
    walk.plan()
    walk.project.git("switch", "--quiet", "other")
    done = walk.project.kitty("status", "--json")
    assert (done.exit_code, done.code) == (1, "MISSION_REQUIRED")
    assert walk.mission in done.json["hint"]


def test_a_clone_that_has_exchanged_refs_has_every_record(walk: Walk) -> None:
    project = walk.project
    remote = project.root.parent / "remote.git"
    project.git("init", "--quiet", "--bare", str(remote))
    project.git("remote", "add", "origin", str(remote))
    walk.plan()
    walk.implement("WP01")
    project.git("push", "--quiet", "origin", "main")
    walk.kitty("lanes", "sync", "--push")
    second = Project(project.root.parent / "second")
    project.git("clone", "--quiet", str(remote), str(second.root))
    assert second.kitty("lanes", "sync").exit_code == 0
    (there,) = find_missions(Repo.find(second.root))
    assert sorted(there.ledger.lines()) == rows(walk)


@pytest.mark.parametrize(
    "command",
    [
        ["intake", "README.md"],
        ["brief"],
        ["mission", "create", "x"],
        ["finalize"],
        ["implement", "WP01"],
        ["accept"],
        ["merge"],
        ["lanes", "sync"],
        ["ledger", "repair"],
        ["charter", "context", "--action", "implement"],
    ],
    ids=" ".join,
)
def test_in_a_repository_that_is_not_initialized_nothing_is_written(project: Project, command: list[str]) -> None:
    (project.root / ".kittify/config.yaml").unlink()
    before = project.snapshot()
    done = project.kitty(*command, "--json")
    assert (done.exit_code, done.code) == (1, "SPEC_KITTY_REPO_NOT_INITIALIZED"), done
    assert project.snapshot() == before


def test_the_whole_road_writes_in_the_repository_and_nowhere_else(walk: Walk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither beside it, nor in the user's home, nor among the temporary files."""
    around = walk.project.root.parent
    (around / "tmp").mkdir()
    monkeypatch.setenv("TMPDIR", str(around / "tmp"))
    monkeypatch.setattr(tempfile, "tempdir", None)

    def outside() -> dict[str, bytes]:
        return {
            str(path): path.read_bytes() if path.is_file() else b""
            for path in around.rglob("*")
            if not path.is_relative_to(walk.project.root)
        }

    before = outside()
    assert [path for path in before if path.endswith("/home")], "the user's home is looked at"
    assert list(road(walk))[-1] == "merge"
    assert outside() == before
