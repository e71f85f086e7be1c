"""JSON as it is answered: in ASCII, since what somebody sent is told back, and not all of that can be written in UTF-8."""

from __future__ import annotations

import json
from typing import Any

from starlette.responses import JSONResponse


class JsonAnswer(JSONResponse):
    """An answer in JSON."""

    def render(self, content: Any) -> bytes:
        """Whatever it is, somebody who was told nothing would send it again."""
        return json.dumps(content, allow_nan=False, separators=(",", ":")).encode("ascii")
