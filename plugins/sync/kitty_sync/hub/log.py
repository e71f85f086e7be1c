"""How it is told what the hub does: one line for each request on standard error, for people or as JSON.

A line has the pattern of the route and ids, never an address with its query, a token, a code, or anything of a body. Of a fault it has the
kind and where it was, and not its message: that may quote what somebody sent.
"""

from __future__ import annotations

import json
import logging
import time
import traceback
from datetime import UTC, datetime
from typing import Any

from kitty_host.inert import visible

REQUESTS = logging.getLogger("kitty.hub")
REQUESTS.setLevel(logging.CRITICAL)


def configuration(as_json: bool) -> dict[str, Any]:
    """What `logging` is configured with where the hub is a process of its own; uvicorn's own words take the same way."""
    handler = {"class": "logging.StreamHandler", "stream": "ext://sys.stderr", "formatter": "lines"}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"lines": {"()": AsJson if as_json else ForPeople}},
        "handlers": {"standard-error": handler},
        "loggers": {
            REQUESTS.name: {"level": "INFO", "handlers": ["standard-error"], "propagate": False},
            "uvicorn": {"level": "WARNING", "handlers": ["standard-error"], "propagate": False},
        },
        "root": {"level": "WARNING", "handlers": ["standard-error"]},
    }


def request(told: dict[str, Any]) -> None:
    """Tell of a request: `method`, `route`, `status`, `ms`, `user`, `team`, `request`, `address`."""
    REQUESTS.info("request", extra={"told": told})


class AsJson(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        return json.dumps({"time": at, "level": record.levelname.lower(), **_told(record)})


class ForPeople(logging.Formatter):
    """A line to read."""

    def format(self, record: logging.LogRecord) -> str:
        told = _told(record)
        words = " ".join(f"{name}={value}" if name in _NAMED else str(value) for name, value in told.items() if value)
        return visible(f"{time.strftime('%H:%M:%S', time.localtime(record.created))} {words}")


_NAMED = ("user", "team", "request", "ms")


def _told(record: logging.LogRecord) -> dict[str, Any]:
    told: dict[str, Any] = getattr(record, "told", None) or {"message": record.getMessage().strip()}
    if record.exc_info and record.exc_info[1] is not None:
        error = record.exc_info[1]
        frames = traceback.extract_tb(error.__traceback__)
        where = [f"{one.filename}:{one.lineno} {one.name}" for one in frames]
        told = {**told, "fault": type(error).__name__, "where": where}
    return told
