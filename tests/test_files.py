"""Files that survive a crash, a race, a full disk and a hostile path."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import gc
import os
import signal
import stat
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kitty_host import files
from kitty_host.api import KittyError

# Atomic writes


def test_a_write_replaces_the_content_and_makes_the_directories(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "file"
    files.atomic_write(path, b"one")
    files.atomic_write(path, b"two")
    assert path.read_bytes() == b"two"
    assert list(path.parent.iterdir()) == [path]


def test_a_write_keeps_the_permissions_of_the_file_that_was_there(tmp_path: Path) -> None:
    path = tmp_path / "script"
    path.write_bytes(b"old")
    path.chmod(0o751)
    files.atomic_write(path, b"new")
    assert stat.S_IMODE(path.stat().st_mode) == 0o751


def test_a_new_file_has_the_permissions_that_the_umask_leaves(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        files.atomic_write(tmp_path / "file", b"x")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o640


def test_a_reader_beside_a_writer_sees_the_old_bytes_or_the_new_ones(tmp_path: Path) -> None:
    path = tmp_path / "file"
    contents = (b"a" * 200_000, b"b" * 100_000)
    files.atomic_write(path, contents[0])
    done = threading.Event()

    def write() -> None:
        for number in range(100):
            files.atomic_write(path, contents[number % 2])
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    seen = set()
    while not done.is_set():
        seen.add(path.read_bytes())
    writer.join()
    assert seen <= set(contents)


def test_bytes_are_synced_before_they_get_the_name_and_the_name_afterwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []
    replace, sync = os.replace, os.fsync

    def syncing(descriptor: int) -> None:
        steps.append("sync directory" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "sync file")
        sync(descriptor)

    def replacing(source: Path, target: Path) -> None:
        steps.append("rename")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", syncing)
    monkeypatch.setattr(os, "replace", replacing)
    files.atomic_write(tmp_path / "file", b"x")
    assert steps == ["sync file", "rename", "sync directory"]


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (errno.ENOSPC, "DISK_FULL"),
        (errno.EDQUOT, "DISK_FULL"),
        (errno.EROFS, "READ_ONLY"),
        (errno.EACCES, "READ_ONLY"),
        (errno.EPERM, "READ_ONLY"),
    ],
)
@pytest.mark.parametrize("call", ["write", "fsync", "replace"])
def test_a_disk_that_refuses_leaves_the_old_bytes_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, code: str, call: str
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def fail(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(KittyError) as refused:
        files.atomic_write(path, b"new")
    monkeypatch.undo()
    assert refused.value.code == code
    assert str(path) in refused.value.message
    assert refused.value.hint
    assert {one.name: one.read_bytes() for one in tmp_path.iterdir()} == {"file": b"old"}


def test_an_error_of_another_kind_passes_as_it_is(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="Input/output"), files.disk_errors(tmp_path):
        raise OSError(errno.EIO, os.strerror(errno.EIO))


def test_every_byte_is_written_however_few_the_kernel_takes_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, view: write(descriptor, bytes(view[:3])))
    files.atomic_write(tmp_path / "file", b"0123456789")
    assert (tmp_path / "file").read_bytes() == b"0123456789"


def test_a_new_file_is_never_written_over_one_that_exists(tmp_path: Path) -> None:
    files.write_new(tmp_path / "file", b"one", 0o600)
    with pytest.raises(FileExistsError):
        files.write_new(tmp_path / "file", b"two")
    assert (tmp_path / "file").read_bytes() == b"one"
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o600


def test_removing_what_is_not_there_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    files.remove(tmp_path / "file")
    files.remove(tmp_path / "file")
    assert not (tmp_path / "file").exists()


def test_a_rename_and_a_sync_are_durable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []
    sync = os.fsync

    def syncing(descriptor: int) -> None:
        synced.append(Path(f"/dev/fd/{descriptor}").resolve().name)
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", syncing)
    (tmp_path / "one").write_bytes(b"x")
    files.sync_file(tmp_path / "one")
    files.rename(tmp_path / "one", tmp_path / "two")
    assert synced == ["one", tmp_path.name]
    assert (tmp_path / "two").read_bytes() == b"x"


def test_only_temporary_files_of_processes_that_are_gone_are_swept(tmp_path: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    mine = files.temporary(tmp_path)
    theirs = tmp_path / mine.name.replace(str(os.getpid()), str(ended.pid), 1)
    nobodys = mine.with_name(mine.name.replace(f"-{os.getpid()}-", "-text-", 1))
    for path in (mine, theirs, nobodys, tmp_path / "file"):
        path.touch()
    files.sweep(tmp_path)
    assert set(tmp_path.iterdir()) == {mine, tmp_path / "file"}
    files.sweep(tmp_path / "missing")


def test_the_process_ids_of_another_container_say_nothing_here(tmp_path: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    fresh, old = (tmp_path / f"{files.TEMPORARY_PREFIX}1-{ended.pid}-{name}" for name in ("fresh", "old"))
    for path in (fresh, old):
        path.touch()
    os.utime(old, (0, 0))
    files.sweep(tmp_path)
    assert list(tmp_path.iterdir()) == [fresh], "somebody may be writing it at this moment"


# Two names


def test_a_hard_link_is_a_second_name_of_the_same_bytes(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "deep" / "two"
    one.write_bytes(b"x")
    assert files.hard_link(one, two)
    assert files.same_file(one, two)


def test_a_hard_link_replaces_what_had_the_name(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_bytes(b"one")
    two.write_bytes(b"two")
    assert files.hard_link(one, two)
    assert two.read_bytes() == b"one"


def test_linking_twice_leaves_no_third_name_behind(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_bytes(b"x")
    files.hard_link(one, two)
    files.hard_link(one, two)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one", "two"]
    assert one.stat().st_nlink == 2


@pytest.mark.parametrize("number", [errno.EXDEV, errno.EPERM, errno.ENOTSUP, errno.EMLINK])
def test_a_file_system_without_links_is_an_answer_and_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def fail(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    (tmp_path / "one").touch()
    monkeypatch.setattr(os, "link", fail)
    assert not files.hard_link(tmp_path / "one", tmp_path / "two")
    assert not (tmp_path / "two").exists()


def test_only_one_can_take_a_name(tmp_path: Path) -> None:
    for token in ("mine", "yours"):
        (tmp_path / token).touch()
    assert files.link_exclusively(tmp_path / "mine", tmp_path / "index.lock")
    assert not files.link_exclusively(tmp_path / "yours", tmp_path / "index.lock")
    assert files.same_file(tmp_path / "mine", tmp_path / "index.lock")


def test_a_missing_file_is_the_same_as_none(tmp_path: Path) -> None:
    (tmp_path / "one").touch()
    assert not files.same_file(tmp_path / "one", tmp_path / "two")
    assert not files.same_file(tmp_path / "two", tmp_path / "two")


# Contained opens


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A directory to stay in, and a secret beside it."""
    (tmp_path / "secret").write_bytes(b"secret")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "plan.md").write_bytes(b"secret")
    made = tmp_path / "root"
    (made / "sub").mkdir(parents=True)
    (made / "sub" / "plan.md").write_bytes(b"plan")
    return made


