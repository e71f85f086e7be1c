"""Bad input of a landing: each refusal has its code, says in one line what and in one how to mend it, and writes nothing.

Then what the hint says is done, as it is printed, and the landing succeeds.
"""

from __future__ import annotations

import contextlib
import os
import resource
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from kitty_host.lanes import require_lanes
from kitty_host.testing import Result, initialized
from kitty_merge import move
from kitty_merge.workspace import worktree_path

if TYPE_CHECKING:
    from conftest import Yard

# Locks that stay, empty, and objects that nothing leads to.
_MAY_DIFFER = (".git/objects/", "demo.git/objects/", "kitty/merge.lock", "kitty/worktrees.lock", ".status.lock")


def ready(yard: Yard, content: str = "work\n") -> None:
    """Two lanes, approved."""
    yard.plan(yard.package("WP01"), yard.package("WP02"))
    yard.finish("WP01")
    yard.finish("WP02", content, path="sub/wp02.txt")


def worktree(yard: Yard) -> Path:
    """That of WP01."""
    lane = require_lanes(yard.mission).of("WP01")
    assert lane is not None
    return worktree_path(yard.mission, lane.lane_id)


def written(yard: Yard) -> dict[str, bytes]:
    """Every file, ref and index, with what lies beside the repository."""
    found = yard.project.snapshot()
    return {
        name: content
        for name, content in found.items()
        if content != b"directory" and not any(part in name for part in _MAY_DIFFER)
    }


def refused(yard: Yard, code: str, *arguments: str, run: Callable[..., Result] | None = None) -> dict[str, Any]:
    """The error, told to programs and to people, after which everything is as it was."""
    run = run or yard.project.kitty
    before = written(yard)
    done = run("merge", *arguments, "--json")
    assert (done.exit_code, done.code) == (1, code), done
    assert done.stdout.count("\n") == 1, "one object, on one line"
    error = done.json
    assert error["schema"] == "kitty.error/1"
    assert error["message"]
    assert error["hint"]
    assert "\n" not in error["message"] + error["hint"]
    told = run("merge", *arguments)
    assert (told.exit_code, told.stdout) == (1, ""), told
    *_, what, how = told.stderr.splitlines()
    assert what.startswith(f"{code}: ")
    assert how.startswith("  ")
    after = written(yard)
    assert [name for name in {*before, *after} if before.get(name) != after.get(name)] == []
    return error


def mend(yard: Yard, error: dict[str, Any], where: Path | None = None) -> None:
    """Run the command of a hint as it is printed: what follows the last colon."""
    command = str(error["hint"]).rpartition(": ")[2]
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        command, shell=True, cwd=where or yard.root, env={**os.environ, "PATH": path}, capture_output=True, text=True
    )
    assert done.returncode == 0, (command, done)


def lands(yard: Yard, *arguments: str) -> None:
    done = yard.project.kitty("merge", "--json", *arguments)
    assert done.exit_code == 0, done
    assert [line for line in yard.status().splitlines() if not line.endswith("status.events.jsonl")] == []
    assert [yard.project.git("show", f"main:{path}")[:4] for path in ("wp01.txt", "sub/wp02.txt")] == ["work", "work"]


# Which mission


def test_an_unknown_mission(yard: Yard) -> None:
    ready(yard)
    error = refused(yard, "MISSION_NOT_FOUND", "--mission", "other")
    lands(yard, "--mission", error["hint"].rpartition(": ")[2])


def test_a_name_of_two_missions(yard: Yard) -> None:
    yard.plan(yard.package("WP01"))
    ready(yard)
    error = refused(yard, "MISSION_AMBIGUOUS_SELECTOR", "--mission", "demo")
    named = error["hint"].rpartition(": ")[2].split(", ")
    assert sorted(named) == sorted(error["details"]["candidates"])
    (mine,) = [one for one in named if one == yard.mission.mission_id]
    lands(yard, "--mission", mine)


# Content filters


def test_a_filter_that_must_not_fail_and_fails(yard: Yard) -> None:
    yard.project.commit(".gitattributes", "*.txt filter=rot\n")
    yard.project.git("config", "filter.rot.clean", "tr a-z n-za-m")
    yard.project.git("config", "filter.rot.smudge", "tr a-z n-za-m")
    ready(yard)
    yard.project.git("config", "filter.rot.required", "true")
    yard.project.git("config", "filter.rot.smudge", "exit 1;")
    error = refused(yard, "FILTER_FAILED")
    assert error["details"] == {"path": "sub/wp02.txt", "filter": "rot"}
    mend(yard, error)
    yard.project.git("config", "filter.rot.smudge", "tr a-z n-za-m")
    assert yard.project.kitty("merge", "--json").exit_code == 0
    assert yard.tree("wp01.txt").read_text() == "work\n"
    assert yard.status() == ""


