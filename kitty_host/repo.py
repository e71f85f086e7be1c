"""Where things are: the canonical checkout, the common Git directory, the worktree one stands in.

Resolved once per invocation and passed on; no other module looks at the current directory. Every read and write of mission state goes to
the canonical checkout, wherever the command was started.
"""

from __future__ import annotations

import os
import shlex
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from kitty_host.api import KittyError
from kitty_host.git import Git, GitError

if TYPE_CHECKING:
    from kitty_host.config import Config

MISSIONS = "kitty-specs"
CONFIG = ".kittify/config.yaml"


class Repo:
    """One repository. `root` is the canonical checkout, `common` its Git directory, `here` the worktree of this invocation."""

    def __init__(self, root: Path, common: Path, here: Path) -> None:
        self.root = root
        self.common = common
        self.here = here
        self.git = Git(root)

    @classmethod
    def find(cls, directory: Path) -> Repo:
        """The repository that a directory is in. Errors: `SPEC_KITTY_REPO_NOT_INITIALIZED`, `WORKSPACE_ROOT_NOT_FOUND`, `REPO_BARE`."""
        try:
            directory = directory.absolute()
        except FileNotFoundError as error:
            message = "the current directory no longer exists"
            raise KittyError("WORKSPACE_ROOT_NOT_FOUND", message, f"run: cd {_what_is_left()}") from error
        git = Git(directory)
        try:
            # In a bare repository without a worktree the last question fails, after the first two were answered.
            answers = git.run(
                "rev-parse", "--path-format=absolute", "--git-common-dir", "--git-dir", "--show-toplevel", ok=(0, 128)
            )
        except GitError as error:
            raise _not_a_repository(directory, error.stderr) from error
        lines = answers.stdout.decode(errors="surrogateescape").split("\n")[:-1]
        if lines[:1] == ["--path-format=absolute"]:
            # What Git does not know it repeats.
            raise KittyError(
                "GIT_TOO_OLD", f"Git {'.'.join(map(str, git.version))} is too old", "install Git 2.38 or later"
            )
        paths = [Path(line) for line in lines]
        if len(paths) < 2:
            raise _not_a_repository(directory, answers.stderr.decode(errors="replace"))
        common, git_directory, *rest = paths
        here = rest[0] if rest else None
        if here is not None and common == git_directory:
            return cls(here, common, here)
        root = _canonical(git, common)
        return cls(root, common, here or root)

    @property
    def missions_directory(self) -> Path:
        """`kitty-specs/` of the canonical checkout."""
        return self.root / MISSIONS

    @property
    def state(self) -> Path:
        """kitty's own directory, out of reach of `git clean` and branch switches."""
        return self.common / "kitty"

    @property
    def cache(self) -> Path:
        """The only directory that a query may write; anything in it may be deleted at any time."""
        return self.state / "cache"

    @cached_property
    def config(self) -> Config:
        """`.kittify/config.yaml`, read when first asked for."""
        from kitty_host.config import Config

        return Config.load(self.root / CONFIG, self.cache / "config.json")

    @property
    def initialized(self) -> bool:
        """Whether `kitty init` (or spec-kitty's) was run here."""
        return (self.root / CONFIG).is_file()

    def require_initialized(self) -> Repo:
        """This repository, or the refusal `SPEC_KITTY_REPO_NOT_INITIALIZED`."""
        if not self.initialized:
            raise KittyError(
                "SPEC_KITTY_REPO_NOT_INITIALIZED",
                f"{self.root} is not initialized",
                f"run: kitty -C {self.root} init",
                directory=str(self.root),
                reason="no_config",
            )
        return self

    def relative(self, path: Path) -> str:
        """A path of the canonical checkout as it is printed and stored: relative, with `/`."""
        return path.relative_to(self.root).as_posix()

    def current_branch(self) -> str | None:
        """The branch of the canonical checkout; None where HEAD is detached."""
        done = self.git.run("symbolic-ref", "--quiet", "--short", "HEAD", ok=(0, 1))
        return done.stdout.decode(errors="surrogateescape").strip() or None

    @cached_property
    def is_bare(self) -> bool:
        """Whether the repository has no main worktree, only linked ones."""
        said = self.git.is_set("core.bare")
        if said is None:
            return self.git.out("-C", str(self.common), "rev-parse", "--is-bare-repository") == "true"
        return said

    def worktrees(self) -> list[tuple[Path, str | None]]:
        """Every worktree with the full ref that it has checked out, None where detached; the main one first.

        Not kitty's own scratch ones: nobody works there.
        """
        found: list[tuple[Path, str | None]] = []
        for record in self.git.records("worktree", "list", "--porcelain", "-z"):
            key, _, value = record.partition(" ")
            if key == "worktree":
                # Of the main one Git names the Git directory's parent, which is wrong where that lies elsewhere.
                found.append((Path(value) if found or self.is_bare else self.root, None))
            elif key == "branch":
                found[-1] = (found[-1][0], value)
        return [one for one in found if not one[0].is_relative_to(self.state)]