def content(root: Path, relative: str) -> bytes:
    descriptor = files.open_contained(root, relative)
    with os.fdopen(descriptor, "rb") as stream:
        return stream.read()


def test_a_regular_file_below_the_root_is_opened(root: Path) -> None:
    assert content(root, "sub/plan.md") == b"plan"
    assert content(root, "./sub//plan.md") == b"plan"


def link_at_the_end(root: Path) -> str:
    (root / "link").symlink_to(root.parent / "secret")
    return "link"


def link_on_the_way(root: Path) -> str:
    (root / "way").symlink_to(root.parent / "outside")
    return "way/plan.md"


def link_that_stays_inside(root: Path) -> str:
    (root / "alias").symlink_to("sub/plan.md")
    return "alias"


def second_hard_link(root: Path) -> str:
    os.link(root.parent / "secret", root / "hard")
    return "hard"


def pipe(root: Path) -> str:
    os.mkfifo(root / "pipe")
    return "pipe"


@pytest.mark.parametrize(
    ("path", "numbers"),
    [
        (lambda root: "../secret", {errno.EXDEV}),
        (lambda root: "sub/../../secret", {errno.EXDEV}),
        (lambda root: "", {errno.EXDEV}),
        (lambda root: ".", {errno.EXDEV}),
        (lambda root: "sub", {errno.EINVAL}),
        (lambda root: "missing", {errno.ENOENT}),
        (link_at_the_end, {errno.ELOOP}),
        (link_on_the_way, {errno.ELOOP, errno.ENOTDIR}),
        (link_that_stays_inside, {errno.ELOOP}),
        (second_hard_link, {errno.EMLINK}),
        (pipe, {errno.EINVAL}),
    ],
)
def test_whatever_leads_elsewhere_or_is_no_plain_file_is_refused(
    root: Path, path: Callable[[Path], str], numbers: set[int]
) -> None:
    relative = path(root)
    gc.collect()  # What earlier tests have left would be closed in between.
    before = len(list(Path("/dev/fd").iterdir()))
    with pytest.raises(OSError) as refused:
        files.open_contained(root, relative)
    assert refused.value.errno in numbers
    assert len(list(Path("/dev/fd").iterdir())) == before, "a descriptor was left open"