# Lanes and target


def test_a_package_that_is_not_approved(yard: Yard) -> None:
    """The command of the hint is the runtime's; it is run in the end-to-end tests."""
    ready(yard)
    yard.project.record(yard.mission, "WP01", "in_progress")
    error = refused(yard, "MERGE_NOT_APPROVED")
    assert "kitty cancel WP01" in error["hint"]


@pytest.mark.parametrize("checked_out", [True, False], ids=["with a worktree", "without"])
def test_a_lane_that_was_set_back(yard: Yard, checked_out: bool) -> None:
    ready(yard)
    tree = worktree(yard)
    yard.project.git("reset", "--quiet", "--hard", "HEAD~", where=tree)
    if not checked_out:
        yard.project.git("worktree", "remove", "--force", str(tree))
    error = refused(yard, "MERGE_HEAD_MOVED")
    mend(yard, error)
    lands(yard)


def test_a_lane_whose_branch_is_gone(yard: Yard) -> None:
    ready(yard)
    yard.project.git("worktree", "remove", "--force", str(worktree(yard)))
    yard.project.git("branch", "--quiet", "-D", yard.branch("WP01"))
    error = refused(yard, "MERGE_INCOMPLETE")
    mend(yard, error)
    lands(yard)


@pytest.mark.parametrize("message", ["Merge lane", "Land demo"], ids=["while it is built", "right before it moves"])
def test_a_target_that_moves_meanwhile(yard: Yard, message: str) -> None:
    ready(yard)
    git = f"git --git-dir={shlex.quote(str(yard.root / '.git'))}"
    yard.project.write(
        ".git/hooks/commit-msg",
        f'#!/bin/sh\ngrep -q "^{message}" "$1" || exit 0\n'
        f"{git} update-ref refs/heads/main $({git} commit-tree -p main -m theirs 'main^{{tree}}')\n",
    ).chmod(0o755)
    done = yard.project.process("merge", "--json")
    assert (done.exit_code, done.code) == (1, "MERGE_TARGET_MOVED"), done
    assert yard.project.git("log", "-1", "--format=%s", "main") == "theirs"
    assert yard.status().splitlines() == [f"?? kitty-specs/{yard.mission.slug}/status.events.jsonl"]
    assert list((yard.root / ".git/kitty").glob("merge/*")) == []
    (yard.root / ".git/hooks/commit-msg").unlink()
    mend(yard, done.json)
    lands(yard)
    assert "theirs" in yard.project.git("log", "--format=%s", "main").splitlines()


def test_a_hook_that_forbids_the_move(yard: Yard) -> None:
    ready(yard)
    hook = yard.project.write(".git/hooks/reference-transaction", '#!/bin/sh\n[ "$1" != prepared ]\n')
    hook.chmod(0o755)
    error = refused(yard, "COMMIT_REFUSED")
    assert error["details"]["hook"] == "reference-transaction"
    hook.unlink()
    lands(yard)


# Where


def test_a_bare_repository_without_a_worktree(yard: Yard, isolated: Path) -> None:
    ready(yard)
    bare = isolated / "demo.git"
    shutil.move(yard.root / ".git", bare)
    shutil.rmtree(yard.root)
    yard.project.root = bare
    yard.project.git("config", "core.bare", "true")
    yard.project.git("worktree", "prune")
    error = refused(yard, "REPO_BARE")
    mend(yard, error, where=isolated)
    yard.project.root = yard.root = isolated / "demo"
    lands(yard)


def test_a_bare_repository_with_two_worktrees(yard: Yard, isolated: Path) -> None:
    ready(yard)
    bare = isolated / "demo.git"
    shutil.move(yard.root / ".git", bare)
    shutil.rmtree(yard.root)
    yard.project.root = bare
    yard.project.git("config", "core.bare", "true")
    yard.project.git("worktree", "prune")
    yard.project.git("worktree", "add", "--quiet", str(isolated / "one"), "main")
    yard.project.git("worktree", "add", "--quiet", "--detach", str(isolated / "two"))
    error = refused(yard, "REPO_BARE")
    assert sorted(error["details"]["candidates"]) == [str(isolated / "one"), str(isolated / "two")]
    mend(yard, error, where=isolated)
    yard.project.root = yard.root = isolated / "one"
    lands(yard)


