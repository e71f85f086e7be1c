"""Lanes, worktrees and landing for kitty."""
