"""The sweep of the ledger: killed at every call that changes files, it loses nothing it acknowledged, and the next writer heals it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from ledger_sweep import OPERATIONS, PART, Known, apart, healthy, ledger_in, line, look, row, tail
from library import Crash

POINTS = 1000


def swept(library: Path, tmp_path: Path, *, every: int = 1, again: int = 1) -> dict[str, int]:
    """Sweep the whole table, a share of it on each core; returns how many points each operation had."""
    shares = min(os.cpu_count() or 1, 4)
    running: list[tuple[Crash, subprocess.Popen[bytes]]] = []
    for share in range(shares):
        place = tmp_path / str(share)
        place.mkdir()
        crash = Crash(library, place)
        program = str(Path(__file__).with_name("ledger_sweep.py"))
        command = [
            sys.executable,
            program,
            str(place),
            "--share",
            f"{share}/{shares}",
            f"--every={every}",
            f"--again={again}",
        ]
        environment = {**os.environ, **crash.environment}
        running.append(
            (crash, subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, start_new_session=True))
        )
    counts: dict[str, int] = {}
    broken: list[str] = []
    cut: list[str] = []
    for crash, process in running:
        said = process.communicate()[0]
        assert process.returncode == 0
        found = json.loads(said)
        counts |= found["points"]
        broken += found["broken"] + crash.lint()
        cut += found["cut"]
    sys.stdout.write(f"a batch is there in part at {len(cut)} points\n")
    shown = "\n".join(broken[:20])
    assert not broken, f"{len(broken)} things did not hold at {sum(counts.values())} points:\n{shown}"
    return counts


def test_a_ledger_killed_at_a_sample_of_points_loses_nothing_and_heals(library: Path, tmp_path: Path) -> None:
    assert sum(swept(library, tmp_path, every=9, again=9).values()) > POINTS // 10


@pytest.mark.slow
def test_a_ledger_killed_at_more_than_a_thousand_points_loses_nothing_and_heals(library: Path, tmp_path: Path) -> None:
    counts = swept(library, tmp_path, every=2, again=3)
    assert set(counts) == {operation.name for operation in OPERATIONS}
    assert all(counts.values())
    total = sum(counts.values())
    sys.stdout.write(f"{total} points of {len(counts)} operations\n")
    assert total >= POINTS


@pytest.mark.sweep
def test_so_does_one_that_is_killed_at_every_point_and_so_is_its_healing(library: Path, tmp_path: Path) -> None:
    sys.stdout.write(f"{sum(swept(library, tmp_path).values())} points\n")


# The sweep's own eyes: each of these is damage that it has to see.


def problems(tmp_path: Path, damage: str, known: Known | None = None) -> str:
    ledger = ledger_in(tmp_path)
    (tmp_path / ".git").mkdir(parents=True, exist_ok=True)
    kept = healthy(ledger)
    content = ledger.live.read_bytes()
    ledger.live.write_bytes({"gone": content[: -len(kept.kept[-1]) - 1], "doubled": content * 2}.get(damage, content))
    with ledger.live.open("ab") as stream:
        stream.write({"foreign": line(row(77)) + b"\n", "cut": line(row(78)) + b"\n"}.get(damage, b""))
    return " ".join(look(tmp_path, known._replace(kept=kept.kept) if known else kept).problems)


@pytest.mark.parametrize(
    ("damage", "said"), [("gone", "0 times there"), ("doubled", "2 times there"), ("foreign", "nobody wrote"), ("", "")]
)
def test_the_sweep_sees_damage(tmp_path: Path, damage: str, said: str) -> None:
    found = problems(tmp_path, damage)
    assert said in found
    assert bool(said) == bool(found)


def test_the_sweep_sees_a_batch_that_is_there_without_its_first_line(tmp_path: Path) -> None:
    known = Known(tried=((line(row(77)), line(row(78))),))
    assert problems(tmp_path, "foreign", known) == "", "its first line alone is what a torn write leaves"
    assert "out of order" in problems(tmp_path / "other", "cut", known)


def test_the_sweep_sees_a_query_that_does_not_name_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = ledger_in(tmp_path)
    (tmp_path / ".git").mkdir()
    known = tail(PART)(ledger)
    assert look(tmp_path, known).problems == []
    monkeypatch.setattr(type(ledger), "findings", lambda self: [])
    assert look(tmp_path, known).problems == ["findings name [], wrong is ['LEDGER_TORN']"]


def test_a_file_that_somebody_else_wrote_is_synced_before_it_takes_the_second_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = ledger_in(tmp_path)
    (tmp_path / ".git").mkdir()
    apart(ledger)
    synced: list[int] = []
    fsync, replace = os.fsync, os.replace

    def syncing(descriptor: int) -> None:
        fsync(descriptor)
        synced.append(os.fstat(descriptor).st_ino)

    def replacing(source: Path, target: Path) -> None:
        assert Path(source).stat().st_ino in synced, f"power lost now leaves no synced copy behind {target}"
        replace(source, target)

    monkeypatch.setattr(os, "fsync", syncing)
    monkeypatch.setattr(os, "replace", replacing)
    with ledger.locked():
        pass
    assert ledger.live.samefile(ledger.twin)
