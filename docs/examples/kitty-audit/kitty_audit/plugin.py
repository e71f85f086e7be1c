"""The manifest of kitty-audit."""

from kitty_host.api import hookimpl


@hookimpl
def kitty_mission_types():
    from pathlib import Path

    return [Path(__file__).with_name("audit.yaml")]


@hookimpl
def kitty_gates(candidate):
    if candidate.mission.type == "audit":
        from kitty_audit.gate import no_finding_is_open

        yield no_finding_is_open(candidate)
