"""What the commands on one work package share: the transition row, and who works on it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kitty_host.api import KittyError
from kitty_host.command import Invocation
from kitty_host.ledger.emit import emit
from kitty_host.ledger.event import Row, transition
from kitty_host.ledger.machine import CLAIMED, IN_PROGRESS, IN_REVIEW
from kitty_host.mission import Package
from kitty_host.state import State


def row(state: State, package: Package, target: str, actor: str, *, source: str | None = None, **fields: Any) -> Row:
    """A transition of a work package out of the lane it is in, or out of `source` where rows follow each other."""
    return transition(
        package.wp_id,
        source or state.lane(package.wp_id),
        target,
        actor=actor,
        mission_id=state.mission.mission_id,
        mission_slug=state.mission.slug,
        direct=package.planning,
        **fields,
    )


def move(call: Invocation, package: Package, target: str, actor: str, **fields: Any) -> list[Row]:
    """Record one transition."""
    return emit(call.plugins, call.mission, lambda state: [row(state, package, target, actor, **fields)])


def refuse(message: str, hint: str, **details: Any) -> KittyError:
    """The refusal of a transition."""
    return KittyError("TRANSITION_REFUSED", message, hint, **details)


def same(one: str, other: str) -> bool:
    """Whether two names mean the same person or agent: as whole strings, case-folded."""
    return one.casefold() == other.casefold()


def implementer(state: State, wp_id: str) -> str:
    """Who did the work that is or was submitted: the actor of the last way into `in_progress` that was not a rejection."""
    for event in reversed(state.transitions(wp_id)):
        if event.to_lane in (IN_PROGRESS, CLAIMED) and event.from_lane != IN_REVIEW:
            told = (event.row.get("policy_metadata") or {}).get("agent")
            return str(told or (event.actor if isinstance(event.actor, str) else event.actor.get("tool") or ""))
    return ""


def checkpoint(call: Invocation, what: str) -> None:
    """Commit the ledger to its ref."""
    call.mission.ledger.checkpoint(call.repo.git, f"{what}\n")


Plan = Callable[[State], list[Row]]
