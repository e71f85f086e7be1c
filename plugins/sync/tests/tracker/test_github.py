"""What GitHub says and means: limits, refusals, pages, and what it makes of a value. One real server, and no real waiting."""

from __future__ import annotations

import json
import time
from email.utils import formatdate

import pytest

from kitty_host.api import KittyError
from kitty_host.plugins import Plugins
from kitty_host.repo import Repo
from kitty_host.state import State
from kitty_sync.retry import Policy
from kitty_sync.tracker.asking import Asking
from kitty_sync.tracker.connectors import connect
from kitty_sync.tracker.engine import Exchange
from kitty_sync.tracker.failure import TrackerSyncFailed
from kitty_sync.tracker.links import Links
from kitty_sync.tracker.matching import Matching
from kitty_sync.tracker.outcome import Outcome
from kitty_sync.tracker.settings import Settings

from ..clock import Clock
from .bound import Bound


def exchange(bound: Bound, clock: Clock) -> Exchange:
    """What the command makes, with another clock and waits that are as long as they may be."""
    repo = Repo.find(bound.project.root)
    plugins = Plugins.discover()
    tracker = connect(
        "github", "cats/shop", repo.root, lambda issuer: plugins.required("kitty_transport", issuer=issuer)
    )
    links = Links(repo.state, "github", "cats/shop", bound.mission.mission_id)
    matching = Matching(
        Asking(tracker, links, Policy(clock=clock, chance=lambda low, high: high)),
        "6f1d6c0e-1f2e-4d0c-9a55-3a8f3f1c2b7d",
        bound.mission.mission_id,
        may_create=True,
        outcome=Outcome(),
    )
    return Exchange(matching, State.load(bound.mission), Settings().policies, "push")


def test_failure_for_ever_is_six_requests_and_the_whole_history(on_github: Bound) -> None:
    on_github.world.fail("always 500")
    clock = Clock(time.time())
    made = exchange(on_github, clock)
    with pytest.raises(TrackerSyncFailed) as failed:
        made.run(made.state.packages)
    assert clock.slept == [1, 2, 4, 8, 16]
    assert [one.waited for one in failed.value.history] == [1, 2, 4, 8, 16, 0]
    assert len(on_github.world.calls()) == 6
    assert failed.value.details["status"] == 500
    assert isinstance(failed.value, KittyError)


@pytest.mark.parametrize("status", [429, 403, 503])
def test_what_is_asked_for_in_seconds_is_kept_to(on_github: Bound, status: int) -> None:
    on_github.world.fail(f"{status} 90", f"{status} 60")
    clock = Clock(time.time())
    made = exchange(on_github, clock)
    made.run(made.state.packages)
    assert clock.slept == [90, 60]
    assert len(on_github.world.issues()) == 2


def test_what_is_asked_for_as_a_date_is_kept_to(on_github: Bound) -> None:
    clock = Clock(time.time())
    on_github.world.fail(f"429 {formatdate(clock.now + 120, usegmt=True)}")
    made = exchange(on_github, clock)
    made.run(made.state.packages)
    (slept,) = clock.slept
    assert 60 < slept <= 120
    assert len(on_github.world.issues()) == 2


@pytest.mark.parametrize("after", ["400", formatdate(time.time() + 4000, usegmt=True)], ids=["seconds", "date"])
def test_a_wait_that_ends_too_late_is_not_begun(on_github: Bound, after: str) -> None:
    on_github.world.fail(f"429 {after}")
    answer = on_github.answer("push")
    assert answer.code == "TRACKER_SYNC_FAILED"
    assert len(answer.json["details"]["history"]) == len(on_github.world.calls()) == 1


def test_done_and_then_an_error_makes_no_second_issue(on_github: Bound) -> None:
    on_github.world.fail("done 502", "done 502", verb="POST")
    on_github.tracker("push")
    assert len(on_github.world.issues()) == 2


def test_403_without_a_wait_is_a_refusal_and_not_asked_again(on_github: Bound) -> None:
    on_github.world.fail("403")
    answer = on_github.answer("push")
    assert (answer.code, answer.json["details"]["status"]) == ("TRACKER_SYNC_FAILED", 403)
    assert len(on_github.world.calls()) == 1


def test_401_is_told_by_the_transport(on_github: Bound, monkeypatch: pytest.MonkeyPatch) -> None:
    from kitty_sync import transport

    monkeypatch.setattr(transport, "_known", {})
    monkeypatch.setenv("KITTY_TOKEN", "another")
    answer = on_github.answer("push")
    assert answer.exit_code == 1
    assert answer.code in ("AUTH_REQUIRED", "AUTH_REFRESH_FAILED")


def test_the_token_is_the_transports(on_github: Bound) -> None:
    """The connector insists on one and sends it; the server of these tests takes no other than the right one."""
    on_github.tracker("push")
    assert len(on_github.world.issues()) == 2