def test_a_directory_is_listed_without_hidden_names(root: Path) -> None:
    for name in ("sub/b.md", "sub/deeper/c.md", "sub/.hidden.md", "sub/.git/d.md", ".e.md"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"")
    assert sorted(files.list_contained(root, "sub")) == ["b.md", "deeper/c.md", "plan.md"]
    assert "sub/plan.md" in set(files.list_contained(root, "."))


@pytest.mark.parametrize("name", ["sub", "sub/link", "sub/deeper/link"])
def test_a_link_anywhere_in_a_directory_refuses_the_list(root: Path, name: str) -> None:
    (root / "sub/deeper").mkdir()
    if name == "sub":
        (root / "sub").rename(root / "aside")
        (root / "sub").symlink_to("aside")
    else:
        (root / name).symlink_to(root.parent / "outside")
    before = len(list(Path("/dev/fd").iterdir()))
    with pytest.raises(OSError) as refused:
        list(files.list_contained(root, "sub"))
    assert refused.value.errno in (errno.ELOOP, errno.ENOTDIR)
    assert len(list(Path("/dev/fd").iterdir())) == before, "a descriptor was left open"


def test_a_list_does_not_go_up(root: Path) -> None:
    with pytest.raises(OSError) as refused:
        list(files.list_contained(root, "sub/../.."))
    assert refused.value.errno == errno.EXDEV


def test_a_directory_swapped_for_a_link_never_leads_outside(root: Path) -> None:
    swapped = root / "sub"
    aside = root / "aside"
    done = threading.Event()

    def swap() -> None:
        while not done.is_set():
            swapped.rename(aside)
            swapped.symlink_to(root.parent / "outside")
            swapped.unlink()
            aside.rename(swapped)

    racer = threading.Thread(target=swap)
    racer.start()
    seen: set[bytes | int | None] = set()
    try:
        for _ in range(2000):
            try:
                seen.add(content(root, "sub/plan.md"))
            except OSError as error:
                seen.add(error.errno)
    finally:
        done.set()
        racer.join()
    assert seen <= {b"plan", errno.ENOENT, errno.ELOOP, errno.ENOTDIR}


# Locks


def test_a_lock_excludes_and_then_lets_go(tmp_path: Path) -> None:
    path = tmp_path / "locks" / "one.lock"
    with files.lock(path):
        with pytest.raises(KittyError) as refused, files.lock(path, wait_seconds=0, purpose="the ledger of demo"):
            pass
        assert refused.value.code == "LOCK_HELD"
        assert "the ledger of demo" in refused.value.message
    with files.lock(path, wait_seconds=0):
        pass


