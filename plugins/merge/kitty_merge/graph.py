"""The commits that a target does not have yet, read once: which of them a commit contains."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from kitty_host.git import Git


class Graph:
    """Commits with their parents, newest first; what is not in it is the target's already."""

    def __init__(self, git: Git, parents: Mapping[str, Sequence[str]]) -> None:
        self._git = git
        self.parents = parents
        self._reached: dict[str, frozenset[str]] = {}

    @classmethod
    def read(cls, git: Git, tips: Iterable[str], *bases: str) -> Graph:
        """Everything that these commits contain and the bases do not: one process, and what was asked once is remembered."""
        asked = "\n".join([*dict.fromkeys(tips), *(f"^{base}" for base in bases)])
        # What is on another machine only is not here to be read.
        options = ("--topo-order", "--parents", "--ignore-missing", "--stdin")
        memo = git.objects.memo
        if ("graph", asked) not in memo:
            lines = git.lines("rev-list", *options, stdin=f"{asked}\n".encode())
            found = {commit: parents for commit, *parents in (line.split(" ") for line in lines)}
            memo["graph", asked] = cls(git, found)
        known: Graph = memo["graph", asked]
        return known

    def reach(self, commit: str) -> frozenset[str]:
        """The commits that it contains, itself among them."""
        found = self._reached.get(commit)
        if found is None:
            reached, left = set[str](), [commit]
            while left:
                one = left.pop()
                if one in self.parents and one not in reached:
                    reached.add(one)
                    left += self.parents[one]
            found = self._reached[commit] = frozenset(reached)
        return found

    def commits_of(self, head: str) -> list[str]:
        """The same, oldest first."""
        reached = self.reach(head)
        return [commit for commit in reversed(list(self.parents)) if commit in reached]

    def contains(self, commit: str, of: str) -> bool:
        """Whether `of` contains a commit. Only a no costs a question: the commit may be the base's."""
        return commit in self.reach(of) or self._git.is_ancestor(commit, of)

    def is_cut_from(self, base: str, head: str) -> bool:
        """Whether that commit of the target is all that a head has in common with it."""
        return {parent for commit in self.reach(head) for parent in self.parents[commit]} - self.parents.keys() == {
            base
        }

    def base_of(self, head: str, old: str) -> str:
        """What a head's changes are counted from: the commit of the target that it was cut from."""
        if head not in self.parents:
            return head
        edge = {parent for commit in self.reach(head) for parent in self.parents[commit]} - self.parents.keys()
        return edge.pop() if len(edge) == 1 else self._git.out("merge-base", old, head)