@pytest.mark.parametrize(
    "state", [".kittify/merge-state.json", ".kittify/runtime/merge/01ARZ3NDEKTSV4RRFFQ69G5FAV/state.json"]
)
def test_an_unfinished_merge_of_another_tool(yard: Yard, state: str) -> None:
    yard.project.commit(".gitignore", ".worktrees/\n.kittify/runtime/\n.kittify/merge-state.json\n")
    ready(yard)
    path = yard.project.write(state, '{"mission_slug": "demo", "completed_wps": ["WP01"]}')
    error = refused(yard, "MERGE_FOREIGN_STATE")
    assert error["details"]["path"] == str(path)
    path.unlink()  # as that tool does when it has finished
    lands(yard)


# With what

OLD_GIT = """#!/bin/sh
# Git 2.30 in two respects: what it says it is, and that it repeats an option of rev-parse that it does not know.
case " $* " in
  *" version "*) echo git version 2.30.2; exit;;
  {unknown})
    for one; do shift; [ "$one" = --path-format=absolute ] || set -- "$@" "$one"; done
    echo --path-format=absolute;;
esac
exec {real} "$@"
"""


@pytest.mark.parametrize("unknown", ['*" --path-format=absolute "*', "nothing"], ids=["at the door", "in the engine"])
def test_a_git_that_is_too_old(yard: Yard, isolated: Path, monkeypatch: pytest.MonkeyPatch, unknown: str) -> None:
    ready(yard)
    old = isolated / "old" / "git"
    old.parent.mkdir()
    old.write_text(OLD_GIT.format(real=shutil.which("git"), unknown=unknown))
    old.chmod(0o755)
    with monkeypatch.context() as patch:
        patch.setenv("PATH", str(old.parent), prepend=os.pathsep)
        error = refused(yard, "GIT_TOO_OLD", run=yard.project.process)
    assert "2.30" in error["message"]
    lands(yard)


# Disks


def _can_mount() -> bool:
    with tempfile.TemporaryDirectory() as place:
        if subprocess.run(["mount", "-t", "tmpfs", "tmpfs", place], capture_output=True, check=False).returncode:
            return False
        subprocess.run(["umount", place], check=True)
        return True


MOUNTS = _can_mount() if shutil.which("mount") else False
"""Where this is false, tests that need it do not exist: those of a file-size limit and of permissions stand in for them."""


class Disk(NamedTuple):
    """A small file system with a repository on it."""

    place: Path
    yard: Yard

    def fill(self, free: int) -> None:
        """Leave so many bytes."""
        status = os.statvfs(self.place)
        with (self.place / "filler").open("wb") as filler:
            filler.truncate(0)
            filler.write(bytes(status.f_bavail * status.f_frsize - free))


@pytest.fixture
def disk(yard: Yard, isolated: Path) -> Iterator[Disk]:
    place = isolated / "small disk"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(place)], check=True)
    try:
        yield Disk(place, type(yard)(initialized(place / "project")))
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


if MOUNTS:

    @pytest.mark.parametrize(
        ("free", "size"), [(0, 0), (16, 0), (40, 0), (56, 0), (72, 0), (88, 0), (120, 0), (200, 0), (800, 700)]
    )
    def test_a_full_disk(disk: Disk, free: int, size: int) -> None:
        """So many KiB are free, and so many a file has that lands."""
        ready(disk.yard, "work\n" + "x" * 1024 * size)
        disk.fill(free * 1024)
        refused(disk.yard, "DISK_FULL")
        (disk.place / "filler").unlink()
        lands(disk.yard)

    def test_a_disk_that_is_full_of_a_commits_worth(disk: Disk) -> None:
        """Where the landing fits it lands, however little is free."""
        ready(disk.yard)
        disk.fill(700 * 1024)
        lands(disk.yard)

    def test_a_file_system_that_is_read_only(disk: Disk) -> None:
        ready(disk.yard)
        subprocess.run(["mount", "-o", "remount,ro", str(disk.place)], check=True)
        error = refused(disk.yard, "READ_ONLY")
        mend(disk.yard, error)
        lands(disk.yard)

    def test_a_read_only_part_of_the_checkout(yard: Yard) -> None:
        """Git's rehearsal does not see it; when it failed there, the target had moved."""
        yard.project.commit("sub/mine.txt")
        ready(yard)
        part = str(yard.root / "sub")
        subprocess.run(["mount", "--bind", part, part], check=True)
        try:
            subprocess.run(["mount", "-o", "remount,bind,ro", part], check=True)
            error = refused(yard, "READ_ONLY")
            assert error["message"].startswith(f"{part} ")
            mend(yard, error)
            lands(yard)
        finally:
            subprocess.run(["umount", part], check=True)


