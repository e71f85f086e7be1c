"""The manifest of kitty-tell."""

from kitty_host.api import hookimpl


@hookimpl
def kitty_emitted(event, mission):
    if event.get("to_lane") in ("blocked", "done") or event.get("review_result") == "rejected":
        from kitty_tell.tell import tell

        tell(f"{mission.title}: {event['wp_id']} is {event['to_lane'].replace('_', ' ')}")