def _canonical(git: Git, common: Path) -> Path:
    """The main worktree of a repository that one is in by a linked worktree or not at all."""
    bare = git.out("-C", str(common), "rev-parse", "--is-bare-repository") == "true"
    if common.name == ".git" and common.parent.is_dir() and not bare:
        return common.parent
    configured = (
        git.run("-C", str(common), "config", "--get", "core.worktree", ok=(0, 1))
        .stdout.decode(errors="surrogateescape")
        .strip()
    )
    if configured:
        return (common / configured).resolve()
    recorded = common / "kitty" / "canonical"
    if recorded.is_file():
        return Path(recorded.read_text(encoding="utf-8").strip())
    records = git.records("-C", str(common), "worktree", "list", "--porcelain", "-z")
    # The first one stands for the repository itself and is no linked worktree.
    trees = [Path(line.removeprefix("worktree ")) for line in records if line.startswith("worktree ")][1:]
    trees = [tree for tree in trees if not tree.is_relative_to(common / "kitty")]
    lanes = [tree for tree in trees if tree.parent.name == ".worktrees"]
    if bare:
        candidates = [tree for tree in trees if tree not in lanes and tree.is_dir()]
    else:
        # The Git directory is elsewhere and does not know its checkout; but lanes lie in it.
        above = dict.fromkeys(lane.parent.parent for lane in lanes)
        candidates = [place for place in above if _git_directory(git, place) == common]
    if len(candidates) == 1:
        return candidates[0]
    raise KittyError(
        "REPO_BARE",
        f"{common} {'is bare' if bare else 'is no checkout'} and has "
        f"{'several worktrees' if candidates else 'no worktree'} that could be the canonical one",
        _way_to_a_checkout(git, common, candidates, recorded)
        if bare
        else f"run in the worktree that shall be it: {_recording('$(git rev-parse --show-toplevel)', recorded)}",
        candidates=[str(tree) for tree in candidates],
    )


def _way_to_a_checkout(git: Git, common: Path, candidates: list[Path], recorded: Path) -> str:
    """A hint for a bare repository: make a worktree, or say which one counts."""
    if candidates:
        return f"say which one it is, for example: {_recording(str(candidates[0]), recorded)}"
    head = git.run("-C", str(common), "symbolic-ref", "--quiet", "--short", "HEAD", ok=(0, 1))
    branch = head.stdout.decode(errors="surrogateescape").strip() or "HEAD"
    names = (common.with_suffix(""), *(common.parent / f"checkout-{number}" for number in range(1, 100)))
    place = next(name for name in names if not name.exists())
    return f"make one: git -C {shlex.quote(str(common))} worktree add {shlex.quote(str(place))} {shlex.quote(branch)}"


def _recording(place: str, recorded: Path) -> str:
    return f'mkdir -p {shlex.quote(str(recorded.parent))} && echo "{place}" > {shlex.quote(str(recorded))}'


def _git_directory(git: Git, place: Path) -> Path:
    done = git.run("-C", str(place), "rev-parse", "--absolute-git-dir", ok=(0, 128))
    return Path(done.stdout.decode(errors="surrogateescape").removesuffix("\n"))


def _not_a_repository(directory: Path, stderr: str) -> KittyError:
    link = next((place / ".git" for place in (directory, *directory.parents) if (place / ".git").exists()), None)
    if link is not None and link.is_file():
        return KittyError(
            "WORKSPACE_ROOT_NOT_FOUND",
            f"{link} leads to no repository",
            "run: git worktree repair",
            directory=str(directory),
        )
    reason = stderr.strip().splitlines()[0].removeprefix("fatal: ") if "dubious ownership" in stderr else ""
    return KittyError(
        "SPEC_KITTY_REPO_NOT_INITIALIZED",
        reason or f"{directory} is not inside a Git repository",
        f"run: git init {directory} && kitty -C {directory} init",
        directory=str(directory),
        reason="not_a_git_repository",
    )


def _what_is_left() -> str:
    """Where to go from a directory that is gone: as near to it as there is one, and from among the worktrees to their repository."""
    there = Path(os.environ.get("PWD") or Path.home())
    while not there.is_dir():
        there = there.parent
    return shlex.quote(str(there.parent if there.name == ".worktrees" else there))