if os.geteuid() != 0 or shutil.which("setpriv"):

    @pytest.mark.parametrize("part", ["sub", ".git/refs/heads", "kitty-specs/SLUG/status.events.jsonl"])
    def test_what_this_user_may_not_write(yard: Yard, part: str) -> None:
        """Root may write everywhere, unless that right is taken away."""
        yard.project.commit("sub/mine.txt")
        ready(yard)
        place = yard.root / part.replace("SLUG", yard.mission.slug)
        before = place.stat().st_mode
        place.chmod(before & ~0o222)
        try:
            refused(yard, "READ_ONLY", run=bounded(yard))
        finally:
            place.chmod(before)
        lands(yard)


def bounded(yard: Yard) -> Callable[..., Result]:
    """A process that may write what its user may, even where that is root."""
    rights = "-dac_override,-dac_read_search"
    before = ["setpriv", f"--bounding-set={rights}", f"--inh-caps={rights}"] if os.geteuid() == 0 else []

    def run(*arguments: str) -> Result:
        command = [*before, sys.executable, "-m", "kitty_host", *arguments]
        done = subprocess.run(command, cwd=yard.root, capture_output=True, text=True, check=False)
        return Result(done.returncode, done.stdout, done.stderr)

    return run


def limited(yard: Yard, size: int) -> Callable[..., Result]:
    """A process none of whose files may get larger."""

    def run(*arguments: str) -> Result:
        done = subprocess.run(
            [sys.executable, "-m", "kitty_host", *arguments],
            cwd=yard.root,
            capture_output=True,
            text=True,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size)),
        )
        return Result(done.returncode, done.stdout, done.stderr)

    return run


@pytest.mark.parametrize("size", [0, 100, 1000])
@pytest.mark.usefixtures("unmeasured")
def test_files_that_may_not_grow(yard: Yard, size: int) -> None:
    ready(yard)
    refused(yard, "DISK_FULL", run=limited(yard, size))
    lands(yard)


@pytest.mark.parametrize(
    ("size", "content"), [(2000, "work\n"), (30000, "work\n" + "x" * 40000)], ids=["rows", "files"]
)
@pytest.mark.usefixtures("unmeasured")
def test_files_that_may_not_grow_when_the_target_has_moved(yard: Yard, size: int, content: str) -> None:
    """It says that it is not done, and the same command finishes it."""
    ready(yard, content)
    old = yard.project.git("rev-parse", "main")
    done = limited(yard, size)("merge", "--json")
    assert (done.exit_code, done.code) == (1, "DISK_FULL"), done
    assert yard.project.git("rev-parse", "main") != old
    lands(yard)


# Locks that somebody holds

HOLDS = (
    "import fcntl, sys; f = open(sys.argv[1], 'a'); fcntl.flock(f, fcntl.LOCK_EX); print(flush=True); sys.stdin.read()"
)
HAS_OPEN = "import sys; f = open(sys.argv[1], 'x'); print(flush=True); sys.stdin.read()"


