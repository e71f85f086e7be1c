"""What a mission type is: the actions that its steps can have, and the one schema that every type is checked by, wherever it comes from.

Where types come from is `discovery`'s business, what the steps mean for a mission `decide`'s.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Final

from kitty_host.api import KittyError
from kitty_host.inert import inert
from kitty_host.ledger.log import FILE as LEDGER
from kitty_host.mission import META
from kitty_host.records import MissionType, Step

WRITE: Final = "write"
TASKS: Final = "tasks"
IMPLEMENT: Final = "implement"
REVIEW: Final = "review"
ACCEPT: Final = "accept"
MERGE: Final = "merge"
ANSWER: Final = "answer"
WORK: Final = (TASKS, IMPLEMENT, REVIEW, ACCEPT, MERGE)
"""What kitty does itself, in the only order there is; each at most once."""
ACTIONS: Final = (WRITE, *WORK, ANSWER)
NOT_STARTED: Final = "not_started"
DONE: Final = "done"
_NO_STEP: Final = frozenset((NOT_STARTED, DONE, "unknown", "blocked"))
_FILES: Final = {"specify": "spec.md", "plan": "plan.md", TASKS: "tasks.md"}
"""What the steps of these names make where a type does not say it: Spec Kitty's types do not."""
_TITLES: Final = {
    TASKS: "Cut the plan into work packages",
    REVIEW: "Review somebody else's package",
    MERGE: "Land the mission",
}
_OWN: Final = frozenset((META, LEDGER, "status.json", "lanes.json"))
_KEY = r"[a-z][a-z0-9]*(?:[-_][a-z0-9]+)*"
_FILE = r"[\w-][\w.-]*(?:/[\w-][\w.-]*)*"

Place = tuple[str | int, ...]
"""The way to a value, as keys and numbers."""
Fault = tuple[Place, str]


def named(found: MissionType) -> MissionType:
    """The type with everything said that its steps leave to be understood."""
    return found._replace(steps=tuple(map(_named_step, found.steps)))


def whole(found: MissionType) -> MissionType:
    """A valid type with the steps that work needs: lanes before it, a review and a landing after."""
    steps = list(found.steps)
    has = {step.action for step in steps}
    if IMPLEMENT in has:
        at = next(place for place, step in enumerate(steps) if step.action == IMPLEMENT)
        for action, place in ((MERGE, len(steps)), (REVIEW, at + 1), (TASKS, at)):
            if action not in has:
                steps.insert(place, _named_step(Step(action, _TITLES[action])))
    return found._replace(steps=tuple(steps))


def _named_step(step: Step) -> Step:
    artifact = step.artifact or _FILES.get(step.id, "")
    action = step.action or (step.id if step.id in WORK else WRITE if artifact else ANSWER)
    return step._replace(action=action, artifact=artifact, title=step.title or step.id.replace("-", " ").capitalize())


def faults(found: MissionType) -> Iterator[Fault]:
    """What is wrong with a type of which everything is said: the place, and one line."""
    if not re.fullmatch(_KEY, found.key) or len(found.key) > 60:
        yield (
            ("mission", "key"),
            f"{inert(found.key) or 'nothing'} is no key: lower-case letters, digits, single dashes",
        )
    for name in ("name", "version"):
        if not str(getattr(found, name)).strip():
            yield ("mission", name), f"{name} is missing"
    if not found.steps:
        yield ("steps",), "there are no steps"
    seen: set[str] = set()
    files: set[str] = set()
    for number, step in enumerate(found.steps):
        yield from ((("steps", number, *place), message) for place, message in _step_faults(step))
        if step.id in seen:
            yield ("steps", number, "id"), f"there are two steps {inert(step.id)}"
        if step.artifact and step.artifact in files:
            yield ("steps", number, "artifact"), f"two steps make {inert(step.artifact)}"
        seen.add(step.id)
        files.add(step.artifact)
    yield from _order_faults(found.steps)


def _step_faults(step: Step) -> Iterator[Fault]:
    if not re.fullmatch(_KEY, step.id) or len(step.id) > 60 or step.id in _NO_STEP:
        yield ("id",), f"{inert(step.id) or 'nothing'} is no name for a step"
    if step.action not in ACTIONS:
        yield ("action",), f"{inert(step.action)} is no action; there are: {', '.join(ACTIONS)}"
    if step.action in (WRITE, TASKS) and not step.artifact:
        yield ("artifact",), f"the step {inert(step.id)} says nothing of the file that it makes"
    if step.artifact and step.action not in (WRITE, TASKS):
        yield ("artifact",), f"a step that is there to {inert(step.action)} makes no file"
    if step.artifact and (not re.fullmatch(_FILE, step.artifact) or step.artifact.split("/")[0] in (*_OWN, "tasks")):
        yield ("artifact",), f"{inert(step.artifact)} is no file that a step may make below a mission"
    headings = [part.heading.casefold() for part in step.parts]
    if len(set(headings)) < len(headings) or not all(map(_is_heading, headings)):
        yield ("parts",), "headings are single lines of text, and no two are the same"


def _is_heading(text: str) -> bool:
    return bool(text.strip()) and text.isprintable() and not text.startswith("#") and len(text) <= 120


def _order_faults(steps: Sequence[Step]) -> Iterator[Fault]:
    ranks = [(WORK.index(step.action), number) for number, step in enumerate(steps) if step.action in WORK]
    for (rank, _), (following, number) in pairwise(ranks):
        if following <= rank:
            yield ("steps", number), f"{inert(steps[number].id)} comes too late: the order is {', '.join(WORK)}"
    actions = {step.action for step in steps}
    for action in (REVIEW, ACCEPT, MERGE, TASKS):
        if action in actions and IMPLEMENT not in actions:
            number = next(number for number, step in enumerate(steps) if step.action == action)
            yield ("steps", number), f"without a step that implements there is nothing to {action}"


def step_not_found(key: str, what: str, steps: Sequence[Step]) -> KittyError:
    """That a mission of this type has no such step."""
    ways = [f"kitty {command_of(step)}" for step in steps if step.action == WRITE]
    return KittyError(
        "STEP_NOT_FOUND",
        f"missions of type {inert(key)} have no step that makes {inert(what)}",
        f"there are: {', '.join(ways)}" if ways else "see: kitty mission types",
        steps=[step.id for step in steps],
    )


def command_of(step: Step) -> str:
    """The command that scaffolds, checks and commits what a step makes."""
    own = {file: name for name, file in _FILES.items()}
    if step.action == TASKS:
        return TASKS
    return own.get(step.artifact) or f"artifact {step.id}"
