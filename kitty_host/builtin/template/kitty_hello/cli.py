"""The command `kitty hello`."""

from kitty_host.command import Invocation, command


@command("hello", mission=True)
def greet(call: Invocation) -> None:
    """Greet a mission."""
    done, total = call.state().progress().done, call.state().progress().total
    call.show(
        {"schema": "hello/1", "slug": call.mission.slug, "done": done, "total": total},
        f"Hello, {call.mission.title}: {done} of {total} done.",
    )
