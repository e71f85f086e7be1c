"""The two trackers that there is a way to: GitHub over the authenticated transport, and Beads by its command.

What the connectors of `spec_kitty_tracker` ask and understand is theirs. Each call here asks once, and says what became of it: an issue,
`Again` where it may pass, `Gone`, `Refused`. Nothing in a connector waits, since what it calls does not; so none needs an event loop.
"""

from __future__ import annotations

import os
import re
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from attrs import frozen

from kitty_host.api import KittyError
from kitty_sync.retry import TRANSIENT, Again, retry_after
from kitty_sync.tracker.merge import Value

if TYPE_CHECKING:
    from spec_kitty_tracker import BeadsConnector, CanonicalIssue, ExternalRef, GitHubConnector

    from kitty_host.records import Answer, Transport

Result = TypeVar("Result")

API = "https://api.github.com"
ADDRESS = "GITHUB_API_URL"
"""The variable that names another one; nothing in a repository does."""
_PAGE = 100
_ALL = 1_000_000
_GITHUB_WORKSPACE = re.compile(r"(?!\.)[\w.-]+/(?!\.\.?\Z)[\w.-]+", re.ASCII)
_BUSY = re.compile(r"locked|busy|timed? ?out|connection|temporar", re.IGNORECASE)
_NOT_THERE = re.compile(r"not found|no such issue|no issues? found", re.IGNORECASE)
_EXCERPT = 8192

SHOWN: Mapping[str, Callable[[str], str]] = {
    "github": lambda status: "done" if status in ("done", "canceled") else "todo",
    "beads": lambda status: {"in_review": "in_progress", "canceled": "done"}.get(status, status),
}
"""What is left of a status in each tracker, which have fewer of them than there are."""


class Gone(Exception):
    """The tracker does not have what was asked for."""


class Refused(Exception):
    """The tracker will not do it, however often it is asked; or what it answered makes no sense."""

    def __init__(self, reason: str, status: int | None = None, body: bytes = b"") -> None:
        super().__init__(reason)
        self.reason = reason
        self.status = status
        self.body = body


@frozen
class Issue:
    """An issue as the tracker has it."""

    id: str
    name: str
    url: str
    title: str
    body: str
    """With its mark."""
    labels: tuple[str, ...]
    assignees: tuple[str, ...]
    status: str
    """A value of `CanonicalStatus`."""
    updated_at: datetime | None


class Tracker(ABC):
    """One workspace of a tracker."""

    provider: str
    connector: GitHubConnector | BeadsConnector

    def __init__(self, workspace: str) -> None:
        self.workspace = workspace

    def shown(self, status: str) -> str:
        """A status as this tracker can show it."""
        return SHOWN[self.provider](status)

    def unsendable(self, field: str, value: Value) -> str:
        """Why a field cannot be given this value; empty where it can."""
        return ""

    @abstractmethod
    def _asking(self) -> AbstractContextManager[None]:
        """Turns what goes wrong inside into `Again`, `Gone` or `Refused`."""

    def page(self, cursor: str | None) -> tuple[list[Issue], str | None]:
        """Some of all issues, closed ones too, and where the next ones begin; None where there are none."""
        limit = _PAGE if self.provider == "github" else _ALL
        with self._asking():
            listed = self.connector.list_issues(updated_since=None, cursor=cursor, limit=limit, filters=None)
            found = finished(listed)
            return [_issue(one) for one in found.items], found.next_cursor

    def get(self, issue_id: str) -> Issue:
        """One issue."""
        with self._asking():
            return _issue(finished(self.connector.get_issue(self._ref(issue_id))))

    def create(self, values: Mapping[str, Value]) -> Issue:
        """Make an issue of a title and what else is given."""
        from spec_kitty_tracker import CanonicalIssue, CanonicalIssueType, CanonicalStatus

        issue = CanonicalIssue(
            ref=self._ref("new"),
            title=str(values["title"]),
            body=str(values.get("body", "")),
            status=CanonicalStatus.TODO,
            issue_type=CanonicalIssueType.TASK,
            labels=[*values.get("labels", ())],
            assignees=[*values.get("assignees", ())],
        )
        with self._asking():
            return _issue(finished(self.connector.create_issue(issue)))

    def update(self, issue_id: str, patch: Mapping[str, Value], key: str) -> Issue:
        """Change some fields and leave the others."""
        plain = {name: list(value) if isinstance(value, tuple) else value for name, value in patch.items()}
        with self._asking():
            return _issue(finished(self.connector.update_issue(self._ref(issue_id), plain, idempotency_key=key)))

    def _ref(self, issue_id: str) -> ExternalRef:
        from spec_kitty_tracker import ExternalRef

        return ExternalRef(system=self.provider, workspace=self.workspace, id=issue_id)


class GitHub(Tracker):
    """The issues of a repository, over a transport."""

    provider = "github"

    def __init__(self, workspace: str, transport: Transport, issuer: str, address: str) -> None:
        super().__init__(workspace)
        from spec_kitty_tracker import GitHubConnector, GitHubConnectorConfig

        from kitty_sync.transport import async_client

        owner, _, name = workspace.partition("/")
        self._watched = _Watched(transport)
        # It insists on a token; the one that counts is the transport's.
        config = GitHubConnectorConfig(owner, name, token="-", base_url=address)
        self.connector = GitHubConnector(config, client=async_client(issuer, self._watched))

    @contextmanager
    def _asking(self) -> Iterator[None]:
        self._watched.last = None
        try:
            yield
        except KittyError as error:
            if error.code != "SERVER_UNREACHABLE":
                raise
            raise Again(error.message) from error
        except Exception as error:
            # Which exceptions a connector makes of an answer is its own business, and changes; the answer itself does not.
            if self._watched.last is None:
                raise
            raise _judged(self._watched.last) from error


