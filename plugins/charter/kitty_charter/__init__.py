"""Governance context and gates for kitty."""
