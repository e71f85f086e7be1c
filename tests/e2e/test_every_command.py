"""What holds for every command there is, whoever brings it: the list is taken from the commands themselves."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pytest

from kitty_host.cli import Kitty
from kitty_host.plugins import Plugins
from kitty_host.testing import Project

WORDS = {
    "wp": "WP01",
    "lane": "blocked",
    "status": "done",
    "ids": "T001",
    "action": "implement",
    "version": "1.0",
    "provider": "github",
    "shell": "bash",
}
MORE = {"intake": ["plan.md"], "review": ["--claim"], "effort": ["--seconds", "1"]}
WITHOUT_A_REPOSITORY = {
    "init": "makes one ready",
    "demo": "makes one of its own",
    "mission types": "speaks of what is installed",
    "plugins list": "speaks of kitty itself",
    "plugins doctor": "speaks of kitty itself",
    "help": "speaks of kitty itself",
    "completion": "speaks of kitty itself",
    "plugins new": "writes a plugin wherever one is",
}
SERVERS = {"hub serve", "mcp", "board"}
"""They go on until they are ended."""


def commands() -> dict[str, click.Command]:
    """Every command that does something, by its words."""

    def below(found: click.Command, name: str) -> Iterator[tuple[str, click.Command]]:
        if not isinstance(found, click.Group):
            yield name.strip(), found
            return
        context = click.Context(found)
        for one in found.list_commands(context):
            child = found.get_command(context, one)
            assert child is not None
            yield from below(child, f"{name} {one}")

    return dict(below(Kitty(Plugins.discover()), ""))


def typed(name: str, command: click.Command) -> list[str]:
    """A command with all that it cannot do without."""
    words = name.split()
    for one in command.params:
        if one.required:
            flag = [one.opts[0]] if isinstance(one, click.Option) else []
            words += [*flag, WORDS.get(str(one.name), "x")]
    return words + MORE.get(name, [])


def of_a_hub(name: str) -> bool:
    """Whether a command speaks of a team, wherever it is typed."""
    return name.startswith("hub ")


def beside(project: Project) -> Project:
    """A repository beside an initialized one."""
    return repository(project.root.parent / "sibling")


def below(project: Project) -> Project:
    """A repository in a directory of an initialized one."""
    return repository(project.root / "vendor" / "inner")


def no_repository(project: Project) -> Project:
    """A directory beside an initialized one."""
    place = Project(project.root.parent / "plain")
    place.write("plan.md", "# A plan\n")
    return place


def repository(root: Path) -> Project:
    root.mkdir(parents=True)
    made = Project(root)
    made.git("init", "--quiet", "-b", "main")
    made.commit("plan.md", "# A plan\n")
    return made


@pytest.mark.parametrize("where", [beside, below, no_repository], ids=lambda one: one.__name__)
def test_where_nothing_is_initialized_every_command_refuses_and_writes_nothing(
    project: Project, where: Callable[[Project], Project]
) -> None:
    """With what it would need if it went on, and with an initialized repository near that it must not take for its own."""
    project.mission("one", [{"work_package_id": "WP01"}])
    here = where(project)
    found = commands()
    assert len(found) > 35
    assert WITHOUT_A_REPOSITORY.keys() < found.keys()
    before = project.snapshot()
    told: dict[str, tuple[int, str]] = {}
    for name, command in found.items():
        if name not in WITHOUT_A_REPOSITORY and not of_a_hub(name):
            done = here.kitty(*typed(name, command), "--json")
            told[name] = (done.exit_code, str(done.json.get("code")))
            assert project.snapshot() == before, f"{name} wrote something"
            if told[name][1] == "SPEC_KITTY_REPO_NOT_INITIALIZED":
                assert f"-C {here.root} init" in done.json["hint"]
                assert str(here.root) in done.json["message"]
    others = {name: said for name, said in told.items() if said != (1, "SPEC_KITTY_REPO_NOT_INITIALIZED")}
    assert others == {name: (1, "SYNC_DISABLED") for name in found if name.startswith(("auth ", "sync ", "tracker "))}


def test_every_command_that_takes_an_id_takes_each_of_its_forms_and_names_the_ids_there_are(project: Project) -> None:
    packages = [{"work_package_id": name, "subtasks": [], "owned_files": [f"{name}.txt"]} for name in ("WP01", "WP02")]
    mission = project.mission("one", [{**packages[0], "subtasks": ["T001"]}, packages[1]])
    assert project.kitty("finalize").exit_code == 0
    found = {
        name: command
        for name, command in commands().items()
        if any(isinstance(one, click.Argument) and one.name in ("wp", "ids") for one in command.params)
    }
    assert {"implement", "submit", "review", "move", "cancel", "reopen", "mark-status", "note"} < found.keys()
    forms = ["WP01", "wp01", "WP01/T001", "WP01-task.md", *(f"{one}/WP01/T001" for one in (mission.slug, mission.mid8))]
    before = project.snapshot()
    for name, command in found.items():
        for unknown in ("WP07", "nobody/WP01", "WP07/T001"):
            done = project.kitty(
                *(unknown if one in ("WP01", "T001") else one for one in typed(name, command)), "--json"
            )
            assert (done.exit_code, done.code) == (1, "WP_NOT_FOUND"), (name, unknown, done)
            assert done.json["hint"] == "it has: WP01, WP02"
    assert project.snapshot() == before
    for name, command in found.items():
        for form in forms:
            done = project.kitty(*(form if one in ("WP01", "T001") else one for one in typed(name, command)), "--json")
            assert done.json.get("code") != "WP_NOT_FOUND", (name, form, done)
            assert "WP01" in done.stdout, (name, form, done)


def test_the_old_name_of_the_option_works_wherever_the_new_one_does(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hidden from help; where both are given they have to agree."""
    monkeypatch.setenv("SPEC_KITTY_ENABLE_SAAS_SYNC", "1")
    project.mission("one", [{"work_package_id": "WP01"}])
    found = {
        name: command for name, command in commands().items() if any(one.name == "mission" for one in command.params)
    }
    assert len(found) > 20
    before = project.snapshot()
    for name, command in found.items():
        [old] = [one for one in command.params if one.name == "feature"]
        assert isinstance(old, click.Option)
        assert (old.opts, old.hidden) == (["--feature"], True)
        assert "--feature" not in project.kitty(*name.split(), "--help").stdout
        both = project.kitty(*typed(name, command), "--feature", "one", "--mission", "two", "--json")
        assert (both.exit_code, both.json.get("code")) == (1, "MISSION_AMBIGUOUS_SELECTOR"), name
        alone = project.kitty(*typed(name, command), "--feature", "nobody", "--json")
        assert (alone.exit_code, alone.json.get("code")) == (1, "MISSION_NOT_FOUND"), name
    assert project.snapshot() == before


