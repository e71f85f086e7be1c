"""Ref locks of a dead landing: what fits is removed, what cannot be its own is left alone, and the rest is named."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from kitty_host.api import KittyError
from kitty_host.repo import Repo
from kitty_merge import ref_locks
from kitty_merge.journal import Journal

if TYPE_CHECKING:
    from conftest import Yard

NEW, LEDGER, OLD = "1" * 40, "2" * 40, "3" * 40
LANE = "refs/heads/kitty/mission-demo-lane-a"


class Scene:
    """A journal that was written ten seconds ago, and locks beside it."""

    def __init__(self, yard: Yard) -> None:
        self.repo = Repo.find(yard.root)
        self.journal = Journal(
            "landing",
            "M",
            "",
            "refs/heads/main",
            OLD,
            NEW,
            [("refs/heads/main", NEW, OLD), ("refs/kitty/M/ledger", LEDGER, ""), ("refs/kitty/M/undo", OLD, "")],
            [(LANE, OLD)],
            LEDGER,
            [str(self.repo.root)],
            {},
            {},
            {},
            {},
        )
        self.journal.write(self.repo)
        self.begun = self.journal.path(self.repo).stat().st_mtime - 10
        os.utime(self.journal.path(self.repo), (self.begun, self.begun))

    def lock(self, name: str, content: str, later: float) -> Path:
        path = self.repo.common / f"{name}.lock"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
        os.utime(path, (self.begun + later, self.begun + later))
        return path


@pytest.fixture
def scene(yard: Yard) -> Scene:
    return Scene(yard)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("refs/heads/main", f"{NEW}\n"),
        ("refs/heads/main", NEW[:20]),
        ("refs/heads/main", ""),
        ("refs/kitty/M/ledger", f"{LEDGER}\n"),
        ("refs/kitty/M/undo", f"{OLD}\n"),
        (LANE, ""),
        ("HEAD", ""),
    ],
)
def test_a_lock_that_fits_the_journal_is_removed(scene: Scene, name: str, content: str) -> None:
    path = scene.lock(name, content, 0.1)
    ref_locks.release(scene.repo, scene.journal)
    assert not path.exists()


@pytest.mark.parametrize(
    ("name", "content"), [("refs/heads/main", f"{OLD}\n"), (LANE, f"{NEW}\n"), ("HEAD", "ref: x\n")]
)
def test_a_lock_that_holds_something_else_is_named_and_stays(scene: Scene, name: str, content: str) -> None:
    path = scene.lock(name, content, 0.1)
    with pytest.raises(KittyError, match="LOCK_HELD") as refused:
        ref_locks.release(scene.repo, scene.journal)
    assert f"rm {path}" in refused.value.hint
    assert path.read_text() == content


def test_a_lock_that_was_made_much_later_is_named_and_stays(scene: Scene) -> None:
    path = scene.lock(LANE, "", 11)
    with pytest.raises(KittyError, match="LOCK_HELD"):
        ref_locks.release(scene.repo, scene.journal)
    assert path.exists()


def test_a_lock_that_is_older_than_the_journal_is_somebody_elses(scene: Scene) -> None:
    path = scene.lock(LANE, "", -5)
    other = scene.lock("refs/heads/other", "", 0.1)
    ref_locks.release(scene.repo, scene.journal)
    assert path.exists()
    assert other.exists()


def test_a_lock_that_changes_while_it_is_looked_at_is_somebody_elses(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = scene.lock(LANE, "", 0.1)

    def meanwhile(_: float) -> None:
        path.rename(path.with_name("gone"))
        path.write_text("")

    monkeypatch.setattr("time.sleep", meanwhile)
    ref_locks.release(scene.repo, scene.journal)
    assert path.exists()
