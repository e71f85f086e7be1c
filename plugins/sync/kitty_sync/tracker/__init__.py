"""Work packages and the issues of a tracker, kept alike (ADR 0021)."""
