"""Which events are valid by the models of `spec_kitty_events`, and what is wrong with those that are not.

The shape is judged, not the step: whether a lane may follow another is the ledger's affair, and what has happened has happened. The
JSON schemas of the package say the same as its models, many times slower, and only where `jsonschema` is installed.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import spec_kitty_events
from pydantic import ValidationError
from spec_kitty_events import Event
from spec_kitty_events.conformance import validate_event

if TYPE_CHECKING:
    from pydantic import BaseModel

_NAMED_OTHERWISE = {
    "WPStatusChanged": "StatusTransition",
    "retrospective.completed": "RetrospectiveLifecycleCompleted",
    "retrospective.skipped": "RetrospectiveLifecycleSkipped",
}
_LONGEST = 300
"""Characters of a reason."""


def is_modelled(event_type: str) -> bool:
    """Whether the package has a model for the payload of such events."""
    return _model(event_type) is not None


def refusal(event: Mapping[str, Any]) -> str | None:
    """What is wrong with an event, in one line; None where nothing is.

    A type without a model is refused too; ask `is_modelled` to tell the two apart.
    """
    event_type = event.get("event_type")
    if not isinstance(event_type, str):
        return "event_type: it is no text"
    model = _model(event_type)
    if model is None:
        return f"event_type: there is no model for {event_type[:80]!r}"
    wrong = _problem(model, event.get("payload", {}))
    return _problem(Event, event) or (wrong and f"payload.{wrong}")


@lru_cache(maxsize=1024)
def _model(event_type: str) -> type[BaseModel] | None:
    """The model of a payload, by its public name. Names alone do not say which of them are payloads of events."""
    try:
        validate_event({}, event_type)
    except ValueError:
        return None
    plain = "".join(part[:1].upper() + part[1:] for part in event_type.split("."))
    return getattr(spec_kitty_events, f"{_NAMED_OTHERWISE.get(event_type, plain)}Payload", None)


def _problem(model: type[BaseModel], value: Any) -> str | None:
    try:
        model.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        return _line(first["loc"], first["msg"])
    return None


def _line(place: tuple[Any, ...], message: str) -> str:
    where = ".".join(map(str, place))
    return " ".join(f"{where}: {message}".split())[:_LONGEST].removeprefix(": ")
