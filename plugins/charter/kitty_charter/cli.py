"""`kitty charter`: the commands about the rules that govern an action."""

from __future__ import annotations

from kitty_charter.context import context
from kitty_charter.lint import lint
from kitty_charter.receipts import receipt
from kitty_host.command import group

charter = group("charter", help="The rules that govern an action: print them, prove them, look for mistakes.")
for one in (context, receipt, lint):
    charter.add_command(one)
