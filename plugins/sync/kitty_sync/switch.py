"""Whether sync is enabled at all. Everything in this plugin asks here first."""

from __future__ import annotations

import os

from kitty_host.api import KittyError

VARIABLE = "SPEC_KITTY_ENABLE_SAAS_SYNC"


def enabled() -> bool:
    """Whether the variable is 1, true, yes, y or on, in any case."""
    return os.environ.get(VARIABLE, "").strip().lower() in ("1", "true", "yes", "y", "on")


def require_enabled() -> None:
    """Refuse with `SYNC_DISABLED` unless sync is enabled."""
    if not enabled():
        raise KittyError("SYNC_DISABLED", "sync is not enabled", f"enable it with: export {VARIABLE}=1")
