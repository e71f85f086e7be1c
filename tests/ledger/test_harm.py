"""What people, editors and other programs did to ledgers, each once seen to lose or to hide something."""

from __future__ import annotations

import errno
import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kitty_host.api import KittyError
from kitty_host.ledger import log
from kitty_host.ledger import snapshot as cached
from kitty_host.ledger.event import Row, annotation, encode, new_id, now
from kitty_host.ledger.reduce import reduce
from kitty_host.ledger.repair import restore
from kitty_host.ledger.verify import verify
from kitty_host.mission import Mission
from kitty_host.testing import Project

pytestmark = pytest.mark.usefixtures("alone")


@pytest.fixture
def mission(project: Project) -> Mission:
    made: Mission = project.mission()
    made.ledger.append([noted(f"note {number}") for number in range(6)])
    return made


def noted(text: str) -> Row:
    return {**annotation("WP01", {"note": text}, actor="ada"), "event_id": new_id(), "at": now()}


def codes(mission: Mission) -> list[str]:
    found = verify(mission.ledger, mission.repo.git, mission.repo.relative(mission.ledger.live))
    return [spot.finding.code for spot in found.broken]


def in_place(mission: Mission, lines: list[bytes], end: bytes = b"") -> None:
    mission.ledger.live.write_bytes(b"".join(line + b"\n" for line in lines) + end)


def refusal(act: Callable[[], object], code: str) -> KittyError:
    with pytest.raises(KittyError) as refused:
        act()
    assert refused.value.code == code
    return refused.value


# Loss


def test_a_checkpoint_of_a_shortened_ledger_brings_back_what_was_committed(mission: Mission) -> None:
    ledger, git = mission.ledger, mission.repo.git
    ledger.checkpoint(git, "whole\n")
    whole = ledger.lines()
    in_place(mission, whole[:2])
    ledger.append([noted("later")])
    ledger.checkpoint(git, "next\n")
    assert set(whole) < set(ledger.lines()) == set(ledger.lines_at(git, ledger.ref))
    assert codes(mission) == []


def test_what_an_older_checkpoint_had_and_a_newer_one_lacks_is_brought_back(mission: Mission) -> None:
    ledger, git = mission.ledger, mission.repo.git
    first = ledger.checkpoint(git, "whole\n")
    whole = ledger.lines()
    in_place(mission, whole[:2])
    git.run("update-ref", ledger.ref, ledger.commit(git, ledger.lines(), "buried\n", [first]))
    assert restore(ledger, git).rows == 4
    assert set(ledger.lines()) == set(whole)


def test_a_row_that_nobody_can_read_is_not_taken_in_from_another_copy(mission: Mission) -> None:
    before = mission.ledger.live.read_bytes()
    foreign = json.dumps({"event_id": new_id(), "foo": 1}).encode()
    assert "the other copy" in refusal(lambda: mission.ledger.extend([foreign]), "LEDGER_DAMAGED").message
    assert mission.ledger.live.read_bytes() == before


@pytest.mark.parametrize("line", [b"[]", b"garbage", b'{"event_id": "1"}'])
def test_nor_from_a_checkpoint_that_somebody_made(mission: Mission, line: bytes) -> None:
    ledger, git = mission.ledger, mission.repo.git
    git.run("update-ref", ledger.ref, ledger.commit(git, [*ledger.lines(), line], "odd\n", []))
    assert restore(ledger, git) == (0, 0, None)
    assert len(ledger.events()) == 6


def test_a_row_that_only_lacks_its_newline_survives_a_restoration(mission: Mission) -> None:
    ledger, git = mission.ledger, mission.repo.git
    ledger.checkpoint(git, "whole\n")
    precious = encode(noted("precious")).encode().removesuffix(b"\n")
    lines = ledger.lines()
    in_place(mission, [*lines[:3], b"<<<<<<< HEAD", *lines[4:]], precious)
    assert restore(ledger, git)[:2] == (1, 1)
    assert sorted(ledger.lines()) == sorted([*lines, precious])


def test_names_that_contradict_each_other_are_not_restored_by_guessing(mission: Mission) -> None:
    ledger, git = mission.ledger, mission.repo.git
    one = noted("one")
    ledger.append([one])
    other = encode({**one, "actor": "mallory"}).encode().removesuffix(b"\n")
    lines = ledger.lines()
    ledger.live.unlink()
    in_place(mission, [*lines[:-1], other, b"garbage"])
    before = ledger.live.read_bytes(), ledger.twin.read_bytes()
    refusal(lambda: restore(ledger, git), "EVENT_ID_CONFLICT")
    assert (ledger.live.read_bytes(), ledger.twin.read_bytes()) == before


def test_a_restoration_of_nothing_names_no_file(mission: Mission) -> None:
    ledger, git = mission.ledger, mission.repo.git
    ledger.checkpoint(git, "whole\n")
    ledger.live.unlink()
    ledger.twin.unlink()
    assert restore(ledger, git) == (6, 0, None)
    assert len(ledger.lines()) == 6


