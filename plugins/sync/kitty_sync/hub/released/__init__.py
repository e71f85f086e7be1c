"""The protocol of the released client, `spec-kitty-cli`, beside kitty's own: the same events, teams and tokens in that client's words.

Each room here answers some of its calls, and docs/hub.md lists them all. Logging in is the same for both (`hub.oauth`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.routing import BaseRoute

from kitty_sync.hub.released import batch, dossier, person, trackers, websocket

if TYPE_CHECKING:
    from kitty_sync.hub.app import Hub


def routes(hub: Hub) -> list[BaseRoute]:
    """All of its calls, of one hub."""
    return [one for room in (person, batch, dossier, websocket, trackers) for one in room.routes(hub)]
