"""Who holds a lock is told by the process that does, and by the kernel; never by what somebody who is gone has left."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from kitty_host import files, holders
from kitty_host.api import KittyError
from kitty_host.testing import Project

SIGNED = (
    "import sys, pathlib\nfrom kitty_host.files import lock\n"
    "with lock(pathlib.Path(sys.argv[1]), sign=True):\n    print(flush=True)\n    sys.stdin.read()\n"
)
UNSIGNED = (
    "import fcntl, sys; f = open(sys.argv[1], 'a'); fcntl.flock(f, fcntl.LOCK_EX); print(flush=True); sys.stdin.read()"
)


@contextlib.contextmanager
def holding(script: str, path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that holds a lock."""
    with subprocess.Popen(
        ["python", "-c", script, str(path)], executable=sys.executable, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process


def refusal(path: Path) -> KittyError:
    with pytest.raises(KittyError, match="LOCK_HELD") as refused, files.lock(path, wait_seconds=0, purpose="the lock"):
        pass
    return refused.value


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "one.lock"


@pytest.fixture
def no_kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A system that does not list its locks; what it knows of processes is there."""
    place = tmp_path / "proc"
    place.mkdir()
    for name in ("self", "uptime"):
        (place / name).symlink_to(f"/proc/{name}")
    monkeypatch.setattr(holders, "_PROCESSES", place)
    return place


def test_a_holder_is_told_with_its_id_what_it_is_and_for_how_long(path: Path) -> None:
    with holding(SIGNED, path) as process:
        time.sleep(1.1)
        error = refusal(path)
        assert re.fullmatch(rf"process {process.pid} \(kitty\) has had the lock for [1-9]\d* s", error.message)
        assert error.details == {
            "lock": str(path),
            "pid": process.pid,
            "age_seconds": int(error.message.split()[-2]),
        }
        assert "run it again" in error.hint


def test_a_command_is_called_as_it_was_typed(path: Path) -> None:
    import click

    with click.Context(click.Command("merge"), info_name="kitty merge"), files.lock(path, sign=True):
        assert "(kitty merge)" in refusal(path).message


def test_who_has_let_go_has_taken_the_signature_back(path: Path) -> None:
    with files.lock(path, sign=True):
        assert path.read_bytes() != b""
    assert path.read_bytes() == b""
    with pytest.raises(RuntimeError), files.lock(path, sign=True):
        raise RuntimeError
    assert path.read_bytes() == b""


def test_a_killed_holder_is_not_believed_when_somebody_else_has_the_lock(path: Path, no_kernel: Path) -> None:
    with holding(SIGNED, path) as gone:
        gone.kill()
    assert f"{gone.pid} ".encode() in path.read_bytes()
    with holding(UNSIGNED, path):
        error = refusal(path)
    assert (error.message, error.details["pid"]) == ("another process holds the lock", None)


def test_a_killed_holder_whose_parent_has_not_looked_is_gone(path: Path, no_kernel: Path) -> None:
    with holding(SIGNED, path) as gone:
        (no_kernel / str(gone.pid)).symlink_to(f"/proc/{gone.pid}")
        assert refusal(path).details["pid"] == gone.pid
        gone.kill()
        with holding(UNSIGNED, path):
            assert Path(f"/proc/{gone.pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
            assert refusal(path).details["pid"] is None


def test_the_kernel_knows_better_than_the_file(path: Path) -> None:
    """Somebody lives who says that he has it, and another one has."""
    path.write_bytes(holders.signature())
    with holding(UNSIGNED, path) as process:
        error = refusal(path)
    assert (error.message, error.details["pid"]) == (f"process {process.pid} (python) holds the lock", process.pid)


@pytest.mark.parametrize("field", [0, 1, 2], ids=["another process", "another container", "born at another time"])
def test_a_signature_is_believed_of_the_very_process_only(path: Path, no_kernel: Path, field: int) -> None:
    (no_kernel / str(os.getpid())).symlink_to(f"/proc/{os.getpid()}")
    with holding(UNSIGNED, path):
        signed = holders.signature().split(b" ")
        path.write_bytes(b" ".join(signed))
        assert refusal(path).details["pid"] == os.getpid()
        path.write_bytes(b" ".join([*signed[:field], b"1", *signed[field + 1 :]]))
        assert refusal(path).details["pid"] is None


@pytest.mark.parametrize("content", [b"", b"4711\n", b"\0\xff\xfe", b"x" * 4096, b"1 1 1 1.0 a\nb\n"])
def test_what_is_no_signature_says_nothing(path: Path, no_kernel: Path, content: bytes) -> None:
    path.write_bytes(content)
    with holding(UNSIGNED, path):
        assert refusal(path).message == "another process holds the lock"


def test_a_signature_is_one_harmless_line(path: Path, no_kernel: Path) -> None:
    (no_kernel / str(os.getpid())).symlink_to(f"/proc/{os.getpid()}")
    signed = holders.signature().rsplit(b" ", 1)[0]
    path.write_bytes(signed + " \x1b[31mkitty\u202e\n".encode())
    with holding(UNSIGNED, path):
        assert refusal(path).message.isprintable()


def test_a_free_lock_is_taken_whatever_is_written_there(path: Path) -> None:
    path.write_bytes(holders.signature())
    with files.lock(path, wait_seconds=0):
        pass


def test_signing_syncs_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(descriptor: int) -> None:
        raise AssertionError("synced")

    for name in ("fsync", "fdatasync"):
        monkeypatch.setattr(os, name, fail)
    with files.lock(path, sign=True):
        assert path.read_bytes() != b""


def test_the_lock_of_a_ledger_is_never_written(project: Project) -> None:
    """The peer takes the same file."""
    mission = project.mission()
    lock = mission.ledger.lock_file
    lock.parent.mkdir(parents=True, exist_ok=True)
    lock.write_bytes(b"the peer's\n")
    before = lock.stat()
    project.record(mission, "WP01", "planned")
    with mission.ledger.locked():
        assert lock.read_bytes() == b"the peer's\n"
    assert (lock.stat().st_mtime_ns, lock.stat().st_ino) == (before.st_mtime_ns, before.st_ino)


def test_who_waits_for_a_ledger_is_told_for_whom(
    project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(files, "_WAITING", 0.05)
    mission = project.mission()
    lock = mission.ledger.lock_file
    lock.parent.mkdir(parents=True, exist_ok=True)
    with holding(UNSIGNED, lock) as process:
        with pytest.raises(KittyError, match="LOCK_HELD"), mission.ledger.locked(wait_seconds=0.5):
            pass
        assert (
            capsys.readouterr().err == f"Waiting: process {process.pid} (python) holds the ledger of {mission.slug} …\n"
        )
