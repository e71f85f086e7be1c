"""The three-way merge of one field: what became of it on both sides since they agreed, and where it goes. Pure.

Values are texts, and tuples of texts that are sets: sorted, each once. Where they come from is the business of `local` and `connectors`.
"""

from __future__ import annotations

from enum import Enum
from typing import Literal, NamedTuple

Value = str | tuple[str, ...]
Policy = Literal["local", "remote", "newer", "ask"]
"""Who decides where both sides changed a field. `local` and `remote` name the only side that may change it at all."""

SETS = ("labels", "assignees")
FIELDS = ("title", "body", *SETS, "status")


class Base(NamedTuple):
    """What a field was on each side when they last agreed.

    That they are two is what a tracker makes of a value: a label in other letters, a name that it does not know, left out.
    """

    local: Value
    remote: Value


class Move(Enum):
    """What happens to a field."""

    NOTHING = "nothing"
    AGREED = "agreed"
    """The sides are alike, and the base does not say so yet."""
    TO_REMOTE = "to_remote"
    TO_LOCAL = "to_local"
    ASK = "ask"
    """Both stay as they are."""


class Verdict(NamedTuple):
    """Where a field goes, and whether a change on the other side is written over."""

    move: Move
    overrules: bool = False


def judge(base: Base | None, local: Value, remote: Value, policy: Policy, *, local_is_newer: bool = True) -> Verdict:
    """What becomes of a field. Without a base, as at the first meeting, sides that differ have both changed."""
    if local == remote:
        return Verdict(Move.NOTHING if base == (local, remote) else Move.AGREED)
    changed_here = base is None or local != base.local
    changed_there = base is None or remote != base.remote
    if not changed_here and not changed_there:
        return Verdict(Move.NOTHING)
    if policy == "local":
        return Verdict(Move.TO_REMOTE, overrules=changed_there)
    if policy == "remote":
        return Verdict(Move.TO_LOCAL, overrules=changed_here)
    if changed_here and changed_there:
        if policy == "ask":
            return Verdict(Move.ASK)
        return Verdict(Move.TO_REMOTE if local_is_newer else Move.TO_LOCAL, overrules=True)
    return Verdict(Move.TO_REMOTE if changed_here else Move.TO_LOCAL)
