"""The system underneath, chosen once: what differs from one to another is asked for here, and nobody else asks which one it is."""

import sys

if sys.platform == "win32":
    from kitty_host.windows import *  # noqa: F403 - the names are those of either
else:
    from kitty_host.posix import *  # noqa: F403
