"""A pytest plugin that writes the ids of what was collected, as JSON, to the file that `KITTY_COLLECTED` names.

It lies in a directory of its own and imports nothing of kitty's, because the interpreter that loads it is the project's.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any


def pytest_collection_finish(session: Any) -> None:
    """Called once, also where some files could not be imported."""
    Path(os.environ["KITTY_COLLECTED"]).write_bytes(json.dumps([item.nodeid for item in session.items]).encode())