@pytest.fixture(params=["an alarm", "a thread"])
def bounded(request: pytest.FixtureRequest) -> Iterator[None]:
    """Both ways of waiting for a bounded time: the second is for whoever has a use of his own for the alarm."""
    if request.param == "an alarm":
        yield
        return
    signal.signal(signal.SIGALRM, lambda _number, _frame: None)
    yield
    signal.signal(signal.SIGALRM, signal.SIG_DFL)


@pytest.mark.usefixtures("bounded")
def test_a_lock_is_waited_for_as_long_as_was_asked(tmp_path: Path) -> None:
    path = tmp_path / "one.lock"
    with files.lock(path):
        start = time.monotonic()
        with pytest.raises(KittyError), files.lock(path, wait_seconds=0.1):
            pass
        assert time.monotonic() - start >= 0.1


BUSY = """
import sys, time
from pathlib import Path
from kitty_host import files
counter = open(sys.argv[2], "r+b", buffering=0)
for number in range(3000):
    with files.lock(Path(sys.argv[1])):
        counter.seek(0)
        counter.write(b"%06d" % number)
        time.sleep(0.005)
    if not number:
        print("begun", flush=True)
    time.sleep(0.001)
"""


@pytest.mark.usefixtures("bounded")
def test_who_waits_for_a_bounded_time_gets_it_when_it_is_free(tmp_path: Path) -> None:
    """It is free for a millisecond at a time; who looked now and then would mostly find it taken."""
    path, counter = tmp_path / "x.lock", tmp_path / "counter"
    counter.write_bytes(b"000000")
    with subprocess.Popen([sys.executable, "-c", BUSY, path, counter], stdout=subprocess.PIPE) as busy:
        assert busy.stdout is not None
        busy.stdout.readline()
        waited = []
        for _ in range(15):
            before = int(counter.read_bytes())
            with files.lock(path, wait_seconds=30):
                waited.append(int(counter.read_bytes()) - before)
            time.sleep(0.003)
        busy.kill()
    assert statistics.median(waited) <= 2, waited


@pytest.mark.usefixtures("bounded")
@pytest.mark.parametrize("seconds", [0.05, 1e-9])
def test_a_lock_that_comes_too_late_is_nobodys(tmp_path: Path, seconds: float) -> None:
    path = tmp_path / "x.lock"
    with files.lock(path), pytest.raises(KittyError, match="LOCK_HELD"), files.lock(path, wait_seconds=seconds):
        pass
    for _ in range(50):
        with files.lock(path, wait_seconds=5):
            pass


def test_somebody_elses_alarm_rings_as_it_was_set(tmp_path: Path) -> None:
    path, rung = tmp_path / "x.lock", []
    signal.signal(signal.SIGALRM, lambda number, _frame: rung.append(number))
    signal.setitimer(signal.ITIMER_REAL, 0.15)
    try:
        with files.lock(path), pytest.raises(KittyError, match="LOCK_HELD"), files.lock(path, wait_seconds=0.3):
            pass
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
    assert rung == [signal.SIGALRM]


def test_no_alarm_is_left_behind(tmp_path: Path) -> None:
    path = tmp_path / "x.lock"
    with files.lock(path), pytest.raises(KittyError, match="LOCK_HELD"), files.lock(path, wait_seconds=0.05):
        pass
    assert signal.getsignal(signal.SIGALRM) is signal.SIG_DFL
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_a_thread_waits_too(tmp_path: Path) -> None:
    path, codes = tmp_path / "x.lock", []

    def ask() -> None:
        with pytest.raises(KittyError) as refused, files.lock(path, wait_seconds=0.05):
            pass
        codes.append(refused.value.code)

    with files.lock(path):
        asking = threading.Thread(target=ask)
        asking.start()
        asking.join()
    assert codes == ["LOCK_HELD"]


