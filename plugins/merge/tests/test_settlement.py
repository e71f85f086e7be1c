"""A conflict stops before anything moves, is settled in a worktree of its own, and the landing goes on from there."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from kitty_host.testing import Result
from kitty_merge.settlement import worktree

if TYPE_CHECKING:
    from conftest import Yard


def conflicting(yard: Yard) -> None:
    yard.project.commit("shared.txt", "before\n")
    yard.plan(yard.package("WP01"), yard.package("WP02"), yard.package("WP03"))
    yard.finish("WP01", "one\n", path="shared.txt")
    yard.finish("WP02", "two\n", path="shared.txt")
    yard.finish("WP03")


def merge(yard: Yard, *arguments: str) -> Result:
    return yard.project.kitty("merge", "--json", "--mission", yard.mission.slug, *arguments)


def stopped(yard: Yard, *arguments: str) -> Path:
    """Run into the conflict; returns the worktree where it is settled."""
    before = yard.project.git("for-each-ref"), yard.status()
    done = merge(yard, *arguments)
    assert (done.exit_code, done.code) == (1, "MERGE_CONFLICT"), done
    details = done.json["details"]
    assert (details["lane"], details["wp_ids"], details["others"]) == ("lane-b", ["WP02"], ["lane-a"])
    assert details["paths"] == ["shared.txt"]
    assert (yard.project.git("for-each-ref"), yard.status()) == before
    place = Path(details["worktree"])
    assert place == worktree(yard.mission)
    assert str(place) in done.json["hint"]
    assert "<<<<<<<" in (place / "shared.txt").read_text()
    return place


def settle(yard: Yard, place: Path, content: str = "one and two\n", *, commit: bool = True) -> None:
    yard.project.write("shared.txt", content, where=place)
    yard.project.git("add", "shared.txt", where=place)
    if commit:
        yard.project.git("commit", "--quiet", "--no-edit", where=place)


@pytest.mark.parametrize("option", [(), ("--resume",)], ids=["plain", "--resume"])
@pytest.mark.parametrize("commit", [True, False], ids=["committed", "added"])
def test_what_was_settled_lands(yard: Yard, option: tuple[str, ...], commit: bool) -> None:
    conflicting(yard)
    place = stopped(yard)
    settle(yard, place, commit=commit)
    done = merge(yard, *option)
    assert done.exit_code == 0, done
    assert yard.tree("shared.txt").read_text() == "one and two\n"
    assert yard.tree("wp03.txt").exists()
    assert yard.status() == ""
    told = {path["path"]: path["how"] for path in done.json["receipt"]["lanes"][0]["paths"]}
    assert told == {"shared.txt": "merged with lane-b"}
    assert merge(yard, "--receipt").exit_code == 0
    assert not place.exists()
    assert "settled" not in yard.project.git("for-each-ref", "refs/kitty")
    for head in yard.project.git("for-each-ref", "--format=%(objectname)", "refs/heads/kitty").split():
        assert yard.project.git("merge-base", "--is-ancestor", head, "main") == ""


def test_while_it_is_not_settled_the_refusal_says_what_is_left(yard: Yard) -> None:
    conflicting(yard)
    place = stopped(yard)
    again = merge(yard, "--resume")
    assert (again.code, again.json["details"]["worktree"]) == ("MERGE_CONFLICT", str(place))
    (place / "shared.txt").write_text("half of it\n")
    done = merge(yard)
    assert done.code == "MERGE_CONFLICT"
    assert "shared.txt" in done.json["message"]
    yard.project.git("add", "shared.txt", where=place)
    (place / "shared.txt").write_text("changed after that\n")
    assert "not added" in merge(yard).json["message"]
    assert (place / "shared.txt").read_text() == "changed after that\n"


def test_conflict_markers_that_were_committed_are_not_settled(yard: Yard) -> None:
    conflicting(yard)
    place = stopped(yard)
    settle(yard, place, (place / "shared.txt").read_text())
    done = merge(yard, "--resume")
    assert done.code == "MERGE_CONFLICT"
    assert "conflict markers" in done.json["message"]
    settle(yard, place, commit=False)
    assert "in no commit" in merge(yard, "--resume").json["message"]
    yard.project.git("commit", "--quiet", "-m", "markers removed", where=place)
    assert merge(yard, "--resume").exit_code == 0


def test_the_strategy_is_remembered(yard: Yard) -> None:
    conflicting(yard)
    old = yard.project.git("rev-parse", "main")
    settle(yard, stopped(yard, "--strategy", "squash"))
    done = merge(yard, "--resume")
    assert done.exit_code == 0, done
    assert done.json["receipt"]["strategy"] == "squash"
    assert yard.project.git("rev-list", "--count", f"{old}..main") == "1"
    assert yard.tree("shared.txt").read_text() == "one and two\n"


def test_an_abort_leaves_everything_as_before_and_nothing_of_mine_is_lost(yard: Yard) -> None:
    conflicting(yard)
    before = yard.project.git("for-each-ref"), yard.status(), yard.mission.ledger.lines()
    place = stopped(yard)
    (place / "shared.txt").write_text("an hour of work\n")
    assert yard.project.kitty("merge", "--abort", "--dry-run").exit_code == 0
    assert place.exists()
    done = merge(yard, "--abort")
    assert done.exit_code == 0, done
    assert (yard.project.git("for-each-ref"), yard.status(), yard.mission.ledger.lines()) == before
    assert not place.exists()
    (kept,) = (path for path in (yard.root / ".git/kitty/rescue").rglob("shared.txt"))
    assert kept.read_text() == "an hour of work\n"
    assert str(kept) in done.stderr
    assert merge(yard, "--abort").code == "NOTHING_BEGUN"
    assert merge(yard, "--status").json["unfinished"] == []
    stopped(yard)


def test_what_was_settled_is_kept_while_something_else_refuses(yard: Yard) -> None:
    conflicting(yard)
    settle(yard, stopped(yard))
    yard.project.record(yard.mission, "WP03", "in_progress")
    assert merge(yard, "--resume").code == "MERGE_NOT_APPROVED"
    yard.approve("WP03")
    assert merge(yard).exit_code == 0
    assert yard.tree("shared.txt").read_text() == "one and two\n"


def test_a_wrong_settlement_that_was_given_up_does_not_come_again(yard: Yard) -> None:
    conflicting(yard)
    settle(yard, stopped(yard), "wrong\n")
    yard.project.record(yard.mission, "WP03", "in_progress")
    assert merge(yard, "--resume").code == "MERGE_NOT_APPROVED"
    yard.approve("WP03")
    assert merge(yard, "--abort").exit_code == 0
    stopped(yard)


def test_a_settlement_of_something_else_is_not_used(yard: Yard) -> None:
    """The other lane changed since: what was settled joins what is not there any more."""
    conflicting(yard)
    settle(yard, stopped(yard))
    yard.project.record(yard.mission, "WP01", "in_progress")
    yard.finish("WP01", "one, corrected\n", path="shared.txt")
    done = merge(yard, "--resume")
    assert done.code == "MERGE_CONFLICT"
    assert "one, corrected" in (Path(done.json["details"]["worktree"]) / "shared.txt").read_text()


def test_status_and_doctor_say_where_to_settle_it(yard: Yard) -> None:
    conflicting(yard)
    place = stopped(yard)
    told = merge(yard, "--status").json
    assert told["worktree"] == str(place)
    assert told["unfinished"] == [yard.mission.mission_id]
    findings = yard.project.kitty("doctor", "--json").json["findings"]
    assert "MERGE_UNFINISHED" in {finding["code"] for finding in findings}


def test_a_hook_that_refuses_the_settled_merge_is_told(yard: Yard) -> None:
    conflicting(yard)
    place = stopped(yard)
    settle(yard, place, commit=False)
    hook = yard.project.write(".git/hooks/commit-msg", "#!/bin/sh\nexit 1\n")
    hook.chmod(0o755)
    assert merge(yard, "--resume").code == "COMMIT_REFUSED"
    hook.unlink()
    assert merge(yard, "--resume").exit_code == 0


def test_hooks_see_a_settled_merge_too(yard: Yard) -> None:
    conflicting(yard)
    settle(yard, stopped(yard))
    yard.project.write(".git/hooks/commit-msg", "#!/bin/sh\necho 'Seen: yes' >>\"$1\"\n").chmod(0o755)
    assert merge(yard, "--resume").exit_code == 0
    messages = yard.project.git("log", "--merges", "--first-parent", "-4", "--format=%B%x00", "main").split("\0")[:-1]
    assert all("Seen: yes" in message for message in messages), messages


def test_own_records_alone_are_no_conflict(yard: Yard) -> None:
    """A lane that carries an old copy of the ledger: no markers enter history, and no row of it is lost."""
    yard.project.write(".gitattributes", "")
    yard.project.git("add", ".gitattributes")
    yard.project.git("commit", "--quiet", "--allow-empty", "-m", "no union")
    yard.plan(yard.package("WP01"), yard.package("WP02"))
    ledger = f"kitty-specs/{yard.mission.slug}/status.events.jsonl"
    stray = yard.mission.ledger.lines()[0].replace(b"planned", b"planned")
    for wp_id in ("WP01", "WP02"):
        workspace = yard.start(wp_id)
        assert workspace.path is not None
        yard.project.commit(
            ledger,
            b"\n".join([stray, wp_id.encode() and yard.mission.ledger.lines()[-1]]) + b"\n",
            where=workspace.path,
        )
        yard.finish(wp_id)
    done = merge(yard)
    assert done.exit_code == 0, done
    landed = yard.project.git("show", f"main:{ledger}")
    assert "<<<<<<<" not in landed
    assert len(set(landed.splitlines())) == len(landed.splitlines())


def test_hooks_judge_what_was_only_added_and_nothing_in_the_worktree_is_lost(yard: Yard) -> None:
    conflicting(yard)
    place = stopped(yard)
    settle(yard, place, commit=False)
    yard.project.write("notes.txt", "how I settled it\n", where=place)
    hooks = {"pre-commit": "git diff --cached --name-only >seen.local", "commit-msg": 'echo "Checked: yes" >>"$1"'}
    yard.project.write(".git/info/exclude", "*.local\n")
    for name, body in hooks.items():
        yard.project.write(f".git/hooks/{name}", f"#!/bin/sh\n{body}\n[ ! -e {yard.root}/refuse ]\n").chmod(0o755)
    yard.project.write("refuse")
    refused = merge(yard, "--resume")
    assert (refused.exit_code, refused.code, refused.json["details"]["hook"]) == (1, "COMMIT_REFUSED", "pre-commit")
    assert (place / "seen.local").read_text() == "shared.txt\n"
    (yard.root / "refuse").unlink()
    done = merge(yard, "--resume")
    assert done.exit_code == 0, done
    (kept,) = (yard.root / ".git/kitty/rescue").rglob("notes.txt")
    assert kept.read_text() == "how I settled it\n"
    assert str(kept) in done.stderr
