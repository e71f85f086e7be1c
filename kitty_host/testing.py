"""Fixtures for tests of kitty and of its plugins; installed as a pytest plugin.

`project` is an initialized repository in a directory of its own, with Git, home and configuration isolated from the user's. It
runs real commands against a real Git. `install_plugin` makes a small distribution and puts it where kitty looks for plugins;
`plugins_with` gives a few plugins and nobody else's, to call their hooks.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

if TYPE_CHECKING:
    from kitty_host.plugins import Plugins

CONFIG = "project:\n  uuid: 6f1d6c0e-1f2e-4d0c-9a55-3a8f3f1c2b7d\n  slug: project\n"


class Result(NamedTuple):
    """What a command left behind."""

    exit_code: int
    stdout: str
    stderr: str

    @property
    def json(self) -> dict[str, Any]:
        """The one object that `--json` printed."""
        value: dict[str, Any] = json.loads(self.stdout)
        return value

    @property
    def code(self) -> str:
        """The code of the error that `--json` printed."""
        return str(self.json["code"])


class Project:
    """An initialized repository to try things on."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def git(self, *arguments: str, where: Path | None = None, check: bool = True) -> str:
        """Run plain Git, not kitty's; standard output, stripped."""
        done = subprocess.run(
            ["git", *arguments],
            cwd=where or self.root,
            capture_output=True,
            text=True,
            encoding="utf-8",
            errors="surrogateescape",
        )
        if check and done.returncode:
            raise AssertionError(f"git {' '.join(arguments)}: {done.stderr}")
        return done.stdout.strip()

    def write(self, path: str, content: str | bytes = "content\n", *, where: Path | None = None) -> Path:
        """Write a file, with its directories."""
        place = (where or self.root) / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content.encode() if isinstance(content, str) else content)
        return place

    def commit(
        self, path: str, content: str | bytes = "content\n", *, message: str = "", where: Path | None = None
    ) -> str:
        """Write a file, commit exactly it, and return the commit."""
        self.write(path, content, where=where)
        self.git("add", "--force", "--", path, where=where)
        self.git("commit", "--quiet", "-m", message or f"change {path}", "--", path, where=where)
        return self.git("rev-parse", "HEAD", where=where)

    def kitty(self, *arguments: str, where: Path | None = None, stdin: bytes | None = None) -> Result:
        """Run a command in this process."""
        from kitty_host.cli import run

        out, err = io.StringIO(), io.StringIO()
        before = sys.stdin
        if stdin is not None:
            sys.stdin = io.TextIOWrapper(io.BytesIO(stdin))
        try:
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                exit_code = run(["-C", str(where or self.root), *arguments])
        finally:
            sys.stdin = before
        return Result(exit_code, out.getvalue(), err.getvalue())

    def process(
        self,
        *arguments: str,
        where: Path | None = None,
        stdin: bytes | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> Result:
        """Run a command in a process of its own."""
        done = subprocess.run(
            [sys.executable, "-m", "kitty_host", *arguments],
            cwd=where or self.root,
            input=stdin,
            capture_output=True,
            env={**os.environ, **(environment or {})},
        )
        return Result(done.returncode, done.stdout.decode(), done.stderr.decode())

    def killed(self, *arguments: str, at: str, ref: str = "refs/heads/main") -> None:
        """Run a command that is killed, with the Git that it runs, when Git's transaction on a ref is `prepared` or `committed`."""
        place = self.git("rev-parse", "--path-format=absolute", "--git-path", "hooks/reference-transaction")
        hook = self.write(place, f'#!/bin/sh\n[ "$1" = {at} ] && grep -q " {ref}$" && kill -9 0\nexit 0\n')
        hook.chmod(0o755)
        done = subprocess.run(
            [sys.executable, "-m", "kitty_host", *arguments], cwd=self.root, capture_output=True, start_new_session=True
        )
        hook.unlink()
        assert done.returncode == -signal.SIGKILL, done

    def mission(self, slug: str = "demo", packages: Sequence[Mapping[str, Any]] = (), **meta: Any) -> Any:
        """A committed mission with work-package files; returns the `Mission`. Each package is front matter, `work_package_id` first."""
        from kitty_host.mission import encode_meta, read_mission, reserve
        from kitty_host.repo import Repo

        mission_id = meta.pop("mission_id", None)
        if mission_id is None:
            mission_id, directory = reserve(Repo.find(self.root), slug)
        else:
            directory = self.root / "kitty-specs" / f"{slug}-{mission_id[:8]}"
        name = directory.name
        (directory / "tasks").mkdir(parents=True)
        record = {
            "mission_id": mission_id,
            "mission_slug": name,
            "slug": name,
            "friendly_name": slug,
            "mission_type": "software-dev",
            "mission_number": None,
            "target_branch": "main",
            "created_at": "2026-01-01T00:00:00.000000+00:00",
            **meta,
        }
        (directory / "meta.json").write_bytes(encode_meta(record))
        for package in packages:
            front = "".join(f"{key}: {json.dumps(value)}\n" for key, value in package.items())
            path = directory / "tasks" / f"{package['work_package_id']}-task.md"
            path.write_bytes(f"---\n{front}---\n\n# {package['work_package_id']}\n".encode())
        self.git("add", "--", f"kitty-specs/{name}")
        self.git("commit", "--quiet", "-m", f"plan {name}")
        return read_mission(Repo.find(self.root), directory)

    def record(self, mission: Any, wp_id: str, *lanes: str, actor: str = "agent", **fields: Any) -> None:
        """Append forced transitions, for tests that need a state and not the way to it."""
        from kitty_host.ledger.emit import emit
        from kitty_host.ledger.event import transition
        from kitty_host.plugins import Plugins

        for lane in lanes:
            emit(
                Plugins([]),
                mission.refresh(),
                lambda state, lane=lane: [  # type: ignore[misc]
                    transition(
                        wp_id,
                        state.lane(wp_id),
                        lane,
                        actor=actor,
                        mission_id=mission.mission_id,
                        mission_slug=mission.slug,
                        force=True,
                        reason="test",
                        **fields,
                    )
                ],
            )

    def snapshot(self) -> dict[str, bytes]:
        """Every file of the repository, its Git directory and its neighbours, but kitty's cache: to show that nothing was written."""
        found: dict[str, bytes] = {}
        for path in sorted(self.root.parent.rglob("*")):
            name = path.relative_to(self.root.parent).as_posix()
            if "/kitty/cache" in name or name.startswith("home/"):
                continue
            if path.is_symlink():
                found[name] = b"link to " + os.fsencode(path.readlink())
            elif path.is_file():
                found[name] = path.read_bytes()
            elif path.is_dir() and not (path.name == "kitty" and [one.name for one in path.iterdir()] == ["cache"]):
                found[name] = b"directory"
        return found


@pytest.fixture
def isolated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home and configuration, and nobody's environment; returns the test's directory."""
    isolate(tmp_path, monkeypatch)
    return tmp_path


@pytest.fixture
def unmeasured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody notes which lines are run: who does imports much in every process, and writes a file."""
    monkeypatch.delenv("COVERAGE_PROCESS_START", raising=False)


def isolate(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What `isolated` does, for fixtures that live longer than one test."""
    home = directory / "home"
    home.mkdir()
    configuration = home / "gitconfig"
    configuration.write_bytes(
        b"[user]\n\tname = Test Person\n\temail = test@example.invalid\n"
        b"[init]\n\tdefaultBranch = main\n[core]\n\tfsync = none\n[commit]\n\tgpgsign = false\n"
    )
    for name in [name for name in os.environ if name.startswith(("GIT_", "KITTY_", "SPEC_KITTY_", "XDG_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(configuration))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(directory))


@pytest.fixture
def make_project(isolated: Path) -> Callable[[str], Project]:
    """Makes initialized repositories side by side."""

    def make(name: str) -> Project:
        return initialized(isolated / name)

    return make


def initialized(root: Path) -> Project:
    """An initialized repository with one commit on `main`, in a new directory."""
    project = Project(root)
    project.root.mkdir()
    project.git("init", "--quiet")
    project.write(".kittify/config.yaml", CONFIG)
    project.write(".gitignore", ".worktrees/\n.kittify/mission-brief.md\n.kittify/brief-source.yaml\n")
    project.write("README.md", "# project\n")
    project.git("add", ".")
    project.git("commit", "--quiet", "-m", "first")
    return project


@pytest.fixture
def project(make_project: Callable[[str], Project]) -> Project:
    """An initialized repository with one commit on `main`."""
    return make_project("project")


@pytest.fixture
def install_plugin(isolated: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Path]]:
    """Installs a plugin from the source of its manifest: `install_plugin("hello", source)`; returns the directory on `sys.path`.

    It is a real distribution, `kitty-<name>` unless `distribution` says otherwise, seen by this process and by its children. `requires`
    is what its metadata needs, `group` where its entry point is.
    """
    site = isolated / "site"
    site.mkdir()
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(site), os.environ.get("PYTHONPATH", "")])))

    def install(
        name: str,
        source: str,
        *,
        distribution: str = "",
        module: str = "",
        requires: Sequence[str] = ("kitty-host>=0.1,<1",),
        group: str = "kitty",
    ) -> Path:
        distribution = distribution or f"kitty-{name}"
        module = module or f"plugin_{distribution.replace('-', '_')}"
        (site / f"{module}.py").write_bytes(source.encode())
        metadata = site / f"{distribution.replace('-', '_')}-1.0.dist-info"
        metadata.mkdir()
        needs = "".join(f"Requires-Dist: {requirement}\n" for requirement in requires)
        (metadata / "METADATA").write_bytes(
            f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n{needs}".encode()
        )
        (metadata / "entry_points.txt").write_bytes(f"[{group}]\n{name} = {module}\n".encode())
        importlib.invalidate_caches()
        return site

    yield install
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", None) or "").startswith(f"{site}{os.sep}"):
            del sys.modules[name]


@pytest.fixture
def plugins_with(install_plugin: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Plugins]:
    """`plugins_with("hello", other=source)`: a `Plugins` of some installed plugins, and of manifests given as source.

    Nobody else's counts for the rest of the test, for commands and child processes neither, but the host's own.
    """

    def make(*names: str, **sources: str) -> Plugins:
        from kitty_host.plugins import ALLOW_LIST, Plugins

        for name, source in sources.items():
            install_plugin(name, source)
        monkeypatch.setenv(ALLOW_LIST, ",".join([*names, *sources]))
        plugins = Plugins.discover()
        known = {*plugins.entries, *(entry.name for entry in plugins.failed)}
        absent = {*names} - known
        assert not absent, f"not installed: {', '.join(sorted(absent))}; in the group kitty there are {sorted(known)}"
        return plugins

    return make
