"""The same on every system: by simulation where the system is another (see `simulated`), by bytes where a file comes from one."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from kitty_host import files, windows
from kitty_host.api import KittyError
from kitty_host.config import Config
from kitty_host.packages import read_packages
from kitty_host.repo import Repo
from kitty_host.testing import Project
from kitty_host.worktrees import finish_removals

SIMULATED = Path(__file__).with_name("simulated.py")
On = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def on(tmp_path: Path) -> On:
    """`on("win32", …)`: kitty with these arguments on that system, or a program after `-c`; what it syncs is in `synced`."""

    def run(
        system: str, *arguments: object, check: bool = True, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, SIMULATED, system, *map(str, arguments)],
            cwd=tmp_path,
            env={**os.environ, "SIMULATED_LOG": str(tmp_path / "synced"), **environment},
            capture_output=True,
            text=True,
            encoding="utf-8",
            check=False,
        )
        assert not check or done.returncode == 0, done.stderr
        return done

    return run


# Both

EVERY_MODULE = """
import importlib, pkgutil, sys, kitty_host
for found in pkgutil.walk_packages(kitty_host.__path__, "kitty_host."):
    if ".template" not in found.name and not found.name.endswith((".testing", ".__main__", ".posix", ".windows")):
        importlib.import_module(found.name)
print(sys.modules["kitty_host.system"].sync.__module__)
"""


@pytest.mark.parametrize(("system", "by"), [("win32", "kitty_host.windows"), ("darwin", "kitty_host.posix")])
def test_every_module_can_be_imported(on: On, system: str, by: str) -> None:
    assert on(system, "-c", EVERY_MODULE).stdout == f"{by}\n"


@pytest.mark.parametrize("system", ["win32", "darwin"])
@pytest.mark.parametrize("arguments", [["--version"], ["--help"], ["ledger", "--help"], ["plugins", "list", "--json"]])
def test_kitty_starts(on: On, system: str, arguments: list[str]) -> None:
    assert "kitty" in on(system, *arguments).stdout


APPEND = """
import sys
from pathlib import Path
from kitty_host.ledger.event import annotation, new_id, now
from kitty_host.mission import find_missions
from kitty_host.repo import Repo
[mission] = find_missions(Repo.find(Path(sys.argv[1])))
for word in sys.argv[2:]:
    mission.ledger.append([{**annotation("WP01", {"note": word}, actor="agent"), "event_id": new_id(), "at": now()}])
