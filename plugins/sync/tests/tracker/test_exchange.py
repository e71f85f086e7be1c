"""What every tracker must stand: the same suite with GitHub's protocol and with Beads' command."""

from __future__ import annotations

import json
import shutil
import signal
import time

import pytest

from kitty_host.ledger.log import FILE
from kitty_host.mission import read_mission
from kitty_host.packages import front_matter
from kitty_host.repo import Repo
from kitty_host.testing import Project

from .bound import PACKAGES, Bound


def files(project: Project) -> dict[str, bytes]:
    """Every file of the project, Git's and kitty's own included."""
    found = project.snapshot()
    return {name: content for name, content in found.items() if not name.startswith(("outside", "home"))}


def findings(done: dict[str, object]) -> list[str]:
    return [one["code"] for one in done["findings"]]  # type: ignore[attr-defined]


def test_work_packages_become_issues(bound: Bound) -> None:
    done = bound.tracker("push")
    assert [one["wp"] for one in done["created"]] == ["WP01", "WP02"]
    issue = bound.world.issues()[bound.issue("WP01")]
    assert issue["title"] == "The cart"
    assert issue["labels"] == ["shop", "ui"]
    assert issue["body"].startswith("# WP01\n\n<!-- kitty project=6f1d6c0e-")
    assert done["schema"] == "kitty.tracker/1"


def test_an_echo_does_not_loop(bound: Bound) -> None:
    bound.tracker("sync")
    before, asked = files(bound.project), len(bound.world.writes())
    for _ in range(2):
        done = bound.tracker("sync")
        assert [done[key] for key in ("created", "linked", "pushed", "pulled", "conflicts", "findings")] == [[]] * 6
    assert files(bound.project) == before
    assert len(bound.world.writes()) == asked


def test_different_fields_of_both_sides_arrive(bound: Bound) -> None:
    bound.tracker("sync")
    bound.replace("# WP01", "# WP01\n\nWith a sum.")
    bound.world.edit(bound.issue(), title="The basket")
    done = bound.tracker("sync")
    assert done["pulled"][0]["fields"] == ["title"]
    assert done["pulled"][0]["path"].endswith("tasks/WP01-task.md")
    assert done["pushed"][0]["fields"] == ["body"]
    assert bound.world.sent() == [{"body"}]
    assert 'title: "The basket"\n' in bound.path().read_text()
    assert "With a sum." in bound.world.issues()[bound.issue()]["body"]
    assert bound.project.git("status", "--porcelain", "--", "kitty-specs").startswith("M")


@pytest.mark.parametrize(
    ("policy", "title", "code"),
    [("local", "Mine", "TRACKER_OVERRULED"), ("remote", "Theirs", "TRACKER_OVERRULED"), ("ask", None, None)],
)
def test_the_same_field_of_both_sides(bound: Bound, policy: str, title: str | None, code: str | None) -> None:
    bound.configure("fields:", f"  title: {policy}")
    bound.tracker("sync")
    bound.replace("The cart", "Mine")
    bound.world.edit(bound.issue(), title="Theirs")
    done = bound.tracker("sync")
    here, there = title or "Mine", title or "Theirs"
    assert f'title: "{here}"' in bound.path().read_text()
    assert bound.world.issues()[bound.issue()]["title"] == there
    assert findings(done) == ([code] if code else [])
    lost = "Theirs" if title == "Mine" else "Mine"
    assert done["overruled"] == ([{"wp": "WP01", "field": "title", "value": lost}] if code else [])
    told = [(one["wp"], one["field"], one["local"], one["remote"]) for one in done["conflicts"]]
    assert told == ([] if code else [("WP01", "title", "Mine", "Theirs")])


@pytest.mark.parametrize(("side", "title"), [("local", "Mine"), ("remote", "Theirs")])
def test_the_newer_one_counts(bound: Bound, side: str, title: str) -> None:
    bound.configure("fields:", "  title: newer")
    bound.tracker("sync")
    bound.replace("The cart", "Mine")
    moment = "2001-01-01T00:00:00Z" if side == "local" else "2099-01-01T00:00:00Z"
    bound.world.edit(bound.issue(), title="Theirs", updated=moment)
    bound.tracker("sync")
    assert f'title: "{title}"' in bound.path().read_text()
    assert bound.world.issues()[bound.issue()]["title"] == title


