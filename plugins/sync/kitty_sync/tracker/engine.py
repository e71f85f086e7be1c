"""The exchange between one mission and a tracker: what differs from the base has changed, and goes where the policies say.

Before anything is asked that changes the tracker, the intent is on disk. One that is found open is looked up, by its key among the marks,
before anything is sent again; so an answer that was lost costs a look and makes no second issue.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from datetime import UTC
from functools import cached_property, partial
from typing import Any, Literal, TypeVar

from attrs import Factory, define, evolve, field

from kitty_host.api import Finding, KittyError
from kitty_host.inert import inert
from kitty_host.packages import Package
from kitty_host.report import note
from kitty_host.state import State
from kitty_sync.retry import Attempt, GaveUp, Policy
from kitty_sync.tracker import local, mark, merge
from kitty_sync.tracker.connectors import Gone, Issue, Refused, Tracker
from kitty_sync.tracker.failure import TrackerSyncFailed
from kitty_sync.tracker.links import Failure, Intent, Link, Links, now
from kitty_sync.tracker.merge import FIELDS, Base, Move, Value, Verdict

Result = TypeVar("Result")
Direction = Literal["pull", "push", "sync"]


class _Left(Exception):
    """A work package is left as it is; why has been told."""


@define
class Outcome:
    """What an exchange did, and what it leaves to people."""

    created: list[dict[str, Any]] = field(factory=list)
    linked: list[dict[str, Any]] = field(factory=list)
    pushed: list[dict[str, Any]] = field(factory=list)
    pulled: list[dict[str, Any]] = field(factory=list)
    conflicts: list[dict[str, Any]] = field(factory=list)
    overruled: list[dict[str, Any]] = field(factory=list)
    """What counts no longer, whole: for who wants it back."""
    findings: list[Finding] = field(factory=list)


@define
class Exchange:
    """One pass over the work packages of a mission."""

    tracker: Tracker
    links: Links
    state: State
    project: str
    """Its UUID."""
    policies: Mapping[str, merge.Policy]
    retry: Policy
    direction: Direction
    taken: Mapping[str, merge.Policy] = field(factory=dict)
    """Who counts for a field this once."""
    outcome: Outcome = Factory(Outcome)
    refused: list[TrackerSyncFailed] = field(factory=list)

    def run(self, packages: tuple[Package, ...]) -> Outcome:
        """Exchange what these work packages are. Errors: `TRACKER_SYNC_FAILED`, when every other one had its turn."""
        for package in packages:
            try:
                self._exchange(package)
            except _Left:
                continue
            except TrackerSyncFailed as failure:
                if failure.concerns_all:
                    raise
                self.refused.append(failure)
            except KittyError as error:
                if error.code != "TRACKER_FILE":
                    raise
                self._find(Finding("TRACKER_FILE", error.message, error.hint))
        if self.refused:
            self.refused[0].details["refused"] = [failure.wp_id for failure in self.refused]
            raise self.refused[0]
        return self.outcome

    # One work package

    def _exchange(self, package: Package) -> None:
        here = local.read(self.state.mission, package, self.state.lane(package.wp_id))
        link, issue = self._known(package) or self._found(package) or self._created(package, here)
        there = self._seen(package, issue)
        here["status"] = self.tracker.shown(str(here["status"]))
        verdicts = {name: self._judged(package, link, name, here, there, issue) for name in FIELDS}
        self._tell(package, issue, verdicts, here, there)
        moves = {name: verdict.move for name, verdict in verdicts.items()}
        agreed = {name: Base(here[name], there[name]) for name, move in moves.items() if move is Move.AGREED}
        link = evolve(link.agreed(agreed), name=issue.name, url=issue.url, seen=there, gone=False)
        if self.direction != "push":
            link = self._pull(package, link, [name for name, move in moves.items() if move is Move.TO_LOCAL], there)
        if self.direction != "pull":
            patch = {name: here[name] for name, move in moves.items() if move is Move.TO_REMOTE}
            link = self._push(package, link, issue, patch)
        self._save(link)

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
        patch = {name: value for name, value in wanted.items() if self._can(package, link, name, value)}
        sent: dict[str, Value] = dict(patch)
        if "body" in patch or not self._key_of(package, issue):
            key = self._key_of(package, issue) or _key(link.issue, link.revision, patch)
            text = str(patch["body"]) if "body" in patch else issue.body.strip()
            sent["body"] = mark.marked(text, mark.Mark(self._owner(package), key))
        if not sent:
            return link
        key = _key(link.issue, link.revision, sent)
        # What was agreed, and what was written into the file, holds whatever becomes of the request.
        self._save(link)
        self.links.intend(Intent(package.wp_id, "update", link.revision, sent, key, now()))
        try:
            answer = self._ask(package.wp_id, partial(self.tracker.update, link.issue, sent, key))
        except Gone:
            raise self._left_gone(link) from None
        seen = self._seen(package, answer)
        self.outcome.pushed.append({"wp": package.wp_id, "issue": issue.name, "fields": sorted(sent)})
        for name in [name for name in patch if seen[name] != patch[name]]:
            self._find(
                Finding("TRACKER_NOT_TAKEN", f"{_called(package, issue)}: the tracker made something else of {name}")
            )
        base = {name: Base(value, seen[name]) for name, value in patch.items()}
        return evolve(link.agreed(base), seen=seen)

    def _can(self, package: Package, link: Link, name: str, value: Value) -> bool:
        reason = self.tracker.unsendable(name, value)
        if reason:
            self._find(
                Finding("TRACKER_NOT_SENT", f"{package.wp_id} and {inert(link.name)}: {name} stays as it is: {reason}")
            )
        return not reason

    # Which issue it is

    def _known(self, package: Package) -> tuple[Link, Issue] | None:
        """The issue that the work package is linked with, as it is now."""
        link = self.links.links().get(package.wp_id)
        if link is None:
            return None
        try:
            issue = self._ask(package.wp_id, partial(self.tracker.get, link.issue))
        except Gone:
            raise self._left_gone(link) from None
        return link, issue

    def _left_gone(self, link: Link) -> _Left:
        self._save(evolve(link, gone=True))
        again = f"make another: kitty tracker push --wp {link.wp_id} --recreate"
        self._find(Finding("TRACKER_ISSUE_GONE", f"{link.wp_id}: {inert(link.name)} is not there any more", again))
        return _Left()

    def _found(self, package: Package) -> tuple[Link, Issue] | None:
        """The one issue that is marked as this work package's; where several are, or it is marked as another's too, none."""
        owner = self._owner(package)
        claiming = self._claims.get(owner, [])
        taken = self.links.taken()
        fair = [one for one in claiming if _owners(one) == {owner} and one.id not in taken]
        intent = self.links.intents().get(package.wp_id)
        if intent is not None and intent.kind == "create":
            by_key = [one for one in fair if any(found.key == intent.key for found in mark.marks_in(one.body))]
            if len(by_key) == 1:
                text = mark.text_of(str(intent.patch["body"]), owner)
                return self._linked(package, by_key[0], {**intent.patch, "body": text, "status": ""})
        if len(fair) == len(claiming) == 1:
            return self._linked(package, fair[0], {})
        if claiming:
            names = ", ".join(inert(one.name) for one in claiming)
            self._find(
                Finding(
                    "TRACKER_AMBIGUOUS",
                    f"{package.wp_id} may be each of: {names}",
                    "take the comment that begins with <!-- kitty out of those that are not",
                )
            )
            raise _Left
        return None

    def _created(self, package: Package, here: Mapping[str, Value]) -> tuple[Link, Issue]:
        if self.direction == "pull" or here["status"] == "canceled":
            raise _Left
        wp_id = package.wp_id
        values = {
            name: here[name]
            for name in FIELDS
            if name != "status" and here[name] and not self.tracker.unsendable(name, here[name])
        }
        key = _key(*self._owner(package), 0, values)
        sent = {**values, "body": mark.marked(str(here["body"]), mark.Mark(self._owner(package), key))}
        self.links.intend(Intent(wp_id, "create", 0, sent, key, now()))
        asked: list[int] = []

        def create() -> Issue:
            # The one before may have been heard although nobody heard its answer.
            found = self._by_key(key) if asked else None
            asked.append(1)
            return found or self.tracker.create(sent)

        try:
            issue = self._ask(wp_id, create)
        except Gone as gone:
            self.links.withdraw(wp_id)
            raise self._failed(wp_id, str(gone), 404, b"", ()) from gone
        except TrackerSyncFailed as failure:
            if not failure.transient:
                self.links.withdraw(wp_id)
            raise
        note(f"{wp_id}: {issue.name} made")
        self.outcome.created.append({"wp": wp_id, "issue": issue.name, "url": issue.url})
        return self._linked(package, issue, {**values, "status": ""}, made=True)

    def _linked(
        self, package: Package, issue: Issue, sent: Mapping[str, Value], *, made: bool = False
    ) -> tuple[Link, Issue]:
        there = self._seen(package, issue)
        base = {name: Base(value, there[name]) for name, value in sent.items()}
        link = Link(package.wp_id, issue.id, issue.name, issue.url).agreed(base)
        self._save(link)
        if not made:
            self.outcome.linked.append({"wp": package.wp_id, "issue": issue.name, "url": issue.url})
        return link, issue

    @cached_property
    def _claims(self) -> dict[mark.Owner, list[Issue]]:
        """Every issue of the workspace that is marked, by whom it is marked as belonging to."""
        try:
            # By id: while pages are read, an issue may move from one to the next.
            found = {one.id: one for one in self._listed(lambda page: self._ask("", page))}
        except Gone as gone:
            raise self._failed("", str(gone), 404, b"", ()) from gone
        claims: dict[mark.Owner, list[Issue]] = {}
        for issue in found.values():
            for owner in _owners(issue):
                claims.setdefault(owner, []).append(issue)
        return claims

    def _by_key(self, key: str) -> Issue | None:
        """The issue that a request with this key made, if it did."""
        listed = self._listed(lambda page: page())
        return next((one for one in listed if any(found.key == key for found in mark.marks_in(one.body))), None)

    def _listed(
        self, ask: Callable[[Callable[[], tuple[list[Issue], str | None]]], tuple[list[Issue], str | None]]
    ) -> list[Issue]:
        found: list[Issue] = []
        cursor: str | None = None
        while True:
            some, cursor = ask(partial(self.tracker.page, cursor))
            found += some
            if cursor is None:
                return found
            note(f"{len(found)} issues of {self.tracker.workspace} read")

    # What is asked, and what comes of it

    def _ask(self, wp_id: str, function: Callable[[], Result]) -> Result:
        """Ask as often as the policy allows. Errors: `Gone`, `TRACKER_SYNC_FAILED`."""

        tried: list[Attempt] = []

        def told(attempt: Attempt) -> None:
            tried.append(attempt)
            note(f"{wp_id or self.tracker.workspace}: {attempt.reason}; asked again in {attempt.waited:.0f} s")

        try:
            return self.retry.call(function, told=told)
        except GaveUp as gave_up:
            last = gave_up.last
            failure = self._failed(wp_id, last.reason, last.status, last.body, gave_up.history, transient=True)
            raise failure from gave_up
        except Refused as refusal:
            tried.append(Attempt(now(), refusal.status, refusal.reason, 0.0))
            raise self._failed(wp_id, refusal.reason, refusal.status, refusal.body, tuple(tried)) from refusal

    def _failed(
        self,
        wp_id: str,
        reason: str,
        status: int | None,
        body: bytes,
        history: tuple[Attempt, ...],
        *,
        transient: bool = False,
    ) -> TrackerSyncFailed:
        history = history or (Attempt(now(), status, reason, 0.0),)
        provider, workspace = self.tracker.provider, self.tracker.workspace
        failure = TrackerSyncFailed(
            provider, workspace, wp_id, reason, status=status, body=body, history=history, transient=transient
        )
        self.links.failed(Failure(wp_id, now(), status, failure.reason, failure.body, history))
        return failure

    def _tell(
        self,
        package: Package,
        issue: Issue,
        verdicts: Mapping[str, Verdict],
        here: Mapping[str, Value],
        there: Mapping[str, Value],
    ) -> None:
        for name, verdict in verdicts.items():
            told = {"wp": package.wp_id, "field": name, "local": _inert(here[name]), "remote": _inert(there[name])}
            if verdict.move is Move.ASK:
                self.outcome.conflicts.append(told)
            elif verdict.overrules and name == "status":
                self._find(
                    Finding(
                        "TRACKER_STATUS",
                        f"{_called(package, issue)}: {told['remote']} there, {told['local']} here; a lane is not moved from outside",
                        f"move it as a person does, if it is so: kitty move {package.wp_id} --help",
                    )
                )
            elif verdict.overrules:
                here_counts = verdict.move is Move.TO_REMOTE
                lost = told["remote" if here_counts else "local"]
                side = "project's" if here_counts else "tracker's"
                value = (there if here_counts else here)[name]
                self.outcome.overruled.append({"wp": package.wp_id, "field": name, "value": value})
                self._find(
                    Finding(
                        "TRACKER_OVERRULED",
                        f"{_called(package, issue)}: the {side} {name} counts; the other was: {lost}",
                    )
                )

    def _find(self, finding: Finding) -> None:
        self.outcome.findings.append(finding._replace(severity="warn"))

    # Small things

    def _save(self, link: Link) -> None:
        if link != self.links.links().get(link.wp_id) or link.wp_id in self.links.intents():
            self.links.save(link)

    def _owner(self, package: Package) -> mark.Owner:
        return mark.Owner(self.project, self.state.mission.mission_id, package.wp_id)

    def _key_of(self, package: Package, issue: Issue) -> str:
        """The key of the mark that the issue has already."""
        owner = self._owner(package)
        return next((found.key for found in mark.marks_in(issue.body) if found.owner == owner), "")

    def _seen(self, package: Package, issue: Issue) -> dict[str, Value]:
        return {
            "title": mark.line(issue.title),
            "body": mark.text_of(issue.body, self._owner(package)),
            "labels": mark.lines(issue.labels),
            "assignees": mark.lines(issue.assignees),
            "status": self.tracker.shown(issue.status),
        }


def _owners(issue: Issue) -> set[mark.Owner]:
    return {found.owner for found in mark.marks_in(issue.body)}


def _called(package: Package, issue: Issue) -> str:
    return f"{package.wp_id} and {inert(issue.name.removeprefix('#'))}"


def _inert(value: Value) -> str:
    return inert(value if isinstance(value, str) else ", ".join(value), prose=True)


def _key(*parts: object) -> str:
    """What a request is known by: 32 hexadecimal digits of a hash over what it is about, its base and its content."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]
