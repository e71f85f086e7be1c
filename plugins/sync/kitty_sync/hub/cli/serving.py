"""`kitty hub serve`."""

from __future__ import annotations

import click

from kitty_host.command import Invocation, command
from kitty_host.system import require_posix
from kitty_sync.hub.cli import base


@command("serve", group=base.hub)
@base.database_option
@click.option("--host", default="127.0.0.1", metavar="ADDRESS", help="Where to listen; loopback only.")
@click.option("--port", default=8770, type=click.IntRange(0, 65535), metavar="N", help="0: any that is free.")
@click.option("--address", default="", metavar="URL", help="What it calls itself behind a proxy that speaks TLS.")
@click.option("--behind-proxy", is_flag=True, help="Believe what a proxy says of who asks (X-Forwarded-For).")
@click.option(
    "--log", default="text", type=click.Choice(["text", "json"]), help="How requests are told; text, if not said."
)
@click.option("--connections", default=2000, type=click.IntRange(1), metavar="N", help="At once; 2000, if not said.")
@click.option(
    "--drain", default=0.0, type=click.FloatRange(0, 600), metavar="SECONDS", help="Not ready so long before it ends."
)
def serve(
    call: Invocation,
    database: str | None,
    host: str,
    port: int,
    address: str,
    behind_proxy: bool,
    log: str,
    connections: int,
    drain: float,
) -> None:
    """Serve until Ctrl-C."""
    require_posix("a hub")  # signals tell it to end
    url = base.address(call, database)
    from kitty_sync.hub import board
    from kitty_sync.hub import log as lines
    from kitty_sync.hub import serve as serving
    from kitty_sync.hub.store import shown

    called = serving.public_address(address) if address else ""
    options = serving.Options(called, behind_proxy, log == "json", connections, drain)

    def listening(here: str) -> None:
        payload = {"schema": "kitty.hub/1", "address": here, "database": shown(url)}
        call.show(payload, f"The hub is at {here}\nIt keeps what it is given in {shown(url)}\nCtrl-C ends it.")
        if not call.plugins.implements(board.HOOK):
            lines.REQUESTS.warning("%s; to have a board: %s", board.absent().message, board.absent().hint)

    serving.serve(url, serving.listen(host, port), listening, options, call.plugins)
