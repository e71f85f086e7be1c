"""The crash library itself: it counts a whole group, kills it at exactly one call, tears a write, and finds an unsynced rename."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from library import Call, Crash, copy, points, snapshot

# A process, its child and its grandchild make one file each; every open is a call, and so is every write.
FAMILY = """
import os, subprocess, sys
generation = int(sys.argv[1])
descriptor = os.open(f"file-{generation}", os.O_WRONLY | os.O_CREAT)
os.write(descriptor, b"0123456789")
if generation < 3:
    subprocess.run([sys.executable, "-c", sys.argv[2], str(generation + 1), sys.argv[2]])
os.mkdir(f"directory-{generation}")
print("end of", generation, flush=True)
"""
# `SYNC` and `RENAME` are replaced by the test.
REPLACE = """
import os
descriptor = os.open("source", os.O_WRONLY | os.O_CREAT)
os.write(descriptor, b"content")
SYNC
RENAME
"""


def family() -> list[str]:
    return [sys.executable, "-c", FAMILY, "1", FAMILY]


def python(source: str) -> list[str]:
    return [sys.executable, "-c", f"import os\n{source}"]


@pytest.fixture
def here(tmp_path: Path) -> Path:
    place = tmp_path / "here"
    place.mkdir()
    return place


def names(place: Path) -> set[str]:
    return {path.name for path in place.iterdir()}


def test_a_process_its_child_and_its_grandchild_count_in_one_counter(crash: Crash, here: Path) -> None:
    done = crash.run(family(), where=here)
    assert (done.killed, done.exit_code, done.stdout) == (False, 0, "end of 3\nend of 2\nend of 1\n")
    kinds = [call.name.removesuffix("64") for call in done.calls]
    assert kinds == ["open", "write"] * 3 + ["mkdir"] * 3
    assert [call.size for call in done.calls] == [0, 10] * 3 + [0] * 3


@pytest.mark.parametrize(
    ("at", "left"),
    [
        (1, set()),
        (2, {"file-1"}),
        (3, {"file-1"}),
        (5, {"file-1", "file-2"}),
        (6, {"file-1", "file-2", "file-3"}),
        (8, {"file-1", "file-2", "file-3", "directory-3"}),
        (9, {"file-1", "file-2", "file-3", "directory-3", "directory-2"}),
    ],
)
def test_the_whole_group_dies_before_exactly_that_call(crash: Crash, here: Path, at: int, left: set[str]) -> None:
    done = crash.run(family(), at=at, where=here)
    assert done.killed
    assert len(done.calls) == at
    assert names(here) == left
    # A parent that outlived its child would have gone on.
    assert "end of 1" not in done.stdout
    if at == 6:
        assert (here / "file-3").read_bytes() == b""


def test_a_point_behind_the_last_call_is_never_reached(crash: Crash, here: Path) -> None:
    done = crash.run(family(), at=10, where=here)
    assert (done.killed, done.exit_code) == (False, 0)


@pytest.mark.parametrize(
    "write",
    [
        "os.write(descriptor, b'0123456789')",
        "os.writev(descriptor, [b'012', b'', b'3456', b'789'])",
        "os.pwrite(descriptor, b'0123456789', 0)",
        "os.pwritev(descriptor, [b'012', b'3456789'], 0)",
    ],
)
def test_a_torn_write_leaves_half(crash: Crash, here: Path, write: str) -> None:
    source = f"descriptor = os.open('file', os.O_WRONLY | os.O_CREAT)\n{write}"
    assert crash.run(python(source), at=2, torn=True, where=here).killed
    assert (here / "file").read_bytes() == b"01234"
    assert crash.run(python(source), at=2, where=here).killed
    assert (here / "file").read_bytes() == b"01234", "a plain kill comes before the write"


def test_where_there_is_nothing_to_tear_the_kill_comes_before_the_call(crash: Crash, here: Path) -> None:
    source = "descriptor = os.open('file', os.O_WRONLY | os.O_CREAT)\nos.write(descriptor, b'0')\nos.mkdir('directory')"
    for at in (2, 3):
        assert crash.run(python(source), at=at, torn=True, where=here).killed
        assert names(here) == {"file"}


@pytest.mark.parametrize(
    ("source", "counted"),
    [
        ("os.rename('old', 'new')", ["rename"]),
        ("os.replace('old', 'new')", ["rename"]),
        ("os.link('old', 'new')", ["link"]),
        ("os.symlink('old', 'new')", ["symlink"]),
        ("os.unlink('old')", ["unlink"]),
        ("os.mkdir('new'); os.rmdir('new')", ["mkdir", "rmdir"]),
        ("os.truncate('old', 1)", ["truncate"]),
        ("os.chmod('old', 0o600)", ["chmod"]),
        ("here = os.open('.', 0); os.rename('old', 'new', src_dir_fd=here)", ["renameat"]),
        (
            "here = os.open('.', 0); os.unlink('old', dir_fd=here); os.mkdir('new', dir_fd=here)",
            ["unlinkat", "mkdirat"],
        ),
        ("f = os.open('old', os.O_RDWR); os.ftruncate(f, 2); os.fchmod(f, 0o600)", ["ftruncate", "fchmod"]),
        ("f = os.open('old', os.O_RDWR); os.fsync(f); os.fdatasync(f)", ["fsync", "fdatasync"]),
        ("f = os.open('old', os.O_RDWR); os.posix_fallocate(f, 0, 99)", ["posix_fallocate"]),
        ("f = os.open('old', os.O_RDONLY); g = os.open('new', 65); os.sendfile(g, f, 0, 3)", ["open", "sendfile"]),
        (
            "f = os.open('old', os.O_RDONLY); g = os.open('new', 65); os.copy_file_range(f, g, 3)",
            ["open", "copy_file_range"],
        ),
        ("os.read(os.open('old', os.O_RDONLY), 3); os.stat('old'); os.listdir('.')", []),
        ("r, w = os.pipe(); os.write(w, b'told'); os.write(1, b'said')", []),
    ],
    ids=lambda value: ",".join(value) or "nothing" if isinstance(value, list) else "",
)
def test_what_changes_files_counts_and_nothing_else_does(
    crash: Crash, here: Path, source: str, counted: list[str]
) -> None:
    (here / "old").write_bytes(b"content")
    done = crash.run(python(source), where=here)
    assert done.exit_code == 0, done.stderr
    assert [call.name.removesuffix("64") for call in done.calls] == counted


def test_git_counts_too(crash: Crash, here: Path) -> None:
    done = crash.run(python("import subprocess; subprocess.run(['git', 'init', '-q', '.'], check=True)"), where=here)
    assert done.exit_code == 0, done.stderr
    assert {"mkdir", "write"} <= {call.name for call in done.calls}


def test_a_process_that_leads_no_group_cannot_arm(crash: Crash, here: Path) -> None:
    place = Path(__file__).parent
    source = f"""
