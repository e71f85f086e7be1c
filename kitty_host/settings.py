"""The host's own section of the configuration. Imported where it is read, for attrs takes as long as the rest of a command."""

from __future__ import annotations

import attrs

from kitty_host.containment import LONGEST, SECONDS, SHORTEST


@attrs.frozen
class PluginSettings:
    """The section `plugins` of the configuration."""

    timeout_seconds: float = attrs.field(
        default=SECONDS, validator=[attrs.validators.ge(SHORTEST), attrs.validators.le(LONGEST)]
    )
    """How long one call of a check or an observer may take."""
