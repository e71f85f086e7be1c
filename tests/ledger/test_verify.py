"""`kitty ledger verify` names every damage with its line and its first byte, and nobody writes over it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from kitty_host.ledger.emit import emit
from kitty_host.ledger.event import annotation, encode, parse
from kitty_host.ledger.lines import LONGEST, torn_bytes
from kitty_host.ledger.repair import restore
from kitty_host.ledger.verify import Spot, verify
from kitty_host.mission import Mission
from kitty_host.plugins import Plugins
from kitty_host.testing import Project

pytestmark = pytest.mark.usefixtures("alone")


@pytest.fixture
def mission(project: Project) -> Mission:
    """Six sealed rows and a seal; the place of damage is the third line."""
    made: Mission = project.mission()
    for number in range(6):
        said = annotation("WP01", {"note": f"note {number}"}, actor="ada")
        emit(Plugins([]), made, lambda _, said=said: [said], sealed=number == 5)  # type: ignore[misc]
    return made


def broken(mission: Mission) -> list[Spot]:
    path = mission.repo.relative(mission.ledger.live)
    return verify(mission.ledger, mission.repo.git, path, ["HEAD"]).broken


class Damage(NamedTuple):
    name: str
    do: Callable[[list[bytes]], list[bytes]]
    """Given the lines, the lines as they are afterwards; the third one is hit."""
    code: str
    read: bool
    """Whether the ledger can be read at all."""


def third(change: Callable[[bytes], bytes]) -> Callable[[list[bytes]], list[bytes]]:
    return lambda lines: [*lines[:2], change(lines[2]), *lines[3:]]


DAMAGES = (
    Damage("a flipped byte in the syntax", third(lambda line: line.replace(b":", b";", 1)), "LEDGER_DAMAGED", False),
    Damage("a flipped byte in a text", third(lambda line: line.replace(b"note 2", b"mote 2")), "LEDGER_CHANGED", True),
    Damage("a missing line", lambda lines: [*lines[:2], *lines[3:]], "LEDGER_ROWS_GONE", True),
    Damage("a conflict marker", lambda lines: [*lines[:2], b"<<<<<<< HEAD", *lines[2:]], "LEDGER_DAMAGED", False),
    Damage("invalid UTF-8", third(lambda line: line.replace(b"note 2", b"note \xff")), "LEDGER_DAMAGED", False),
    Damage("half a pair", third(lambda line: line.replace(b"note 2", b"note \xed\xa0\x80")), "LEDGER_DAMAGED", False),
    Damage("a line cut short", third(lambda line: line[:50]), "LEDGER_DAMAGED", False),
    Damage("two lines in one", lambda lines: [*lines[:2], lines[2] + lines[3], *lines[4:]], "LEDGER_DAMAGED", False),
    Damage("zeros", third(lambda line: b"\0" * len(line)), "LEDGER_DAMAGED", False),
    Damage("UTF-16", third(lambda line: line.decode().encode("utf-16-le")), "LEDGER_DAMAGED", False),
    Damage("a thousand brackets", third(lambda line: b"[" * 100_000), "LEDGER_DAMAGED", False),
)


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.name)
@pytest.mark.parametrize("checkpointed", [False, True], ids=["sealed", "checkpointed"])
def test_damage_is_named_with_line_and_byte_and_nothing_is_written_over_it(
    project: Project, mission: Mission, damage: Damage, checkpointed: bool
) -> None:
    if checkpointed:
        mission.ledger.checkpoint(mission.repo.git, "whole")
    whole = mission.ledger.lines()
    content = b"".join(line + b"\n" for line in damage.do(whole))
    mission.ledger.live.write_bytes(content)
    spots = broken(mission)
    assert damage.code in {spot.finding.code for spot in spots}
    spot = next(spot for spot in spots if spot.finding.code == damage.code)
    assert (spot.line, spot.byte) == (3, sum(len(line) + 1 for line in whole[:2]))
    if damage.code == "LEDGER_ROWS_GONE":
        assert str(parse(whole[2])["event_id"]) in spot.finding.message
    refused = project.kitty("ledger", "verify", "--json")
    assert (refused.exit_code, refused.json["details"]["line"]) == (1, spots[0].line)
    note = project.process("ledger", "repair", "--json")
    assert note.exit_code == (0 if damage.read else 1)
    assert mission.ledger.live.read_bytes() == content


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.name)
def test_a_checkpoint_brings_back_what_was_damaged_and_the_damage_is_kept(mission: Mission, damage: Damage) -> None:
    mission.ledger.checkpoint(mission.repo.git, "whole")
    whole = mission.ledger.lines()
    content = b"".join(line + b"\n" for line in damage.do(whole))
    mission.ledger.live.write_bytes(content)
    restored = restore(mission.ledger, mission.repo.git)
    assert restored.kept is not None
    assert restored.kept.read_bytes() == content
    assert sorted(mission.ledger.lines()) == sorted(whole)
    assert broken(mission) == []
    assert restore(mission.ledger, mission.repo.git) == (0, 0, None), "a second time there is nothing to do"


def test_a_repeated_line_is_named_and_counts_once(project: Project, mission: Mission) -> None:
    whole = mission.ledger.lines()
    mission.ledger.live.write_bytes(b"".join(line + b"\n" for line in [*whole, whole[2]]))
    result = project.kitty("ledger", "verify", "--json")
    (finding,) = result.json["findings"]
    assert (result.exit_code, finding["code"], finding["line"]) == (0, "LEDGER_REPEATED", len(whole) + 1)
    assert finding["byte"] == sum(len(line) + 1 for line in whole)
    assert "line 3" in finding["message"]


def test_one_id_with_two_contents_is_named(mission: Mission) -> None:
    whole = mission.ledger.lines()
    other = {**parse(whole[2]), "actor": "mallory"}
    with mission.ledger.live.open("ab") as stream:
        stream.write(encode(other).encode())
    assert next((spot.finding.code, spot.line) for spot in broken(mission)) == ("EVENT_ID_CONFLICT", len(whole) + 1)


def test_a_commit_that_lacks_lines_of_its_parent_is_named(project: Project, mission: Mission) -> None:
    """Somebody took a line out, committed, and put it back."""
    path = project.root / mission.repo.relative(mission.ledger.live)
    whole = path.read_bytes()
    place = str(path.relative_to(project.root))
    project.commit(place, whole)
    project.commit(place, whole.split(b"\n", 1)[1])
    culprit = project.git("rev-parse", "HEAD")
    project.commit(place, whole)
    assert culprit[:12] in broken(mission)[0].finding.message
    assert len(broken(mission)) == 1


def test_a_checkpoint_that_lacks_lines_of_its_parent_is_named(mission: Mission) -> None:
    git, ledger = mission.repo.git, mission.ledger
    first = ledger.checkpoint(git, "one")
    forged = ledger.commit(git, ledger.lines()[1:], "forged", [first])
    git.run("update-ref", ledger.ref, ledger.commit(git, ledger.lines(), "mended", [forged]))
    assert [forged[:12] in spot.finding.message for spot in broken(mission)] == [True]


def test_a_merge_whose_ledger_is_the_union_of_both_sides_is_whole(project: Project, mission: Mission) -> None:
    path = mission.ledger.live
    place = str(path.relative_to(project.root))
    whole = path.read_bytes()
    head, _rest = whole.split(b"\n", 1)
    project.commit(place, head + b"\n")
    project.git("branch", "other")
    project.commit(place, whole)
    project.git("checkout", "--quiet", "other")
    mine = encode({**parse(head), "event_id": "Z" * 26}).encode()
    project.commit(place, head + b"\n" + mine)
    project.git("merge", "--quiet", "--no-commit", "main", check=False)
    project.write(place, whole + mine)
    project.git("add", place)
    project.git("commit", "--quiet", "-m", "union")
    assert broken(mission) == []


# A line without end

MEASURE = """
import resource, sys
from pathlib import Path
from kitty_host.api import KittyError
from kitty_host.mission import read_mission
from kitty_host.repo import Repo
from kitty_host.ledger.verify import verify
from kitty_host.state import State

