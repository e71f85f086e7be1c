"""Runs Git. Nothing else in kitty starts a `git` process.

Git's own answers come back as text or bytes; what they mean for missions is known elsewhere.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import weakref
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import IO, TYPE_CHECKING

from kitty_host.api import KittyError

if TYPE_CHECKING:
    from kitty_host.objects import Objects

# What Git sets for the hooks it runs. Inherited, it would make `git -C elsewhere` work on the repository of the caller.
_LOCAL_VARIABLES = (
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_COMMON_DIR",
    "GIT_CONFIG",
    "GIT_DIR",
    "GIT_GRAFT_FILE",
    "GIT_IMPLICIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_NAMESPACE",
    "GIT_NO_REPLACE_OBJECTS",
    "GIT_OBJECT_DIRECTORY",
    "GIT_PREFIX",
    "GIT_REPLACE_REF_BASE",
    "GIT_SHALLOW_FILE",
    "GIT_WORK_TREE",
)
_FULL = r"No space left on device|Out of diskspace|Disk quota exceeded|File too large"
# Not any permission that is denied: a server says that too.
_READ_ONLY = r"Read-only file system|insufficient permission|nable to (create|write|unlink) .*Permission denied"
_TOO_LARGE = getattr(signal, "SIGXFSZ", 0)
_HARDLY_ANY = 1 << 20
"""Bytes."""


class GitError(KittyError):
    """A Git command that failed: `GIT_FAILED`, or `DISK_FULL` and `READ_ONLY` where Git says so.

    Of a write that failed Git often does not say why; `full` is whether there is hardly any room where it wrote.
    """

    def __init__(self, arguments: Sequence[str], status: int, stderr: str, *, full: bool = False) -> None:
        lines = [line for line in stderr.strip().splitlines() if line]
        # What Git adds behind its complaint is advice for somebody who typed the command.
        told = [line for line in lines if line.startswith(("fatal: ", "error: "))] or lines[-1:]
        last = (told or ["a file would be too large" if status == -_TOO_LARGE else f"exit {status}"])[0]
        command = "git " + " ".join(arguments)
        code, hint = "GIT_FAILED", f"run it by hand to see more: {command}"
        unwritten = full and re.search(r"(couldn't|could not|unable to|failed to) write|write error", stderr)
        if unwritten or re.search(_FULL, stderr) or status == -_TOO_LARGE:
            code, hint = "DISK_FULL", "free some space and run it again"
        elif re.search(_READ_ONLY, stderr):
            code, hint = "READ_ONLY", "make the repository writable for this user and run it again"
        super().__init__(
            code, last.removeprefix("fatal: ").removeprefix("error: "), hint, command=command, status=status
        )
        self.status = status
        self.stderr = stderr


class Git:
    """Git in one directory. Every method raises `GitError` unless its name says that it answers with a boolean."""

    def __init__(
        self, directory: Path, environment: Mapping[str, str] | None = None, *, lock: int | None = None
    ) -> None:
        self.directory = directory
        self._extra = dict(environment or {})
        self._lock = lock

    def with_environment(self, **variables: str) -> Git:
        """The same directory with more variables set, such as `GIT_INDEX_FILE`."""
        return Git(self.directory, {**self._extra, **variables}, lock=self._lock)

    def keeping(self, lock: int | None) -> Git:
        """The same, whose Git holds a lock too, by its descriptor: one that outlives kitty keeps it until it ends."""
        return Git(self.directory, self._extra, lock=lock)

    def run(
        self, *arguments: str, stdin: bytes | None = None, ok: Iterable[int] = (0,)
    ) -> subprocess.CompletedProcess[bytes]:
        """Run one command; `ok` lists the exit codes that are an answer."""
        environment = user_environment()
        # Messages are read in English; a query must not refresh anybody's index; nothing may wait for a password.
        environment.update(LC_ALL="C", GIT_OPTIONAL_LOCKS="0", GIT_TERMINAL_PROMPT="0")
        # A path is a path, whatever stars and brackets it has; `check-ignore` alone knows no other way and refuses to be told.
        if "check-ignore" not in arguments:
            environment["GIT_LITERAL_PATHSPECS"] = "1"
        environment.update(self._extra)
        done = self._start(["-c", "core.quotePath=false", *arguments], environment, stdin, inherit=False)
        return self._checked(done, arguments, ok)

    def commit(self, *arguments: str, paths: Sequence[str] = ()) -> None:
        """`git commit`, of these paths alone if any are given, with the user's hooks in the environment that Git gives to them."""
        command = ["commit", "--quiet", *arguments]
        if paths:
            command += ["--only", "--", *(f":(top,literal){path}" for path in paths)]
        self._checked(self._start(command, {**user_environment(), **self._extra}, None, inherit=False), command, (0,))

    def _checked(
        self, done: subprocess.CompletedProcess[bytes], arguments: Sequence[str], ok: Iterable[int]
    ) -> subprocess.CompletedProcess[bytes]:
        if done.returncode not in ok:
            told = (done.stderr or b"").decode(errors="replace")
            raise GitError(arguments, done.returncode, told, full=self._is_full())
        return done

    def _start(
        self, arguments: Sequence[str], environment: Mapping[str, str], stdin: bytes | None, inherit: bool
    ) -> subprocess.CompletedProcess[bytes]:
        try:
            return subprocess.run(
                # By default Git syncs neither refs nor loose objects nor the index.
                ["git", "-c", "core.fsync=committed", *arguments],
                cwd=self.directory,
                env=environment,
                input=stdin,
                stdin=subprocess.DEVNULL if stdin is None else None,
                stdout=subprocess.PIPE,
                stderr=None if inherit else subprocess.PIPE,
                check=False,
                pass_fds=() if self._lock is None else (self._lock,),
            )
        except FileNotFoundError as error:
            if not self.directory.is_dir():
                raise KittyError(
                    "WORKSPACE_ROOT_NOT_FOUND", f"{self.directory} is not a directory", "go to a directory that exists"
                ) from error
            raise KittyError("GIT_TOO_OLD", "git is not installed", "install Git 2.38 or later") from error

    def _is_full(self) -> bool:
        from kitty_host.disks import free_bytes

        try:
            free = free_bytes(self.directory)
        except OSError:
            return False
        return free is not None and free < _HARDLY_ANY

    def hook(self, name: str, *arguments: str, directory: Path | None = None) -> bool:
        """Run the user's hook `name`, of another hooks directory if one is given; False where it refuses.

        What it prints reaches the user's standard error. Its environment is what Git gives to it: what kitty sets for its own questions
        would change the answers of the hook's.
        """
        where = ["-c", f"core.hooksPath={directory}"] if directory else []
        command = [*where, "hook", "run", "--ignore-missing", name, "--", *arguments]
        return self._start(command, {**user_environment(), **self._extra}, None, inherit=True).returncode == 0

    def out(self, *arguments: str, stdin: bytes | None = None) -> str:
        """Standard output without the last newline."""
        return self.run(*arguments, stdin=stdin).stdout.decode(errors="surrogateescape").removesuffix("\n")

    def lines(self, *arguments: str, stdin: bytes | None = None) -> list[str]:
        """Standard output, line by line."""
        text = self.out(*arguments, stdin=stdin)
        # Not `splitlines`: names may hold separators that only Python takes for the end of a line.
        return text.split("\n") if text else []

    def records(self, *arguments: str, stdin: bytes | None = None) -> list[str]:
        """NUL-terminated output (`-z`), record by record."""
        text = self.run(*arguments, stdin=stdin).stdout.decode(errors="surrogateescape")
        return text.split("\0")[:-1] if text else []

    def succeeds(self, *arguments: str) -> bool:
        """Whether the command exits 0; for questions such as `merge-base --is-ancestor`."""
        return self.run(*arguments, ok=range(256)).returncode == 0

    def commit_of(self, revision: str) -> str | None:
        """The commit that a revision names, or None."""
        done = self.run(
            "rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}", ok=(0, 1, 128)
        )
        return done.stdout.decode().strip() or None

    def is_ancestor(self, one: str, of: str) -> bool:
        """Whether commit `one` is reachable from commit `of`."""
        return self.succeeds("merge-base", "--is-ancestor", one, of)

    def paths_of(self, commits: Iterable[str]) -> dict[str, list[str]]:
        """The paths that each commit changes against its first parent, by one process; none for a merge."""
        found: dict[str, list[str]] = {commit: [] for commit in commits}
        named = "".join(f"{commit}\n" for commit in found).encode()
        fields = iter(self.records("diff-tree", "--stdin", "-r", "-z", "--root", "--raw", stdin=named) if found else [])
        commit = ""
        for field in fields:
            # What says how a path changed begins with a colon, and the path follows; a commit stands alone.
            if field.startswith(":"):
                found[commit].append(next(fields))
            else:
                commit = field
        return found

    def write_blob(self, content: bytes) -> str:
        """Store bytes as they are, without filters."""
        return self.out("hash-object", "-w", "--stdin", stdin=content)

    def read_blob(self, revision: str, path: str) -> bytes | None:
        """The bytes of `path` in a commit or tree, or None where it has none."""
        if "\n" in path:
            done = self.run("cat-file", "blob", f"{revision}:{path}", ok=(0, 128))
            return done.stdout if done.returncode == 0 else None
        found = self.objects.find(f"{revision}:{path}")
        return found.content if found and found.kind == "blob" else None

    def talk(self, *arguments: str, owner: object) -> tuple[IO[bytes], IO[bytes]]:
        """Start a command that answers for as long as it is asked, which is as long as its owner lives: its input and its output."""
        process = subprocess.Popen(
            ["git", *arguments],
            cwd=self.directory,
            env={**user_environment(), **self._extra},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        assert process.stdin is not None, "it is a pipe"
        assert process.stdout is not None, "it is a pipe"
        weakref.finalize(owner, _end, process)
        return process.stdin, process.stdout

    @cached_property
    def objects(self) -> Objects:
        """The objects that it sees."""
        from kitty_host.objects import Objects

        return Objects(self)

    def commit_tree(self, tree: str, parents: Sequence[str], message: str) -> str:
        """A commit object, signed where the user's configuration asks for it: `commit-tree` ignores that setting by itself."""
        named = [argument for parent in parents for argument in ("-p", parent)]
        text = message if message.endswith("\n") else f"{message}\n"
        signed = ("-S",) if self.signs else ()
        return self.out("commit-tree", tree, *named, *signed, "-F", "-", stdin=text.encode(errors="surrogateescape"))

    @cached_property
    def settings(self) -> Mapping[str, str]:
        """The configuration as it is here, by name, whose first and last part are in lower case; the last value of each counts."""
        pairs = (record.partition("\n") for record in self.records("config", "-z", "--list"))
        # A name without a value is true.
        return {name: value if parted else "true" for name, parted, value in pairs}

    def is_set(self, name: str) -> bool | None:
        """What a setting says, as Git takes a truth value; None where it says nothing."""
        value = self.settings.get(name)
        return (
            None if value is None else value.lower() in ("true", "yes", "on") or bool(re.match(r"0*[1-9]|[-+]", value))
        )

    @property
    def signs(self) -> bool:
        """Whether the user wants commits to be signed."""
        return bool(self.is_set("commit.gpgsign"))

    @property
    def null_id(self) -> str:
        """What stands for "no object": as many zeros as this repository's ids have characters."""
        return "0" * (64 if self.settings.get("extensions.objectformat") == "sha256" else 40)

    @cached_property
    def version(self) -> tuple[int, int]:
        """Major and minor version."""
        numbers = self.out("version").split()[2].split(".")
        return int(numbers[0]), int(numbers[1])

    def refs(self, *patterns: str) -> dict[str, str]:
        """The refs that are one of these, or below one, or fit one with stars; each with its object."""
        lines = self.lines("for-each-ref", "--format=%(objectname) %(refname)", *patterns)
        return {ref: commit for commit, _, ref in (line.partition(" ") for line in lines)}


def _end(process: subprocess.Popen[bytes]) -> None:
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            stream.close()
    process.wait()


def user_environment() -> dict[str, str]:
    """The environment without what Git sets for the hooks that it runs: for whatever is started in some other repository or worktree."""
    return {name: value for name, value in os.environ.items() if name not in _LOCAL_VARIABLES}
