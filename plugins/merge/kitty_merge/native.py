"""The engine that merges as Git does, in a scratch worktree: with the user's hooks, rerere, signatures and `merge.*` settings.

The merge stops before its commit. Hooks run one by one then, so that `post-merge` waits for the landing, and a hook that refuses is
told from a conflict for sure.
"""

from __future__ import annotations

from kitty_host.git import GitError
from kitty_merge import trees
from kitty_merge.engine import Merged
from kitty_merge.hooks import Hooks
from kitty_merge.meeting import BY_GIT, Step
from kitty_merge.scratch import Scratch


class Native:
    """`git merge` and the user's hooks."""

    def __init__(self, place: Scratch, hooks: Hooks) -> None:
        self.place = place
        self.hooks = hooks
        self._git = place.git.with_environment(GIT_INDEX_FILE=str(place.state / "index"))

    def merge(self, tip: str, head: str, message: str, step: Step = BY_GIT) -> Merged:
        """As `Engine`."""
        conflicts = self._join(tip, head, message)
        if conflicts and not self._takes_resolutions():
            return Merged("", conflicts)
        return Merged(self._merge_commit(tip, head))

    def join(self, tree: str, tip: str, head: str, message: str) -> str:
        """As `Engine`."""
        self.place.repo.git.objects.flush()
        self.place.stand_at(tip)
        self.place.run("read-tree", "-m", "-u", "HEAD", tree)
        (self.place.state / "MERGE_MSG").write_bytes(message.encode(errors="surrogateescape"))
        return self._merge_commit(tip, head)

    def _merge_commit(self, tip: str, head: str) -> str:
        self.hooks.run(self._git, "pre-merge-commit")
        told = self.hooks.judged(self._git, self.place.state / "MERGE_MSG", "merge")
        # Only now: `pre-merge-commit` may have changed what is to be committed.
        return self.place.git.commit_tree(self.place.git.out("write-tree"), [tip, head], told)

    def conflicts(self, one: str, other: str) -> tuple[str, ...]:
        """As `Engine`."""
        return self._join(one, other, "conflicts")

    def commit(self, tree: str, parent: str, message: str, *, source: str = "message") -> str:
        """As `Engine`. The scratch worktree shows what is committed."""
        self.place.repo.git.objects.flush()
        place = self.place
        place.stand_at(parent)
        place.run("read-tree", "-m", "-u", "HEAD", tree)
        told = place.state / "COMMIT_EDITMSG"
        told.write_bytes(message.encode(errors="surrogateescape"))
        return place.git.commit_tree(tree, [parent], self.hooks.judged(self._git, told, source))

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