WATCHED = """
import json, os, sys
state, commands, told = sys.argv[1], json.loads(sys.argv[2]), []

def audit(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.bind", "sqlite3.connect"):
        told.append(f"{event} {arguments[-1]}")
    elif event == "open" and isinstance(arguments[0], str) and arguments[0].startswith(state):
        told.append(f"open {arguments[0]}")

sys.addaudithook(audit)
from kitty_host.cli import run
sys.stdout = sys.stderr = open(os.devnull, "w")
codes = {" ".join(words): run(words) for words in commands}
sys.__stdout__.write(json.dumps([told, codes, sorted({"httpx", "keyring", "sqlite3"} & set(sys.modules))]))
"""


def watched(project: Project, home: Path, names: list[str]) -> tuple[list[str], dict[str, int], list[str]]:
    """Run commands one after another in one process: what it opened of `home` and connected to, how each ended, and
    which libraries of sync it loaded.
    """
    found = commands()
    script = [sys.executable, "-c", WATCHED, str(home), json.dumps([typed(name, found[name]) for name in names])]
    environment = {"XDG_STATE_HOME": str(home), "XDG_CONFIG_HOME": str(home), "KITTY_KEYRING": "0"}
    done = subprocess.run(
        script,
        cwd=project.root,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, done.stderr
    told, codes, loaded = json.loads(done.stdout)
    return [one for one in told if "/log/" not in one], codes, loaded


def logged_in(project: Project) -> Path:
    """Where somebody keeps a login."""
    home = project.root.parent / "home" / "kept"
    login = {"tenant": "t", "team": "t", "user": "ada@example.org"}
    issuer = "http://127.0.0.1:9"
    hubs = {"schema": "kitty.hubs/1", "default": issuer, "hubs": {issuer: login}}
    project.write(str(home / "kitty" / "hubs.json"), json.dumps(hubs))
    kept = hashlib.sha256(issuer.encode()).hexdigest()
    tokens = {"access": "a", "refresh": "r", "expires_at": 0, "session": "s"}
    token = {"schema": "kitty.tokens/1", "issuer": issuer, "store": "file", "tokens": tokens}
    project.write(str(home / "kitty" / "tokens" / f"{kept}.json"), json.dumps(token))
    return home


@pytest.mark.usefixtures("unmeasured")
@pytest.mark.parametrize("switch", ["", "1"], ids=["off", "on"])
def test_C_002_without_the_switch_no_command_opens_a_queue_a_socket_or_a_token(
    project: Project, switch: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Although somebody is logged in. With it the same look finds what it looks for."""
    project.mission("one", [{"work_package_id": "WP01", "title": "One"}])
    project.write("plan.md", "# A plan\n")
    names = [name for name in commands() if name not in SERVERS | {"demo"} and not of_a_hub(name)]
    # The switch is asked for last, so that what the others have done is there.
    names.sort(key=lambda name: name.startswith(("auth", "sync", "tracker")))
    monkeypatch.setenv("SPEC_KITTY_ENABLE_SAAS_SYNC", switch)
    told, codes, loaded = watched(project, logged_in(project), names)
    assert len(codes) > 50
    if switch:
        assert any("queue" in one for one in told)
        assert any("tokens" in one for one in told)
        assert any("socket" in one for one in told)
    else:
        assert told == []
        assert loaded == []


@pytest.mark.usefixtures("unmeasured")
def test_C_002_the_commands_of_a_hub_work_anywhere_and_open_its_file_and_no_other(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They serve a team, and are no client of it: the switch is not theirs. Copies stand where they were asked for."""
    monkeypatch.setenv("SPEC_KITTY_ENABLE_SAAS_SYNC", "1")
    here, home = no_repository(project), logged_in(project)
    names = [name for name in commands() if of_a_hub(name) and name not in SERVERS]
    before = project.snapshot()
    told, codes, _ = watched(here, home, names)
    after = project.snapshot()
    after.pop("plain/x", None)  # the file that a backup, or an export, was to write
    assert after == before
    assert len(codes) > 10
    assert told
    allowed = (str(home / "kitty" / "hub.db"), str(here.root))
    assert [one for one in told if not any(place in one for place in allowed)] == []
