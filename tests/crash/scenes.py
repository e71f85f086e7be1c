"""What is killed in the sweep of the landing: a mission whose lanes are approved, a user's own work, and one command.

Each scene is the same mission in a repository of another kind, or another command of `kitty merge`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

from kitty_host.lanes import write_lanes
from kitty_host.mission import Mission
from kitty_host.testing import Project, Result
from kitty_merge.planner import plan
from kitty_merge.submission import submission
from kitty_merge.workspace import allocate

# What the user has in the checkout, by path, and what plain Git says of it before and after. The last one lies where something lands.
MINE = {
    "staged.txt": ("mine, staged\n", "M "),
    "unstaged.txt": ("mine, not staged\n", " M"),
    "un tracked.txt": ("mine, with a space\n", "??"),
    "un\ntracked.txt": ("mine, with a newline\n", "??"),
    "unverfolgt-ä.txt": ("mine, beyond ASCII\n", "??"),
    "lane3/twin.txt": ("the same in both\n", ""),
}
IGNORED = "lane4/settings.local"
CONFLICT = "shared.txt"
SETTLED = "one and two\n"

Kitty = Callable[..., Result]


def _nothing(*_: object) -> None:
    pass


class Scene(NamedTuple):
    """One kind of repository, and the command that is killed there."""

    command: tuple[str, ...] = ("merge",)
    dress: Callable[[Project], None] = _nothing
    """What the repository has before the mission is planned."""
    work: Callable[[Project, Path, int], None] = _nothing
    """What the lane of a number does besides, before its last commit."""
    before: Callable[[Project, Kitty], None] = _nothing
    """What happens once everything is approved, before the command."""
    ends: Literal["landed", "undone", "stopped", "given up"] = "landed"
    says: str = ""
    """The code of the error it ends with."""
    over: str = ""
    """The code of the error where there is nothing left to do, as after a kill right at the end."""
    shows: Mapping[str, str] = {}
    """What `git status` shows afterwards besides the user's own."""
    repeats: bool = True
    """Whether running it again with nothing left to do is fine, and writes nothing."""
    signed: bool = False


# Kinds of repositories


def _hooks(project: Project) -> None:
    for name, body in (
        ("pre-merge-commit", "test -f README.md"),
        ("prepare-commit-msg", 'printf "Prepared: %s\\n" "$2" >>"$1"'),
        ("commit-msg", 'printf "Checked: yes\\n" >>"$1"'),
        ("post-merge", "exit 0"),
    ):
        project.write(f".git/hooks/{name}", f"#!/bin/sh\n{body}\n").chmod(0o755)


def _signatures(project: Project) -> None:
    import subprocess

    key = project.root / ".git" / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    signers = key.with_name("signers")
    signers.write_text(f"test@example.invalid {key.with_suffix('.pub').read_text()}")
    for name, value in (
        ("gpg.format", "ssh"),
        ("user.signingKey", str(key)),
        ("gpg.ssh.allowedSignersFile", str(signers)),
        ("commit.gpgSign", "true"),
    ):
        project.git("config", name, value)


def _filters(project: Project) -> None:
    for side in ("clean", "smudge"):
        project.git("config", f"filter.rot.{side}", "tr a-z n-za-m")
    project.git("config", "filter.rot.required", "true")
    project.commit(".gitattributes", "*.rot filter=rot\n")
    project.commit("lane2/base.rot", "base of two\n" * 30)


def _filtered(project: Project, tree: Path, number: int) -> None:
    if number in (1, 2):
        project.write(f"lane{number}/{'base' if number == 2 else 'new'}.rot", f"secret of {number}\n" * 40, where=tree)