import sys; sys.path.insert(0, {str(place)!r})
from library import arm, count
def attempt():
    try:
        arm(1, torn=False)
    except RuntimeError:
        return "refused"
    return "armed"
if (child := os.fork()) == 0:
    os.write(1, attempt().encode())
    os._exit(0)
os.waitpid(child, 0)
os.mkdir("still-here")
arm(2, torn=False)
os.mkdir("counted")
assert count() == 1
os.mkdir("never")
"""
    done = crash.run(python(source), where=here)
    assert (done.killed, done.stdout) == (True, "refused")
    assert names(here) == {"still-here", "counted"}


@pytest.mark.parametrize(
    "rename",
    ["os.replace('source', 'target')", "os.rename('source', 'target', src_dir_fd=os.open('.', 0))"],
)
def test_the_lint_names_an_unsynced_rename(crash: Crash, here: Path, rename: str) -> None:
    for _ in range(2):
        crash.run(python(REPLACE.replace("SYNC", "").replace("RENAME", rename)), where=here)
    told = crash.lint()
    assert len(told) == 2
    assert told[0].startswith("rename of unsynced source -> target by python")
    assert int(told[0].split()[-1]) > 0


@pytest.mark.parametrize(
    "sync",
    [
        "os.fsync(descriptor)",
        "os.fdatasync(descriptor)",
        "other = os.open('source', os.O_RDONLY); os.fsync(other)",
        "os.system('sync source')",
        "os.unlink('source'); os.close(descriptor); os.close(os.open('source', os.O_CREAT))",
    ],
)
def test_the_lint_is_silent_about_a_synced_one(crash: Crash, here: Path, sync: str) -> None:
    done = crash.run(
        python(REPLACE.replace("SYNC", sync).replace("RENAME", "os.replace('source', 'target')")), where=here
    )
    assert (done.exit_code, names(here)) == (0, {"target"}), done.stderr
    assert crash.lint() == []


def test_the_lint_sees_a_write_behind_the_sync_and_one_of_a_child(crash: Crash, here: Path) -> None:
    late = "os.fsync(descriptor); os.write(descriptor, b'more')"
    child = "os.fsync(descriptor); os.system('echo more >>source')"
    for number, sync in enumerate((late, child), 1):
        crash.run(python(REPLACE.replace("SYNC", sync).replace("RENAME", "os.replace('source', 'target')")), where=here)
        assert len(crash.lint()) == number


def test_the_lint_names_the_link_of_an_unsynced_file(crash: Crash, here: Path) -> None:
    for sync in ("", "os.fsync(descriptor)"):
        crash.run(
            python(REPLACE.replace("SYNC", sync).replace("RENAME", "os.link('source', 'target' + str(os.getpid()))")),
            where=here,
        )
    [told] = crash.lint()
    assert told.startswith("link of unsynced source -> target")


def test_renames_of_git_can_be_left_out(crash: Crash, here: Path) -> None:
    crash.log.write_text("rename of unsynced a -> b by git 7\nrename of unsynced c by git -> d by python3 8\n")
    assert crash.lint() == ["rename of unsynced c by git -> d by python3 8"]
    assert len(crash.lint(git=True)) == 2


def test_points_are_before_each_call_and_inside_each_write() -> None:
    calls = [Call("open", 0), Call("write", 9), Call("write", 1)]
    assert points(calls) == [(1, False), (2, False), (2, True), (3, False)]


def test_a_copy_keeps_names_of_one_file_together_and_a_snapshot_sees_every_write(tmp_path: Path) -> None:
    (tmp_path / "one" / "below").mkdir(parents=True)
    (tmp_path / "one" / "a").write_bytes(b"a")
    os.link(tmp_path / "one" / "a", tmp_path / "one" / "below" / "b")
    copy(tmp_path / "one", tmp_path / "two")
    assert (tmp_path / "two" / "a").samefile(tmp_path / "two" / "below" / "b")
    assert not (tmp_path / "two" / "a").samefile(tmp_path / "one" / "a")
    before = snapshot(tmp_path / "two")
    assert snapshot(tmp_path / "two") == before
    os.utime(tmp_path / "two" / "a", ns=(1, 1))
    assert snapshot(tmp_path / "two") != before
