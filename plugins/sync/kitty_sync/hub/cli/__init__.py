"""`kitty hub`: serve a team, and say who is in it. It works anywhere, without a repository and without sync being enabled."""

from kitty_sync.hub.cli import copies, people, serving
from kitty_sync.hub.cli.base import hub

__all__ = ["copies", "hub", "people", "serving"]