def _submodule(project: Project) -> None:
    library = Project(project.root.parent / "library")
    library.root.mkdir()
    library.git("init", "--quiet")
    library.commit("code.txt", "first\n")
    project.git("-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(library.root), "vendor/library")
    project.git("commit", "--quiet", "-m", "a library")
    library.commit("code.txt", "second\n")


def _submodule_moved(project: Project, tree: Path, number: int) -> None:
    if number == 1:
        newer = project.git("rev-parse", "HEAD", where=project.root.parent / "library")
        project.git("update-index", "--cacheinfo", f"160000,{newer},vendor/library", where=tree)


def _sparse(project: Project, _: Kitty) -> None:
    wanted = ("lane1", "lane3", "lane4", "docs", "kitty-specs", ".kittify")
    project.git("sparse-checkout", "set", "--cone", *wanted)
    assert not (project.root / "lane2").exists()


# Other commands


def _land(_: Project, kitty: Kitty) -> None:
    done = kitty("merge")
    assert done.exit_code == 0, done


def _shared(project: Project) -> None:
    project.commit(CONFLICT, "before\n")


def _both_change(project: Project, tree: Path, number: int) -> None:
    if number in (1, 2):
        project.write(CONFLICT, f"{number}\n", where=tree)


def _stop(project: Project, kitty: Kitty) -> None:
    done = kitty("merge")
    assert (done.exit_code, done.code) == (1, "MERGE_CONFLICT"), done


def _settle(project: Project, kitty: Kitty) -> None:
    _stop(project, kitty)
    (place,) = (project.root / ".worktrees").glob("*-conflict")
    project.write(CONFLICT, SETTLED, where=place)
    project.git("add", CONFLICT, where=place)


SCENES: dict[str, Scene] = {
    "merge": Scene(),
    "squash": Scene(("merge", "--strategy", "squash")),
    "hooks": Scene(dress=_hooks),
    "signatures": Scene(dress=_signatures, signed=True),
    "filters": Scene(dress=_filters, work=_filtered),
    "submodule": Scene(dress=_submodule, work=_submodule_moved, shows={"vendor/library": " M"}),
    "sparse": Scene(before=_sparse),
    "undo": Scene(("merge", "--undo"), before=_land, ends="undone", over="UNDO_REFUSED", repeats=False),
    "conflict": Scene(dress=_shared, work=_both_change, ends="stopped", says="MERGE_CONFLICT"),
    "settled": Scene(("merge", "--resume"), dress=_shared, work=_both_change, before=_settle),
    "given up": Scene(
        ("merge", "--abort"),
        dress=_shared,
        work=_both_change,
        before=_settle,
        ends="given up",
        over="NOTHING_BEGUN",
        repeats=False,
    ),
}


def ready(project: Project, scene: Scene) -> list[str]:
    """Four lanes and a planning artefact, all approved, and the user's own work; returns what was approved."""
    for number in (1, 2, 3, 4):
        for name in ("changed", "removed", "mode"):
            project.write(f"lane{number}/{name}.txt", f"{name} {number}\n" * 40)
    project.write("staged.txt")
    project.write("unstaged.txt")
    with (project.root / ".gitignore").open("a") as stream:
        stream.write("*.local\n")
    project.git("add", ".")
    project.git("commit", "--quiet", "-m", "files")
    scene.dress(project)
    packages: list[dict[str, Any]] = [
        {"work_package_id": f"WP0{number}", "title": f"Package {number}", "owned_files": [f"lane{number}/**"]}
        for number in (1, 2, 3, 4)
    ]
    planning = {"title": "Words", "owned_files": ["docs/**"], "execution_mode": "planning_artifact"}
    packages.append({"work_package_id": "WP05", **planning})
    mission: Mission = project.mission("demo", packages)
    write_lanes(mission, plan(mission.packages, mission)._replace(planning_commit=project.git("rev-parse", "HEAD")))
    project.git("add", "--", "kitty-specs/*/lanes.json")
    project.git("commit", "--quiet", "-m", "lanes")
    mission = mission.refresh()
    heads = []
    for package in mission.packages:
        project.record(mission, package.wp_id, "planned", "claimed", "in_progress")
        workspace = allocate(package, mission)
        if workspace.path:
            _work(project, workspace.path, int(package.wp_id[-1]), scene)
        else:
            project.write("docs/words.md", "# Words\n")
        head = submission(mission.package(package.wp_id), mission).head
        verdict = {"reviewer": "grace", "verdict": "approved", "reference": head}
        evidence = {"review": verdict, "repos": [{"repo": "project", "branch": "lane", "commit": head}]}
        project.record(mission, package.wp_id, "for_review", "in_review")
        project.record(mission, package.wp_id, "approved", evidence=evidence, review_result=verdict)
        heads.append(head)
    for path, (content, code) in MINE.items():
        project.write(path, content)
        if code == "M ":
            project.git("add", "--", path)
    project.write(IGNORED, "mine, ignored\n")
    return heads


def _work(project: Project, tree: Path, number: int, scene: Scene) -> None:
    """Two commits of several files in a lane."""
    folder = f"lane{number}"
    project.write(f"{folder}/new.txt", f"new {number}\n" * 40, where=tree)
    project.write(f"{folder}/deep/er/new.txt", f"deep {number}\n", where=tree)
    project.write(f"{folder}/changed.txt", f"changed by {number}\n" * 60, where=tree)
    project.git("add", ".", where=tree)
    project.git("commit", "--quiet", "-m", "first", where=tree)
    (tree / folder / "mode.txt").chmod(0o755)
    (tree / folder / "removed.txt").unlink()
    if number == 3:
        project.write(f"{folder}/twin.txt", MINE[f"{folder}/twin.txt"][0], where=tree)
    if number == 4:
        project.write(IGNORED, "the project's\n", where=tree)
    scene.work(project, tree, number)
    project.git("add", "--force", ".", where=tree)
    project.git("reset", "--quiet", "--", ".kitty-lane.env", where=tree)
    project.git("commit", "--quiet", "-m", "second", where=tree)
