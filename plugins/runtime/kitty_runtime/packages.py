"""What the commands on one work package share: the transition row, and who works on it."""

from __future__ import annotations

from typing import Any

import click

from kitty_host.api import KittyError
from kitty_host.command import Invocation
from kitty_host.lanes import lane_ids
from kitty_host.ledger.emit import emit
from kitty_host.ledger.event import Row, transition
from kitty_host.ledger.machine import CLAIMED, FOR_REVIEW, GENESIS, IN_PROGRESS, IN_REVIEW, SETTLED
from kitty_host.packages import Package
from kitty_host.state import State

ACTIVE = (CLAIMED, IN_PROGRESS, FOR_REVIEW, IN_REVIEW)
"""Lanes in which somebody is at the work."""


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


def not_blank(context: click.Context, parameter: click.Parameter, value: str) -> str:
    """A click callback for texts that must say something."""
    if not value.strip():
        raise click.BadParameter("it is empty", context, parameter)
    return value


def same(one: str, other: str) -> bool:
    """Whether two names mean the same person or agent: as whole strings, case-folded."""
    return one.casefold() == other.casefold()


def implementers(state: State, wp_id: str) -> list[str]:
    """Everybody who ever took the work package on, the last one last."""
    known = state.package_state(wp_id)
    return known.takers if known else []


def last_transition(state: State, package: Package) -> str:
    """The id of the last transition of a work package; empty where there is none."""
    known = state.package_state(package.wp_id)
    return known.seen_id if known else ""


def implementer(state: State, wp_id: str) -> str:
    """Who took the work package on last; a rejection or a reopening changes nothing about that."""
    return next(iter(implementers(state, wp_id)[-1:]), "")


def outside(package: Package) -> list[str]:
    """The owned paths that lead out of the repository."""
    return [path for path in package.owned_files if path.startswith("/") or ".." in path.split("/")]


def way_on(lane: str, wp_id: str) -> str:
    """The command that goes on from a lane."""
    ways = {
        FOR_REVIEW: f"kitty review {wp_id} --claim",
        IN_REVIEW: f"kitty review {wp_id} --approve, or --reject --reason R",
        GENESIS: "kitty finalize",
    }
    return ways.get(lane, f"kitty reopen {wp_id} --reason R" if lane in SETTLED else f"kitty implement {wp_id}")


def checkpoint(call: Invocation, what: str) -> None:
    """Commit the ledger to its ref."""
    call.mission.ledger.checkpoint(call.repo.git, f"{what}\n")


def occupied(state: State, package: Package) -> str | None:
    """The work package of the same lane that somebody is at; planning artefacts share a lane too."""
    lanes = lane_ids(state.mission)
    own = lanes.get(package.wp_id)
    for wp_id, lane_id in lanes.items():
        if lane_id == own and wp_id != package.wp_id and state.lane(wp_id) in ACTIVE:
            return wp_id
    return None
