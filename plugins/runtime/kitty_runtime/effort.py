"""`kitty effort`: what a work package took, as whoever did the work tells it. What counts and how it adds up is `kitty_host.effort`'s."""

from __future__ import annotations

import click

from kitty_host.command import Invocation, command
from kitty_host.effort import COST, MOST
from kitty_host.ledger.emit import emit
from kitty_host.ledger.event import SPENT, envelope
from kitty_runtime.overview import spent, told_effort

_NUMBER = click.IntRange(0, MOST)


def _amount(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    if value is not None and not COST.fullmatch(value):
        raise click.BadParameter("it is no amount such as 3 or 0.25")
    return value


@command("effort", mission=True, agent=True)
@click.argument("wp")
@click.option("--seconds", type=_NUMBER, metavar="N", help="Time.")
@click.option("--tokens", type=_NUMBER, metavar="N", help="Tokens of a language model.")
@click.option("--cost", metavar="AMOUNT", callback=_amount, help="Money, in the one currency that the team counts in.")
def effort(call: Invocation, wp: str, seconds: int | None, tokens: int | None, cost: str | None) -> None:
    """Tell what a work package took; it is added to what was told before."""
    if (seconds, tokens, cost) == (None, None, None):
        raise click.UsageError("say at least one of --seconds, --tokens and --cost", click.get_current_context())
    mission = call.mission
    package = mission.package(wp)
    payload = {
        "mission_slug": mission.slug,
        "wp_id": package.wp_id,
        "agent": call.actor(),
        "seconds": seconds,
        "tokens": tokens,
        "cost": cost,
    }
    row = envelope(SPENT, payload, aggregate_id=package.wp_id, aggregate_type="WorkPackage")
    emit(call.plugins, mission, lambda _: [row])
    in_all = told_effort(call.state().efforts()[package.wp_id])
    call.show(
        {"schema": "kitty.effort/1", "wp_id": package.wp_id, "effort": in_all},
        f"{package.wp_id}: {spent(in_all)} in all",
    )
