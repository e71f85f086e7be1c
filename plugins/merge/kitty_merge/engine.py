"""Which of two engines makes the commits of a landing, and what both of them offer.

`Aside` works on objects alone and is twice as fast. `Native` is Git's own merge in a scratch worktree, for repositories whose hooks or
settings count there. Both give the same tree.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

from kitty_host.api import KittyError
from kitty_host.git import Git
from kitty_host.repo import Repo
from kitty_merge import trees
from kitty_merge.hooks import Hooks
from kitty_merge.meeting import BY_GIT, Step

HOOKS = ("pre-merge-commit", "prepare-commit-msg", "commit-msg")
_FIRST_WITH_MERGE_TREE = (2, 38)
_FIRST_THAT_RUNS_HOOKS = (2, 36)


class Merged(NamedTuple):
    """The merge commit, or the paths in conflict."""

    commit: str
    conflicts: tuple[str, ...] = ()


class Engine(Protocol):
    """What makes the commits of a landing. Moves no ref and touches nobody's checkout.

    What it makes is there for other Gits after `Objects.flush`.
    """

    def merge(self, tip: str, head: str, message: str, step: Step = BY_GIT) -> Merged:
        """Merge `head` into `tip`; `step` is what is known of that before. Errors: `COMMIT_REFUSED`."""

    def join(self, tree: str, tip: str, head: str, message: str) -> str:
        """A merge of `head` into `tip` whose result is known. Errors: `COMMIT_REFUSED`."""

    def conflicts(self, one: str, other: str) -> tuple[str, ...]:
        """Where two commits conflict. Runs nobody's hooks."""

    def commit(self, tree: str, parent: str, message: str, *, source: str = "message") -> str:
        """A commit of a tree; `source` is what `prepare-commit-msg` is told. Errors: `COMMIT_REFUSED`."""


class Aside:
    """Objects only: `merge-tree` and `commit-tree`."""

    def __init__(self, repo: Repo) -> None:
        self.repo = repo
        self._beside: dict[str, Git] = {}
        """By commit, Git where its attributes are."""

    def merge(self, tip: str, head: str, message: str, step: Step = BY_GIT) -> Merged:
        """As `Engine`; refuses nothing."""
        if step.apart is not None and not self.repo.git.is_set("merge.renormalize"):
            tree = trees.added_with_entries(self.repo, tip, {change.path: change.new for change in step.apart})
            return Merged(self._commit(tree, [tip, head], message))
        self.repo.git.objects.flush()
        git = self._beside.get(tip) or trees.beside(self.repo, tip)
        tree, conflicts = trees.merge(git, tip, head)
        if conflicts:
            return Merged("", conflicts)
        commit = self._commit(tree, [tip, head], message)
        if step.plain:
            self._beside[commit] = git
        return Merged(commit)

    def join(self, tree: str, tip: str, head: str, message: str) -> str:
        """As `Engine`; refuses nothing."""
        return self._commit(tree, [tip, head], message)

    def conflicts(self, one: str, other: str) -> tuple[str, ...]:
        """As `Engine`."""
        self.repo.git.objects.flush()
        return trees.merge(trees.beside(self.repo, one), one, other)[1]

    def commit(self, tree: str, parent: str, message: str, *, source: str = "message") -> str:
        """As `Engine`; refuses nothing."""
        return self._commit(tree, [parent], message)

    def _commit(self, tree: str, parents: Sequence[str], message: str) -> str:
        return self.repo.git.objects.commit(tree, parents, message)


class Demands(NamedTuple):
    """What of a repository a merge from objects alone would pass over."""

    hooks: Hooks
    drivers: bool
    """Merge drivers may read any file, or be one."""
    rerere: bool
    signatures: bool
    """`merge.verifySignatures`"""
    old_git: bool

    @property
    def native(self) -> bool:
        """Whether `Native` is needed."""
        return bool(self.hooks.names or self.drivers or self.rerere or self.signatures or self.old_git)

    @property
    def files(self) -> bool:
        """Whether somebody may look at the files: a hook that finds none of them would have nothing to object to."""
        return bool(self.hooks.names or self.drivers)


def demands(repo: Repo) -> Demands:
    """What the repository asks for. Errors: `GIT_TOO_OLD`."""
    git = repo.git
    if git.version < _FIRST_THAT_RUNS_HOOKS:
        raise KittyError(
            "GIT_TOO_OLD",
            f"Git {'.'.join(map(str, git.version))} cannot run the hooks of a landing",
            "install Git 2.38 or later",
        )
    rerere = git.is_set("rerere.enabled")
    return Demands(
        Hooks.of(repo, *HOOKS),
        any(name.startswith("merge.") and name.endswith(".driver") for name in git.settings),
        # Unset, it is on where somebody has ever used it.
        rerere if rerere is not None else (repo.common / "rr-cache").is_dir(),
        bool(git.is_set("merge.verifysignatures")),
        git.version < _FIRST_WITH_MERGE_TREE,
    )


@contextlib.contextmanager
def engine_for(repo: Repo) -> Iterator[Engine]:
    """The engine that passes over nothing that the repository asks for."""
    asked = demands(repo)
    if not asked.native:
        yield Aside(repo)
        return
    from kitty_merge.native import Native
    from kitty_merge.scratch import scratch

    with scratch(repo, files=asked.files) as place:
        yield Native(place, asked.hooks)