def test_a_refused_row_is_not_there(mission: Mission, monkeypatch: pytest.MonkeyPatch) -> None:
    before = mission.ledger.live.read_bytes()

    def fail(path: Path, content: bytes) -> None:
        raise KittyError("READ_ONLY", "no")

    monkeypatch.setattr(log, "is_same", lambda status, path: False)  # as where there are no links
    monkeypatch.setattr(log, "atomic_write", fail)
    refusal(lambda: mission.ledger.write([noted("refused")]), "READ_ONLY")
    assert mission.ledger.live.read_bytes() == before


# Files that are something else


def pipe(path: Path) -> None:
    os.mkfifo(path)


def tube(path: Path) -> None:
    here = Path.cwd()
    os.chdir(path.parent)  # the name of a socket is short
    try:
        socket.socket(socket.AF_UNIX).bind(path.name)
    finally:
        os.chdir(here)


@pytest.mark.parametrize("which", ["live", "twin"])
@pytest.mark.parametrize("make", [pipe, tube, Path.mkdir, lambda path: path.symlink_to("elsewhere")])
def test_anything_but_a_plain_file_is_refused_under_either_name(
    mission: Mission, which: str, make: Callable[[Path], None]
) -> None:
    path: Path = getattr(mission.ledger, which)
    path.unlink()
    make(path)
    for act in (mission.ledger.lines, mission.ledger.snapshot, lambda: mission.ledger.append([noted("x")])):
        assert str(path) in refusal(act, "LEDGER_DAMAGED").message
    if which == "twin":
        assert "LEDGER_DAMAGED" in codes(mission)


def test_a_second_name_that_is_only_a_link_to_the_first_is_no_second_name(mission: Mission) -> None:
    mission.ledger.twin.unlink()
    mission.ledger.twin.symlink_to(mission.ledger.live)
    refusal(lambda: mission.ledger.append([noted("x")]), "LEDGER_DAMAGED")
    mission.ledger.twin.unlink()
    mission.ledger.append([noted("x")])
    assert mission.ledger.findings() == []


def test_a_file_that_may_not_be_read_is_said_to_be_so(mission: Mission, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> Any:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr(log, "open_unlinked", refuse)
    refusal(mission.ledger.lines, "LEDGER_UNREADABLE")


# Proofs


def test_a_hundred_warnings_hide_no_loss(mission: Mission) -> None:
    mission.ledger.checkpoint(mission.repo.git, "whole\n")
    lines = mission.ledger.lines()
    in_place(mission, [*lines[:2], *lines[3:] * 40])
    assert codes(mission) == ["LEDGER_ROWS_GONE"]


def test_a_changed_row_that_stands_twice_is_still_changed(project: Project, mission: Mission) -> None:
    from kitty_host.ledger.seal import seal

    lines = mission.ledger.lines()
    mission.ledger.append([{**seal(lines, "M"), "event_id": new_id(), "timestamp": now()}])
    changed = lines[2].replace(b"note 2", b"mote 2")
    in_place(mission, [*lines[:2], changed, *lines[3:], *mission.ledger.lines()[6:], changed])
    assert codes(mission) == ["LEDGER_CHANGED"]


def test_a_newline_that_is_missing_at_the_end_is_no_loss(mission: Mission) -> None:
    mission.ledger.checkpoint(mission.repo.git, "whole\n")
    os.truncate(mission.ledger.live, mission.ledger.live.stat().st_size - 1)
    assert codes(mission) == []
    assert [finding.code for finding in mission.ledger.findings()] == ["LEDGER_TORN"]


# Caches and long files


def test_blank_lines_in_a_long_ledger_are_no_damage(mission: Mission, monkeypatch: pytest.MonkeyPatch) -> None:
    from kitty_host.ledger import lines as module

    monkeypatch.setattr(cached, "_SMALL", 0)
    monkeypatch.setattr(cached, "_HUGE", 0)
    monkeypatch.setattr(module, "_BLOCK", 300)
    in_place(mission, [part for line in mission.ledger.lines() for part in (line, b"", b"  ")])
    assert mission.ledger.snapshot().to_dict() == reduce(mission.ledger.events()).to_dict()


@pytest.mark.parametrize("slot", ["said", "claims", "takers", "lane", "approvals", "seen_at"])
def test_a_cache_with_a_value_of_another_kind_is_no_cache(
    mission: Mission, monkeypatch: pytest.MonkeyPatch, slot: str
) -> None:
    monkeypatch.setattr(cached, "_SMALL", 0)
    wanted = mission.ledger.snapshot().to_dict()
    (cache,) = mission.repo.cache.glob("ledger-*.json")
    told = json.loads(cache.read_bytes())
    told["state"]["packages"]["WP01"][slot] = None
    cache.write_text(json.dumps(told))
    assert mission.ledger.snapshot().to_dict() == wanted


# Output that nobody reads


@pytest.mark.parametrize("arguments", ["ledger show", "--help", "--version", "plugins list"])
@pytest.mark.parametrize("end", [">&-", "| true", ">&- 2>&-"])
def test_output_that_nobody_reads_is_no_fault(project: Project, mission: Mission, arguments: str, end: str) -> None:
    script = f'"$0" -m kitty_host {arguments} {end}; exit "${{PIPESTATUS[0]}}"'
    bash = shutil.which("bash")
    assert bash is not None
    done = subprocess.run([bash, "-c", script, sys.executable], cwd=project.root, capture_output=True, text=True)
    assert done.returncode in (0, 1)
    assert "Traceback" not in done.stderr
    assert "FAULT" not in done.stderr