root, directory, what = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
mission = read_mission(Repo.find(root), directory)
ledger = mission.ledger

def look():
    if what == "read":
        State.load(mission)
    elif what == "verify":
        for spot in verify(ledger, mission.repo.git, "x").broken:
            raise KittyError(spot.finding.code, spot.finding.message)
    else:
        with ledger.locked():
            State.load(mission)

try:
    look()
    print("fine")
except KittyError as error:
    print(error)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def measured(mission: Mission, what: str) -> tuple[str, int]:
    """What a reading says, and the most memory it had, in KiB."""
    command = [sys.executable, "-c", MEASURE, str(mission.repo.root), str(mission.directory), what]
    said, memory = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    return said, int(memory)


@pytest.mark.slow
@pytest.mark.parametrize("ended", [True, False], ids=["a line", "a torn tail"])
def test_a_line_of_a_gigabyte_does_not_fill_the_memory(
    mission: Mission, ended: bool, record_property: Callable[[str, object], None]
) -> None:
    usual = {what: measured(mission, what)[1] for what in ("read", "lock")}
    place = mission.ledger.live.stat().st_size
    with mission.ledger.live.open("ab") as stream:
        for _ in range(1 << 10):
            stream.write(b"x" * (1 << 20))
        stream.write(b"\n" * ended)
    # The lock comes last: it sets aside what is torn.
    for what in ("read", "verify", "lock"):
        said, memory = measured(mission, what)
        if ended:
            assert f"line 8 (byte {place}): the line is longer than {LONGEST} bytes" in said, what
        else:
            assert said == "fine", what
        grown = memory - usual.get(what, usual["read"])
        end = "a line" if ended else "a torn line"
        record_property("figure", f"memory for {end} of a gigabyte, {what}|{grown / 1024:.0f} MiB|< 64 MiB")
        assert grown < 64 << 10, what
    assert ended or torn_bytes(mission.ledger.live) == 0, "it was set aside"
    for path in (mission.repo.state / "torn").glob("*"):
        assert path.stat().st_size == 1 << 30
        os.truncate(path, 0)
    os.truncate(mission.ledger.live, 0)


