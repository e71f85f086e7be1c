"""The engine that merges as Git does, in a scratch worktree: with the user's hooks, rerere, signatures and `merge.*` settings.

The merge stops before its commit. Hooks run one by one then, so that `post-merge` waits for the landing, and a hook that refuses is
told from a conflict for sure.
"""

from __future__ import annotations

from pathlib import Path

from kitty_host.api import KittyError
from kitty_host.git import GitError
from kitty_merge import trees
from kitty_merge.engine import Merged
from kitty_merge.scratch import Scratch


class Native:
    """`git merge` and the user's hooks."""

    def __init__(self, place: Scratch, hooks: tuple[str, ...], hooks_directory: Path) -> None:
        self.place = place
        self.hooks = hooks
        self.hooks_directory = hooks_directory

    def merge(self, tip: str, head: str, message: str, *, plain: bool = False) -> Merged:
        """As `Engine`."""
        conflicts = self._join(tip, head, message)
        if conflicts and not self._takes_resolutions():
            return Merged("", conflicts)
        return Merged(self._merge_commit(tip, head))

    def join(self, tree: str, tip: str, head: str, message: str) -> str:
        """As `Engine`."""
        self.place.stand_at(tip)
        self.place.run("read-tree", "-m", "-u", "HEAD", tree)
        (self.place.state / "MERGE_MSG").write_text(message, encoding="utf-8", errors="surrogateescape")
        return self._merge_commit(tip, head)

    def _merge_commit(self, tip: str, head: str) -> str:
        self._run("pre-merge-commit")
        told = self._judged(self.place.state / "MERGE_MSG", "merge")
        # Only now: `pre-merge-commit` may have changed what is to be committed.
        return self.place.git.commit_tree(self.place.git.out("write-tree"), [tip, head], told)

    def conflicts(self, one: str, other: str) -> tuple[str, ...]:
        """As `Engine`."""
        return self._join(one, other, "conflicts")

    def commit(self, tree: str, parent: str, message: str, *, source: str = "message") -> str:
        """As `Engine`. The scratch worktree shows what is committed."""
        place = self.place
        place.stand_at(parent)
        place.run("read-tree", "-m", "-u", "HEAD", tree)
        told = place.state / "COMMIT_EDITMSG"
        told.write_text(message, encoding="utf-8", errors="surrogateescape")
        return place.git.commit_tree(tree, [parent], self._judged(told, source))

    def _join(self, tip: str, head: str, message: str) -> tuple[str, ...]:
        """Merge without a commit; the paths in conflict."""
        try:
            return self._attempt(tip, head, message)
        except GitError:
            if not self.place.files:
                raise
        # Line endings that attributes forbid make a file look changed that nobody touched, and Git refuses to write over it.
        with self.place.without_files():
            return self._attempt(tip, head, message)

    def _attempt(self, tip: str, head: str, message: str) -> tuple[str, ...]:
        self.place.stand_at(tip)
        arguments = ("merge", "--no-ff", "--no-commit", "--no-stat", "--no-rerere-autoupdate", "-m", message, head)
        # 1 is a conflict, or a merge that never began; anything above is an error.
        status, _ = self.place.run(*arguments, ok=(0, 1))
        conflicts = self._unmerged() if status else ()
        if status and not (self.place.state / "MERGE_HEAD").exists():
            raise GitError(arguments, status, "Git did not begin to merge")
        if status and not conflicts:
            raise trees.pathless_conflict(tip, head)
        return conflicts

    def _unmerged(self) -> tuple[str, ...]:
        _, records = self.place.run("ls-files", "--unmerged", "-z")
        return tuple(dict.fromkeys(record.partition("\t")[2] for record in records))

    def _takes_resolutions(self) -> bool:
        """Stage what rerere has settled, where the user wants that to be done unseen."""
        git = self.place.git
        wanted = git.run("config", "--type=bool", "--get", "rerere.autoUpdate", ok=(0, 1)).stdout.strip() == b"true"
        if not wanted or git.lines("rerere", "remaining"):
            return False
        self.place.run("add", "--sparse", "--", *self._unmerged())
        return not self._unmerged()

    # Hooks

    def _judged(self, told: Path, source: str) -> str:
        """The message as the hooks leave it."""
        before = told.read_bytes()
        self._run("prepare-commit-msg", str(told), source)
        self._run("commit-msg", str(told))
        after = told.read_bytes()
        if after != before:
            after = self.place.git.run("stripspace", stdin=after).stdout
        if not after.strip():
            raise KittyError("COMMIT_REFUSED", "a hook left no message to commit with", self._way_out())
        return after.decode(errors="surrogateescape")

    def _run(self, hook: str, *arguments: str) -> None:
        if hook not in self.hooks:
            return
        # As `git commit` does where nobody is to edit anything.
        git = self.place.git.with_environment(GIT_EDITOR=":", GIT_INDEX_FILE=str(self.place.state / "index"))
        if not git.hook(hook, *arguments, directory=self.hooks_directory):
            raise KittyError(
                "COMMIT_REFUSED",
                f"the hook {hook} refuses; what it said is above, and nothing has moved",
                self._way_out(),
                hook=hook,
            )

    def _way_out(self) -> str:
        return f"mend what it says and run this again; the hook is in {self.hooks_directory}"
