"""Missions, work packages, decisions and the board, for kitty."""
