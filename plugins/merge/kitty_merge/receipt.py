"""The receipt of a landing: the account that landed, as it is printed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from kitty_host.api import KittyError
from kitty_host.ledger.event import LANDED
from kitty_host.mission import Mission
from kitty_host.state import State
from kitty_merge.own_records import record_path


def receipt(mission: Mission, state: State) -> dict[str, Any] | None:
    """The last landing as it is printed, with `new` filled in: the commit that introduced its account. None before a landing."""
    row = state.last_other(LANDED)
    if row is None:
        return None
    payload: Mapping[str, Any] = row.row["payload"]
    git = mission.repo.git
    path = record_path(mission, payload["account"])
    content = git.read_blob(payload["target"], path)
    if content is None:
        raise KittyError(
            "MERGE_INCOMPLETE", f"{path} is not on {payload['target']}", "look with: git log --all -- " + path
        )
    if hashlib.sha256(content).hexdigest() != payload["account_sha256"]:
        raise KittyError(
            "LEDGER_DAMAGED", f"{path} is not what was landed", f"restore it: git log -- {path}", path=path
        )
    new = git.out("log", "-1", "--first-parent", "--diff-filter=A", "--format=%H", payload["target"], "--", path)
    return {**json.loads(content), "new": new}
