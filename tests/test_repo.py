"""One repository from wherever one stands in it: the same canonical checkout, the same common directory."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from kitty_host.api import KittyError
from kitty_host.repo import Repo
from kitty_host.testing import CONFIG, Project


def refusal(directory: Path) -> KittyError:
    with pytest.raises(KittyError) as refused:
        Repo.find(directory)
    return refused.value


# The places that one can stand in: each makes one and returns it.


def main_checkout(project: Project) -> Path:
    return project.root


def sub_directory(project: Project) -> Path:
    place = project.root / "src" / "deep"
    place.mkdir(parents=True)
    return place


def odd_directory(project: Project) -> Path:
    place = project.root / "ü \u2028 dir"
    place.mkdir()
    return place


def lane_worktree(project: Project) -> Path:
    project.git("worktree", "add", "-q", "-b", "lane", ".worktrees/demo-lane-a")
    return project.root / ".worktrees" / "demo-lane-a"


def worktree_beside(project: Project) -> Path:
    project.git("worktree", "add", "-q", "-b", "beside", "../beside")
    return project.root.parent / "beside"


def detached_worktree(project: Project) -> Path:
    project.git("worktree", "add", "-q", "--detach", "../detached")
    return project.root.parent / "detached"


def inside_a_worktree(project: Project) -> Path:
    place = lane_worktree(project) / "src"
    place.mkdir()
    return place


def git_directory(project: Project) -> Path:
    return project.root / ".git"


def inside_the_git_directory(project: Project) -> Path:
    return project.root / ".git" / "refs"


def git_directory_of_a_worktree(project: Project) -> Path:
    lane_worktree(project)
    return project.root / ".git" / "worktrees" / "demo-lane-a"


def by_a_symlink(project: Project) -> Path:
    link = project.root.parent / "link"
    link.symlink_to(project.root)
    return link


@pytest.fixture(
    params=[
        main_checkout,
        sub_directory,
        odd_directory,
        lane_worktree,
        worktree_beside,
        detached_worktree,
        inside_a_worktree,
        git_directory,
        inside_the_git_directory,
        git_directory_of_a_worktree,
        by_a_symlink,
    ],
    ids=lambda make: make.__name__,
)
def place(request: pytest.FixtureRequest, project: Project) -> Path:
    made: Path = request.param(project)
    return made


def test_every_place_of_a_repository_leads_to_its_canonical_checkout(project: Project, place: Path) -> None:
    repo = Repo.find(place)
    assert repo.root == project.root.resolve()
    assert repo.common == project.root.resolve() / ".git"
    assert repo.initialized


def test_a_command_writes_the_same_files_from_every_place(project: Project, place: Path, alone: Path) -> None:
    mission = project.mission()
    project.record(mission, "WP01", "planned")
    mission.ledger.twin.unlink()
    before = project.snapshot()
    result = project.kitty("ledger", "repair", "--mission", mission.slug, where=place)
    after = project.snapshot()
    assert result.exit_code == 0
    written = {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}
    assert written == {f"project/.git/kitty/ledger/{mission.mission_id}.jsonl"}


@pytest.mark.parametrize(
    ("make", "relative"), [(lane_worktree, "."), (inside_a_worktree, ".."), (worktree_beside, ".")]
)
def test_the_worktree_one_stands_in_is_known_too(
    project: Project, make: Callable[[Project], Path], relative: str
) -> None:
    standing = make(project)
    assert Repo.find(standing).here == (standing / relative).resolve()


def test_the_current_directory_is_looked_at_once(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(sub_directory(project))
    repo = Repo.find(Path())
    monkeypatch.chdir(project.root.parent)
    assert repo.root == project.root
    assert repo.current_branch() == "main"
    assert repo.relative(project.root / "src" / "deep") == "src/deep"


@pytest.mark.parametrize("name", ["with space", "ü", "separator\u2028inside", "-dash", "quote'\"$x"])
def test_the_name_of_a_checkout_can_be_anything(make_project: Callable[[str], Project], name: str) -> None:
    project = make_project(name)
    repo = Repo.find(lane_worktree(project))
    assert (repo.root, repo.common) == (project.root, project.root / ".git")


def test_a_submodule_is_a_repository_of_its_own(project: Project, make_project: Callable[[str], Project]) -> None:
    library = make_project("library")
    project.git("-c", "protocol.file.allow=always", "submodule", "add", "-q", str(library.root), "lib")
    repo = Repo.find(project.root / "lib")
    assert repo.root == project.root / "lib"
    assert repo.common == project.root / ".git" / "modules" / "lib"
    project.git("worktree", "add", "-q", "../../lib-tree", where=project.root / "lib")
    assert Repo.find(project.root.parent / "lib-tree").root == project.root / "lib"


# Where the Git directory is elsewhere


@pytest.fixture
def separate(isolated: Path) -> Project:
    """A checkout whose Git directory lies elsewhere."""
    made = Project(isolated / "separate")
    made.root.mkdir()
    made.git("init", "-q", "--separate-git-dir", str(isolated / "store"))
    made.commit(".kittify/config.yaml", CONFIG)
    return made


def test_a_git_directory_elsewhere_is_found_from_the_checkout(separate: Project) -> None:
    repo = Repo.find(separate.root)
    assert (repo.root, repo.common) == (separate.root, separate.root.parent / "store")


def test_a_git_directory_elsewhere_is_found_from_a_lane(separate: Project) -> None:
    assert Repo.find(lane_worktree(separate)).root == separate.root


def test_a_linked_worktree_is_never_taken_for_the_canonical_checkout(separate: Project) -> None:
    error = refusal(worktree_beside(separate))
    assert error.code == "REPO_BARE"
    record = separate.root.parent / "store" / "kitty" / "canonical"
    assert str(record) in error.hint
    record.parent.mkdir()
    record.write_text(f"{separate.root}\n")
    assert Repo.find(separate.root.parent / "beside").root == separate.root


# Bare repositories


@pytest.fixture(params=["bare.git", "hub/.git", "hub/.bare"])
def bare(request: pytest.FixtureRequest, project: Project) -> Path:
    """A bare clone under each of the names that people give one."""
    place = project.root.parent / str(request.param)
    project.git("clone", "-q", "--bare", str(project.root), str(place))
    if place.name == ".bare":
        (place.parent / ".git").write_text("gitdir: ./.bare\n")
    return place


def tree_of(bare: Path, name: str, *, detach: bool = False) -> Path:
    place = bare.parent / name
    Project(bare).git("worktree", "add", "-q", *(("--detach",) if detach else ()), str(place))
    return place


def test_the_only_worktree_of_a_bare_repository_is_the_canonical_one(bare: Path) -> None:
    tree = tree_of(bare, "work")
    lane = tree_of(bare, "work/.worktrees/demo-lane-a")
    for place in (tree, lane, bare):
        assert Repo.find(place).root == tree


def test_of_several_worktrees_the_recorded_one_is_canonical(bare: Path) -> None:
    one, two = tree_of(bare, "one"), tree_of(bare, "two")
    error = refusal(one)
    assert error.code == "REPO_BARE"
    assert sorted(error.details["candidates"]) == [str(one), str(two)]
    (bare / "kitty").mkdir()
    (bare / "kitty" / "canonical").write_text(f"{two}\n")
    assert Repo.find(one).root == two


def test_a_bare_repository_without_a_worktree_is_refused(bare: Path) -> None:
    assert refusal(bare).code == "REPO_BARE"


# Outside, and broken links


def test_outside_any_repository_nothing_is_initialized(isolated: Path) -> None:
    error = refusal(isolated)
    assert error.code == "SPEC_KITTY_REPO_NOT_INITIALIZED"
    assert error.details["reason"] == "not_a_git_repository"
    assert str(isolated) in error.message
    assert "git init" in error.hint


def test_a_repository_without_configuration_is_not_initialized(project: Project) -> None:
    project.git("rm", "-q", ".kittify/config.yaml")
    with pytest.raises(KittyError) as refused:
        Repo.find(project.root).require_initialized()
    assert refused.value.code == "SPEC_KITTY_REPO_NOT_INITIALIZED"
    assert refused.value.details == {"directory": str(project.root), "reason": "no_config"}
    assert f"kitty -C {project.root} init" in refused.value.hint


@pytest.mark.parametrize("arguments", [("ledger", "show"), ("ledger", "repair"), ("doctor",)])
def test_an_uninitialized_place_stays_as_it_is(alone: Path, arguments: tuple[str, ...]) -> None:
    place = Project(alone / "somewhere")
    (place.root / "below").mkdir(parents=True)
    before = place.snapshot()
    result = place.kitty(*arguments, "--json", where=place.root / "below")
    assert result.exit_code == 1
    assert result.code == "SPEC_KITTY_REPO_NOT_INITIALIZED"
    assert place.snapshot() == before


def test_a_git_link_that_leads_nowhere_is_no_missing_repository(isolated: Path) -> None:
    place = isolated / "lost" / "below"
    place.mkdir(parents=True)
    (isolated / "lost" / ".git").write_text("gitdir: /nowhere/at/all\n")
    error = refusal(place)
    assert error.code == "WORKSPACE_ROOT_NOT_FOUND"
    assert str(isolated / "lost" / ".git") in error.message


def test_a_worktree_whose_repository_is_gone_leads_nowhere(project: Project) -> None:
    place = worktree_beside(project)
    project.root.rename(project.root.parent / "moved")
    assert refusal(place).code == "WORKSPACE_ROOT_NOT_FOUND"


def test_a_directory_that_was_removed_under_ones_feet_is_named(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = sub_directory(project)
    monkeypatch.chdir(place)
    place.rmdir()
    assert refusal(Path()).code == "WORKSPACE_ROOT_NOT_FOUND"


def test_a_repository_of_another_user_is_refused_in_gits_words(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    error = refusal(project.root)
    assert error.code == "SPEC_KITTY_REPO_NOT_INITIALIZED"
    assert "dubious ownership" in error.message


# What hooks leave in the environment


@pytest.mark.parametrize("name", ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_COMMON_DIR", "GIT_PREFIX"])
def test_variables_of_another_repository_do_not_mislead(
    make_project: Callable[[str], Project], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    mine, other = make_project("mine"), make_project("other")
    value = {"GIT_WORK_TREE": other.root, "GIT_INDEX_FILE": other.root / ".git" / "index", "GIT_PREFIX": "src/"}
    monkeypatch.setenv(name, os.fspath(value.get(name, other.root / ".git")))
    repo = Repo.find(mine.root)
    assert (repo.root, repo.common) == (mine.root, mine.root / ".git")
    assert repo.git.lines("ls-files", "--full-name")


def test_a_command_run_by_a_hook_sees_the_repository_it_stands_in(
    make_project: Callable[[str], Project], alone: Path
) -> None:
    mine, other = make_project("mine"), make_project("other")
    mission = mine.mission()
    hook = other.write(".git/hooks/post-commit", f'#!/bin/sh\ncd "{mine.root}" && kitty_here > "{alone}/said"\n')
    hook.chmod(0o755)
    tool = mine.write("bin/kitty_here", '#!/bin/sh\nexec "$KITTY_TEST_PYTHON" -m kitty_host ledger show --json\n')
    tool.chmod(0o755)
    environment = {"PATH": f"{tool.parent}{os.pathsep}{os.environ['PATH']}", "KITTY_TEST_PYTHON": os.sys.executable}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        other.commit("file.txt")
    assert mission.mission_id in (alone / "said").read_text()


# Branches and worktrees


def test_the_current_branch_is_none_where_head_is_detached(project: Project) -> None:
    repo = Repo.find(project.root)
    assert repo.current_branch() == "main"
    project.git("checkout", "-q", "--detach")
    assert repo.current_branch() is None


def test_the_main_worktree_is_listed_as_it_is(separate: Project) -> None:
    lane = lane_worktree(separate)
    assert Repo.find(lane).worktrees() == [(separate.root, "refs/heads/main"), (lane, "refs/heads/lane")]


def test_a_bare_repository_says_so(project: Project, bare: Path) -> None:
    tree = tree_of(bare, "work")
    assert Repo.find(tree).is_bare
    assert not Repo.find(project.root).is_bare
    assert tree in [place for place, _ in Repo.find(tree).worktrees()]


def test_every_worktree_is_listed_with_its_branch(project: Project) -> None:
    lane, detached = lane_worktree(project), detached_worktree(project)
    main, *linked = Repo.find(lane).worktrees()
    assert main == (project.root, "refs/heads/main")
    assert set(linked) == {(lane, "refs/heads/lane"), (detached, None)}