def test_the_kernel_gives_back_the_lock_of_a_killed_process(tmp_path: Path) -> None:
    path = tmp_path / "one.lock"
    holder = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys, time, pathlib\nfrom kitty_host.files import lock\n"
            "with lock(pathlib.Path(sys.argv[1])):\n    print('held', flush=True)\n    time.sleep(60)\n",
            str(path),
        ],
        stdout=subprocess.PIPE,
    )
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(KittyError), files.lock(path, wait_seconds=0):
            pass
        holder.kill()
    with files.lock(path, wait_seconds=0):
        pass


@pytest.fixture
def left_for(tmp_path: Path, children: list[int]) -> Callable[[float], Path]:
    """A lock file whose lock a killed process has left to a child that lives for so many seconds more."""

    def leave(seconds: float) -> Path:
        path = tmp_path / "it.lock"
        taker = (
            "import os, subprocess, sys\n"
            "from pathlib import Path\n"
            "from kitty_host.files import lock\n"
            "with lock(Path(sys.argv[1])) as held:\n"
            "    child = subprocess.Popen(['sleep', sys.argv[2]], pass_fds=[held], stdout=subprocess.DEVNULL)\n"
            "    print(child.pid, flush=True)\n"
            "    os.kill(os.getpid(), 9)\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", taker, str(path), str(seconds)], stdout=subprocess.PIPE, text=True, check=False
        )
        assert done.returncode == -signal.SIGKILL
        children.append(int(done.stdout))
        return path

    return leave


@pytest.fixture
def children() -> Iterator[list[int]]:
    """Processes to end."""
    started: list[int] = []
    yield started
    for child in started:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)


def test_a_killed_holder_has_a_moment_to_let_go(left_for: Callable[[float], Path]) -> None:
    path = left_for(0.3)
    with files.lock(path, wait_seconds=0):
        pass


def test_a_moment_is_not_for_ever(left_for: Callable[[float], Path]) -> None:
    path = left_for(60)
    with pytest.raises(KittyError, match="LOCK_HELD"), files.lock(path, wait_seconds=0):
        pass


def test_nobody_waits_a_moment_for_one_who_lives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    monkeypatch.setattr(files, "wait_for_lock", lambda _descriptor, seconds: waits.append(seconds))
    with files.lock(tmp_path / "it.lock"):  # noqa: SIM117 - the second is refused
        with pytest.raises(KittyError, match="LOCK_HELD"), files.lock(tmp_path / "it.lock", wait_seconds=0):
            pass
    assert waits == []


def test_a_lock_file_that_its_holder_removes_is_made_again(tmp_path: Path) -> None:
    # Releases of the lock library that spec-kitty uses unlink the file before they unlock it.
    path = tmp_path / "one.lock"
    theirs = os.open(path, os.O_RDWR | os.O_CREAT)
    fcntl.flock(theirs, fcntl.LOCK_EX)
    held, done = threading.Event(), threading.Event()

    def wait_for_it() -> None:
        with files.lock(path):
            held.set()
            done.wait(10)

    waiting = threading.Thread(target=wait_for_it)
    waiting.start()
    time.sleep(0.1)
    path.unlink()
    os.close(theirs)
    assert held.wait(10)
    try:
        with pytest.raises(KittyError), files.lock(path, wait_seconds=0):
            pass
    finally:
        done.set()
        waiting.join()


def test_who_waits_for_a_lock_for_long_is_told_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "_WAITING", 0.05)
    path = tmp_path / "lock"
    holder = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import fcntl, sys; f = open(sys.argv[1], 'w'); fcntl.flock(f, fcntl.LOCK_EX); print(flush=True); sys.stdin.read()",
            str(path),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert holder.stdout is not None
    assert holder.stdin is not None
    holder.stdout.readline()
    told: list[str] = []

    def waiting() -> None:
        told.append("waiting")
        threading.Timer(0.3, holder.stdin.close).start()  # type: ignore[union-attr]

    with files.lock(path, waiting=waiting):
        assert told == ["waiting"]
    holder.wait()
    with files.lock(path, waiting=waiting):
        assert told == ["waiting"], "nobody had it"