class Beads(Tracker):
    """The issues that the command `bd` keeps in the repository."""

    provider = "beads"

    def __init__(self, workspace: str, root: Path) -> None:
        super().__init__(workspace)
        from spec_kitty_tracker import BeadsConnector, BeadsConnectorConfig

        self.connector = BeadsConnector(BeadsConnectorConfig(workspace=workspace, cwd=str(root)))

    def create(self, values: Mapping[str, Value]) -> Issue:
        # The title is an argument without a name: one that begins with a dash would be an option.
        title = str(values["title"])
        return super().create({**values, "title": f" {title}" if title.startswith("-") else title})

    def unsendable(self, field: str, value: Value) -> str:
        if field == "assignees":
            return "Beads assigns its issues itself"
        if field == "labels" and not value:
            return "the connector of Beads cannot take the last label away"
        if field == "status" and value == "done":
            return "Beads closes its issues itself: bd close"
        return ""

    @contextmanager
    def _asking(self) -> Iterator[None]:
        from spec_kitty_tracker import ConnectorRequestError, IssueNotFoundError, SpecKittyTrackerError

        try:
            yield
        except FileNotFoundError as error:
            raise KittyError("TRACKER_COMMAND", "there is no command bd", "install Beads: its command is bd") from error
        except IssueNotFoundError as error:
            raise Gone(str(error)) from error
        except ConnectorRequestError as error:
            # The whole command comes first, with the body of the issue in it.
            said = str(error).rpartition(" :: ")[2]
            if _NOT_THERE.search(said):
                raise Gone(said) from error
            if _BUSY.search(said) or str(error).startswith("Command timed out"):
                raise Again("bd is busy", body=said.encode()[:_EXCERPT]) from error
            raise Refused("bd failed", body=said.encode()[:_EXCERPT]) from error
        except (SpecKittyTrackerError, OSError, ValueError, LookupError, TypeError, AttributeError) as error:
            raise Refused("what bd says makes no sense", body=str(error).encode()[:_EXCERPT]) from error


def connect(provider: str, workspace: str, root: Path, transport: Callable[[str], Transport]) -> Tracker:
    """A workspace of a tracker; `transport` gives the way to an issuer. Errors: `SERVER_ADDRESS_INVALID`."""
    if provider == "beads":
        return Beads(workspace, root)
    from kitty_sync.auth.login import issuer_of

    address = os.environ.get(ADDRESS, "").strip().rstrip("/") or API
    issuer = issuer_of("/".join(address.split("/")[:3]))
    return GitHub(workspace, transport(issuer), issuer, address)


def require_workspace(provider: str, workspace: str) -> None:
    """Errors: `TRACKER_WORKSPACE`, where a workspace cannot be one of this provider."""
    if provider == "github" and not _GITHUB_WORKSPACE.fullmatch(workspace):
        raise KittyError(
            "TRACKER_WORKSPACE",
            "a workspace of GitHub is OWNER/REPOSITORY",
            "run: kitty tracker bind github --workspace OWNER/REPOSITORY",
        )


def finished(coroutine: Coroutine[Any, Any, Result]) -> Result:
    """What a coroutine returns that waits for nothing."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        result: Result = stop.value
        return result
    coroutine.close()
    raise RuntimeError("a connector waits for something that is not the transport")


class _Watched:
    """A transport, and its last answer: what a connector makes of one loses its headers."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self.last: Answer | None = None

    def request(self, method: str, path: str, *, body: bytes = b"", headers: Mapping[str, str] | None = None) -> Answer:
        self.last = None
        self.last = self._transport.request(method, path, body=body, headers=headers)
        return self.last

    def stream(self, path: str, *, headers: Mapping[str, str] | None = None) -> AbstractContextManager[Iterator[str]]:
        return self._transport.stream(path, headers=headers)


def _judged(answer: Answer) -> Exception:
    """What an answer means that led to no issue."""
    status, now = answer.status, time.time()
    wait = retry_after(answer.headers, now)
    spent = answer.headers.get("x-ratelimit-remaining") == "0"
    if wait is None and spent and answer.headers.get("x-ratelimit-reset", "").isdecimal():
        wait = max(0.0, float(answer.headers["x-ratelimit-reset"][:12]) - now)
    # GitHub says 403 both for "not you" and for "not so fast".
    if status in TRANSIENT or (status == 403 and (wait is not None or spent)):
        return Again(f"HTTP {status}", status=status, retry_after=wait, body=answer.body[:_EXCERPT])
    if status in (404, 410):
        return Gone(f"HTTP {status}")
    if 300 <= status < 400:  # an issue that was transferred
        return Gone(f"HTTP {status}")
    reason = f"HTTP {status}" if status >= 400 else f"HTTP {status}, and what it says makes no sense"
    return Refused(reason, status, answer.body[:_EXCERPT])


def _issue(found: CanonicalIssue) -> Issue:
    return Issue(
        found.ref.id,
        found.ref.key or found.ref.id,
        found.ref.url or "",
        found.title,
        found.body or "",
        tuple(found.labels),
        tuple(found.assignees),
        str(found.status),
        found.updated_at,
    )
