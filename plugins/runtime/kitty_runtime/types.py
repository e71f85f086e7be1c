"""The mission types that ship with kitty."""

from __future__ import annotations

from kitty_host.records import MissionType, Step

SPECIFY, PLAN, TASKS, IMPLEMENT, REVIEW, ACCEPT, MERGE = (
    "specify",
    "plan",
    "tasks",
    "implement",
    "review",
    "accept",
    "merge",
)


def shipped() -> list[MissionType]:
    """One type so far: the road of a software mission."""
    return [
        MissionType(
            "software-dev",
            "Software development",
            "1.0.0",
            (
                Step(SPECIFY, "Say what shall be true afterwards", artifact="spec.md"),
                Step(PLAN, "Say how it will be built", artifact="plan.md"),
                Step(TASKS, "Cut the plan into work packages", artifact="tasks.md"),
                Step(IMPLEMENT, "Do the work of a package", per_package=True),
                Step(REVIEW, "Review somebody else's package", per_package=True),
                Step(ACCEPT, "Run every gate on the merged result"),
                Step(MERGE, "Land the mission"),
            ),
            "kitty-runtime",
        )
    ]
