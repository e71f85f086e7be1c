"""A team of a hub, its members' clients, and what is stored of it."""

from __future__ import annotations

import time

import httpx

from kitty_sync.hub import accounts, tokens
from kitty_sync.hub.store import Store

from ..hub import HubProcess


class Team:
    """A team, and clients of its members."""

    def __init__(self, hub: HubProcess, slug: str) -> None:
        self.hub = hub
        self.slug = slug

    def login(self, role: str = "writer") -> tokens.Pair:
        """Tokens of a member. They are put into the file of the hub, which is what the device flow does in the end."""
        store = Store(self.hub.database)
        try:
            with store.writing() as database:
                member = accounts.add(database, f"{role}@example.org", self.slug, role)
                return tokens.open_session(database, member.user_id, member.team_id, time.time())
        finally:
            store.close()

    def client(self, role: str = "writer") -> httpx.Client:
        """Somebody who is logged in."""
        return self.bearer(self.login(role).access_token)

    def bearer(self, token: str) -> httpx.Client:
        """Somebody with a token, or without one where it is empty."""
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return httpx.Client(base_url=self.hub.address, headers=headers, trust_env=False, timeout=60)

    def events(self) -> dict[str, str]:
        """What is stored of the team."""
        return self.hub.events(self.slug)
