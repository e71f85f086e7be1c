"""Reads a source: a file or a directory below the intake root, one that is named as foreign, or standard input.

Owns where a source may lie and how much of it is read: never more than the cap and one byte.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

from attrs import frozen

from kitty_host.api import KittyError
from kitty_host.bundle import MAX_FILES, bundle
from kitty_host.files import list_contained, open_contained
from kitty_host.inert import inert
from kitty_host.records import Source
from kitty_host.repo import Repo

# Where coding agents leave their plans, and the agent that is recorded as the author.
PLANS = {
    ".opencode/plans/*.md": "opencode",
    ".kiro/specs/*/*.md": "amazon-q",
    ".cursor/plans/*.md": "cursor",
    ".gemini/plans/*.md": "gemini",
    ".handoff/*.md": "",
    ".taskmaster/tasks/tasks.json": "",
    ".beads/issues.jsonl": "",
}
# The plan is the directory in which such a file lies.
PLAN_DIRECTORIES = (
    "specs/*/spec.md",
    ".specify/specs/*/spec.md",
    "openspec/changes/*/proposal.md",
    "backlog/tasks/*.md",
    ".backlog/tasks/*.md",
)
TEXTS = (".md", ".markdown", ".txt", ".json", ".jsonl", ".yaml", ".yml", ".toml")
"""What is read of a directory."""
_LOOKED_AT = 20_000
"""Names in a directory, after which nobody can have meant all of it."""


@frozen
class Settings:
    """The section `intake` of `.kittify/config.yaml`."""

    max_brief_bytes: int = 5_242_880
    root: str = ""
    """Relative to the canonical checkout; empty for the checkout itself."""
    allow_cross_fs: bool = False
    block: tuple[str, ...] = ()
    """Codes of findings that refuse a plan; others are only told."""


def settings(repo: Repo) -> Settings:
    """Errors: `CONFIG_INVALID`."""
    found = repo.config.section("intake", Settings)
    if found.max_brief_bytes < 1:
        message = f"intake.max_brief_bytes is {found.max_brief_bytes}"
        raise KittyError("CONFIG_INVALID", message, "set it in .kittify/config.yaml to a number of bytes, 1 or more")
    return found


def intake_root(repo: Repo) -> Path:
    """The directory that sources lie in, without links in its path. Errors: `INTAKE_ROOT_INCONSISTENT`."""
    root = _real(repo.root / settings(repo).root)
    require_root(repo, root)
    return root


def require_root(repo: Repo, root: Path) -> None:
    """Refuse a root outside the checkout that is written to. Errors: `INTAKE_ROOT_INCONSISTENT`."""
    if not (root.is_relative_to(_real(repo.root)) and root.is_dir()):
        raise KittyError(
            "INTAKE_ROOT_INCONSISTENT",
            f"the intake root {inert(str(root), prose=True)} is not a directory of {repo.root}",
            "set intake.root in .kittify/config.yaml to a directory below the canonical checkout, or leave it out",
        )


def read_inside(repo: Repo, root: Path, directory: Path, name: str) -> Source:
    """A file that leads into `root`; a relative name is taken from `directory`.

    The name is resolved once, and what it resolved to is opened from a handle on the checkout downwards, following no
    link: a path that is swapped in between opens nothing. Errors: `INTAKE_PATH_ESCAPE`, and those of `readable`.
    """
    with _inside(root, directory, name) as path:
        top = _real(repo.root)
        return Source(name, read_contained(top, path.relative_to(top), settings(repo).max_brief_bytes, name))


def read_directory(repo: Repo, root: Path, directory: Path, name: str) -> Source:
    """The text files of a directory that leads into `root`, each opened as `read_inside` does it; the cap is on their sum.

    Hidden names below it and files with other endings are left out; a link anywhere below it refuses. Errors: as `read_inside`.
    """
    with _inside(root, directory, name, whole=True) as path:
        top = _real(repo.root)
        return _bundle(top, path.relative_to(top), settings(repo).max_brief_bytes, name)


def read_outside(repo: Repo, directory: Path, name: str) -> Source:
    """Any file, FIFO, device or directory, because the user said so. Errors: `INTAKE_PATH_ESCAPE`, and those of `readable`."""
    path, cap = directory / name, settings(repo).max_brief_bytes
    if is_directory(path):
        with _inside(_real(path), directory, name, whole=True) as path:
            return _bundle(path, Path(), cap, name)
    with readable(name), path.open("rb", buffering=0) as stream:
        return Source(name, read_capped(stream, cap, name))


def is_directory(path: Path) -> bool:
    """Whether a name leads to a directory that one may look at."""
    try:
        return path.is_dir()
    except OSError:
        return False


def read_stdin(repo: Repo) -> Source:
    """Standard input to its end. Errors: those of `readable`."""
    name, stream = "stdin", getattr(sys.stdin, "buffer", None)
    with readable(name):
        if stream is None:
            raise OSError(errno.EBADF, "it is closed")
        # The buffered layer would read ahead, past the cap.
        return Source(name, read_capped(getattr(stream, "raw", stream), settings(repo).max_brief_bytes, name))


def read_contained(root: Path, path: Path, cap: int, name: str) -> bytes:
    """A regular file below `root`, reached without a link. Errors: `OSError`, `INTAKE_TOO_LARGE`."""
    with io.FileIO(open_contained(root, path.as_posix())) as stream:
        return read_capped(stream, cap, name)


def _bundle(top: Path, place: Path, cap: int, name: str) -> Source:
    paths: list[str] = []
    for looked_at, path in enumerate(list_contained(top, place.as_posix())):
        paths += [path] if path.lower().endswith(TEXTS) else []
        if len(paths) > MAX_FILES or looked_at == _LOOKED_AT:
            message = f"{inert(name)} is a directory of more than {MAX_FILES} texts, or of very many files"
            raise KittyError("INTAKE_TOO_LARGE", message, "name the directory of one plan", files=MAX_FILES)
    files: dict[str, bytes] = {}
    left = cap
    for path in sorted(paths):
        try:
            files[path] = read_contained(top, place / path, left, name)
        except KittyError as error:
            raise too_large(name, cap) from error
        left -= len(files[path])
    content = bundle(files)
    if len(content) > cap:
        raise too_large(name, cap)
    return Source(name, content)


def read_capped(stream: io.RawIOBase, cap: int, name: str) -> bytes:
    """All of a stream, of which at most `cap` + 1 bytes are read. Errors: `OSError`, `INTAKE_TOO_LARGE`."""
    # One buffer of the final size: one that grows would for a moment stand beside its larger copy.
    held = memoryview(bytearray(cap + 1))
    size = 0
    while size <= cap:
        count = stream.readinto(held[size : min(size + (1 << 16), cap + 1)])
        if count is None:
            raise BlockingIOError(errno.EAGAIN, "it does not wait for its writer")
        if not count:
            return bytes(held[:size])
        size += count
    raise too_large(name, cap)


def too_large(name: str, cap: int) -> KittyError:
    """`INTAKE_TOO_LARGE`, with the cap and its key."""
    return KittyError(
        "INTAKE_TOO_LARGE",
        f"{inert(name)} is larger than the cap of {cap} bytes (intake.max_brief_bytes)",
        "shorten it, or raise intake.max_brief_bytes in .kittify/config.yaml",
        cap=cap,
    )


def find_plan(root: Path) -> tuple[str, str]:
    """The only plan that an agent or a planning tool left below `root`, relative to it, and the agent.

    Errors: `INTAKE_FILE_MISSING`, `INTAKE_SOURCE_AMBIGUOUS`.
    """
    found = {path: agent for glob, agent in PLANS.items() for path in root.glob(glob)}
    found |= {path.parent: "" for glob in PLAN_DIRECTORIES for path in root.glob(glob)}
    # What a link leads to is not a plan of this place.
    found = {path: agent for path, agent in found.items() if path == _real(path)}
    if not found:
        places = ", ".join([*PLANS, *PLAN_DIRECTORIES])
        raise KittyError("INTAKE_FILE_MISSING", f"there is no plan in {places}", "name it: kitty intake SOURCE")
    names = sorted(inert(path.relative_to(root).as_posix()) for path in found)
    if len(found) > 1:
        listed = ", ".join(names[:5]) + ", …" * (len(names) > 5)
        message = f"there are {len(names)} plans: {listed}"
        raise KittyError("INTAKE_SOURCE_AMBIGUOUS", message, "name one: kitty intake SOURCE", candidates=names)
    ((path, agent),) = found.items()
    return path.relative_to(root).as_posix(), agent


@contextlib.contextmanager
def readable(name: str) -> Iterator[None]:
    """Errors: `INTAKE_FILE_MISSING`, `INTAKE_FILE_UNREADABLE`, with the reason that the system gave."""
    try:
        yield
    except (FileNotFoundError, NotADirectoryError) as error:
        message = f"there is no file {inert(name)}: {error.strerror}"
        hint = "check its name and the directory you are in"
        raise KittyError("INTAKE_FILE_MISSING", message, hint, cause=error.strerror) from error
    except OSError as error:
        # So says a contained open of something that is not a regular file, and of the root itself.
        odd = error.errno in (errno.EINVAL, errno.EXDEV)
        cause = "it is not a regular file" if odd else error.strerror
        message, hint = (
            f"{inert(name)} cannot be read: {cause}",
            "give a file that this user can read, or pipe it in: kitty intake -",
        )
        raise KittyError("INTAKE_FILE_UNREADABLE", message, hint, cause=cause) from error


@contextlib.contextmanager
def _inside(root: Path, directory: Path, name: str, *, whole: bool = False) -> Iterator[Path]:
    """What a name leads to, which lies in `root`; and what is wrong if reading it, or a `whole` directory, meets a link.

    Errors: as `read_inside`.
    """
    with readable(name):
        path = _real(directory / name)
        if not path.is_relative_to(root):
            raise _escape(name, root, "leads outside the intake root")
        try:
            yield path
        except OSError as error:
            linked = error.errno in (errno.EMLINK, errno.ELOOP)
            if whole and linked:
                what = "a hard link" if error.errno == errno.EMLINK else "a link"
                raise KittyError(
                    "INTAKE_PATH_ESCAPE",
                    f"{inert(name)} has {what} in it: {inert(str(error.filename))}",
                    "put the file itself there, or take it out of the directory",
                ) from error
            if error.errno == errno.EMLINK:
                raise _escape(name, root, "has a second name (a hard link)") from error
            if linked or _real(directory / name) != path:
                raise _escape(name, root, "leads through a link") from error
            raise


def _escape(name: str, root: Path, how: str) -> KittyError:
    # A command that is to be pasted has to name the file as it is; a name that could do harm there is left to the user.
    quoted = shlex.quote(name) if inert(name, prose=True, limit=4096) == name else "FILE"
    return KittyError(
        "INTAKE_PATH_ESCAPE",
        f"{inert(name)} {how}; sources lie below {inert(str(root), prose=True)}",
        f"if you want it all the same, run: kitty intake --from-outside {quoted}",
    )


def _real(path: Path) -> Path:
    # Unlike `Path.resolve`, this takes a loop of links without a fault; opening it then fails.
    return Path(os.path.realpath(path))
