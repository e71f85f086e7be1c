"""What lies outside the intake root is not read, not a byte of it, however a source leads there: the kernel counts."""

from __future__ import annotations

import os
import socket
import stat
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from watched import watching

from kitty_host.api import KittyError
from kitty_host.repo import Repo
from kitty_host.testing import Project
from kitty_intake.source import intake_root, read_directory, read_inside

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads are counted by inotify and /proc is looked at")


@pytest.fixture
def secret(project: Project) -> Path:
    """A file beside the repository."""
    return project.write("secret/plan.md", "# Secret\n", where=project.root.parent)


@contextmanager
def at(place: Path) -> Iterator[None]:
    """A socket of a path may be a hundred characters long."""
    before = Path.cwd()
    os.chdir(place)
    try:
        yield
    finally:
        os.chdir(before)


def linked(target: str, name: str = "plan.md") -> Callable[[Path, Path], str]:
    """A link in the repository; `{secret}` and `{root}` stand for places."""

    def make(root: Path, secret: Path) -> str:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).symlink_to(target.format(secret=secret, outside=secret.parent, root=root))
        return name

    return make


def below(level: int) -> Callable[[Path, Path], str]:
    """A path of four names, of which one is a link to a directory outside that has the others."""

    def make(root: Path, secret: Path) -> str:
        names = ["a", "b", "c", "plan.md"]
        for top in (root, secret.parent):
            (top / "a/b/c").mkdir(parents=True)
        (secret.parent / "a/b/c/plan.md").hardlink_to(secret)
        place = root.joinpath(*names[: level + 1])
        if place.is_dir():
            place.rename(root / "aside")
        place.symlink_to(secret.parent.joinpath(*names[: level + 1]))
        return "/".join(names)

    return make


def a_chain(root: Path, secret: Path) -> str:
    linked("{outside}", "first")(root, secret)
    linked("first", "second")(root, secret)
    linked("second/plan.md")(root, secret)
    return "plan.md"


def a_hard_link(root: Path, secret: Path) -> str:
    (root / "plan.md").hardlink_to(secret)
    return "plan.md"


def a_link_to_a_hard_link(root: Path, secret: Path) -> str:
    (root / "hard.md").hardlink_to(secret)
    return linked("hard.md")(root, secret)


def a_pipe(root: Path, secret: Path) -> str:
    os.mkfifo(root / "plan.md")
    return "plan.md"


def a_socket(root: Path, secret: Path) -> str:
    with at(root), socket.socket(socket.AF_UNIX) as one:
        one.bind("plan.md")
    return "plan.md"


def a_directory_with(make: Callable[[Path, Path], str]) -> Callable[[Path, Path], str]:
    def made(root: Path, secret: Path) -> str:
        (root / "plans").mkdir()
        (root / "plans/a.md").write_text("# A\n")
        make(root / "plans", secret)
        return "plans"

    return made


ESCAPES: dict[str, Callable[[Path, Path], str]] = {
    "..": lambda root, secret: "../secret/plan.md",
    ".. behind a directory": lambda root, secret: ".git/../../secret/plan.md",
    "..//.": lambda root, secret: ".//..//./secret//plan.md",
    "absolute": lambda root, secret: str(secret),
    "absolute and back": lambda root, secret: f"{root}/../secret/plan.md",
    "a directory": lambda root, secret: "../secret",
    "a directory, absolute": lambda root, secret: str(secret.parent),
    "a link": linked("{secret}"),
    "a relative link": linked("../secret/plan.md"),
    "a link to a directory": lambda root, secret: linked("{outside}", "plans")(root, secret) + "/plan.md",
    "a chain of links": a_chain,
    **{f"a link at level {level}": below(level) for level in range(4)},
    "a loop": linked("plan.md"),
    "a hard link": a_hard_link,
    "a link to a hard link": a_link_to_a_hard_link,
    "/proc/self/root": lambda root, secret: f"/proc/self/root{secret}",
    "/proc/self/cwd": lambda root, secret: "/proc/self/cwd/../secret/plan.md",
    "/proc/self/environ": lambda root, secret: "/proc/self/environ",
    "a link to /proc": linked("/proc/self/environ"),
    "a link through /proc": linked("/proc/self/root{secret}"),
    "/dev/zero": lambda root, secret: "/dev/zero",
    "/dev/stdin": lambda root, secret: "/dev/stdin",
    "a link to a device": linked("/dev/zero"),
    "a directory with a link": a_directory_with(linked("{secret}")),
    "a directory with a link to a directory": a_directory_with(linked("{outside}", "more")),
    "a directory with a link, deep": a_directory_with(linked("{secret}", "a/b/c/d.md")),
    "a directory with a hard link": a_directory_with(a_hard_link),
}
ODD: dict[str, Callable[[Path, Path], str]] = {
    "a pipe": a_pipe,
    "a socket": a_socket,
    "a directory with a pipe": a_directory_with(a_pipe),
}


