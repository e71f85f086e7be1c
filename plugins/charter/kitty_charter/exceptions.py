"""Exceptions from a gate: one failing test, for a while, answered for by a person. Each is a row of the ledger that stays.

A test is excused where its name and the assertion that fails are those that somebody wrote down; nothing else is. Which rows say so, and
whether they still may, is known here; what a test is called is known in `suite`.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

from attrs import asdict, field, fields, frozen

from kitty_charter.suite import Case, same_test
from kitty_host.api import KittyError
from kitty_host.config import parse_yaml
from kitty_host.files import open_unlinked
from kitty_host.inert import inert, pattern
from kitty_host.ledger.event import EXCEPTED, Other, Row, actor_name, envelope
from kitty_host.state import State

LONGEST = timedelta(days=30)
"""An exception that holds for longer is a decision, and belongs into the test."""
FOLLOW_UP = re.compile(r"https?://\S+|(?:[\w.-]+/[\w.-]+)?#\d+|[A-Z][A-Z0-9]+-\d+")
"""An address, an issue of this or another repository, or a ticket."""
_LARGEST = 64 << 10
"""Bytes."""


def _said(_: Any, attribute: Any, value: Any) -> None:
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{attribute.name} is missing")


@frozen
class Exceptional:
    """One failing test, and why it does not stand in the way for now."""

    gate: str = field(validator=_said)
    scenario: str = field(validator=_said)
    """One test, `tests/e2e/test_a.py::test_it`, or as the report of the gate names it."""
    assertion: str = field(validator=_said)
    """What fails, in the words of the report."""
    environmental: str = field(validator=_said)
    """Why that is the surroundings' fault and not the code's."""
    reproduce: str = field(validator=_said)
    """The command that shows it."""
    follow_up: str = field(validator=_said)
    operator: str = field(validator=_said)
    granted: str = field(validator=_said)
    """The day, `2026-01-31`."""
    expires: str = field(validator=_said)
    """The last day on which it holds."""

    def excuses(self, gate: str, case: Case) -> bool:
        """Whether this failure is the one that is meant."""
        told = " ".join(case.text.split())
        return self.gate == gate and same_test(case.name, self.scenario) and " ".join(self.assertion.split()) in told

    def row(self, state: State) -> Row:
        """As it goes into the ledger."""
        mission = state.mission
        return envelope(EXCEPTED, {**asdict(self), "mission_slug": mission.slug}, aggregate_id=mission.mission_id)


def read(path: Path, actor: str, state: State) -> Exceptional:
    """What somebody wrote down, checked. Errors: `EXCEPTION_REFUSED`."""
    try:
        with open_unlinked(path) as stream:
            content = stream.read(_LARGEST + 1)
    except OSError as error:
        raise _refused(f"{path} cannot be read: {error.strerror}", "name a YAML file") from error
    if len(content) > _LARGEST:
        raise _refused(f"{path} is larger than {_LARGEST} bytes", "write one exception per file")
    told = parse_yaml(content, path, code="EXCEPTION_REFUSED")
    if not isinstance(told, Mapping):
        raise _refused(f"{path} is no mapping", f"write `key: value` lines: {', '.join(_KEYS)}")
    told = {str(key): str(value) if isinstance(value, date) else value for key, value in told.items()}
    found, wrong = _understood({"granted": _today().isoformat(), **told})
    if found is not None:
        wrong = [*wrong, *_beyond(found, _today()), *_not_theirs(found, actor, state)]
    if found is None or wrong:
        raise _refused(f"{path}: {wrong[0]}", f"mend {path} and run it again", problems=wrong)
    return found


def in_force(state: State) -> list[Exceptional]:
    """Those of the ledger that hold today. One that is not whole, or was not granted as `read` grants it, holds for nothing."""
    return [found for row in state.exceptions() if (found := _held(row, state)) is not None]


def _held(row: Other, state: State) -> Exceptional | None:
    payload = row.row.get("payload")
    told = {key: value for key, value in payload.items() if key != "mission_slug"} if isinstance(payload, dict) else {}
    found, _ = _understood(told)
    # The row's time is kitty's: what says it was granted on another day was written by somebody else.
    if found is None or found.granted != row.at[:10] or list(_beyond(found, _today())):
        return None
    return None if list(_not_theirs(found, found.operator, state)) else found


def _understood(told: Mapping[str, Any]) -> tuple[Exceptional | None, list[str]]:
    strange = sorted(told.keys() - set(_KEYS))
    if strange:
        return None, [f"there is no key {inert(strange[0], prose=True)}; there are {', '.join(_KEYS)}"]
    try:
        found = Exceptional(**{**dict.fromkeys(_KEYS, ""), **told})
    except ValueError as error:
        return None, [str(error)]
    return found, list(_vague(found))


def _vague(found: Exceptional) -> Iterator[str]:
    """What is too wide to be one exception."""
    named, bracket, _ = found.scenario.partition("[")
    if not re.fullmatch(r"[\w./-]+(::\w+)+", named) or (bracket and not found.scenario.endswith("]")):
        yield f"the scenario {pattern(found.scenario)} is not one test, such as tests/e2e/test_a.py::test_it"
    if re.search(r"[*?]|^all$", found.gate, re.IGNORECASE):
        yield f"the gate {pattern(found.gate)} is not the name of one gate"
    if len(found.assertion.split()) < 2 and len(found.assertion.strip()) < 8:
        yield "the assertion is too short to tell one failure from another"
    if not FOLLOW_UP.fullmatch(found.follow_up.strip()):
        yield "the follow-up is no issue (#12, owner/repo#12, KEY-12) and no address"
    try:
        if not shlex.split(found.reproduce):
            yield "the command that reproduces it is empty"
    except ValueError as error:
        yield f"the command that reproduces it cannot be split: {error}"


def _beyond(found: Exceptional, today: date) -> Iterator[str]:
    try:
        granted, expires = date.fromisoformat(found.granted), date.fromisoformat(found.expires)
    except ValueError:
        yield "granted and expires are days, such as 2026-01-31"
        return
    if granted > today:
        yield f"it is granted on {granted}, which is not yet"
    if expires < today:
        yield f"it expired on {expires}"
    if expires - granted > LONGEST:
        yield f"it holds for more than {LONGEST.days} days"


def _not_theirs(found: Exceptional, actor: str, state: State) -> Iterator[str]:
    """Who may not grant it."""
    if found.operator.casefold() != actor.casefold():
        yield f"the operator is {inert(found.operator, prose=True)}, and {inert(actor, prose=True)} runs the command"
    workers = {actor_name(row.actor).casefold() for row in _claims(state)}
    if found.operator.casefold() in workers:
        yield f"{inert(found.operator, prose=True)} worked on this mission: let somebody else answer for it"


def _claims(state: State) -> Iterable[Any]:
    for known in state.snapshot.packages.values():
        for lane in ("claimed", "in_progress", "for_review"):
            if lane in known.entered:
                yield known.entered[lane]


def _refused(message: str, hint: str, **details: Any) -> KittyError:
    return KittyError("EXCEPTION_REFUSED", message, hint, **details)


def _today() -> date:
    return datetime.now(UTC).date()


_KEYS = tuple(attribute.name for attribute in fields(Exceptional))
