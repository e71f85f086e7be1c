"""An intake is killed at every call that changes files: there is the old pair or the new one, and nothing is left over."""

from __future__ import annotations

import hashlib
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from library import Crash, Done, copy, points

from kitty_host.testing import Project

BRIEF, SIDECAR = ".kittify/mission-brief.md", ".kittify/brief-source.yaml"
PLANS = {"one.md": "# One\n\nThe first.\n", "two.md": "# Two\n\nThe second.\n", "three.md": "# Three\n"}
PEER = "# Peer\n\nOf spec-kitty.\n"


def none(project: Project) -> None:
    """No brief, and nothing that ignores the pair: the first intake has to see to that too."""
    project.commit(".gitignore", ".worktrees/\n")


def one(project: Project) -> None:
    assert project.kitty("intake", "one.md").exit_code == 0


def peer(project: Project) -> None:
    digest = hashlib.sha256(PEER.encode()).hexdigest()
    project.write(SIDECAR, f"brief_hash: {digest}\ningested_at: '2026-01-01'\nsource_file: peer.md\n")
    head = f"<!-- spec-kitty intake: ingested from peer.md at 2026-01-01 -->\n<!-- brief_hash: {digest} -->\n\n"
    project.write(BRIEF, head + PEER)


def interrupted(project: Project) -> None:
    """The sidecar of an intake that was killed right before its brief changed hands: it has both records."""
    one(project)
    old = (project.root / BRIEF).read_bytes()
    before = (project.root / SIDECAR).read_text()
    assert project.kitty("intake", "three.md", "--force").exit_code == 0
    new = (project.root / SIDECAR).read_text()
    indented = "".join(f"  {line}\n" for line in before.splitlines())
    project.write(SIDECAR, f"{new}previous:\n{indented}")
    project.write(BRIEF, old)


def stored(project: Project) -> tuple[str, str] | None:
    """What a reader sees, after every check of the pair."""
    shown = project.kitty("brief", "--json").json
    if shown.get("code") == "INTAKE_FILE_MISSING":
        return None
    assert shown["schema"] == "kitty.brief/1", shown
    return shown["source"], shown["text"]


STATES: dict[str, Callable[[Project], None]] = {"none": none, "one": one, "peer": peer, "interrupted": interrupted}


def names(root: Path) -> set[str]:
    """Every file and directory but kitty's cache."""
    return {
        name
        for path in root.rglob("*")
        if "/kitty/cache" not in (name := path.relative_to(root).as_posix()) and "/objects/" not in name
    }


@pytest.mark.slow
@pytest.mark.parametrize("name_of_state", STATES)
def test_a_killed_intake_leaves_the_old_pair_or_the_new_one_and_the_next_leaves_nothing_else(
    project: Project, crash: Crash, tmp_path: Path, name_of_state: str
) -> None:
    for name, text in PLANS.items():
        project.write(name, text)
    STATES[name_of_state](project)
    before, new = stored(project), ("two.md", PLANS["two.md"])

    def intake(root: Path, at: int = 0, torn: bool = False) -> Done:
        command = [sys.executable, "-m", "kitty_host", "intake", "two.md", "--force", "--json"]
        return crash.run(command, at=at, torn=torn, where=root)

    whole = Project(tmp_path / "whole")
    copy(project.root, whole.root)
    calls = intake(whole.root).calls
    assert stored(whole) == new
    assert whole.kitty("intake", "three.md", "--force").exit_code == 0
    places = points(calls)
    assert len(places) >= 20
    outcomes = []
    for at, torn in places:
        here = Project(tmp_path / f"killed-{at}-{torn}")
        copy(project.root, here.root)
        done = intake(here.root, at, torn)
        assert done.killed, (at, torn, done)
        outcomes.append(stored(here))
        assert not done.stdout or outcomes[-1] == new, "it was acknowledged"
        # Somebody who finds no brief needs no force.
        again = here.kitty("intake", "three.md", *(["--force"] if outcomes[-1] else []))
        assert again.exit_code == 0, (at, torn, again)
        assert stored(here) == ("three.md", PLANS["three.md"])
        assert names(here.root) == names(whole.root), (at, torn, calls[at - 1])
        assert "previous" not in (here.root / SIDECAR).read_text()
        for name in (".git/info/exclude", ".gitignore"):
            assert (here.root / name).read_bytes() == (whole.root / name).read_bytes(), (at, torn)
        shutil.rmtree(here.root)
    changed = outcomes.index(new)
    assert 0 < changed < len(outcomes)
    assert outcomes == [before] * changed + [new] * (len(outcomes) - changed)
    assert crash.lint() == []
    sys.stdout.write(f"{name_of_state}: {len(places)} points, {changed} of them before the brief changes hands\n")
