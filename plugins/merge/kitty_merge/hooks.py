"""The user's hooks at a commit that kitty makes itself, run as `git commit` and `git merge` run them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

from kitty_host.api import KittyError
from kitty_host.git import Git
from kitty_host.repo import Repo


class Hooks(NamedTuple):
    """Which there are, and where."""

    names: tuple[str, ...]
    directory: Path

    @classmethod
    def of(cls, repo: Repo, *names: str) -> Hooks:
        """Those of these names that Git would run; a relative `core.hooksPath` is the canonical checkout's."""
        directory = repo.common / "hooks"
        if "core.hookspath" in repo.git.settings:
            directory = Path(repo.git.out("rev-parse", "--path-format=absolute", "--git-path", "hooks"))
        return cls(tuple(name for name in names if os.access(directory / name, os.X_OK)), directory)

    def run(self, git: Git, name: str, *arguments: str) -> None:
        """One hook, if it is there; `git` is where the commit is made, with its index. Errors: `COMMIT_REFUSED`."""
        if name not in self.names:
            return
        # As `git commit` does where nobody is to edit anything.
        if not git.with_environment(GIT_EDITOR=":").hook(name, *arguments, directory=self.directory):
            raise KittyError(
                "COMMIT_REFUSED",
                f"the hook {name} refuses; what it said is above, and nothing has moved",
                self._way_out(),
                hook=name,
            )

    def judged(self, git: Git, message: Path, source: str) -> str:
        """The message in a file as the hooks leave it; `source` is what `prepare-commit-msg` is told. Errors: `COMMIT_REFUSED`."""
        before = message.read_bytes()
        self.run(git, "prepare-commit-msg", str(message), source)
        self.run(git, "commit-msg", str(message))
        after = message.read_bytes()
        if after != before:
            after = git.run("stripspace", stdin=after).stdout
        if not after.strip():
            raise KittyError("COMMIT_REFUSED", "a hook left no message to commit with", self._way_out())
        return after.decode(errors="surrogateescape")

    def _way_out(self) -> str:
        return f"mend what it says and run it again; the hook is in {self.directory}"
