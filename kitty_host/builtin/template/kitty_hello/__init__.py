"""A plugin for kitty."""