@contextlib.contextmanager
def holding(script: str, path: Path) -> Iterator[int]:
    """A process that has a file locked, or open; its id."""
    with subprocess.Popen(
        ["python", "-c", script, str(path)], executable=sys.executable, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process.pid


def until(path: Path) -> str:
    """A shell's way to wait for a file, though not for ever."""
    return f"for turn in $(seq 400); do [ -e {path} ] && break; sleep 0.05; done"


def appears(path: Path) -> None:
    for _ in range(1000):
        if path.exists():
            return
        time.sleep(0.02)
    raise AssertionError(f"{path} never appeared")


@pytest.mark.parametrize("same", [True, False], ids=["of one mission", "of two missions"])
def test_two_landings_at_once(yard: Yard, isolated: Path, same: bool) -> None:
    """One lands; the other is told who has the lock, what that is, and for how long."""
    if not same:
        yard.plan(yard.package("WP01", owns="first.txt"))
        yard.finish("WP01", path="first.txt")
    first = yard.mission.slug if not same else None
    ready(yard)
    first = first or yard.mission.slug
    inside, go = isolated / "inside", isolated / "go"
    hook = yard.project.write(
        ".git/hooks/reference-transaction",
        f'#!/bin/sh\n[ "$1" = prepared ] || exit 0\ntouch {inside}\n{until(go)}\n',
    )
    hook.chmod(0o755)
    with subprocess.Popen(
        [sys.executable, "-m", "kitty_host", "merge", "--json", "--mission", first],
        cwd=yard.root,
        stdout=subprocess.PIPE,
    ) as landing_first:
        try:
            appears(inside)
            time.sleep(1.1)
            error = refused(yard, "LOCK_HELD", "--mission", yard.mission.slug)
        finally:
            go.touch()
        said, _ = landing_first.communicate(timeout=60)
        assert error["message"].startswith(f"process {landing_first.pid} (kitty merge) has had the merge lock for ")
        assert error["details"]["pid"] == landing_first.pid
        assert 1 <= error["details"]["age_seconds"] < 60
    assert landing_first.returncode == 0, said
    lands(yard, "--mission", yard.mission.slug)
    assert (yard.root / ".git/kitty/merge.lock").read_bytes() == b""


def test_a_merge_lock_that_something_else_holds(yard: Yard) -> None:
    ready(yard)
    lock = yard.root / ".git/kitty/merge.lock"
    with holding(HOLDS, lock) as pid:
        error = refused(yard, "LOCK_HELD")
        assert error["message"] == f"process {pid} (python) holds the merge lock"
        assert (error["details"]["pid"], error["details"]["age_seconds"]) == (pid, None)
    lands(yard)


def test_a_ledger_that_somebody_holds(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody may sign that lock. While it is waited for, nobody can commit in the checkout, so it is not waited for long."""
    monkeypatch.setattr(move, "PATIENCE", 0.1)
    ready(yard)
    with holding(HOLDS, yard.mission.ledger.lock_file) as pid:
        error = refused(yard, "LOCK_HELD")
        assert error["message"] == f"process {pid} (python) holds the ledger of {yard.mission.slug}"
        assert error["details"]["pid"] == pid
    lands(yard)


def test_a_git_that_works_in_the_checkout(yard: Yard, isolated: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has closed the lock file while an editor is open."""
    yard.project.commit("mine.txt")
    ready(yard)
    yard.project.write("mine.txt", "mine\n")
    editing, go = isolated / "editing", isolated / "go"
    editor = yard.project.write(
        str(isolated / "editor"),
        f'#!/bin/sh\ntouch {editing}\n{until(go)}\necho mine >"$1"\n',
    )
    editor.chmod(0o755)
    monkeypatch.setenv("GIT_EDITOR", str(editor))
    with subprocess.Popen(["git", "commit", "--quiet", "--all"], cwd=yard.root) as commit:
        try:
            appears(editing)
            error = refused(yard, "LOCK_HELD")
        finally:
            go.touch()
    assert error["message"].startswith(f"process {commit.pid} (git commit) works in {yard.root}: ")
    assert error["details"]["pid"] == commit.pid
    assert 0 <= error["details"]["age_seconds"] < 60
    assert commit.returncode == 0
    lands(yard)
    assert yard.project.git("show", "main:mine.txt") == "mine"


def test_an_index_lock_that_somebody_has_open(yard: Yard) -> None:
    ready(yard)
    lock = yard.root / ".git/index.lock"
    with holding(HAS_OPEN, lock) as pid:
        error = refused(yard, "LOCK_HELD")
        assert error["details"]["pid"] == pid
        lock.unlink()
    lands(yard)


GONE = "import os; from kitty_host.holders import signature; os.write(1, signature())"


@pytest.mark.parametrize("content", ["", "DIRC", "a kitty that is gone"])
def test_an_index_lock_that_nobody_has(yard: Yard, content: str) -> None:
    """Left by a Git, or by a kitty whose journal is gone. It says how old it is, and the printed command removes it."""
    ready(yard)
    left = subprocess.run([sys.executable, "-c", GONE], capture_output=True, check=True).stdout
    lock = yard.project.write(".git/index.lock", left if content.startswith("a kitty") else content)
    made = time.time() - 3600
    os.utime(lock, (made, made))
    error = refused(yard, "LOCK_HELD")
    assert "which nobody seems to have" in error["message"]
    assert error["details"]["pid"] is None
    assert 3600 <= error["details"]["age_seconds"] < 3660
    mend(yard, error)
    lands(yard)


def test_a_ref_lock_that_nobody_has(yard: Yard) -> None:
    ready(yard)
    lock = yard.project.write(f".git/refs/heads/{yard.branch('WP01')}.lock", "")
    made = time.time() - 100
    os.utime(lock, (made, made))
    error = refused(yard, "LOCK_HELD")
    assert (error["details"]["lock"], error["details"]["pid"]) == (str(lock), None)
    assert error["details"]["age_seconds"] >= 100
    mend(yard, error)
    lands(yard)
