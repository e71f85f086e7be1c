"""The ledger's file: nothing acknowledged is ever lost, whatever people, crashes and other programs do to it."""

from __future__ import annotations

import errno
import itertools
import json
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from spec_kitty_events.diary import parse_diary

from kitty_host import files
from kitty_host.api import KittyError
from kitty_host.ledger.event import Row, annotation, encode, envelope, new_id, now, transition
from kitty_host.ledger.log import FILE, Ledger
from kitty_host.mission import Mission
from kitty_host.testing import Project


@pytest.fixture
def mission(project: Project) -> Mission:
    made: Mission = project.mission()
    return made


@pytest.fixture
def ledger(mission: Mission) -> Ledger:
    return mission.ledger


def row(text: str = "a note", **fields: Any) -> Row:
    return {**annotation("WP01", {"note": text}, actor="agent"), "event_id": new_id(), "at": now(), **fields}


def line(found: Row) -> bytes:
    return encode(found).encode().removesuffix(b"\n")


def ids(ledger: Ledger) -> list[str]:
    return [found["event_id"] for found in ledger.rows()]


def appended(ledger: Ledger, count: int = 1) -> list[str]:
    rows = [row() for _ in range(count)]
    ledger.append(rows)
    return [found["event_id"] for found in rows]


def refusal(act: Callable[[], object], code: str) -> KittyError:
    with pytest.raises(KittyError) as refused:
        act()
    assert refused.value.code == code
    return refused.value


def on_call(patch: pytest.MonkeyPatch, name: str, first: Callable[..., object]) -> None:
    """Do something just before every call of a function of `os`."""
    real = getattr(os, name)

    def called(*arguments: Any, **named: Any) -> Any:
        first(*arguments)
        return real(*arguments, **named)

    patch.setattr(os, name, called)


# Appending


def test_what_was_appended_is_read_back_in_order(ledger: Ledger) -> None:
    assert ledger.lines() == []
    wanted = appended(ledger, 2) + appended(ledger)
    assert ids(ledger) == wanted
    assert ledger.live.read_bytes().endswith(b"\n")


def test_spec_kitty_reads_every_kind_of_row(ledger: Ledger, mission: Mission) -> None:
    moved = transition(
        "WP01", "genesis", "planned", actor="a", mission_id=mission.mission_id, mission_slug=mission.slug
    )
    created = envelope("MissionCreated", {"mission_slug": mission.slug}, aggregate_id=mission.mission_id)
    ledger.append(
        [{**moved, "event_id": new_id(), "at": now()}, row(), {**created, "event_id": new_id(), "timestamp": now()}]
    )
    stream = parse_diary(json.loads(text) for text in ledger.live.read_text().splitlines())
    assert (len(stream.transitions), len(stream.annotations)) == (1, 1)


