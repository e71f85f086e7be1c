"""Ways out of what lanes do to each other, in commands that can be typed."""

from __future__ import annotations

from collections.abc import Sequence

from kitty_host.lanes import PLANNING
from kitty_host.ledger.machine import (
    APPROVED,
    BLOCKED,
    CLOSED,
    FOR_REVIEW,
    GENESIS,
    IN_REVIEW,
    PLANNED,
    SETTLED,
)
from kitty_host.records import Lane
from kitty_host.state import State

_BACK = {
    PLANNED: "kitty implement {}; ",
    BLOCKED: "kitty implement {}; ",
    FOR_REVIEW: "kitty review {0} --claim, and --reject --reason R; ",
    IN_REVIEW: "kitty review {} --reject --reason R; ",
    APPROVED: "kitty reopen {} --reason R; ",
}


def back_to_work(state: State, lane: Lane) -> tuple[str, str]:
    """The work package of a lane under which its branch can be changed, and the command before that, which may be none."""
    begun = [wp_id for wp_id in lane.wp_ids if state.lane(wp_id) not in (GENESIS, PLANNED, *CLOSED)]
    wp_id = begun[-1] if begun else lane.wp_ids[-1]
    return wp_id, _BACK.get(state.lane(wp_id), "").format(wp_id)


def settle(state: State, lane: Lane, others: Sequence[Lane]) -> str:
    """How a lane's conflict with others is settled; with the target where no others are named."""
    if lane.lane_id == PLANNING and len(others) == 1:
        # What the canonical checkout holds cannot be merged into; the other one can take it in.
        return settle(state, others[0], [lane])
    wp_id, before = back_to_work(state, lane)
    if lane.lane_id == PLANNING:
        return f"{before}bring both together in {state.mission.repo.root}; kitty submit {wp_id}"
    waiting = [one for other in others for one in other.wp_ids if state.lane(one) not in SETTLED]
    when = f"when {' and '.join(waiting)} {'is' if len(waiting) == 1 else 'are'} approved: " if waiting else ""
    sources = [other.branch for other in others] or [state.mission.target]
    merges = ", then ".join(f"git merge {source}" for source in sources)
    return f"{when}{before}in its worktree: {merges}; settle it, commit, kitty submit {wp_id}"


def argument(text: str) -> str:
    """A word of a command, as one line, for a shell."""
    if text.isprintable():
        import shlex

        return shlex.quote(text)
    spelt = "".join(one if one.isprintable() and one not in "'\\" else _escaped(one) for one in text)
    return f"$'{spelt}'"


def _escaped(character: str) -> str:
    return "".join(f"\\{byte:03o}" for byte in character.encode(errors="surrogateescape"))


def pathspec(path: str) -> str:
    """One path for Git, and no other, whatever characters it has."""
    return argument(f":(literal){path}" if set(path) & set("*?[\\:") else path)
