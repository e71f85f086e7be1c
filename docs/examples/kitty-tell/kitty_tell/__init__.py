"""Tells somebody when a work package is blocked, rejected or done."""
