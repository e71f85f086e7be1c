"""What is known of the lanes of a chain before they are merged: above all, whether what two sides have changed meets anywhere.

Where it does not, their merge is both changes, and nobody has to be asked: every path, file or submodule, was changed by one side at
most, no file of one side lies where the other has a directory, and nothing that one side adds can belong to a directory that the other
has moved away. Git's merge is the same then, whatever attributes, drivers and rename detection say; what meets is Git's.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from kitty_host.git import Git
from kitty_merge import trees
from kitty_merge.graph import Graph
from kitty_merge.trees import Change, above


class Step(NamedTuple):
    """One merge of a chain."""

    plain: bool
    """The result has the attributes that the target has."""
    apart: Sequence[Change] | None
    """All that the lane has changed, where that meets nothing that the chain has changed; else None."""


BY_GIT = Step(False, None)
"""Nothing is known."""


def steps(git: Git, graph: Graph, old: str, heads: Sequence[str]) -> Iterator[Step | None]:
    """For each head, in the order in which they are merged into `old`: what is known, or None where the chain has it already."""
    bases = [graph.base_of(head, old) for head in heads]
    found = trees.changes_between(git, [*zip(bases, heads, strict=True), *((base, old) for base in bases)])
    chain, contained, plain = Side(), frozenset[str](), True
    for head, base, mine, meanwhile in zip(heads, bases, found, found[len(heads) :], strict=False):
        if head not in graph.parents or head in contained:
            yield None
        else:
            # That this lane touches no attributes is not enough: where it renames a directory, those of others move with it.
            plain = plain and not any(map(trees.changes_attributes, (mine, meanwhile)))
            chain.add(meanwhile)
            # What they have in common besides the base is a question for Git.
            alone = graph.is_cut_from(base, head) and contained.isdisjoint(graph.reach(head))
            yield Step(plain, None if not alone or chain.meets(mine) else mine)
            chain.add(mine)
        contained |= graph.reach(head)


class Side:
    """Everything that one side has changed."""

    def __init__(self) -> None:
        self._paths: set[str] = set()
        self._above: set[str] = set()
        """The directories above them."""
        self._above_added: set[str] = set()
        self._above_removed: set[str] = set()

    def add(self, changes: Iterable[Change]) -> None:
        """More of them."""
        for change in changes:
            self._paths.add(change.path)
            higher = list(above(change.path))
            self._above.update(higher)
            if change.old is None:
                self._above_added.update(higher)
            elif change.new is None:
                self._above_removed.update(higher)

    def meets(self, changes: Sequence[Change]) -> bool:
        """Whether any of the other side's changes does."""
        return any(self._meets(change) for change in changes)

    def _meets(self, change: Change) -> bool:
        if change.path in self._paths or change.path in self._above:
            return True
        higher = list(above(change.path))
        if not self._paths.isdisjoint(higher):
            return True
        # A directory that one side has emptied may have been moved, and Git moves what the other side adds there after it.
        if change.old is None:
            return not self._above_removed.isdisjoint(higher)
        return change.new is None and not self._above_added.isdisjoint(higher)