def test_a_file_is_as_old_as_its_last_commit(bound: Bound, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not as the checkout that wrote it."""
    bound.configure("fields:", "  title: newer")
    bound.tracker("sync")
    bound.replace("The cart", "Mine")
    monkeypatch.setenv("GIT_COMMITTER_DATE", "2002-01-01T00:00:00Z")
    bound.project.git("commit", "--quiet", "--all", "-m", "mine")
    bound.world.edit(bound.issue(), title="Theirs", updated="2003-01-01T00:00:00Z")
    bound.tracker("sync")
    assert 'title: "Theirs"' in bound.path().read_text()


@pytest.mark.parametrize(("side", "title"), [("local", "Mine"), ("remote", "Theirs")])
def test_one_takes_a_side_where_one_is_asked(bound: Bound, side: str, title: str) -> None:
    bound.tracker("sync")
    bound.replace("The cart", "Mine")
    bound.world.edit(bound.issue(), title="Theirs")
    assert bound.tracker("sync")["conflicts"]
    assert bound.tracker("status")["linked"][0]["conflicts"] == ["title"]
    bound.tracker("sync", "--wp", "WP01", "--field", "title", "--take", side)
    assert f'title: "{title}"' in bound.path().read_text()
    assert bound.world.issues()[bound.issue()]["title"] == title
    assert bound.tracker("sync")["conflicts"] == []


def test_a_body_is_not_taken_from_a_tracker_unless_the_project_says_so(bound: Bound) -> None:
    bound.tracker("sync")
    issue = bound.issue()
    bound.world.edit(issue, body=bound.world.issues()[issue]["body"].replace("# WP01", "# Delete everything"))
    assert findings(bound.tracker("pull")) == ["TRACKER_OVERRULED"]
    assert "Delete" not in bound.path().read_text()
    bound.configure("fields:", "  body: remote")
    bound.tracker("pull")
    assert "# Delete everything\n" in bound.path().read_text()
    assert "kitty project" not in bound.path().read_text()


def test_pull_and_push_go_one_way_each(bound: Bound) -> None:
    assert bound.tracker("pull")["created"] == []
    assert bound.world.issues() == {}
    bound.tracker("push")
    bound.replace("# WP01", "# Changed")
    bound.world.edit(bound.issue(), title="The basket")
    asked = len(bound.world.writes())
    assert bound.tracker("pull")["pushed"] == []
    assert len(bound.world.writes()) == asked
    bound.world.edit(bound.issue(), title="The trolley")
    before = bound.path().read_bytes()
    assert [one["fields"] for one in bound.tracker("push")["pushed"]] == [["body"]]
    assert bound.path().read_bytes() == before


# Lanes


def test_a_status_from_outside_moves_no_lane_and_is_told(bound: Bound) -> None:
    bound.project.record(bound.mission, "WP01", "planned", "claimed", "in_progress")
    bound.tracker("sync")
    before = (bound.mission.directory / FILE).read_bytes()
    bound.world.edit(bound.issue(), state="closed")
    done = bound.tracker("pull")
    assert findings(done) == ["TRACKER_STATUS"]
    assert "a lane is not moved from outside" in done["findings"][0]["message"]
    assert findings(bound.tracker("sync")) == ["TRACKER_STATUS"]
    assert (bound.mission.directory / FILE).read_bytes() == before
    assert bound.world.issues()[bound.issue()]["state"] != "closed"
    assert findings(bound.tracker("sync")) == []


def test_a_lane_is_seen_in_the_tracker(bound: Bound) -> None:
    bound.tracker("sync")
    bound.project.record(bound.mission, "WP01", "planned", "claimed", "in_progress", "for_review", "in_review")
    bound.project.record(bound.mission, "WP01", "approved", "done")
    done = bound.tracker("sync")
    if bound.world.provider == "github":
        assert bound.world.issues()[bound.issue()]["state"] == "closed"
        assert bound.world.sent() == [{"state"}]
    else:  # which closes its issues itself
        assert findings(done) == ["TRACKER_NOT_SENT"]
        assert bound.world.sent() == []


def test_a_cancelled_work_package_gets_no_issue(bound: Bound) -> None:
    bound.project.record(bound.mission, "WP02", "planned", "canceled")
    assert [one["wp"] for one in bound.tracker("push")["created"]] == ["WP01"]


# Fields


def test_labels_are_sets(bound: Bound) -> None:
    bound.tracker("sync")
    asked = len(bound.world.writes())
    bound.replace('["shop", "ui"]', '["ui", "shop", "ui"]')
    bound.world.edit(bound.issue(), labels=["ui", "shop"])
    assert bound.tracker("sync")["pushed"] == []
    assert len(bound.world.writes()) == asked
    bound.world.edit(bound.issue(), labels=["urgent", "shop"])
    bound.tracker("sync")
    assert 'labels: ["shop", "urgent"]\n' in bound.path().read_text()


def test_a_label_of_a_work_package_without_any_is_written(bound: Bound) -> None:
    bound.tracker("sync")
    bound.world.edit(bound.issue("WP02"), labels=["urgent"])
    bound.tracker("sync")
    assert front_matter(bound.path("WP02").read_bytes(), bound.path("WP02"))["labels"] == ["urgent"]


def test_a_file_keeps_what_nobody_changed(bound: Bound) -> None:
    text = (
        "---\r\n# first\r\nwork_package_id: WP01  # its id\r\ntitle: 'The cart'   # to be found\r\nodd: {a: [1, 2]}\r\nlabels:\r\n"
        "- shop\r\n  # why\r\n- ui\r\n\r\n# about owners\r\nowned_files:\r\n    - cart/**\r\n---\r\n\r\n# WP01\r\n---\r\nend\r\n"
    )
    bound.path().write_bytes(text.encode())
    bound.tracker("sync")
    bound.world.edit(bound.issue(), title="The basket", labels=["a"])
    bound.tracker("sync")
    wanted = text.replace("'The cart'   #", '"The basket" #').replace(
        "labels:\r\n- shop\r\n  # why\r\n- ui\r\n", 'labels: ["a"]\r\n'
    )
    assert bound.path().read_bytes().decode() == wanted


def test_a_file_that_cannot_be_edited_by_lines_is_left(bound: Bound) -> None:
    text = "---\n{work_package_id: WP01, title: The cart}\n---\n\n# WP01\n"
    bound.path().write_text(text)
    bound.tracker("sync")
    bound.world.edit(bound.issue(), title="The basket")
    bound.world.edit(bound.issue("WP02"), title="Costs")
    done = bound.tracker("sync")
    assert findings(done) == ["TRACKER_FILE"]
    assert [one["wp"] for one in done["pulled"]] == ["WP02"]
    assert bound.path().read_text() == text


HOSTILE = "x\n---\nevil: true\r\n\x1b[31mred\x00\x85\u2028\u202e <!-- kitty project=p --> \"'#:"


def test_hostile_text_breaks_no_file_and_steers_no_terminal(bound: Bound) -> None:
    bound.configure("fields:", "  body: remote")
    bound.tracker("sync")
    issue = bound.issue()
    mark = next(line for line in bound.world.issues()[issue]["body"].splitlines() if line.startswith("<!-- kitty"))
    theft = mark.replace("wp=WP01", "wp=WP02")
    bound.world.edit(
        issue, title=HOSTILE, body=f"{HOSTILE}\n---\nevil: 1\n---\n{theft}\n\n{mark}", labels=[HOSTILE, "a: b"]
    )
    done = bound.tracker("sync")
    assert [(one["wp"], one["fields"]) for one in done["pulled"]] == [("WP01", ["title", "body", "labels"])]
    content = bound.path().read_bytes()
    front = front_matter(content, bound.path())
    assert list(front) == ["work_package_id", "title", "labels", "owned_files"]
    assert "\n" not in front["title"]
    assert not set("\x1b\x00\x85\u2028\u202e\r") & set(content.decode())
    assert b"<!-- kitty" not in content
    assert [one["work_package_id"] for one in PACKAGES] == [one.wp_id for one in bound.mission.refresh().packages]
    linked = {one["wp"]: one["issue"] for one in bound.tracker("status")["linked"]}
    assert len(set(linked.values())) == 2
    assert "\x1b" not in json.dumps(done)
    before, asked = files(bound.project), len(bound.world.writes())
    bound.tracker("sync")
    assert (files(bound.project), len(bound.world.writes())) == (before, asked)


# Which issue it is


def second(bound: Bound) -> Bound:
    """A clone that has no links."""
    bound.project.git("commit", "--quiet", "--all", "-m", "bound")
    place = bound.project.root.parent / "second"
    bound.project.git("clone", "--quiet", str(bound.project.root), str(place))
    project = Project(place)
    mission = read_mission(Repo.find(place), place / "kitty-specs" / bound.mission.slug)
    return Bound(project, bound.world, mission)


def test_another_clone_finds_the_issues_by_their_marks(bound: Bound) -> None:
    bound.tracker("sync")
    other = second(bound)
    asked = len(bound.world.writes())
    done = other.tracker("sync")
    assert [one["wp"] for one in done["linked"]] == ["WP01", "WP02"]
    assert [done[key] for key in ("created", "pushed", "pulled", "conflicts", "findings")] == [[]] * 5
    assert len(bound.world.writes()) == asked
    assert len(bound.world.issues()) == 2


def test_labels_of_a_first_meeting_are_added_and_not_asked_about(bound: Bound) -> None:
    bound.tracker("sync")
    other = second(bound)
    bound.world.edit(bound.issue("WP02"), labels=["urgent"])
    done = other.tracker("sync")
    assert [(one["wp"], one["fields"]) for one in done["pulled"]] == [("WP02", ["labels"])]
    assert done["conflicts"] == []


def test_a_mark_that_two_issues_have_is_believed_of_neither(bound: Bound) -> None:
    bound.tracker("sync")
    other = second(bound)
    bound.world.add("Take me", bound.world.issues()[bound.issue()]["body"])
    done = other.tracker("sync")
    assert findings(done) == ["TRACKER_AMBIGUOUS"]
    assert [one["wp"] for one in done["linked"]] == ["WP02"]
    assert len(bound.world.issues()) == 3
    assert findings(bound.tracker("sync")) == []


def test_an_issue_that_is_marked_for_two_is_neither_and_no_link_is_moved(bound: Bound) -> None:
    bound.tracker("push", "--wp", "WP01")
    issue = bound.issue("WP01")
    body = bound.world.issues()[issue]["body"]
    bound.world.edit(issue, body=f"{body}\n{body.replace('wp=WP01', 'wp=WP02')}")
    assert findings(bound.tracker("push", "--wp", "WP02")) == ["TRACKER_AMBIGUOUS"]
    assert [one["wp"] for one in bound.tracker("status")["linked"]] == ["WP01"]
    assert len(bound.world.issues()) == 1


def test_a_mark_that_somebody_took_out_is_put_back(bound: Bound) -> None:
    bound.tracker("sync")
    issue = bound.issue()
    bound.world.edit(issue, body="# WP01")
    bound.tracker("sync")
    assert bound.issue() == issue
    asked = len(bound.world.writes())
    bound.tracker("sync")
    assert len(bound.world.writes()) == asked


def test_an_issue_that_is_gone_is_told_and_not_made_again(bound: Bound) -> None:
    bound.tracker("sync")
    bound.world.delete(bound.issue())
    for _ in range(2):
        done = bound.tracker("sync")
        assert findings(done) == ["TRACKER_ISSUE_GONE"]
        assert done["created"] == []
    assert len(bound.world.issues()) == 1
    assert bound.tracker("status")["linked"][0]["gone"]
    assert bound.tracker("sync", "--wp", "WP01", "--recreate")["created"][0]["wp"] == "WP01"
    assert len(bound.world.issues()) == 2
    assert bound.answer("sync", "--wp", "WP01", "--recreate").code == "TRACKER_NOT_GONE"
    assert len(bound.world.issues()) == 2


# What fails


def test_three_failures_and_then_success(bound: Bound) -> None:
    bound.world.fail(*["503"] * 3)
    bound.tracker("push")
    assert len(bound.world.issues()) == 2
    assert len(set(bound.world.calls()[:4])) == 1
    assert len(set(bound.world.calls()[:5])) == 2


def test_failure_for_ever_is_bounded_and_has_a_history(bound: Bound) -> None:
    bound.tracker("push", "--wp", "WP01")
    bound.configure("sync_max_retries: 3")
    bound.world.fail("always 503")
    asked = len(bound.world.calls())
    answer = bound.answer("sync")
    assert (answer.exit_code, answer.code) == (1, "TRACKER_SYNC_FAILED")
    details = answer.json["details"]
    assert len(bound.world.calls()) - asked == len(details["history"]) == 4
    assert details["provider"] == bound.world.provider
    assert details["wp"] == "WP01"
    assert details["status"] == (503 if bound.world.provider == "github" else None)
    assert all(one["at"] and one["reason"] for one in details["history"])
    failure = bound.tracker("status")["failures"][0]
    assert failure["history"] == details["history"]
    assert failure["body"] == details["body"]


def test_an_answer_that_was_lost_makes_no_second_issue(bound: Bound) -> None:
    bound.world.fail("lost", "lost", verb=created(bound))
    bound.tracker("push")
    assert sorted(one["title"] for one in bound.world.issues().values()) == ["Prices", "The cart"]
    assert bound.tracker("status")["intents"] == []


def test_an_answer_that_was_lost_for_ever_makes_no_second_issue_later(bound: Bound) -> None:
    bound.configure("sync_max_retries: 0")
    bound.world.fail("lost", verb=created(bound))
    assert bound.answer("push").code == "TRACKER_SYNC_FAILED"
    assert [one["kind"] for one in bound.tracker("status")["intents"]] == ["create"]
    bound.replace("# WP01", "# Changed meanwhile")
    done = bound.tracker("push")
    assert findings(done) == []
    assert len(bound.world.issues()) == 2
    assert "# Changed meanwhile" in bound.world.issues()[bound.issue()]["body"]
    assert bound.tracker("status")["intents"] == []


@pytest.mark.parametrize("verb", ["create", "update"])
def test_killed_between_the_request_and_its_note(bound: Bound, verb: str) -> None:
    if verb == "update":
        bound.tracker("push")
        bound.replace("The cart", "The basket")
    posted = {"create": "POST", "update": "PATCH"}[verb] if bound.world.provider == "github" else verb
    bound.world.fail("kill", verb=posted)
    process = bound.start("push")
    bound.world.whom = lambda: process.pid  # type: ignore[attr-defined]
    assert process.wait(60) == -signal.SIGKILL
    assert [one["kind"] for one in bound.tracker("status")["intents"]] == [verb]
    done = bound.tracker("push")
    assert done["conflicts"] == done["findings"] == []
    assert len(bound.world.issues()) == 2
    assert bound.tracker("status")["intents"] == []
    asked = len(bound.world.writes())
    bound.tracker("sync")
    assert len(bound.world.writes()) == asked
    assert sum(call[0] == posted for call in bound.world.calls()) == (2 if verb == "create" else 1)


def test_two_at_once(bound: Bound) -> None:
    bound.world.fail("hold")
    first = bound.start("sync")
    while not bound.world.calls():
        time.sleep(0.01)
    answer = bound.answer("sync")
    assert (answer.exit_code, answer.code) == (1, "LOCK_HELD")
    assert str(first.pid) in answer.json["message"]
    bound.world.released.touch()
    assert first.wait(60) == 0
    assert len(bound.world.issues()) == 2


def test_an_answer_that_makes_no_sense_is_no_fault_of_kitty(bound: Bound) -> None:
    bound.world.fail("nonsense")
    answer = bound.answer("push")
    assert (answer.exit_code, answer.code) == (1, "TRACKER_SYNC_FAILED")
    assert "no sense" in answer.json["message"]


def test_status_asks_nobody_and_writes_nothing(bound: Bound) -> None:
    before = files(bound.project)
    assert bound.tracker("status")["unlinked"] == ["WP01", "WP02"]
    assert files(bound.project) == before
    bound.tracker("push")
    bound.replace("The cart", "Mine")
    before, asked = files(bound.project), len(bound.world.calls())
    told = bound.tracker("status")
    assert [one["local"] for one in told["linked"]] == [["title"], []]
    assert (files(bound.project), len(bound.world.calls())) == (before, asked)


def test_the_links_can_be_lost(bound: Bound) -> None:
    bound.tracker("sync")
    shutil.rmtree(bound.project.root / ".git/kitty")
    done = bound.tracker("sync")
    assert len(done["linked"]) == len(bound.world.issues()) == 2


def test_one_refusal_stops_no_other_work_package(bound: Bound) -> None:
    bound.world.fail("422" if bound.world.provider == "github" else "refused", verb=created(bound))
    answer = bound.answer("push")
    assert (answer.code, answer.json["details"]["wp"]) == ("TRACKER_SYNC_FAILED", "WP01")
    assert answer.json["details"]["refused"] == ["WP01"]
    assert [one["wp"] for one in answer.json["details"]["done"]["created"]] == ["WP02"]
    assert [one["title"] for one in bound.world.issues().values()] == ["Prices"]
    assert bound.tracker("status")["intents"] == []


def test_what_was_tried_before_a_refusal_is_told_too(bound: Bound) -> None:
    bound.world.fail("503", "422" if bound.world.provider == "github" else "refused", verb=created(bound))
    details = bound.answer("push").json["details"]
    assert len(details["history"]) == 2


@pytest.mark.parametrize("title", ["--help", "-x", "--json", "x, y: z", "#1", "@me"])
def test_a_title_is_no_option(bound: Bound, title: str) -> None:
    bound.replace('"The cart"', json.dumps(title))
    bound.tracker("sync")
    assert bound.world.issues()[bound.issue()]["title"] == title
    bound.replace('"Prices"', json.dumps(title), wp="WP02")
    bound.tracker("sync")
    assert bound.world.issues()[bound.issue("WP02")]["title"] == title


def created(bound: Bound) -> str:
    """How an issue is made."""
    return "POST" if bound.world.provider == "github" else "create"
