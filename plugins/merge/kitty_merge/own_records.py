"""A mission's own records: the files that kitty writes about a mission, which no lane may change and no acceptance covers."""

from __future__ import annotations

import re

from kitty_host.ledger.log import FILE
from kitty_host.mission import META, Mission
from kitty_host.repo import MISSIONS

_RECORD = re.compile(rf"{re.escape(FILE)}|status\.json|{re.escape(META)}|landing-[0-9A-Z]{{26}}\.json")


def record_path(mission: Mission, name: str) -> str:
    """The path of one of its records, relative to the repository."""
    return f"{MISSIONS}/{mission.slug}/{name}"


def is_record(mission: Mission, path: str) -> bool:
    """Whether a path is one of them."""
    directory, _, name = path.rpartition("/")
    return directory == f"{MISSIONS}/{mission.slug}" and _RECORD.fullmatch(name) is not None
