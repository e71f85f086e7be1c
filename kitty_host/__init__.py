"""The host of kitty: plugins, commands, the repository and the ledger.

Plugin authors start at :mod:`kitty_host.api`; the hooks are in :mod:`kitty_host.hooks`.
"""

__version__ = "0.1.0"
