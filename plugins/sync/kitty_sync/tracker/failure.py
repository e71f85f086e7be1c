"""`TrackerSyncFailed`: a tracker that failed for ever, with everything that was tried."""

from __future__ import annotations

from collections.abc import Sequence

from kitty_host.api import KittyError
from kitty_host.inert import inert
from kitty_host.report import counted
from kitty_sync.retry import Attempt

_EXCERPT = 2048


class TrackerSyncFailed(KittyError):
    """`TRACKER_SYNC_FAILED`. `details`: provider, workspace, wp, status, body, history."""

    def __init__(
        self,
        provider: str,
        workspace: str,
        wp_id: str,
        reason: str,
        *,
        status: int | None = None,
        body: bytes = b"",
        history: Sequence[Attempt] = (),
        transient: bool = False,
    ) -> None:
        self.wp_id = wp_id
        self.status = status
        self.reason = inert(reason, prose=True)
        self.body = inert(body[: 2 * _EXCERPT].decode(errors="replace"), limit=_EXCERPT, prose=True)
        self.history = tuple(history)
        self.transient = transient
        """Whether it may be otherwise in a while; then the tracker may have done what was asked, and only its answer is missing."""
        what = wp_id or "the list of issues"
        super().__init__(
            "TRACKER_SYNC_FAILED",
            f"{provider} failed at {what}: {self.reason}, after {counted(len(history), 'request')}",
            "nothing is lost; run it again later: kitty tracker sync"
            if transient
            else "see what the tracker says: kitty tracker status; mend that and run: kitty tracker sync",
            provider=provider,
            workspace=workspace,
            wp=wp_id,
            status=status,
            body=self.body,
            history=[one._asdict() for one in history],
        )

    @property
    def concerns_all(self) -> bool:
        """Whether the next work package would fare the same."""
        return self.transient or not self.wp_id or self.status in (401, 403, 404)
