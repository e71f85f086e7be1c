"""Which issue a work package is: the one that it is linked with, the one that is marked as its own, or a new one.

Before a new one is asked for, the intent is on disk. One that is found open is looked up, by its key among the marks, before anything is
sent again; so an answer that was lost costs a look and makes no second issue.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property, partial

from attrs import evolve, field, frozen

from kitty_host.api import Finding
from kitty_host.inert import inert
from kitty_host.packages import Package
from kitty_host.report import note
from kitty_sync.tracker import mark
from kitty_sync.tracker.asking import Asking, key_of
from kitty_sync.tracker.connectors import Gone, Issue, Tracker
from kitty_sync.tracker.failure import TrackerSyncFailed
from kitty_sync.tracker.links import Intent, Link, Links, now
from kitty_sync.tracker.merge import FIELDS, Base, Value
from kitty_sync.tracker.outcome import Left, Outcome


@frozen(slots=False)
class Matching:
    """The work packages of one mission, and the issues of one workspace."""

    asking: Asking
    project: str
    """Its UUID."""
    mission_id: str
    may_create: bool
    outcome: Outcome = field(repr=False)

    @property
    def tracker(self) -> Tracker:
        """Whose issues these are."""
        return self.asking.tracker

    @property
    def links(self) -> Links:
        """What is known of both."""
        return self.asking.links

    def issue_of(self, package: Package, here: Mapping[str, Value]) -> tuple[Link, Issue]:
        """The link and the issue as it is now. Errors: `Left`, `TRACKER_SYNC_FAILED`."""
        return self._known(package) or self._found(package) or self._created(package, here)

    def owner(self, package: Package) -> mark.Owner:
        """How a work package is called in marks."""
        return mark.Owner(self.project, self.mission_id, package.wp_id)

    def key_in(self, package: Package, issue: Issue) -> str:
        """The key of the mark that the issue has already; empty where it has none of this work package's."""
        owner = self.owner(package)
        return next((found.key for found in mark.marks_in(issue.body) if found.owner == owner), "")

    def seen(self, package: Package, issue: Issue) -> dict[str, Value]:
        """The fields of an issue, as they can be compared."""
        return {
            "title": mark.line(issue.title),
            "body": mark.text_of(issue.body, self.owner(package)),
            "labels": mark.lines(issue.labels),
            "assignees": mark.lines(issue.assignees),
            "status": self.tracker.shown(issue.status),
        }

    def save(self, link: Link) -> None:
        """Keep a link, if it is another than before or answers an intent."""
        if link != self.links.links().get(link.wp_id) or link.wp_id in self.links.intents():
            self.links.save(link)

    def gone(self, link: Link) -> Left:
        """The tracker has not got this issue any more."""
        self.save(evolve(link, gone=True))
        again = f"make another: kitty tracker push --wp {link.wp_id} --recreate"
        self.outcome.find(
            Finding("TRACKER_ISSUE_GONE", f"{link.wp_id}: {inert(link.name)} is not there any more", again)
        )
        return Left()

    def _known(self, package: Package) -> tuple[Link, Issue] | None:
        link = self.links.links().get(package.wp_id)
        if link is None:
            return None
        try:
            issue = self.asking.ask(package.wp_id, partial(self.tracker.get, link.issue))
        except Gone:
            raise self.gone(link) from None
        return link, issue

    def _found(self, package: Package) -> tuple[Link, Issue] | None:
        """The one issue that is marked as this work package's; where several are, or it is marked as another's too, none."""
        owner = self.owner(package)
        claiming = self._claims.get(owner, [])
        taken = self.links.taken()
        fair = [one for one in claiming if _owners(one) == {owner} and one.id not in taken]
        intent = self.links.intents().get(package.wp_id)
        if intent is not None and intent.kind == "create":
            by_key = [one for one in fair if _has_key(one, intent.key)]
            if len(by_key) == 1:
                text = mark.text_of(str(intent.patch["body"]), owner)
                return self._linked(package, by_key[0], {**intent.patch, "body": text, "status": ""})
        if len(fair) == len(claiming) == 1:
            return self._linked(package, fair[0], {})
        if claiming:
            names = ", ".join(inert(one.name) for one in claiming)
            again = "take the comment that begins with <!-- kitty out of those that are not"
            self.outcome.find(Finding("TRACKER_AMBIGUOUS", f"{package.wp_id} may be each of: {names}", again))
            raise Left
        return None

    def _created(self, package: Package, here: Mapping[str, Value]) -> tuple[Link, Issue]:
        if not self.may_create or here["status"] == "canceled":
            raise Left
        wp_id = package.wp_id
        values = {
            name: here[name]
            for name in FIELDS
            if name != "status" and here[name] and not self.tracker.unsendable(name, here[name])
        }
        key = key_of(*self.owner(package), 0, values)
        sent = {**values, "body": mark.marked(str(here["body"]), mark.Mark(self.owner(package), key))}
        self.links.intend(Intent(wp_id, "create", 0, sent, key, now()))
        asked: list[int] = []

        def create() -> Issue:
            # The one before may have been heard although nobody heard its answer.
            listed = self.asking.every_issue_at_once() if asked else []
            asked.append(1)
            return next((one for one in listed if _has_key(one, key)), None) or self.tracker.create(sent)

        try:
            issue = self.asking.ask(wp_id, create)
        except Gone as gone:
            self.links.withdraw(wp_id)
            raise self.asking.failed(wp_id, str(gone), 404) from gone
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
        there = self.seen(package, issue)
        base = {name: Base(value, there[name]) for name, value in sent.items()}
        link = Link(package.wp_id, issue.id, issue.name, issue.url).agreed(base)
        self.save(link)
        if not made:
            self.outcome.linked.append({"wp": package.wp_id, "issue": issue.name, "url": issue.url})
        return link, issue

    @cached_property
    def _claims(self) -> dict[mark.Owner, list[Issue]]:
        """Every issue of the workspace that is marked, by whom it is marked as belonging to."""
        try:
            # By id: while pages are read, an issue may move from one to the next.
            found = {one.id: one for one in self.asking.every_issue()}
        except Gone as gone:
            raise self.asking.failed("", str(gone), 404) from gone
        claims: dict[mark.Owner, list[Issue]] = {}
        for issue in found.values():
            for owner in _owners(issue):
                claims.setdefault(owner, []).append(issue)
        return claims


def _owners(issue: Issue) -> set[mark.Owner]:
    return {found.owner for found in mark.marks_in(issue.body)}


def _has_key(issue: Issue, key: str) -> bool:
    return any(found.key == key for found in mark.marks_in(issue.body))
