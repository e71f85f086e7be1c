"""Landing with a remote: what is only there lands here, and what landed here goes there."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from kitty_host.mission import find_missions
from kitty_host.repo import Repo
from kitty_host.testing import Project

if TYPE_CHECKING:
    from conftest import Yard


@pytest.fixture
def remote(yard: Yard) -> Path:
    place = yard.root.parent / "remote.git"
    yard.project.git("init", "--quiet", "--bare", str(place))
    yard.project.git("remote", "add", "origin", str(place))
    return place


def test_a_landing_is_pushed_with_its_ledger(yard: Yard, remote: Path) -> None:
    yard.plan(yard.package("WP01"))
    yard.finish("WP01")
    done = yard.project.kitty("merge", "--push", "--json")
    assert done.exit_code == 0, done
    there = yard.project.git("ls-remote", str(remote))
    assert f"{done.json['new']}\trefs/heads/main" in there
    assert yard.mission.ledger.ref in there


def test_a_push_that_fails_leaves_the_landing_and_a_re_run_only_pushes(yard: Yard, remote: Path) -> None:
    yard.plan(yard.package("WP01"))
    yard.finish("WP01")
    refuses = remote / "hooks/pre-receive"
    refuses.parent.mkdir(exist_ok=True)
    refuses.write_text("#!/bin/sh\necho not now >&2\nexit 1\n")
    refuses.chmod(0o755)
    done = yard.project.kitty("merge", "--push", "--json")
    assert (done.exit_code, done.code) == (1, "PUSH_FAILED")
    landed = yard.project.git("rev-parse", "main")
    assert yard.tree("wp01.txt").exists()
    assert yard.lane_of("WP01") == "done"
    refuses.unlink()
    done = yard.project.kitty("merge", "--json", "--mission", yard.mission.slug)
    assert done.exit_code == 0, done
    assert yard.project.git("rev-parse", "main") == landed
    assert f"{landed}\trefs/heads/main" in yard.project.git("ls-remote", str(remote))
    assert yard.project.kitty("merge", "--status", "--json").json["unfinished"] == []


def test_without_a_remote_the_refusal_says_what_to_add(yard: Yard) -> None:
    yard.plan(yard.package("WP01"))
    yard.finish("WP01")
    done = yard.project.kitty("merge", "--push", "--json")
    assert (done.exit_code, done.code) == (1, "PUSH_FAILED")
    assert yard.lane_of("WP01") == "done"


def test_a_teammates_approved_package_that_is_only_on_the_remote_lands(yard: Yard, remote: Path) -> None:
    yard.plan(yard.package("WP01"), yard.package("WP02"))
    yard.finish("WP01")
    yard.project.git("push", "--quiet", "origin", "main")
    yard.project.kitty("lanes", "sync", "--push")
    teammate = Project(yard.root.parent / "teammate")
    yard.project.git("clone", "--quiet", str(remote), str(teammate.root), where=yard.root.parent)
    teammate.kitty("lanes", "sync")
    here, yard.project, yard.root = yard.project, teammate, teammate.root
    mission, (yard.mission,) = yard.mission, find_missions(Repo.find(teammate.root))
    theirs = yard.finish("WP02")
    assert teammate.kitty("lanes", "sync", "--push").exit_code == 0
    yard.project, yard.root, yard.mission = here, here.root, mission
    done = yard.project.kitty("merge", "--json")
    assert done.exit_code == 0, done
    assert yard.project.git("merge-base", "--is-ancestor", theirs, "main") == ""
    assert yard.tree("wp02.txt").exists()
    assert {yard.lane_of("WP01"), yard.lane_of("WP02")} == {"done"}


def test_a_remote_that_does_not_answer_is_told_and_no_more(yard: Yard) -> None:
    yard.project.git("remote", "add", "origin", str(yard.root.parent / "nowhere.git"))
    yard.plan(yard.package("WP01"), yard.package("WP02"))
    yard.finish("WP01")
    done = yard.project.kitty("merge", "--json")
    assert (done.exit_code, done.code) == (1, "MERGE_NOT_APPROVED")
    assert "origin does not answer" in done.stderr