def test_a_row_that_nobody_could_read_again_is_not_written(mission: Mission) -> None:
    before = mission.ledger.live.read_bytes()
    with pytest.raises(Exception, match="LEDGER_ROW_TOO_LONG"):
        mission.ledger.append([{**annotation("WP01", {"note": "x" * LONGEST}, actor="ada"), "event_id": "1", "at": ""}])
    assert mission.ledger.live.read_bytes() == before


def test_lines_after_one_without_end_are_still_read_for_the_proof(
    mission: Mission, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from kitty_host.ledger import lines as module

    monkeypatch.setattr(module, "LONGEST", 2000)
    monkeypatch.setattr(module, "_BLOCK", 64)
    whole = mission.ledger.lines()
    mission.ledger.live.write_bytes(b"".join(line + b"\n" for line in [*whole[:2], b"x" * 5000, *whole[2:]]))
    assert [(spot.finding.code, spot.line) for spot in broken(mission)] == [("LEDGER_DAMAGED", 3)]
    mission.ledger.live.write_bytes(
        b"".join(line + b"\n" for line in [*whole[:2], b"x" * 5000, whole[2][:-9], *whole[3:]])
    )
    codes = [(spot.finding.code, spot.line) for spot in broken(mission)]
    assert codes[:2] == [("LEDGER_DAMAGED", 3), ("LEDGER_DAMAGED", 4)]
