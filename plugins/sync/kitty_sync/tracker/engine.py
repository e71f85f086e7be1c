"""The exchange between one mission and a tracker: what differs from the base has changed, and goes where the policies say.

Before anything is asked that changes the tracker, the intent is on disk. Which issue a work package is, is the business of `matching`.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC
from functools import partial
from typing import Literal

from attrs import define, evolve, field

from kitty_host.api import Finding, KittyError
from kitty_host.inert import inert
from kitty_host.packages import Package
from kitty_host.state import State
from kitty_sync.tracker import local, mark, merge
from kitty_sync.tracker.asking import key_of
from kitty_sync.tracker.connectors import Gone, Issue
from kitty_sync.tracker.failure import TrackerSyncFailed
from kitty_sync.tracker.links import Intent, Link, now
from kitty_sync.tracker.matching import Matching
from kitty_sync.tracker.merge import FIELDS, Base, Move, Value, Verdict
from kitty_sync.tracker.outcome import Left, Outcome, called

Direction = Literal["pull", "push", "sync"]


@define
class Exchange:
    """One pass over the work packages of a mission."""

    matching: Matching
    state: State
    policies: Mapping[str, merge.Policy]
    direction: Direction
    taken: Mapping[str, merge.Policy] = field(factory=dict)
    """Who counts for a field this once."""
    refused: list[TrackerSyncFailed] = field(factory=list)

    @property
    def outcome(self) -> Outcome:
        """What was done so far."""
        return self.matching.outcome

    def run(self, packages: tuple[Package, ...]) -> Outcome:
        """Exchange what these work packages are. Errors: `TRACKER_SYNC_FAILED`, when every other one had its turn."""
        for package in packages:
            try:
                self._exchange(package)
            except Left:
                continue
            except TrackerSyncFailed as failure:
                if failure.concerns_all:
                    raise
                self.refused.append(failure)
            except KittyError as error:
                if error.code != "TRACKER_FILE":
                    raise
                self.outcome.find(Finding("TRACKER_FILE", error.message, error.hint))
        if self.refused:
            self.refused[0].details["refused"] = [failure.wp_id for failure in self.refused]
            raise self.refused[0]
        return self.outcome

    def _exchange(self, package: Package) -> None:
        here = local.read(self.state.mission, package, self.state.lane(package.wp_id))
        link, issue = self.matching.issue_of(package, here)
        there = self.matching.seen(package, issue)
        here["status"] = self.matching.tracker.shown(str(here["status"]))
        verdicts = {name: self._judged(package, link, name, here, there, issue) for name in FIELDS}
        self.outcome.judged(package, issue, verdicts, here, there)
        moves = {name: verdict.move for name, verdict in verdicts.items()}
        agreed = {name: Base(here[name], there[name]) for name, move in moves.items() if move is Move.AGREED}
        link = evolve(link.agreed(agreed), name=issue.name, url=issue.url, seen=there, gone=False)
        if self.direction != "push":
            link = self._pull(package, link, [name for name, move in moves.items() if move is Move.TO_LOCAL], there)
        if self.direction != "pull":
            patch = {name: here[name] for name, move in moves.items() if move is Move.TO_REMOTE}
            link = self._push(package, link, issue, patch)
        self.matching.save(link)

    def _judged(
        self,
        package: Package,
        link: Link,
        name: str,
        here: Mapping[str, Value],
        there: Mapping[str, Value],
        issue: Issue,
    ) -> Verdict:
        # What a side never had, it has not taken away: labels of a first meeting are added and not asked about.
        base = link.base.get(name) or (Base((), ()) if name in merge.SETS else None)
        policy: merge.Policy = "local" if name == "status" else self.taken.get(name, self.policies[name])
        newer = True
        if policy == "newer" and here[name] != there[name] and issue.updated_at is not None:
            moment = issue.updated_at if issue.updated_at.tzinfo else issue.updated_at.replace(tzinfo=UTC)
            newer = local.changed_at(self.state.mission, package) >= moment
        return merge.judge(base, here[name], there[name], policy, local_is_newer=newer)

    def _pull(self, package: Package, link: Link, names: list[str], there: Mapping[str, Value]) -> Link:
        if not names:
            return link
        mission = self.state.mission
        local.write(mission, package, {name: there[name] for name in names})
        written = local.read(mission, package, self.state.lane(package.wp_id))
        path = mission.repo.relative(mission.directory / package.path)
        self.outcome.pulled.append({"wp": package.wp_id, "fields": names, "path": path})
        return link.agreed({name: Base(written[name], there[name]) for name in names})

    def _push(self, package: Package, link: Link, issue: Issue, wanted: Mapping[str, Value]) -> Link:
        matching = self.matching
        patch = {name: value for name, value in wanted.items() if self._can(package, link, name, value)}
        sent: dict[str, Value] = dict(patch)
        if "body" in patch or not matching.key_in(package, issue):
            key = matching.key_in(package, issue) or key_of(link.issue, link.revision, patch)
            text = str(patch["body"]) if "body" in patch else issue.body.strip()
            sent["body"] = mark.marked(text, mark.Mark(matching.owner(package), key))
        if not sent:
            return link
        key = key_of(link.issue, link.revision, sent)
        # What was agreed, and what was written into the file, holds whatever becomes of the request.
        matching.save(link)
        matching.links.intend(Intent(package.wp_id, "update", link.revision, sent, key, now()))
        try:
            answer = matching.asking.ask(package.wp_id, partial(matching.tracker.update, link.issue, sent, key))
        except Gone:
            raise matching.gone(link) from None
        seen = matching.seen(package, answer)
        self.outcome.pushed.append({"wp": package.wp_id, "issue": issue.name, "fields": sorted(sent)})
        for name in [name for name in patch if seen[name] != patch[name]]:
            what = f"{called(package, issue)}: the tracker made something else of {name}"
            self.outcome.find(Finding("TRACKER_NOT_TAKEN", what))
        base = {name: Base(value, seen[name]) for name, value in patch.items()}
        return evolve(link.agreed(base), seen=seen)

    def _can(self, package: Package, link: Link, name: str, value: Value) -> bool:
        reason = self.matching.tracker.unsendable(name, value)
        if reason:
            what = f"{package.wp_id} and {inert(link.name)}: {name} stays as it is: {reason}"
            self.outcome.find(Finding("TRACKER_NOT_SENT", what))
        return not reason
