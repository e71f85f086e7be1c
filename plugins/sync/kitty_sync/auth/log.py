"""What was tried at a refresh, for whoever looks into it later: `auth.log` in the user's log directory, of bounded size, without tokens."""

from __future__ import annotations

import contextlib
import os
from datetime import UTC, datetime
from pathlib import Path

from kitty_host.api import KittyError
from kitty_host.files import open_to_append, rename

_ENOUGH = 256 * 1024


def log(issuer: str, text: str) -> None:
    """Add a line. What cannot be logged is not logged: no command fails by it."""
    from platformdirs import user_log_path

    directory = Path(user_log_path("kitty"))
    at = datetime.now(UTC).isoformat(timespec="milliseconds")
    line = f"{at} {os.getpid()} {issuer} {' '.join(text.split())[:500]}\n".encode(errors="replace")
    with contextlib.suppress(OSError, KittyError):
        directory.mkdir(parents=True, exist_ok=True)
        path = directory / "auth.log"
        descriptor = open_to_append(path, make=True, mode=0o600)
        try:
            os.write(descriptor, line)
            full = os.fstat(descriptor).st_size > _ENOUGH
        finally:
            os.close(descriptor)
        if full:
            rename(path, directory / "auth.log.1")