print(mission.ledger.live)
print(*[word for row in mission.ledger.rows() for word in ("one", "two", "three") if word in str(row)])
"""


@pytest.mark.parametrize("system", ["win32", "darwin"])
def test_a_ledger_is_written_read_and_verified(on: On, project: Project, system: str) -> None:
    mission = project.mission()
    on(system, "-c", APPEND, project.root, "one", "two")
    said = on(system, "-c", APPEND, project.root, "three")
    assert said.stdout.split() == [str(mission.ledger.live), "one", "two", "three"]
    content = mission.ledger.live.read_bytes()
    assert mission.ledger.twin.read_bytes() == content
    assert (content.count(b"\n"), content.count(b"\r")) == (3, 0)
    assert on(system, "-C", project.root, "ledger", "verify", "--json").stdout.startswith("{")
    assert len(mission.refresh().ledger.events()) == 3


def test_the_simulated_windows_writes_other_line_ends_where_nobody_says_otherwise(on: On, tmp_path: Path) -> None:
    on("win32", "-c", "import os\nos.write(os.open('a', os.O_WRONLY | os.O_CREAT), b'a\\n')")
    assert (tmp_path / "a").read_bytes() == b"a\r\n"


# macOS

WRITE = """
import os
from pathlib import Path
from kitty_host import files
files.atomic_write(Path("atomic"), b"x")
files.write_new(Path("new"), b"x")
Path("foreign").write_bytes(b"x")
files.sync_file(Path("foreign"))
files.copy_rest(Path("new"), 0, Path("copy"))
files.truncate(Path("copy"), 0)
files.make_directory(Path("a/b"))
"""


def inodes(log: Path, how: str) -> list[int]:
    return [int(line.split()[1]) for line in log.read_text(encoding="utf-8").splitlines() if line.startswith(how)]


def test_on_macos_everything_is_synced_in_full(on: On, tmp_path: Path, project: Project) -> None:
    on("darwin", "-c", WRITE)
    names = ("atomic", "new", "foreign", "copy", "a", ".")
    assert {(tmp_path / name).stat().st_ino for name in names} <= set(inodes(tmp_path / "synced", "full"))
    mission = project.mission()
    on("darwin", "-c", APPEND, project.root, "one")
    (tmp_path / "synced").unlink()
    on("darwin", "-c", APPEND, project.root, "two")
    assert mission.ledger.live.stat().st_ino in inodes(tmp_path / "synced", "full")
    assert inodes(tmp_path / "synced", "weak") == []


def test_on_macos_a_file_system_that_knows_no_full_sync_is_synced_as_it_can(on: On, tmp_path: Path) -> None:
    on("darwin", "-c", WRITE, SIMULATED_REFUSAL=str(errno.ENOTSUP))
    assert inodes(tmp_path / "synced", "weak") == inodes(tmp_path / "synced", "full") != []


def test_on_macos_a_disk_that_fails_is_not_asked_until_it_says_yes(on: On, tmp_path: Path) -> None:
    done = on("darwin", "-c", WRITE, check=False, SIMULATED_REFUSAL=str(errno.EIO))
    assert done.returncode == 1
    assert inodes(tmp_path / "synced", "weak") == []
    assert not (tmp_path / "atomic").exists()


@pytest.mark.parametrize("system", ["win32", "darwin"])
def test_whatever_kind_of_write_reaches_the_disk(on: On, tmp_path: Path, system: str) -> None:
    on(system, "-c", WRITE)
    contents = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file() and path.name != "synced"}
    assert contents == {"atomic": b"x", "new": b"x", "foreign": b"x", "copy": b""}
    assert (tmp_path / "foreign").stat().st_ino in inodes(tmp_path / "synced", "full")


def test_on_macos_a_socket_in_the_place_of_a_ledger_is_named(on: On, project: Project) -> None:
    mission = project.mission()
    with socket.socket(socket.AF_UNIX) as made, contextlib.chdir(mission.directory):
        made.bind(mission.ledger.live.name)  # the whole path may be too long for one
    said = on("darwin", "-C", project.root, "ledger", "verify", "--json", check=False)
    assert (said.returncode, "is a socket" in said.stdout) == (1, True)


HOLD = """
import sys
from pathlib import Path
from kitty_host.files import lock
with lock(Path("x.lock"), sign=True):
    print("held", flush=True)
    sys.stdin.read()
"""
ASK = """
from pathlib import Path
from kitty_host.api import KittyError
from kitty_host.files import lock
try:
    with lock(Path("x.lock"), wait_seconds=0):
        print("free")
except KittyError as refusal:
    print(refusal.code, refusal.details["pid"])
"""


@pytest.mark.parametrize("system", ["win32", "darwin"])
def test_a_lock_excludes_other_processes_and_goes_with_its_holder(on: On, tmp_path: Path, system: str) -> None:
    """Without `/proc` the holder is known by its signature; on Windows, where nobody may read that, not at all."""
    holder = subprocess.Popen(
        [sys.executable, SIMULATED, system, "-c", HOLD], cwd=tmp_path, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        known = holder.pid if system == "darwin" else None
        assert on(system, "-c", ASK).stdout == f"LOCK_HELD {known}\n"
        holder.kill()
    assert on(system, "-c", ASK).stdout == "free\n"


# Windows

CONTAINED = r"""
import errno, os, sys
from pathlib import Path
from kitty_host.files import list_contained, open_contained
root = Path("root")
for name in sys.argv[1:]:
    try:
        os.close(open_contained(root, name))
        print("opened")
    except OSError as error:
        print(errno.errorcode[error.errno])
try:
    print(*sorted(list_contained(root, ".")))
except OSError as error:
    print(errno.errorcode[error.errno])
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    place = tmp_path / "root"
    (place / "a").mkdir(parents=True)
    (place / "a" / "plan.md").write_bytes(b"plan")
    (tmp_path / "secret").write_bytes(b"secret")
    return place