@pytest.mark.parametrize(
    ("way", "code"),
    [(way, "INTAKE_PATH_ESCAPE") for way in ESCAPES] + [(way, "INTAKE_FILE_UNREADABLE") for way in ODD],
)
@pytest.mark.parametrize("process", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_what_leads_outside_is_refused_and_nothing_of_it_is_read(
    project: Project, secret: Path, monkeypatch: pytest.MonkeyPatch, way: str, code: str, process: bool
) -> None:
    name = (ESCAPES | ODD)[way](project.root, secret)
    monkeypatch.chdir(project.root)
    run = project.process if process else project.kitty
    before = project.snapshot()
    with watching(secret) as watch:
        done = run("intake", name, "--json", stdin=b"# From a pipe\n")
        assert (done.exit_code, done.code) == (1, code), done
        if not name.startswith("/"):
            # A relative name is one of the place it is said in.
            done = run("intake", f"../{name}", "--json", where=project.root / ".kittify")
            assert (done.exit_code, done.code) == (1, code), done
        assert watch.read() == set()
    assert project.snapshot() == before


@pytest.mark.parametrize("link", [False, True])
def test_of_a_pipe_outside_nothing_is_taken(project: Project, link: bool) -> None:
    pipe = project.root.parent / "pipe"
    os.mkfifo(pipe)
    end = os.open(pipe, os.O_RDWR | os.O_NONBLOCK)
    try:
        os.write(end, b"# Secret\n")
        if link:
            (project.root / "plan.md").symlink_to(pipe)
        done = project.process("intake", "plan.md" if link else "../pipe", "--json")
        assert (done.exit_code, done.code) == (1, "INTAKE_PATH_ESCAPE"), done
        assert os.read(end, 100) == b"# Secret\n"
    finally:
        os.close(end)


def may_make_devices() -> bool:
    """Root outside of most containers."""
    place = Path(f"/dev/shm/kitty-device-{os.getpid()}")
    try:
        os.mknod(place, stat.S_IFCHR | 0o600, os.makedev(1, 5))
        place.unlink()
    except OSError:
        return False
    return True


@pytest.mark.parametrize("kind", ["file", *(["device"] if may_make_devices() else [])])
def test_a_device_in_the_repository_is_no_plan(project: Project, kind: str) -> None:
    """Where nobody may make one, at least a file in its place is a plan."""
    if kind == "device":
        os.mknod(project.root / "plan.md", stat.S_IFCHR | 0o600, os.makedev(1, 5))
        assert project.process("intake", "plan.md", "--json").code == "INTAKE_FILE_UNREADABLE"
    else:
        project.write("plan.md", "# A\n")
        assert project.process("intake", "plan.md", "--json").exit_code == 0


@contextmanager
def swapping(one: Path, other: Path) -> Iterator[None]:
    """Exchange two names, again and again, from a thread."""
    stop, aside = threading.Event(), one.with_name("aside")

    def swap() -> None:
        while not stop.is_set():
            one.rename(aside)
            other.rename(one)
            aside.rename(other)

    thread = threading.Thread(target=swap)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


LEVELS = ("file", "directory", "directory above", "hard link", "directory as a source")


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("tries", [300, pytest.param(10_000, marks=pytest.mark.slow)])
def test_a_path_that_is_swapped_between_check_and_open_never_leads_outside(
    project: Project, secret: Path, level: str, tries: int
) -> None:
    project.write("docs/a/plan.md", "inside")
    elsewhere = project.write("a/plan.md", "secret", where=secret.parent)
    place, target = {
        "directory": ("docs/a", secret.parent / "a"),
        "directory above": ("docs", secret.parent),
    }.get(level, ("docs/a/plan.md", elsewhere))
    link = project.root / "link.md"
    if level == "hard link":
        link.hardlink_to(target)
    else:
        link.symlink_to(target)
    read = read_directory if level == "directory as a source" else read_inside
    name = "docs" if level == "directory as a source" else "docs/a/plan.md"
    repo = Repo.find(project.root)
    root, seen = intake_root(repo), dict[str, int]()
    # Both sides of the swap, or nothing was raced.
    both = {"inside", "INTAKE_PATH_ESCAPE"}
    with watching(secret, elsewhere) as watch:
        with swapping(project.root / place, link):
            while sum(seen.values()) < tries or (not both <= seen.keys() and sum(seen.values()) < 50_000):
                try:
                    content = read(repo, root, project.root, name).content
                    found = "inside" if b"inside" in content else "nothing" if not content else "outside"
                except KittyError as error:
                    found = error.code
                seen[found] = seen.get(found, 0) + 1
        assert watch.read() == set()
    sys.stdout.write(f"{level}: {seen}\n")
    # Missing or odd is what a path looks like between two of the renames.
    odd = {"nothing", "INTAKE_FILE_MISSING", "INTAKE_FILE_UNREADABLE"}
    assert both <= seen.keys() <= both | odd
    assert ("nothing" in seen) <= (level == "directory as a source")


def test_a_link_put_in_place_after_the_check_is_not_followed(
    project: Project, secret: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.write("docs/plan.md", "inside")
    repo = Repo.find(project.root)
    root = intake_root(repo)
    real = os.path.realpath

    def resolve_then_swap(path: str | Path) -> str:
        answer = real(path)
        if str(path).endswith("plan.md") and not (project.root / "docs").is_symlink():
            (project.root / "docs").rename(project.root / "aside")
            (project.root / "docs").symlink_to(secret.parent)
        return answer

    monkeypatch.setattr("os.path.realpath", resolve_then_swap)
    with watching(secret) as watch:
        with pytest.raises(KittyError) as caught:
            read_inside(repo, root, project.root, "docs/plan.md")
        assert watch.read() == set()
    assert caught.value.code == "INTAKE_PATH_ESCAPE"
    assert isinstance(caught.value.__cause__, OSError)
