"""`kitty doctor`: what is wrong with this repository and with the plugins."""

from __future__ import annotations

from collections.abc import Iterator

from kitty_host.api import Finding, KittyError
from kitty_host.builtin.plugin_health import unfilled
from kitty_host.command import Invocation, command
from kitty_host.inert import inert
from kitty_host.mission import mission_directories, read_mission
from kitty_host.repo import Repo
from kitty_host.state import State

OLDEST_GIT = (2, 38)


@command("doctor")
def doctor(call: Invocation) -> None:
    """Say what is wrong here, and how to mend it."""
    answers = [answer for _, answer in call.plugins.each("kitty_doctor", of=Finding, repo=call.repo)]
    findings = [
        Finding("PLUGIN_FAULT", f"{fault.distribution}: {fault.message}", "run: kitty plugins doctor", "warn")
        for fault in call.plugins.faults
    ]
    findings += [finding for answer in answers if isinstance(answer, list) for finding in answer]
    ok = not findings
    findings += unfilled()  # which is nobody's fault
    lines = [
        f"{finding.severity:5}  {finding.code}: {_placed(finding)}{finding.message}\n       {finding.hint}"
        for finding in findings
    ]
    lines += ["Everything looks healthy."] if ok else []
    call.show(
        {"schema": "kitty.doctor/1", "ok": ok, "findings": [finding._asdict() for finding in findings]},
        "\n".join(lines),
    )


def _placed(finding: Finding) -> str:
    """Which file it is about, where the message does not name it."""
    place = inert(finding.path)
    return f"{place}: " if place and place not in finding.message else ""


def look(repo: Repo) -> Iterator[Finding]:
    """The host's own findings."""
    if repo.git.version < OLDEST_GIT:
        yield Finding(
            "GIT_TOO_OLD",
            f"Git {'.'.join(map(str, repo.git.version))} builds no merges aside",
            "install Git 2.38 or later",
            "warn",
        )
    for directory in mission_directories(repo):
        place = repo.relative(directory)
        try:
            mission = read_mission(repo, directory)
            place = repo.relative(mission.ledger.live)
            if repo.git.succeeds("check-ignore", "--quiet", "--no-index", place):
                yield Finding(
                    "LEDGER_IGNORED",
                    f"{place} is ignored by Git",
                    "take the rule out: a branch switch loses rows otherwise",
                    "warn",
                    place,
                )
            yield from mission.package_findings
            yield from (finding._replace(path=place) for finding in mission.ledger.findings())
            State.load(mission)
        except KittyError as error:
            yield Finding(error.code, error.message, error.hint, "block", place)