def test_on_windows_nothing_leads_out_of_a_directory(on: On, root: Path) -> None:
    (root / "link").symlink_to(root.parent)
    (root / "a" / "link.md").symlink_to(root.parent / "secret")
    # Here these are names like any other, and there they lead out.
    for name in ("a\\..\\..\\secret", "C:secret", "a.", ".. "):
        (root / name).write_bytes(b"x")
    names = [
        "a/plan.md",
        "link/secret",
        "a/link.md",
        "a",
        "a\\..\\..\\secret",
        "C:secret",
        "a.",
        ".. ",
        "../secret",
        "no",
    ]
    said = on("win32", "-c", CONTAINED, *names).stdout.split("\n")[:-1]
    assert said == [
        "opened",
        "ELOOP",
        "ELOOP",
        "EISDIR",
        "EXDEV",
        "EXDEV",
        "EXDEV",
        "EXDEV",
        "EXDEV",
        "ENOENT",
        "ELOOP",
    ]


def test_on_windows_a_directory_is_listed(on: On, root: Path) -> None:
    assert on("win32", "-c", CONTAINED).stdout == "a/plan.md\n"


def test_on_windows_what_is_swapped_between_look_and_open_is_not_read(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.open

    def swapped(path: Path, *rest: int) -> int:
        path.unlink()
        path.symlink_to(root.parent / "secret")
        return real(path, *rest)

    monkeypatch.setattr(os, "open", swapped)
    with pytest.raises(OSError) as refused:
        windows.open_below(windows.enter(root / "a"), "plan.md")
    assert refused.value.errno == errno.ELOOP


REPLACE = """
import threading, time
from pathlib import Path
from kitty_host import files
path = Path("file")
path.write_bytes(b"old")
reader = path.open("rb")
threading.Timer(float(__import__("sys").argv[1]), reader.close).start()
files.atomic_write(path, b"new")
"""


def test_on_windows_a_file_that_is_being_read_is_replaced_when_it_is_let_go(on: On, tmp_path: Path) -> None:
    on("win32", "-c", REPLACE, 0.1)
    assert (tmp_path / "file").read_bytes() == b"new"


def test_on_windows_a_file_that_stays_open_is_refused_and_kept(on: On, tmp_path: Path) -> None:
    done = on("win32", "-c", REPLACE, 4, check=False)
    assert "READ_ONLY" in done.stderr
    assert (tmp_path / "file").read_bytes() == b"old"
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith(".kitty")) == []


SWEEP = """
import os
from pathlib import Path
from kitty_host import files
files.sweep(Path("."))
print(*sorted(path.name for path in Path(".").iterdir() if path.name.startswith(".kitty")))
"""


def test_on_windows_nobody_is_ended_to_learn_whether_he_lives(on: On, tmp_path: Path) -> None:
    young, old = (tmp_path / f"{files.TEMPORARY_PREFIX}0-4711-{name}" for name in ("young", "old"))
    for path in (young, old):
        path.write_bytes(b"")
    os.utime(old, (0, 0))
    assert on("win32", "-c", SWEEP).stdout.split() == [young.name]


RECORD = """
from pathlib import Path
from kitty_host.files import lock
with lock(Path("claims/mission/WP01")):
    print(Path("claims/mission/WP01").read_text(encoding="utf-8"), *sorted(path.name for path in Path("claims/mission").iterdir()))
with lock(Path("claims/mission/WP02")):
    print(Path("claims/mission/WP02").stat().st_size)
"""


def test_on_windows_a_record_that_is_locked_can_be_read(on: On, tmp_path: Path) -> None:
    (tmp_path / "claims" / "mission").mkdir(parents=True)
    (tmp_path / "claims" / "mission" / "WP01").write_bytes(b"said")
    assert on("win32", "-c", RECORD).stdout == "said WP01\n0\n"


def test_on_windows_what_was_started_is_ended() -> None:
    process = subprocess.Popen([sys.executable, "-c", "import time\ntime.sleep(60)"])
    windows.end_session(process)
    assert process.returncode != 0


INTERRUPTED = """
import subprocess, sys
from kitty_host import system
process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
process.send_signal(system.INTERRUPT)
print(process.wait() != 0)
"""


@pytest.mark.parametrize("system", ["win32", "darwin"])
def test_another_process_can_be_asked_to_end(on: On, system: str) -> None:
    assert on(system, "-c", INTERRUPTED).stdout == "True\n"


# Files of other systems