def test_a_page_of_a_megabyte_is_told_in_two_kilobytes_that_steer_nothing(on_github: Bound) -> None:
    on_github.configure("sync_max_retries: 0")
    on_github.world.fail("html")
    answer = on_github.answer("push")
    body = answer.json["details"]["body"]
    assert 1000 < len(body.encode()) <= 2048
    assert "\x1b" not in body
    assert answer.json["details"]["status"] == 502
    assert len(answer.stdout) < 5000


def test_one_refusal_stops_no_other_work_package(on_github: Bound) -> None:
    on_github.replace("# WP01", "x" * 70_000)
    answer = on_github.answer("push")
    assert (answer.code, answer.json["details"]["status"]) == ("TRACKER_SYNC_FAILED", 422)
    assert answer.json["details"]["wp"] == "WP01"
    assert "Validation Failed" in answer.json["details"]["body"]
    assert [one["title"] for one in on_github.world.issues().values()] == ["Prices"]
    assert [one["wp"] for one in answer.json["details"]["done"]["created"]] == ["WP02"]
    assert on_github.tracker("status")["intents"] == []


def test_a_repository_that_is_not_there(on_github: Bound) -> None:
    on_github.tracker("bind", "github", "--workspace", "cats/other")
    answer = on_github.answer("push")
    assert (answer.code, answer.json["details"]["status"]) == ("TRACKER_SYNC_FAILED", 404)
    assert len(answer.json["details"]["history"]) == 1


def test_a_server_that_is_not_there(on_github: Bound) -> None:
    on_github.configure("sync_max_retries: 2")
    on_github.world.close()
    answer = on_github.answer("push")
    assert (answer.code, answer.json["details"]["status"]) == ("TRACKER_SYNC_FAILED", None)
    assert len(answer.json["details"]["history"]) == 3


def test_pull_requests_are_no_issues_and_every_page_is_read(on_github: Bound) -> None:
    on_github.tracker("push")
    for number in range(120):
        on_github.world.pull_request(f"Change {number}") if number % 2 else on_github.world.add(f"Issue {number}")
    (on_github.project.root / ".git/kitty/tracker.db").unlink()
    done = on_github.tracker("sync")
    assert len(done["linked"]) == 2
    lists = [what for verb, what in on_github.world.calls() if verb == "GET" and "per_page=100" in what]
    assert [f"page={page}" in lists[-3 + page] for page in (1, 2)] == [True, True]
    assert all("state=all" in one for one in lists)


def test_a_name_that_github_leaves_out_is_told_once_and_not_sent_for_ever(on_github: Bound) -> None:
    on_github.world.collaborators = {"tabby"}
    on_github.tracker("sync")
    on_github.replace("title:", 'assignees: ["stranger", "tabby"]\ntitle:')
    done = on_github.tracker("sync")
    assert [one["code"] for one in done["findings"]] == ["TRACKER_NOT_TAKEN"]
    assert on_github.world.issues()[on_github.issue()]["assignees"] == ["tabby"]
    asked = len(on_github.world.writes())
    assert on_github.tracker("sync")["findings"] == []
    assert len(on_github.world.writes()) == asked
    assert '["stranger", "tabby"]' in on_github.path().read_text()


def test_only_what_changed_is_sent(on_github: Bound) -> None:
    on_github.tracker("sync")
    on_github.replace('["shop", "ui"]', '["shop"]')
    on_github.tracker("sync")
    verb, what = on_github.world.writes()[-1]
    assert (verb, json.loads(what.partition(" ")[2])) == ("PATCH", {"labels": ["shop"]})


def test_the_last_label_can_be_taken_away(on_github: Bound) -> None:
    on_github.tracker("sync")
    on_github.replace('labels: ["shop", "ui"]\n', "")
    on_github.tracker("sync")
    assert on_github.world.issues()[on_github.issue()]["labels"] == []


def test_no_address_comes_from_the_repository(on_github: Bound, monkeypatch: pytest.MonkeyPatch) -> None:
    on_github.configure('url: "http://127.0.0.1:9"', 'api: "http://127.0.0.1:9"')
    on_github.tracker("push")
    monkeypatch.setenv("GITHUB_API_URL", "http://example.invalid")
    assert on_github.answer("push").code == "SERVER_ADDRESS_INVALID"


@pytest.mark.parametrize(
    "workspace", ["cats", "cats/..", "../cats", "cats/shop/issues", "cats/shop?x", "cats/shop#", ""]
)
def test_a_workspace_is_an_owner_and_a_repository(on_github: Bound, workspace: str) -> None:
    before = (on_github.project.root / ".kittify/config.yaml").read_bytes()
    assert on_github.answer("bind", "github", "--workspace", f"{workspace}").exit_code in (1, 2)
    assert (on_github.project.root / ".kittify/config.yaml").read_bytes() == before
    path = on_github.project.root / ".kittify/config.yaml"
    path.write_text(path.read_text().replace("cats/shop", json.dumps(workspace)))
    assert on_github.answer("push").code == "TRACKER_WORKSPACE"
    assert on_github.world.calls() == []