def test_the_rows_of_one_command_are_one_write(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    on_call(monkeypatch, "write", lambda descriptor, content: sizes.append(len(content)))
    ledger.append([row(), row(), row()])
    assert sizes == [len(ledger.live.read_bytes())]


def test_the_lock_is_the_one_that_spec_kitty_takes(ledger: Ledger, mission: Mission) -> None:
    theirs = mission.repo.common / "spec-kitty-locks" / f"{mission.slug}.status.lock"
    with ledger.locked():
        refusal(lambda: files.lock(theirs, wait_seconds=0).__enter__(), "LOCK_HELD")
    with files.lock(theirs, wait_seconds=0):
        refusal(lambda: ledger.locked(wait_seconds=0).__enter__(), "LOCK_HELD")


def test_the_sync_comes_after_the_lock_is_free_and_before_success(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    appended(ledger)
    steps: list[str] = []

    def syncing(descriptor: int) -> None:
        with files.lock(ledger.lock_file, wait_seconds=0):
            steps.append("sync")

    on_call(monkeypatch, "fdatasync", syncing)
    appended(ledger)
    assert steps == ["sync"]


def test_a_new_file_has_a_durable_name(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[Path] = []
    on_call(monkeypatch, "fsync", lambda descriptor: synced.append(Path(f"/dev/fd/{descriptor}").resolve()))
    appended(ledger)
    assert ledger.live.parent.resolve() in synced
    assert ledger.twin.parent.resolve() in synced


def test_a_full_disk_takes_back_what_was_half_written(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = appended(ledger)
    before = ledger.live.read_bytes()
    write = os.write

    def half(descriptor: int, content: Any) -> int:
        if len(content) < 20:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(descriptor, bytes(content[: len(content) // 2]))

    monkeypatch.setattr(os, "write", half)
    refusal(lambda: ledger.append([row()]), "DISK_FULL")
    monkeypatch.undo()
    assert ledger.live.read_bytes() == before
    assert ids(ledger) == wanted


def test_a_read_only_ledger_is_refused_and_named(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    appended(ledger)

    def fail(path: Any, flags: int, *_: Any) -> None:
        if path == ledger.live and flags & os.O_APPEND:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    on_call(monkeypatch, "open", fail)
    assert str(ledger.live) in refusal(lambda: ledger.append([row()]), "READ_ONLY").message


# Many writers

WORK = """
import json, os, sys, fcntl
from pathlib import Path
from kitty_host.ledger.event import annotation, encode, new_id, now
from kitty_host.ledger.log import Ledger

directory, common, mission_id, acknowledged, count = sys.argv[1:6]
ledger = Ledger(Path(directory), Path(common), mission_id)
told = os.open(acknowledged, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

def row():
    return {**annotation("WP01", {"note": "x" * 200}, actor="agent"), "event_id": new_id(), "at": now()}

def acknowledge(rows):
    os.write(told, "".join(one["event_id"] + "\\n" for one in rows).encode())

"""
KITTY = """
for _ in range(int(count)):
    rows = [row(), row()]
    ledger.append(rows)
    acknowledge(rows)
"""
# What spec-kitty does: read the whole file, write another one, and put it in place, all under the same lock; some releases of its
# lock library remove the lock file, too.
PEER = """
ledger.lock_file.parent.mkdir(exist_ok=True)
for _ in range(int(count)):
    while True:
        lock = os.open(ledger.lock_file, os.O_RDWR | os.O_CREAT)
        fcntl.flock(lock, fcntl.LOCK_EX)
        if os.fstat(lock).st_nlink:
            break
        os.close(lock)
    mine = row()
    content = ledger.live.read_bytes() if ledger.live.exists() else b""
    temporary = ledger.live.with_name(f"tmp-{os.getpid()}")
    with open(temporary, "wb") as stream:
        stream.write(content + encode(mine).encode())
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(temporary, ledger.live)
    if UNLINK:
        ledger.lock_file.unlink()
    fcntl.flock(lock, fcntl.LOCK_UN)
    os.close(lock)
    acknowledge([mine])
"""
# Bytes go out a few at a time, so that a kill leaves torn lines.
DRIBBLE = """
write = os.write
os.write = lambda descriptor, content: write(descriptor, bytes(content[:64]) if descriptor != told else content)
"""


@pytest.fixture
def start(ledger: Ledger, mission: Mission, tmp_path: Path) -> Callable[..., subprocess.Popen[bytes]]:
    """Starts a process that writes rows and tells, after each append returned, which."""

    def begin(source: str, count: int) -> subprocess.Popen[bytes]:
        place = [str(ledger.live.parent), str(mission.repo.common), mission.mission_id]
        return subprocess.Popen([sys.executable, "-c", WORK + source, *place, str(tmp_path / "told"), str(count)])

    return begin


def acknowledged(tmp_path: Path) -> list[str]:
    return (tmp_path / "told").read_text().split() if (tmp_path / "told").exists() else []


def finish(processes: Iterable[subprocess.Popen[bytes]]) -> None:
    assert {process.wait(300) for process in processes} == {0}


@pytest.mark.parametrize(
    ("processes", "each"), [(16, 10), pytest.param(64, 50, marks=pytest.mark.slow)], ids=["16", "64"]
)
def test_processes_at_once_lose_nothing(
    ledger: Ledger,
    start: Callable[..., subprocess.Popen[bytes]],
    tmp_path: Path,
    processes: int,
    each: int,
    record_property: Callable[[str, object], None],
) -> None:
    finish([start(KITTY, each // 2) for _ in range(processes)])
    content = ledger.live.read_bytes()
    assert content.endswith(b"\n")
    written = [json.loads(text)["event_id"] for text in content.split(b"\n")[:-1]]
    assert sorted(written) == sorted(acknowledged(tmp_path))
    all_of_them = processes * each
    record_property("figure", f"rows of {processes} processes at once, {each} each|{len(set(written))}|{all_of_them}")
    assert len(written) == len(set(written)) == all_of_them
    assert files.same_file(ledger.live, ledger.twin)


@pytest.mark.parametrize("unlink", [False, True])
def test_nothing_is_lost_beside_a_writer_that_replaces_the_file(
    ledger: Ledger, start: Callable[..., subprocess.Popen[bytes]], tmp_path: Path, unlink: bool
) -> None:
    peer = PEER.replace("UNLINK", str(unlink))
    finish([start(source, 30) for source in (KITTY, KITTY, peer, peer)])
    told = acknowledged(tmp_path)
    assert len(told) == 2 * 30 * 2 + 2 * 30
    assert sorted(ids(ledger)) == sorted(told)


def killed(rounds: int, ledger: Ledger, start: Callable[..., subprocess.Popen[bytes]], tmp_path: Path) -> None:
    chance = random.Random(rounds)
    for _ in range(rounds):
        before = len(acknowledged(tmp_path))
        process = start(DRIBBLE + KITTY, 100_000)
        while len(acknowledged(tmp_path)) == before:
            assert process.poll() is None, "it ended before it had written anything"
            time.sleep(0.001)
        time.sleep(chance.uniform(0, 0.05))
        process.kill()
        process.wait()
        known = ids(ledger)
        assert set(acknowledged(tmp_path)) <= set(known)
        assert len(known) == len(set(known))
    with ledger.locked():
        pass
    assert ledger.findings() == []
    assert set(acknowledged(tmp_path)) <= set(ids(ledger))


def test_a_writer_killed_at_any_moment_loses_nothing_it_had_acknowledged(
    ledger: Ledger, start: Callable[..., subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    killed(8, ledger, start, tmp_path)


@pytest.mark.parametrize(
    "rounds", [pytest.param(50, marks=pytest.mark.slow), pytest.param(150, marks=pytest.mark.sweep)]
)
def test_so_does_one_killed_at_many_more_moments(
    ledger: Ledger, start: Callable[..., subprocess.Popen[bytes]], tmp_path: Path, rounds: int
) -> None:
    killed(rounds, ledger, start, tmp_path)


def test_a_file_that_was_replaced_during_the_sync_gets_its_rows_back(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = appended(ledger)

    def replace(descriptor: int) -> None:
        (ledger.live.parent / "other").write_bytes(b"")
        os.replace(ledger.live.parent / "other", ledger.live)

    on_call(monkeypatch, "fdatasync", replace)
    wanted += appended(ledger)
    assert ids(ledger) == wanted
    assert files.same_file(ledger.live, ledger.twin)


def test_success_is_not_reported_where_both_names_were_replaced(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    appended(ledger)

    def replace(descriptor: int) -> None:
        ledger.twin.unlink()
        ledger.live.unlink()

    on_call(monkeypatch, "fdatasync", replace)
    mine = row()
    error = refusal(lambda: ledger.append([mine]), "LEDGER_DAMAGED")
    assert error.details["missing"] == [mine["event_id"]]


# Torn tails and damage


@pytest.mark.parametrize(
    "tail",
    [b'{"event_id": "01', b'{"a": 1}{', b"\0\0\0\0", b"\xff\xfe", b"17", b"[1]", b'"text"', b'{"a":' * 50_000],
    ids=lambda found: repr(found[:12]),
)
def test_a_torn_tail_is_ignored_reported_and_set_aside(ledger: Ledger, mission: Mission, tail: bytes) -> None:
    wanted = appended(ledger, 2)
    with ledger.live.open("ab") as stream:
        stream.write(tail)
    torn = ledger.live.read_bytes()
    assert ids(ledger) == wanted
    [finding] = ledger.findings()
    assert finding.code == "LEDGER_TORN"
    assert f"{len(tail)} bytes" in finding.message
    assert ledger.live.read_bytes() == torn, "a question changed the file"
    wanted += appended(ledger)
    assert ids(ledger) == wanted
    [aside] = (mission.repo.common / "kitty" / "torn").iterdir()
    assert aside.read_bytes() == tail
    assert ledger.findings() == []


def test_a_tail_that_is_whole_but_for_its_newline_is_finished(ledger: Ledger, mission: Mission) -> None:
    wanted = appended(ledger)
    last = row()
    with ledger.live.open("ab") as stream:
        stream.write(line(last))
    assert ids(ledger) == wanted, "readers use only what precedes the last newline"
    wanted += [last["event_id"], *appended(ledger)]
    assert ids(ledger) == wanted
    assert not (mission.repo.common / "kitty" / "torn").exists()


def test_a_torn_tail_under_the_second_name_is_set_aside_too(ledger: Ledger, mission: Mission) -> None:
    wanted = appended(ledger)
    with ledger.live.open("ab") as stream:
        stream.write(b"{torn")
    ledger.live.unlink()
    assert ids(ledger) == wanted
    wanted += appended(ledger)
    assert ids(ledger) == wanted
    [aside] = (mission.repo.common / "kitty" / "torn").iterdir()
    assert aside.read_bytes() == b"{torn"


@pytest.mark.parametrize("two_files", [False, True], ids=["one file", "two files"])
@pytest.mark.parametrize(
    "damage",
    [b"{broken", b"\0\0\0\0\0\0", b'{"kind": "unknown"}', b"17", b"\xff", b'{"wp_id": "WP01"}', b"[" * 50_000],
    ids=lambda found: repr(found[:12]),
)
def test_damage_further_up_refuses_with_line_and_byte_and_is_never_touched(
    ledger: Ledger, damage: bytes, two_files: bool
) -> None:
    first, last = line(row()), line(row())
    ledger.append([row()])
    ledger.live.write_bytes(b"\n".join([first, damage, last, b""]))
    if two_files:
        content = ledger.live.read_bytes()
        ledger.live.unlink()
        ledger.live.write_bytes(content)
        ledger.twin.write_bytes(b"")
    before = ledger.live.read_bytes()
    error = refusal(ledger.events, "LEDGER_DAMAGED")
    assert (error.details["line"], error.details["byte"]) == (2, len(first) + 1)
    assert f"line 2 (byte {len(first) + 1})" in error.message
    assert str(ledger.live) in error.message
    assert ledger.live.read_bytes() == before


@pytest.mark.parametrize("two_files", [False, True], ids=["one file", "two files"])
def test_blank_lines_are_no_damage(ledger: Ledger, two_files: bool) -> None:
    [one] = appended(ledger)
    other = row()
    with ledger.live.open("ab") as stream:
        stream.write(b"\n  \n" + line(other) + b"\n")
    if two_files:
        ledger.twin.unlink()
    assert [event.event_id for event in ledger.events()] == [one, other["event_id"]]
    assert ids(ledger) == [one, other["event_id"]]
    assert ids(ledger) + appended(ledger) == ids(ledger)


def test_lines_that_end_as_on_windows_are_the_same_lines(ledger: Ledger) -> None:
    wanted = appended(ledger, 2)
    content = ledger.live.read_bytes()
    ledger.live.unlink()
    ledger.live.write_bytes(content.replace(b"\n", b"\r\n"))
    assert ids(ledger) == wanted
    assert ids(ledger) + appended(ledger) == ids(ledger)


def test_a_directory_in_the_place_of_the_ledger_is_refused(ledger: Ledger) -> None:
    ledger.live.mkdir()
    refusal(ledger.events, "LEDGER_DAMAGED")
    refusal(lambda: ledger.append([row()]), "LEDGER_DAMAGED")


def test_a_ledger_that_is_a_link_is_neither_read_nor_written(ledger: Ledger, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_bytes(line(row()) + b"\n")
    ledger.live.symlink_to(elsewhere)
    before = elsewhere.read_bytes()
    refusal(ledger.lines, "LEDGER_DAMAGED")
    refusal(lambda: ledger.append([row()]), "LEDGER_DAMAGED")
    assert elsewhere.read_bytes() == before


# Two names


def test_the_two_names_lead_to_one_file(ledger: Ledger) -> None:
    appended(ledger)
    assert ledger.live.samefile(ledger.twin)
    assert ledger.findings() == []


# What people do: each takes a name away, or puts an older file in its place.


def untracked(project: Project, ledger: Ledger) -> list[str]:
    return appended(ledger, 3)


def tracked(project: Project, ledger: Ledger) -> list[str]:
    """The first row was committed on another branch's base, the others are newer."""
    wanted = appended(ledger)
    project.commit(relative(project, ledger), ledger.live.read_bytes())
    return wanted + appended(ledger, 2)


def ignored(project: Project, ledger: Ledger) -> list[str]:
    """Another branch tracks the file; this one ignores it."""
    wanted = appended(ledger)
    project.git("checkout", "-q", "-b", "other")
    project.git("add", "-f", relative(project, ledger))
    project.git("commit", "-q", "-m", "track")
    content = ledger.live.read_bytes()
    project.git("checkout", "-q", "main")
    ledger.live.write_bytes(content)
    project.write(".git/info/exclude", "status.events.jsonl\n")
    return wanted + appended(ledger, 2)


def relative(project: Project, ledger: Ledger) -> str:
    return ledger.live.relative_to(project.root).as_posix()


@pytest.mark.parametrize(
    ("setup", "command"),
    [
        (untracked, "git clean -fdxq"),
        (untracked, "git stash -q -u"),
        (untracked, "rm -f kitty-specs/*/status.events.jsonl"),
        (untracked, "git stash -q -u && git stash drop -q"),
        (untracked, "git rm -rq --cached kitty-specs && git commit -qm away && git clean -fdxq"),
        (tracked, "git reset -q --hard"),
        (tracked, "git checkout -q -f HEAD~1"),
        (tracked, "git checkout -q -- ."),
        (tracked, "git restore ."),
        (tracked, "git stash -q"),
        (tracked, "git rm -qrf kitty-specs"),
        (ignored, "git checkout -q other"),
    ],
)
def test_a_careless_command_takes_a_name_and_not_the_ledger(
    project: Project,
    mission: Mission,
    ledger: Ledger,
    setup: Callable[[Project, Ledger], list[str]],
    command: str,
) -> None:
    wanted = setup(project, ledger)
    subprocess.run(command, shell=True, cwd=project.root, check=True)
    assert not files.same_file(ledger.live, ledger.twin)
    before = project.snapshot()
    assert sorted(ids(ledger)) == sorted(wanted), "readers use the union"
    assert [finding.code for finding in ledger.findings()] == ["LEDGER_NAMES"]
    assert project.snapshot() == before, "a question changed something"
    wanted += appended(ledger)
    assert sorted(ids(ledger)) == sorted(wanted)
    assert ledger.live.samefile(ledger.twin), "the next writing command heals"
    assert ledger.findings() == []


@pytest.mark.parametrize("command", ["rm -f .git/kitty/ledger/*", "rm -rf .git/kitty"])
def test_a_second_name_that_is_not_there_yet_is_no_finding_and_comes_with_the_next_row(
    project: Project, ledger: Ledger, command: str
) -> None:
    """As in every clone, and where spec-kitty alone has written."""
    wanted = untracked(project, ledger)
    subprocess.run(command, shell=True, cwd=project.root, check=True)
    assert not ledger.twin.exists()
    before = project.snapshot()
    assert ledger.findings() == []
    assert project.snapshot() == before, "a question changed something"
    wanted += appended(ledger)
    assert sorted(ids(ledger)) == sorted(wanted)
    assert ledger.live.samefile(ledger.twin)


def test_a_reader_beside_one_who_heals_sees_every_row(ledger: Ledger) -> None:
    wanted = appended(ledger)
    done = threading.Event()

    def take_away_and_heal() -> None:
        while not done.is_set():
            ledger.live.unlink()
            os.link(ledger.twin, ledger.live)

    other = threading.Thread(target=take_away_and_heal)
    other.start()
    try:
        assert {tuple(ids(ledger)) for _ in range(2000)} == {tuple(wanted)}
    finally:
        done.set()
        other.join()


def test_the_union_has_each_id_once_in_the_order_of_the_first_copy(ledger: Ledger) -> None:
    a, b, c = (line(row(text)) for text in "abc")
    assert ledger.union([b, a], [a, c, b]) == [b, a, c]
    assert ledger.union([], [a]) == [a]
    assert ledger.union() == []


def test_the_same_row_written_in_another_way_is_the_same_row(ledger: Ledger) -> None:
    found = row()
    other = json.dumps(dict(reversed(found.items())), separators=(",", ":")).encode()
    assert ledger.union([line(found)], [other]) == [line(found)]


def test_rows_without_an_id_are_told_apart_by_their_text(ledger: Ledger) -> None:
    one, other = b'{"event_type": "A"}', b'{"event_type": "B"}'
    assert ledger.union([one], [other, one]) == [one, other]


def test_one_id_with_two_contents_is_a_conflict_that_nobody_resolves_in_silence(ledger: Ledger) -> None:
    mine = row("mine")
    yours = {**mine, "delta": {"note": "yours"}}
    ledger.append([mine])
    content = ledger.live.read_bytes()
    ledger.live.unlink()
    ledger.live.write_bytes(line(yours) + b"\n")
    error = refusal(ledger.lines, "EVENT_ID_CONFLICT")
    assert error.details["event_id"] == mine["event_id"]
    refusal(lambda: ledger.append([row()]), "EVENT_ID_CONFLICT")
    assert ledger.twin.read_bytes() == content


def test_one_id_twice_in_one_copy_is_the_reducers_business(ledger: Ledger) -> None:
    # Two migrations of a peer can use one id, and a fresh clone has only one name.
    seed = row("one", actor="migration:x")
    ledger.live.write_bytes(b"".join(line(one) + b"\n" for one in (seed, {**seed, "delta": {"note": "two"}})))
    assert len(ledger.lines()) == 2
    appended(ledger)
    assert len(ledger.lines()) == 3


def test_lines_of_another_copy_are_added_once(ledger: Ledger) -> None:
    [first] = appended(ledger)
    theirs = [line(row(text)) for text in "abc"]
    assert ledger.extend([*ledger.lines(), *theirs]) == 3
    assert ledger.extend(theirs) == 0
    assert ledger.lines()[1:] == theirs
    assert ids(ledger)[0] == first


def test_blank_lines_do_not_hide_the_lines_of_another_copy(ledger: Ledger) -> None:
    appended(ledger)
    with ledger.live.open("ab") as stream:
        stream.write(b"\n\n\n")
    theirs = line(row())
    assert ledger.extend([theirs]) == 1
    assert ledger.lines()[-1] == theirs


# Where links do not exist


@pytest.fixture
def without_links(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))

    monkeypatch.setattr(os, "link", fail)


@pytest.mark.usefixtures("without_links")
def test_without_links_the_second_name_is_a_copy_of_every_row(ledger: Ledger) -> None:
    wanted = appended(ledger) + appended(ledger)
    assert not ledger.live.samefile(ledger.twin)
    assert ledger.twin.read_bytes() == ledger.live.read_bytes()
    assert ids(ledger) == wanted
    assert ledger.findings() == [], "two equal copies are healthy"


@pytest.mark.usefixtures("without_links")
@pytest.mark.parametrize("which", ["live", "twin"])
def test_without_links_either_copy_brings_the_other_back(ledger: Ledger, which: str) -> None:
    wanted = appended(ledger, 2)
    getattr(ledger, which).unlink()
    assert ids(ledger) == wanted
    assert [finding.code for finding in ledger.findings()] == (["LEDGER_NAMES"] if which == "live" else [])
    wanted += appended(ledger)
    assert ids(ledger) == wanted
    assert ledger.twin.read_bytes() == ledger.live.read_bytes()
    assert ledger.findings() == []


# Leaving the checkout


def test_a_ledger_can_give_up_its_live_name_and_keeps_every_line(ledger: Ledger) -> None:
    wanted = appended(ledger, 2)
    ledger.leave_the_checkout()
    assert not ledger.live.exists()
    assert ids(ledger) == wanted
    wanted += appended(ledger)
    assert ids(ledger) == wanted
    assert ledger.live.samefile(ledger.twin)


def test_a_live_name_that_has_lines_of_its_own_is_not_given_up(ledger: Ledger) -> None:
    wanted = appended(ledger)
    mine = row()
    ledger.live.unlink()
    ledger.live.write_bytes(line(mine) + b"\n")
    ledger.leave_the_checkout()
    assert sorted(ids(ledger)) == sorted([*wanted, mine["event_id"]])
    assert ledger.live.exists()


# Checkpoints


def parents(project: Project, commit: str) -> list[str]:
    return project.git("log", "-1", "--format=%P", commit).split()


def test_a_checkpoint_is_a_commit_whose_parent_is_the_one_before(
    project: Project, mission: Mission, ledger: Ledger
) -> None:
    git = mission.repo.git
    appended(ledger)
    first = ledger.checkpoint(git, "finalize")
    appended(ledger)
    second = ledger.checkpoint(git, "submit WP01")
    assert project.git("rev-parse", f"refs/kitty/{mission.mission_id}/ledger") == second
    assert (parents(project, first), parents(project, second)) == ([], [first])
    assert project.git("ls-tree", "--name-only", second) == FILE
    assert project.git("log", "-1", "--format=%s", second) == "submit WP01"
    assert ledger.lines_at(git, second) == ledger.lines()
    assert ledger.lines_at(git, first) == ledger.lines()[:1]
    assert ledger.lines_at(git, "refs/no/such/ref") == []
    assert project.git("reflog", "show", "--format=%h", ledger.ref).count("\n") == 1


def test_without_a_change_there_is_no_new_checkpoint(mission: Mission, ledger: Ledger) -> None:
    appended(ledger)
    first = ledger.checkpoint(mission.repo.git, "one")
    assert ledger.checkpoint(mission.repo.git, "two") == first


def test_a_checkpoint_of_another_clone_becomes_a_second_parent_once(
    project: Project, mission: Mission, ledger: Ledger
) -> None:
    git = mission.repo.git
    appended(ledger)
    mine = ledger.checkpoint(git, "mine")
    theirs = ledger.commit(git, [line(row())], "theirs", [])
    ledger.extend(ledger.lines_at(git, theirs))
    both = ledger.checkpoint(git, "both", others=[theirs])
    assert parents(project, both) == [mine, theirs]
    assert ledger.checkpoint(git, "again", others=[theirs]) == both


def test_a_checkpoint_touches_neither_index_nor_checkout(project: Project, mission: Mission, ledger: Ledger) -> None:
    appended(ledger)
    before = project.git("status", "--porcelain"), (project.root / ".git" / "index").read_bytes()
    ledger.checkpoint(mission.repo.git, "one")
    assert (project.git("status", "--porcelain"), (project.root / ".git" / "index").read_bytes()) == before


CHECKPOINT = """
from kitty_host.git import Git
for _ in range(int(count)):
    rows = [row()]
    ledger.append(rows)
    ledger.checkpoint(Git(Path(directory)), "one of many")
    acknowledge(rows)
"""


def test_checkpoints_at_once_all_succeed_and_each_holds_what_its_parent_held(
    mission: Mission, ledger: Ledger, start: Callable[..., subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    finish([start(CHECKPOINT, 3) for _ in range(6)])
    git = mission.repo.git
    history = git.lines("rev-list", "--first-parent", ledger.ref)
    contents = [set(ledger.lines_at(git, commit)) for commit in history]
    assert len(contents[0]) == 18 == len(acknowledged(tmp_path))
    assert all(later > earlier for later, earlier in itertools.pairwise(contents))


def test_the_last_rows_are_read_from_the_end_and_are_whole(ledger: Ledger) -> None:
    assert ledger.recent() == ()
    known = appended(ledger, 5)
    size = ledger.live.stat().st_size // 5
    assert [one.event_id for one in ledger.recent()] == known
    assert [one.event_id for one in ledger.recent(2 * size)] == known[-2:]
    assert [one.event_id for one in ledger.recent(2 * size - 1)] == known[-1:], "half a line is none"
    assert ledger.recent(size - 1) == ()


def test_a_line_that_cannot_be_read_is_left_out_of_the_last_rows(ledger: Ledger) -> None:
    known = appended(ledger, 2)
    with ledger.live.open("ab") as stream:
        stream.write(b'[]\n{"a": \n\n' + b"[" * 100_000 + b'\n{"torn')
    assert [one.event_id for one in ledger.recent()] == known
