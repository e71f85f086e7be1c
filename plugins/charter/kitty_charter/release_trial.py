"""A consumer's own tests with exactly one artefact: its commit in a scratch copy, an environment made for this run.

It never touches the consumer's repository. What came of it is judged by `suite`, and kept by `release_record`.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from attrs import frozen
from platformdirs import user_state_path

from kitty_charter.release_artifact import Built, hash_of, modules, objection
from kitty_charter.suite import Outcome, run, verdict
from kitty_host.api import KittyError
from kitty_host.files import make_directory, sweep, temporary
from kitty_host.git import Git, GitError
from kitty_host.inert import inert
from kitty_host.records import Suite
from kitty_host.repo import Repo
from kitty_host.report import note
from kitty_host.system import PROGRAMS

_PREPARING = 1800.0
"""Seconds."""
# Each changes what an environment imports or which tests run, and is nobody's declared dependency.
_UNSET = ("PYTHONPATH", "PYTHONHOME", "PYTEST_ADDOPTS", "PYTEST_PLUGINS")


@frozen
class Consumer:
    """Somebody else's repository, at one commit."""

    directory: Path
    name: str
    """Where it comes from, without what somebody logs in with; of a local one the directory's name."""
    commit: str


@frozen
class Trial:
    """What came of it."""

    reason: str
    """Why it is red; empty where it is green."""
    log: Path
    """What was printed last, in the user's state directory."""
    outcome: Outcome | None = None
    """Of the command; None where it did not come to that."""


def find_consumer(directory: Path, mine: Repo) -> Consumer:
    """The repository, which must be clean and another one. Errors: `RELEASE_CONSUMER_INVALID`."""
    shown = shlex.quote(str(directory))
    if not directory.is_dir():
        raise _unfit(f"{directory} is no directory", "name the consumer's checkout with --consumer DIR")
    try:
        git = Git(Path(Git(directory).out("rev-parse", "--show-toplevel")))
    except GitError as error:
        raise _unfit(f"{directory} is in no Git repository", f"run: git -C {shown} init") from error
    common = Path(git.out("rev-parse", "--path-format=absolute", "--git-common-dir"))
    if common == mine.common:
        raise _unfit("a project is no consumer of its own", "name another repository with --consumer DIR")
    commit = git.commit_of("HEAD")
    if commit is None or git.out("status", "--porcelain"):
        what = "has changes that are in no commit" if commit else "has no commit"
        raise _unfit(f"{directory} {what}", f"run: git -C {shown} add --all && git -C {shown} commit")
    remote = git.run("config", "--get", "remote.origin.url", ok=(0, 1)).stdout.decode(errors="replace").strip()
    return Consumer(git.directory, _public(remote) or git.directory.name, commit)


def try_out(consumer: Consumer, artefacts: Sequence[Built], suite: Suite, install: str) -> Trial:
    """Install the artefacts with what else is asked for, run the consumer's command, and look before and after at what is installed."""
    home = Path(user_state_path("kitty")) / "release"
    kept = home / f"{artefacts[0].path.name}.log"
    outcome = None
    with _scratch(home) as scratch:
        checkout, environment = scratch / "consumer", scratch / "environment"
        note(f"{inert(consumer.name, prose=True)}: checking out {consumer.commit[:12]}")
        _check_out(consumer, checkout)
        reason = _prepared(scratch, checkout, environment, _copies(artefacts, scratch), install)
        reason = reason or _shadowed(checkout, artefacts, environment) or _objection(artefacts, environment)
        if not reason:
            note(f"running {suite.command}")
            outcome = run(suite, checkout, scratch / "tests", _variables(environment))
            after = _objection(artefacts, environment)
            reason = f"after the tests, {after}" if after else verdict(suite, outcome)
        logs = [scratch / step / "output.log" for step in ("tests", "installing", "making")]
        shutil.copyfile(next(one for one in logs if one.exists()), kept)
        return Trial(_portable(reason, scratch), kept, outcome)


@contextlib.contextmanager
def _scratch(home: Path) -> Iterator[Path]:
    make_directory(home)
    sweep(home)
    scratch = temporary(home)
    scratch.mkdir()
    try:
        yield scratch
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _check_out(consumer: Consumer, checkout: Path) -> None:
    """A clone that borrows the objects: a worktree would be noted in the consumer's repository."""
    git = Git(checkout.parent)
    git.run("clone", "--quiet", "--shared", "--no-checkout", str(consumer.directory), str(checkout))
    Git(checkout).run("checkout", "--quiet", "--detach", consumer.commit)


def _copies(artefacts: Sequence[Built], scratch: Path) -> list[Path]:
    """Nobody changes these after their hash was taken, and no cache knows their place."""
    place = scratch / "artefacts"
    place.mkdir()
    copies = []
    for one in artefacts:
        copies.append(place / one.path.name)
        shutil.copyfile(one.path, copies[-1])
        if hash_of(copies[-1]) != one.sha256:
            raise KittyError(
                "RELEASE_TAMPERED", f"{inert(one.path.name)} was changed while it was read", "run it again"
            )
    return copies


def _prepared(scratch: Path, checkout: Path, environment: Path, copies: Sequence[Path], install: str) -> str:
    """Make the environment and fill it, by one resolution of everything; why that failed, or nothing."""
    pip = ["python", "-m", "pip", "install", "--no-input", "--disable-pip-version-check", *map(str, copies)]
    steps = {
        "making": (shlex.join([sys.executable, "-m", "venv", str(environment)]), dict.fromkeys(_UNSET, "")),
        "installing": (f"{shlex.join(pip)} {install}", _variables(environment)),
    }
    for step, (command, variables) in steps.items():
        note(f"{step} the environment" if step == "making" else step)
        suite = Suite(step, command, _PREPARING, minimum_tests=0)
        why = verdict(suite, run(suite, checkout, scratch / step, variables))
        if why:
            return f"{step} failed: {why}"
    return ""


def _variables(environment: Path) -> dict[str, str]:
    programs = environment / PROGRAMS
    path = os.pathsep.join(filter(None, [str(programs), os.environ.get("PATH", "")]))
    return {**dict.fromkeys(_UNSET, ""), "VIRTUAL_ENV": str(environment), "PATH": path}


def _objection(artefacts: Sequence[Built], environment: Path) -> str:
    return next(filter(None, (objection(one, environment) for one in artefacts)), "")


def _shadowed(checkout: Path, artefacts: Sequence[Built], environment: Path) -> str:
    """Python looks where one stands first: a consumer with a copy of its own would test that."""
    for one in artefacts:
        for name in modules(one, environment):
            if any((place / name).exists() for place in (checkout, checkout / "src")):
                return f"the consumer has a copy of {inert(name)} of its own, which would be tested instead"
    return ""


def _portable(reason: str, scratch: Path) -> str:
    """Without the places of this machine: the record is for everybody."""
    reason = re.sub(r" \((all of it|its output): [^)]*\)", "", reason)
    for place in (scratch, Path.home(), Path(sys.prefix)):
        reason = reason.replace(str(place), "…")
    return reason


def _public(remote: str) -> str:
    if "://" in remote:
        parts = urlsplit(remote)
        if parts.scheme != "file":
            return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
    elif re.match(r"[\w.-]+@[\w.-]+:|[\w-]+(\.[\w-]+)+:", remote):
        return remote.rpartition("@")[2]
    return Path(remote).name


def _unfit(what: str, hint: str) -> KittyError:
    return KittyError("RELEASE_CONSUMER_INVALID", what, hint)
