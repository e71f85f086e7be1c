"""What an exchange did and what it leaves to people, in the words in which they are told."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import define, field

from kitty_host.api import Finding
from kitty_host.inert import inert
from kitty_host.packages import Package
from kitty_sync.tracker.connectors import Issue
from kitty_sync.tracker.merge import Move, Value, Verdict


class Left(Exception):
    """A work package is left as it is; why has been told."""


@define
class Outcome:
    """What became of the work packages; foreign text in findings is inert."""

    created: list[dict[str, Any]] = field(factory=list)
    linked: list[dict[str, Any]] = field(factory=list)
    pushed: list[dict[str, Any]] = field(factory=list)
    pulled: list[dict[str, Any]] = field(factory=list)
    conflicts: list[dict[str, Any]] = field(factory=list)
    overruled: list[dict[str, Any]] = field(factory=list)
    """What counts no longer, whole: for who wants it back."""
    findings: list[Finding] = field(factory=list)

    def find(self, finding: Finding) -> None:
        """Something that somebody may want to look at."""
        self.findings.append(finding._replace(severity="warn"))

    def judged(
        self,
        package: Package,
        issue: Issue,
        verdicts: Mapping[str, Verdict],
        here: Mapping[str, Value],
        there: Mapping[str, Value],
    ) -> None:
        """What both sides changed, and what one of them lost by it."""
        for name, verdict in verdicts.items():
            told = {"wp": package.wp_id, "field": name, "local": _inert(here[name]), "remote": _inert(there[name])}
            if verdict.move is Move.ASK:
                self.conflicts.append(told)
            elif verdict.overrules and name == "status":
                what = f"{called(package, issue)}: {told['remote']} there, {told['local']} here"
                again = f"move it as a person does, if it is so: kitty move {package.wp_id} --help"
                self.find(Finding("TRACKER_STATUS", f"{what}; a lane is not moved from outside", again))
            elif verdict.overrules:
                here_counts = verdict.move is Move.TO_REMOTE
                lost = told["remote" if here_counts else "local"]
                side = "project's" if here_counts else "tracker's"
                value = (there if here_counts else here)[name]
                self.overruled.append({"wp": package.wp_id, "field": name, "value": value})
                what = f"{called(package, issue)}: the {side} {name} counts; the other was: {lost}"
                self.find(Finding("TRACKER_OVERRULED", what))


def called(package: Package, issue: Issue) -> str:
    """Both, as people know them."""
    return f"{package.wp_id} and {inert(issue.name.removeprefix('#'))}"


def _inert(value: Value) -> str:
    return inert(value if isinstance(value, str) else ", ".join(value), prose=True)