ENCODINGS = ("utf-8-sig", "utf-16", "utf-16-le", "cp1252")
PACKAGE = "---\r\nwork_package_id: WP01\r\ntitle: Das Menü\r\n---\r\nüber\r\n"


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_work_package_is_read_or_named_whatever_an_editor_wrote(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / "WP01.md").write_bytes(PACKAGE.encode(encoding))
    packages, findings = read_packages(tmp_path / "tasks", tmp_path / "cache")
    if encoding == "utf-8-sig":
        assert [(one.wp_id, one.title) for one in packages] == [("WP01", "Das Menü")]
        return
    [finding] = findings
    assert finding.code == "WP_INVALID"
    assert "UTF-8" in finding.message


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_configuration_is_read_or_named_whatever_an_editor_wrote(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_bytes("project:\r\n  slug: Menü\r\n".encode(encoding))
    # With its mark UTF-16 is YAML too.
    if encoding in ("utf-8-sig", "utf-16"):
        assert Config.load(path).data == {"project": {"slug": "Menü"}}
    else:
        with pytest.raises(KittyError, match="CONFIG_INVALID"):
            Config.load(path)


def test_a_configuration_keeps_the_ends_of_its_lines(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_bytes(b"# ours\r\n\r\nproject: # first\r\n  slug: 'a'\r\n")
    Config.load(path).set("merge.strategy", "squash")
    assert path.read_bytes() == b"# ours\r\n\r\nproject: # first\r\n  slug: 'a'\r\nmerge:\r\n  strategy: squash\r\n"


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_ledger_that_an_editor_saved_in_its_own_way_is_named_and_never_touched(
    project: Project, encoding: str
) -> None:
    mission = project.mission(packages=[{"work_package_id": "WP01", "title": "T"}])
    project.record(mission, "WP01", "planned", "claimed", actor="Jürgen")
    live = mission.ledger.live
    live.write_bytes(live.read_bytes().decode("unicode_escape").encode(encoding))
    before = live.read_bytes()
    said = project.kitty("ledger", "verify", "--json")
    assert (said.exit_code, "LEDGER_DAMAGED" in said.stdout) == (1, True)
    assert live.read_bytes() == before


def test_a_worktree_whose_path_is_no_utf8_hinders_nobody(project: Project) -> None:
    place = os.fsdecode(os.fsencode(project.root.parent) + b"/caf\xe9")
    project.git("worktree", "add", "--quiet", "--detach", place)
    finish_removals(Repo.find(project.root))
    assert Path(place, "README.md").exists()


# Terminals


def told(encoding: str, *arguments: str, place: Path) -> tuple[int, str, str]:
    done = subprocess.run(
        [sys.executable, "-m", "kitty_host", *arguments],
        cwd=place,
        env={**os.environ, "PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"},
        capture_output=True,
        check=False,
    )
    return done.returncode, done.stdout.decode(encoding), done.stderr.decode(encoding)


@pytest.mark.parametrize(("encoding", "dots"), [("cp1252", "…"), ("cp437", r"\u2026")])
def test_a_terminal_that_cannot_show_a_character_shows_its_number(tmp_path: Path, encoding: str, dots: str) -> None:
    code, page, _ = told(encoding, "help", "errors", place=tmp_path)
    assert (code, f'"message": "{dots}"' in page) == (0, True)
    code, _, said = told(encoding, "-C", "Menü → ☃", "doctor", place=tmp_path)
    assert (code, said.splitlines()[0]) == (1, r"WORKSPACE_ROOT_NOT_FOUND: Menü \u2192 \u2603 is not a directory")


# The page

ROOT = Path(__file__).parents[1]


def test_every_test_that_the_page_names_exists() -> None:
    page = (ROOT / "docs" / "platforms.md").read_text(encoding="utf-8")
    tests = [*ROOT.glob("tests/**/test_*.py"), *ROOT.glob("plugins/*/tests/**/test_*.py")]
    known = {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in tests}
    file, named = "", re.findall(r"`([\w/]*(?:test_\w+\.py)?)::(\w+)(?:\[([^\]]+)\])?`", page)
    for given, function, parameter in named:
        file = given or file
        [source] = [text for path, text in known.items() if path == file]
        assert f"def {function}(" in source
        assert parameter in source
    assert len(named) > 20
